//! PromQL: parse, check, evaluate. Synchronous; no I/O, no network, no clock.
//!
//! Way of a query: [`parse()`] text → [`parse::ast::Expr`] → [`Engine`] over one storage snapshot → [`QueryOutput`].
//! Not here: HTTP and JSON (see the server's `prom_api`), how samples are stored (see `mytsdb_storage`).

pub mod annotation;
#[doc(hidden)]
pub mod bench_kernels;
mod budget;
mod engine;
mod eval;
pub mod function;
mod grid;
pub mod histogram;
mod kernel;
pub mod parse;
mod stop;
pub mod value;

pub use annotation::{Annotation, Annotations, Severity};
pub use budget::{BudgetScope, MemoryBudget, Reservation};
pub use engine::{CancelReason, Cancellation, Engine, EngineOptions, EvalError, QueryOutput, QueryStats};
pub use histogram::FloatHistogram;
pub use parse::{ParseError, ParseOptions, parse, parse_selector};
pub use value::{MatrixSeries, Value, VectorSample};

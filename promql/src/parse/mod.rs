//! From text to tree: lexer, Pratt parser, printers (one line, many lines). Every node knows where it stands in the text.

pub mod ast;
mod check;
mod duration;
mod error;
mod grammar;
mod lexer;
mod literal;
mod modifiers;
mod pretty;
mod printer;
mod scan;
mod selector;
mod tree;

pub use error::ParseError;
pub use pretty::PrettyTooLong;

use mytsdb_storage::model::Matcher;

use ast::Expr;

/// What the parser accepts.
#[derive(Debug, Clone)]
pub struct ParseOptions {
    /// Longest query in bytes.
    pub query_bytes_max: usize,
    /// Most tokens in a query.
    pub token_count_max: usize,
    /// Deepest nesting of expressions. A chain of operators of one strength (`1+1+1…`) counts once, however long it is;
    /// the depth of its tree is limited by `token_count_max` alone (see [`ast::Binary::chain`]).
    pub depth_max: usize,
    /// Most bytes that all compiled regular expressions of matchers take together.
    pub regex_bytes_max: usize,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self {
            query_bytes_max: 1 << 20,
            token_count_max: 200_000,
            depth_max: 1_000,
            regex_bytes_max: 32 << 20,
        }
    }
}

/// Parses and type-checks a query.
///
/// # Errors
/// [`ParseError`] with the position and Prometheus' text.
pub fn parse(query: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let parsed = grammar::Parser::new(query, options).and_then(grammar::Parser::query);
    let mut expr = parsed.map_err(|error| *error)?;
    check::check(query, &mut expr).map_err(|error| *error)?;
    Ok(expr)
}

/// Parses a text that is one instant selector without modifiers, as in `match[]`, and gives its matchers.
///
/// They may match everything; whoever calls decides whether that is allowed.
///
/// # Errors
/// [`ParseError`] with the position and Prometheus' text.
pub fn parse_selector(query: &str, options: &ParseOptions) -> Result<Vec<Matcher>, ParseError> {
    grammar::Parser::new(query, options).and_then(grammar::Parser::lone_selector).map_err(|error| *error)
}

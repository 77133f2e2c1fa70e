//! The readers of remote write and their oracle, without the server around them: it would take long to build.
#![allow(dead_code, unused_imports)]

#[path = "../../../src/remote/columns.rs"]
pub mod columns;
#[path = "../../../src/remote/metadata.rs"]
mod metadata;
#[path = "../../../src/remote/oracle/mod.rs"]
pub mod oracle;
#[path = "../../../src/remote/refusals.rs"]
pub mod refusals;
#[path = "../../../src/remote/sample.rs"]
mod sample;
#[path = "../../../src/remote/snappy.rs"]
pub mod snappy;
#[path = "../../../src/remote/sparse.rs"]
pub mod sparse;
#[path = "../../../src/wire.rs"]
pub mod wire;
#[path = "../../../src/remote/write_v1.rs"]
pub mod write_v1;
#[path = "../../../src/remote/write_v2/mod.rs"]
pub mod write_v2;

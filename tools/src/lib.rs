//! Tools around MyTSDB: seeding, load and replay.

pub mod bench_load;
pub mod tidy;

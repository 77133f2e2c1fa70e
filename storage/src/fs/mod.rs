//! Durable files, read-only mappings, the lock of the data directory.
//!
//! Not here: any format. What the bytes mean is known to `wal` and `block`.

pub(crate) mod disk;
pub(crate) mod lock;

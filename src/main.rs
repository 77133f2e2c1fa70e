//! The `mytsdb` binary.

fn main() {}

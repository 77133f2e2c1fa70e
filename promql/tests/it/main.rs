//! Tests of the whole crate through its public doors.

mod parse;

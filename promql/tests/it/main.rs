//! Tests of the whole crate through its public doors.

mod corpus;
mod parse;
mod script;

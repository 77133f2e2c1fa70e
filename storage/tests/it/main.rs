//! The engine from outside: only its public doors.

mod fixture;
mod model;
mod scenarios;

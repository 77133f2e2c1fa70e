//! Tests of the whole crate through its public doors.

// The attribute tells clippy that these modules are tests, helpers included.
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod histograms;
#[cfg(test)]
mod parse;
#[cfg(test)]
mod script;

//! What the values of points, and the ids of spans, are: functions of the settings and of the time.
//!
//! Nothing here remembers anything: a counter's value is its rate times the elapsed, curved time since its start, so
//! that a late point has the value it would have had in time, repeats are equal, and rates are what was configured.
//! Curves and walks are computed once a request for [`PHASES`] phases; a point is then a multiplication or two. No
//! transcendental functions: every platform computes the same bits.

pub mod curve;
pub mod epoch;
pub mod ids;
pub mod mixture;
pub mod walk;

/// How many curves and walks there are; every series follows one.
pub const PHASES: usize = 16;

/// One number a phase.
pub type Phases = [f64; PHASES];

/// Slots of the tables of noise and walks.
const SLOTS: usize = 256;
/// How long a slot lasts.
const SLOT_NS: u64 = 10_000_000_000;

/// Where in a table of slots phase `phase` is at a time since the origin: position, and seconds in the slot.
#[inline]
fn slot_of(elapsed_ns: u64, phase: usize) -> (usize, f64) {
    let slot = (elapsed_ns / SLOT_NS) as usize + phase * (SLOTS / PHASES);
    (slot % SLOTS, (elapsed_ns % SLOT_NS) as f64 * 1e-9)
}

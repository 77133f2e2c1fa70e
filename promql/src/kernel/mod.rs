//! Pure loops over slices: no labels, no storage, no allocation per sample.
//!
//! A range kernel takes the samples of one series (stale markers removed) and a [`crate::grid::WindowGrid`], and
//! writes one value per step. A step without result gets [`ABSENT`]: the stale marker's bits, which no sample that
//! an expression can see ever has. Presence is therefore compared by bits, never by `is_nan`.

pub(crate) mod histogram;
pub(crate) mod kahan;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod quantile;
pub(crate) mod rate;
pub(crate) mod regression;
pub(crate) mod select;
pub(crate) mod start_times;
pub(crate) mod started_rate;
pub(crate) mod time;

use mytsdb_storage::model::STALE_NAN_BITS;

use crate::grid::constant_spacing_ms;

/// "No value at this step."
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// Whether a step has no value.
#[inline(always)]
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// "A histogram at this step": it stands in a list beside the row (see `eval::cells`). A NaN of our own; floats with
/// these bits stay floats where there is no such list.
pub(crate) const HISTOGRAM: f64 = f64::from_bits(0x7ff0_0000_0000_0004);

/// Whether a step may have a histogram.
#[inline(always)]
pub(crate) fn is_histogram(value: f64) -> bool {
    value.to_bits() == HISTOGRAM.to_bits()
}

/// The samples of one series: two columns of the same length, times strictly ascending.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Samples<'a> {
    /// Sample times.
    pub(crate) times_ms: &'a [i64],
    /// Sample values.
    pub(crate) values: &'a [f64],
    /// The distance between neighbouring times if it is the same everywhere.
    pub(crate) spacing_ms: Option<i64>,
}

impl<'a> Samples<'a> {
    /// Looks at the times; who knows their distance already need not.
    pub(crate) fn new(times_ms: &'a [i64], values: &'a [f64]) -> Self {
        Self { times_ms, values, spacing_ms: constant_spacing_ms(times_ms) }
    }
}

/// Memory that kernels reuse from series to series.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// Indexes of samples.
    pub(crate) indexes: Vec<u32>,
    /// Values of one window, or partial results.
    pub(crate) values: Vec<f64>,
    /// More of the same.
    pub(crate) more_values: Vec<f64>,
}

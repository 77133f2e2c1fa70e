//! A door to the kernels for benches: kernels are private, and stay so.
//!
//! Not part of the crate's interface.

use crate::grid::WindowGrid;
use crate::kernel::rate::RateKind;
use crate::kernel::{Samples, Scratch, over_time, rate, select};

/// A kernel that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the functions")]
pub enum BenchKernel {
    Rate,
    InstantSelector,
    SumOverTime,
    MaxOverTime,
    SumOfRate,
}

/// All of them.
pub const ALL: [BenchKernel; 5] = [
    BenchKernel::Rate,
    BenchKernel::InstantSelector,
    BenchKernel::SumOverTime,
    BenchKernel::MaxOverTime,
    BenchKernel::SumOfRate,
];

impl BenchKernel {
    /// A name for the bench.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::InstantSelector => "instant_selector",
            Self::SumOverTime => "sum_over_time",
            Self::MaxOverTime => "max_over_time",
            Self::SumOfRate => "sum_of_rate",
        }
    }

    /// A closure that runs the kernel over one series from its first to its last sample and gives the last value.
    pub fn prepare<'a>(
        self,
        times_ms: &'a [i64],
        values: &'a [f64],
        range_ms: i64,
        step_ms: i64,
    ) -> impl FnMut() -> f64 + 'a {
        let first_ms = times_ms.first().copied().unwrap_or(0);
        let span_ms = times_ms.last().map_or(0, |last_ms| last_ms - first_ms);
        let count = (span_ms / step_ms) as usize + 1;
        let windows = WindowGrid { end_ms: first_ms, step_ms, count, range_ms };
        let samples = Samples::new(times_ms, values);
        let kind = RateKind { is_counter: true, is_rate: true };
        let mut scratch = Scratch::default();
        let mut out = vec![0.0; count];
        let mut total = crate::eval::bench_sum(count);
        move || {
            match self {
                Self::Rate => rate::extrapolated(samples, &windows, kind, &mut scratch, &mut out),
                Self::InstantSelector => select::newest_value(samples, &windows, &mut out),
                Self::SumOverTime => over_time::sum(samples, &windows, &mut scratch, &mut out),
                Self::MaxOverTime => {
                    over_time::extreme(samples, &windows, &mut scratch, |value, best| value > best, &mut out);
                }
                Self::SumOfRate => {
                    rate::extrapolated(samples, &windows, kind, &mut scratch, &mut out);
                    total(&out);
                }
            }
            out[count - 1]
        }
    }
}

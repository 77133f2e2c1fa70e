//! `rate`, `increase`, `irate` and `resets` of series whose samples are increases themselves (delta temporality).
//!
//! Such a series has the label `__temporality__` with the value `delta`; who writes it decides. Its increase over a window
//! is the sum of the samples in it: one sample is enough, nothing is extrapolated, and nothing can be reset. Everything
//! else sees samples as they are; `sum_over_time` is the same as `increase`.
//! Not here: series that count up (see `kernel::rate`).

use std::sync::Arc;

use mytsdb_storage::model::LabelSet;

use super::cells::{Cell, RowWriter};
use super::context::Context;
use super::histogram_windows::{self, NumberKernels};
use super::range_call::{self, RangeVector};
use super::rows::{Kernels, RowKernel};
use crate::engine::EvalError;
use crate::grid::{StepGrid, WindowGrid};
use crate::kernel::rate;

/// The label that says what the samples of a series mean.
pub(crate) const TEMPORALITY: &str = "__temporality__";
const DELTA: &str = "delta";

/// Which rows are increases, if a function asks and there are any.
pub(crate) fn rows_of(function: &str, names: &[LabelSet]) -> Option<Vec<bool>> {
    if !matches!(function, "rate" | "increase" | "irate" | "resets") {
        return None;
    }
    let is_delta = |labels: &LabelSet| labels.get(TEMPORALITY) == Some(DELTA);
    names.iter().any(is_delta).then(|| names.iter().map(is_delta).collect())
}

/// The kernels of a function (one of those of [`rows_of`]) for such rows.
pub(crate) fn kernels<'a>(
    ctx: &'a Context<'a>,
    function: &str,
    vector: &RangeVector<'a>,
    grid: StepGrid,
    names: &[LabelSet],
) -> Result<Kernels<'a>, EvalError> {
    let windows = vector.windows;
    Ok(match function {
        "irate" => instant(windows),
        "resets" => scaled(fold(ctx, "present_over_time", vector, grid, names)?, 0.0),
        "rate" => {
            let seconds = windows.range_ms as f64 / 1000.0;
            scaled(fold(ctx, "sum_over_time", vector, grid, names)?, 1.0 / seconds)
        }
        _ => fold(ctx, "sum_over_time", vector, grid, names)?,
    })
}

/// The kernels of a function that looks at all samples of a window.
fn fold<'a>(
    ctx: &'a Context<'a>,
    function: &'static str,
    vector: &RangeVector<'a>,
    grid: StepGrid,
    names: &[LabelSet],
) -> Result<Kernels<'a>, EvalError> {
    let floats: Arc<RowKernel<'a>> =
        Arc::new(range_call::kernel(ctx, function, None, vector.windows, grid, Vec::new())?);
    let numbers = NumberKernels { plain: Arc::clone(&floats), started: None };
    let (windows, span) = (vector.windows, vector.span);
    Ok(Kernels {
        floats: Box::new(move |index, samples, scratch, out| floats(index, samples, scratch, out)),
        started: None,
        mixed: histogram_windows::kernel(ctx, function, windows, None, span, names.to_vec(), numbers),
    })
}

/// Multiplies what other kernels give.
fn scaled(kernels: Kernels<'_>, factor: f64) -> Kernels<'_> {
    let Kernels { floats, mixed, .. } = kernels;
    Kernels {
        floats: Box::new(move |index, samples, scratch, out| {
            floats(index, samples, scratch, out);
            rate::scale(out, factor);
        }),
        started: None,
        mixed: Box::new(move |index, samples, scratch, out| {
            mixed(index, samples, scratch, out);
            out.scale(factor);
        }),
    }
}

/// The newest sample of each window per second since the one before it.
fn instant<'a>(windows: WindowGrid) -> Kernels<'a> {
    Kernels {
        floats: Box::new(move |_, samples, _, out| rate::instant_of_deltas(samples, &windows, out)),
        started: None,
        mixed: Box::new(move |_, samples, _, out: &mut RowWriter<'_>| {
            windows.for_each(samples.times_ms, |step, low, high| {
                if high < low + 2 {
                    return out.set(step, Cell::Absent);
                }
                let seconds = (samples.times_ms[high - 1] - samples.times_ms[high - 2]) as f64 / 1000.0;
                out.set(step, samples.cell(high - 1).scaled(1.0 / seconds));
            });
        }),
    }
}

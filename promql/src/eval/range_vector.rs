//! A range vector as the result of an instant query: the samples themselves.

use std::sync::Arc;

use super::block::duplicate_labels;
use super::cells::Cell;
use super::context::Context;
use super::labels::without_metadata;
use super::range_call::range_vector;
use super::samples::{MixedSamples, ReadSamples};
use crate::engine::EvalError;
use crate::grid::{StepGrid, WindowGrid};
use crate::histogram::FloatHistogram;
use crate::kernel::Samples;
use crate::parse::ast::{Expr, ExprKind, RangeExtension};
use crate::value::MatrixSeries;

/// The samples of one window.
#[derive(Default)]
struct Found {
    timestamps_ms: Vec<i64>,
    values: Vec<f64>,
    histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

fn histogram_bytes_of(histograms: &[(i64, Arc<FloatHistogram>)]) -> usize {
    histograms.iter().map(|(_, histogram)| histogram.memory_bytes() + 16).sum()
}

fn floats_of(samples: Samples<'_>, windows: &WindowGrid, extension: Option<RangeExtension>) -> Found {
    let mut found = Found::default();
    match extension {
        None => windows.for_each(samples.times_ms, |_, low, high| {
            found.timestamps_ms = samples.times_ms[low..high].to_vec();
            found.values = samples.values[low..high].to_vec();
        }),
        Some(extension) => {
            let is_smoothed = extension == RangeExtension::Smoothed;
            (found.timestamps_ms, found.values) =
                crate::kernel::rate::extended_samples(samples, windows, is_smoothed);
        }
    }
    found
}

/// The samples inside the window; extended windows of histograms show no values at their edges.
fn mixed_of(samples: MixedSamples<'_>, windows: &WindowGrid) -> Found {
    let mut found = Found::default();
    windows.for_each(samples.times_ms, |_, low, high| {
        for position in low..high {
            let time_ms = samples.times_ms[position];
            match samples.cell(position) {
                Cell::Histogram(histogram) => found.histograms.push((time_ms, histogram)),
                Cell::Float(value) => {
                    found.timestamps_ms.push(time_ms);
                    found.values.push(value);
                }
                Cell::Absent => {}
            }
        }
    });
    found
}

/// The samples of a range selector or the points of a subquery at `time_ms`, sorted by labels.
pub(crate) fn matrix(ctx: &Context<'_>, expr: &Expr, time_ms: i64) -> Result<Vec<MatrixSeries>, EvalError> {
    let vector = range_vector(ctx, expr, &StepGrid::single(time_ms))?;
    let extension = match &expr.unwrap_parens().kind {
        ExprKind::MatrixSelector { selector, .. } => selector.extension,
        _ => None,
    };
    let windows = vector.windows;
    let mut series = Vec::new();
    let mut reservations = Vec::new();
    let mut samples = ReadSamples::default();
    for (index, labels) in vector.labels.iter().enumerate() {
        if index % 64 == 0 {
            ctx.check_cancelled()?;
        }
        vector.source.read(ctx, index, &mut samples)?;
        let found = match samples.floats() {
            Some(floats) => floats_of(floats, &windows, extension),
            None => mixed_of(samples.mixed(), &windows),
        };
        let Found { timestamps_ms, values, histograms } = found;
        if timestamps_ms.is_empty() && histograms.is_empty() {
            continue;
        }
        let bytes = timestamps_ms.len() * 16 + histogram_bytes_of(&histograms);
        reservations.push(ctx.reserve(bytes, || expr.to_string())?);
        let labels = if labels.drop_name { without_metadata(&labels.set) } else { labels.set.clone() };
        series.push(MatrixSeries { labels, timestamps_ms, values, histograms });
    }
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    if series.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
        return Err(duplicate_labels());
    }
    Ok(series)
}

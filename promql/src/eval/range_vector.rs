//! A range vector as the result of an instant query: the samples themselves.

use mytsdb_storage::read::SampleColumns;

use super::block::duplicate_labels;
use super::context::Context;
use super::labels::without_metadata;
use super::range_call::range_vector;
use crate::engine::EvalError;
use crate::grid::StepGrid;
use crate::kernel::Samples;
use crate::parse::ast::{Expr, ExprKind, RangeExtension};
use crate::value::MatrixSeries;

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
    let mut columns = SampleColumns::default();
    for (index, labels) in vector.labels.iter().enumerate() {
        if index % 64 == 0 {
            ctx.check_cancelled()?;
        }
        vector.source.read(ctx, index, &mut columns)?;
        let samples = Samples { times_ms: &columns.timestamps_ms, values: &columns.values };
        let mut found = (Vec::new(), Vec::new());
        match extension {
            None => windows.for_each(samples.times_ms, |_, low, high| {
                found = (samples.times_ms[low..high].to_vec(), samples.values[low..high].to_vec());
            }),
            Some(extension) => {
                let is_smoothed = extension == RangeExtension::Smoothed;
                found = crate::kernel::rate::extended_samples(samples, &windows, is_smoothed);
            }
        }
        if found.0.is_empty() {
            continue;
        }
        reservations.push(ctx.reserve_numbers(2, found.0.len(), || expr.to_string())?);
        let labels = if labels.drop_name { without_metadata(&labels.set) } else { labels.set.clone() };
        series.push(MatrixSeries { labels, timestamps_ms: found.0, values: found.1 });
    }
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    if series.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
        return Err(duplicate_labels());
    }
    Ok(series)
}

//! Functions over native histograms: count, sum, mean, spread; and what quantiles and fractions of them remark.

use super::block::{Block, Operand};
use super::call::Call;
use super::{annotate, cells};
use crate::engine::EvalError;
use crate::histogram::{FloatHistogram, NanRemark};
use crate::kernel::ABSENT;
use crate::parse::ast::Span;

/// The function of one histogram with this name, if there is one.
pub(crate) fn of_one(function: &str) -> Option<fn(&FloatHistogram) -> f64> {
    Some(match function {
        "histogram_count" => |histogram| histogram.count,
        "histogram_sum" => |histogram| histogram.sum,
        "histogram_avg" => |histogram| histogram.sum / histogram.count,
        "histogram_stdvar" => FloatHistogram::variance,
        "histogram_stddev" => |histogram| histogram.variance().sqrt(),
        _ => return None,
    })
}

/// Applies `function` to every histogram; numbers are passed over.
pub(crate) fn map(call: &Call<'_>, function: fn(&FloatHistogram) -> f64) -> Result<Operand, EvalError> {
    let mut block = call.vector(0)?;
    let histograms = block.take_histograms();
    if histograms.is_empty() {
        return Ok(Operand::Vector(Block::empty(call.grid.count)));
    }
    for (index, histograms) in histograms.iter().enumerate() {
        let row = cells::Row { values: block.row(index), histograms };
        let found: Vec<(usize, f64)> =
            row.present_histograms().map(|(step, histogram)| (step, function(histogram))).collect();
        let values = block.row_mut(index);
        values.fill(ABSENT);
        for (step, value) in found {
            values[step] = value;
        }
    }
    block.retain_present();
    block.drop_metadata(call.ctx)?;
    Ok(Operand::Vector(block))
}

/// Tells about observations that are NaN. `name` is empty if it is not to be told.
pub(crate) fn tell_nan(call: &Call<'_>, span: Span, name: &str, remark: NanRemark) {
    let (function, effect) = match remark {
        NanRemark::ResultIsNan => ("histogram_quantile", "result is NaN"),
        NanRemark::SkewsHigher => ("histogram_quantile", "result is skewed higher"),
        NanRemark::ExcludedFromFractions => ("histogram_fraction", "which are excluded from all fractions"),
    };
    let metric = annotate::for_metric(name);
    call.ctx.info(span, format!("input to {function} has NaN observations, {effect}{metric}"));
}

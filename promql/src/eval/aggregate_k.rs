//! Aggregations that need the values of a group side by side: `topk bottomk limitk limit_ratio quantile count_values`.

use hashbrown::HashMap;
use mytsdb_storage::model::LabelSet;

use super::aggregate::{Groups, key_rule};
use super::annotate;
use super::block::{Block, RowLabels, Scalars};
use super::context::{Context, execution};
use super::labels::{LabelBudget, prometheus_hash, with_label};
use crate::engine::EvalError;
use crate::kernel::quantile::quantile;
use crate::kernel::{ABSENT, is_absent};
use crate::parse::ast::{Aggregate, AggregateOp, Grouping, Span};

/// The series of each group, in order.
fn members(groups: &Groups) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); groups.labels.len()];
    for (series, group) in groups.of_series.iter().enumerate() {
        members[*group as usize].push(series as u32);
    }
    members
}

fn extremes(param: &Scalars) -> (f64, f64) {
    let mut found = (f64::INFINITY, f64::NEG_INFINITY);
    for value in param.distinct().iter().filter(|value| !value.is_nan()) {
        found = (found.0.min(*value), found.1.max(*value));
    }
    found
}

/// `topk`, `bottomk`, `limitk`, `limit_ratio`.
pub(crate) fn select(
    ctx: &Context<'_>,
    aggregate: &Aggregate,
    param: &Scalars,
    (param_span, span): (Span, Span),
    mut block: Block,
) -> Result<Block, EvalError> {
    if !check_param(ctx, aggregate.op, param, param_span)? || block.len() == 0 {
        return Ok(Block::empty(block.step_count));
    }
    if matches!(aggregate.op, AggregateOp::TopK | AggregateOp::BottomK) {
        ignore_histograms(ctx, &mut block, aggregate.op, span);
    }
    let groups = Groups::new(&block.labels, &aggregate.grouping);
    let members = members(&groups);
    let step_count = block.step_count;
    let hashes: Vec<f64> = if aggregate.op == AggregateOp::LimitRatio {
        let mut buffer = Vec::new();
        let share = |labels: &RowLabels, buffer: &mut Vec<u8>| {
            prometheus_hash(&labels.set, buffer) as f64 / u64::MAX as f64
        };
        block.labels.iter().map(|labels| share(labels, &mut buffer)).collect()
    } else {
        Vec::new()
    };
    let mut order = Vec::new();
    let mut candidates: Vec<Candidate> = Vec::new();
    // An instant query shows them in order; of a range only matters who stays.
    let is_ordered = step_count == 1;
    for step in 0..step_count {
        if step % 64 == 0 {
            ctx.check_cancelled()?;
        }
        let param = param.at(step);
        for group in &members {
            candidates.clear();
            candidates.extend(
                group
                    .iter()
                    .map(|series| (block.values[*series as usize * step_count + step], *series))
                    .filter(|(value, _)| !is_absent(*value))
                    .map(|(value, series)| (rank(aggregate.op, value), series)),
            );
            let kept = keep(aggregate.op, param, &mut candidates, &hashes, is_ordered);
            for (_, series) in &candidates[kept..] {
                block.values[*series as usize * step_count + step] = ABSENT;
            }
            if is_ordered {
                order.extend(candidates[..kept].iter().map(|(_, series)| *series as usize));
            }
        }
    }
    if step_count == 1 {
        return Ok(block.reordered(&order));
    }
    block.retain_present();
    Ok(block)
}

/// Takes histograms away from an aggregation of numbers, and says so.
fn ignore_histograms(ctx: &Context<'_>, block: &mut Block, op: AggregateOp, span: Span) {
    if block.has_histograms() {
        if (0..block.len()).any(|index| block.cells(index).present_histograms().next().is_some()) {
            ctx.info(span, annotate::ignored_in_aggregation(op.as_str()));
        }
        block.drop_histograms();
    }
}

/// The rank of a value and its series: of equal values the series that comes first stays.
type Candidate = (u64, u32);

/// The rank of a value, smallest first, NaN last. PERF: integers compare in one step, values with their exceptions in
/// many.
fn rank(op: AggregateOp, value: f64) -> u64 {
    if value.is_nan() {
        return u64::MAX;
    }
    // Both zeros are the same.
    let bits = (value + 0.0).to_bits();
    let ascending = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
    if op == AggregateOp::TopK { !ascending } else { ascending }
}

/// Orders candidates so that those that stay come first, in order if `is_ordered`, and says how many these are.
fn keep(
    op: AggregateOp,
    param: f64,
    candidates: &mut [Candidate],
    hashes: &[f64],
    is_ordered: bool,
) -> usize {
    if op == AggregateOp::LimitRatio {
        let ratio = param.clamp(-1.0, 1.0);
        let is_kept = |series: u32| {
            let share = hashes[series as usize];
            ratio != 0.0 && if ratio > 0.0 { share < ratio } else { share >= 1.0 + ratio }
        };
        candidates.sort_by_key(|(_, series)| !is_kept(*series));
        return candidates.iter().take_while(|(_, series)| is_kept(*series)).count();
    }
    let count = if param < 1.0 { 0 } else { (param as usize).min(candidates.len()) };
    if count == 0 || op == AggregateOp::LimitK {
        return count;
    }
    if count < candidates.len() {
        candidates.select_nth_unstable(count - 1);
    }
    if is_ordered {
        candidates[..count].sort_unstable();
    }
    count
}

/// Checks the parameter over all steps; `false` means that nothing is selected at any.
fn check_param(ctx: &Context<'_>, op: AggregateOp, param: &Scalars, span: Span) -> Result<bool, EvalError> {
    let (min, max) = extremes(param);
    let has_nan = param.distinct().iter().any(|value| value.is_nan());
    if op == AggregateOp::LimitRatio {
        if has_nan {
            return Err(execution("Ratio value is NaN"));
        }
        for (given, capped) in [(max, 1.0), (min, -1.0)] {
            if given * capped > 1.0 {
                let (given, capped) = (annotate::format_g(given), annotate::format_g(capped));
                ctx.warn(
                    span,
                    format!("ratio value should be between -1 and 1, got {given}, capping to {capped}"),
                );
            }
        }
        return Ok(max != 0.0 || min != 0.0);
    }
    if has_nan {
        return Err(execution("Parameter value is NaN"));
    }
    if max < 1.0 {
        return Ok(false);
    }
    const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;
    if min <= -TWO_TO_63 {
        return Err(execution(format!("Scalar value {} underflows int64", annotate::format_g(min))));
    }
    if max >= TWO_TO_63 {
        return Err(execution(format!("Scalar value {} overflows int64", annotate::format_g(max))));
    }
    Ok(true)
}

/// `quantile(q, v)`.
pub(crate) fn quantiles(
    ctx: &Context<'_>,
    aggregate: &Aggregate,
    q: &Scalars,
    (q_span, span): (Span, Span),
    mut block: Block,
) -> Result<Block, EvalError> {
    ignore_histograms(ctx, &mut block, aggregate.op, span);
    let (min, max) = extremes(q);
    let has_nan = q.distinct().iter().any(|q| q.is_nan());
    for (is_wrong, q) in [(has_nan, f64::NAN), (max > 1.0, max), (min < 0.0, min)] {
        if is_wrong {
            ctx.warn(q_span, annotate::invalid_quantile(q));
        }
    }
    let groups = Groups::new(&block.labels, &aggregate.grouping);
    let members = members(&groups);
    let mut result = Block::absent(ctx, groups.labels, block.step_count, String::new)?;
    let mut values = Vec::new();
    for (group, members) in members.iter().enumerate() {
        ctx.check_cancelled()?;
        for step in 0..block.step_count {
            values.clear();
            let at_step =
                members.iter().map(|series| block.values[*series as usize * block.step_count + step]);
            values.extend(at_step.filter(|value| !is_absent(*value)));
            if !values.is_empty() {
                result.row_mut(group)[step] = quantile(q.at(step), &mut values);
            }
        }
    }
    result.retain_present();
    Ok(result)
}

/// `count_values("label", v)`: one series per group and value.
pub(crate) fn count_values(
    ctx: &Context<'_>,
    aggregate: &Aggregate,
    label: &[u8],
    block: &Block,
) -> Result<Block, EvalError> {
    let invalid = || execution(format!("invalid label name {}", annotate::quote(label)));
    let label = std::str::from_utf8(label).ok().filter(|label| !label.is_empty()).ok_or_else(invalid)?;
    // The value's label is set first and grouped by afterwards, as if the series had had it.
    let grouping = match &aggregate.grouping {
        Grouping::By(names) => Grouping::By(names.iter().cloned().chain([label.to_owned()]).collect()),
        without => without.clone(),
    };
    let rule = key_rule(&grouping);
    let mut rows: HashMap<LabelSet, usize> = HashMap::new();
    let mut labels: Vec<RowLabels> = Vec::new();
    let mut counts: Vec<Vec<f64>> = Vec::new();
    let mut reservations = Vec::new();
    let mut budget = LabelBudget::new(ctx);
    let mut text_of: HashMap<u64, usize> = HashMap::new();
    for (index, (series, values)) in block.rows().enumerate() {
        ctx.check_cancelled()?;
        text_of.clear();
        for (step, value) in values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
            let histogram = block.histogram(index, step);
            // Labels are made once per series and distinct value, not once per sample.
            let row = match text_of.get(&value.to_bits()) {
                Some(row) if histogram.is_none() => *row,
                _ => {
                    let text = histogram.map_or_else(|| annotate::format_plain(*value), ToString::to_string);
                    let with_value = with_label(&series.set, label, &text);
                    let key = rule.apply(&with_value);
                    let row = *rows.entry(key.clone()).or_insert(labels.len());
                    if row == labels.len() {
                        budget.add(&key)?;
                        labels.push(RowLabels::kept(key));
                        reservations.push(ctx.reserve_numbers(1, block.step_count, String::new)?);
                        counts.push(vec![ABSENT; block.step_count]);
                    }
                    text_of.insert(value.to_bits(), row);
                    row
                }
            };
            let count = &mut counts[row][step];
            *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
        }
    }
    let mut result = Block::absent(ctx, labels, block.step_count, String::new)?;
    for (index, row) in counts.iter().enumerate() {
        result.row_mut(index).copy_from_slice(row);
    }
    result.hold(budget.finish()?);
    Ok(result)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eval::sort::nan_last;

    proptest! {
        #[test]
        fn ranks_order_as_values_do(left: f64, right: f64, same: bool, is_topk: bool) {
            let right = if same { left } else { right };
            let op = if is_topk { AggregateOp::TopK } else { AggregateOp::BottomK };
            prop_assert_eq!(rank(op, left).cmp(&rank(op, right)), nan_last(left, right, is_topk));
        }
    }

    #[test]
    fn both_zeros_and_all_nans_have_the_same_rank() {
        for op in [AggregateOp::TopK, AggregateOp::BottomK] {
            assert_eq!(rank(op, 0.0), rank(op, -0.0));
            assert_eq!(rank(op, f64::NAN), rank(op, -f64::NAN));
            assert!(rank(op, f64::INFINITY) < rank(op, f64::NAN));
            assert!(rank(op, f64::NEG_INFINITY) < rank(op, f64::NAN));
        }
    }
}

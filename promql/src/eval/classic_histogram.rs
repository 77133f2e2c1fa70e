//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction` over classic buckets (`le` labels) and native
//! histograms.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{HashMap, HashSet};
use mytsdb_storage::model::LabelSet;
use rayon::prelude::*;

use super::annotate;
use super::block::{Block, RowLabels, Scalars};
use super::call::Call;
use super::labels::{KeyIndex, KeyRule, filtered, is_metadata, with_label, without_metadata};
use super::native_histogram;
use crate::engine::EvalError;
use crate::histogram::{FloatHistogram, NanRemark};
use crate::kernel::histogram::{Bucket, ForcedMonotonicity, bucket_fraction, bucket_quantile};
use crate::kernel::is_absent;
use crate::kernel::time::rfc3339;
use crate::parse::ast::Span;

const BUCKET_LABEL: &str = "le";

/// The series of one histogram: labels without `le`, and per bucket its bound and row.
struct Histogram {
    labels: RowLabels,
    buckets: Vec<(f64, usize)>,
}

/// A bound as Go's `ParseFloat` reads it.
fn parse_bound(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_word = ["inf", "infinity", "nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    let is_number = unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    if is_word || is_number { text.parse().ok() } else { None }
}

/// The histograms of a vector.
struct Found {
    /// The vector, which remarks point to.
    span: Span,
    classic: Vec<Histogram>,
    /// Rows that have native histograms.
    native: Vec<usize>,
    /// Classic histograms and steps at which there is a native one with the same labels: neither is looked at.
    classic_conflicts: HashSet<(usize, usize)>,
    /// As before, by row.
    native_conflicts: HashSet<(usize, usize)>,
}

/// Groups bucket series into histograms.
fn histograms(call: &Call<'_>, block: &Block, span: Span) -> Found {
    let is_delayed = call.ctx.options.delayed_name_removal;
    // The metric name is part of the key although it is not part of the result.
    let mut keys = KeyIndex::new(KeyRule::without_only(&[BUCKET_LABEL.to_owned()]));
    let mut classic: Vec<Histogram> = Vec::new();
    let mut native = Vec::new();
    let mut numbers = Vec::new();
    for (index, labels) in block.labels.iter().enumerate() {
        let cells = block.cells(index);
        if cells.present_histograms().next().is_some() {
            native.push(index);
            if cells.without_histograms(&mut numbers).iter().all(|value| is_absent(*value)) {
                continue;
            }
        }
        let bound_text = labels.set.get(BUCKET_LABEL).unwrap_or("");
        let Some(bound) = parse_bound(bound_text) else {
            if cells.without_histograms(&mut numbers).iter().any(|value| !is_absent(*value)) {
                let name = if is_delayed { labels.set.metric_name() } else { "" };
                call.ctx.warn(
                    span,
                    format!(
                        "bucket label \"le\" is missing or has a malformed value of {}{}",
                        annotate::quote(bound_text.as_bytes()),
                        annotate::for_metric(name)
                    ),
                );
            }
            continue;
        };
        let (number, is_new) = keys.number(&labels.set);
        if is_new {
            let set = filtered(&labels.set, |name| name != BUCKET_LABEL);
            classic.push(Histogram { labels: RowLabels { set, drop_name: true }, buckets: Vec::new() });
        }
        classic[number].buckets.push((bound, index));
    }
    for histogram in &mut classic {
        // Sorted once, not at every step.
        histogram.buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
    }
    let mut found =
        Found { span, classic, native, classic_conflicts: HashSet::new(), native_conflicts: HashSet::new() };
    found.find_conflicts(call, block);
    found
}

impl Found {
    /// Looks for classic and native histograms with the same labels at the same step.
    fn find_conflicts(&mut self, call: &Call<'_>, block: &Block) {
        if self.native.is_empty() || self.classic.is_empty() {
            return;
        }
        let by_labels: HashMap<&LabelSet, usize> =
            self.classic.iter().enumerate().map(|(number, classic)| (&classic.labels.set, number)).collect();
        let mut buckets = Vec::new();
        for row in &self.native {
            let labels = &block.labels[*row].set;
            let Some(number) = by_labels.get(labels).copied() else { continue };
            for (step, _) in block.cells(*row).present_histograms() {
                self.classic[number].gather(block, step, &mut buckets);
                if buckets.is_empty() {
                    continue;
                }
                self.classic_conflicts.insert((number, step));
                self.native_conflicts.insert((*row, step));
                let metric = annotate::for_metric(labels.metric_name());
                let text = format!("vector contains a mix of classic and native histograms{metric}");
                call.ctx.warn(self.span, text);
            }
        }
    }
}

impl Histogram {
    /// The labels of the result.
    fn result_labels(&self, is_delayed: bool) -> RowLabels {
        // The name is gone from the result at once in both modes; type and unit may wait.
        let set = filtered(&self.labels.set, |name| name != mytsdb_storage::model::METRIC_NAME);
        if is_delayed {
            RowLabels { set, drop_name: true }
        } else {
            RowLabels::kept(filtered(&set, |name| !is_metadata(name)))
        }
    }

    /// Fills `buckets` with those that have a value at `step`.
    fn gather(&self, block: &Block, step: usize, buckets: &mut Vec<Bucket>) {
        buckets.clear();
        for (upper_bound, row) in &self.buckets {
            let count = block.values[row * block.step_count + step];
            if !is_absent(count) && block.histogram(*row, step).is_none() {
                buckets.push(Bucket { upper_bound: *upper_bound, count });
            }
        }
    }
}

/// Steps of one histogram that are computed together.
const STEPS_PER_TILE: usize = 256;

/// Tiles that are worth a task of their own.
fn cells_per_task(step_count: usize) -> usize {
    (STEPS_PER_TILE / step_count.clamp(1, STEPS_PER_TILE)).max(1)
}

/// Computes one row per histogram with `of_classic(histogram, step, buckets)` and `of_native(histogram, step)`.
fn per_histogram(
    call: &Call<'_>,
    block: &Block,
    found: &Found,
    of_classic: impl Fn(&Histogram, usize, &mut Vec<Bucket>) -> f64 + Sync,
    of_native: impl Fn(&FloatHistogram, usize) -> (f64, Option<NanRemark>),
) -> Result<Block, EvalError> {
    let is_delayed = call.ctx.options.delayed_name_removal;
    let mut labels: Vec<RowLabels> =
        found.classic.iter().map(|histogram| histogram.result_labels(is_delayed)).collect();
    labels.extend(found.native.iter().map(|row| {
        let mut labels = block.labels[*row].clone();
        labels.drop_metadata(is_delayed);
        labels
    }));
    let mut result = Block::absent(call.ctx, labels, block.step_count, String::new)?;
    let mut tiles: Vec<(usize, usize, &mut [f64])> = Vec::new();
    let rows = result.values.chunks_mut(block.step_count.max(1)).take(found.classic.len());
    for (number, row) in rows.enumerate() {
        let of_row = row.chunks_mut(STEPS_PER_TILE).enumerate();
        tiles.extend(of_row.map(|(tile, values)| (number, tile * STEPS_PER_TILE, values)));
    }
    let fill = |(number, first_step, values): (usize, usize, &mut [f64])| {
        call.ctx.check_cancelled()?;
        let mut buckets = Vec::new();
        for (offset, value) in values.iter_mut().enumerate() {
            let step = first_step + offset;
            found.classic[number].gather(block, step, &mut buckets);
            if !buckets.is_empty() && !found.classic_conflicts.contains(&(number, step)) {
                *value = of_classic(&found.classic[number], step, &mut buckets);
            }
        }
        Ok::<(), EvalError>(())
    };
    tiles.into_par_iter().with_min_len(cells_per_task(block.step_count)).try_for_each(fill)?;
    for (number, row) in found.native.iter().enumerate() {
        if number % 64 == 0 {
            call.ctx.check_cancelled()?;
        }
        let name = if is_delayed { block.labels[*row].set.metric_name() } else { "" };
        let values = result.row_mut(found.classic.len() + number);
        for (step, histogram) in block.cells(*row).present_histograms() {
            if found.native_conflicts.contains(&(*row, step)) {
                continue;
            }
            let (value, remark) = of_native(Arc::as_ref(histogram), step);
            values[step] = value;
            if let Some(remark) = remark {
                native_histogram::tell_nan(call, found.span, name, remark);
            }
        }
    }
    result.retain_present();
    Ok(result)
}

fn warn_about_quantiles(call: &Call<'_>, q: &Scalars, span: Span) {
    for q in q.distinct().iter().filter(|q| q.is_nan() || !(0.0..=1.0).contains(*q)) {
        call.ctx.warn(span, annotate::invalid_quantile(*q));
    }
}

/// What was fixed in the buckets of one metric over all steps.
#[derive(Debug)]
struct Fixed {
    worst: ForcedMonotonicity,
    sample_count: usize,
    first_ms: i64,
    last_ms: i64,
}

/// Collects what was fixed, by metric name, and says so once.
#[derive(Debug, Default)]
struct FixedByMetric(Mutex<Vec<(String, Fixed)>>);

impl FixedByMetric {
    fn add(&self, name: &str, forced: ForcedMonotonicity, time_ms: i64) {
        // A panic of another thread ends the query anyway.
        let mut known_metrics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known_metrics.iter_mut().find(|(known, _)| known == name) {
            Some((_, fixed)) => {
                fixed.worst.min_bucket = fixed.worst.min_bucket.min(forced.min_bucket);
                fixed.worst.max_bucket = fixed.worst.max_bucket.max(forced.max_bucket);
                fixed.worst.max_diff = fixed.worst.max_diff.max(forced.max_diff);
                fixed.sample_count += 1;
                fixed.first_ms = fixed.first_ms.min(time_ms);
                fixed.last_ms = fixed.last_ms.max(time_ms);
            }
            None => known_metrics.push((
                name.to_owned(),
                Fixed { worst: forced, sample_count: 1, first_ms: time_ms, last_ms: time_ms },
            )),
        }
    }

    fn report(self, call: &Call<'_>, span: Span) {
        let mut metrics = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        // In an order that does not depend on threads.
        metrics.sort_by(|left, right| left.0.cmp(&right.0));
        for (name, fixed) in metrics {
            call.ctx.info(
                span,
                format!(
                    "input to histogram_quantile needed to be fixed for monotonicity (see \
                     https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}, \
                     from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
                    annotate::for_metric(&name),
                    annotate::format_g(fixed.worst.min_bucket),
                    annotate::format_g(fixed.worst.max_bucket),
                    annotate::format_two_digits(fixed.worst.max_diff),
                    fixed.sample_count,
                    rfc3339(fixed.first_ms),
                    rfc3339(fixed.last_ms),
                ),
            );
        }
    }
}

/// Quantile rows, noting what had to be fixed.
fn quantile_rows(
    call: &Call<'_>,
    block: &Block,
    found: &Found,
    q: &Scalars,
    fixed: &FixedByMetric,
) -> Result<Block, EvalError> {
    let is_delayed = call.ctx.options.delayed_name_removal;
    let of_classic = |histogram: &Histogram, step: usize, buckets: &mut Vec<Bucket>| {
        let (value, forced) = bucket_quantile(q.at(step), buckets);
        if let Some(forced) = forced {
            let name = if is_delayed { histogram.labels.set.metric_name() } else { "" };
            fixed.add(name, forced, call.grid.time_ms(step));
        }
        value
    };
    per_histogram(call, block, found, of_classic, |histogram, step| histogram.quantile(q.at(step)))
}

/// `histogram_quantile(q, buckets)`.
pub(crate) fn histogram_quantile(call: &Call<'_>) -> Result<Block, EvalError> {
    let q = call.scalars(0)?;
    warn_about_quantiles(call, &q, call.arg(0)?.span);
    let block = call.vector(1)?;
    let span = call.arg(1)?.span;
    let found = histograms(call, &block, span);
    let fixed = FixedByMetric::default();
    let mut result = quantile_rows(call, &block, &found, &q, &fixed)?;
    fixed.report(call, span);
    finish(call, &mut result)?;
    Ok(result)
}

/// `histogram_quantiles(buckets, label, q…)`: one series per quantile.
pub(crate) fn histogram_quantiles(call: &Call<'_>) -> Result<Block, EvalError> {
    let block = call.vector(0)?;
    let span = call.arg(0)?.span;
    let label = call.text(1)?;
    let found = histograms(call, &block, span);
    let fixed = FixedByMetric::default();
    let mut rows: Vec<(RowLabels, Vec<f64>)> = Vec::new();
    let mut reservations = Vec::new();
    for index in 2..call.args.len() {
        let q = call.scalars(index)?;
        warn_about_quantiles(call, &q, call.arg(index)?.span);
        let part = quantile_rows(call, &block, &found, &q, &fixed)?;
        reservations.push(call.ctx.reserve_numbers(part.len(), part.step_count, String::new)?);
        for (labels, row) in part.rows() {
            split_by_quantile(labels, row, &q, &label, &mut rows);
        }
    }
    fixed.report(call, span);
    let labels = rows.iter().map(|(labels, _)| labels.clone()).collect();
    let mut result = Block::absent(call.ctx, labels, block.step_count, String::new)?;
    for (index, (_, row)) in rows.iter().enumerate() {
        result.row_mut(index).copy_from_slice(row);
    }
    drop(reservations);
    result.merge_duplicates()?;
    Ok(result)
}

/// Adds one row per distinct quantile, as the label shows it.
fn split_by_quantile(
    labels: &RowLabels,
    row: &[f64],
    q: &Scalars,
    label: &str,
    rows: &mut Vec<(RowLabels, Vec<f64>)>,
) {
    let named = |q: f64| -> RowLabels {
        let set: LabelSet = with_label(&labels.set, label, &annotate::format_open_metrics(q));
        RowLabels { set, drop_name: labels.drop_name }
    };
    match q {
        Scalars::Constant(q) => rows.push((named(*q), row.to_vec())),
        Scalars::Steps(quantiles) => {
            let mut distinct = quantiles.clone();
            distinct.sort_by(f64::total_cmp);
            distinct.dedup_by(|left, right| left.to_bits() == right.to_bits());
            for one in distinct {
                let only = row.iter().zip(quantiles).map(|(value, q)| {
                    if q.to_bits() == one.to_bits() { *value } else { crate::kernel::ABSENT }
                });
                rows.push((named(one), only.collect()));
            }
        }
    }
}

/// `histogram_fraction(lower, upper, buckets)`.
pub(crate) fn histogram_fraction(call: &Call<'_>) -> Result<Block, EvalError> {
    let (lower, upper) = (call.scalars(0)?, call.scalars(1)?);
    let block = call.vector(2)?;
    let found = histograms(call, &block, call.arg(2)?.span);
    let of_classic = |_: &Histogram, step: usize, buckets: &mut Vec<Bucket>| {
        bucket_fraction(lower.at(step), upper.at(step), buckets)
    };
    let of_native =
        |histogram: &FloatHistogram, step: usize| histogram.fraction(lower.at(step), upper.at(step));
    let mut result = per_histogram(call, &block, &found, of_classic, of_native)?;
    finish(call, &mut result)?;
    Ok(result)
}

fn finish(call: &Call<'_>, result: &mut Block) -> Result<(), EvalError> {
    if !call.ctx.options.delayed_name_removal {
        for labels in &mut result.labels {
            labels.set = without_metadata(&labels.set);
        }
    }
    // Series that differed in their name only meet here, except in an instant query that drops names at the end.
    if call.ctx.options.delayed_name_removal && call.grid.count == 1 {
        Ok(())
    } else {
        result.merge_duplicates()
    }
}

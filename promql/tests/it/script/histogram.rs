//! Histograms of test scripts: literals, series of them, comparison, and those made of classic buckets.

use std::collections::BTreeMap;
use std::sync::Arc;

use mytsdb_promql::FloatHistogram;
use mytsdb_storage::model::{
    BucketSpan, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramLayout, LabelSet, LabelSetBuilder, METRIC_NAME,
    ResetHint,
};

use super::literal::number;
use super::runner::is_close;
use super::{Point, SeriesLine};

/// `{{…}}`, expanded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HistogramPoint {
    pub(crate) histogram: FloatHistogram,
    /// Whether the literal says what is known about resets.
    pub(crate) has_hint: bool,
}

fn list(text: &str) -> Result<Vec<f64>, String> {
    text.split_whitespace().map(number).collect()
}

/// The text between `{{` and `}}`.
pub(crate) fn literal(text: &str) -> Result<HistogramPoint, String> {
    let mut layout = HistogramLayout::default();
    let mut histogram = Histogram::default();
    let mut has_hint = false;
    let (mut offset, mut negative_offset) = (0, 0);
    let mut rest = text.trim();
    let mut seen: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| format!("bad histogram {text:?}"))?;
        let (value, after) = if let Some(inside) = after.strip_prefix('[') {
            inside.split_once(']').ok_or_else(|| format!("bad list in {text:?}"))?
        } else {
            after.split_at(after.find(' ').unwrap_or(after.len()))
        };
        rest = after.trim_start();
        let key = key.trim();
        if seen.contains(&key) {
            return Err(format!("{key} twice in {text:?}"));
        }
        seen.push(key);
        let integer = || value.parse::<i32>().map_err(|error| format!("{text:?}: {error}"));
        match key {
            "schema" => layout.schema = integer()? as i8,
            "sum" => histogram.sum = number(value)?,
            "count" => histogram.count = number(value)?,
            "z_bucket" => histogram.zero_count = number(value)?,
            "z_bucket_w" => layout.zero_threshold = number(value)?,
            "custom_values" => layout.custom_bounds = list(value)?,
            "buckets" => histogram.positive_counts = list(value)?,
            "n_buckets" => histogram.negative_counts = list(value)?,
            "offset" => offset = integer()?,
            "n_offset" => negative_offset = integer()?,
            "counter_reset_hint" => {
                has_hint = true;
                histogram.reset_hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    other => return Err(format!("unknown hint {other:?}")),
                };
            }
            other => return Err(format!("unknown key {other:?} in {text:?}")),
        }
    }
    let span = |offset: i32, counts: &[f64]| {
        if counts.is_empty() { vec![] } else { vec![BucketSpan { offset, length: counts.len() as u32 }] }
    };
    layout.positive_spans = span(offset, &histogram.positive_counts);
    layout.negative_spans = span(negative_offset, &histogram.negative_counts);
    histogram.layout = Arc::new(layout);
    Ok(HistogramPoint { histogram: FloatHistogram::from_stored(&histogram), has_hint })
}

/// `base+inc`, `base-inc` or `base`, `count` times.
pub(crate) fn series(
    base: HistogramPoint,
    increment: Option<(HistogramPoint, bool)>,
    count: usize,
) -> Result<Vec<HistogramPoint>, String> {
    let Some((increment, is_sum)) = increment else { return Ok(vec![base; count]) };
    if base.histogram.schema > increment.histogram.schema {
        return Err("the base is finer than what is added".to_owned());
    }
    let mut current = HistogramPoint { has_hint: increment.has_hint, ..base };
    let mut points = Vec::new();
    for _ in 0..count {
        points.push(current.clone());
        let result = if is_sum {
            current.histogram.add(&increment.histogram)
        } else {
            current.histogram.subtract(&increment.histogram)
        };
        result.map_err(|error| error.to_string())?;
    }
    Ok(points)
}

fn spans(buckets: impl Iterator<Item = (i32, f64)>) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut counts = Vec::new();
    let mut next = 0;
    for (index, count) in buckets {
        match spans.last_mut() {
            Some(last) if index == next => last.length += 1,
            _ => spans.push(BucketSpan { offset: index - next, length: 1 }),
        }
        next = index + 1;
        counts.push(count);
    }
    (spans, counts)
}

/// As storage keeps it.
pub(crate) fn stored(point: &HistogramPoint) -> Histogram {
    let histogram = &point.histogram;
    let (positive_spans, positive_counts) = spans(histogram.positive_buckets());
    let (negative_spans, negative_counts) = spans(histogram.negative_buckets());
    let layout = HistogramLayout {
        schema: histogram.schema,
        is_integer: false,
        zero_threshold: histogram.zero_threshold,
        positive_spans,
        negative_spans,
        custom_bounds: histogram.custom_bounds().to_vec(),
    };
    Histogram {
        layout: Arc::new(layout),
        reset_hint: histogram.reset_hint,
        start_ms: None,
        count: histogram.count,
        sum: histogram.sum,
        zero_count: histogram.zero_count,
        positive_counts,
        negative_counts,
    }
}

/// Prometheus' rules for equal histograms in scripts.
pub(crate) fn is_same(expected: &HistogramPoint, found: &FloatHistogram) -> bool {
    let (mut left, mut right) = (expected.histogram.clone(), found.clone());
    left.compact();
    right.compact();
    let is_same_side = |left: Vec<(i32, f64)>, right: Vec<(i32, f64)>| {
        left.len() == right.len()
            && left.iter().zip(&right).all(|(left, right)| left.0 == right.0 && is_close(left.1, right.1))
    };
    left.schema == right.schema
        && left.zero_threshold == right.zero_threshold
        && is_close(left.count, right.count)
        && is_close(left.sum, right.sum)
        && is_close(left.zero_count, right.zero_count)
        && left.custom_bounds() == right.custom_bounds()
        && is_same_side(left.positive_buckets().collect(), right.positive_buckets().collect())
        && is_same_side(left.negative_buckets().collect(), right.negative_buckets().collect())
        && (!expected.has_hint || left.reset_hint == right.reset_hint)
}

/// The classic histogram of one time.
#[derive(Debug, Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl Classic {
    fn convert(mut self) -> Result<HistogramPoint, String> {
        self.buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        self.buckets.dedup_by(|next, kept| next.0 == kept.0);
        if self.buckets.last().is_none_or(|last| last.0 != f64::INFINITY) {
            let highest = self.buckets.last().map_or(0.0, |last| last.1);
            self.buckets.push((f64::INFINITY, self.count.unwrap_or(highest)));
        }
        let mut counts = Vec::new();
        let mut previous = 0.0;
        for (_, cumulative) in &self.buckets {
            if *cumulative < previous {
                return Err("counts of classic buckets decrease".to_owned());
            }
            counts.push(cumulative - previous);
            previous = *cumulative;
        }
        if self.count.is_some_and(|count| count != previous) {
            return Err("count and +Inf bucket differ".to_owned());
        }
        let bounds: Vec<f64> =
            self.buckets.iter().map(|(bound, _)| *bound).filter(|b| b.is_finite()).collect();
        let layout = HistogramLayout {
            schema: CUSTOM_BOUNDS_SCHEMA,
            positive_spans: vec![BucketSpan { offset: 0, length: counts.len() as u32 }],
            custom_bounds: bounds,
            ..HistogramLayout::default()
        };
        let histogram = Histogram {
            layout: Arc::new(layout),
            count: previous,
            sum: self.sum,
            positive_counts: counts,
            ..Histogram::default()
        };
        Ok(HistogramPoint { histogram: FloatHistogram::from_stored(&histogram), has_hint: false })
    }
}

/// The histogram series that `load_with_nhcb` makes out of classic ones.
pub(crate) fn converted(series: &[SeriesLine]) -> Result<Vec<SeriesLine>, String> {
    let mut found: BTreeMap<LabelSet, BTreeMap<usize, Classic>> = BTreeMap::new();
    for line in series {
        let name = line.labels.metric_name();
        let bound = line.labels.get("le").and_then(|le| le.parse::<f64>().ok()).filter(|le| !le.is_nan());
        let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| name.ends_with(suffix));
        let Some(suffix) = suffix else { continue };
        if suffix == "_bucket" && bound.is_none() {
            continue;
        }
        let mut builder = LabelSetBuilder::new(&line.labels);
        builder.set(METRIC_NAME, &name[..name.len() - suffix.len()]).delete("le");
        let by_time = found.entry(builder.build()).or_default();
        for (index, point) in line.points.iter().enumerate() {
            let Point::Float(value) = point else { continue };
            let classic = by_time.entry(index).or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => classic.buckets.push((bound, *value)),
                ("_count", _) => classic.count = Some(*value),
                _ => classic.sum = *value,
            }
        }
    }
    let mut lines = Vec::new();
    for (labels, by_time) in found {
        let length = by_time.keys().last().map_or(0, |last| last + 1);
        let mut points = vec![Point::Gap; length];
        for (index, classic) in by_time {
            if classic.buckets.is_empty() && classic.count.is_none() {
                continue;
            }
            points[index] = Point::Histogram(Box::new(classic.convert()?));
        }
        lines.push(SeriesLine { labels, points, starts: Vec::new() });
    }
    Ok(lines)
}

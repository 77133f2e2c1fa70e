//! Deltas of one series that end in the same millisecond but began at different times: they are added.
//!
//! Why: a series has one sample per millisecond. A point with the same start as one before is a repeat: it
//! is not added.
//! Only within one request; across requests the later sample wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use mytsdb_storage::model::{BucketSpan, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramLayout};

use super::Part;
use super::builder::{Builder, Point};
use super::exponential::SpanWriter;

/// Where the deltas of this request are, by key and time.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    found: HashMap<(u128, i64), Delta>,
}

#[derive(Debug)]
struct Delta {
    /// Index of the sample, or of the histogram.
    position: usize,
    start_ns: u64,
    /// When the others began that were added to it.
    more_starts_ns: Vec<u64>,
}

/// What to do with a delta.
enum Step {
    /// It is the first of its moment, or replaces the one there.
    Store,
    /// It is added to what is at this position.
    AddTo(usize),
    /// It is in the sum already.
    Skip,
}

impl Deltas {
    /// `position` is where the delta would be stored.
    fn step(&mut self, key: u128, point: &Point, position: usize) -> Step {
        let start_ns = point.start_ns;
        match self.found.entry((key, point.time_ms)) {
            Entry::Vacant(free) => {
                free.insert(Delta { position, start_ns, more_starts_ns: Vec::new() });
                Step::Store
            }
            Entry::Occupied(mut taken) => {
                let delta = taken.get_mut();
                if point.is_stale || (delta.start_ns == start_ns && delta.more_starts_ns.is_empty()) {
                    delta.position = position;
                    return Step::Store;
                }
                if delta.start_ns == start_ns || delta.more_starts_ns.contains(&start_ns) {
                    return Step::Skip;
                }
                delta.more_starts_ns.push(start_ns);
                Step::AddTo(delta.position)
            }
        }
    }
}

impl Builder<'_, '_> {
    /// Adds a value to the delta of the same moment, if there is one. Otherwise the caller adds a sample now.
    pub(super) fn merged(&mut self, key: u128, point: &Point, part: Part, value: f64) -> bool {
        let position = match self.deltas.step(key, point, self.out.values.len()) {
            Step::Store => return false,
            Step::Skip => return true,
            Step::AddTo(position) => position,
        };
        if let Some(sum) = self.out.values.get_mut(position) {
            *sum = match part {
                Part::Min => sum.min(value),
                Part::Max => sum.max(value),
                _ => *sum + value,
            };
        }
        true
    }

    /// Adds a histogram to the delta of the same moment, if there is one; otherwise returns it, to be added now.
    pub(super) fn merged_histogram(
        &mut self,
        key: u128,
        point: &Point,
        histogram: Histogram,
    ) -> Option<Histogram> {
        let position = match self.deltas.step(key, point, self.out.histograms.len()) {
            Step::Store => return Some(histogram),
            Step::Skip => return None,
            Step::AddTo(position) => position,
        };
        let sample = self.out.histograms.get_mut(position)?;
        match add(&sample.histogram, &histogram) {
            Some(sum) => sample.histogram = sum,
            None => self.refuse("delta_conflict", || {
                "two deltas of the same millisecond have buckets that cannot be added".to_owned()
            }),
        }
        None
    }
}

/// The sum of two histograms in the coarser of their schemas; `None` if their buckets do not fit together.
fn add(left: &Histogram, right: &Histogram) -> Option<Histogram> {
    let (one, other) = (&left.layout, &right.layout);
    let is_custom = one.schema == CUSTOM_BOUNDS_SCHEMA || other.schema == CUSTOM_BOUNDS_SCHEMA;
    if (is_custom && (one.schema, &one.custom_bounds) != (other.schema, &other.custom_bounds))
        || one.zero_threshold.to_bits() != other.zero_threshold.to_bits()
    {
        return None;
    }
    let schema = one.schema.min(other.schema);
    let both = |spans: fn(&HistogramLayout) -> &[BucketSpan], counts: fn(&Histogram) -> &[f64]| {
        let mut buckets = BTreeMap::<i64, f64>::new();
        for histogram in [left, right] {
            let shift = u32::from((histogram.layout.schema - schema).unsigned_abs());
            for (index, count) in indexed(spans(&histogram.layout), counts(histogram)) {
                // A bucket ends at its index: it lies in the wider one that ends there or behind.
                let index = if shift == 0 { index } else { ((index - 1) >> shift) + 1 };
                *buckets.entry(index).or_default() += count;
            }
        }
        let mut writer = SpanWriter::default();
        buckets.into_iter().for_each(|(index, count)| writer.add(index, count));
        writer.finish()
    };
    let (positive_spans, positive_counts) =
        both(|layout| &layout.positive_spans, |histogram| &histogram.positive_counts)?;
    let (negative_spans, negative_counts) =
        both(|layout| &layout.negative_spans, |histogram| &histogram.negative_counts)?;
    Some(Histogram {
        layout: Arc::new(HistogramLayout {
            schema,
            is_integer: one.is_integer && other.is_integer,
            zero_threshold: one.zero_threshold,
            positive_spans,
            negative_spans,
            custom_bounds: one.custom_bounds.clone(),
        }),
        reset_hint: left.reset_hint,
        start_ms: left.start_ms.min(right.start_ms),
        count: left.count + right.count,
        sum: left.sum + right.sum,
        zero_count: left.zero_count + right.zero_count,
        positive_counts,
        negative_counts,
    })
}

/// Buckets with their indices.
fn indexed<'h>(spans: &'h [BucketSpan], counts: &'h [f64]) -> impl Iterator<Item = (i64, f64)> + 'h {
    let mut end = 0_i64;
    let indices = spans.iter().flat_map(move |span| {
        let start = end + i64::from(span.offset);
        end = start + i64::from(span.length);
        start..end
    });
    indices.zip(counts.iter().copied())
}

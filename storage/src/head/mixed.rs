//! Floats and histograms of one series, merged, on their way into chunks: for a flush and for compaction.

use std::sync::Arc;

use super::series::{Codec, SealedChunk};
use super::{CHUNK_SAMPLE_COUNT, HISTOGRAM_CHUNK_SAMPLE_COUNT, HistogramRows, seal_histograms};
use crate::model::{Histogram, StartSlice, StartTimes};
use crate::read::merge_halves;

/// Ascending samples of one series, floats and histograms: what merging gives and chunks are cut from.
#[derive(Debug)]
pub(crate) struct MixedSamples {
    timestamps_ms: Vec<i64>,
    samples: Vec<MixedSample>,
}

#[derive(Debug, Clone)]
enum MixedSample {
    /// A value and its start time.
    Float(f64, i64),
    Histogram(Arc<Histogram>),
}

/// A part of [`MixedSamples`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct MixedSlice<'a> {
    timestamps_ms: &'a [i64],
    samples: &'a [MixedSample],
}

impl MixedSamples {
    /// Starts with histograms.
    pub(crate) fn new(rows: HistogramRows) -> Self {
        let samples = rows.rows.into_iter().map(MixedSample::Histogram).collect();
        Self { timestamps_ms: rows.timestamps_ms, samples }
    }

    /// Adds ascending floats; what is there already wins.
    pub(crate) fn merge_floats(&mut self, timestamps_ms: &[i64], values: &[f64], starts: StartSlice<'_>) {
        if values.is_empty() {
            return;
        }
        let middle = values.len();
        let known = std::mem::take(&mut self.samples);
        let floats = values.iter().zip(starts.each(values.len()));
        self.samples =
            floats.map(|(value, start_ms)| MixedSample::Float(*value, start_ms)).chain(known).collect();
        self.timestamps_ms.splice(0..0, timestamps_ms.iter().copied());
        merge_halves(0, middle, &mut self.timestamps_ms, &mut self.samples);
    }

    /// Parts between whose neighbours `is_same` does not hold.
    pub(crate) fn split_by(
        &self,
        is_same: impl Fn(i64, i64) -> bool,
    ) -> impl Iterator<Item = MixedSlice<'_>> {
        let mut start = 0;
        self.timestamps_ms.chunk_by(move |left_ms, right_ms| is_same(*left_ms, *right_ms)).map(
            move |timestamps_ms| {
                let samples = &self.samples[start..start + timestamps_ms.len()];
                start += timestamps_ms.len();
                MixedSlice { timestamps_ms, samples }
            },
        )
    }
}

impl MixedSlice<'_> {
    /// Encodes the samples into chunks, ascending, each of one kind and layout.
    pub(crate) fn seal(&self, codec: &mut Codec, mut take: impl FnMut(SealedChunk)) {
        let mut start = 0;
        let is_same_kind = |left: &MixedSample, right: &MixedSample| {
            matches!(left, MixedSample::Float(..)) == matches!(right, MixedSample::Float(..))
        };
        for same_kind in self.samples.chunk_by(is_same_kind) {
            let timestamps_ms = &self.timestamps_ms[start..start + same_kind.len()];
            start += same_kind.len();
            let (mut values, mut starts, mut rows) = (Vec::new(), StartTimes::new(), Vec::new());
            for sample in same_kind {
                match sample {
                    MixedSample::Float(value, start_ms) => {
                        starts.push(values.len(), *start_ms);
                        values.push(*value);
                    }
                    MixedSample::Histogram(histogram) => rows.push(Arc::clone(histogram)),
                }
            }
            if rows.is_empty() {
                let chunk_samples = values.len().div_ceil(values.len().div_ceil(CHUNK_SAMPLE_COUNT));
                let mut position = 0;
                for (times, values) in timestamps_ms.chunks(chunk_samples).zip(values.chunks(chunk_samples)) {
                    take(codec.seal(times, values, starts.slice(position..position + values.len())));
                    position += values.len();
                }
            } else {
                seal_histograms(timestamps_ms, &rows, HISTOGRAM_CHUNK_SAMPLE_COUNT, codec, &mut take);
            }
        }
    }
}

//! What becomes of the histograms and exemplars of a batch: checked one by one, histograms encoded at once.
//!
//! Pure but for encoding. Not here: floats (see `plan`).

use std::sync::Arc;

use hashbrown::HashMap;

use super::plan::{TimeWindow, WritePlan};
use crate::batch::{ExemplarSample, HistogramSample, RejectReason, Rejection, WriteBatch, WriteReport};
use crate::chunk::histogram_run_length;
use crate::head::{Codec, HISTOGRAM_CHUNK_SAMPLE_COUNT, Resolution};
use crate::model::{EXEMPLAR_LABEL_CHARS_MAX, Exemplar, Histogram};

/// Accepted histograms of one series, of ascending time.
#[derive(Debug, Default)]
struct Run {
    series_index: usize,
    timestamps_ms: Vec<i64>,
    rows: Vec<Arc<Histogram>>,
}

impl WritePlan<'_> {
    /// Adds the histograms and exemplars of a batch; refusals go to `report`.
    pub(super) fn add_sparse(
        &mut self,
        batch: &WriteBatch<'_>,
        series_refs: &[u32],
        window: TimeWindow,
        report: &mut WriteReport,
    ) {
        if !batch.histograms.is_empty() {
            self.add_histograms(batch.histograms, series_refs, window, report);
        }
        for sample in batch.exemplars {
            let series_ref = series_refs[sample.series_index];
            match exemplar_refusal(sample, series_ref, window) {
                None => self.exemplars.push((series_ref, sample.exemplar.clone())),
                Some(reason) => count_rejection(&mut report.exemplar_rejections, sample.series_index, reason),
            }
        }
        report.accepted_exemplar_count = self.exemplars.len();
    }

    fn add_histograms(
        &mut self,
        samples: &[HistogramSample],
        series_refs: &[u32],
        window: TimeWindow,
        report: &mut WriteReport,
    ) {
        let refused_series: HashMap<usize, usize> = report
            .rejections
            .iter()
            .enumerate()
            .filter(|(_, rejection)| series_refs[rejection.series_index] == Resolution::REJECTED)
            .map(|(position, rejection)| (rejection.series_index, position))
            .collect();
        let mut run = Run::default();
        for sample in samples {
            if let Some(position) = refused_series.get(&sample.series_index) {
                report.rejections[*position].sample_count += 1;
                continue;
            }
            match accepted(sample, window) {
                Ok(histogram) => {
                    let follows = run.timestamps_ms.last().is_none_or(|last_ms| *last_ms < sample.time_ms);
                    if sample.series_index != run.series_index || !follows {
                        self.seal(&mut run, series_refs);
                        run.series_index = sample.series_index;
                    }
                    run.timestamps_ms.push(sample.time_ms);
                    run.rows.push(Arc::new(histogram));
                    report.accepted_histogram_count += 1;
                }
                Err(reason) => count_rejection(&mut report.rejections, sample.series_index, reason),
            }
        }
        self.seal(&mut run, series_refs);
    }

    /// Encodes a run and empties it.
    fn seal(&mut self, run: &mut Run, series_refs: &[u32]) {
        let mut start = 0;
        while start < run.rows.len() {
            let end = run.rows.len().min(start + HISTOGRAM_CHUNK_SAMPLE_COUNT);
            let end = start + histogram_run_length(&run.rows[start..end]);
            let chunk = Codec::with(|codec| {
                codec.seal_histograms(&run.timestamps_ms[start..end], &run.rows[start..end])
            });
            self.chunks.push((series_refs[run.series_index], Arc::new(chunk)));
            start = end;
        }
        run.timestamps_ms.clear();
        run.rows.clear();
    }
}

/// The histogram as it is stored.
fn accepted(sample: &HistogramSample, window: TimeWindow) -> Result<Histogram, RejectReason> {
    if let Some(reason) = window.refusal(sample.time_ms) {
        return Err(reason);
    }
    // Of a marker only the marker counts: senders disagree about the rest.
    if sample.histogram.is_stale() {
        return Ok(Histogram::stale());
    }
    match sample.histogram.validate() {
        Ok(()) => Ok(sample.histogram.clone()),
        Err(error) => Err(RejectReason::InvalidHistogram(error.to_string())),
    }
}

fn exemplar_refusal(sample: &ExemplarSample, series_ref: u32, window: TimeWindow) -> Option<RejectReason> {
    let Exemplar { labels, time_ms, .. } = &sample.exemplar;
    if series_ref == Resolution::REJECTED {
        return Some(RejectReason::InvalidExemplar("its series was refused".to_owned()));
    }
    let given: usize = labels.iter().map(|(name, value)| name.chars().count() + value.chars().count()).sum();
    if given > EXEMPLAR_LABEL_CHARS_MAX {
        let reason = format!("labels have {given} characters, the limit is {EXEMPLAR_LABEL_CHARS_MAX}");
        return Some(RejectReason::InvalidExemplar(reason));
    }
    window.refusal(*time_ms)
}

/// Counts one more refusal of a series, for the kind of reason that came last.
fn count_rejection(rejections: &mut Vec<Rejection>, series_index: usize, reason: RejectReason) {
    match rejections.last_mut() {
        Some(last) if last.series_index == series_index && last.reason.label() == reason.label() => {
            last.sample_count += 1;
        }
        _ => rejections.push(Rejection { series_index, sample_count: 1, reason }),
    }
}

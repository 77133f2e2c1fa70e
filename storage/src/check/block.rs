//! One block against itself: pages, index and chunks, and its tombstones.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use roaring::RoaringBitmap;

use super::{CheckReport, Findings};
use crate::block::layout::{BlockRef, Day};
use crate::block::reader::{BlockReader, ChunkView};
use crate::block::tombstones::Tombstones;
use crate::block::view::BlockView;
use crate::chunk::{ChunkDecoder, ChunkError, is_histogram_chunk};
use crate::fs::FileSystem;
use crate::model::{LabelSet, MatchOp, Matcher, StartTimes, TimeRange};
use crate::read::ReadError;

/// Verifies a block, and its tombstones of `tombstone_generation`.
pub(super) fn check(
    fs: &dyn FileSystem,
    data_dir: &Path,
    block: &BlockRef,
    tombstone_generation: Option<u64>,
) -> CheckReport {
    let path = block.path(data_dir);
    let mut findings = Findings::of(&path);
    let mut report = CheckReport::default();
    let reader = match BlockReader::open(fs, &path) {
        Ok(reader) => Arc::new(reader),
        Err(damage) => {
            findings.damage(damage.to_string());
            report.findings = findings.into_vec();
            return report;
        }
    };
    let meta = reader.meta();
    report.block_count = 1;
    report.series_count = u64::from(meta.series_count);
    report.chunk_count = meta.chunk_count;
    report.sample_count = meta.sample_count;
    report.block_bytes = meta.file_bytes;
    let days = [meta.min_ms, meta.max_ms].map(Day::of_ms);
    if meta.id != block.id || meta.tenant != block.tenant || days != [block.day; 2] {
        findings.damage(format!(
            "is block {:016x} of tenant {} from {} to {}, which is not what its path says",
            meta.id, meta.tenant, days[0], days[1]
        ));
    }
    let mut contents = Contents { reader: &reader, findings: &mut findings, decoder: ChunkDecoder::new() };
    contents.check_pages();
    contents.check_series();
    report.findings = findings.into_vec();
    if let Some(generation) = tombstone_generation {
        report.tombstone_file_count = 1;
        report.findings.extend(check_tombstones(fs, data_dir, block, generation, &reader));
    }
    report
}

/// Verifies that tombstones name series and times that the block has.
fn check_tombstones(
    fs: &dyn FileSystem,
    data_dir: &Path,
    block: &BlockRef,
    generation: u64,
    reader: &BlockReader,
) -> Vec<super::Finding> {
    let path = block.tombstone_path(data_dir, generation);
    let mut findings = Findings::of(&path);
    let meta = reader.meta();
    match Tombstones::read(fs, &path, block.id, generation) {
        Err(damage) => findings.damage(damage.to_string()),
        Ok(tombstones) => {
            for (series_id, intervals) in tombstones.iter() {
                if series_id >= meta.series_count {
                    findings
                        .damage(format!("series {series_id} is none of the block's {}", meta.series_count));
                }
                let (first_ms, last_ms) = reader.whole_span_ms();
                let span = TimeRange::from_inclusive(first_ms, last_ms);
                if intervals
                    .iter()
                    .any(|deleted| deleted.start_ms < span.start_ms || deleted.end_ms > span.end_ms)
                {
                    findings.damage(format!("deleted times of series {series_id} lie outside the block"));
                }
            }
        }
    }
    findings.into_vec()
}

/// Decodes the values of a chunk of any kind.
///
/// # Errors
/// [`ChunkError`] if there are not exactly `count`.
pub(super) fn decode_any(decoder: &mut ChunkDecoder, values: &[u8], count: usize) -> Result<(), ChunkError> {
    if is_histogram_chunk(values) {
        decoder.decode_histograms(values, count, &mut Vec::new())
    } else {
        decoder.decode_starts(values, count, 0..count, 0, &mut StartTimes::new())?;
        decoder.decode_values(values, count, &mut Vec::new())
    }
}

/// What the series themselves say, to hold the index against.
#[derive(Default)]
struct Pairs {
    series_by_value: BTreeMap<String, HashMap<String, RoaringBitmap>>,
}

impl Pairs {
    fn add(&mut self, labels: &LabelSet, series_id: u32) {
        for (name, value) in labels.iter() {
            if !self.series_by_value.contains_key(name) {
                self.series_by_value.insert(name.to_owned(), HashMap::new());
            }
            if let Some(values) = self.series_by_value.get_mut(name) {
                values.entry_ref(value).or_default().insert(series_id);
            }
        }
    }
}

struct Contents<'a> {
    reader: &'a Arc<BlockReader>,
    findings: &'a mut Findings,
    decoder: ChunkDecoder,
}

impl Contents<'_> {
    fn check_pages(&mut self) {
        for page in 0..self.reader.page_count() {
            if let Err(damage) = self.reader.verify_page(page) {
                self.findings.damage(damage.to_string());
            }
        }
    }

    /// Walks over all series: labels ascend, chunks are what they announce, the sums are those of STATS.
    fn check_series(&mut self) {
        let meta = self.reader.meta();
        let mut pairs = Pairs::default();
        let mut previous: Option<LabelSet> = None;
        let mut totals = Totals::default();
        for series_id in 0..meta.series_count {
            match self.reader.labels(series_id) {
                Err(damage) => self.findings.damage(damage.to_string()),
                Ok(labels) => {
                    if previous.as_ref().is_some_and(|previous| *previous >= labels) {
                        self.findings.damage(format!("label set of series {series_id} does not ascend"));
                    }
                    pairs.add(&labels, series_id);
                    previous = Some(labels);
                }
            }
            if let Err(damage) = self.check_chunks(series_id, &mut totals) {
                self.findings.damage(damage.to_string());
            }
        }
        let announced = [meta.chunk_count, meta.sample_count, meta.series_sample_count_max].map(i128::from);
        let found = [totals.chunk_count, totals.sample_count, totals.series_sample_count_max].map(i128::from);
        if announced != found {
            self.findings.damage(format!(
                "STATS announces {announced:?} chunks, samples and most samples of a series, found are {found:?}"
            ));
        }
        if totals.span_ms != Some((meta.min_ms, meta.max_ms)) {
            self.findings.damage(format!(
                "header announces times from {} to {} ms, found are {:?}",
                meta.min_ms, meta.max_ms, totals.span_ms
            ));
        }
        let rest = self.check_index(&pairs).and_then(|()| self.check_exemplars());
        if let Err(damage) = rest {
            self.findings.damage(damage.to_string());
        }
    }

    /// Reads the exemplars of all series.
    fn check_exemplars(&mut self) -> Result<(), ReadError> {
        let view = BlockView::whole(Arc::clone(self.reader));
        let mut cursor = view.exemplars();
        let mut exemplars = Vec::new();
        for series_id in 0..self.reader.meta().series_count {
            exemplars.clear();
            cursor.read(series_id, TimeRange::ALL, &mut exemplars)?;
            if !exemplars.is_sorted_by_key(|exemplar| exemplar.time_ms) {
                self.findings.damage(format!("exemplars of series {series_id} do not ascend"));
            }
        }
        Ok(())
    }

    fn check_chunks(&mut self, series_id: u32, totals: &mut Totals) -> Result<(), ReadError> {
        let mut chunks = Vec::new();
        self.reader.chunks(series_id, TimeRange::ALL, &mut chunks)?;
        let mut previous_max_ms = i64::MIN;
        let mut sample_count = 0;
        for chunk in &chunks {
            if chunk.min_ms <= previous_max_ms {
                self.findings.damage(format!("chunks of series {series_id} overlap at {} ms", chunk.min_ms));
            }
            previous_max_ms = chunk.max_ms;
            sample_count += u64::from(chunk.sample_count);
            totals.chunk_count += 1;
            totals.span_ms = Some(totals.span_ms.map_or((chunk.min_ms, chunk.max_ms), |(min_ms, max_ms)| {
                (min_ms.min(chunk.min_ms), max_ms.max(chunk.max_ms))
            }));
            // Series share timestamp columns: each is decoded once.
            if totals.checked_columns.insert(chunk.timestamps_id) {
                self.check_column(series_id, chunk)?;
            }
            let values = self.reader.values(chunk)?;
            if let Err(damage) = decode_any(&mut self.decoder, values, chunk.sample_count as usize) {
                self.findings
                    .damage(format!("values of series {series_id} at {} ms: {damage}", chunk.min_ms));
            }
        }
        if chunks.is_empty() {
            self.findings.damage(format!("series {series_id} has no chunk"));
        }
        totals.sample_count += sample_count;
        totals.series_sample_count_max = totals.series_sample_count_max.max(sample_count);
        Ok(())
    }

    fn check_column(&mut self, series_id: u32, chunk: &ChunkView) -> Result<(), ReadError> {
        let mut timestamps_ms = Vec::new();
        let bytes = self.reader.timestamps(chunk)?;
        let decoded = self.decoder.decode_timestamps(bytes, chunk.sample_count as usize, &mut timestamps_ms);
        let place = format!("times of series {series_id} at {} ms", chunk.min_ms);
        match decoded {
            Err(damage) => self.findings.damage(format!("{place}: {damage}")),
            Ok(()) if !timestamps_ms.is_sorted_by(|left, right| left < right) => {
                self.findings.damage(format!("{place} do not ascend"));
            }
            Ok(())
                if (timestamps_ms.first(), timestamps_ms.last())
                    != (Some(&chunk.min_ms), Some(&chunk.max_ms)) =>
            {
                self.findings.damage(format!("{place} are not those announced"));
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Holds names, values and postings against the label sets.
    fn check_index(&mut self, pairs: &Pairs) -> Result<(), ReadError> {
        let names = self.reader.label_names(None)?;
        if !names.iter().eq(pairs.series_by_value.keys()) {
            self.findings.damage(format!("index has the label names {names:?}, its series have others"));
        }
        for (name, series_by_value) in &pairs.series_by_value {
            let values = self.reader.label_values(name, None)?;
            if values.len() != series_by_value.len()
                || values.iter().any(|value| !series_by_value.contains_key(value))
            {
                self.findings
                    .damage(format!("values of label {name:?} in the index are not those of its series"));
            }
            for (value, expected) in series_by_value {
                let Ok(matcher) = Matcher::new(MatchOp::Equal, name, value) else { continue };
                if self.reader.select(&[matcher])? != *expected {
                    self.findings.damage(format!("postings of {name}={value:?} are not its series"));
                }
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Totals {
    chunk_count: u64,
    sample_count: u64,
    series_sample_count_max: u64,
    span_ms: Option<(i64, i64)>,
    checked_columns: HashSet<u32>,
}

//! The immutable view that one query reads: the blocks and head generations of one tenant at one moment.
//!
//! A flush or a dropped block after that moment changes nothing here: whatever the snapshot names stays readable
//! until the snapshot is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;

use crate::block::reader::BlockReader;
use crate::block::view::BlockView;
use crate::damage::DamagedFile;
use crate::head::{Generation, SeriesTable};
use crate::model::{Exemplar, LabelSet, METRIC_NAME, Matcher, MetricMetadata, TimeRange};
use crate::read::{self, ReadError, SeriesSet, Source};

/// Everything one tenant has stored, as of one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Generations of the head, oldest first.
    pub(crate) generations: Vec<Arc<Generation>>,
    /// Blocks by ascending precedence: what is in later ones was written later.
    pub(crate) blocks: Arc<[BlockView]>,
    pub(crate) metadata: Arc<Vec<MetricMetadata>>,
    /// Damaged files of the tenant.
    pub(crate) damaged: Vec<DamagedFile>,
}

/// What one block file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockInfo {
    /// Unique in the data directory.
    pub id: u64,
    /// First to last sample.
    pub range: TimeRange,
    /// Series inside.
    pub series_count: usize,
    /// Chunks inside.
    pub chunk_count: u64,
    /// Samples inside, deleted ones included.
    pub sample_count: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// How often its samples were merged.
    pub level: u8,
    /// Whether some of its samples are deleted.
    pub has_deletes: bool,
}

/// How many series there are, and which names and pairs have most of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cardinality {
    /// Series in the head.
    pub series_count: usize,
    /// Distinct label pairs in the head.
    pub label_pair_count: usize,
    /// Chunks in the head.
    pub chunk_count: usize,
    /// Oldest and newest sample of the head, if any.
    pub span_ms: Option<(i64, i64)>,
    /// Metric names by series, most first.
    pub series_by_metric: Vec<(String, u64)>,
    /// Label names by distinct values, most first.
    pub values_by_label: Vec<(String, u64)>,
    /// Label names by bytes of their values over all series, most first.
    pub bytes_by_label: Vec<(String, u64)>,
    /// `name=value` pairs by series, most first.
    pub series_by_pair: Vec<(String, u64)>,
}

impl Snapshot {
    /// The sources that may have samples inside `range`, in order of precedence.
    fn sources(&self, range: TimeRange) -> Vec<Source> {
        let mut blocks: Vec<&BlockView> = self
            .blocks
            .iter()
            .filter(|block| range.overlaps_span(block.meta().min_ms, block.meta().max_ms))
            .collect();
        let by_time = {
            let mut sorted = blocks.clone();
            sorted.sort_by_key(|block| block.meta().min_ms);
            sorted
        };
        // PERF: blocks that do not overlap are read in order of time, which saves merging; precedence only
        // matters where they overlap.
        if by_time.windows(2).all(|pair| pair[0].meta().max_ms < pair[1].meta().min_ms) {
            blocks = by_time;
        }
        let blocks = blocks.into_iter().map(|block| Source::Block(block.clone()));
        let heads = self.generations.iter().filter(|generation| !generation.is_empty());
        blocks.chain(heads.map(|generation| Source::Head(Arc::clone(generation)))).collect()
    }

    /// Finds the series that satisfy all matchers and may have samples inside `range`, sorted by label set.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if an index is damaged.
    pub fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<SeriesSet, ReadError> {
        read::select(self.sources(range), matchers, range)
    }

    /// Returns the label names of the series that [`Snapshot::select`] would find, sorted, distinct.
    ///
    /// # Errors
    /// As [`Snapshot::select`].
    pub fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, ReadError> {
        self.collect_labels(matchers, range, SeriesTable::label_names, |block, within| {
            block.label_names(within)
        })
    }

    /// Returns the values of label `name` among the series that [`Snapshot::select`] would find, sorted, distinct.
    ///
    /// # Errors
    /// As [`Snapshot::select`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Vec<String>, ReadError> {
        self.collect_labels(
            matchers,
            range,
            |table, within| table.label_values(name, within),
            |block, within| block.label_values(name, within),
        )
    }

    fn collect_labels(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        from_table: impl Fn(&SeriesTable, Option<&RoaringBitmap>) -> Vec<String>,
        from_block: impl Fn(&BlockReader, Option<&RoaringBitmap>) -> Result<Vec<String>, ReadError>,
    ) -> Result<Vec<String>, ReadError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let sources = self.sources(range);
        let mut texts = BTreeSet::new();
        read::visit_selected(&sources, matchers, range, |source_index, series_ids| {
            if series_ids.is_empty() {
                return Ok(());
            }
            let ids = RoaringBitmap::from_sorted_iter(series_ids.iter().copied()).unwrap_or_default();
            match &sources[source_index] {
                Source::Block(block) => {
                    let is_all = matchers.is_empty() && block.tombstones.is_none();
                    texts.extend(from_block(&block.reader, (!is_all).then_some(&ids))?);
                }
                Source::Head(generation) => texts.extend(from_table(generation.table(), Some(&ids))),
            }
            Ok(())
        })?;
        Ok(texts.into_iter().collect())
    }

    /// Returns what is missing, or may be, from the samples inside `range` because files are damaged: one sentence each.
    pub fn warnings(&self, range: TimeRange) -> Vec<String> {
        let touches = |span: TimeRange| span.start_ms < range.end_ms && range.start_ms < span.end_ms;
        let files = self.damaged.iter().filter(|file| file.range.is_none_or(touches));
        files.map(|file| format!("samples may be missing: {}", file.reason)).collect()
    }

    /// Finds the exemplars inside `range` of the series that satisfy all matchers: by label set, ascending by time,
    /// what was written twice once.
    ///
    /// # Errors
    /// As [`Snapshot::select`]; [`ReadError::TooManyExemplars`] above `limit`.
    pub fn exemplars(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<(LabelSet, Vec<Exemplar>)>, ReadError> {
        let mut found: BTreeMap<LabelSet, Vec<Exemplar>> = BTreeMap::new();
        let mut exemplar_count = 0;
        let mut add = |labels: LabelSet, exemplars: &mut Vec<Exemplar>| {
            exemplar_count += exemplars.len();
            found.entry(labels).or_default().append(exemplars);
            if exemplar_count > limit { Err(ReadError::TooManyExemplars { limit }) } else { Ok(()) }
        };
        let mut exemplars = Vec::new();
        // They may be older or newer than the samples of their block: its span says nothing about them.
        for block in self.blocks.iter().filter(|block| block.has_exemplars(range)) {
            let mut cursor = block.exemplars();
            for series_id in block.reader.select(matchers)? {
                cursor.read(series_id, range, &mut exemplars)?;
                if !exemplars.is_empty() {
                    add(block.reader.labels(series_id)?, &mut exemplars)?;
                }
            }
        }
        for generation in self.generations.iter().filter(|generation| generation.exemplar_count() > 0) {
            for series_ref in generation.table().select(matchers) {
                generation.exemplars(series_ref, range, &mut exemplars);
                if !exemplars.is_empty() {
                    let labels = generation.table().labels(&[series_ref]);
                    labels.into_iter().try_for_each(|labels| add(labels, &mut exemplars))?;
                }
            }
        }
        let mut series: Vec<_> = found.into_iter().collect();
        series.iter_mut().for_each(|(_, exemplars)| Exemplar::merge(exemplars));
        Ok(series)
    }

    /// Returns what the blocks hold, deleted samples included, ascending by time.
    pub fn blocks(&self) -> Vec<BlockInfo> {
        let info = |block: &BlockView| {
            let meta = block.meta();
            BlockInfo {
                id: meta.id,
                range: TimeRange::from_inclusive(meta.min_ms, meta.max_ms),
                series_count: meta.series_count as usize,
                chunk_count: meta.chunk_count,
                sample_count: meta.sample_count,
                file_bytes: meta.file_bytes,
                level: meta.level,
                has_deletes: block.tombstones.is_some(),
            }
        };
        let mut blocks: Vec<BlockInfo> = self.blocks.iter().map(info).collect();
        blocks.sort_by_key(|block| (block.range.start_ms, block.id));
        blocks
    }

    /// Returns what is known about metrics, sorted by metric name.
    pub fn metadata(&self) -> Vec<MetricMetadata> {
        self.metadata.as_ref().clone()
    }

    /// Returns the counts that `/api/v1/status/tsdb` shows, each list cut to `limit`. Series are the head's.
    ///
    /// # Errors
    /// As [`Snapshot::select`].
    pub fn cardinality(&self, limit: usize) -> Result<Cardinality, ReadError> {
        let mut cardinality = Cardinality::default();
        for generation in &self.generations {
            let stats = generation.stats();
            cardinality.chunk_count += stats.chunk_count;
            cardinality.span_ms = match (cardinality.span_ms, stats.span_ms) {
                (Some((min_ms, max_ms)), Some((other_min_ms, other_max_ms))) => {
                    Some((min_ms.min(other_min_ms), max_ms.max(other_max_ms)))
                }
                (known, other) => known.or(other),
            };
        }
        // An older generation may have a table of its own; what is alive in it is in the newest one, too.
        let Some(newest) = self.generations.last() else { return Ok(cardinality) };
        cardinality.series_count = newest.table().series_count();
        let mut values_by_label: HashMap<String, (u64, u64)> = HashMap::new();
        newest.table().visit_pairs(|name, value, series_count| {
            cardinality.label_pair_count += 1;
            if name == METRIC_NAME {
                cardinality.series_by_metric.push((value.to_owned(), series_count));
            }
            cardinality.series_by_pair.push((format!("{name}={value}"), series_count));
            let entry = values_by_label.entry_ref(name).or_default();
            entry.0 += 1;
            entry.1 += series_count * value.len() as u64;
        });
        for (name, (value_count, value_bytes)) in values_by_label {
            cardinality.values_by_label.push((name.clone(), value_count));
            cardinality.bytes_by_label.push((name, value_bytes));
        }
        for list in [
            &mut cardinality.series_by_metric,
            &mut cardinality.values_by_label,
            &mut cardinality.bytes_by_label,
            &mut cardinality.series_by_pair,
        ] {
            list.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
            list.truncate(limit);
        }
        Ok(cardinality)
    }
}

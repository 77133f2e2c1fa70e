//! The labels of the rows of one batch: as series keys without looking at names twice, as label sets on demand.
//!
//! Input: text columns and the labels map. Output: one key per row, and a `LabelSource` for keys that are new.
//!
//! Invariant: key of a row = sum of seeded 128-bit hashes: tenant, each (name, text) of the text columns with a
//! non-empty text, the bytes of the row's map. A sum, so that a dictionary is hashed once per distinct text and the
//! order of columns does not matter. The seed is secret to the process, hence nobody can aim at a collision.

use arrow::array::{Array, RecordBatch, StringArray};
use mytsdb_storage::model::{LabelSet, METRIC_NAME, TenantId};
use mytsdb_storage::{LabelSource, Storage};

use super::columns::{ColumnError, MapColumn, TextColumn};
use super::schema::Layout;

/// First bytes of a map's hash input; no name is that long, so it cannot be confused with a label's.
const MAP_MARK: [u8; 4] = u32::MAX.to_le_bytes();

/// The label columns of one batch.
#[derive(Debug)]
pub(super) struct LabelColumns {
    /// What the table stands for: one metric, none, or the one of each value column.
    metrics: Vec<String>,
    texts: Vec<(String, TextColumn)>,
    map: Option<MapColumn>,
}

impl LabelColumns {
    /// Takes the label columns of `batch`.
    pub(super) fn new(batch: &RecordBatch, layout: &Layout) -> Result<Self, ColumnError> {
        let mut texts = Vec::with_capacity(layout.text_columns.len());
        for (name, position) in &layout.text_columns {
            texts.push((name.clone(), TextColumn::new(batch.column(*position), name)?));
        }
        let map = match layout.labels_map {
            Some(position) => {
                Some(MapColumn::new(batch.column(position), batch.schema_ref().field(position).name())?)
            }
            None => None,
        };
        Ok(Self { metrics: layout.metrics.clone(), texts, map })
    }

    /// No label columns: for rows whose labels are elsewhere.
    pub(super) fn none() -> Self {
        Self { metrics: Vec::new(), texts: Vec::new(), map: None }
    }

    /// The series key of every row, of the first metric if there are several.
    pub(super) fn keys(&self, storage: &Storage, tenant: &TenantId, row_count: usize) -> Vec<u128> {
        let mut hasher = Hasher { storage, scratch: Vec::with_capacity(1024) };
        let mut base = hasher.label("\0flight tenant", tenant.as_str());
        if let Some(metric) = self.metrics.first() {
            base = base.wrapping_add(hasher.label(METRIC_NAME, metric));
        }
        let mut keys = vec![base; row_count];
        for (name, column) in &self.texts {
            add_text_keys(&mut hasher, name, column, &mut keys);
        }
        if let Some(map) = &self.map {
            add_map_keys(&mut hasher, map, &mut keys);
        }
        keys
    }

    /// What turns the key of a row for the first metric into the one for another.
    pub(super) fn key_difference(&self, storage: &Storage, metric_id: usize) -> u128 {
        let mut hasher = Hasher { storage, scratch: Vec::new() };
        let mut hash_of =
            |id: usize| self.metrics.get(id).map_or(0, |metric| hasher.label(METRIC_NAME, metric));
        hash_of(metric_id).wrapping_sub(hash_of(0))
    }

    fn label_set(&self, row: usize, metric_id: usize) -> Result<LabelSet, String> {
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(16);
        pairs.extend(self.metrics.get(metric_id).map(|metric| (METRIC_NAME, metric.as_str())));
        pairs.extend(self.texts.iter().map(|(name, column)| (name.as_str(), column.get(row))));
        if let Some(map) = &self.map {
            pairs.extend(map.entries(row).map(|entry| (map.names.get(entry), map.texts.get(entry))));
        }
        pairs.retain(|(_, text)| !text.is_empty());
        let labels = LabelSet::from_pairs(pairs).map_err(|error| error.to_string())?;
        if labels.metric_name().is_empty() {
            return Err(format!(
                "no metric name: neither a metric column nor {METRIC_NAME} in labels is set"
            ));
        }
        Ok(labels)
    }
}

/// The label source of a batch: series by row.
#[derive(Debug)]
pub(super) struct RowLabels<'a> {
    /// Where the labels are.
    pub(super) columns: &'a LabelColumns,
    /// Per series: a row that has its labels.
    pub(super) rows: &'a [u32],
    /// Per series: its metric; empty = the first one.
    pub(super) metric_ids: &'a [u16],
}

impl LabelSource for RowLabels<'_> {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        let row = self.rows.get(series_index).ok_or_else(|| format!("no row for series {series_index}"))?;
        let metric_id = self.metric_ids.get(series_index).copied().unwrap_or(0);
        self.columns.label_set(*row as usize, metric_id.into())
    }
}

struct Hasher<'a> {
    storage: &'a Storage,
    scratch: Vec<u8>,
}

impl Hasher<'_> {
    /// The hash of one label; 0 for an empty text, which is no label.
    fn label(&mut self, name: &str, text: &str) -> u128 {
        if text.is_empty() {
            return 0;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&(name.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(name.as_bytes());
        self.scratch.extend_from_slice(text.as_bytes());
        self.storage.series_key(&self.scratch)
    }
}

fn add_text_keys(hasher: &mut Hasher<'_>, name: &str, column: &TextColumn, keys: &mut [u128]) {
    match column.dictionary() {
        // A dictionary that has grown over many batches can be much larger than this batch.
        Some((ids, texts, text_count)) if text_count <= keys.len() => {
            let hashes: Vec<u128> = (0..text_count).map(|id| hasher.label(name, texts.get(id))).collect();
            for (row, key) in keys.iter_mut().enumerate() {
                if ids.is_valid(row) {
                    let hash = hashes.get(ids.value(row) as usize).copied().unwrap_or(0);
                    *key = key.wrapping_add(hash);
                }
            }
        }
        _ => {
            let mut previous = ("", 0);
            for (row, key) in keys.iter_mut().enumerate() {
                let text = column.get(row);
                if text != previous.0 {
                    previous = (text, hasher.label(name, text));
                }
                *key = key.wrapping_add(previous.1);
            }
        }
    }
}

fn add_map_keys(hasher: &mut Hasher<'_>, map: &MapColumn, keys: &mut [u128]) {
    let plain = map.names.plain().zip(map.texts.plain());
    for (row, key) in keys.iter_mut().enumerate() {
        let entries = map.entries(row);
        if entries.is_empty() {
            continue;
        }
        let scratch = &mut hasher.scratch;
        scratch.clear();
        scratch.extend_from_slice(&MAP_MARK);
        match plain {
            Some((names, texts)) => {
                push_slices(scratch, names, entries.clone());
                push_slices(scratch, texts, entries);
            }
            None => {
                for entry in entries {
                    push_text(scratch, map.names.get(entry));
                    push_text(scratch, map.texts.get(entry));
                }
            }
        }
        *key = key.wrapping_add(hasher.storage.series_key(&hasher.scratch));
    }
}

fn push_text(scratch: &mut Vec<u8>, text: &str) {
    scratch.extend_from_slice(&(text.len() as u32).to_le_bytes());
    scratch.extend_from_slice(text.as_bytes());
}

/// Pushes count, ends and bytes of consecutive texts: two copies instead of one per text.
fn push_slices(scratch: &mut Vec<u8>, texts: &StringArray, entries: std::ops::Range<usize>) {
    let offsets = &texts.value_offsets()[entries.start..=entries.end];
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let ends_at = scratch.len();
    scratch.resize(ends_at + offsets.len() * 4, 0);
    let (slots, _) = scratch[ends_at..].as_chunks_mut::<4>();
    for (slot, offset) in slots.iter_mut().zip(offsets) {
        *slot = (offset - first).to_le_bytes();
    }
    // The first end is always 0: its place holds the count, which frames the ends.
    slots[0] = (entries.len() as u32).to_le_bytes();
    scratch.extend_from_slice(&texts.value_data()[first as usize..last as usize]);
}

//! From WAL records back into the head, through the same doors as live writes.
//!
//! Numbers in records are those of the process that wrote them: tenants and series are renumbered here. A number
//! may be named again later in the log, by a later process; from there on it means the later series.

use std::sync::Arc;

use hashbrown::HashMap;
use tracing::warn;

use super::generation::SampleRuns;
use super::series::SealedChunk;
use super::{Generation, SeriesTable};
use crate::model::{Exemplar, MetricMetadata, TenantId};
use crate::wal::{ChunkRecord, Record, SamplesView, SeriesRecord};

/// One tenant while its records are replayed.
#[derive(Debug, Default)]
pub(crate) struct ReplayedTenant {
    /// The tenant's series.
    pub(crate) table: Arc<SeriesTable>,
    /// The tenant's samples.
    pub(crate) generation: Arc<Generation>,
    /// The tenant's metadata, latest last.
    pub(crate) metadata: Vec<MetricMetadata>,
    /// By number in the log: the series' reference.
    refs: HashMap<u32, u32>,
}

/// Takes the records of the WAL in order and rebuilds the heads of all tenants.
#[derive(Debug, Default)]
pub(crate) struct HeadReplay {
    /// What was rebuilt, by tenant.
    pub(crate) tenants: HashMap<TenantId, ReplayedTenant>,
    names: HashMap<u32, TenantId>,
    /// Samples whose tenant or series the log does not name; always zero unless the log is damaged.
    pub(crate) orphan_sample_count: usize,
}

impl HeadReplay {
    /// Applies one record.
    pub(crate) fn apply(&mut self, tenant_number: u32, record: Record<'_>) {
        if let Record::Tenant(name) = &record {
            match TenantId::new(name) {
                Ok(tenant) => {
                    self.tenants.entry(tenant.clone()).or_default();
                    self.names.insert(tenant_number, tenant);
                }
                Err(error) => warn!(%error, "WAL names an impossible tenant"),
            }
            return;
        }
        let tenant = self.names.get(&tenant_number).and_then(|name| self.tenants.get_mut(name));
        let Some(tenant) = tenant else {
            self.orphan_sample_count += sample_count(&record);
            return;
        };
        self.orphan_sample_count += match record {
            Record::Tenant(_) => 0,
            Record::Series(series) => tenant.apply_series(&series),
            Record::Samples(view) => tenant.apply_samples(view),
            Record::Chunks(chunks) => tenant.apply_chunks(&chunks),
            Record::Exemplars(exemplars) => tenant.apply_exemplars(exemplars),
            Record::Metadata(metadata) => {
                tenant.metadata.extend(metadata);
                0
            }
        };
    }
}

fn sample_count(record: &Record<'_>) -> usize {
    match record {
        Record::Samples(view) => view.values.len(),
        Record::Chunks(chunks) => chunks.iter().map(|chunk| chunk.sample_count as usize).sum(),
        Record::Tenant(_) | Record::Series(_) | Record::Metadata(_) | Record::Exemplars(_) => 0,
    }
}

impl ReplayedTenant {
    fn apply_series(&mut self, series: &[SeriesRecord]) -> usize {
        for record in series {
            self.refs.insert(record.series_ref, self.table.insert(&record.labels));
        }
        0
    }

    /// Appends samples; returns how many had to be left out.
    fn apply_samples(&mut self, mut view: SamplesView) -> usize {
        let known = view.series_refs.iter().all(|number| self.refs.contains_key(number));
        let mut orphan_count = 0;
        if !known {
            orphan_count = drop_unknown(&mut view, &self.refs);
        }
        for number in &mut view.series_refs {
            *number = self.refs[&*number];
        }
        self.generation.append_samples(&SampleRuns {
            series_refs: &view.series_refs,
            sample_ends: &view.sample_ends,
            timestamps_ms: &view.timestamps_ms,
            values: &view.values,
        });
        orphan_count
    }

    /// Appends exemplars; those of series that the log does not name are left out, with the samples that are counted.
    fn apply_exemplars(&mut self, mut exemplars: Vec<(u32, Exemplar)>) -> usize {
        exemplars.retain_mut(|(number, _)| match self.refs.get(number) {
            Some(series_ref) => {
                *number = *series_ref;
                true
            }
            None => false,
        });
        self.generation.append_exemplars(&exemplars);
        0
    }

    /// Appends chunks; returns how many samples had to be left out.
    fn apply_chunks(&mut self, chunks: &[ChunkRecord<'_>]) -> usize {
        let mut orphan_count = 0;
        let mut known = Vec::with_capacity(chunks.len());
        let mut shared: Option<Arc<[u8]>> = None;
        for chunk in chunks {
            let Some(series_ref) = self.refs.get(&chunk.series_ref) else {
                orphan_count += chunk.sample_count as usize;
                continue;
            };
            let timestamps = match &shared {
                Some(bytes) if **bytes == *chunk.timestamps => Arc::clone(bytes),
                _ => chunk.timestamps.into(),
            };
            shared = Some(Arc::clone(&timestamps));
            let sealed = SealedChunk {
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                sample_count: chunk.sample_count,
                timestamps,
                values: chunk.values.into(),
            };
            known.push((*series_ref, Arc::new(sealed)));
        }
        self.generation.append_chunks(known);
        orphan_count
    }
}

/// Removes the runs of series that the log does not name; returns how many samples that were.
fn drop_unknown(view: &mut SamplesView, refs: &HashMap<u32, u32>) -> usize {
    let mut kept = SamplesView::default();
    let runs = SampleRuns {
        series_refs: &view.series_refs,
        sample_ends: &view.sample_ends,
        timestamps_ms: &view.timestamps_ms,
        values: &view.values,
    };
    for (index, number) in view.series_refs.iter().enumerate() {
        if refs.contains_key(number) {
            let (timestamps_ms, values) = runs.run(index);
            kept.series_refs.push(*number);
            kept.timestamps_ms.extend_from_slice(timestamps_ms);
            kept.values.extend_from_slice(values);
            kept.sample_ends.push(kept.values.len());
        }
    }
    let orphan_count = view.values.len() - kept.values.len();
    *view = kept;
    orphan_count
}

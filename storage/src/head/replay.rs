//! From WAL records back into the head, through the same doors as live writes.
//!
//! Numbers in records are those of the process that wrote them: tenants and series are renumbered here. A number
//! may be named again later in the log, by a later process; from there on it means the later series.
//! One thread takes the records in order and resolves their series; others append, each to shards of its own, so
//! that every series still gets its samples in the order of the log.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hashbrown::HashMap;
use tracing::warn;

use super::Generation;
use super::generation::{SampleRuns, shard_of};
use super::series::SealedChunk;
use crate::model::{Exemplar, MetricMetadata, TenantId};
use crate::wal::{ChunkRecord, Record, SamplesView, SeriesRecord};

/// Samples that are handed to the appending threads at a time: small records are put together.
const JOB_SAMPLE_COUNT: usize = 16_384;
/// Jobs that may wait for an appending thread; bounds the memory of a replay.
const QUEUE_LENGTH: usize = 8;
/// More appending threads than this share the shards no better.
const THREAD_COUNT_MAX: usize = 8;
/// Numbers per page of [`Numbering`].
const PAGE_LENGTH: usize = 1024;

/// By number in the log: the series' reference. Numbers are dense, mostly, but the log may say anything.
#[derive(Debug, Default)]
struct Numbering {
    pages: HashMap<u32, Box<[u32; PAGE_LENGTH]>>,
}

impl Numbering {
    /// In the place of a reference: the log does not name the number.
    const UNKNOWN: u32 = u32::MAX;

    fn set(&mut self, number: u32, series_ref: u32) {
        let page = self.pages.entry(number / PAGE_LENGTH as u32);
        let page = page.or_insert_with(|| Box::new([Self::UNKNOWN; PAGE_LENGTH]));
        page[number as usize % PAGE_LENGTH] = series_ref;
    }

    fn get(&self, number: u32) -> Option<u32> {
        let page = self.pages.get(&(number / PAGE_LENGTH as u32))?;
        Some(page[number as usize % PAGE_LENGTH]).filter(|series_ref| *series_ref != Self::UNKNOWN)
    }
}

/// One tenant while its records are replayed.
#[derive(Debug)]
pub(crate) struct ReplayedTenant {
    /// The tenant's samples and series.
    pub(crate) generation: Arc<Generation>,
    /// The tenant's metadata, latest last.
    pub(crate) metadata: Vec<MetricMetadata>,
    numbering: Numbering,
    /// Samples that were not handed to the appending threads yet.
    pending: SamplesView,
}

/// What an appending thread is told.
#[derive(Debug)]
struct Job {
    generation: Arc<Generation>,
    samples: SamplesView,
    /// Newer than `samples`.
    chunks: Vec<(u32, Arc<SealedChunk>)>,
}

impl Job {
    /// Appends what belongs to the shards of one thread.
    fn run(&self, thread_index: usize, thread_count: usize) {
        let is_own = |shard_index: usize| shard_index % thread_count == thread_index;
        if !self.samples.values.is_empty() {
            self.generation.append_samples_of(&runs_of(&self.samples), is_own);
        }
        let chunks = self.chunks.iter().filter(|(series_ref, _)| is_own(shard_of(*series_ref)));
        self.generation.append_chunks(chunks.cloned().collect());
    }
}

/// The appending threads.
#[derive(Debug, Default)]
struct Appenders {
    queues: Vec<SyncSender<Arc<Job>>>,
}

impl Appenders {
    fn send(&self, job: Job) {
        let job = Arc::new(job);
        for queue in &self.queues {
            // A thread that is gone has panicked; that comes out where the threads are joined.
            let _panic_comes_out_later = queue.send(Arc::clone(&job));
        }
    }
}

/// Takes the records of the WAL in order and rebuilds the heads of all tenants.
#[derive(Debug, Default)]
pub(crate) struct HeadReplay {
    /// What was rebuilt, by tenant.
    pub(crate) tenants: HashMap<TenantId, ReplayedTenant>,
    names: HashMap<u32, TenantId>,
    /// Counts the memory of all heads.
    meter: Arc<AtomicUsize>,
    appenders: Appenders,
    /// Samples whose tenant or series the log does not name; always zero unless the log is damaged.
    pub(crate) orphan_sample_count: usize,
}

impl HeadReplay {
    /// Lets `read` apply records and returns the heads when all samples are in them.
    ///
    /// # Panics
    /// If an appending thread does.
    pub(crate) fn run<T>(read: impl FnOnce(&mut Self) -> T) -> (Self, T) {
        let mut head = Self::default();
        let thread_count = std::thread::available_parallelism().map_or(1, usize::from).min(THREAD_COUNT_MAX);
        let outcome = std::thread::scope(|scope| {
            let mut threads = Vec::with_capacity(thread_count);
            for thread_index in 0..thread_count {
                let (queue, jobs): (_, Receiver<Arc<Job>>) = sync_channel(QUEUE_LENGTH);
                head.appenders.queues.push(queue);
                threads.push(
                    scope.spawn(move || jobs.into_iter().for_each(|job| job.run(thread_index, thread_count))),
                );
            }
            let outcome = read(&mut head);
            for tenant in head.tenants.values_mut() {
                tenant.hand_over(&head.appenders, Vec::new());
            }
            // Without their queues the threads come to an end.
            head.appenders.queues.clear();
            // The scope alone waits for the closures only; a thread that is still tearing down looks like a leak.
            for thread in threads {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
            }
            outcome
        });
        (head, outcome)
    }

    /// Counts the memory of all heads.
    pub(crate) fn meter(&self) -> &Arc<AtomicUsize> {
        &self.meter
    }

    /// Applies one record.
    pub(crate) fn apply(&mut self, tenant_number: u32, record: Record<'_>) {
        if let Record::Tenant(name) = &record {
            match TenantId::new(name) {
                Ok(tenant) => {
                    let meter = &self.meter;
                    let create = || ReplayedTenant::new(Arc::clone(meter));
                    self.tenants.entry(tenant.clone()).or_insert_with(create);
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
            Record::Samples(view) => tenant.apply_samples(&view, &self.appenders),
            Record::Chunks(chunks) => tenant.apply_chunks(&chunks, &self.appenders),
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

fn runs_of(view: &SamplesView) -> SampleRuns<'_> {
    SampleRuns {
        series_refs: &view.series_refs,
        sample_ends: &view.sample_ends,
        timestamps_ms: &view.timestamps_ms,
        values: &view.values,
        starts: view.starts.up_to(view.values.len()),
    }
}

impl ReplayedTenant {
    /// Creates a tenant without data, whose memory is counted in `meter`.
    pub(crate) fn new(meter: Arc<AtomicUsize>) -> Self {
        Self {
            generation: Arc::new(Generation::new(Arc::default(), meter)),
            metadata: Vec::new(),
            numbering: Numbering::default(),
            pending: SamplesView::default(),
        }
    }

    fn apply_series(&mut self, series: &[SeriesRecord]) -> usize {
        let refs = self.generation.table().insert(series.iter().map(|record| &record.labels));
        for (record, series_ref) in series.iter().zip(refs) {
            self.numbering.set(record.series_ref, series_ref);
        }
        0
    }

    /// Appends samples; returns how many had to be left out.
    fn apply_samples(&mut self, view: &SamplesView, appenders: &Appenders) -> usize {
        let runs = runs_of(view);
        let mut orphan_count = 0;
        for (index, number) in view.series_refs.iter().enumerate() {
            let (timestamps_ms, values) = runs.run(index);
            let Some(series_ref) = self.numbering.get(*number) else {
                orphan_count += values.len();
                continue;
            };
            self.pending.starts.append(self.pending.values.len(), values.len(), runs.starts(index));
            self.pending.series_refs.push(series_ref);
            self.pending.timestamps_ms.extend_from_slice(timestamps_ms);
            self.pending.values.extend_from_slice(values);
            self.pending.sample_ends.push(self.pending.values.len());
        }
        if self.pending.values.len() >= JOB_SAMPLE_COUNT {
            self.hand_over(appenders, Vec::new());
        }
        orphan_count
    }

    /// Appends exemplars; those of series that the log does not name are left out, with the samples that are counted.
    fn apply_exemplars(&mut self, mut exemplars: Vec<(u32, Exemplar)>) -> usize {
        exemplars.retain_mut(|(number, _)| match self.numbering.get(*number) {
            Some(series_ref) => {
                *number = series_ref;
                true
            }
            None => false,
        });
        self.generation.append_exemplars(&exemplars);
        0
    }

    /// Hands the pending samples to the appending threads, with chunks that come after them.
    fn hand_over(&mut self, appenders: &Appenders, chunks: Vec<(u32, Arc<SealedChunk>)>) {
        if self.pending.values.is_empty() && chunks.is_empty() {
            return;
        }
        let generation = Arc::clone(&self.generation);
        appenders.send(Job { generation, samples: std::mem::take(&mut self.pending), chunks });
    }

    /// Appends chunks; returns how many samples had to be left out.
    fn apply_chunks(&mut self, chunks: &[ChunkRecord<'_>], appenders: &Appenders) -> usize {
        let mut orphan_count = 0;
        let mut known = Vec::with_capacity(chunks.len());
        let mut shared: Option<Arc<[u8]>> = None;
        for chunk in chunks {
            let Some(series_ref) = self.numbering.get(chunk.series_ref) else {
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
            known.push((series_ref, Arc::new(sealed)));
        }
        self.hand_over(appenders, known);
        orphan_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{HeadPieces, decode_stream};
    use crate::model::{LabelSet, StartTimes, TimeRange};

    fn view(runs: &[(u32, &[i64])]) -> SamplesView {
        let mut view = SamplesView::default();
        for (number, times_ms) in runs {
            view.series_refs.push(*number);
            view.timestamps_ms.extend_from_slice(times_ms);
            view.values.extend(times_ms.iter().map(|time_ms| *time_ms as f64));
            view.sample_ends.push(view.values.len());
        }
        view
    }

    #[test]
    fn samples_of_numbers_that_are_named_later_or_never_are_counted_and_left_out() {
        let label_set = |id: &str| LabelSet::from_pairs([("id", id)]).unwrap();
        let record = |series_ref, id| SeriesRecord { series_ref, labels: label_set(id) };
        let (head, ()) = HeadReplay::run(|head| {
            head.apply(3, Record::Samples(view(&[(1, &[1, 2])])));
            head.apply(3, Record::Tenant("t"));
            head.apply(3, Record::Series(vec![record(7, "a"), record(u32::MAX - 1, "b")]));
            let mut with_starts = view(&[(7, &[1, 2]), (8, &[1, 2, 3]), (u32::MAX - 1, &[5])]);
            with_starts.starts.push(5, 3);
            head.apply(3, Record::Samples(with_starts));
            // A later process gives the number to another series.
            head.apply(3, Record::Series(vec![record(7, "b")]));
            head.apply(3, Record::Samples(view(&[(7, &[6, 7])])));
        });
        assert_eq!(head.orphan_sample_count, 5);
        let tenant = &head.tenants[&TenantId::new("t").unwrap()];
        assert_eq!(tenant.generation.sample_count(), 5);
        let table = tenant.generation.table();
        let times_of = |id| {
            let series_ref = table.insert([label_set(id)].iter())[0];
            let mut pieces = HeadPieces::default();
            tenant.generation.collect(series_ref, TimeRange::ALL, &mut pieces);
            let mut times_ms = Vec::new();
            let mut starts = StartTimes::new();
            decode_stream(&pieces.stream, &mut times_ms, &mut Vec::new(), &mut starts).unwrap();
            assert_eq!(starts.at(0), if id == "b" { 3 } else { 0 }, "start time of the first sample");
            times_ms
        };
        assert_eq!(times_of("a"), [1, 2]);
        assert_eq!(times_of("b"), [5, 6, 7]);
        assert_eq!(table.series_count(), 2);
    }
}

//! Operations that write.

use std::sync::Arc;

use mytsdb_storage::model::{LabelSet, MetricKind, MetricMetadata, StartTimes};
use mytsdb_storage::{HistogramSample, LabelSource, WriteBatch, WriteError};

use super::histograms::histogram;
use super::model::Sample;
use super::series;
use super::world::World;

/// Samples in order of arrival: time, value and start time.
type Run = (u32, Vec<(i64, f64, i64)>);

/// Labels of a batch; `None` is a series whose labels are refused.
struct Labels(Vec<Option<u32>>);

impl LabelSource for Labels {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        self.0[series_index].map(series::labels).ok_or_else(|| "refused on purpose".to_owned())
    }
}

impl World {
    fn live_id(&mut self, tenant: usize) -> u32 {
        self.tenants[tenant].first_id + self.random.below(self.live_series.into()) as u32
    }

    fn samples(&mut self, id: u32, times_ms: Vec<i64>) -> Run {
        let samples = times_ms.into_iter().map(|time_ms| {
            self.counter += 1;
            let start_ms = series::start_ms(id, time_ms, self.counter);
            (time_ms, series::value(id, self.counter, &mut self.random), start_ms)
        });
        (id, samples.collect())
    }

    /// What scrapers send: each series goes on where it stopped.
    pub(super) fn write_in_order(&mut self, tenant: usize) {
        let sample_count = self.random.between(1, 40);
        let step_ms = *self.random.pick(&[1, 250, 1_000, 5_000, 15_000]);
        let is_jittery = self.random.one_in(3);
        let mut runs = Vec::new();
        for _ in 0..self.random.between(1, 10) {
            let id = self.live_id(tenant);
            let newest_ms = self.tenants[tenant].cursors.get(&id).copied();
            let mut time_ms = newest_ms.unwrap_or(i64::MIN).max(self.now_ms - sample_count * step_ms);
            let mut times_ms = Vec::new();
            for _ in 0..sample_count {
                time_ms += if is_jittery { self.random.between(1, 2 * step_ms) } else { step_ms };
                times_ms.push(time_ms);
            }
            self.now_ms = self.now_ms.max(time_ms);
            self.tenants[tenant].cursors.insert(id, time_ms);
            runs.push(self.samples(id, times_ms));
        }
        self.write(tenant, "write in order", &runs);
    }

    /// Any times in any order, the same time perhaps more than once.
    pub(super) fn write_scattered(&mut self, tenant: usize) {
        let span_ms = *self.random.pick(&[1_000, 600_000, self.retention_ms]);
        let mut runs = Vec::new();
        for _ in 0..self.random.between(1, 5) {
            let id = self.live_id(tenant);
            let times_ms = (0..self.random.between(1, 60))
                .map(|_| self.now_ms - self.random.between(0, span_ms))
                .collect();
            runs.push(self.samples(id, times_ms));
        }
        self.write(tenant, "write scattered", &runs);
    }

    /// Times that are there already, with the same or other values.
    pub(super) fn write_again(&mut self, tenant: usize) {
        let oldest_ms = self.oldest_ms();
        let known: Vec<u32> = self.tenants[tenant].model.series.keys().copied().collect();
        if known.is_empty() {
            return;
        }
        let mut runs = Vec::new();
        for _ in 0..self.random.between(1, 4) {
            let id = *self.random.pick(&known);
            let samples = &self.tenants[tenant].model.series[&id];
            let from_ms = self.random.between(oldest_ms, self.now_ms);
            let count = self.random.between(1, 200) as usize;
            let float = |time_ms: i64, sample: &Sample| match sample {
                Sample::Float(bits, start_ms) => (time_ms, f64::from_bits(*bits), *start_ms),
                // It loses against the histogram.
                Sample::Histogram(_) => (time_ms, 0.0, 0),
            };
            let mut found: Vec<(i64, f64, i64)> = samples
                .range(from_ms..)
                .take(count)
                .map(|(time_ms, sample)| float(*time_ms, sample))
                .collect();
            if self.random.one_in(4) {
                found.reverse();
            }
            if self.random.one_in(3) {
                if self.random.one_in(3) {
                    // The same value with another start time, or none.
                    let start_ms = *self.random.pick(&[0, 1, from_ms]);
                    found.iter_mut().for_each(|sample| sample.2 = start_ms);
                }
                runs.push((id, found));
            } else {
                runs.push(self.samples(id, found.iter().map(|(time_ms, ..)| *time_ms).collect()));
            }
        }
        self.write(tenant, "write again", &runs);
    }

    /// What a backfill sends: runs that are encoded at the door, anywhere in time.
    pub(super) fn write_long(&mut self, tenant: usize) {
        let mut runs = Vec::new();
        for _ in 0..self.random.between(1, 3) {
            let id = self.live_id(tenant);
            let sample_count = self.random.between(100, 1_300);
            let step_ms = *self.random.pick(&[1, 1_000, 15_000, 60_000]);
            let span_ms = (sample_count * step_ms).min(self.retention_ms);
            let start_ms = self.random.between(self.oldest_ms(), self.now_ms - span_ms);
            let times_ms = (0..span_ms / step_ms).map(|index| start_ms + index * step_ms).collect();
            runs.push(self.samples(id, times_ms));
        }
        self.write(tenant, "write long", &runs);
    }

    /// Samples that must be refused one by one, between some that must not.
    pub(super) fn write_outside_the_window(&mut self, tenant: usize) {
        let id = self.live_id(tenant);
        let times_ms = (0..self.random.between(1, 30))
            .map(|_| match self.random.below(4) {
                0 => self.oldest_ms() - self.random.between(1, 1 << 40),
                1 => self.now_ms + self.options.limits.ahead_ms + self.random.between(1, 1 << 40),
                2 => *self.random.pick(&[i64::MIN, i64::MAX]),
                _ => self.now_ms - self.random.between(0, self.retention_ms),
            })
            .collect();
        let run = self.samples(id, times_ms);
        self.write(tenant, "write outside the window", &[run]);
    }

    /// A series that must be refused, between two that must not; and columns that do not fit together.
    pub(super) fn write_bad_labels(&mut self, tenant: usize) {
        let now_ms = self.now_ms;
        let (first, second) = (self.live_id(tenant), self.live_id(tenant));
        let mut runs = vec![
            self.samples(first, vec![now_ms]),
            self.samples(u32::MAX, vec![now_ms, now_ms - 1]),
            self.samples(second, vec![now_ms]),
        ];
        self.write(tenant, "write bad labels", &runs);
        runs.truncate(1);
        let outcome = self.submit(tenant, &runs, &[1, 2]);
        assert!(matches!(outcome, Err(WriteError::Shape(_))), "{outcome:?}");
    }

    /// Histograms in any order, also where floats are.
    pub(super) fn write_histograms(&mut self, tenant: usize) {
        let step_ms = *self.random.pick(&[1_000, 15_000]);
        let mut ids = Vec::new();
        let mut samples = Vec::new();
        for series_index in 0..self.random.between(1, 3) as usize {
            let id = self.live_id(tenant);
            ids.push(id);
            let sample_count = self.random.between(1, 50);
            let start_ms = match self.random.below(3) {
                0 => self.random.between(self.oldest_ms(), self.now_ms - sample_count * step_ms),
                _ => self.now_ms - sample_count * step_ms,
            };
            for position in 0..sample_count {
                self.counter += 1;
                let time_ms = if self.random.one_in(10) {
                    self.random.between(start_ms, self.now_ms)
                } else {
                    start_ms + position * step_ms
                };
                let histogram = histogram(id, self.counter, &mut self.random);
                samples.push(HistogramSample { series_index, time_ms, histogram });
            }
        }
        self.note("write histograms", format!("tenant {tenant}: {} of series {ids:?}", samples.len()));
        let keys: Vec<u128> = ids.iter().map(|id| self.storage().series_key(&id.to_le_bytes())).collect();
        let batch = WriteBatch {
            keys: &keys,
            sample_ends: &vec![0; ids.len()],
            timestamps_ms: &[],
            values: &[],
            starts: &[],
            histograms: &samples,
            exemplars: &[],
            labels: &Labels(ids.iter().copied().map(Some).collect()),
            metadata: &[],
        };
        let report = self.storage().write(&self.tenants[tenant].id, &batch, self.now_ms).unwrap();
        assert_eq!((report.accepted_sample_count, report.rejections.len()), (samples.len(), 0), "{report:?}");
        self.tally.count("histograms written", samples.len() as u64);
        for sample in samples {
            let id = ids[sample.series_index];
            self.held.iter_mut().for_each(|held| held.forget(tenant, id, sample.time_ms));
            let histogram = Sample::Histogram(Arc::new(sample.histogram));
            self.tenants[tenant].model.write(id, sample.time_ms, histogram);
        }
    }

    pub(super) fn write_metadata(&mut self, tenant: usize) {
        let metric = (*self.random.pick(&series::METRICS)).to_owned();
        self.counter += 1;
        let help = format!("help {}", self.counter);
        self.note("write metadata", format!("tenant {tenant}: {metric}: {help}"));
        let fact = MetricMetadata {
            metric: metric.clone(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            help: help.clone(),
        };
        let batch = WriteBatch {
            keys: &[],
            sample_ends: &[],
            timestamps_ms: &[],
            values: &[],
            starts: &[],
            labels: &Vec::<LabelSet>::new(),
            histograms: &[],
            exemplars: &[],
            metadata: &[fact],
        };
        self.storage().write(&self.tenants[tenant].id, &batch, self.now_ms).unwrap();
        self.tenants[tenant].model.metadata.insert(metric, help);
    }

    /// Writes runs to the engine, compares the report, and writes them to the map.
    fn write(&mut self, tenant: usize, what: &'static str, runs: &[Run]) {
        let described: Vec<String> = runs
            .iter()
            .map(|(id, samples)| {
                let times_ms = || samples.iter().map(|(time_ms, ..)| *time_ms);
                format!("{id}: {} in {:?}..={:?}", samples.len(), times_ms().min(), times_ms().max())
            })
            .collect();
        self.note(what, format!("tenant {tenant}: {}", described.join("; ")));
        let ends: Vec<usize> = runs
            .iter()
            .scan(0, |end, (_, samples)| {
                *end += samples.len();
                Some(*end)
            })
            .collect();
        let report = self.submit(tenant, runs, &ends).unwrap();
        let window = self.oldest_ms()..=self.now_ms + self.options.limits.ahead_ms;
        let mut accepted_count = 0;
        for (index, (id, samples)) in runs.iter().enumerate() {
            let is_refused = *id == u32::MAX;
            let is_inside = |time_ms: &i64| !is_refused && window.contains(time_ms);
            let inside_count = samples.iter().filter(|(time_ms, ..)| is_inside(time_ms)).count();
            let refused_count: usize = report
                .rejections
                .iter()
                .filter(|rejection| rejection.series_index == index)
                .map(|rejection| rejection.sample_count)
                .sum();
            assert_eq!(
                refused_count,
                samples.len() - inside_count,
                "refused samples of run {index}: {report:?}"
            );
            accepted_count += inside_count;
            for (time_ms, value, start_ms) in samples.iter().filter(|(time_ms, ..)| is_inside(time_ms)) {
                let sample = Sample::Float(value.to_bits(), *start_ms);
                self.tenants[tenant].model.write(*id, *time_ms, sample);
                self.held.iter_mut().for_each(|held| held.forget(tenant, *id, *time_ms));
            }
        }
        assert_eq!(report.accepted_sample_count, accepted_count, "{report:?}");
        self.tally.count("samples written", accepted_count as u64);
    }

    fn submit(
        &self,
        tenant: usize,
        runs: &[Run],
        sample_ends: &[usize],
    ) -> Result<mytsdb_storage::WriteReport, WriteError> {
        let ids: Vec<u32> = runs.iter().map(|(id, _)| *id).collect();
        let keys: Vec<u128> = ids.iter().map(|id| self.storage().series_key(&id.to_le_bytes())).collect();
        let samples = || runs.iter().flat_map(|(_, samples)| samples);
        let timestamps_ms: Vec<i64> = samples().map(|(time_ms, ..)| *time_ms).collect();
        let values: Vec<f64> = samples().map(|(_, value, _)| *value).collect();
        let starts: StartTimes = samples().map(|(.., start_ms)| *start_ms).collect();
        let labels = Labels(ids.into_iter().map(|id| (id != u32::MAX).then_some(id)).collect());
        let batch = WriteBatch {
            keys: &keys,
            sample_ends,
            timestamps_ms: &timestamps_ms,
            values: &values,
            starts: starts.runs(),
            labels: &labels,
            histograms: &[],
            exemplars: &[],
            metadata: &[],
        };
        self.storage().write(&self.tenants[tenant].id, &batch, self.now_ms)
    }
}

//! What a program tells about itself: its process and language runtime, and events of its own.

use super::container::{PAGE, started_before_ms};
use super::rng::{Rng, unit};
use super::{Clock, Model, Profile, Restarts, Run, columns};

/// Series: processor seconds, resident bytes, goroutines, bytes allocated, scrape seconds, heap bytes, open files, start
/// time, garbage collections, seconds of garbage collection.
#[derive(Debug)]
pub struct RuntimeModel {
    rng: Rng,
    restarts: Restarts,
    day_offset: u64,
    start_ms: i64,
    ticks_per_s: f64,
    ticks: u64,
    resident_pages: u64,
    goroutines_base: f64,
    goroutines: u64,
    allocated_per_s: f64,
    allocated: u64,
    heap_spans: u64,
    open_files: u64,
    scrape_s: f64,
    collections: u64,
    collections_s: f64,
}

impl RuntimeModel {
    /// Creates the model of a container.
    pub fn new(profile: &Profile, clock: &Clock) -> Self {
        Self {
            rng: profile.rng(80),
            restarts: profile.restarts.clone(),
            day_offset: profile.day_offset,
            start_ms: clock.start_ms - started_before_ms(profile),
            ticks_per_s: 100.0 * profile.of_service(30, 0.03, 0.9) * profile.weight(),
            ticks: 0,
            resident_pages: (profile.of_service(40, 60.0, 700.0) * 200.0 * profile.weight()) as u64,
            goroutines_base: profile.of_service(81, 15.0, 400.0),
            goroutines: 10,
            allocated_per_s: profile.of_service(82, 20_000.0, 4_000_000.0) * profile.weight(),
            allocated: 0,
            heap_spans: 2_000,
            open_files: 12,
            scrape_s: 0.004,
            collections: 0,
            collections_s: 0.0,
        }
    }

    #[inline]
    fn advance(&mut self, clock: &Clock, step: u64) {
        if self.restarts.hit(step) {
            self.start_ms = clock.time_ms(step);
            (self.ticks, self.allocated, self.collections, self.collections_s) = (0, 0, 0, 0.0);
        }
        let load = clock.load(step, self.day_offset);
        self.ticks += self.rng.count(self.ticks_per_s * clock.interval_s() * load);
        let (bits, noise) = (self.rng.bits(), self.rng.normal());
        self.allocated +=
            (self.allocated_per_s * clock.interval_s() * load * (1.0 + 0.1 * noise)) as u64 & !7;
        if bits & 7 == 0 {
            self.resident_pages = (self.resident_pages + (bits >> 8 & 63)).saturating_sub(31).max(512);
            self.heap_spans = 1_500 + (bits >> 16 & 0x3FF);
        }
        if bits >> 3 & 3 == 0 {
            self.goroutines = (self.goroutines_base * load) as u64 + (bits >> 32 & 7);
            self.open_files = 12 + (self.goroutines >> 2);
        }
        if bits >> 40 & 7 == 0 {
            self.collections += 1;
            self.collections_s += (80_000 + (bits >> 43 & 0x3FFFF)) as f64 / 1e9;
        }
        self.scrape_s = 0.003 + 0.004 * unit(bits.rotate_left(29)) * load;
    }
}

impl Model for RuntimeModel {
    fn series_count(&self) -> usize {
        10
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 10] = columns(out, run.step_count);
        let [cpu, resident, goroutines, allocated, scrape, heap, open_files, start, collections, collecting] =
            columns;
        for (position, step) in run.steps() {
            self.advance(run.clock, step);
            cpu[position] = self.ticks as f64 / 100.0;
            resident[position] = (self.resident_pages * PAGE) as f64;
            goroutines[position] = self.goroutines as f64;
            allocated[position] = self.allocated as f64;
            scrape[position] = self.scrape_s;
            heap[position] = (self.heap_spans * 8_192) as f64;
            open_files[position] = self.open_files as f64;
            start[position] = self.start_ms as f64 / 1e3;
            collections[position] = self.collections as f64;
            collecting[position] = self.collections_s;
        }
    }
}

/// Small counters of events; any number of series.
#[derive(Debug)]
pub struct EventsModel {
    rng: Rng,
    restarts: Restarts,
    counts: Vec<u64>,
}

impl EventsModel {
    /// Creates the model of a container that counts `event_count` kinds of events.
    pub fn new(profile: &Profile, event_count: usize) -> Self {
        Self { rng: profile.rng(90), restarts: profile.restarts.clone(), counts: vec![0; event_count] }
    }
}

impl Model for EventsModel {
    fn series_count(&self) -> usize {
        self.counts.len()
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        for (position, step) in run.steps() {
            if self.restarts.hit(step) {
                self.counts.fill(0);
            }
            for (event, count) in self.counts.iter_mut().enumerate() {
                let bits = self.rng.bits();
                // Each kind is rarer than the one before, down to one in 256 steps.
                if bits & 0xFF >> (7 - event.min(7)) == 0 {
                    *count += 1 + (bits >> 8 & 3);
                }
                out[event * run.step_count + position] = *count as f64;
            }
        }
    }
}

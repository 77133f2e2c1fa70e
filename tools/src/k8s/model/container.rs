//! What cAdvisor knows of a container: processor, memory, network, filesystem, state.
//!
//! Processor time is whole nanoseconds as seconds, memory and disk are whole pages, counters are whole numbers; all
//! counters start at zero at a restart.

use super::rng::Rng;
use super::{Clock, Model, Profile, Restarts, Run, columns};

/// Bytes of a page.
pub(super) const PAGE: u64 = 4_096;
/// The scheduler's period, in milliseconds.
const CFS_PERIOD_MS: u64 = 100;

/// Series: usage, user, system seconds; scheduler periods, throttled periods, throttled seconds.
#[derive(Debug)]
pub struct CpuModel {
    rng: Rng,
    restarts: Restarts,
    day_offset: u64,
    cores: f64,
    user_ns: u64,
    system_ns: u64,
    periods: u64,
    throttled_periods: u64,
    throttled_ns: u64,
}

impl CpuModel {
    /// Creates the model of a container.
    pub fn new(profile: &Profile) -> Self {
        let cores = profile.of_service(30, 0.03, 0.9) * profile.of_container(31, 0.8, 1.2);
        Self {
            rng: profile.rng(32),
            restarts: profile.restarts.clone(),
            day_offset: profile.day_offset,
            cores: cores * profile.weight(),
            user_ns: 0,
            system_ns: 0,
            periods: 0,
            throttled_periods: 0,
            throttled_ns: 0,
        }
    }

    #[inline]
    fn advance(&mut self, clock: &Clock, step: u64) {
        if self.restarts.hit(step) {
            (self.user_ns, self.system_ns, self.periods) = (0, 0, 0);
            (self.throttled_periods, self.throttled_ns) = (0, 0);
        }
        let cores = self.cores * clock.load(step, self.day_offset) * (1.0 + 0.12 * self.rng.normal());
        let used_ns = (cores.max(0.0) * clock.interval_ms as f64 * 1e6) as u64;
        let bits = self.rng.bits();
        let system_ns = ((used_ns >> 10) * (180 + (bits & 0x7F))) + (bits >> 20 & 0x3FF);
        self.system_ns += system_ns.min(used_ns);
        self.user_ns += used_ns.saturating_sub(system_ns);
        self.periods += clock.interval_ms / CFS_PERIOD_MS;
        if bits >> 57 < (cores * 12.0) as u64 {
            self.throttled_periods += 1 + (bits >> 32 & 3);
            self.throttled_ns += (bits >> 40 & 0xFFFF) * 1_000;
        }
    }
}

impl Model for CpuModel {
    fn series_count(&self) -> usize {
        6
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let [usage, user, system, periods, throttled_periods, throttled] = columns(out, run.step_count);
        for (position, step) in run.steps() {
            self.advance(run.clock, step);
            usage[position] = (self.user_ns + self.system_ns) as f64 / 1e9;
            user[position] = self.user_ns as f64 / 1e9;
            system[position] = self.system_ns as f64 / 1e9;
            periods[position] = self.periods as f64;
            throttled_periods[position] = self.throttled_periods as f64;
            throttled[position] = self.throttled_ns as f64 / 1e9;
        }
    }
}

/// Series: working set, usage, resident, cache, mapped bytes; failed allocations, page faults, major page faults.
#[derive(Debug)]
pub struct MemoryModel {
    rng: Rng,
    restarts: Restarts,
    day_offset: u64,
    resident_target: f64,
    resident: u64,
    cache_max: u64,
    cache: u64,
    mapped: u64,
    faults: u64,
    major_faults: u64,
}

impl MemoryModel {
    /// Creates the model of a container.
    pub fn new(profile: &Profile) -> Self {
        let mebibytes =
            profile.of_service(40, 60.0, 700.0) * profile.of_container(41, 0.9, 1.1) * profile.weight();
        let pages = mebibytes * 256.0;
        Self {
            rng: profile.rng(42),
            restarts: profile.restarts.clone(),
            day_offset: profile.day_offset,
            resident_target: pages,
            resident: (pages * 0.6) as u64,
            cache_max: (pages * profile.of_container(43, 0.1, 0.5)) as u64 + 64,
            cache: 32,
            mapped: (pages * 0.05) as u64,
            faults: 0,
            major_faults: 0,
        }
    }

    #[inline]
    fn advance(&mut self, clock: &Clock, step: u64) {
        if self.restarts.hit(step) {
            (self.resident, self.cache) = ((self.resident_target * 0.6) as u64, 32);
            (self.faults, self.major_faults) = (0, 0);
        }
        let bits = self.rng.bits();
        // The kernel folds its per-processor counters only now and then: plateaus.
        if bits & 3 == 0 {
            let target = self.resident_target * (0.85 + 0.15 * clock.load(step, self.day_offset));
            let pull = ((target - self.resident as f64) * (1.0 / 32.0)) as i64;
            let change = pull + (bits >> 8 & 63) as i64 - 32;
            self.resident = self.resident.saturating_add_signed(change).max(256);
            self.faults += change.unsigned_abs() + (bits >> 16 & 31);
        }
        if bits >> 2 & 15 == 0 {
            self.cache += bits >> 24 & 63;
            if self.cache > self.cache_max {
                self.cache = self.cache_max / 2;
            }
            self.major_faults += u64::from(bits >> 32 & 15 == 0);
        }
    }
}

impl Model for MemoryModel {
    fn series_count(&self) -> usize {
        8
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let [working_set, usage, resident, cache, mapped, failures, faults, major_faults] =
            columns(out, run.step_count);
        failures.fill(0.0);
        mapped.fill((self.mapped * PAGE) as f64);
        for (position, step) in run.steps() {
            self.advance(run.clock, step);
            let used = self.resident + self.cache;
            working_set[position] = ((used - self.cache / 2) * PAGE) as f64;
            usage[position] = (used * PAGE) as f64;
            resident[position] = (self.resident * PAGE) as f64;
            cache[position] = (self.cache * PAGE) as f64;
            faults[position] = self.faults as f64;
            major_faults[position] = self.major_faults as f64;
        }
    }
}

/// Series: received, sent bytes; received, sent packets; received, sent packets dropped.
#[derive(Debug)]
pub struct NetworkModel {
    rng: Rng,
    restarts: Restarts,
    day_offset: u64,
    packets_per_s: f64,
    received_size: u64,
    sent_size: u64,
    received: [u64; 3],
    sent: [u64; 3],
}

impl NetworkModel {
    /// Creates the model of a container.
    pub fn new(profile: &Profile) -> Self {
        Self {
            rng: profile.rng(50),
            restarts: profile.restarts.clone(),
            day_offset: profile.day_offset,
            packets_per_s: profile.of_service(51, 2.0, 400.0) * profile.weight(),
            received_size: profile.of_service(52, 120.0, 600.0) as u64,
            sent_size: profile.of_service(53, 200.0, 1_200.0) as u64,
            received: [0; 3],
            sent: [0; 3],
        }
    }

    #[inline]
    fn advance(&mut self, clock: &Clock, step: u64) {
        if self.restarts.hit(step) {
            (self.received, self.sent) = ([0; 3], [0; 3]);
        }
        let expected = self.packets_per_s * clock.interval_s() * clock.load(step, self.day_offset);
        let received = self.rng.count(expected);
        let bits = self.rng.bits();
        // Every packet in is answered, some by two.
        let sent = received + ((received * (bits & 63)) >> 8);
        self.received[0] += received * self.received_size + ((received * (bits >> 8 & 0xFF)) >> 4);
        self.received[1] += received;
        self.sent[0] += sent * self.sent_size + ((sent * (bits >> 16 & 0xFF)) >> 3);
        self.sent[1] += sent;
        self.received[2] += u64::from(bits >> 52 == 0);
        self.sent[2] += u64::from(bits >> 50 == 1);
    }
}

impl Model for NetworkModel {
    fn series_count(&self) -> usize {
        6
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 6] = columns(out, run.step_count);
        let [received_bytes, sent_bytes, received, sent, received_dropped, sent_dropped] = columns;
        for (position, step) in run.steps() {
            self.advance(run.clock, step);
            received_bytes[position] = self.received[0] as f64;
            sent_bytes[position] = self.sent[0] as f64;
            received[position] = self.received[1] as f64;
            sent[position] = self.sent[1] as f64;
            received_dropped[position] = self.received[2] as f64;
            sent_dropped[position] = self.sent[2] as f64;
        }
    }
}

/// Series: read, written bytes; reads, writes; used and available bytes.
#[derive(Debug)]
pub struct FilesystemModel {
    rng: Rng,
    restarts: Restarts,
    day_offset: u64,
    pages_per_s: f64,
    read: [u64; 2],
    written: [u64; 2],
    used_max: u64,
    used: u64,
}

impl FilesystemModel {
    /// Creates the model of a container.
    pub fn new(profile: &Profile) -> Self {
        Self {
            rng: profile.rng(60),
            restarts: profile.restarts.clone(),
            day_offset: profile.day_offset,
            pages_per_s: profile.of_service(61, 0.02, 1.5) * profile.weight(),
            read: [0; 2],
            written: [0; 2],
            used_max: profile.of_container(62, 5_000.0, 60_000.0) as u64,
            used: 700,
        }
    }

    #[inline]
    fn advance(&mut self, clock: &Clock, step: u64) {
        let bits = self.rng.bits();
        if self.restarts.hit(step) {
            // A start reads the program.
            (self.read, self.written, self.used) = ([6_000 + (bits & 0xFFF), 80], [0; 2], 700);
        }
        let expected = self.pages_per_s * clock.interval_s() * clock.load(step, self.day_offset);
        let pages = self.rng.count(expected);
        self.written[0] += pages;
        self.written[1] += pages.div_ceil(4);
        self.used += pages;
        if self.used > self.used_max {
            self.used = self.used_max / 4;
        }
        if bits >> 58 == 0 {
            self.read[0] += 1 + (bits & 63);
            self.read[1] += 1 + (bits >> 6 & 7);
        }
    }
}

impl Model for FilesystemModel {
    fn series_count(&self) -> usize {
        6
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 6] = columns(out, run.step_count);
        let [read_bytes, written_bytes, reads, writes, used, limit] = columns;
        limit.fill((100u64 << 30) as f64);
        for (position, step) in run.steps() {
            self.advance(run.clock, step);
            read_bytes[position] = (self.read[0] * PAGE) as f64;
            written_bytes[position] = (self.written[0] * PAGE) as f64;
            reads[position] = self.read[1] as f64;
            writes[position] = self.written[1] as f64;
            used[position] = (self.used * PAGE) as f64;
        }
    }
}

/// Series: threads, file descriptors, processes, start time, memory limit, processor quota, out-of-memory events.
#[derive(Debug)]
pub struct StateModel {
    rng: Rng,
    restarts: Restarts,
    start_ms: i64,
    threads_base: u64,
    threads: u64,
    descriptors_base: u64,
    descriptors: u64,
    memory_limit: f64,
    cpu_quota: f64,
}

impl StateModel {
    /// Creates the model of a container.
    pub fn new(profile: &Profile, clock: &Clock) -> Self {
        let threads = profile.of_service(70, 6.0, 60.0) as u64;
        let descriptors = profile.of_service(71, 12.0, 300.0) as u64;
        let (memory_limit, cpu_cores) = limits(profile);
        Self {
            rng: profile.rng(72),
            restarts: profile.restarts.clone(),
            start_ms: clock.start_ms - started_before_ms(profile),
            threads_base: threads,
            threads,
            descriptors_base: descriptors,
            descriptors,
            memory_limit,
            cpu_quota: cpu_cores * 100_000.0,
        }
    }

    #[inline]
    fn advance(&mut self, clock: &Clock, step: u64) {
        if self.restarts.hit(step) {
            self.start_ms = clock.time_ms(step);
            (self.threads, self.descriptors) = (self.threads_base, self.descriptors_base);
        }
        let bits = self.rng.bits();
        if bits & 31 == 0 {
            self.threads = self.threads_base + (bits >> 8 & 7);
        }
        if bits >> 5 & 3 == 0 {
            self.descriptors = self.descriptors_base + (bits >> 16 & 15);
        }
    }
}

impl Model for StateModel {
    fn series_count(&self) -> usize {
        7
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 7] = columns(out, run.step_count);
        let [threads, descriptors, processes, start_time, memory_limit, cpu_quota, out_of_memory] = columns;
        processes.fill(1.0);
        memory_limit.fill(self.memory_limit);
        cpu_quota.fill(self.cpu_quota);
        out_of_memory.fill(0.0);
        for (position, step) in run.steps() {
            self.advance(run.clock, step);
            threads[position] = self.threads as f64;
            descriptors[position] = self.descriptors as f64;
            start_time[position] = self.start_ms.div_euclid(1_000) as f64;
        }
    }
}

/// Memory limit in bytes and processor limit in cores.
pub(super) fn limits(profile: &Profile) -> (f64, f64) {
    let (memory_mebibytes, cores) = if profile.is_sidecar { (512.0, 0.5) } else { (1_024.0, 2.0) };
    (memory_mebibytes * 1_048_576.0, cores)
}

/// How long before step 0 the container was started.
pub(super) fn started_before_ms(profile: &Profile) -> i64 {
    profile.of_container(73, 600_000.0, 3_000_000_000.0) as i64
}

//! What a node exporter knows of a machine: processors, memory, load, network, disk.
//!
//! Machines do not restart. Processor time is whole hundredths of a second, as Linux counts it.
//!
//! Invariant: the modes of a processor add up to the time since the machine was started.

use super::rng::{Rng, hash, unit};
use super::{Clock, Model, Run, columns};

/// Values of the label `mode`, in the order of the series.
pub const CPU_MODES: [&str; 8] = ["idle", "user", "system", "iowait", "softirq", "steal", "irq", "nice"];
const MODE_COUNT: usize = CPU_MODES.len();
const TICK_MS: u64 = 10;
const KIB: u64 = 1_024;
/// Machines have 16 GiB, less what the firmware keeps.
const MEMORY_TOTAL_KIB: u64 = 16_166_336;
const DISK_BYTES: u64 = 107_374_182_400;

fn node_rng(node_seed: u64, salt: u64) -> Rng {
    Rng::new(hash(node_seed, &[salt]))
}

/// How long before step 0 the machine was started: 1 to 60 days, whole seconds.
fn uptime_ms(node_seed: u64) -> u64 {
    (86_400 + hash(node_seed, &[110]) % (59 * 86_400)) * 1_000
}

/// Average busy share of the machine.
fn busy(node_seed: u64) -> f64 {
    0.15 + 0.35 * unit(hash(node_seed, &[111]))
}

/// Series: seconds in each of [`CPU_MODES`] of one processor.
#[derive(Debug)]
pub struct NodeCpuModel {
    rng: Rng,
    busy: f64,
    uptime_ms: u64,
    /// Hundredths of a second.
    ticks: [u64; MODE_COUNT],
}

impl NodeCpuModel {
    /// Creates the model of processor `cpu` of a machine.
    pub fn new(node_seed: u64, cpu: u64, clock: &Clock) -> Self {
        let busy = busy(node_seed) * (0.9 + 0.05 * cpu as f64);
        let uptime_ms = uptime_ms(node_seed);
        let mut model = Self { rng: node_rng(node_seed, 112 + cpu), busy, uptime_ms, ticks: [0; MODE_COUNT] };
        model.spend(uptime_ms.saturating_sub(clock.interval_ms) / TICK_MS, busy);
        model
    }

    /// Spends `elapsed` ticks: splits the busy share over the modes and leaves the rest idle.
    #[inline]
    fn spend(&mut self, elapsed: u64, busy: f64) {
        let bits = self.rng.bits();
        let share = |share: f64, lot: u64| (elapsed as f64 * share + (lot & 0xFF) as f64 / 256.0) as u64;
        let busy_shares = [(1, 0.72), (2, 0.2), (3, 0.02), (4, 0.03), (5, 0.005)];
        let mut rest = elapsed;
        for (mode, of_busy) in busy_shares {
            let spent = share(busy * of_busy, bits >> (8 * mode)).min(rest);
            self.ticks[mode] += spent;
            rest -= spent;
        }
        self.ticks[0] += rest;
    }
}

impl Model for NodeCpuModel {
    fn series_count(&self) -> usize {
        MODE_COUNT
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let mut columns: [&mut [f64]; MODE_COUNT] = columns(out, run.step_count);
        for (position, step) in run.steps() {
            let so_far = (self.uptime_ms + step * run.clock.interval_ms) / TICK_MS;
            let elapsed = so_far - self.ticks.iter().sum::<u64>();
            let busy = self.busy * run.clock.load(step, 0) * (1.0 + 0.15 * self.rng.normal());
            self.spend(elapsed, busy.clamp(0.0, 1.0));
            for (column, ticks) in columns.iter_mut().zip(self.ticks) {
                column[position] = ticks as f64 / 100.0;
            }
        }
    }
}

/// Series: total, available, free, cached, buffered bytes.
#[derive(Debug)]
pub struct NodeMemoryModel {
    rng: Rng,
    used_kib: u64,
    used_base_kib: u64,
    cached_kib: u64,
}

impl NodeMemoryModel {
    /// Creates the model of a machine.
    pub fn new(node_seed: u64) -> Self {
        let used_kib = (MEMORY_TOTAL_KIB as f64 * (0.25 + 0.3 * unit(hash(node_seed, &[120])))) as u64;
        Self { rng: node_rng(node_seed, 121), used_kib, used_base_kib: used_kib, cached_kib: 3_000_000 }
    }
}

impl Model for NodeMemoryModel {
    fn series_count(&self) -> usize {
        5
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 5] = columns(out, run.step_count);
        let [total, available, free, cached, buffered] = columns;
        let buffered_kib = 184_320;
        total.fill((MEMORY_TOTAL_KIB * KIB) as f64);
        buffered.fill((buffered_kib * KIB) as f64);
        for (position, step) in run.steps() {
            let bits = self.rng.bits();
            let target = self.used_base_kib as f64 * (0.8 + 0.2 * run.clock.load(step, 0));
            let pull = ((target - self.used_kib as f64) * (1.0 / 64.0)) as i64;
            // Four-KiB pages.
            let change = (pull + (bits & 0xFFF) as i64 - 2_048) & !3;
            self.used_kib = self.used_kib.saturating_add_signed(change).clamp(1 << 20, 12 << 20);
            self.cached_kib = 2_800_000 + (self.cached_kib - 2_800_000 + (bits >> 16 & 0xFC)) % 1_000_000;
            let free_kib =
                MEMORY_TOTAL_KIB - buffered_kib - self.used_kib.min(12 << 20) - self.cached_kib / 4;
            available[position] = ((MEMORY_TOTAL_KIB - self.used_kib) * KIB) as f64;
            free[position] = (free_kib * KIB) as f64;
            cached[position] = (self.cached_kib * KIB) as f64;
        }
    }
}

/// Series: load over 1, 5, 15 minutes, in hundredths.
#[derive(Debug)]
pub struct NodeLoadModel {
    rng: Rng,
    busy: f64,
    averages: [f64; 3],
}

impl NodeLoadModel {
    /// Creates the model of a machine.
    pub fn new(node_seed: u64) -> Self {
        let busy = 4.0 * busy(node_seed);
        Self { rng: node_rng(node_seed, 130), busy, averages: [busy * 0.35; 3] }
    }
}

impl Model for NodeLoadModel {
    fn series_count(&self) -> usize {
        3
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let mut columns: [&mut [f64]; 3] = columns(out, run.step_count);
        for (position, step) in run.steps() {
            let now = self.busy * run.clock.load(step, 0) * (1.0 + 0.3 * self.rng.normal());
            for ((column, average), minutes) in
                columns.iter_mut().zip(&mut self.averages).zip([1.0, 5.0, 15.0])
            {
                let weight = (run.clock.interval_s() / (60.0 * minutes)).min(1.0);
                *average += (now.max(0.0) - *average) * weight;
                column[position] = (*average * 100.0).round() / 100.0;
            }
        }
    }
}

/// Series: received, sent bytes; received, sent packets.
#[derive(Debug)]
pub struct NodeNetworkModel {
    rng: Rng,
    packets_per_s: f64,
    received: [u64; 2],
    sent: [u64; 2],
}

impl NodeNetworkModel {
    /// Creates the model of a machine.
    pub fn new(node_seed: u64) -> Self {
        let packets = hash(node_seed, &[140]) >> 32;
        Self {
            rng: node_rng(node_seed, 141),
            packets_per_s: 500.0 + 4_000.0 * busy(node_seed),
            received: [packets * 310, packets],
            sent: [packets * 470, packets],
        }
    }
}

impl Model for NodeNetworkModel {
    fn series_count(&self) -> usize {
        4
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 4] = columns(out, run.step_count);
        let [received_bytes, sent_bytes, received, sent] = columns;
        for (position, step) in run.steps() {
            let mean = self.packets_per_s * run.clock.interval_s() * run.clock.load(step, 0);
            let (in_count, out_count, bits) = (self.rng.count(mean), self.rng.count(mean), self.rng.bits());
            self.received[0] += in_count * 310 + ((in_count * (bits & 0xFF)) >> 4);
            self.received[1] += in_count;
            self.sent[0] += out_count * 470 + ((out_count * (bits >> 8 & 0xFF)) >> 4);
            self.sent[1] += out_count;
            received_bytes[position] = self.received[0] as f64;
            sent_bytes[position] = self.sent[0] as f64;
            received[position] = self.received[1] as f64;
            sent[position] = self.sent[1] as f64;
        }
    }
}

/// Series: read, written bytes; reads, writes; busy seconds in milliseconds' precision.
#[derive(Debug)]
pub struct NodeDiskModel {
    rng: Rng,
    writes_per_s: f64,
    sectors_read: u64,
    sectors_written: u64,
    reads: u64,
    writes: u64,
    busy_ms: u64,
}

impl NodeDiskModel {
    /// Creates the model of a machine.
    pub fn new(node_seed: u64) -> Self {
        let past = hash(node_seed, &[150]) >> 44;
        Self {
            rng: node_rng(node_seed, 151),
            writes_per_s: 4.0 + 60.0 * busy(node_seed),
            sectors_read: past * 24,
            sectors_written: past * 64,
            reads: past,
            writes: past * 3,
            busy_ms: past * 4,
        }
    }
}

impl Model for NodeDiskModel {
    fn series_count(&self) -> usize {
        5
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 5] = columns(out, run.step_count);
        let [read_bytes, written_bytes, reads, writes, busy] = columns;
        for (position, step) in run.steps() {
            let write_count =
                self.rng.count(self.writes_per_s * run.clock.interval_s() * run.clock.load(step, 0));
            let bits = self.rng.bits();
            let read_count = if bits & 3 == 0 { bits >> 8 & 31 } else { 0 };
            self.reads += read_count;
            self.writes += write_count;
            self.sectors_read += read_count * 8 * (1 + (bits >> 16 & 3));
            self.sectors_written += write_count * 16 + (bits >> 20 & 0x3F) * 8;
            let busy_ms = (write_count * 3 / 2 + read_count + (bits >> 32 & 0x1F)).min(run.clock.interval_ms);
            self.busy_ms += busy_ms;
            read_bytes[position] = (self.sectors_read * 512) as f64;
            written_bytes[position] = (self.sectors_written * 512) as f64;
            reads[position] = self.reads as f64;
            writes[position] = self.writes as f64;
            busy[position] = self.busy_ms as f64 / 1e3;
        }
    }
}

/// Series: filesystem size and available bytes, boot time, context switches.
#[derive(Debug)]
pub struct NodeMachineModel {
    rng: Rng,
    busy: f64,
    boot_s: f64,
    available_pages: u64,
    switches: u64,
}

impl NodeMachineModel {
    /// Creates the model of a machine.
    pub fn new(node_seed: u64, clock: &Clock) -> Self {
        Self {
            rng: node_rng(node_seed, 160),
            busy: busy(node_seed),
            boot_s: (clock.start_ms - uptime_ms(node_seed) as i64).div_euclid(1_000) as f64,
            available_pages: 12_000_000 + (hash(node_seed, &[161]) >> 42),
            switches: hash(node_seed, &[162]) >> 30,
        }
    }
}

impl Model for NodeMachineModel {
    fn series_count(&self) -> usize {
        4
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let columns: [&mut [f64]; 4] = columns(out, run.step_count);
        let [available, size, boot, switches] = columns;
        size.fill(DISK_BYTES as f64);
        boot.fill(self.boot_s);
        for (position, step) in run.steps() {
            let bits = self.rng.bits();
            // Images and logs come and go.
            self.available_pages =
                self.available_pages - (bits & 31) + if bits >> 56 == 0 { 3_500 } else { 0 };
            self.available_pages = self.available_pages.max(1_000_000);
            let mean = 9_000.0 * self.busy * run.clock.load(step, 0) * run.clock.interval_s();
            self.switches += (mean * (1.0 + 0.05 * self.rng.normal())) as u64;
            available[position] = (self.available_pages * 4_096) as f64;
            switches[position] = self.switches as f64;
        }
    }
}

//! A deterministic column mix as a Kubernetes cluster produces it, for the codec's bench and its size test.
//!
//! Shares and shapes follow kube-prometheus: idle and busy histograms, states that rarely flip, small and large
//! counters, CPU seconds, page-sized gauges, percentages, real floats; 30 % of the counters reset once, 3 % of the
//! series carry stale markers.

use std::f64::consts::TAU;

/// Samples of each series: a day at 15 seconds.
pub(crate) const SAMPLES_A_DAY: usize = 5760;

/// A kind of series and its columns.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) series: Vec<Vec<f64>>,
}

/// Names and shares in percent.
const KINDS: [(&str, f64); 11] = [
    ("hist_bucket", 28.0),
    ("const_state", 24.0),
    ("int_ctr_small", 10.0),
    ("int_ctr_big", 8.0),
    ("cpu_s_1e-9", 8.0),
    ("cpu_s_1e-2", 5.0),
    ("bytes_page", 7.0),
    ("int_gauge", 5.0),
    ("pct_2dec", 2.0),
    ("float_gauge", 1.5),
    ("float_sum", 1.5),
];
const BUCKET_COUNT: usize = 12;

/// Generates about `series_count` series of `sample_count` samples.
pub(crate) fn generate(series_count: usize, sample_count: usize) -> Vec<Kind> {
    let mut random = Random(0x5eed);
    let mut kinds = Vec::new();
    for (name, share) in KINDS {
        let kind_count = (series_count as f64 * share / 100.0).round() as usize;
        let mut series = Vec::new();
        while series.len() < kind_count {
            if name == "hist_bucket" {
                series.extend(histogram(&mut random, sample_count));
            } else {
                series.push(single(name, &mut random, sample_count));
            }
        }
        series.truncate(kind_count);
        for column in &mut series {
            sprinkle_stale(&mut random, column);
        }
        kinds.push(Kind { name, series });
    }
    kinds
}

fn single(name: &str, random: &mut Random, count: usize) -> Vec<f64> {
    match name {
        "const_state" => state(random, count),
        "int_ctr_small" => counter_small(random, count),
        "int_ctr_big" => counter_big(random, count),
        "cpu_s_1e-9" => cpu_seconds(random, count, 1e9),
        "cpu_s_1e-2" => cpu_seconds(random, count, 1e2),
        "bytes_page" => bytes_page(random, count),
        "int_gauge" => gauge(random, count),
        "pct_2dec" => percentage(random, count),
        "float_gauge" => float_gauge(random, count),
        _ => float_sum(random, count),
    }
}

fn histogram(random: &mut Random, count: usize) -> Vec<Vec<f64>> {
    let is_idle = random.unit() < 0.3;
    let rate = (random.normal() * 1.2 + 0.2).exp();
    let middle = random.unit() * 10.0;
    let mut totals = [(random.unit() * 1e5).floor(); BUCKET_COUNT];
    for bucket in (1..BUCKET_COUNT).rev() {
        totals[bucket - 1] = (totals[bucket] * random.unit().sqrt()).floor();
    }
    let reset = random.reset_at(count);
    let mut columns = vec![Vec::new(); BUCKET_COUNT];
    for index in 0..count {
        if reset == Some(index) {
            totals = [0.0; BUCKET_COUNT];
        }
        let arrivals = if is_idle { 0 } else { random.poisson(rate) };
        for _ in 0..arrivals {
            let bucket = (middle + random.normal() * 1.5).clamp(0.0, BUCKET_COUNT as f64 - 1.0) as usize;
            totals[bucket..].iter_mut().for_each(|total| *total += 1.0);
        }
        columns.iter_mut().zip(totals).for_each(|(column, total)| column.push(total));
    }
    columns
}

fn state(random: &mut Random, count: usize) -> Vec<f64> {
    if random.unit() < 0.25 {
        let created = 1.7e9 + (random.unit() * 1e7).floor() + (random.unit() * 1e3).floor() / 1e3;
        return vec![created; count];
    }
    let mut value = f64::from(u8::from(random.unit() < 0.3));
    let flips = random.unit() < 0.1;
    (0..count)
        .map(|_| {
            if flips && random.unit() < 0.001 {
                value = 1.0 - value;
            }
            value
        })
        .collect()
}

fn counter_small(random: &mut Random, count: usize) -> Vec<f64> {
    let is_busy = random.unit() < 0.6;
    let rate = if is_busy { (random.normal() * 1.3 + 0.7).exp() } else { 0.02 };
    let reset = random.reset_at(count);
    let mut total = (random.unit() * 1e6).floor();
    (0..count)
        .map(|index| {
            total = if reset == Some(index) { 0.0 } else { total + random.poisson(rate) as f64 };
            total
        })
        .collect()
}

fn counter_big(random: &mut Random, count: usize) -> Vec<f64> {
    let scale = random.normal() * 2.0 + 10.5;
    let reset = random.reset_at(count);
    let mut total = (random.unit() * 1e12).floor();
    (0..count)
        .map(|index| {
            let burst = if random.unit() < 0.02 { 3.0 } else { 0.0 };
            let step = (scale + random.normal() * 0.7 + burst).exp().floor();
            total = if reset == Some(index) { 0.0 } else { total + step };
            total
        })
        .collect()
}

fn cpu_seconds(random: &mut Random, count: usize, resolution: f64) -> Vec<f64> {
    let usage = (random.normal() * 1.2 - 2.5).exp().min(4.0);
    let reset = random.reset_at(count);
    let mut total = (random.unit() * 1e5 * resolution).floor();
    (0..count)
        .map(|index| {
            let used = (usage * 15.0 * (1.0 + 0.2 * random.normal())).max(0.0);
            total = if reset == Some(index) { 0.0 } else { total + (used * resolution).floor() };
            total / resolution
        })
        .collect()
}

fn bytes_page(random: &mut Random, count: usize) -> Vec<f64> {
    let mut pages = (random.unit() * 1e5).floor() + 1000.0;
    let activity = random.unit() * 0.6;
    (0..count)
        .map(|_| {
            if random.unit() < activity {
                pages = (pages + (random.normal() * 20.0).round()).max(1.0);
            }
            pages * 4096.0
        })
        .collect()
}

fn gauge(random: &mut Random, count: usize) -> Vec<f64> {
    let mut value = (random.unit() * 200.0).floor();
    let activity = random.unit() * random.unit() * 0.8;
    (0..count)
        .map(|_| {
            if random.unit() < activity {
                value = (value + (random.normal() * 1.5).round()).max(0.0);
            }
            value
        })
        .collect()
}

fn percentage(random: &mut Random, count: usize) -> Vec<f64> {
    let level = random.unit() * 80.0 + 10.0;
    let phase = random.unit() * TAU;
    (0..count)
        .map(|index| {
            let wave = (index as f64 / SAMPLES_A_DAY as f64 * TAU + phase).sin() * 5.0;
            ((level + wave + random.normal() * 0.4) * 100.0).round() / 100.0
        })
        .collect()
}

fn float_gauge(random: &mut Random, count: usize) -> Vec<f64> {
    let level = random.unit() * 100.0;
    (0..count).map(|_| level * (1.0 + 0.1 * random.normal())).collect()
}

fn float_sum(random: &mut Random, count: usize) -> Vec<f64> {
    let rate = (random.normal() - 0.3).exp();
    let mut total = random.unit() * 1e4;
    (0..count)
        .map(|_| {
            for _ in 0..random.poisson(rate) {
                total += ((random.normal() * 1.0 - 5.0).exp() * 1e9).round() / 1e9;
            }
            total
        })
        .collect()
}

fn sprinkle_stale(random: &mut Random, column: &mut [f64]) {
    if random.unit() < 0.03 {
        for _ in 0..=(random.unit() * 3.0) as usize {
            let index = (random.unit() * column.len() as f64) as usize;
            column[index] = f64::from_bits(0x7ff0_0000_0000_0002);
        }
    }
}

/// SplitMix64: the same mix on every machine and in every version.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }

    fn poisson(&mut self, rate: f64) -> u64 {
        if rate > 30.0 {
            return (rate + rate.sqrt() * self.normal()).max(0.0).round() as u64;
        }
        let (limit, mut product, mut count) = ((-rate).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    fn reset_at(&mut self, count: usize) -> Option<usize> {
        let at = (self.unit() * count as f64) as usize;
        (self.unit() < 0.3).then_some(at)
    }
}

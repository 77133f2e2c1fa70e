//! Requests of one container and method: a classic latency histogram and requests by status code.
//!
//! Series, in order: 12 cumulative buckets, sum, count, then requests with code 200, 500 and, for GET, 404.
//!
//! Invariants: buckets are cumulative, the last one equals the count, the codes add up to the count.
//! Latencies are log-logistic (shape 2: the 99th percentile is ten times the median); they rise with the load, and
//! once a day each service has a slow half hour with more errors.

use super::rng::{Rng, hash};
use super::{Clock, Model, Profile, Restarts, Run, columns};

/// Upper bounds of the buckets in seconds, without +Inf: the defaults of Prometheus' clients.
pub const BUCKET_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const BUCKET_COUNT: usize = BUCKET_BOUNDS.len() + 1;
const SERIES_COUNT_MAX: usize = BUCKET_COUNT + 5;
/// Load levels with a latency distribution each; the last one is the incident's.
const LEVEL_COUNT: usize = 8;
const INCIDENT_LEVEL: usize = LEVEL_COUNT - 1;
const INCIDENT_MS: u64 = 1_800_000;

/// Of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads: three quarters of the requests, may be not found.
    Get,
    /// Writes: slower.
    Post,
}

impl Method {
    /// Value of the label `method`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }

    /// Values of the label `code`, in the order of the series.
    pub fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Get => &["200", "500", "404"],
            Self::Post => &["200", "500"],
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct HttpModel {
    rng: Rng,
    restarts: Restarts,
    method: Method,
    day_offset: u64,
    requests_per_s: f64,
    incident_first_step: u64,
    /// Chance of each bucket for a request that is in no lower one, per load level.
    conditional: [[f64; BUCKET_COUNT]; LEVEL_COUNT],
    cumulative: [u64; BUCKET_COUNT],
    sum_s: f64,
    codes: [u64; 3],
}

impl HttpModel {
    /// Creates the model of a container's requests with `method`.
    pub fn new(profile: &Profile, method: Method, clock: &Clock) -> Self {
        let is_idle = profile.is_sidecar && hash(profile.seed, &[20]).is_multiple_of(2);
        let share = match method {
            Method::Get => 0.75,
            Method::Post => 0.25,
        };
        let busy = profile.of_service(21, 0.5, 25.0) * profile.of_container(22, 0.85, 1.15);
        let median_s = profile.of_service(23, 0.008, 0.08) * if method == Method::Post { 1.8 } else { 1.0 };
        Self {
            rng: profile.rng(24 + method as u64),
            restarts: profile.restarts.clone(),
            method,
            day_offset: profile.day_offset,
            requests_per_s: if is_idle { 0.004 } else { busy * profile.weight() } * share,
            incident_first_step: hash(profile.service_seed, &[26]) % clock.steps_per_day(),
            conditional: std::array::from_fn(|level| conditional(median_s * slowdown(level))),
            cumulative: [0; BUCKET_COUNT],
            sum_s: 0.0,
            codes: [0; 3],
        }
    }

    fn level(&self, clock: &Clock, step: u64, load: f64) -> usize {
        let per_day = clock.steps_per_day();
        let since = (step + per_day - self.incident_first_step) % per_day;
        if since * clock.interval_ms < INCIDENT_MS {
            return INCIDENT_LEVEL;
        }
        ((load - 0.35) * 5.0) as usize
    }

    #[inline]
    fn advance(&mut self, clock: &Clock, step: u64) {
        if self.restarts.hit(step) {
            (self.cumulative, self.sum_s, self.codes) = ([0; BUCKET_COUNT], 0.0, [0; 3]);
        }
        let load = clock.load(step, self.day_offset);
        let request_count = self.rng.count(self.requests_per_s * clock.interval_s() * load);
        if request_count == 0 {
            return;
        }
        let level = self.level(clock, step, load).min(INCIDENT_LEVEL);
        let (lots, mut rest, mut latency_ns, mut seen) = (self.rng.bits(), request_count, 0, 0);
        let chances = self.conditional[level].iter().zip(TYPICAL_NS);
        for ((position, (chance, typical_ns)), cumulative) in chances.enumerate().zip(&mut self.cumulative) {
            // Rounds up or down by chance, so that rare buckets are hit in proportion.
            let lot = (lots >> (5 * position) & 31) as f64 * (1.0 / 32.0);
            let taken = ((rest as f64 * chance + lot) as u64).min(rest);
            rest -= taken;
            seen += taken;
            latency_ns += taken * typical_ns;
            *cumulative += seen;
        }
        let jitter = self.rng.bits();
        latency_ns += ((latency_ns >> 3) * (jitter & 0xFFFF)) >> 16;
        // As a client adds up seconds: with the rounding of every addition.
        self.sum_s += latency_ns as f64 / 1e9;
        self.count_codes(request_count, level == INCIDENT_LEVEL, jitter >> 16);
    }

    fn count_codes(&mut self, request_count: u64, is_incident: bool, bits: u64) {
        let error_share = if is_incident { 0.06 } else { 0.002 };
        let share =
            |share: f64, lot: u64| (request_count as f64 * share + (lot & 0xFFF) as f64 / 4096.0) as u64;
        let failed = share(error_share, bits).min(request_count);
        let missing = match self.method {
            Method::Get => share(0.015, bits >> 12).min(request_count - failed),
            Method::Post => 0,
        };
        self.codes[0] += request_count - failed - missing;
        self.codes[1] += failed;
        self.codes[2] += missing;
    }
}

/// Typical latency of a request in each bucket, in nanoseconds.
const TYPICAL_NS: [u64; BUCKET_COUNT] = [
    3_100_000,
    7_200_000,
    16_400_000,
    35_800_000,
    71_000_000,
    158_000_000,
    346_000_000,
    690_000_000,
    1_520_000_000,
    3_350_000_000,
    6_900_000_000,
    13_800_000_000,
];

fn slowdown(level: usize) -> f64 {
    if level == INCIDENT_LEVEL { 5.0 } else { 1.0 + 0.12 * level as f64 }
}

fn conditional(median_s: f64) -> [f64; BUCKET_COUNT] {
    let below = |bound: f64| bound * bound / (bound * bound + median_s * median_s);
    std::array::from_fn(|bucket| match BUCKET_BOUNDS.get(bucket) {
        None => 1.0,
        Some(bound) => {
            let lower = if bucket == 0 { 0.0 } else { below(BUCKET_BOUNDS[bucket - 1]) };
            (below(*bound) - lower) / (1.0 - lower)
        }
    })
}

impl Model for HttpModel {
    fn series_count(&self) -> usize {
        BUCKET_COUNT + 2 + self.method.codes().len()
    }

    fn fill(&mut self, run: &Run<'_>, out: &mut [f64]) {
        let mut columns: [&mut [f64]; SERIES_COUNT_MAX] = columns(out, run.step_count);
        let code_count = self.method.codes().len();
        for (position, step) in run.steps() {
            self.advance(run.clock, step);
            let (buckets, others) = columns.split_at_mut(BUCKET_COUNT);
            for (column, count) in buckets.iter_mut().zip(self.cumulative) {
                column[position] = count as f64;
            }
            others[0][position] = self.sum_s;
            others[1][position] = self.cumulative[BUCKET_COUNT - 1] as f64;
            for (column, count) in others[2..].iter_mut().zip(&self.codes[..code_count]) {
                column[position] = *count as f64;
            }
        }
    }
}

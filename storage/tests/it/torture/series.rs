//! The series of a life: a number decides the labels and what kind of values there are.

use mytsdb_storage::model::LabelSet;

use super::random::Random;

pub(super) const METRICS: [&str; 5] =
    ["up", "http_requests_total", "cpu_seconds", "queue length µ", "a:b:rate5m"];
pub(super) const CONTAINERS: [&str; 2] = ["app", "side.car|x"];
pub(super) const ZONES: [&str; 2] = ["a", "line\nbreak"];

/// The labels of a series as pairs; `(pod, container)` tells any two apart.
pub(super) fn pairs(id: u32) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("__name__", METRICS[id as usize % METRICS.len()].to_owned()),
        ("container", CONTAINERS[id as usize % 2].to_owned()),
        ("pod", format!("pod-{}", id / 2)),
    ];
    if let Some(zone) = ZONES.get(id as usize % 3) {
        pairs.push(("zone", (*zone).to_owned()));
    }
    if id.is_multiple_of(11) {
        pairs.push(("ü", "long ".repeat(60) + &id.to_string()));
    }
    pairs
}

pub(super) fn labels(id: u32) -> LabelSet {
    LabelSet::from_pairs(pairs(id).iter().map(|(name, value)| (*name, value.as_str()))).unwrap()
}

/// The value of label `name`; empty if the series has none.
pub(super) fn label(id: u32, name: &str) -> String {
    pairs(id).into_iter().find(|(found, _)| *found == name).map(|(_, value)| value).unwrap_or_default()
}

/// A value of the series' kind. `counter` grows with every value, so that an overwritten value is told apart.
pub(super) fn value(id: u32, counter: u64, random: &mut Random) -> f64 {
    const SPECIAL: [u64; 6] =
        [0x7ff0_0000_0000_0002, 0x7ff8_0000_0000_0000, 0xfff8_0000_dead_beef, 0x8000_0000_0000_0000, 1, 0];
    match id % 7 {
        0 => counter as f64,
        1 => (counter % 1000) as f64 * 0.25,
        2 => f64::from_bits(random.bits()),
        3 => 42.0,
        4 => f64::from_bits(SPECIAL[counter as usize % SPECIAL.len()]),
        5 => counter as f64 / 1000.0,
        _ => (random.below(2_000_000) as f64 - 1_000_000.0) / 7.0,
    }
}

/// When counting began for a sample: not known, one time, restarts now and then, or anew for each sample.
pub(super) fn start_ms(id: u32, time_ms: i64, counter: u64) -> i64 {
    match id % 5 {
        0 | 1 => 0,
        2 => 1_600_000_000_000,
        3 => 1_600_000_000_000 + (counter / 90) as i64 * 60_000,
        _ => time_ms.saturating_sub(15_000 + (counter % 3) as i64),
    }
}

//! The words that templates are made of: services, metrics, routes, log lines.

use crate::k8s::model::rng::hash;
use crate::telemetry::template::protobuf::put_attribute;

const SERVICES: [&str; 12] = [
    "api-gateway",
    "user",
    "order",
    "payment",
    "inventory",
    "auth",
    "cache",
    "coupon",
    "search",
    "shipping",
    "email",
    "recommendation",
];
const ENVIRONMENTS: [&str; 3] = ["production", "staging", "canary"];
const LANGUAGES: [&str; 4] = ["rust", "go", "java", "python"];

/// Keys of attributes, and how many values each has.
const ATTRIBUTES: [(&str, u64); 20] = [
    ("http.request.method", 5),
    ("http.response.status_code", 12),
    ("cloud.availability_zone", 6),
    ("k8s.namespace.name", 8),
    ("server.address", 50),
    ("db.system.name", 4),
    ("messaging.destination.name", 20),
    ("rpc.method", 30),
    ("user.tier", 3),
    ("feature.flag", 10),
    ("k8s.container.name", 10),
    ("network.protocol.version", 3),
    ("client.region", 15),
    ("cart.size", 9),
    ("deployment.revision", 7),
    ("thread.name", 32),
    ("error.type", 6),
    ("app.version", 5),
    ("url.scheme", 2),
    ("peer.service", 12),
];

/// A metric's name without its number, its unit, and for gauges their bounds.
pub(super) type MetricWords = (&'static str, &'static str, f64, f64);

pub(super) const GAUGES: [MetricWords; 6] = [
    ("process.memory.usage", "By", 20e6, 2e9),
    ("system.cpu.load", "", 0.0, 16.0),
    ("queue.depth", "{item}", 0.0, 5_000.0),
    ("db.connections.used", "{connection}", 0.0, 200.0),
    ("room.temperature", "Cel", 15.0, 45.0),
    ("cache.fill", "", 0.0, 1_000.0),
];
pub(super) const COUNTERS: [MetricWords; 6] = [
    ("http.server.requests", "{request}", 0.0, 0.0),
    ("network.io", "By", 0.0, 0.0),
    ("rpc.messages", "{message}", 0.0, 0.0),
    ("process.cpu.time", "s", 0.0, 0.0),
    ("cache.hits", "{hit}", 0.0, 0.0),
    ("gc.collections", "{collection}", 0.0, 0.0),
];
pub(super) const UP_DOWN_COUNTERS: [MetricWords; 3] = [
    ("http.server.active", "{request}", 0.0, 800.0),
    ("jvm.threads.live", "{thread}", 4.0, 400.0),
    ("heap.used", "By", 1e6, 1e9),
];
/// The bounds are the medians of the fast and the slow mode.
pub(super) const HISTOGRAMS: [MetricWords; 4] = [
    ("http.server.duration", "s", 0.030, 0.9),
    ("db.client.duration", "s", 0.012, 0.3),
    ("rpc.server.duration", "s", 0.020, 0.6),
    ("messaging.process.duration", "s", 0.060, 2.0),
];
/// The lower bound is the median.
pub(super) const SUMMARIES: [MetricWords; 2] =
    [("gc.pause", "s", 0.004, 0.0), ("render.time", "s", 0.080, 0.0)];

/// Returns the name of service `index`.
pub(super) fn service(index: u32) -> String {
    let name = SERVICES[index as usize % SERVICES.len()];
    match index as usize / SERVICES.len() {
        0 => name.to_owned(),
        round => format!("{name}-{}", round + 1),
    }
}

/// Returns the fields of the `Resource` of an instance of a service.
pub(super) fn resource(service_index: u32) -> Vec<u8> {
    let mut resource = Vec::new();
    let index = service_index as usize;
    for (key, value) in [
        ("service.name", service(service_index).as_str()),
        ("service.version", ["1.4.2", "2.0.1", "0.9.7"][index % 3]),
        ("deployment.environment.name", ENVIRONMENTS[index / 3 % 3]),
        ("telemetry.sdk.language", LANGUAGES[index % 4]),
    ] {
        put_attribute(&mut resource, 1, key, value);
    }
    resource
}

/// Appends attributes with values that depend on `seed`; keys beyond the list are numbered.
pub(super) fn put_attributes(out: &mut Vec<u8>, field: u32, count: u32, seed: u64) {
    for index in 0..count {
        let (key, value_count) = ATTRIBUTES[index as usize % ATTRIBUTES.len()];
        let value = format!(
            "{}-{}",
            key.rsplit('.').next().unwrap_or(key),
            hash(seed, &[u64::from(index)]) % value_count
        );
        match index as usize / ATTRIBUTES.len() {
            0 => put_attribute(out, field, key, &value),
            round => put_attribute(out, field, &format!("{key}.{round}"), &value),
        }
    }
}

/// Severity numbers and texts of logs, each with a line.
pub(super) const SEVERITIES: [(u64, &str, &str); 6] = [
    (1, "TRACE", "entering handler with context"),
    (5, "DEBUG", "cache lookup finished, entry not found, asking the database"),
    (9, "INFO", "request completed"),
    (13, "WARN", "retrying after a timeout of the upstream connection"),
    (17, "ERROR", "request failed: upstream answered with an internal error"),
    (21, "FATAL", "cannot allocate, giving up"),
];

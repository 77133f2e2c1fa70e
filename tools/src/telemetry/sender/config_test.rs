//! Tests of where settings come from, and of what is refused.

use std::io::Write as _;
use std::path::Path;

use tempfile::NamedTempFile;

use super::*;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read_with(flags: &[&str], api_key: Option<&str>) -> Result<Config, ConfigError> {
    let args = ["telemetry-sender"].iter().chain(flags).map(OsString::from).collect();
    Config::read(args, api_key.map(str::to_owned))
}

fn read(flags: &[&str]) -> Result<Config, ConfigError> {
    read_with(flags, None)
}

fn refusal(flags: &[&str]) -> String {
    read(flags).unwrap_err().to_string()
}

/// The ConfigMap of a Kubernetes deployment.
const WHOLE: &str = "
templates: /data/templates
otlp:
  endpoint: api.example.org:443
  insecure: false
  headers: {x-dataset: load, x-team: \"7\"}
sending:
  rateLimit:
    eventsPerSecond: 200000
  concurrency: 50
  duration: \"10m\"
  multiplier: 3
  batchSize: {metrics: 10000, traces: 2000, logs: 3000}
  compression: zstd
  protocol: otlp-http
  signals: [metrics, logs]
slo: [\"p99<50ms\", \"rate>=90000\"]
";

#[test]
fn a_file_sets_everything() {
    let file = file(WHOLE);
    let config = read(&["--config", file.path().to_str().unwrap()]).unwrap();
    assert_eq!(config.endpoint.to_string(), "https://api.example.org:443");
    assert_eq!(config.headers.len(), 2);
    assert_eq!(config.signals, [Signal::Metrics, Signal::Logs]);
    let flags = &config.flags;
    assert_eq!((flags.rate, flags.concurrency, flags.multiplier), (200_000.0, 50, 3));
    assert_eq!((flags.batch_metrics, flags.batch_traces, flags.batch_logs), (10_000, 2_000, 3_000));
    assert_eq!((flags.compression, flags.protocol), (Compression::Zstd, Protocol::OtlpHttp));
    assert_eq!(config.duration(), Some(Duration::from_secs(600)));
    assert_eq!(config.slos.len(), 2);
    assert_eq!(flags.templates, Path::new("/data/templates"));
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let file = file(WHOLE);
    let flags = ["--config", file.path().to_str().unwrap(), "--rate", "5", "--header", "a=b", "--insecure"];
    let config = read(&flags).unwrap();
    assert_eq!((config.flags.rate, config.flags.concurrency), (5.0, 50));
    assert_eq!(config.flags.headers, ["a=b"]);
    assert!(!config.endpoint.is_tls);
    assert_eq!(config.flags.retry_max, Duration::from_secs(5), "the default");
    assert_eq!(read(&[]).unwrap().flags.rate, 100_000.0);
}

#[test]
fn unknown_keys_are_refused_with_the_allowed_ones() {
    for (text, key) in [
        ("sending: {rate: 5}", "sending.rate;"),
        ("otlp: {endpoint: a, Insecure: true}", "otlp.Insecure;"),
        ("sending: {rateLimit: {perSecond: 5}}", "sending.rateLimit.perSecond;"),
    ] {
        let file = file(text);
        let error = refusal(&["--config", file.path().to_str().unwrap()]);
        assert!(error.contains(key) && error.contains("sending.rateLimit.eventsPerSecond"), "{error}");
    }
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    for (flags, part) in [
        (vec!["--rate=-1"], "allowed is 0 to 1e9"),
        (vec!["--rate", "NaN"], "events-per-second is NaN"),
        (vec!["--concurrency", "0"], "--sending-concurrency is 0"),
        (vec!["--connections", "5000"], "--otlp-connections is 5000"),
        (vec!["--otlp-timeout", "0"], "--otlp-timeout is 0"),
        (vec!["--sending-retry-initial-interval", "10s"], "max-interval is 5s"),
        (vec!["--tenant", "a b"], "--otlp-tenants is \"a b\""),
        (vec!["--endpoint", "ftp://h"], "--otlp-endpoint"),
        (vec!["--verify", "h:port"], "--verify"),
        (vec!["--header", "novalue"], "--otlp-headers"),
        (vec!["--slo", "loss_ppm<=0"], "needs --verify"),
        (vec!["--slo", "speed>1"], "no indicator"),
        (vec!["--protocol", "flight", "--signal", "logs"], "metrics only"),
        (vec!["--protocol", "remote-write", "--compression", "gzip"], "--compression is for OTLP"),
        (vec!["--protocol", "smtp"], "remote-write-v2"),
        (vec!["--speed", "5"], "--speed"),
        (vec!["--duration", "soon"], "15s, 500ms, 1m or 2h"),
    ] {
        let error = refusal(&flags);
        assert!(error.contains(part), "{flags:?}: {error}");
    }
}

#[test]
fn the_api_key_is_a_header_and_is_never_shown() {
    let of = |flags: &[&str], variable| {
        let config = read_with(flags, variable).unwrap();
        let shown = format!("{config:?}");
        assert!(!shown.contains("se-cret"), "{shown}");
        let header = config.headers.into_iter().next().unwrap();
        (header.name.to_string(), header.value.to_str().unwrap().to_owned())
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(of(&[], Some("se-cret")), pair("authorization", "Bearer se-cret"));
    let file = file("se-cret\n");
    let path = file.path().to_str().unwrap();
    let team = ["--api-key-file", path, "--otlp-api-key-header", "x-honeycomb-team"];
    assert_eq!(of(&team, None), pair("x-honeycomb-team", "se-cret"));
    let error = read_with(&[], Some("se-cret\nand more")).unwrap_err().to_string();
    assert!(error.starts_with("API key:") && !error.contains("se-cret"), "{error}");
    assert!(read_with(&[], Some(" ")).unwrap_err().to_string().contains("is empty"));
    assert!(refusal(&["--api-key-file", "/nowhere/key"]).contains("/nowhere/key"));
}

#[test]
fn headers_from_flags_are_not_shown_either() {
    let config = read(&["--header", "x-secret=se-cret"]).unwrap();
    assert!(!format!("{:?}", config.headers).contains("se-cret"));
}

#[test]
fn verifying_means_no_loss_and_no_duplicates_unless_said_otherwise() {
    let config = read(&["--verify", "http://h:9090", "--slo", "loss_ppm<=10"]).unwrap();
    let texts: Vec<_> = config.slos.iter().map(|slo| slo.judge(None).text).collect();
    assert_eq!(texts, ["loss_ppm<=10", "duplicate_ppm<=0"]);
}

#[test]
fn workers_are_spread_over_tenants() {
    let config = read(&["--tenant", "a,b"]).unwrap();
    let tenants: Vec<_> = (0..3).map(|worker| config.tenant_of(worker)).collect();
    assert_eq!(tenants, [Some("a"), Some("b"), Some("a")]);
    assert_eq!(read(&[]).unwrap().tenant_of(0), None);
}

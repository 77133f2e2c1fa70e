//! The settings of `telemetry-generator`: `generator.yaml`, environment and flags.
//!
//! Every key, its default and unit: docs/telemetry-load.md.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser};

use crate::k8s::options::parse_duration;
use crate::telemetry::model::mixture::SCALE_MAX;
use crate::telemetry::template::ModelSettings;

/// Most points, spans or log records of a template.
const ITEM_COUNT_MAX: u64 = 20_000_000;
/// Most spans of one trace.
const TRACE_SPANS_MAX: u32 = 1_000_000;

/// The keys of `generator.yaml`.
pub const KEYS: [&str; 47] = [
    "output",
    "seed",
    "services",
    "metrics.enabled",
    "metrics.targets",
    "metrics.names",
    "metrics.seriesPerName",
    "metrics.attributes",
    "metrics.types.gauge",
    "metrics.types.counter",
    "metrics.types.upDownCounter",
    "metrics.types.histogram",
    "metrics.types.exponentialHistogram",
    "metrics.types.summary",
    "metrics.deltaFraction",
    "metrics.integerFraction",
    "metrics.rate.min",
    "metrics.rate.max",
    "metrics.rate.diurnal",
    "metrics.rate.noise",
    "metrics.buckets",
    "metrics.exponentialBuckets",
    "metrics.exponentialScale",
    "metrics.exemplarFraction",
    "metrics.restartInterval",
    "metrics.churn.fraction",
    "metrics.churn.interval",
    "metrics.ramp",
    "traces.enabled",
    "traces.count",
    "traces.spans.mean",
    "traces.spans.deviation",
    "traces.depth",
    "traces.duration",
    "traces.attributes",
    "traces.errorFraction",
    "traces.fatSpans.fraction",
    "traces.fatSpans.attributes",
    "traces.missingRootFraction",
    "traces.highSpanTraces.count",
    "traces.highSpanTraces.spans",
    "logs.enabled",
    "logs.count",
    "logs.bodyBytes",
    "logs.attributes",
    "logs.correlatedFraction",
    "logs.severities",
];

/// Writes templates of metrics, traces and logs, which telemetry-sender replays.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "telemetry-generator",
    version,
    args_override_self = true,
    after_help = "Series = targets x names x series per name. Equal settings give equal files, byte for byte."
)]
pub struct GeneratorOptions {
    /// YAML file with settings; the key metrics.rate.min is the flag --metrics-rate-min. Flags and variables win.
    #[arg(long, env = "GENERATOR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder of the templates, created if absent.
    #[arg(long, env = "GENERATOR_OUTPUT", default_value = "./templates")]
    pub output: PathBuf,
    /// Decides everything that is random.
    #[arg(long, env = "GENERATOR_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Services that targets, spans and log records belong to.
    #[arg(long, env = "GENERATOR_SERVICES", default_value_t = 10)]
    pub services: u32,
    /// Settings of metrics.
    #[command(flatten)]
    pub metrics: MetricsOptions,
    /// Settings of traces.
    #[command(flatten)]
    pub traces: TracesOptions,
    /// Settings of logs.
    #[command(flatten)]
    pub logs: LogsOptions,
}

/// Settings of metrics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Metrics")]
#[group(skip)]
pub struct MetricsOptions {
    /// Whether there are metrics.
    #[arg(id = "metrics_enabled", long = "metrics-enabled", env = "GENERATOR_METRICS_ENABLED", default_value_t = true, action = ArgAction::Set)]
    pub enabled: bool,
    /// Instances of the services; each has a service.instance.id of its own.
    #[arg(long = "metrics-targets", env = "GENERATOR_METRICS_TARGETS", default_value_t = 100)]
    pub targets: u32,
    /// Metric names of a target.
    #[arg(long = "metrics-names", env = "GENERATOR_METRICS_NAMES", default_value_t = 50)]
    pub names: u32,
    /// Series of each name and target.
    #[arg(long = "metrics-series-per-name", env = "GENERATOR_METRICS_SERIES_PER_NAME", default_value_t = 10)]
    pub series_per_name: u32,
    /// Attributes of a series besides the one that tells it from its neighbours.
    #[arg(
        id = "metrics_attributes",
        long = "metrics-attributes",
        env = "GENERATOR_METRICS_ATTRIBUTES",
        default_value_t = 3
    )]
    pub attributes: u32,
    /// Weight of gauges among the names.
    #[arg(long = "metrics-types-gauge", env = "GENERATOR_METRICS_TYPES_GAUGE", default_value_t = 40)]
    pub gauge: u32,
    /// Weight of counters: monotonic sums.
    #[arg(long = "metrics-types-counter", env = "GENERATOR_METRICS_TYPES_COUNTER", default_value_t = 40)]
    pub counter: u32,
    /// Weight of sums that go up and down.
    #[arg(
        long = "metrics-types-up-down-counter",
        env = "GENERATOR_METRICS_TYPES_UP_DOWN_COUNTER",
        default_value_t = 6
    )]
    pub up_down_counter: u32,
    /// Weight of histograms with explicit bounds.
    #[arg(long = "metrics-types-histogram", env = "GENERATOR_METRICS_TYPES_HISTOGRAM", default_value_t = 8)]
    pub histogram: u32,
    /// Weight of exponential histograms.
    #[arg(
        long = "metrics-types-exponential-histogram",
        env = "GENERATOR_METRICS_TYPES_EXPONENTIAL_HISTOGRAM",
        default_value_t = 4
    )]
    pub exponential_histogram: u32,
    /// Weight of summaries.
    #[arg(long = "metrics-types-summary", env = "GENERATOR_METRICS_TYPES_SUMMARY", default_value_t = 2)]
    pub summary: u32,
    /// Share of counters and histograms with delta temporality.
    #[arg(long = "metrics-delta-fraction", env = "GENERATOR_METRICS_DELTA_FRACTION", default_value_t = 0.0)]
    pub delta_fraction: f64,
    /// Share of gauges, counters and up-down counters with integer values.
    #[arg(
        long = "metrics-integer-fraction",
        env = "GENERATOR_METRICS_INTEGER_FRACTION",
        default_value_t = 0.5
    )]
    pub integer_fraction: f64,
    /// Lowest mean rate of a counter, of observations of a histogram; per second.
    #[arg(long = "metrics-rate-min", env = "GENERATOR_METRICS_RATE_MIN", default_value_t = 1.0)]
    pub rate_min: f64,
    /// Highest mean rate.
    #[arg(long = "metrics-rate-max", env = "GENERATOR_METRICS_RATE_MAX", default_value_t = 100.0)]
    pub rate_max: f64,
    /// How much rates rise by day (peak 14:00 UTC) and fall by night, as a share.
    #[arg(long = "metrics-rate-diurnal", env = "GENERATOR_METRICS_RATE_DIURNAL", default_value_t = 0.3)]
    pub diurnal: f64,
    /// How much rates differ from ten seconds to the next, as a share.
    #[arg(long = "metrics-rate-noise", env = "GENERATOR_METRICS_RATE_NOISE", default_value_t = 0.2)]
    pub noise: f64,
    /// Buckets of a histogram, the open one included.
    #[arg(long = "metrics-buckets", env = "GENERATOR_METRICS_BUCKETS", default_value_t = 12)]
    pub buckets: u32,
    /// Buckets of an exponential histogram.
    #[arg(
        long = "metrics-exponential-buckets",
        env = "GENERATOR_METRICS_EXPONENTIAL_BUCKETS",
        default_value_t = 32
    )]
    pub exponential_buckets: u32,
    /// Scale of exponential histograms, 0 to 3: 2^scale buckets double the bound.
    #[arg(
        long = "metrics-exponential-scale",
        env = "GENERATOR_METRICS_EXPONENTIAL_SCALE",
        default_value_t = 2
    )]
    pub exponential_scale: i32,
    /// Share of the series of counters and histograms with an exemplar of a trace that was sent.
    #[arg(
        long = "metrics-exemplar-fraction",
        env = "GENERATOR_METRICS_EXEMPLAR_FRACTION",
        default_value_t = 0.05
    )]
    pub exemplar_fraction: f64,
    /// Time between restarts of a target, which counts from zero then; 0s = never.
    #[arg(long = "metrics-restart-interval", env = "GENERATOR_METRICS_RESTART_INTERVAL", default_value = "0s", value_parser = parse_duration)]
    pub restart_interval: Duration,
    /// Share of the targets that are replaced by others in each churn interval.
    #[arg(long = "metrics-churn-fraction", env = "GENERATOR_METRICS_CHURN_FRACTION", default_value_t = 0.0)]
    pub churn_fraction: f64,
    /// The interval of the churn fraction.
    #[arg(long = "metrics-churn-interval", env = "GENERATOR_METRICS_CHURN_INTERVAL", default_value = "10m", value_parser = parse_duration)]
    pub churn_interval: Duration,
    /// Time from the start of a run until all series are there.
    #[arg(long = "metrics-ramp", env = "GENERATOR_METRICS_RAMP", default_value = "0s", value_parser = parse_duration)]
    pub ramp: Duration,
}

/// Settings of traces.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces")]
#[group(skip)]
pub struct TracesOptions {
    /// Whether there are traces.
    #[arg(id = "traces_enabled", long = "traces-enabled", env = "GENERATOR_TRACES_ENABLED", default_value_t = true, action = ArgAction::Set)]
    pub enabled: bool,
    /// Different traces.
    #[arg(id = "traces_count", long = "traces-count", env = "GENERATOR_TRACES_COUNT", default_value_t = 500)]
    pub count: u32,
    /// Spans of a trace, on the mean.
    #[arg(long = "traces-spans-mean", env = "GENERATOR_TRACES_SPANS_MEAN", default_value_t = 20)]
    pub spans_mean: u32,
    /// Their standard deviation.
    #[arg(long = "traces-spans-deviation", env = "GENERATOR_TRACES_SPANS_DEVIATION", default_value_t = 5)]
    pub spans_deviation: u32,
    /// Deepest level of spans, the root included.
    #[arg(long = "traces-depth", env = "GENERATOR_TRACES_DEPTH", default_value_t = 6)]
    pub depth: u32,
    /// Duration of a trace, about.
    #[arg(long = "traces-duration", env = "GENERATOR_TRACES_DURATION", default_value = "250ms", value_parser = parse_duration)]
    pub duration: Duration,
    /// Attributes of a span.
    #[arg(
        id = "traces_attributes",
        long = "traces-attributes",
        env = "GENERATOR_TRACES_ATTRIBUTES",
        default_value_t = 6
    )]
    pub attributes: u32,
    /// Share of spans with an error.
    #[arg(long = "traces-error-fraction", env = "GENERATOR_TRACES_ERROR_FRACTION", default_value_t = 0.02)]
    pub error_fraction: f64,
    /// Share of spans with many attributes.
    #[arg(
        long = "traces-fat-spans-fraction",
        env = "GENERATOR_TRACES_FAT_SPANS_FRACTION",
        default_value_t = 0.0
    )]
    pub fat_fraction: f64,
    /// How many attributes those have.
    #[arg(
        long = "traces-fat-spans-attributes",
        env = "GENERATOR_TRACES_FAT_SPANS_ATTRIBUTES",
        default_value_t = 100
    )]
    pub fat_attributes: u32,
    /// Share of traces whose root span is never sent.
    #[arg(
        long = "traces-missing-root-fraction",
        env = "GENERATOR_TRACES_MISSING_ROOT_FRACTION",
        default_value_t = 0.0
    )]
    pub missing_root_fraction: f64,
    /// Further traces with very many spans.
    #[arg(
        long = "traces-high-span-traces-count",
        env = "GENERATOR_TRACES_HIGH_SPAN_TRACES_COUNT",
        default_value_t = 0
    )]
    pub high_span_count: u32,
    /// How many spans those have.
    #[arg(
        long = "traces-high-span-traces-spans",
        env = "GENERATOR_TRACES_HIGH_SPAN_TRACES_SPANS",
        default_value_t = 100_000
    )]
    pub high_span_spans: u32,
}

/// Settings of logs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logs")]
#[group(skip)]
pub struct LogsOptions {
    /// Whether there are logs.
    #[arg(id = "logs_enabled", long = "logs-enabled", env = "GENERATOR_LOGS_ENABLED", default_value_t = true, action = ArgAction::Set)]
    pub enabled: bool,
    /// Different log records.
    #[arg(id = "logs_count", long = "logs-count", env = "GENERATOR_LOGS_COUNT", default_value_t = 5_000)]
    pub count: u32,
    /// Bytes of a body, about.
    #[arg(long = "logs-body-bytes", env = "GENERATOR_LOGS_BODY_BYTES", default_value_t = 120)]
    pub body_bytes: u32,
    /// Attributes of a record.
    #[arg(
        id = "logs_attributes",
        long = "logs-attributes",
        env = "GENERATOR_LOGS_ATTRIBUTES",
        default_value_t = 4
    )]
    pub attributes: u32,
    /// Share of records that belong to a trace that was sent.
    #[arg(
        long = "logs-correlated-fraction",
        env = "GENERATOR_LOGS_CORRELATED_FRACTION",
        default_value_t = 0.5
    )]
    pub correlated_fraction: f64,
    /// Weights of TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    #[arg(
        long = "logs-severities",
        env = "GENERATOR_LOGS_SEVERITIES",
        value_delimiter = ',',
        default_value = "1,15,70,8,5,1"
    )]
    pub severities: Vec<u32>,
}

/// Why the settings do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{key} is {given}; allowed is {allowed}")]
pub struct OptionsError {
    /// The key.
    pub key: &'static str,
    /// What was given.
    pub given: String,
    /// What is allowed.
    pub allowed: String,
}

fn refuse<T>(key: &'static str, given: impl ToString, allowed: impl ToString) -> Result<T, OptionsError> {
    Err(OptionsError { key, given: given.to_string(), allowed: allowed.to_string() })
}

impl GeneratorOptions {
    /// Checks every setting against its limits.
    ///
    /// # Errors
    /// [`OptionsError`] for the first one that is outside.
    pub fn check(&self) -> Result<(), OptionsError> {
        if !(self.metrics.enabled || self.traces.enabled || self.logs.enabled) {
            return refuse("metrics.enabled, traces.enabled, logs.enabled", "false", "true for one of them");
        }
        self.check_counts()?;
        self.check_shares()?;
        self.check_durations()?;
        let metrics = &self.metrics;
        if !(metrics.rate_min > 0.0 && metrics.rate_min <= 1e6) {
            return refuse("metrics.rate.min", metrics.rate_min, "more than 0, at most 1000000");
        }
        if !(metrics.rate_max >= metrics.rate_min && metrics.rate_max <= 1e6) {
            return refuse("metrics.rate.max", metrics.rate_max, "from metrics.rate.min to 1000000");
        }
        let swing = metrics.diurnal + metrics.noise;
        if swing > 0.95 {
            return refuse("metrics.rate.diurnal + metrics.rate.noise", swing, "at most 0.95");
        }
        if !(0..=SCALE_MAX).contains(&metrics.exponential_scale) {
            return refuse("metrics.exponentialScale", metrics.exponential_scale, "0 to 3");
        }
        if self.metrics.type_weights().iter().sum::<u32>() == 0 {
            return refuse("metrics.types", 0, "a weight above 0 for one of them");
        }
        let severities = &self.logs.severities;
        let weight: u64 = severities.iter().map(|weight| u64::from(*weight)).sum();
        if severities.len() != 6 || weight == 0 {
            return refuse("logs.severities", format!("{severities:?}"), "six weights, not all of them 0");
        }
        self.check_sizes()
    }

    fn check_counts(&self) -> Result<(), OptionsError> {
        let (metrics, traces, logs) = (&self.metrics, &self.traces, &self.logs);
        let counts = [
            ("services", self.services, 1, 10_000),
            ("metrics.targets", metrics.targets, 1, 9_999),
            ("metrics.names", metrics.names, 1, 9_999),
            ("metrics.seriesPerName", metrics.series_per_name, 1, 100_000),
            ("metrics.attributes", metrics.attributes, 0, 20),
            ("metrics.types.gauge", metrics.gauge, 0, 1_000_000),
            ("metrics.types.counter", metrics.counter, 0, 1_000_000),
            ("metrics.types.upDownCounter", metrics.up_down_counter, 0, 1_000_000),
            ("metrics.types.histogram", metrics.histogram, 0, 1_000_000),
            ("metrics.types.exponentialHistogram", metrics.exponential_histogram, 0, 1_000_000),
            ("metrics.types.summary", metrics.summary, 0, 1_000_000),
            ("metrics.buckets", metrics.buckets, 2, 100),
            ("metrics.exponentialBuckets", metrics.exponential_buckets, 2, 160),
            ("traces.count", traces.count, 1, 1_000_000),
            ("traces.spans.mean", traces.spans_mean, 1, TRACE_SPANS_MAX),
            ("traces.spans.deviation", traces.spans_deviation, 0, TRACE_SPANS_MAX),
            ("traces.depth", traces.depth, 1, 1_000),
            ("traces.attributes", traces.attributes, 0, 1_000),
            ("traces.fatSpans.attributes", traces.fat_attributes, 0, 1_000),
            ("traces.highSpanTraces.count", traces.high_span_count, 0, 10_000),
            ("traces.highSpanTraces.spans", traces.high_span_spans, 1, TRACE_SPANS_MAX),
            ("logs.count", logs.count, 1, 1_000_000),
            ("logs.bodyBytes", logs.body_bytes, 1, 65_536),
            ("logs.attributes", logs.attributes, 0, 1_000),
        ];
        for (key, given, low, high) in counts {
            if !(low..=high).contains(&given) {
                return refuse(key, given, format!("{low} to {high}"));
            }
        }
        Ok(())
    }

    fn check_shares(&self) -> Result<(), OptionsError> {
        let (metrics, traces) = (&self.metrics, &self.traces);
        let shares = [
            ("metrics.deltaFraction", metrics.delta_fraction),
            ("metrics.integerFraction", metrics.integer_fraction),
            ("metrics.rate.diurnal", metrics.diurnal),
            ("metrics.rate.noise", metrics.noise),
            ("metrics.exemplarFraction", metrics.exemplar_fraction),
            ("metrics.churn.fraction", metrics.churn_fraction),
            ("traces.errorFraction", traces.error_fraction),
            ("traces.fatSpans.fraction", traces.fat_fraction),
            ("traces.missingRootFraction", traces.missing_root_fraction),
            ("logs.correlatedFraction", self.logs.correlated_fraction),
        ];
        for (key, given) in shares {
            if !(0.0..=1.0).contains(&given) {
                return refuse(key, given, "0 to 1");
            }
        }
        Ok(())
    }

    fn check_durations(&self) -> Result<(), OptionsError> {
        let metrics = &self.metrics;
        let durations = [
            ("metrics.restartInterval", metrics.restart_interval, 0, 30 * 86_400),
            ("metrics.churn.interval", metrics.churn_interval, 1, 30 * 86_400),
            ("metrics.ramp", metrics.ramp, 0, 30 * 86_400),
            ("traces.duration", self.traces.duration, 0, 86_400),
        ];
        for (key, given, low, high) in durations {
            if !(low..=high).contains(&given.as_secs()) {
                return refuse(key, format!("{given:?}"), format!("{low}s to {high}s"));
            }
        }
        let restart_ms = metrics.restart_interval.as_millis();
        if restart_ms > 0 && restart_ms < 1_000 {
            return refuse("metrics.restartInterval", format!("{restart_ms}ms"), "0s, or at least 1s");
        }
        if self.traces.duration < Duration::from_millis(1) {
            return refuse("traces.duration", format!("{:?}", self.traces.duration), "at least 1ms");
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), OptionsError> {
        let (metrics, traces) = (&self.metrics, &self.traces);
        let points =
            u64::from(metrics.targets) * u64::from(metrics.names) * u64::from(metrics.series_per_name);
        if metrics.enabled && points > ITEM_COUNT_MAX {
            return refuse(
                "metrics.targets x names x seriesPerName",
                points,
                format!("at most {ITEM_COUNT_MAX}"),
            );
        }
        let spans = u64::from(traces.count) * u64::from(traces.spans_mean)
            + u64::from(traces.high_span_count) * u64::from(traces.high_span_spans);
        if traces.enabled && spans > ITEM_COUNT_MAX {
            return refuse("spans of all traces", spans, format!("at most {ITEM_COUNT_MAX}"));
        }
        Ok(())
    }

    /// Returns what the values of metrics depend on.
    pub fn model_settings(&self) -> ModelSettings {
        let metrics = &self.metrics;
        let nanoseconds = |duration: Duration| duration.as_nanos() as u64;
        let lifetime_ns = if metrics.churn_fraction > 0.0 {
            // The share in an interval is the interval's share of a lifetime.
            (nanoseconds(metrics.churn_interval) as f64 / metrics.churn_fraction) as u64
        } else {
            0
        };
        ModelSettings {
            seed: self.seed,
            diurnal: metrics.diurnal,
            noise: metrics.noise,
            restart_interval_ns: nanoseconds(metrics.restart_interval),
            lifetime_ns,
            ramp_ns: nanoseconds(metrics.ramp),
        }
    }
}

impl MetricsOptions {
    /// Returns the weights of the types, in the order of `MetricType::ALL`.
    pub fn type_weights(&self) -> [u32; 6] {
        [
            self.gauge,
            self.counter,
            self.up_down_counter,
            self.histogram,
            self.exponential_histogram,
            self.summary,
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory;

    use super::*;
    use crate::telemetry::settings::{flag_of, parse};

    fn options(flags: &[&str]) -> GeneratorOptions {
        let arguments = ["telemetry-generator"].iter().chain(flags).map(OsString::from);
        parse(arguments, &KEYS).unwrap()
    }

    #[test]
    fn keys_flags_and_variables_are_the_same() {
        let command = GeneratorOptions::command();
        let mut flags: Vec<&str> =
            command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        flags.retain(|flag| *flag != "config");
        let of_keys: Vec<String> = KEYS.iter().map(|key| flag_of(key)).collect();
        assert_eq!(flags, of_keys);
        for argument in command.get_arguments() {
            let flag = argument.get_long().unwrap();
            let variable = format!("GENERATOR_{}", flag.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().unwrap().to_str(), Some(variable.as_str()));
        }
    }

    #[test]
    fn defaults_are_allowed_and_documented() {
        options(&[]).check().unwrap();
        let document = include_str!("../../../../docs/telemetry-load.md");
        for key in KEYS {
            assert!(document.contains(&format!("`{key}`")), "{key} is not in docs/telemetry-load.md");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for (flags, part) in [
            (vec!["--services", "0"], "services is 0; allowed is 1 to"),
            (vec!["--metrics-rate-diurnal", "0.9"], "metrics.rate.diurnal + metrics.rate.noise"),
            (vec!["--metrics-rate-min", "NaN"], "metrics.rate.min is NaN"),
            (vec!["--metrics-rate-max", "0.5"], "metrics.rate.max"),
            (vec!["--metrics-churn-fraction", "1.5"], "metrics.churn.fraction"),
            (vec!["--metrics-targets", "9999", "--metrics-names", "9999"], "metrics.targets x names"),
            (vec!["--metrics-restart-interval", "5ms"], "metrics.restartInterval"),
            (vec!["--logs-severities", "1,2"], "logs.severities"),
            (vec!["--metrics-enabled=false", "--traces-enabled=false", "--logs-enabled=false"], "enabled"),
        ] {
            let error = options(&flags).check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn churn_is_an_intervals_share_of_a_lifetime() {
        let options = options(&["--metrics-churn-fraction", "0.1", "--metrics-churn-interval", "10m"]);
        assert_eq!(options.model_settings().lifetime_ns, 6_000_000_000_000);
    }
}

//! Every setting with its unit, default and limit: flags, `MYTSDB_…` variables and the YAML file.
//!
//! Input: the command line. Output: a [`Config`] that is valid as a whole. A flag wins over its environment
//! variable, that over the file, that over the default. Not here: acting on settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser};
use mytsdb_storage::model::{MatchOp, Matcher};
use mytsdb_storage::{LongLabels, StorageOptions, WalSync};

use crate::features::Features;
use crate::limits_file::{AllLimits, TenantSettings, count, long_labels, or_unlimited};
use crate::otlp::{OtlpOptions, OtlpSettings, SectionError};
use crate::units::{parse_bytes, parse_duration_ms};

/// The key of the file that is a section and no flag.
const OTLP_KEY: &str = "otlp";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The flags are wrong, or help was asked for; clap knows how to print it.
    #[error(transparent)]
    Flags(#[from] clap::Error),
    /// The file cannot be read or is no YAML map.
    #[error("cannot read the configuration file {path}: {reason}")]
    File {
        /// The file of `--config`.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file holds a key that is no setting.
    #[error(
        "configuration file {path}: {key:?} is no setting; allowed are otlp and the names of the flags, such as http-port"
    )]
    UnknownKey {
        /// The file of `--config`.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// The section `otlp` of the file is wrong.
    #[error("configuration file {path}: {source}")]
    Otlp {
        /// The file of `--config`.
        path: PathBuf,
        /// What is wrong with it.
        source: SectionError,
    },
    /// The file of `--limits-file` cannot be read or is wrong.
    #[error("limits file {path}: {reason}")]
    LimitsFile {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
}

/// The command line as it is written.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "mytsdb",
    version,
    about = "An OTLP-native time series database that answers PromQL",
    after_help = "Commands:\n  mytsdb check DIR                       verify a data directory or a snapshot\n  mytsdb restore SNAPSHOT_DIR DATA_DIR   make a data directory of a snapshot",
    args_override_self = true
)]
struct Flags {
    /// YAML file with settings; its keys are the names of the flags
    #[arg(long, env = "MYTSDB_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of all data; created if absent
    #[arg(long, env = "MYTSDB_DATA_DIR", default_value = "./data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Address on which HTTP, Arrow Flight and the GPU REST API listen
    #[arg(long, env = "MYTSDB_HTTP_HOST", default_value = "0.0.0.0", value_name = "IP")]
    http_host: IpAddr,
    /// Port of the Prometheus API and of remote write; 0 = any
    #[arg(long, env = "MYTSDB_HTTP_PORT", default_value_t = 9090, value_name = "PORT")]
    http_port: u16,
    /// Port of Arrow Flight; 0 = any
    #[arg(long, env = "MYTSDB_ARROW_PORT", default_value_t = 8815, value_name = "PORT")]
    arrow_port: u16,
    /// Port of the GPU REST API; 0 = there is none, any = any free port
    #[arg(long, env = "MYTSDB_GATEWAY_PORT", default_value = "0", value_name = "PORT", value_parser = gateway_port)]
    gateway_port: GatewayPort,
    /// Address of OTLP/gRPC; port 0 = any
    #[arg(long, env = "MYTSDB_ADDRESS", default_value = "0.0.0.0:4317", value_name = "IP:PORT")]
    address: SocketAddr,
    /// Address of OTLP/HTTP; port 0 = any
    #[arg(long, env = "MYTSDB_OTLP_HTTP_ADDRESS", default_value = "0.0.0.0:4318", value_name = "IP:PORT")]
    otlp_http_address: SocketAddr,
    /// File that gets the bound addresses as JSON once the server is ready
    #[arg(long, env = "MYTSDB_ADDRESSES_FILE", value_name = "PATH")]
    addresses_file: Option<PathBuf>,
    /// When a write is acknowledged: group (after fdatasync), interval:DURATION, none
    #[arg(long, env = "MYTSDB_WAL_SYNC", default_value = "group", value_name = "WHEN", value_parser = wal_sync)]
    wal_sync: WalSync,
    /// How long samples are kept, such as 15d; 0 = for ever
    #[arg(long, env = "MYTSDB_RETENTION", default_value = "15d", value_name = "DURATION", value_parser = duration_ms)]
    retention: i64,
    /// Most bytes of block files, all tenants together; the oldest days go first; 0 = no limit
    #[arg(long, env = "MYTSDB_RETENTION_SIZE", default_value = "0", value_name = "BYTES", value_parser = parse_bytes)]
    retention_size: usize,
    /// Free bytes of the disk below which writes are refused until there is room again
    #[arg(long, env = "MYTSDB_DISK_RESERVE", value_name = "BYTES", value_parser = parse_bytes)]
    disk_reserve: Option<usize>,
    /// Bytes of samples in memory at which they are written to a block
    #[arg(long, env = "MYTSDB_HEAD_MAX_BYTES", default_value = "128MiB", value_name = "BYTES", value_parser = positive_bytes)]
    head_max_bytes: usize,
    /// Most series of a tenant in memory; new ones above are refused; 0 = no limit
    #[arg(long, env = "MYTSDB_LIMIT_ACTIVE_SERIES", default_value_t = 5_000_000, value_name = "COUNT")]
    limit_active_series: usize,
    /// Most labels of a series, the metric name included
    #[arg(long, env = "MYTSDB_LIMIT_LABELS_PER_SERIES", default_value = "64", value_name = "COUNT", value_parser = concurrency)]
    limit_labels_per_series: usize,
    /// Longest label name
    #[arg(long, env = "MYTSDB_LIMIT_LABEL_NAME_BYTES", default_value = "256B", value_name = "BYTES", value_parser = body_bytes)]
    limit_label_name_bytes: usize,
    /// Longest label value, metric names included
    #[arg(long, env = "MYTSDB_LIMIT_LABEL_VALUE_BYTES", default_value = "4KiB", value_name = "BYTES", value_parser = body_bytes)]
    limit_label_value_bytes: usize,
    /// What becomes of labels that are too long: reject (the series), truncate (with a hash), drop-label
    #[arg(long, env = "MYTSDB_LIMIT_LONG_LABELS", default_value = "reject", value_name = "POLICY", value_parser = long_labels)]
    limit_long_labels: LongLabels,
    /// How far ahead of the clock a sample may be
    #[arg(long, env = "MYTSDB_LIMIT_AHEAD", default_value = "10m", value_name = "DURATION", value_parser = duration_ms)]
    limit_ahead: i64,
    /// Most samples a second of a tenant; faster ones are told to come back; 0 = no limit
    #[arg(long, env = "MYTSDB_LIMIT_SAMPLES_PER_SECOND", default_value = "0", value_name = "COUNT", value_parser = count)]
    limit_samples_per_second: usize,
    /// Samples that a tenant may write at once, if there is a limit a second; 0 = those of ten seconds
    #[arg(long, env = "MYTSDB_LIMIT_SAMPLES_BURST", default_value = "0", value_name = "COUNT", value_parser = count)]
    limit_samples_burst: usize,
    /// Most bytes of write bodies of a tenant in flight; 0 = as many as of all
    #[arg(long, env = "MYTSDB_LIMIT_INFLIGHT_BYTES", default_value = "0", value_name = "BYTES", value_parser = parse_bytes)]
    limit_inflight_bytes: usize,
    /// YAML file with limits by tenant, read again when it changes
    #[arg(long, env = "MYTSDB_LIMITS_FILE", value_name = "FILE")]
    limits_file: Option<PathBuf>,
    /// File with TLS and accounts, as Prometheus' --web.config.file, read again when it changes
    #[arg(long, env = "MYTSDB_WEB_CONFIG", value_name = "FILE")]
    web_config: Option<PathBuf>,
    /// Bytes after which the WAL begins a new file; for tests
    #[arg(long, env = "MYTSDB_WAL_SEGMENT_SIZE", default_value = "64MiB", value_name = "BYTES", value_parser = positive_bytes, hide = true)]
    wal_segment_size: usize,
    /// How far back an instant selector looks
    #[arg(long, env = "MYTSDB_LOOKBACK_DELTA", default_value = "5m", value_name = "DURATION", value_parser = positive_duration_ms)]
    lookback_delta: i64,
    /// Longest time a query may take, waiting included
    #[arg(long, env = "MYTSDB_QUERY_TIMEOUT", default_value = "2m", value_name = "DURATION", value_parser = positive_duration_ms)]
    query_timeout: i64,
    /// Most queries evaluated at a time; more wait
    #[arg(long, env = "MYTSDB_QUERY_MAX_CONCURRENCY", default_value = "20", value_name = "COUNT", value_parser = concurrency)]
    query_max_concurrency: usize,
    /// Most bytes that the samples of one query may take
    #[arg(long, env = "MYTSDB_QUERY_MAX_BYTES", default_value = "1GiB", value_name = "BYTES", value_parser = positive_bytes)]
    query_max_bytes: usize,
    /// Most bytes that the samples of all queries of a tenant may take together
    #[arg(long, env = "MYTSDB_QUERY_MAX_TENANT_BYTES", default_value = "2GiB", value_name = "BYTES", value_parser = positive_bytes)]
    query_max_tenant_bytes: usize,
    /// Most bytes that the samples of all queries may take together
    #[arg(long, env = "MYTSDB_QUERY_MAX_TOTAL_BYTES", default_value = "2GiB", value_name = "BYTES", value_parser = positive_bytes)]
    query_max_total_bytes: usize,
    /// Most queries that wait for their turn; more are refused
    #[arg(long, env = "MYTSDB_QUERY_MAX_WAITING", default_value = "1000", value_name = "COUNT", value_parser = concurrency)]
    query_max_waiting: usize,
    /// File that gets a line of JSON per finished query
    #[arg(long, env = "MYTSDB_QUERY_LOG_FILE", value_name = "PATH")]
    query_log_file: Option<PathBuf>,
    /// Switches features on, by Prometheus' names, separated by commas
    #[arg(long, env = "MYTSDB_ENABLE_FEATURE", default_value = "", value_name = "NAMES", value_parser = Features::parse)]
    enable_feature: Features,
    /// Longest text of a query
    #[arg(long, env = "MYTSDB_QUERY_MAX_LENGTH", default_value = "1MiB", value_name = "BYTES", value_parser = positive_bytes)]
    query_max_length: usize,
    /// Largest body of a write request, as sent and after decompression
    #[arg(long, env = "MYTSDB_WRITE_MAX_BYTES", default_value = "32MiB", value_name = "BYTES", value_parser = body_bytes)]
    write_max_bytes: usize,
    /// Most bytes of write bodies in flight at a time; more are told to come back
    #[arg(long, env = "MYTSDB_WRITE_MAX_INFLIGHT_BYTES", default_value = "128MiB", value_name = "BYTES", value_parser = body_bytes)]
    write_max_inflight_bytes: usize,
    /// Largest message of Arrow Flight and OTLP (gRPC and HTTP), as sent and after decompression
    #[arg(long, env = "MYTSDB_GRPC_MAX_BYTES", default_value = "64MiB", value_name = "BYTES", value_parser = body_bytes)]
    grpc_max_bytes: usize,
    /// Most HTTP connections at a time; more wait to be accepted
    #[arg(long, env = "MYTSDB_HTTP_MAX_CONNECTIONS", default_value = "2048", value_name = "COUNT", value_parser = concurrency)]
    http_max_connections: usize,
    /// Most connections of each gRPC port (Arrow Flight, OTLP) at a time; more wait to be accepted
    #[arg(long, env = "MYTSDB_GRPC_MAX_CONNECTIONS", default_value = "2048", value_name = "COUNT", value_parser = concurrency)]
    grpc_max_connections: usize,
    /// How long a client may take to send its headers or stay idle, and to send its body
    #[arg(long, env = "MYTSDB_HTTP_READ_TIMEOUT", default_value = "1m", value_name = "DURATION", value_parser = positive_duration_ms)]
    http_read_timeout: i64,
    /// Origins whose pages may read the query API: *, none, one such as https://example.org, or a regular expression
    #[arg(long, env = "MYTSDB_HTTP_CORS_ORIGIN", default_value = "*", value_name = "ORIGIN", value_parser = cors_origin)]
    http_cors_origin: CorsOrigin,
    /// Longest wait for running requests when the server goes down
    #[arg(long, env = "MYTSDB_SHUTDOWN_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = duration_ms)]
    shutdown_timeout: i64,
    /// Switches the admin API on
    #[arg(long, env = "MYTSDB_ENABLE_ADMIN_API", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    enable_admin_api: bool,
    /// Switches /-/reload and /-/quit on
    #[arg(long, env = "MYTSDB_ENABLE_LIFECYCLE", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    enable_lifecycle: bool,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,mytsdb=debug
    #[arg(long, env = "MYTSDB_LOG_LEVEL", default_value = "info", value_name = "FILTER", value_parser = log_filter)]
    log_level: String,
}

/// Whether there is a GPU REST API, and on which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GatewayPort {
    Off,
    /// 0 = any free port.
    On(u16),
}

/// Whose pages may read the query API from a browser.
#[derive(Debug, Clone)]
pub enum CorsOrigin {
    /// Everybody's, as Prometheus does by default.
    Any,
    /// Nobody's.
    None,
    /// Those of one origin.
    One(axum::http::HeaderValue),
    /// Those of the origins that a regular expression describes as a whole.
    Pattern(Matcher),
}

/// All settings of a server, valid as a whole.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where HTTP listens; port 0 = any.
    pub http_addr: SocketAddr,
    /// Where Arrow Flight listens; port 0 = any.
    pub arrow_addr: SocketAddr,
    /// Where the GPU REST API listens; `None` = nowhere, port 0 = any.
    pub gateway_addr: Option<SocketAddr>,
    /// Where OTLP/gRPC listens; port 0 = any.
    pub otlp_grpc_addr: SocketAddr,
    /// Where OTLP/HTTP listens; port 0 = any.
    pub otlp_http_addr: SocketAddr,
    /// The section `otlp` of the file, as it was at the start.
    pub otlp: OtlpSettings,
    /// The file of `--config`.
    pub file: Option<PathBuf>,
    /// File that gets the bound addresses once the server is ready.
    pub addresses_file: Option<PathBuf>,
    /// What the storage is opened with.
    pub storage: StorageOptions,
    /// File with limits by tenant, read again when it changes.
    pub limits_file: Option<PathBuf>,
    /// What a tenant may do by the flags alone; the file stands over it.
    pub tenant_flags: TenantSettings,
    /// File with TLS and accounts, read again when it changes.
    pub web_config: Option<PathBuf>,
    /// Settings of queries.
    pub query: QueryConfig,
    /// Limits of requests and connections.
    pub limits: Limits,
    /// Whose pages may read the query API.
    pub cors_origin: CorsOrigin,
    /// Whether the admin API answers.
    pub is_admin_api_enabled: bool,
    /// Whether `/-/reload` and `/-/quit` answer.
    pub is_lifecycle_enabled: bool,
    /// Filter of the log.
    pub log_filter: String,
    /// Every flag with its value as text, for `/api/v1/status/flags`.
    pub flags: BTreeMap<String, String>,
}

/// Settings of queries.
#[derive(Debug, Clone)]
pub struct QueryConfig {
    /// How far back an instant selector looks.
    pub lookback_ms: i64,
    /// Longest time of a query, waiting included.
    pub timeout: Duration,
    /// Most queries evaluated at a time.
    pub concurrency_max: usize,
    /// Most queries that wait.
    pub waiting_count_max: usize,
    /// Most bytes of samples of one query.
    pub bytes_max: usize,
    /// Most bytes of samples of a tenant's queries together.
    pub tenant_bytes_max: usize,
    /// Most bytes of samples of all queries together.
    pub total_bytes_max: usize,
    /// File that gets a line per finished query.
    pub log_file: Option<PathBuf>,
    /// What is switched on beyond the defaults.
    pub features: Features,
    /// Longest text of a query in bytes.
    pub text_bytes_max: usize,
}

/// Limits of requests and connections.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest body of a write, as sent and decompressed.
    pub write_bytes_max: usize,
    /// Most bytes of write bodies in flight.
    pub write_inflight_bytes_max: usize,
    /// Largest gRPC message, as sent and decompressed.
    pub grpc_message_bytes_max: usize,
    /// Most HTTP connections at a time.
    pub connection_count_max: usize,
    /// Most connections of each gRPC port at a time.
    pub grpc_connection_count_max: usize,
    /// Longest time to send headers (or to stay idle), and to send a body.
    pub read_timeout: Duration,
    /// Longest wait for running requests when the server goes down.
    pub shutdown_timeout: Duration,
}

impl Config {
    /// Reads the command line (first the program's name), the environment and the file of `--config`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the flag or key, its value and what is allowed.
    pub fn from_args(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self, ConfigError> {
        let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let matches = Flags::command().try_get_matches_from(&args)?;
        let path = matches.get_one::<PathBuf>("config").cloned();
        if let Some(path) = &path {
            args.extend(file_args(path, read_file(path)?, &matches)?);
        }
        let matches = Flags::command().try_get_matches_from(&args)?;
        let shown = shown_flags(&matches);
        let mut config = Self::from_flags(Flags::from_arg_matches(&matches)?, shown);
        config.file = path;
        config.otlp = config.read_otlp()?;
        if let Some(path) = &config.limits_file {
            let failed = |reason| ConfigError::LimitsFile { path: path.clone(), reason };
            let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
            let all = AllLimits::parse(&text, &config.tenant_flags).map_err(failed)?;
            config.storage.limits = all.defaults;
            config.storage.tenant_limits = all.by_tenant;
        }
        Ok(config)
    }

    /// Reads the section `otlp` of the file once more.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key and what is allowed.
    pub fn read_otlp(&self) -> Result<OtlpSettings, ConfigError> {
        let base = OtlpOptions {
            message_bytes_max: self.limits.grpc_message_bytes_max,
            lookback_ms: self.query.lookback_ms,
            type_and_unit_labels: self.query.features.type_and_unit_labels,
            ..OtlpOptions::default()
        };
        let Some(path) = &self.file else { return Ok(OtlpSettings::new(base)) };
        let section = read_file(path)?.remove(OTLP_KEY).unwrap_or_default();
        OtlpSettings::from_section(&section, &base)
            .map_err(|source| ConfigError::Otlp { path: path.clone(), source })
    }

    fn from_flags(flags: Flags, shown: BTreeMap<String, String>) -> Self {
        let mut storage = StorageOptions::new(flags.data_dir);
        storage.wal_sync = flags.wal_sync;
        storage.limits.retention_ms = (flags.retention > 0).then_some(flags.retention);
        storage.retention_bytes = (flags.retention_size > 0).then_some(flags.retention_size as u64);
        storage.limits.active_series_max = or_unlimited(flags.limit_active_series);
        storage.limits.labels_per_series_max = flags.limit_labels_per_series;
        storage.limits.label_name_bytes_max = flags.limit_label_name_bytes;
        storage.limits.label_value_bytes_max = flags.limit_label_value_bytes;
        storage.limits.long_labels = flags.limit_long_labels;
        storage.limits.ahead_ms = flags.limit_ahead;
        storage.limits.inflight_bytes_max = or_unlimited(flags.limit_inflight_bytes);
        let tenant_flags = TenantSettings {
            limits: storage.limits.clone(),
            samples_per_second: flags.limit_samples_per_second as u64,
            samples_burst: flags.limit_samples_burst as u64,
        };
        storage.limits = tenant_flags.limits();
        storage.disk_reserve_bytes = flags.disk_reserve.map(|bytes| bytes as u64);
        storage.head_bytes_max = flags.head_max_bytes;
        storage.wal_segment_bytes_max = flags.wal_segment_size as u64;
        Self {
            http_addr: SocketAddr::new(flags.http_host, flags.http_port),
            arrow_addr: SocketAddr::new(flags.http_host, flags.arrow_port),
            gateway_addr: match flags.gateway_port {
                GatewayPort::Off => None,
                GatewayPort::On(port) => Some(SocketAddr::new(flags.http_host, port)),
            },
            otlp_grpc_addr: flags.address,
            otlp_http_addr: flags.otlp_http_address,
            otlp: OtlpSettings::default(),
            file: None,
            addresses_file: flags.addresses_file,
            storage,
            limits_file: flags.limits_file,
            tenant_flags,
            web_config: flags.web_config,
            query: QueryConfig {
                lookback_ms: flags.lookback_delta,
                timeout: Duration::from_millis(flags.query_timeout.unsigned_abs()),
                concurrency_max: flags.query_max_concurrency,
                waiting_count_max: flags.query_max_waiting,
                bytes_max: flags.query_max_bytes,
                tenant_bytes_max: flags.query_max_tenant_bytes,
                total_bytes_max: flags.query_max_total_bytes,
                log_file: flags.query_log_file,
                features: flags.enable_feature,
                text_bytes_max: flags.query_max_length,
            },
            limits: Limits {
                write_bytes_max: flags.write_max_bytes,
                write_inflight_bytes_max: flags.write_max_inflight_bytes.max(flags.write_max_bytes),
                grpc_message_bytes_max: flags.grpc_max_bytes,
                connection_count_max: flags.http_max_connections,
                grpc_connection_count_max: flags.grpc_max_connections,
                read_timeout: Duration::from_millis(flags.http_read_timeout.unsigned_abs()),
                shutdown_timeout: Duration::from_millis(flags.shutdown_timeout.unsigned_abs()),
            },
            cors_origin: flags.http_cors_origin,
            is_admin_api_enabled: flags.enable_admin_api,
            is_lifecycle_enabled: flags.enable_lifecycle,
            log_filter: flags.log_level,
            flags: shown,
        }
    }
}

/// The file as a map.
fn read_file(path: &Path) -> Result<BTreeMap<String, serde_json::Value>, ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    match text.trim() {
        "" => Ok(BTreeMap::new()),
        text => serde_saphyr::from_str(text).map_err(|error| failed(error.to_string())),
    }
}

/// The settings of the file that no flag and no variable sets, as flags.
fn file_args(
    path: &Path,
    settings: BTreeMap<String, serde_json::Value>,
    matches: &clap::ArgMatches,
) -> Result<Vec<OsString>, ConfigError> {
    let failed = |reason: String| ConfigError::File { path: path.to_owned(), reason };
    let command = Flags::command();
    let mut args = Vec::new();
    for (key, value) in settings.into_iter().filter(|(key, _)| key != OTLP_KEY) {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_long() == Some(key.as_str()) && key != "config")
            .ok_or_else(|| ConfigError::UnknownKey { path: path.to_owned(), key: key.clone() })?;
        let text = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Number(number) => number.to_string(),
            serde_json::Value::Bool(flag) => flag.to_string(),
            _ => return Err(failed(format!("{key:?} must be a text, a number or true/false"))),
        };
        let source = matches.value_source(argument.get_id().as_str());
        if !matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable)) {
            args.push(format!("--{key}={text}").into());
        }
    }
    Ok(args)
}

/// Every flag that has a value, with it, as written.
fn shown_flags(matches: &clap::ArgMatches) -> BTreeMap<String, String> {
    let command = Flags::command();
    let mut shown = BTreeMap::new();
    for argument in command.get_arguments() {
        let Some(name) = argument.get_long() else { continue };
        if let Ok(Some(mut values)) = matches.try_get_raw(argument.get_id().as_str())
            && let Some(value) = values.next()
        {
            shown.insert(name.to_owned(), value.to_string_lossy().into_owned());
        }
    }
    shown
}

fn gateway_port(text: &str) -> Result<GatewayPort, String> {
    match (text, text.parse()) {
        ("any", _) => Ok(GatewayPort::On(0)),
        (_, Ok(0)) => Ok(GatewayPort::Off),
        (_, Ok(port)) => Ok(GatewayPort::On(port)),
        _ => Err("allowed is a port from 1 to 65535, any (any free port), or 0 (there is none)".to_owned()),
    }
}

fn wal_sync(text: &str) -> Result<WalSync, String> {
    match text.split_once(':') {
        None if text == "group" => Ok(WalSync::Group),
        None if text == "none" => Ok(WalSync::None),
        Some(("interval", interval)) => positive_duration_ms(interval)
            .map(|interval_ms| WalSync::Interval(Duration::from_millis(interval_ms.unsigned_abs()))),
        _ => Err("allowed are group, interval:DURATION (such as interval:1s), none".to_owned()),
    }
}

pub(crate) fn duration_ms(text: &str) -> Result<i64, String> {
    parse_duration_ms(text)
        .map_err(|reason| format!("{reason}; allowed is a duration such as 30s, 5m, 1h30m, 15d"))
}

fn positive_duration_ms(text: &str) -> Result<i64, String> {
    match duration_ms(text)? {
        0 => Err("allowed is a duration above 0, such as 30s, 5m, 1h30m, 15d".to_owned()),
        duration_ms => Ok(duration_ms),
    }
}

fn positive_bytes(text: &str) -> Result<usize, String> {
    match parse_bytes(text)? {
        0 => Err("allowed is a number of bytes above 0".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Bodies are addressed with 32 bits.
pub(crate) fn body_bytes(text: &str) -> Result<usize, String> {
    match positive_bytes(text)? {
        bytes if bytes > 1 << 31 => Err("allowed are at most 2GiB".to_owned()),
        bytes => Ok(bytes),
    }
}

pub(crate) fn concurrency(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=100_000) => Ok(count),
        _ => Err("allowed is a number from 1 to 100000".to_owned()),
    }
}

const ALLOWED_ORIGINS: &str = "allowed are *, none, an origin such as https://example.org, or a regular expression such as https?://(a|b)\\.example\\.org";

fn cors_origin(text: &str) -> Result<CorsOrigin, String> {
    match text {
        "*" => Ok(CorsOrigin::Any),
        "none" => Ok(CorsOrigin::None),
        pattern if pattern.contains(['(', '[', '*', '+', '?', '|', '\\', '^', '$']) => {
            Matcher::new(MatchOp::Regex, "origin", pattern)
                .map(CorsOrigin::Pattern)
                .map_err(|error| format!("{error}; {ALLOWED_ORIGINS}"))
        }
        origin if origin.starts_with("http://") || origin.starts_with("https://") => origin
            .parse()
            .map(CorsOrigin::One)
            .map_err(|_| "allowed are the characters of an HTTP header".to_owned()),
        _ => Err(ALLOWED_ORIGINS.to_owned()),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    text.parse::<tracing_subscriber::EnvFilter>()
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}; allowed are error, warn, info, debug, trace, or a filter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Result<Config, ConfigError> {
        Config::from_args(std::iter::once("mytsdb").chain(args.iter().copied()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = config(&[]).unwrap();
        assert_eq!(config.http_addr, "0.0.0.0:9090".parse().unwrap());
        assert_eq!(config.arrow_addr, "0.0.0.0:8815".parse().unwrap());
        assert_eq!(config.otlp_grpc_addr, "0.0.0.0:4317".parse().unwrap());
        assert_eq!(config.otlp_http_addr, "0.0.0.0:4318".parse().unwrap());
        assert_eq!(config.storage.wal_sync, WalSync::Group);
        assert_eq!(config.storage.limits.retention_ms, Some(15 * 86_400_000));
        assert_eq!(config.query.timeout, Duration::from_secs(120));
        assert_eq!(config.limits.write_bytes_max, 32 << 20);
        assert_eq!(config.gateway_addr, None);
        assert_eq!(config.flags["retention"], "15d");
    }

    #[test]
    fn the_gpu_api_is_off_on_a_port_or_on_any() {
        let port =
            |text: &str| config(&["--gateway-port", text]).unwrap().gateway_addr.map(|addr| addr.port());
        assert_eq!((port("0"), port("8081"), port("any")), (None, Some(8081), Some(0)));
    }

    #[test]
    fn a_bad_value_is_named_with_its_flag_and_what_is_allowed() {
        for (flag, value, allowed) in [
            ("--wal-sync", "sometimes", "group, interval:DURATION"),
            ("--wal-sync", "interval:0", "above 0"),
            ("--retention", "two weeks", "15d"),
            ("--query-max-concurrency", "0", "from 1 to 100000"),
            ("--write-max-bytes", "1PB", "32MiB"),
            ("--http-port", "70000", "65535"),
            ("--gateway-port", "70000", "65535"),
            ("--enable-feature", "promql-magic", "promql-delayed-name-removal"),
            ("--http-cors-origin", "example.org", "https://example.org"),
        ] {
            let message = config(&[flag, value]).unwrap_err().to_string();
            for part in [flag, value, allowed] {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "# settings\nhttp-port: 1234\nretention: 30d\nenable-admin-api: true\nwal-sync: 'interval:2s'\n",
        )
        .unwrap();
        let config = config(&["--config", file.path().to_str().unwrap(), "--retention", "7d"]).unwrap();
        assert_eq!(config.http_addr.port(), 1234);
        assert_eq!(config.storage.limits.retention_ms, Some(7 * 86_400_000));
        assert!(config.is_admin_api_enabled);
        assert_eq!(config.storage.wal_sync, WalSync::Interval(Duration::from_secs(2)));
    }

    #[test]
    fn the_section_otlp_is_read_with_its_tenants_and_can_be_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let text = "otlp:\n  promote_resource_attributes: [a]\n  tenants:\n    t: {logs: false}\n";
        std::fs::write(file.path(), text).unwrap();
        let config = config(&["--config", path, "--grpc-max-bytes=1MiB"]).unwrap();
        let tenant = mytsdb_storage::model::TenantId::new("t").unwrap();
        let options = config.otlp.of(&tenant);
        assert_eq!(options.promote_resource_attributes, ["a"]);
        assert_eq!((options.has_logs, options.has_traces, options.message_bytes_max), (false, true, 1 << 20));
        std::fs::write(file.path(), "otlp: {logs: true}\n").unwrap();
        assert!(config.read_otlp().unwrap().of(&tenant).has_logs);
        std::fs::write(file.path(), "otlp: {log: true}\n").unwrap();
        let message = config.read_otlp().unwrap_err().to_string();
        assert!(message.contains(path) && message.contains("log"), "{message}");
    }

    #[test]
    fn an_unknown_key_and_a_broken_file_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (text, part) in
            [("htp-port: 1\n", "htp-port"), ("[1, 2", path), ("http-port: [1]\n", "http-port")]
        {
            std::fs::write(file.path(), text).unwrap();
            let message = config(&["--config", path]).unwrap_err().to_string();
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
        let message = config(&["--config", "/nonexistent.yaml"]).unwrap_err().to_string();
        assert!(message.contains("/nonexistent.yaml"));
    }
}

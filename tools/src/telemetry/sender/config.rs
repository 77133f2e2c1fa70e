//! Settings of a run: flags and variables over `sender.yaml` over defaults, checked.
//!
//! Input: command line, environment, file. Output: a [`Config`] or a [`ConfigError`] that names the setting.

use std::ffi::OsString;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use super::backoff::RetrySettings;
use super::endpoint::Endpoint;
use super::options::{API_KEY_VARIABLE, Compression, Flags, KEYS, Protocol, SignalChoice};
use super::slo::Slo;
use crate::telemetry::settings::{self, SettingsError};
use crate::telemetry::template::Signal;

/// Objectives that need `--verify`.
const VERIFIED: [&str; 3] = ["loss_ppm", "duplicate_ppm", "queryable_p99"];

/// Why settings cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Flags, variables or the file are wrong; also for `--help`, which is no error.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A setting is outside its limits.
    #[error("--{flag} is {given}; allowed is {allowed}")]
    OutOfRange {
        /// The flag.
        flag: &'static str,
        /// What was given.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// Two settings that exclude each other.
    #[error("{0}")]
    Contradiction(String),
    /// The API key cannot be used; the text never has the key itself.
    #[error("API key: {0}")]
    ApiKey(String),
}

/// A header whose value is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value, marked as sensitive.
    pub value: HeaderValue,
}

impl std::fmt::Debug for Header {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: …", self.name)
    }
}

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct Config {
    /// What was given, defaults included.
    pub flags: Flags,
    /// Where to send.
    pub endpoint: Endpoint,
    /// Whom to ask afterwards.
    pub verify: Option<Endpoint>,
    /// Headers of every request, the API key among them.
    pub headers: Vec<Header>,
    /// Signals to send.
    pub signals: Vec<Signal>,
    /// How retries go.
    pub retry: RetrySettings,
    /// Beginning of every `service.instance.id`.
    pub instance: String,
    /// Objectives; those of `--verify` are added.
    pub slos: Vec<Slo>,
}

impl Config {
    /// Reads the settings from the command line, the environment and the file; `api_key` is the value of the variable.
    ///
    /// # Errors
    /// [`ConfigError`], which names the setting and what is allowed.
    pub fn read(args: Vec<OsString>, api_key: Option<String>) -> Result<Self, ConfigError> {
        let flags = settings::parse(args, &KEYS)?;
        Self::from_flags(flags, api_key)
    }

    fn from_flags(flags: Flags, api_key: Option<String>) -> Result<Self, ConfigError> {
        check_ranges(&flags)?;
        let refused = |flag, given: &str, allowed| ConfigError::OutOfRange {
            flag,
            given: format!("{given:?}"),
            allowed,
        };
        let endpoint = Endpoint::parse(&flags.endpoint, !flags.insecure, Some(flags.protocol))
            .map_err(|reason| refused("otlp-endpoint", &flags.endpoint, reason))?;
        let verify = flags
            .verify
            .as_ref()
            .map(|url| Endpoint::parse(url, false, None).map_err(|reason| refused("verify", url, reason)));
        let mut slos = flags.slos.clone();
        for indicator in ["loss_ppm", "duplicate_ppm"] {
            if flags.verify.is_some() && !slos.iter().any(|slo| slo.indicator() == indicator) {
                slos.push(Slo::none_of(indicator));
            }
        }
        if let Some(slo) =
            slos.iter().find(|slo| flags.verify.is_none() && VERIFIED.contains(&slo.indicator()))
        {
            return Err(ConfigError::Contradiction(format!("--slo {} needs --verify URL", slo.indicator())));
        }
        Ok(Self {
            endpoint,
            verify: verify.transpose()?,
            headers: headers(&flags, api_key)?,
            signals: signals(&flags)?,
            retry: RetrySettings {
                initial: flags.retry_initial,
                longest: flags.retry_max,
                give_up_after: flags.retry_for,
            },
            instance: flags.instance.clone().unwrap_or_else(default_instance),
            slos,
            flags,
        })
    }

    /// Returns the tenant of a worker.
    pub fn tenant_of(&self, worker: usize) -> Option<&str> {
        let tenants = &self.flags.tenants;
        tenants.get(worker % tenants.len().max(1)).map(String::as_str)
    }

    /// Returns how long to send; `None` = until a signal.
    pub fn duration(&self) -> Option<Duration> {
        (!self.flags.duration.is_zero()).then_some(self.flags.duration)
    }
}

fn check_ranges(flags: &Flags) -> Result<(), ConfigError> {
    let refuse = |flag, given: &dyn ToString, allowed: &str| {
        Err(ConfigError::OutOfRange { flag, given: given.to_string(), allowed: allowed.to_owned() })
    };
    if !(0.0..=1e9).contains(&flags.rate) {
        return refuse("sending-rate-limit-events-per-second", &flags.rate, "0 to 1e9");
    }
    for (flag, count, largest) in
        [("sending-concurrency", flags.concurrency, 4_096), ("otlp-connections", flags.connections, 1_024)]
    {
        if !(1..=largest).contains(&count) {
            return refuse(flag, &count, &format!("1 to {largest}"));
        }
    }
    let positive = [
        ("otlp-timeout", flags.timeout),
        ("otlp-connect-timeout", flags.connect_timeout),
        ("sending-retry-initial-interval", flags.retry_initial),
        ("report-interval", flags.report_interval),
        ("probe-interval", flags.probe_interval),
    ];
    for (flag, duration) in positive {
        if duration.is_zero() {
            return refuse(flag, &"0", "a duration above 0");
        }
    }
    if flags.retry_max < flags.retry_initial {
        return refuse(
            "sending-retry-max-interval",
            &format!("{:?}", flags.retry_max),
            "at least --sending-retry-initial-interval",
        );
    }
    for tenant in &flags.tenants {
        if tenant.is_empty() || !tenant.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("otlp-tenants", &format!("{tenant:?}"), "visible ASCII");
        }
    }
    Ok(())
}

/// The signals that were chosen and that the protocol carries.
fn signals(flags: &Flags) -> Result<Vec<Signal>, ConfigError> {
    let is_otlp = matches!(flags.protocol, Protocol::OtlpGrpc | Protocol::OtlpHttp);
    if !is_otlp && flags.signals.iter().any(|signal| *signal != SignalChoice::Metrics) {
        let protocol = flags.protocol.name();
        return Err(ConfigError::Contradiction(format!(
            "--protocol {protocol} carries metrics only, no --signal traces or logs"
        )));
    }
    if !is_otlp && flags.compression != Compression::None {
        let protocol = flags.protocol.name();
        return Err(ConfigError::Contradiction(format!(
            "--compression is for OTLP; --protocol {protocol} decides for itself"
        )));
    }
    let is_wanted = |choice| is_otlp && flags.signals.is_empty() || flags.signals.contains(&choice);
    let mut signals = Vec::new();
    if is_wanted(SignalChoice::Metrics) || !is_otlp {
        signals.push(Signal::Metrics);
    }
    if is_wanted(SignalChoice::Traces) {
        signals.push(Signal::Traces);
    }
    if is_wanted(SignalChoice::Logs) {
        signals.push(Signal::Logs);
    }
    Ok(signals)
}

fn headers(flags: &Flags, api_key: Option<String>) -> Result<Vec<Header>, ConfigError> {
    let mut headers = Vec::new();
    for pair in &flags.headers {
        let refused = |name: &str| ConfigError::OutOfRange {
            flag: "otlp-headers",
            given: format!("{name:?}=…"),
            allowed: "NAME=VALUE with a name that HTTP has and a value of visible ASCII".to_owned(),
        };
        let (name, value) = pair.split_once('=').ok_or_else(|| refused(""))?;
        headers.push(header(name.trim(), value.trim()).ok_or_else(|| refused(name))?);
    }
    let api_key = match &flags.api_key_file {
        None => api_key,
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|error| ConfigError::ApiKey(format!("{}: {error}", path.display())))?)
        }
    };
    let Some(api_key) = api_key else { return Ok(headers) };
    if api_key.trim().is_empty() {
        let place = flags
            .api_key_file
            .as_ref()
            .map_or(API_KEY_VARIABLE.to_owned(), |path| path.display().to_string());
        return Err(ConfigError::ApiKey(format!("{place} is empty")));
    }
    let is_bearer = flags.api_key_header.eq_ignore_ascii_case("authorization");
    let value = if is_bearer { format!("Bearer {}", api_key.trim()) } else { api_key.trim().to_owned() };
    let header = header(&flags.api_key_header, &value).ok_or_else(|| {
        ConfigError::ApiKey(format!("it cannot be the value of a header {:?}", flags.api_key_header))
    })?;
    headers.push(header);
    Ok(headers)
}

fn header(name: &str, value: &str) -> Option<Header> {
    let name = name.parse().ok()?;
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(Header { name, value })
}

/// Host name and process id: unique among pods, and among senders of one machine.
fn default_instance() -> String {
    let host = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    let host = host.unwrap_or_default();
    let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("sender");
    format!("{host}-{}", std::process::id())
}

#[cfg(test)]
#[path = "config_test.rs"]
mod tests;

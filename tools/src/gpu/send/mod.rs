//! Sends samples by one of three protocols, and says what became of them.
//!
//! Not here: trying again (see [`super::run`]). All protocols give the server the same series, and tell kinds and help
//! texts: remote write and Flight with the first request of a connection, OTLP with every metric.

mod flight;
mod otlp;
mod remote_write;

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use super::player::Sample;
use super::recording::{Labels, Recording, Series};

pub use flight::FlightSender;
pub use otlp::OtlpSender;
pub use remote_write::RemoteWriteSender;

/// Longest wait for a connection, and for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// How samples travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// OTLP/gRPC.
    Otlp,
    /// Prometheus remote write 1.0.
    RemoteWrite,
    /// Arrow Flight.
    Flight,
}

impl Protocol {
    /// Where a server on this machine listens.
    pub fn default_endpoint(self) -> &'static str {
        match self {
            Self::Otlp => "http://127.0.0.1:4317",
            Self::RemoteWrite => "http://127.0.0.1:9090/api/v1/write",
            Self::Flight => "http://127.0.0.1:8815",
        }
    }
}

/// Whom to send to.
#[derive(Debug, Clone)]
pub struct Target {
    /// How.
    pub protocol: Protocol,
    /// `http://host:port`, with a path for remote write.
    pub endpoint: String,
    /// Sent as `X-Scope-OrgID`, if given.
    pub tenant: Option<String>,
}

/// What became of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Samples stored.
    pub accepted: u64,
    /// Samples refused.
    pub rejected: u64,
    /// Why the first one was refused.
    pub reason: Option<String>,
}

/// Why a request was not answered as it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It may work later: nobody is there, or the server says so.
    #[error("{reason}")]
    Later {
        /// What happened.
        reason: String,
        /// When to come back, if the server says.
        after: Option<Duration>,
    },
    /// It will not work, however often it is tried.
    #[error("{reason}")]
    Never {
        /// What happened.
        reason: String,
    },
}

impl SendError {
    fn later(reason: impl std::fmt::Display) -> Self {
        Self::Later { reason: reason.to_string(), after: None }
    }

    fn never(reason: impl std::fmt::Display) -> Self {
        Self::Never { reason: reason.to_string() }
    }
}

/// Sends by one of the protocols.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per worker")]
pub enum Sender {
    /// OTLP/gRPC.
    Otlp(OtlpSender),
    /// Remote write.
    RemoteWrite(RemoteWriteSender),
    /// Arrow Flight.
    Flight(FlightSender),
}

impl Sender {
    /// Prepares sending the series of `recording`; nothing is connected yet.
    ///
    /// # Errors
    /// [`SendError::Never`] if the endpoint or the tenant cannot be.
    pub fn new(target: &Target, recording: Arc<Recording>) -> Result<Self, SendError> {
        Ok(match target.protocol {
            Protocol::Otlp => Self::Otlp(OtlpSender::new(target, recording)?),
            Protocol::RemoteWrite => Self::RemoteWrite(RemoteWriteSender::new(target, recording)?),
            Protocol::Flight => Self::Flight(FlightSender::new(target, recording)?),
        })
    }

    /// Sends `samples` and waits until they are stored. Sending them again changes nothing.
    ///
    /// # Errors
    /// [`SendError`]. Samples that the server refuses are none: [`Outcome`] counts them.
    pub async fn send(&mut self, samples: &[Sample]) -> Result<Outcome, SendError> {
        match self {
            Self::Otlp(sender) => sender.send(samples).await,
            Self::RemoteWrite(sender) => sender.send(samples).await,
            Self::Flight(sender) => sender.send(samples).await,
        }
    }
}

/// All labels of a series, its name among them, sorted.
fn with_name(series: &Series) -> Labels {
    let mut labels = series.labels.clone();
    let at = labels.partition_point(|(name, _)| name.as_str() < "__name__");
    labels.insert(at, ("__name__".to_owned(), series.metric.clone()));
    labels
}

/// An error with all its causes; the outermost one of a transport says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

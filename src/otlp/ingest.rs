//! From the bytes of a metrics request to the storage, the same for every transport.
//!
//! Input: an `ExportMetricsServiceRequest` in protobuf, already decompressed. Output: an [`Outcome`], which may be told
//! once its [`Commit`] is durable.
//! Not here: transports, compression, limits of size, and the codes of a protocol (see `reply`).

use mytsdb_storage::model::TenantId;
use mytsdb_storage::{Commit, WriteBatch, WriteError};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;

use super::OtlpOptions;
use super::columns::{Columns, Environment, RequestLabels, decode};
use super::events::SlotError;
use super::known::KnownMetadata;
use super::outcome::Outcome;
use super::read::ReadError;
use super::signal::Signal;
use crate::blocking::BlockingError;
use crate::core::Core;
use crate::rejections::{BATCH_ENTRY_COUNT_MAX, RejectedPoints};
use crate::wire::WireError;

/// The protocol's name in counters.
const PROTOCOL: &str = "otlp";

/// Why a request as a whole is not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum OtlpError {
    /// The bytes are no such message.
    #[error("malformed request: {0}")]
    Malformed(#[from] ReadError),
    /// The bytes are no such message; found where its parts are put together.
    #[error("malformed request: {0}")]
    Unmergeable(#[from] prost::DecodeError),
    /// The bytes are no request of spans or log records.
    #[error("malformed request: {0}")]
    Wire(#[from] WireError),
    /// The storage takes nothing at the moment, or never.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The tenant does not want the signal.
    #[error("{name} are not taken; `otlp: {{{name}: true}}` in the configuration file takes them", name = .signal.name())]
    SignalOff {
        /// Which.
        signal: Signal,
    },
    /// There is no time left for the counts of events.
    #[error(transparent)]
    Slots(#[from] SlotError),
    /// The work did not come to an end.
    #[error(transparent)]
    Blocking(#[from] BlockingError),
    /// The server goes down.
    #[error("storage was closed before the write was durable")]
    Closed,
}

impl OtlpError {
    /// Whether the same request may succeed later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Unmergeable(_) | Self::Wire(_) | Self::SignalOff { .. } => false,
            Self::Write(error) => error.is_retryable(),
            Self::Slots(_) | Self::Closed => true,
            Self::Blocking(error) => matches!(error, BlockingError::Closed),
        }
    }
}

/// Translates and appends the request in `body`.
///
/// # Errors
/// [`OtlpError`]; refused points are not an error but part of the outcome.
pub(super) fn ingest(
    core: &Core,
    tenant: &TenantId,
    options: &OtlpOptions,
    known: &KnownMetadata,
    body: &[u8],
) -> Result<(Outcome, Commit), OtlpError> {
    let merged: Vec<u8>;
    let facts = known.facts();
    let environment = Environment { keys: core.storage.series_keys(), tenant, options, facts: &facts };
    let mut columns = match decode(environment, body) {
        Err(ReadError::Scattered) => {
            merged = ExportMetricsServiceRequest::decode(body)?.encode_to_vec();
            decode(environment, &merged)?
        }
        decoded => decoded?,
    };
    drop(facts);
    let (report, commit) = {
        let labels = RequestLabels::new(&columns, options);
        core.storage.submit(tenant, &batch(&columns, &labels), core.now_ms())?
    };
    known.learn(&columns, &report.series, core.storage.series_keys());
    let outcome = Outcome::new(&mut columns, &report);
    core.metrics.accepted_samples(PROTOCOL, report.accepted_sample_count);
    for (reason, count) in outcome.refusals() {
        core.metrics.rejected_points(PROTOCOL, reason, tenant.as_str(), count);
    }
    remember(core, tenant, &outcome);
    Ok((outcome, commit))
}

/// Keeps the first of what was refused for whoever looks for it.
fn remember(core: &Core, tenant: &TenantId, outcome: &Outcome) {
    for entry in outcome.refused_entries().take(BATCH_ENTRY_COUNT_MAX) {
        let rejected = RejectedPoints {
            time_ms: core.now_ms(),
            protocol: PROTOCOL,
            reason: entry.reason,
            metric: entry.metric.clone().unwrap_or_default(),
            message: entry.message.clone(),
            point_count: entry.count,
        };
        core.rejections.add(tenant, rejected);
    }
}

/// The columns as the storage's argument.
pub(super) fn batch<'c>(columns: &'c Columns<'_>, labels: &'c RequestLabels<'_, '_>) -> WriteBatch<'c> {
    WriteBatch {
        keys: &columns.keys,
        sample_ends: &columns.sample_ends,
        timestamps_ms: &columns.timestamps_ms,
        values: &columns.values,
        starts: columns.starts.runs(),
        labels,
        histograms: &columns.histograms,
        exemplars: &columns.exemplars,
        metadata: &columns.metadata,
    }
}

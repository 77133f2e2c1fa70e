//! From the bytes of a metrics request to the storage, the same for every transport.
//!
//! Input: an `ExportMetricsServiceRequest` in protobuf, already decompressed. Output: an [`Outcome`], which may be told
//! once its [`Commit`] is durable.
//! Not here: transports, compression, limits of size, and the codes of a protocol (see `reply`).

use std::sync::{PoisonError, RwLock};

use hashbrown::HashSet;
use mytsdb_storage::model::{MetricMetadata, TenantId};
use mytsdb_storage::{Commit, WriteBatch, WriteError};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;

use super::OtlpOptions;
use super::decode::decode;
use super::outcome::Outcome;
use crate::core::Core;

/// Metadata remembered as stored; beyond it the memory starts afresh.
const KNOWN_METADATA_COUNT_MAX: usize = 100_000;

/// Why a request as a whole is not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum OtlpError {
    /// The bytes are no such message.
    #[error("malformed request: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The storage takes nothing at the moment, or never.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl OtlpError {
    /// Whether the same request may succeed later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::Malformed(_) => false,
            Self::Write(error) => error.is_retryable(),
        }
    }
}

/// Digests of the metadata that the storage has already: it need not be written again and again.
#[derive(Debug, Default)]
pub(super) struct KnownMetadata {
    digests: RwLock<HashSet<u128>>,
}

impl KnownMetadata {
    fn add(&self, digests: Vec<u128>) {
        if digests.is_empty() {
            return;
        }
        let mut known = self.digests.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() + digests.len() > KNOWN_METADATA_COUNT_MAX {
            known.clear();
        }
        known.extend(digests);
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
    let request = ExportMetricsServiceRequest::decode(body)?;
    let mut decoded = {
        let known = known.digests.read().unwrap_or_else(PoisonError::into_inner);
        decode(&core.storage, tenant, options, &request, |digest| known.contains(&digest))
    };
    let (digests, metadata): (Vec<u128>, Vec<MetricMetadata>) =
        std::mem::take(&mut decoded.metadata).into_iter().unzip();
    let batch = WriteBatch {
        keys: &decoded.keys,
        sample_ends: &decoded.sample_ends,
        timestamps_ms: &decoded.timestamps_ms,
        values: &decoded.values,
        starts: decoded.starts.runs(),
        labels: &decoded,
        histograms: &[],
        exemplars: &[],
        metadata: &metadata,
    };
    let (report, commit) = core.storage.submit(tenant, &batch, core.now_ms())?;
    known.add(digests);
    let outcome = Outcome::new(&decoded, &report);
    core.metrics.accepted_samples("otlp", report.accepted_sample_count);
    for (reason, count, _) in &outcome.reasons {
        core.metrics.rejected_points("otlp", reason, tenant.as_str(), *count);
    }
    Ok((outcome, commit))
}

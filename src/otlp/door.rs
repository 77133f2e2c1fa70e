//! The way of a request that every transport goes: options of the tenant, translation, storage, durable.
//!
//! Input: tenant, signal and the bytes of an export request in protobuf. Output: an [`Outcome`] that may be told at once,
//! as what it accepts is durable. Not here: transports, their encodings and codes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use mytsdb_storage::Commit;
use mytsdb_storage::model::TenantId;
use tokio::sync::oneshot;

use super::events::Events;
use super::ingest::{OtlpError, ingest};
use super::known::KnownMetadata;
use super::options::{OtlpOptions, OtlpSettings};
use super::outcome::Outcome;
use super::signal::Signal;
use crate::core::Core;

/// What all transports of OTLP share.
#[derive(Debug)]
pub struct Otlp {
    core: Arc<Core>,
    settings: ArcSwap<OtlpSettings>,
    known: KnownMetadata,
    events: Events,
}

impl Otlp {
    /// A door to the storage of `core`.
    pub fn new(core: Arc<Core>, settings: OtlpSettings) -> Self {
        let settings = ArcSwap::from_pointee(settings);
        Self { core, settings, known: KnownMetadata::default(), events: Events::default() }
    }

    /// Requests that begin from now on are taken with these settings.
    pub fn set_settings(&self, settings: OtlpSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// The options of a tenant.
    pub(super) fn options(&self, tenant: &TenantId) -> Arc<OtlpOptions> {
        Arc::clone(self.settings.load().of(tenant))
    }

    /// Largest message of any tenant, as sent and decompressed.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.settings.load().message_bytes_max()
    }

    /// Runs `work` on a blocking thread.
    pub(super) async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, OtlpError> {
        self.core.blocking.run(work).await.map_err(OtlpError::from)
    }

    /// Takes a request and comes back when what was accepted of it is durable.
    ///
    /// # Errors
    /// [`OtlpError`]; refused points are not an error but part of the outcome.
    pub(super) async fn export(
        self: Arc<Self>,
        signal: Signal,
        tenant: TenantId,
        body: Bytes,
    ) -> Result<Outcome, OtlpError> {
        let options = self.options(&tenant);
        let is_on = match signal {
            Signal::Metrics => true,
            Signal::Traces => options.has_traces,
            Signal::Logs => options.has_logs,
        };
        if !is_on {
            return Err(OtlpError::SignalOff { signal });
        }
        let (outcome, commit) = match signal {
            Signal::Metrics => self.take_metrics(tenant, options, body).await?,
            Signal::Traces | Signal::Logs => self.take_events(signal, tenant, options, body).await?,
        };
        durable(commit).await?;
        Ok(outcome)
    }

    async fn take_metrics(
        self: Arc<Self>,
        tenant: TenantId,
        options: Arc<OtlpOptions>,
        body: Bytes,
    ) -> Result<(Outcome, Commit), OtlpError> {
        let is_small = body.len() <= options.inline_bytes_max;
        let door = Arc::clone(&self);
        let work = move || ingest(&door.core, &tenant, &options, &door.known, &body);
        if is_small { work() } else { self.core.blocking.run_here(work).await? }
    }

    async fn take_events(
        self: Arc<Self>,
        signal: Signal,
        tenant: TenantId,
        options: Arc<OtlpOptions>,
        body: Bytes,
    ) -> Result<(Outcome, Commit), OtlpError> {
        // One request of a tenant at a time, from taking its slots to having written to them.
        let mut events = self.events.of(&tenant).lock_owned().await;
        let door = Arc::clone(&self);
        let work = move || events.ingest(&door.core, &tenant, &options, &door.known, (signal, &body));
        self.run_blocking(work).await?
    }
}

/// Waits until a write is on disk as far as the settings say.
async fn durable(commit: Commit) -> Result<(), OtlpError> {
    let (sender, durable) = oneshot::channel();
    commit.on_durable(move |result| {
        // A receiver that is gone means a client that is gone: nobody is left to tell.
        let _gone = sender.send(result);
    });
    durable.await.map_err(|_| OtlpError::Closed)?.map_err(OtlpError::Write)
}

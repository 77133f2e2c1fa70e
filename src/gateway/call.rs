//! What a handler is handed: the core of a ready server, the tenant, the parameters; and the way to the read door.
//!
//! A call takes its turn among its tenant's queries, is listed, logged and cancelled as they are, and its bytes count
//! against the same limits.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use mytsdb_promql::{CancelReason, EvalError};
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::TenantId;

use super::error::GatewayError;
use crate::core::Core;
use crate::http::{ClientAddr, HttpState};
use crate::prom_api::params::parse_time_ms;
use crate::queries::{CancelOnDrop, Description, Place};
use crate::tenant::tenant_of;
use crate::units::parse_duration_ms;

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) core: Arc<Core>,
    state: Arc<HttpState>,
    tenant: TenantId,
    pairs: Vec<(String, String)>,
    query: String,
    client: Option<ClientAddr>,
}

impl FromRequestParts<Arc<HttpState>> for Call {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<HttpState>) -> Result<Self, Response> {
        let core = Arc::clone(state.ready_core().map_err(|response| *response)?);
        let tenant = tenant_of(&parts.headers).map_err(|error| GatewayError::from(error).into_response())?;
        let query = parts.uri.query().unwrap_or_default();
        Ok(Self {
            core,
            state: Arc::clone(state),
            tenant,
            pairs: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            query: parts.uri.to_string(),
            client: parts.extensions.get::<ClientAddr>().copied(),
        })
    }
}

impl Call {
    /// The first value of a parameter; `None` if absent or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a parameter, which may be given several times or with commas.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let found = self.pairs.iter().filter(|(found, _)| found == name);
        found.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|part| !part.is_empty()).collect()
    }

    /// A time: RFC 3339, Unix seconds, `now`, `now-5m`.
    pub(super) fn time_ms(&self, name: &'static str) -> Result<Option<i64>, GatewayError> {
        self.get(name)
            .map(|text| time_ms(text, self.core.now_ms()))
            .transpose()
            .map_err(|reason| GatewayError::Parameter { name, reason })
    }

    /// Runs `work` on the tenant's snapshot, off the async threads, when it is the tenant's turn.
    ///
    /// # Errors
    /// What `work` gives, or why it did not come to an end.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        path: &'static str,
        times_ms: (i64, i64),
        work: impl FnOnce(&Snapshot, &Place) -> Result<T, GatewayError> + Send + 'static,
    ) -> Result<T, GatewayError> {
        let outcome = self.run(path, times_ms, work).await;
        let word = outcome.as_ref().map_or_else(GatewayError::label, |_| "success");
        self.state.metrics.query(word, 0);
        outcome
    }

    async fn run<T: Send + 'static>(
        &self,
        path: &'static str,
        (start_ms, end_ms): (i64, i64),
        work: impl FnOnce(&Snapshot, &Place) -> Result<T, GatewayError> + Send + 'static,
    ) -> Result<T, GatewayError> {
        let (core, tenant) = (Arc::clone(&self.core), self.tenant.clone());
        let description = Description {
            tenant: tenant.clone(),
            query: self.query.clone(),
            times_ms: (start_ms, end_ms, 0),
            client: self.client.map(|client| client.0.ip().to_string()),
            method: "GET".to_owned(),
            path,
        };
        let (asked, timeout) = (Instant::now(), self.state.config.query.timeout);
        let place = core.queries.start(description.clone(), timeout, core.now_ms()).await?;
        let cancellation = place.cancellation().clone();
        let _guard = CancelOnDrop(cancellation.clone());
        let blocking = core.blocking.clone();
        let reading = blocking.run(move || {
            let outcome = work(&core.storage.reader(&tenant), &place);
            let error = outcome.as_ref().err().map(ToString::to_string);
            core.queries.log_end(&description, error.as_deref(), None, core.now_ms());
            outcome
        });
        tokio::select! {
            outcome = reading => outcome?,
            () = tokio::time::sleep(timeout.saturating_sub(asked.elapsed())) => {
                // The work notices soon; its client need not wait for that.
                cancellation.cancel(CancelReason::TimedOut);
                Err(EvalError::TimedOut.into())
            }
        }
    }
}

/// Parses a time; `now_ms` is the clock.
fn time_ms(text: &str, now_ms: i64) -> Result<i64, String> {
    let wrong = || {
        format!("{text:?} is no time; allowed are RFC 3339, Unix seconds, now, and now-5m with any duration")
    };
    let Some(rest) = text.strip_prefix("now") else { return parse_time_ms(text).map_err(|_| wrong()) };
    let distance_ms = |duration: &str| parse_duration_ms(duration).map_err(|_| wrong());
    let shifted_ms = match rest.split_at_checked(1) {
        None => Some(now_ms),
        Some(("-", duration)) => now_ms.checked_sub(distance_ms(duration)?),
        // A plus sign in a URL is a space.
        Some(("+" | " ", duration)) => now_ms.checked_add(distance_ms(duration)?),
        Some(_) => None,
    };
    shifted_ms.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::time_ms;

    #[test]
    fn times_are_rfc_3339_unix_seconds_or_relative_to_now() {
        for (text, expected_ms) in [
            ("now", 1_000_000),
            ("now-5m", 700_000),
            ("now+1s", 1_001_000),
            ("now 1s", 1_001_000),
            ("12.5", 12_500),
            ("1970-01-01T00:00:02+00:00", 2_000),
        ] {
            assert_eq!(time_ms(text, 1_000_000), Ok(expected_ms), "{text}");
        }
        for text in ["", "nowhere", "now-", "now-5", "now*5m", "yesterday", "2026-13-01T00:00:00Z", "NaN"] {
            let reason = time_ms(text, 0).unwrap_err();
            assert!(reason.contains("RFC 3339"), "{reason}");
        }
    }
}

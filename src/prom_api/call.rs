//! What every handler is handed: the core of a ready server, the tenant, the parameters.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::TenantId;

use super::error::ApiError;
use super::params::Params;
use crate::core::Core;
use crate::http::{ClientAddr, HttpState};
use crate::queries::Description;
use crate::tenant::tenant_of;

/// One call of the API.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) state: Arc<HttpState>,
    pub(super) core: Arc<Core>,
    pub(super) tenant: TenantId,
    pub(super) params: Params,
    method: Method,
    client: Option<ClientAddr>,
}

impl FromRequest<Arc<HttpState>> for Call {
    type Rejection = Response;

    async fn from_request(request: Request, state: &Arc<HttpState>) -> Result<Self, Response> {
        let core = Arc::clone(state.ready_core().map_err(|response| *response)?);
        let tenant = tenant_of(request.headers())
            .map_err(|error| ApiError::bad_data(error.to_string()).into_response())?;
        let method = request.method().clone();
        let client = request.extensions().get::<ClientAddr>().copied();
        let params = Params::of(request, state.config.limits.read_timeout)
            .await
            .map_err(IntoResponse::into_response)?;
        Ok(Self { state: Arc::clone(state), core, tenant, params, method, client })
    }
}

impl Call {
    /// Describes a query of this call.
    pub(super) fn describe(
        &self,
        path: &'static str,
        query: String,
        times_ms: (i64, i64, i64),
    ) -> Description {
        Description {
            tenant: self.tenant.clone(),
            query,
            times_ms,
            client: self.client.map(|client| client.0.ip().to_string()),
            method: self.method.as_str().to_owned(),
            path,
        }
    }

    /// Runs `work` on the tenant's snapshot, off the async threads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Snapshot) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (storage, tenant) = (Arc::clone(&self.core.storage), self.tenant.clone());
        self.core.blocking.run(move || work(&storage.reader(&tenant))).await?
    }
}

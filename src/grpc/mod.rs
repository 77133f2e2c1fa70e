//! What the gRPC doors (Flight, OTLP) share: which tenant a call is for, how much may be in flight, the answer to a
//! client that should come back.
//!
//! Not here: the protocols themselves, connections (see `http::listener`).

mod gate;
mod inflate;
mod inflated_body;
mod retry;
mod unary;

use axum::Router;
use axum::http::HeaderMap;
use axum::middleware::from_fn_with_state;
use mytsdb_storage::model::TenantId;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tower_http::catch_panic::CatchPanicLayer;

pub(crate) use gate::{Gate, Hold};
pub(crate) use inflated_body::InflateLimits;
pub(crate) use retry::{busy, write_status};
pub(crate) use unary::{check_encoding, receive_message, response};

/// The routes of a gRPC port with the gate before them.
pub(crate) fn router(routes: Routes, gate: Gate) -> Router {
    routes
        .prepare()
        .into_axum_router()
        .layer(from_fn_with_state(gate, gate::guard))
        .layer(CatchPanicLayer::new())
}

/// The name of the tenant that a call is for, in the first of `keys` that it has.
pub(crate) fn tenant_name<'h>(headers: &'h HeaderMap, keys: &[&str]) -> Option<&'h str> {
    keys.iter().find_map(|key| headers.get(*key))?.to_str().ok()
}

/// Finds the tenant of a call in the first of `keys` that the metadata holds; absent = `anonymous`.
///
/// # Errors
/// `InvalidArgument` naming the metadata key and what is wrong with the name.
pub(crate) fn tenant_of(metadata: &MetadataMap, keys: &[&str]) -> Result<TenantId, Status> {
    let Some((key, value)) = keys.iter().find_map(|key| metadata.get(*key).map(|value| (key, value))) else {
        return Ok(TenantId::anonymous());
    };
    let name = value.to_str().map_err(|_| {
        Status::invalid_argument(format!("metadata {key}: the tenant name is not ASCII text"))
    })?;
    TenantId::new(name).map_err(|error| Status::invalid_argument(format!("metadata {key}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_key_names_the_tenant_and_its_absence_means_anonymous() {
        let mut metadata = MetadataMap::new();
        let keys = ["x-scope-orgid", "database"];
        assert_eq!(tenant_of(&metadata, &keys).unwrap(), TenantId::anonymous());
        metadata.insert("database", "t2".parse().unwrap());
        assert_eq!(tenant_of(&metadata, &keys).unwrap().as_str(), "t2");
        metadata.insert("x-scope-orgid", "t1".parse().unwrap());
        assert_eq!(tenant_of(&metadata, &keys).unwrap().as_str(), "t1");
        metadata.insert("x-scope-orgid", "../etc".parse().unwrap());
        let refused = tenant_of(&metadata, &keys).unwrap_err();
        assert!(refused.message().contains("x-scope-orgid"), "{refused}");
    }
}

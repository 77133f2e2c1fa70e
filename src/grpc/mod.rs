//! What the gRPC doors (Flight, OTLP) share: which tenant a call is for, and being served.
//!
//! Not here: the protocols themselves.

use std::future::Future;

use mytsdb_storage::model::TenantId;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::server::{Router, TcpIncoming};
use tracing::error;

/// Serves `routes` on `listener` until `stopping`, then finishes the calls that run.
pub(crate) async fn serve(
    protocol: &'static str,
    listener: TcpListener,
    routes: Router,
    stopping: impl Future<Output = ()>,
) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    if let Err(error) = routes.serve_with_incoming_shutdown(incoming, stopping).await {
        error!(protocol, %error, "port is no longer served");
    }
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

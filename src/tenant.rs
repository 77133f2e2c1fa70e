//! From a request to its tenant: the header (or gRPC metadata) `X-Scope-OrgID`; absent = `anonymous`.

use axum::http::HeaderMap;
use mytsdb_storage::model::{TenantId, TenantIdError};

/// The header that names the tenant, in lower case as HTTP/2 and gRPC want it.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// Returns the tenant of a request.
///
/// # Errors
/// [`TenantIdError`] if the name is not allowed.
pub fn tenant_of(headers: &HeaderMap) -> Result<TenantId, TenantIdError> {
    match headers.get(TENANT_HEADER) {
        None => Ok(TenantId::anonymous()),
        Some(name) => TenantId::new(&String::from_utf8_lossy(name.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_tenant_and_its_absence_nobody() {
        let mut headers = HeaderMap::new();
        assert_eq!(tenant_of(&headers).unwrap(), TenantId::anonymous());
        headers.insert(TENANT_HEADER, "team-a".parse().unwrap());
        assert_eq!(tenant_of(&headers).unwrap().as_str(), "team-a");
        headers.insert(TENANT_HEADER, "../etc".parse().unwrap());
        assert!(tenant_of(&headers).is_err());
    }
}

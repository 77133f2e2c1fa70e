//! The layer around the routes of a port: who asks, and for which tenant.
//!
//! Output: the request with the tenant it may ask for in its header, or `401` / `UNAUTHENTICATED`, `403` /
//! `PERMISSION_DENIED`. Like in Prometheus no path is free, `/-/healthy` neither.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::Status;

use super::Security;
use super::accounts::AllowedTenants;
use crate::grpc::tenant_name;
use crate::tenant::TENANT_HEADER;

/// What concerns the whole server: not for those who may ask for some tenants only.
const SERVER_PATHS: [&str; 6] = [
    "/-/reload",
    "/-/quit",
    "/metrics",
    "/api/v1/admin/tsdb/snapshot",
    "/api/v1/admin/tsdb/compact",
    "/api/v1/admin/tsdb/flush",
];

/// What the layer knows: the accounts, and the headers that name a tenant, first come first.
#[derive(Debug, Clone)]
pub(crate) struct Guarded {
    pub(crate) security: Arc<Security>,
    pub(crate) tenant_keys: &'static [&'static str],
}

/// The middleware.
pub(crate) async fn guard(State(guarded): State<Guarded>, mut request: Request, next: Next) -> Response {
    let rules = guarded.security.rules.load_full();
    if rules.accounts.is_open() {
        return next.run(request).await;
    }
    let authorization =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let found = match authorization {
        Some(text) => rules.accounts.find(&text, &guarded.security.passwords).await,
        None => None,
    };
    let is_grpc = is_grpc(request.headers());
    let Some(tenants) = found else { return unauthorized(is_grpc, rules.accounts.has_users()) };
    // What comes after has no use for it, and what has no secret cannot show one.
    request.headers_mut().remove(header::AUTHORIZATION);
    match bind(&mut request, &tenants, guarded.tenant_keys) {
        Ok(()) => next.run(request).await,
        Err(reason) => forbidden(is_grpc, &reason),
    }
}

/// Makes sure that the request is for a tenant that it may ask for.
fn bind(request: &mut Request, tenants: &AllowedTenants, keys: &[&str]) -> Result<(), String> {
    let Some(tenants) = tenants else { return Ok(()) };
    let path = request.uri().path();
    if SERVER_PATHS.contains(&path) {
        return Err(format!("{path} is for users of all tenants only"));
    }
    let headers = request.headers();
    let is_named = keys.iter().any(|key| headers.contains_key(*key));
    let found = match (tenant_name(headers, keys), tenants.as_ref()) {
        (None, [only]) if !is_named => only,
        (None, _) => return Err(format!("{TENANT_HEADER} must name one of {}", list(tenants))),
        (Some(name), all) => all
            .iter()
            .find(|tenant| tenant.as_str() == name)
            .ok_or_else(|| format!("tenant {name:?} is not allowed; allowed are {}", list(all)))?,
    };
    let value = HeaderValue::from_str(found.as_str()).map_err(|error| error.to_string())?;
    // The first of the keys, and once: nothing after it can be read otherwise.
    request.headers_mut().insert(TENANT_HEADER, value);
    Ok(())
}

fn list(tenants: &[mytsdb_storage::model::TenantId]) -> String {
    tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

fn unauthorized(is_grpc: bool, has_users: bool) -> Response {
    if is_grpc {
        return Status::unauthenticated("authorization is missing or wrong").into_http::<Body>();
    }
    let scheme = if has_users { "Basic" } else { "Bearer" };
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, scheme)], "Unauthorized\n").into_response()
}

fn forbidden(is_grpc: bool, reason: &str) -> Response {
    if is_grpc {
        return Status::permission_denied(reason).into_http::<Body>();
    }
    (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mytsdb_storage::model::TenantId;

    use super::*;

    const KEYS: [&str; 2] = [TENANT_HEADER, "database"];

    fn bound(tenants: &[&str], path: &str, headers: &[(&'static str, &str)]) -> Result<String, String> {
        let tenants: Arc<[TenantId]> = tenants.iter().map(|name| TenantId::new(name).unwrap()).collect();
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        bind(&mut request, &Some(tenants), &KEYS)?;
        let values: Vec<_> = request.headers().get_all(TENANT_HEADER).iter().collect();
        assert_eq!(values.len(), 1);
        Ok(values[0].to_str().unwrap().to_owned())
    }

    #[test]
    fn a_tenant_is_one_of_those_allowed_whatever_the_headers_say() {
        assert_eq!(bound(&["a"], "/", &[]), Ok("a".to_owned()));
        assert_eq!(bound(&["a", "b"], "/", &[(TENANT_HEADER, "b")]), Ok("b".to_owned()));
        assert_eq!(bound(&["a", "b"], "/", &[("database", "b")]), Ok("b".to_owned()));
        let twice = [(TENANT_HEADER, "a"), (TENANT_HEADER, "c"), ("database", "c")];
        assert_eq!(bound(&["a", "b"], "/", &twice), Ok("a".to_owned()));
        for headers in [
            &[][..],
            &[(TENANT_HEADER, "c")],
            &[(TENANT_HEADER, "")],
            &[("database", "c")],
            &[(TENANT_HEADER, "c"), (TENANT_HEADER, "a")],
            &[(TENANT_HEADER, "ü")],
        ] {
            assert!(bound(&["a", "b"], "/", headers).is_err(), "{headers:?}");
        }
        assert!(bound(&["a"], "/", &[(TENANT_HEADER, "ü")]).is_err(), "a name that is no text is a name");
        assert!(bound(&["a"], "/metrics", &[]).is_err());
    }
}

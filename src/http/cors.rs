//! Prometheus' CORS headers: on answers to pages of other origins only.
//!
//! Source: Prometheus `util/httputil/cors.go`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::HttpState;
use crate::config::CorsOrigin;

/// Answers `OPTIONS`, and adds the headers if the request names an origin whose pages may read.
pub(super) async fn allow_origin(
    State(state): State<Arc<HttpState>>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = request.headers().get(header::ORIGIN).and_then(|origin| match &state.config.cors_origin {
        CorsOrigin::Any => Some(HeaderValue::from_static("*")),
        CorsOrigin::One(allowed) => (allowed == origin).then(|| origin.clone()),
        CorsOrigin::Pattern(pattern) => {
            origin.to_str().is_ok_and(|text| pattern.matches(text)).then(|| origin.clone())
        }
        CorsOrigin::None => None,
    });
    let mut response = match *request.method() {
        // Every path answers this way, whatever else it answers.
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    if let Some(allowed) = allowed {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        let fixed = HeaderValue::from_static;
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, fixed("GET, POST, OPTIONS"));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            fixed("Accept, Authorization, Content-Type, Origin"),
        );
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, fixed("Date"));
        headers.append(header::VARY, fixed("Origin"));
    }
    response
}

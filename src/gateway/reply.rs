//! A success as JSON.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::GatewayError;

/// Answers with a value as JSON.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => GatewayError::from(error).into_response(),
        }
    }
}

//! The envelope of a success: `{"status":"success","data":…,"warnings":[…],"infos":[…]}`.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use mytsdb_storage::model::LabelSet;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::error::{ApiError, ErrorType};

/// Prometheus' remark when `limit` cut something off.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

#[derive(serde::Serialize)]
struct Envelope<'a, T: Serialize> {
    status: &'static str,
    data: &'a T,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    warnings: &'a [&'a str],
}

/// Answers with `data`.
pub(super) fn success<T: Serialize>(data: &T) -> Result<Response, ApiError> {
    success_with(data, &[])
}

/// Answers with `data` and warnings.
pub(super) fn success_with<T: Serialize>(data: &T, warnings: &[&str]) -> Result<Response, ApiError> {
    let json = serde_json::to_vec(&Envelope { status: "success", data, warnings })
        .map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// Answers with a list that `limit` may cut.
pub(super) fn limited_list<T: Serialize>(list: &[T], limit: Option<usize>) -> Result<Response, ApiError> {
    match limit {
        Some(limit) if list.len() > limit => success_with(&&list[..limit], &[TRUNCATED]),
        _ => success(&list),
    }
}

/// A label set as a JSON object.
#[derive(Debug)]
pub(super) struct LabelsJson(pub(super) LabelSet);

impl Serialize for LabelsJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

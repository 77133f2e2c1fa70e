//! `/openapi.json` and `/openapi.yaml`: the GPU API described.
//!
//! One document in two spellings; `tests/it/openapi.rs` compares it with what is routed.

use std::fmt::Write as _;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::reply::Json;

pub(super) async fn json() -> Json<Value> {
    Json(document())
}

pub(super) async fn yaml() -> Response {
    let mut text = String::with_capacity(16 << 10);
    push_yaml(&mut text, &document(), 0);
    ([(header::CONTENT_TYPE, "application/yaml")], text).into_response()
}

/// The whole document.
fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "MyTSDB GPU API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "GPUs and their telemetry, from series named DCGM_FI_… as NVIDIA's dcgm-exporter names them. \
                            The header X-Scope-OrgID names the tenant; absent means anonymous.",
        },
        "paths": {
            "/api/v1/gpus": {"get": {
                "summary": "The GPUs that there are series of",
                "parameters": [
                    parameter("hostname", "query", "Only GPUs of this host", json!({"type": "string"})),
                    tenant(),
                ],
                "responses": responses("GpuList", &["400", "503"]),
            }},
            "/api/v1/gpus/{id}/telemetry": {"get": {
                "summary": "The samples of one GPU, by time",
                "parameters": telemetry_parameters(),
                "responses": responses("Telemetry", &["400", "404", "422", "503"]),
            }},
            "/openapi.json": {"get": text_operation("This document as JSON", "application/json")},
            "/openapi.yaml": {"get": text_operation("This document as YAML", "application/yaml")},
            "/health": {"get": text_operation("Whether the server runs", "text/plain")},
        },
        "components": {"schemas": schemas()},
    })
}

fn telemetry_parameters() -> Value {
    let times = "RFC 3339, Unix seconds, now, or now-5m with any duration";
    let text = || json!({"type": "string"});
    json!([
        parameter("id", "path", "UUID, or host:device such as node-1:nvidia0", text()),
        parameter(
            "start_time",
            "query",
            &format!("First time, inclusive: {times}; default: the oldest"),
            text()
        ),
        parameter(
            "end_time",
            "query",
            &format!("Last time, inclusive: {times}; default: the newest"),
            text()
        ),
        parameter(
            "limit",
            "query",
            "Most rows",
            json!({"type": "integer", "minimum": 1, "maximum": 10_000, "default": 100}),
        ),
        parameter(
            "metric",
            "query",
            "Metrics (DCGM_FI_DEV_GPU_UTIL) or columns (gpu_utilization), with commas; default: all",
            text(),
        ),
        parameter(
            "format",
            "query",
            "raw: a row per sample; pivot: a row per time with a column per metric",
            json!({"type": "string", "enum": ["raw", "pivot"], "default": "raw"}),
        ),
        tenant(),
    ])
}

fn tenant() -> Value {
    parameter("X-Scope-OrgID", "header", "The tenant", json!({"type": "string", "default": "anonymous"}))
}

fn parameter(name: &str, place: &str, description: &str, schema: Value) -> Value {
    let is_required = place == "path";
    json!({"name": name, "in": place, "required": is_required, "description": description, "schema": schema})
}

fn text_operation(summary: &str, media: &str) -> Value {
    json!({"summary": summary, "responses": {"200": {"description": "Answer", "content": {media: {}}}}})
}

/// A success with a schema, and errors.
fn responses(schema: &str, errors: &[&str]) -> Value {
    let content = |name: &str| json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}});
    let mut found = json!({"200": {"description": "Answer", "content": content(schema)}});
    for status in errors {
        let description = match *status {
            "400" => "A parameter or the tenant's name is wrong",
            "404" => "There is no such GPU for this tenant",
            "422" => "The answer would take more memory than a query may",
            _ => "The server is not ready or too busy; come back",
        };
        found[*status] = json!({"description": description, "content": content("Error")});
    }
    found
}

fn schemas() -> Value {
    let text = || json!({"type": "string"});
    let row = json!({
        "type": "object",
        "description": "format=raw: timestamp, metric, value, and gpu_instance_id, container, namespace, pod where there \
                        are such labels. format=pivot: timestamp and a column per metric, such as gpu_utilization, \
                        memory_used_mb, temperature, power_draw.",
        "required": ["timestamp"],
        "properties": {
            "timestamp": {"type": "string", "format": "date-time"},
            "metric": text(),
            "value": {"type": ["number", "null"]},
        },
    });
    json!({
        "Gpu": {
            "type": "object",
            "required": ["id", "uuid", "hostname", "name", "device", "gpu"],
            "properties": {
                "id": text(), "uuid": text(), "hostname": text(), "name": text(), "device": text(), "gpu": text(),
                "status": {"type": "string", "enum": ["active", "inactive"],
                           "description": "active: it has a sample within the last --lookback-delta"},
            },
        },
        "GpuList": envelope(&json!({
            "data": {"type": "array", "items": {"$ref": "#/components/schemas/Gpu"}},
        })),
        "Row": row,
        "Telemetry": envelope(&json!({
            "has_more": {"type": "boolean", "description": "Whether limit cut something off"},
            "gpu": {"$ref": "#/components/schemas/Gpu"},
            "data": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
        })),
        "Error": {
            "type": "object",
            "required": ["success", "error"],
            "properties": {"success": {"const": false}, "error": text()},
        },
    })
}

fn envelope(more: &Value) -> Value {
    let mut properties = json!({"success": {"const": true}, "count": {"type": "integer"}});
    for (name, schema) in more.as_object().into_iter().flatten() {
        properties[name] = schema.clone();
    }
    json!({"type": "object", "required": ["success", "count", "data"], "properties": properties})
}

/// Writes maps as YAML blocks; what is in lists stays in JSON, which is YAML as well.
fn push_yaml(text: &mut String, value: &Value, level: usize) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let _infallible = write!(text, "{:1$}{2}:", "", level * 2, json!(key));
        match value {
            Value::Object(map) if !map.is_empty() => {
                text.push('\n');
                push_yaml(text, value, level + 1);
            }
            other => {
                let _infallible = writeln!(text, " {other}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_say_the_same_and_all_references_lead_somewhere() {
        let document = document();
        let mut text = String::new();
        push_yaml(&mut text, &document, 0);
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, document);
        for reference in document.to_string().split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}

//! `/api/v1/openapi.yaml`: what the HTTP port answers, written from one table.
//!
//! `tests/it/openapi.rs` compares the table with the routes in the source and with what the server answers.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::http::HttpState;

/// What an answer without error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Prometheus' envelope.
    Json,
    /// Nothing.
    Empty,
    /// Another media type.
    Media(&'static str),
}

use Answer::{Empty, Json, Media};

const TEXT: Answer = Media("text/plain");
const PROTOBUF: Answer = Media("application/x-protobuf");

/// Path, methods, what it does, parameters (`!` = must be there), answer.
type Endpoint = (&'static str, &'static [&'static str], &'static str, &'static [&'static str], Answer);

const GET: &[&str] = &["get"];
const POST: &[&str] = &["post"];
const GET_POST: &[&str] = &["get", "post"];
const POST_PUT: &[&str] = &["post", "put"];
const NONE: &[&str] = &[];

#[rustfmt::skip]
const ENDPOINTS: &[Endpoint] = &[
    ("/api/v1/query", GET_POST, "Evaluates a query at one time", &["query!", "time", "timeout", "limit", "lookback_delta", "stats"], Json),
    ("/api/v1/query_range", GET_POST, "Evaluates a query at every step of a range", &["query!", "start!", "end!", "step!", "timeout", "limit", "lookback_delta", "stats"], Json),
    ("/api/v1/query_exemplars", GET_POST, "Exemplars of the series that the selectors of a query find", &["query!", "start", "end"], Json),
    ("/api/v1/format_query", GET_POST, "The query as Prometheus formats it", &["query!"], Json),
    ("/api/v1/parse_query", GET_POST, "The tree of the query", &["query!"], Json),
    ("/api/v1/series", &["get", "post", "delete"], "Label sets of the series that selectors find; DELETE is not implemented", &["match[]!", "start", "end", "limit"], Json),
    ("/api/v1/labels", GET_POST, "Label names", &["match[]", "start", "end", "limit"], Json),
    ("/api/v1/label/{name}/values", GET, "Values of a label", &["match[]", "start", "end", "limit"], Json),
    ("/api/v1/metadata", GET, "Kind, help and unit of metrics", &["metric", "limit", "limit_per_metric"], Json),
    ("/api/v1/targets", GET, "No targets: samples are pushed", NONE, Json),
    ("/api/v1/targets/metadata", GET, "No metadata of targets", &["match_target", "metric", "limit"], Json),
    ("/api/v1/targets/relabel_steps", GET, "There is no scrape pool to relabel for", &["scrapePool!"], Json),
    ("/api/v1/scrape_pools", GET, "No scrape pools", NONE, Json),
    ("/api/v1/scrape_pools/config", GET, "There is no scrape pool", &["scrapePool!"], Json),
    ("/api/v1/alertmanagers", GET, "No alertmanagers", NONE, Json),
    ("/api/v1/rules", GET, "No rules", &["type", "exclude_alerts", "match[]", "group_limit", "group_next_token"], Json),
    ("/api/v1/alerts", GET, "No alerts", NONE, Json),
    ("/api/v1/notifications", GET, "No notifications", NONE, Json),
    ("/api/v1/notifications/live", GET, "A stream of notifications that has none", NONE, Media("text/event-stream")),
    ("/api/v1/features", GET, "Which features are on", NONE, Json),
    ("/api/v1/openapi.yaml", GET, "This description", NONE, Media("application/yaml")),
    ("/api/v1/status/config", GET, "All settings as YAML", NONE, Json),
    ("/api/v1/status/flags", GET, "All flags", NONE, Json),
    ("/api/v1/status/buildinfo", GET, "Versions", NONE, Json),
    ("/api/v1/status/runtimeinfo", GET, "Facts about the process", NONE, Json),
    ("/api/v1/status/tsdb", GET, "Cardinality of the head", &["limit"], Json),
    ("/api/v1/status/tsdb/blocks", GET, "The blocks of the tenant", NONE, Json),
    ("/api/v1/status/walreplay", GET, "How far the replay of the WAL is", NONE, Json),
    ("/api/v1/status/active_queries", GET, "Queries that wait and run", NONE, Json),
    ("/api/v1/status/active_queries/{id}", &["delete"], "Cancels a query", NONE, Empty),
    ("/api/v1/status/active_queries/{id}/cancel", POST, "Cancels a query", NONE, Empty),
    ("/api/v1/read", POST, "Prometheus remote read: SAMPLES or STREAMED_XOR_CHUNKS", NONE, PROTOBUF),
    ("/api/v1/write", POST, "Prometheus remote write", NONE, Empty),
    ("/api/v1/otlp/v1/metrics", POST, "OTLP metrics: protobuf or JSON", NONE, PROTOBUF),
    ("/api/v1/otlp/v1/traces", POST, "OTLP spans, which are counted: protobuf or JSON", NONE, PROTOBUF),
    ("/api/v1/otlp/v1/logs", POST, "OTLP log records, which are counted: protobuf or JSON", NONE, PROTOBUF),
    ("/otlp/v1/metrics", POST, "OTLP metrics: protobuf or JSON", NONE, PROTOBUF),
    ("/otlp/v1/traces", POST, "OTLP spans, which are counted: protobuf or JSON", NONE, PROTOBUF),
    ("/otlp/v1/logs", POST, "OTLP log records, which are counted: protobuf or JSON", NONE, PROTOBUF),
    ("/opentelemetry/v1/metrics", POST, "OTLP metrics: protobuf or JSON", NONE, PROTOBUF),
    ("/opentelemetry/v1/traces", POST, "OTLP spans, which are counted: protobuf or JSON", NONE, PROTOBUF),
    ("/opentelemetry/v1/logs", POST, "OTLP log records, which are counted: protobuf or JSON", NONE, PROTOBUF),
    ("/api/v1/admin/tsdb/delete_series", POST_PUT, "Deletes samples", &["match[]!", "start", "end"], Empty),
    ("/api/v1/admin/tsdb/clean_tombstones", POST_PUT, "Rewrites blocks without what was deleted", NONE, Empty),
    ("/api/v1/admin/tsdb/snapshot", POST_PUT, "Takes a snapshot", &["skip_head"], Json),
    ("/api/v1/admin/tsdb/compact", POST_PUT, "Compacts all blocks", NONE, Empty),
    ("/api/v1/admin/tsdb/flush", POST_PUT, "Writes the head to blocks", NONE, Empty),
    ("/federate", GET, "The newest sample of every series that selectors find", &["match[]"], TEXT),
    ("/metrics", GET, "The server's own metrics", NONE, TEXT),
    ("/version", GET, "Versions", NONE, TEXT),
    ("/health", GET, "Whether the server runs", NONE, TEXT),
    ("/-/healthy", GET, "Whether the server runs", NONE, TEXT),
    ("/-/ready", GET, "Whether the server is ready", NONE, TEXT),
    ("/-/reload", POST_PUT, "Opens the query log again and reads the section otlp of the configuration file", NONE, TEXT),
    ("/-/quit", POST_PUT, "Ends the server", NONE, TEXT),
    ("/", GET, "The name of the server", NONE, TEXT),
];

/// What each parameter means.
const PARAMETERS: [(&str, &str); 21] = [
    ("query", "PromQL expression"),
    ("time", "Evaluation time: Unix seconds or RFC 3339; now if absent"),
    ("start", "First time: Unix seconds or RFC 3339"),
    ("end", "Last time: Unix seconds or RFC 3339"),
    ("step", "Distance of evaluation times: seconds or a duration such as 15s"),
    ("timeout", "Longest time of the query, at most --query-timeout"),
    ("limit", "Most entries of the answer; 0 = all"),
    ("lookback_delta", "How far back an instant selector looks"),
    ("stats", "true or all: figures of the query"),
    ("match[]", "Series selector; may be given several times"),
    ("metric", "Metric name"),
    ("limit_per_metric", "Most entries per metric"),
    ("match_target", "Label selector of targets"),
    ("scrapePool", "Name of a scrape pool"),
    ("type", "alert or record"),
    ("exclude_alerts", "Whether alerts are left out"),
    ("group_limit", "Most groups of an answer"),
    ("group_next_token", "Where the last answer ended"),
    ("skip_head", "Whether samples that are only in memory are left out"),
    ("name", "Label name, escaped with U__ if it is no plain name"),
    ("id", "Id of /api/v1/status/active_queries"),
];

pub(super) fn router() -> Router<Arc<HttpState>> {
    Router::new().route("/api/v1/openapi.yaml", get(openapi))
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], document()).into_response()
}

/// The whole document.
fn document() -> String {
    let mut text = String::with_capacity(32 << 10);
    text.push_str("openapi: 3.1.0\ninfo:\n  title: MyTSDB\n");
    line(&mut text, 1, &format!("version: {:?}", env!("CARGO_PKG_VERSION")));
    text.push_str("paths:\n");
    for endpoint in ENDPOINTS {
        let (path, methods, ..) = endpoint;
        line(&mut text, 1, &format!("{path:?}:"));
        for method in *methods {
            push_operation(&mut text, method, endpoint);
        }
    }
    text.push_str(COMPONENTS);
    text
}

fn line(text: &mut String, level: usize, content: &str) {
    let _infallible = writeln!(text, "{:1$}{content}", "", level * 2);
}

fn push_operation(text: &mut String, method: &str, endpoint: &Endpoint) {
    let (path, _, summary, parameters, answer) = *endpoint;
    line(text, 2, &format!("{method}:"));
    line(text, 3, &format!("summary: {summary:?}"));
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let in_path: Vec<&str> = in_path.collect();
    if !in_path.is_empty() || !parameters.is_empty() {
        line(text, 3, "parameters:");
    }
    for name in in_path {
        push_parameter(text, name, "path", true);
    }
    for parameter in parameters {
        let name = parameter.trim_end_matches('!');
        push_parameter(text, name, "query", name != *parameter && method == "get");
    }
    if method != "get" && !parameters.is_empty() {
        push_form(text, parameters);
    }
    push_responses(text, answer);
}

fn push_parameter(text: &mut String, name: &str, place: &str, is_required: bool) {
    line(text, 4, &format!("- name: {name:?}"));
    line(text, 5, &format!("in: {place}"));
    line(text, 5, &format!("required: {is_required}"));
    line(text, 5, &format!("description: {:?}", describe(name)));
    line(text, 5, schema(name));
}

fn describe(name: &str) -> &'static str {
    PARAMETERS.iter().find(|(known, _)| *known == name).map_or("", |(_, description)| description)
}

fn schema(name: &str) -> &'static str {
    match name {
        "match[]" => "schema: {type: array, items: {type: string}}",
        "limit" | "limit_per_metric" | "group_limit" => "schema: {type: integer}",
        _ => "schema: {type: string}",
    }
}

/// POST and PUT take the same parameters as a form.
fn push_form(text: &mut String, parameters: &[&str]) {
    line(text, 3, "requestBody:");
    line(text, 4, "content:");
    line(text, 5, "application/x-www-form-urlencoded:");
    line(text, 6, "schema:");
    line(text, 7, "type: object");
    line(text, 7, "properties:");
    for parameter in parameters {
        let name = parameter.trim_end_matches('!');
        line(text, 8, &schema(name).replacen("schema", &format!("{name:?}"), 1));
    }
}

fn push_responses(text: &mut String, answer: Answer) {
    line(text, 3, "responses:");
    match answer {
        Empty => line(text, 4, "\"204\": {description: Done}"),
        Json => {
            line(text, 4, "\"200\": {$ref: \"#/components/responses/Success\"}");
            line(text, 4, "default: {$ref: \"#/components/responses/Error\"}");
        }
        Media(media) => {
            line(text, 4, &format!("\"200\": {{description: Answer, content: {{{media:?}: {{}}}}}}"));
        }
    }
}

const COMPONENTS: &str = r#"components:
  responses:
    Success:
      description: The answer, with remarks about it
      content:
        application/json:
          schema:
            type: object
            required: [status]
            properties:
              status: {const: success}
              data: {}
              warnings: {type: array, items: {type: string}}
              infos: {type: array, items: {type: string}}
    Error:
      description: Why there is no answer
      content:
        application/json:
          schema:
            type: object
            required: [status, errorType, error]
            properties:
              status: {const: error}
              errorType:
                type: string
                enum: [bad_data, execution, canceled, timeout, internal, unavailable, not_found]
              error: {type: string}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_yaml_and_describes_every_parameter() {
        let document: serde_json::Value = serde_saphyr::from_str(&document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), ENDPOINTS.len());
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                assert!(operation["responses"].is_object(), "{method} {path}");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    assert_ne!(parameter["description"], "", "{method} {path} {parameter}");
                }
            }
        }
        assert_eq!(
            paths["/api/v1/series"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
                ["properties"]["match[]"]["items"]["type"],
            "string"
        );
    }
}

//! `/api/v1/query_exemplars`: exemplars of the series that the selectors of an expression find.

use std::collections::BTreeMap;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use mytsdb_promql::parse;
use mytsdb_promql::parse::ast::{Expr, ExprKind};
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{Exemplar, LabelSet, Matcher, TimeRange};
use mytsdb_storage::read::ReadError;

use super::call::Call;
use super::error::{ApiError, ErrorType};
use super::number::{push_timestamp, push_value};
use super::response::LabelsJson;

/// Most exemplars of one answer.
const EXEMPLAR_COUNT_MAX: usize = 100_000;

pub(super) async fn exemplars(call: Call) -> Result<Response, ApiError> {
    let range = call.params.time_range()?;
    if range.is_empty() {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let query = call.params.get("query").unwrap_or_default().to_owned();
    let options = call.core.parse_options.clone();
    let body = call
        .read(move |snapshot| {
            let expr = parse(&query, &options).map_err(|error| ApiError::bad_data(error.to_string()))?;
            let selectors = selectors(&expr);
            if selectors.is_empty() {
                return Ok(None);
            }
            to_json(&find(snapshot, &selectors, range)?).map(Some)
        })
        .await?;
    let Some(body) = body else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The matchers of every selector in the expression.
fn selectors(expr: &Expr) -> Vec<Vec<Matcher>> {
    let mut found = Vec::new();
    let mut pending = vec![expr];
    while let Some(expr) = pending.pop() {
        match &expr.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                found.push(selector.matchers.clone());
            }
            _ => pending.extend(expr.children()),
        }
    }
    found
}

/// The exemplars that any of the selectors finds, each series once.
fn find(
    snapshot: &Snapshot,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
) -> Result<BTreeMap<LabelSet, Vec<Exemplar>>, ApiError> {
    let mut found = BTreeMap::new();
    for matchers in selectors {
        let series =
            snapshot.exemplars(matchers, range, EXEMPLAR_COUNT_MAX).map_err(|error| match error {
                ReadError::TooManyExemplars { .. } => ApiError::new(ErrorType::Execution, error.to_string()),
                error => ApiError::from(error),
            })?;
        found.extend(series);
    }
    Ok(found)
}

/// The answer, written by hand for Prometheus' form of numbers.
fn to_json(series: &BTreeMap<LabelSet, Vec<Exemplar>>) -> Result<Vec<u8>, ApiError> {
    let mut out = b"{\"status\":\"success\",\"data\":[".to_vec();
    for (index, (labels, exemplars)) in series.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"seriesLabels\":" } else { b"{\"seriesLabels\":" });
        push_labels(&mut out, labels)?;
        out.extend_from_slice(b",\"exemplars\":[");
        for (index, exemplar) in exemplars.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",{\"labels\":" } else { b"{\"labels\":" });
            push_labels(&mut out, &exemplar.labels)?;
            out.extend_from_slice(b",\"value\":\"");
            push_value(&mut out, exemplar.value);
            out.extend_from_slice(b"\",\"timestamp\":");
            push_timestamp(&mut out, exemplar.time_ms);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn push_labels(out: &mut Vec<u8>, labels: &LabelSet) -> Result<(), ApiError> {
    serde_json::to_writer(&mut *out, &LabelsJson(labels.clone()))
        .map_err(|error| ApiError::new(ErrorType::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_selectors_of_an_expression_are_asked() {
        let expr = parse("sum(rate(a[5m])) / on() max_over_time(b{x=\"y\"}[1h:1m]) + 1", &Default::default());
        let mut found: Vec<String> =
            selectors(&expr.unwrap()).iter().map(|matchers| format!("{matchers:?}")).collect();
        found.sort();
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|matchers| matchers.contains("\"y\"")), "{found:?}");
    }

    #[test]
    fn the_answer_has_prometheus_form() {
        let labels = LabelSet::from_pairs([("__name__", "a"), ("le", "1")]).unwrap();
        let trace = LabelSet::from_pairs([("trace_id", "x\"y")]).unwrap();
        let exemplars = vec![
            Exemplar { labels: trace.clone(), value: 6.0, time_ms: 1_600_096_945_479 },
            Exemplar { labels: LabelSet::empty(), value: 1e-7, time_ms: 5_000 },
        ];
        let json = String::from_utf8(to_json(&BTreeMap::from([(labels, exemplars)])).unwrap()).unwrap();
        let expected = r#"{"status":"success","data":[{"seriesLabels":{"__name__":"a","le":"1"},"exemplars":[{"labels":{"trace_id":"x\"y"},"value":"6","timestamp":1600096945.479},{"labels":{},"value":"1e-07","timestamp":5}]}]}"#;
        assert_eq!(json, expected);
    }
}

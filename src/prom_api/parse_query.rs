//! `/api/v1/parse_query`: the tree of a query as JSON, for tree views.
//!
//! Written as text while the tree is walked: a chain of operators may be a hundred thousand links deep.
//!
//! Source: Prometheus `web/api/v1/translate_ast.go`; keys stand in Go's order.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use mytsdb_promql::function;
use mytsdb_promql::parse;
use mytsdb_promql::parse::ast::{
    Aggregate, At, Binary, Cardinality, Duration, DurationExpr, DurationExprKind, Expr, ExprKind, Grouping,
    RangeExtension, ValueType, VectorMatching, VectorSelector,
};

use super::call::Call;
use super::error::ApiError;
use super::number::push_plain;
use super::result_json::push_text;

pub(super) async fn parse_query(call: Call) -> Result<Response, ApiError> {
    let query = call.params.get("query").unwrap_or_default().to_owned();
    let options = call.core.parse_options.clone();
    let work = move || {
        let expr = parse(&query, &options).map_err(|error| ApiError::parse(&error))?;
        let mut out = b"{\"status\":\"success\",\"data\":".to_vec();
        push_expr(&mut out, &expr);
        out.push(b'}');
        Ok(out)
    };
    let json: Result<Vec<u8>, ApiError> = call.core.blocking.run(work).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json?).into_response())
}

type Out<'o> = &'o mut Vec<u8>;

fn push(out: Out<'_>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn push_expr(out: Out<'_>, expr: &Expr) {
    match &expr.kind {
        ExprKind::Number { value, .. } => {
            push(out, "{\"type\":\"numberLiteral\",\"val\":\"");
            push_plain(out, *value);
            push(out, "\"}");
        }
        ExprKind::String(text) => {
            push(out, "{\"type\":\"stringLiteral\",\"val\":");
            push_text(out, &String::from_utf8_lossy(text));
            push(out, "}");
        }
        ExprKind::VectorSelector(selector) => push_selector(out, selector, None),
        ExprKind::MatrixSelector { selector, range, .. } => push_selector(out, selector, Some(range)),
        ExprKind::Subquery { expr, range, step, offset, at } => {
            push(out, "{\"expr\":");
            push_expr(out, expr);
            push_duration(out, ",\"offset\":", offset);
            push_duration(out, ",\"range\":", range);
            push_at(out, *at, |out| {
                push_duration(out, ",\"step\":", step.as_ref().unwrap_or(&Duration::ZERO))
            });
            push(out, ",\"type\":\"subquery\"}");
        }
        ExprKind::Aggregate(aggregate) => push_aggregate(out, aggregate),
        ExprKind::Binary(binary) => push_chain(out, binary),
        ExprKind::Unary { is_minus, expr } => {
            push(out, "{\"expr\":");
            push_expr(out, expr);
            push(out, if *is_minus { ",\"op\":\"-\"" } else { ",\"op\":\"+\"" });
            push(out, ",\"type\":\"unaryExpr\"}");
        }
        ExprKind::Call { function, args } => push_call(out, function, args),
        ExprKind::Paren(inner) => {
            push(out, "{\"expr\":");
            push_expr(out, inner);
            push(out, ",\"type\":\"parenExpr\"}");
        }
    }
}

fn push_aggregate(out: Out<'_>, aggregate: &Aggregate) {
    push(out, "{\"expr\":");
    push_expr(out, &aggregate.expr);
    let (labels, is_without) = match &aggregate.grouping {
        Grouping::By(labels) => (labels, false),
        Grouping::Without(labels) => (labels, true),
    };
    push_list(out, ",\"grouping\":", labels);
    push(out, &format!(",\"op\":\"{}\",\"param\":", aggregate.op.as_str()));
    match &aggregate.param {
        Some(param) => push_expr(out, param),
        None => push(out, "null"),
    }
    push(out, &format!(",\"type\":\"aggregation\",\"without\":{is_without}}}"));
}

/// Writes a left-deep chain link by link.
fn push_chain(out: Out<'_>, binary: &Binary) {
    let (links, bottom) = binary.chain();
    for link in &links {
        push(out, &format!("{{\"bool\":{},\"lhs\":", link.return_bool));
    }
    push_expr(out, bottom);
    let is_vector = |side: &Expr| side.value_type() == ValueType::Vector;
    let mut is_lhs_vector = is_vector(bottom);
    for link in links.into_iter().rev() {
        push(out, ",\"matching\":");
        let is_rhs_vector = is_vector(&link.rhs);
        if is_lhs_vector && is_rhs_vector {
            push_matching(out, &link.matching);
        } else {
            push(out, "null");
        }
        push(out, &format!(",\"op\":\"{}\",\"rhs\":", link.op.as_str()));
        push_expr(out, &link.rhs);
        push(out, ",\"type\":\"binaryExpr\"}");
        is_lhs_vector |= is_rhs_vector;
    }
}

fn push_matching(out: Out<'_>, matching: &VectorMatching) {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    let fill = |out: Out<'_>, key: &str, value: Option<f64>| {
        push(out, key);
        match value {
            // Go refuses to write infinities and NaN as numbers; they are texts here.
            Some(value) if !value.is_finite() => {
                push(out, "\"");
                push_plain(out, value);
                push(out, "\"");
            }
            Some(value) => push_plain(out, value),
            None => push(out, "null"),
        }
    };
    push(out, &format!("{{\"card\":\"{cardinality}\""));
    fill(out, ",\"fillValues\":{\"lhs\":", matching.fill_left);
    fill(out, ",\"rhs\":", matching.fill_right);
    push_list(out, "},\"include\":", &matching.include);
    push_list(out, ",\"labels\":", &matching.labels);
    push(out, &format!(",\"on\":{}}}", matching.is_on));
}

fn push_call(out: Out<'_>, name: &str, args: &[Expr]) {
    push(out, "{\"args\":[");
    for (index, arg) in args.iter().enumerate() {
        if index > 0 {
            push(out, ",");
        }
        push_expr(out, arg);
    }
    push(out, "],\"func\":{");
    if let Some(signature) = function::lookup(name) {
        let types: Vec<&str> = signature.arg_types.iter().map(|kind| type_word(*kind)).collect();
        push_list(out, "\"argTypes\":", &types);
        let variadic = match signature.arg_count_max {
            None => -1,
            Some(max) if max == signature.arg_count_min => 0,
            Some(max) => max as i64 + 1 - signature.arg_types.len() as i64,
        };
        push(out, ",\"name\":");
        push_text(out, name);
        let return_type = type_word(signature.return_type);
        push(out, &format!(",\"returnType\":\"{return_type}\",\"variadic\":{variadic}"));
    }
    push(out, "},\"type\":\"call\"}");
}

fn type_word(kind: ValueType) -> &'static str {
    match kind {
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
    }
}

fn push_selector(out: Out<'_>, selector: &VectorSelector, range: Option<&Duration>) {
    let has = |extension| selector.extension == Some(extension);
    push(out, &format!("{{\"anchored\":{},\"matchers\":[", has(RangeExtension::Anchored)));
    for (index, matcher) in selector.matchers.iter().enumerate() {
        push(out, if index > 0 { ",{\"name\":" } else { "{\"name\":" });
        push_text(out, matcher.name());
        push(out, &format!(",\"type\":\"{}\",\"value\":", matcher.op().as_str()));
        push_text(out, matcher.value());
        push(out, "}");
    }
    push(out, "],\"name\":");
    push_text(out, selector.name.as_deref().unwrap_or_default());
    push_duration(out, ",\"offset\":", &selector.offset);
    if let Some(range) = range {
        push_duration(out, ",\"range\":", range);
    }
    push(out, &format!(",\"smoothed\":{}", has(RangeExtension::Smoothed)));
    push_at(out, selector.at, |_| {});
    let kind = if range.is_some() { "matrixSelector" } else { "vectorSelector" };
    push(out, &format!(",\"type\":\"{kind}\"}}"));
}

/// Writes `startOrEnd` and `timestamp`, and between them what stands there in Go's order.
fn push_at(out: Out<'_>, at: Option<At>, between: impl FnOnce(Out<'_>)) {
    push(
        out,
        match at {
            Some(At::Start) => ",\"startOrEnd\":\"start\"",
            Some(At::End) => ",\"startOrEnd\":\"end\"",
            _ => ",\"startOrEnd\":null",
        },
    );
    between(out);
    push(out, ",\"timestamp\":");
    match at {
        Some(At::Time(time_ms)) => push(out, &time_ms.to_string()),
        _ => push(out, "null"),
    }
}

/// Writes a duration and, under the same key with `Expr`, the expression that it is.
fn push_duration(out: Out<'_>, key: &str, duration: &Duration) {
    let expr_key = key.replace("\":", "Expr\":");
    match duration {
        Duration::Literal(duration_ms) => push(out, &format!("{key}{duration_ms}{expr_key}null")),
        Duration::Expression(expr) => {
            push(out, &format!("{key}0{expr_key}"));
            push_duration_expr(out, expr, false);
        }
    }
}

fn push_duration_expr(out: Out<'_>, expr: &DurationExpr, is_wrapped: bool) {
    let (op, lhs, rhs) = match &expr.kind {
        DurationExprKind::Seconds { value, is_duration } => {
            push(out, &format!("{{\"duration\":{is_duration},\"type\":\"numberLiteral\",\"val\":\""));
            push_plain(out, *value);
            push(out, "\"}");
            return;
        }
        DurationExprKind::Paren(inner) => return push_duration_expr(out, inner, true),
        DurationExprKind::Step => ("step", None, None),
        DurationExprKind::Range => ("range", None, None),
        DurationExprKind::MinOf(lhs, rhs) => ("min_of", Some(lhs), Some(rhs)),
        DurationExprKind::MaxOf(lhs, rhs) => ("max_of", Some(lhs), Some(rhs)),
        DurationExprKind::Unary { is_minus, expr } => (if *is_minus { "-" } else { "+" }, None, Some(expr)),
        DurationExprKind::Binary { op, lhs, rhs } => (op.as_str(), Some(lhs), Some(rhs)),
    };
    let side = |out: Out<'_>, key: &str, side: Option<&Box<DurationExpr>>| {
        push(out, key);
        match side {
            Some(expr) => push_duration_expr(out, expr, false),
            None => push(out, "null"),
        }
    };
    side(out, "{\"lhs\":", lhs);
    push(out, &format!(",\"op\":\"{op}\""));
    side(out, ",\"rhs\":", rhs);
    push(out, &format!(",\"type\":\"durationExpr\",\"wrapped\":{is_wrapped}}}"));
}

fn push_list(out: Out<'_>, key: &str, texts: &[impl AsRef<str>]) {
    push(out, key);
    push(out, "[");
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            push(out, ",");
        }
        push_text(out, text.as_ref());
    }
    push(out, "]");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tree(query: &str) -> Value {
        let expr = parse(query, &Default::default()).unwrap_or_else(|error| panic!("{query}: {error}"));
        let mut out = Vec::new();
        push_expr(&mut out, &expr);
        serde_json::from_slice(&out)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
    }

    fn number(value: &str, is_duration: bool) -> Value {
        json!({"type": "numberLiteral", "val": value, "duration": is_duration})
    }

    fn operation(op: &str, lhs: Value, rhs: Value, is_wrapped: bool) -> Value {
        json!({"type": "durationExpr", "op": op, "lhs": lhs, "rhs": rhs, "wrapped": is_wrapped})
    }

    #[test]
    fn trees_have_the_shape_of_prometheus() {
        let foo = json!({
            "type": "vectorSelector", "name": "foo", "offset": 0, "offsetExpr": null, "timestamp": null,
            "startOrEnd": null, "anchored": false, "smoothed": false,
            "matchers": [{"name": "__name__", "type": "=", "value": "foo"}],
        });
        assert_eq!(tree("foo"), foo);
        let matching = json!({
            "card": "many-to-one", "labels": ["a"], "on": true, "include": ["b"],
            "fillValues": {"lhs": null, "rhs": null},
        });
        assert_eq!(
            tree("foo > bool on(a) group_left(b) foo"),
            json!({"type": "binaryExpr", "op": ">", "bool": true, "lhs": foo, "rhs": foo, "matching": matching})
        );
        assert_eq!(
            tree("-(1 + 2)"),
            json!({"type": "unaryExpr", "op": "-", "expr": {"type": "parenExpr", "expr": {
                "type": "binaryExpr", "op": "+", "bool": false, "matching": null,
                "lhs": {"type": "numberLiteral", "val": "1"}, "rhs": {"type": "numberLiteral", "val": "2"},
            }}})
        );
        assert_eq!(
            tree("topk without (a) (3, foo)"),
            json!({"type": "aggregation", "op": "topk", "expr": foo, "grouping": ["a"], "without": true,
                "param": {"type": "numberLiteral", "val": "3"}})
        );
        let rate = tree("rate(foo{a!~\"b\"}[5m] @ end() offset 1m)");
        let expected = json!({"name": "rate", "argTypes": ["matrix"], "returnType": "vector", "variadic": 0});
        assert_eq!(rate["func"], expected);
        let arg = &rate["args"][0];
        assert_eq!(
            (&arg["type"], &arg["range"], &arg["offset"]),
            (&json!("matrixSelector"), &json!(300_000), &json!(60_000))
        );
        assert_eq!((&arg["startOrEnd"], &arg["timestamp"]), (&json!("end"), &Value::Null));
        assert_eq!(tree("foo @ 1.5")["timestamp"], 1500);
        assert_eq!(tree("round(foo)")["func"]["variadic"], 1);
        assert_eq!(tree("label_join(foo, \"a\", \"b\")")["func"]["variadic"], -1);
        assert_eq!(
            tree("time()")["func"],
            json!({"name": "time", "argTypes": [], "returnType": "scalar", "variadic": 0})
        );
    }

    #[test]
    fn duration_expressions_stand_beside_the_numbers() {
        let found = tree("foo[5m+1m] offset (10m/2)");
        assert_eq!(found["range"], 0);
        assert_eq!(found["rangeExpr"], operation("+", number("300", true), number("60", true), false));
        assert_eq!(found["offsetExpr"], operation("/", number("600", true), number("2", false), true));
        let found = tree("foo[4s+4s:1s*2]");
        assert_eq!(found["stepExpr"], operation("*", number("1", true), number("2", false), false));
        assert_eq!((&found["type"], &found["step"]), (&json!("subquery"), &json!(0)));
        assert_eq!(tree("foo[range()]")["rangeExpr"], operation("range", Value::Null, Value::Null, false));
    }

    #[test]
    fn long_chains_are_written_without_recursion() {
        let query = format!("foo{}", " + 1".repeat(50_000));
        let expr = parse(&query, &Default::default()).unwrap();
        let mut out = Vec::new();
        push_expr(&mut out, &expr);
        assert!(out.ends_with(b"\"type\":\"binaryExpr\"}"));
    }
}

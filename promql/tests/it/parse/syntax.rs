//! What queries mean: trees and places.

use mytsdb_promql::parse::ast::{
    At, Cardinality, Duration, DurationExprKind, Expr, ExprKind, Grouping, RangeExtension, ValueType,
    VectorMatching, VectorSelector,
};

use mytsdb_promql::{ParseOptions, parse_selector};

use super::parsed;

/// The tree with parentheses around every operation.
fn grouped(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Binary(binary) => {
            format!("({} {} {})", grouped(&binary.lhs), binary.op.as_str(), grouped(&binary.rhs))
        }
        ExprKind::Unary { is_minus, expr } => {
            format!("({}{})", if *is_minus { "-" } else { "+" }, grouped(expr))
        }
        _ => expr.to_string(),
    }
}

/// Every node with the text it stands for, parents first.
fn places(query: &str) -> Vec<&str> {
    let mut found = Vec::new();
    parsed(query).walk(|expr| found.push(&query[expr.span.start as usize..expr.span.end as usize]));
    found
}

fn selector(query: &str) -> VectorSelector {
    match parsed(query).kind {
        ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => selector,
        other => panic!("{query}: {other:?}"),
    }
}

fn matching(query: &str) -> VectorMatching {
    match parsed(query).kind {
        ExprKind::Binary(binary) => binary.matching.clone(),
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    for (query, expected) in [
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a and b == c", "(a and (b == c))"),
        ("a == b + c", "(a == (b + c))"),
        ("a < b > c", "((a < b) > c)"),
        ("a </ b + c >/ d", "((a </ (b + c)) >/ d)"),
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("a * b / c % d atan2 e", "((((a * b) / c) % d) atan2 e)"),
        ("a ^ b ^ c", "(a ^ (b ^ c))"),
        ("-a ^ b", "(-(a ^ b))"),
        ("-a * b", "((-a) * b)"),
        ("a * -b + c", "((a * (-b)) + c)"),
        ("a ^ -b * c", "((a ^ (-b)) * c)"),
        ("a ^ -b ^ c", "(a ^ (-(b ^ c)))"),
        ("-1 ^ -2", "(-(1 ^ -2))"),
        ("-1 * 2", "(-1 * 2)"),
        ("--a", "(-(-a))"),
        ("a offset 1m + 2", "(a offset 1m + 2)"),
        ("a offset -2 ^ 2", "(a offset -2s ^ 2)"),
        ("a offset step() * 2", "(a offset step() * 2)"),
        ("a offset -min_of(step(), 1s) + 8000", "(a offset -min_of(step(), 1s) + 8000)"),
    ] {
        assert_eq!(grouped(&parsed(query)), expected, "{query}");
    }
}

#[test]
fn every_node_knows_its_place() {
    assert_eq!(
        places(" sum by (b) ( rate(a{c=\"d\"}[5m] offset 1m) ) / 2 "),
        [
            "sum by (b) ( rate(a{c=\"d\"}[5m] offset 1m) ) / 2",
            "sum by (b) ( rate(a{c=\"d\"}[5m] offset 1m) )",
            "rate(a{c=\"d\"}[5m] offset 1m)",
            "a{c=\"d\"}[5m] offset 1m",
            "2",
        ]
    );
    assert_eq!(places("( (a) ) [5m:] @ 3"), ["( (a) ) [5m:] @ 3", "( (a) )", "(a)", "a"]);
    assert_eq!(places("(sum(a) by (b) )"), ["(sum(a) by (b) )", "sum(a) by (b)", "a"]);
    assert_eq!(places("- 5m + + a"), ["- 5m + + a", "- 5m", "+ a", "a"]);
    assert_eq!(places("topk(1 , a)"), ["topk(1 , a)", "1", "a"]);
    assert_eq!(places("a # b\n@ end()"), ["a # b\n@ end()"]);
    let ExprKind::MatrixSelector { selector_span, .. } = parsed("a{b=\"c\"} [5m] offset 1m").kind else {
        panic!("not a range selector");
    };
    assert_eq!((selector_span.start, selector_span.end), (0, 8));
    let ExprKind::Binary(binary) = parsed("a\n >=bool b").kind else { panic!("not an operation") };
    assert_eq!((binary.op_span.start, binary.op_span.end), (3, 5));
}

#[test]
fn keywords_are_names_where_they_can_be() {
    for name in [
        "sum",
        "by",
        "without",
        "offset",
        "and",
        "or",
        "unless",
        "start",
        "end",
        "step",
        "range",
        "anchored",
        "smoothed",
        "fill",
        "fill_left",
        "fill_right",
        "min_of",
        "max_of",
        "topk",
        "group",
        "Sum",
    ] {
        assert_eq!(selector(name).name.as_deref(), Some(name));
        assert_eq!(selector(&format!("{name}{{job=\"x\"}}")).matchers.len(), 2, "{name}");
        let query = format!("sum by ({name}, bool, on, ignoring, group_left, atan2) (foo)");
        let ExprKind::Aggregate(aggregate) = parsed(&query).kind else { panic!("{query}") };
        let Grouping::By(labels) = &aggregate.grouping else { panic!("{query}") };
        assert_eq!(labels[0], name);
    }
    for name in ["fill", "fill_left", "sum", "offset"] {
        assert_eq!(grouped(&parsed(&format!("{name} + {name}"))), format!("({name} + {name})"));
    }
    assert_eq!(selector("a{on=\"b\", inf=\"c\", sum=\"d\"}").matchers.len(), 4);
}

#[test]
fn durations_fold_to_milliseconds() {
    for (query, range_ms) in [
        ("a[5m]", 300_000),
        ("a[300]", 300_000),
        ("a[0.5]", 500),
        ("a[4.18]", 4_180),
        ("a[1y]", 31_536_000_000),
        ("a[+7]", 7_000),
    ] {
        let ExprKind::MatrixSelector { range, .. } = parsed(query).kind else { panic!("{query}") };
        assert_eq!(range, Duration::Literal(range_ms), "{query}");
    }
    assert_eq!(selector("a offset -1.5").offset, Duration::Literal(-1_500));
    assert_eq!(selector("a offset 0s").offset, Duration::ZERO);
    let ExprKind::Subquery { range, step, .. } = parsed("a[5000000000s:+1m]").kind else { panic!() };
    assert_eq!((range, step), (Duration::Literal(5_000_000_000_000), Some(Duration::Literal(60_000))));
}

#[test]
fn durations_that_must_be_computed_stay_expressions() {
    let ExprKind::MatrixSelector { range: Duration::Expression(expr), .. } = parsed("a[ -5m + 35m ]").kind
    else {
        panic!("not an expression");
    };
    assert_eq!((expr.span.start, expr.span.end), (3, 12));
    let DurationExprKind::Binary { lhs, .. } = expr.kind else { panic!("not an operation") };
    assert_eq!(lhs.kind, DurationExprKind::Seconds { value: -300.0, is_duration: true });
    let Duration::Expression(expr) = selector("a offset (5)").offset else { panic!("not an expression") };
    assert_eq!((expr.span.start, expr.span.end), (9, 12));
    for (query, printed) in [
        ("a[24m+((1.5*2m)+2m)]", "a[24m + ((1.5 * 2m) + 2m)]"),
        ("a[1+(STep()-5)*2]", "a[1 + (step() - 5) * 2]"),
        ("a[ - step ( ) ^ 2 ]", "a[-step() ^ 2]"),
        ("a[1+range()]", "a[1 + range()]"),
    ] {
        assert_eq!(parsed(query).to_string(), printed);
    }
}

#[test]
fn at_is_milliseconds_or_a_bound_of_the_query() {
    for (query, at) in [
        ("a @ 1603774568", At::Time(1_603_774_568_000)),
        ("a @ -33.3e1", At::Time(-333_000)),
        ("a @ 3.3335", At::Time(3_334)),
        ("a @ 0xA", At::Time(10_000)),
        ("a @ 1m", At::Time(60_000)),
        ("a @start ( )", At::Start),
        ("a[5m] @ END()", At::End),
    ] {
        assert_eq!(selector(query).at, Some(at), "{query}");
    }
}

#[test]
fn names_in_braces_are_matchers() {
    assert_eq!(selector("{\"my.metric\", 'a.b'=`c`}").name, None);
    let shown: Vec<String> =
        selector("{\"my.metric\", 'a.b'=`c`}").matchers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["__name__=\"my.metric\"", "a.b=\"c\""]);
    let shown: Vec<String> =
        selector("a{b=~\"c\",d!~\"e\",f!=\"g\",}").matchers.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["b=~\"c\"", "d!~\"e\"", "f!=\"g\"", "__name__=\"a\""]);
}

#[test]
fn lone_selectors_are_matchers_and_nothing_else() {
    let options = ParseOptions::default();
    for (text, expected) in [
        ("up", "__name__=\"up\""),
        (" sum{a=\"b\"} ", "a=\"b\",__name__=\"sum\""),
        ("{a=~\"\", \"c.d\"}", "a=~\"\",__name__=\"c.d\""),
        ("{}", ""),
        ("or # why", "__name__=\"or\""),
    ] {
        let matchers = parse_selector(text, &options).unwrap();
        assert_eq!(
            matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            expected,
            "{text}"
        );
    }
    for (text, expected) in [
        ("", "1:1: parse error: unexpected end of input"),
        ("up[5m]", "1:3: parse error: unexpected \"[\""),
        ("up offset 1m", "1:4: parse error: unexpected <offset>"),
        ("sum(up)", "1:4: parse error: unexpected \"(\""),
        ("up + up", "1:4: parse error: unexpected <op:+>"),
        ("1", "1:1: parse error: unexpected number \"1\""),
    ] {
        assert_eq!(parse_selector(text, &options).unwrap_err().to_string(), expected, "{text}");
    }
}

#[test]
fn strings_are_the_bytes_that_go_means() {
    let ExprKind::String(bytes) =
        parsed(r#""\a\b\f\n\r\t\v\\\" - \xFF\377\u1234\U00010111\U0001011111☺""#).kind
    else {
        panic!("not a string");
    };
    let expected =
        b"\x07\x08\x0c\n\r\t\x0b\\\" - \xFF\xFF\xE1\x88\xB4\xF0\x90\x84\x91\xF0\x90\x84\x9111\xE2\x98\xBA";
    assert_eq!(bytes, expected);
}

#[test]
fn matching_is_kept_for_vectors_and_dropped_for_scalars() {
    let found = matching("a + on(b, c) group_left(d) fill_left(-1) fill_right(2m) e");
    assert_eq!(found.cardinality, Cardinality::ManyToOne);
    assert!(found.is_on);
    assert_eq!((found.labels.join(","), found.include.join(",")), ("b,c".to_owned(), "d".to_owned()));
    assert_eq!((found.fill_left, found.fill_right), (Some(-1.0), Some(120.0)));
    assert_eq!(matching("a and b").cardinality, Cardinality::ManyToMany);
    assert_eq!(matching("a * ignoring(b) group_right c").cardinality, Cardinality::OneToMany);
    assert_eq!(matching("a * on() 1"), VectorMatching::default());
}

#[test]
fn helpers_answer_questions_about_trees() {
    let expr = parsed("sum(rate(a[5m] @ end())) / on(b) info(c, {d=\"e\"}) > bool scalar(f) + 1");
    let names: Vec<Option<&str>> = expr.selectors().iter().map(|selector| selector.name.as_deref()).collect();
    assert_eq!(names, [Some("a"), Some("c"), None, Some("f")]);
    assert!(expr.contains_call("info") && !expr.contains_call("abs"));
    assert!(expr.contains_at() && !parsed("a").contains_at());
    assert_eq!(parsed("((a))").unwrap_parens().to_string(), "a");
    assert_eq!(parsed("-(1 + abs(a))").depth(), 5);
    for (query, value_type) in [
        ("1 + time()", ValueType::Scalar),
        ("1 + time() * a", ValueType::Vector),
        ("-(scalar(a))", ValueType::Scalar),
        ("'a'", ValueType::String),
        ("(a[5m])", ValueType::Matrix),
        ("a[5m:]", ValueType::Matrix),
        ("vector(1)", ValueType::Vector),
    ] {
        assert_eq!(parsed(query).value_type(), value_type, "{query}");
    }
    assert_eq!(selector("a[5m] smoothed").extension, Some(RangeExtension::Smoothed));
}

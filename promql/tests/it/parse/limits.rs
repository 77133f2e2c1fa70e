//! Queries that are too long, too deep or just very large.

use mytsdb_promql::parse::ast::{Expr, ExprKind};
use mytsdb_promql::{ParseOptions, parse};

use super::{normalized, parsed};

/// The stack of a worker thread of the server.
const STACK_BYTES: usize = 2 << 20;

fn on_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    assert!(thread.is_ok_and(|thread| thread.join().is_ok()));
}

/// Everything that walks a whole tree.
fn exercise(expr: &Expr) {
    let copy = expr.clone();
    assert!(copy == *expr);
    assert!(!format!("{expr:?}").is_empty());
    assert_eq!(parsed(&expr.to_string()).to_string(), expr.to_string());
    assert!(expr.depth() > 1);
    assert_eq!(normalized(copy.clone()), normalized(copy));
    let _value_type = expr.value_type();
    assert!(!expr.contains_at());
}

#[test]
fn long_chains_of_operators_parse_and_walk_on_a_small_stack() {
    on_small_stack(|| {
        let sum = format!("1{}", "+1".repeat(50_000));
        let expr = parsed(&sum);
        assert_eq!(expr.depth(), 50_001);
        let ExprKind::Binary(top) = &expr.kind else { panic!("{sum} is no operation") };
        assert_eq!(top.chain().0.len(), 50_000);
        exercise(&expr);
        let mixed = format!("a{}", " or a and b == c + d * e".repeat(9_000));
        exercise(&parsed(&mixed));
    });
}

#[test]
fn types_are_checked_along_long_chains() {
    on_small_stack(|| {
        let query = format!("(a{})[5m:] + 1", " + 1".repeat(50_000));
        let error = parse(&query, &ParseOptions::default()).unwrap_err();
        assert_eq!(error.message, "binary expression must contain only scalar and instant vector types");
    });
}

#[test]
fn nesting_up_to_the_limit_parses_and_walks_on_a_small_stack() {
    for (open, inner, close, per_level) in [
        ("(", "a", ")", 1),
        ("-", "a", "", 1),
        ("abs(", "a", ")", 1),
        ("sum by (b) (", "a", ")", 1),
        ("topk(scalar(", "a", "), a)", 2),
        ("a or (a and (a == (a + (a * (a ^ ", "a", ")))))", 11),
        ("2 ^ ", "2", "", 1),
        ("max_over_time(", "a", "[5m:1m])", 2),
    ] {
        on_small_stack(move || {
            let count = ParseOptions::default().depth_max / per_level - 2;
            let query = format!("{}{inner}{}", open.repeat(count), close.repeat(count));
            exercise(&parsed(&query));
        });
    }
}

#[test]
fn nesting_beyond_the_limit_is_refused() {
    for (open, close) in [
        ("(", ")"),
        ("sum(", ")"),
        ("-", ""),
        ("+", ""),
        ("1^", ""),
        ("abs(-(", "))"),
        ("a[", "]"),
        ("a or on(b) (", ")"),
    ] {
        on_small_stack(move || {
            for end in [close.repeat(20_000), String::new()] {
                let query = format!("{}a{end}", open.repeat(20_000));
                let error = parse(&query, &ParseOptions::default()).unwrap_err();
                assert!(
                    error.message == "expression is nested 1001 levels deep or more, the limit is 1000"
                        || open == "a[",
                    "{}",
                    error.message
                );
            }
        });
    }
}

#[test]
fn nesting_of_durations_and_subqueries_is_limited_too() {
    on_small_stack(|| {
        for query in [
            format!("a[{}1{}]", "(".repeat(20_000), ")".repeat(20_000)),
            format!("a[1{}]", "+1".repeat(20_000)),
            format!("a[{}1]", "-".repeat(20_000)),
            format!("a[{}1]", "min_of(1,".repeat(20_000)),
            format!("a offset {}1", "(".repeat(20_000)),
        ] {
            let error = parse(&query, &ParseOptions::default()).unwrap_err();
            let expected = "duration expression is nested 101 levels deep or more, the limit is 100";
            assert_eq!(error.message, expected, "{}", &query[..20]);
        }
        let query = format!("a{}", "[5m:]".repeat(20_000));
        let error = parse(&query, &ParseOptions::default()).unwrap_err();
        assert_eq!(error.message, "expression is nested 1001 levels deep or more, the limit is 1000");
        let duration = format!("{}1{}", "(".repeat(90), ")".repeat(90));
        let count = ParseOptions::default().depth_max - 2;
        exercise(&parsed(&format!("{}a[{duration}]{}", "(".repeat(count), ")".repeat(count))));
    });
}

#[test]
fn long_queries_are_refused_with_the_limit() {
    let options = ParseOptions { query_bytes_max: 10, ..ParseOptions::default() };
    assert_eq!(
        parse("aaaaaaaaaaa", &options).unwrap_err().message,
        "query is 11 bytes long, the limit is 10"
    );
    assert!(parse("aaaaaaaaaa", &options).is_ok());
    let options = ParseOptions { regex_bytes_max: 1_000, ..ParseOptions::default() };
    assert!(parse("a{b=~'c.*|d.+'}", &ParseOptions::default()).is_ok());
    let message = parse("a{b=~'c.*|d.+'}", &options).unwrap_err().message;
    assert!(
        message.starts_with("regular expressions take ") && message.ends_with(", the limit is 1000"),
        "{message}"
    );
    let options = ParseOptions { token_count_max: 3, ..ParseOptions::default() };
    assert!(parse("a + b", &options).is_ok());
    assert_eq!(
        parse("a + b + c", &options).unwrap_err().message,
        "query has 4 tokens or more, the limit is 3"
    );
}

//! What is no query, with Prometheus' words and places.

use mytsdb_promql::parse::ast::Span;
use mytsdb_promql::{ParseError, ParseOptions, parse};

fn error(query: &str) -> ParseError {
    match parse(query, &ParseOptions::default()) {
        Ok(expr) => panic!("{query} parses as {expr}"),
        Err(error) => error,
    }
}

/// `(query, first byte of the error, message)`
fn check(cases: &[(&str, u32, &str)]) {
    for (query, start, message) in cases {
        let error = error(query);
        assert_eq!((error.message.as_str(), error.span.start), (*message, *start), "{query}");
        assert!(
            error.span.start <= error.span.end && error.span.end as usize <= query.len(),
            "{query}: {:?}",
            error.span
        );
    }
}

#[test]
fn errors_display_line_and_column_as_prometheus_does() {
    assert_eq!(
        error("sum(\n  foo bar)").to_string(),
        "2:7: parse error: unexpected identifier \"bar\" in aggregation"
    );
    assert_eq!(error("").to_string(), "1:1: parse error: no expression found in input");
    assert_eq!(error("rate(foo)").span, Span { start: 5, end: 8 });
}

#[test]
fn tokens_that_cannot_be_are_named() {
    check(&[
        ("# nothing", 0, "no expression found in input"),
        (".", 0, "unexpected character: '.'"),
        ("1.2.3", 0, "bad number or duration syntax: \"1.2.\""),
        ("10..2", 0, "bad number or duration syntax: \"10..\""),
        ("0dead", 0, "bad number or duration syntax: \"0de\""),
        ("1x", 0, "bad number or duration syntax: \"1\""),
        ("foo[7mm]", 4, "bad number or duration syntax: \"7mm\""),
        ("foo[7m2]", 4, "bad number or duration syntax: \"7m2\""),
        ("foo[7m:2m3]", 7, "bad number or duration syntax: \"2m3\""),
        ("foo[7d2hs]", 4, "unknown unit \"hs\" in duration \"7d2hs\""),
        ("foo[7m2h]", 4, "not a valid duration string: \"7m2h\""),
        ("foo[300y]", 4, "duration out of range"),
        ("a !~ b", 2, "unexpected character after '!': '~'"),
        ("a =~ b", 2, "unexpected character after '=': '~'"),
        ("a ! b", 2, "unexpected character after '!': ' '"),
        ("(a))", 4, "unexpected right parenthesis ')'"),
        ("((a)", 4, "unclosed left parenthesis"),
        ("sum(", 4, "unclosed left parenthesis"),
        ("a[5m", 4, "unclosed left bracket"),
        ("a[", 2, "unexpected end of input in duration expression"),
        ("a]", 1, "unexpected right bracket ']'"),
        ("a[5m[", 4, "unexpected left bracket '['"),
        ("a[5m x]", 5, "unexpected character: 'x', expected ':'"),
        ("a[5m:2m:]", 7, "unexpected colon ':'"),
        ("a[\"5m\"]", 2, "unexpected character in duration expression: '\"'"),
        ("a{", 2, "unexpected end of input inside braces"),
        ("a}", 1, "unexpected character: '}'"),
        ("a{{", 2, "unexpected left brace '{'"),
        ("a{b:c=\"d\"}", 3, "unexpected character inside braces: ':'"),
        ("a{b>=\"d\"}", 3, "unexpected character inside braces: '>'"),
        ("a{b!\"d\"}", 3, "unexpected character after '!' inside braces: '\"'"),
        ("a{1}", 2, "unexpected character inside braces: '1'"),
        ("\"abc", 0, "unterminated quoted string"),
        ("\"abc\n\"", 0, "unterminated quoted string"),
        ("`abc", 0, "unterminated raw string"),
        ("\"\\", 0, "escape sequence not terminated"),
        ("\"\\q\"", 0, "unknown escape sequence U+0071 'q'"),
        ("\"\\'\"", 0, "unknown escape sequence U+0027 '''"),
        ("\"\\xg0\"", 0, "illegal character U+0067 'g' in escape sequence"),
        ("\"\\ud800\"", 0, "escape sequence is an invalid Unicode code point"),
        ("\"\\400\"", 0, "escape sequence is an invalid Unicode code point"),
        ("a $ b", 2, "unexpected character: '$'"),
        ("é", 0, "unexpected character: 'é'"),
    ]);
}

#[test]
fn tokens_that_cannot_follow_are_named_with_their_context() {
    check(&[
        ("1+", 2, "unexpected end of input"),
        ("1 /", 3, "unexpected end of input"),
        ("*1", 0, "unexpected <op:*>"),
        ("@@", 0, "unexpected <op:@>"),
        ("-=", 1, "unexpected \"=\""),
        ("+-+<", 3, "unexpected <op:<>"),
        ("a b", 2, "unexpected identifier \"b\""),
        ("a b:c", 2, "unexpected metric identifier \"b:c\""),
        ("a 1", 2, "unexpected number \"1\""),
        ("a 5m", 2, "unexpected duration \"5m\""),
        ("a \"bcd\"", 2, "unexpected string \"\\\"bcd\\\"\""),
        ("a \"bcdefghijkl\"", 2, "unexpected string \"\\\"bcdefghij\"..."),
        ("a sum", 2, "unexpected <aggr:sum>"),
        ("a - on(b) ignoring(c) d", 10, "unexpected <ignoring>"),
        ("a + group_left(b) c", 4, "unexpected <group_left>"),
        ("sum(a) without (b) by (c)", 19, "unexpected <by>"),
        ("sum without (b) (a) by (c)", 20, "unexpected <by>"),
        ("sum a by (b)", 4, "unexpected identifier \"a\""),
        ("sum (a) by b", 11, "unexpected identifier \"b\" in grouping opts, expected \"(\""),
        ("sum by (==)(a)", 8, "unexpected <op:==> in grouping opts, expected label"),
        ("sum by (,)(a)", 8, "unexpected \",\" in grouping opts, expected label"),
        ("sum by (b,,)(a)", 10, "unexpected \",\" in grouping opts, expected label"),
        ("sum by (b c)(a)", 10, "unexpected identifier \"c\" in grouping opts, expected \",\" or \")\""),
        ("sum by (\"\")(a)", 8, "invalid label name for grouping: \"\""),
        ("sum(a b)", 6, "unexpected identifier \"b\" in aggregation"),
        ("a{b=c}", 4, "unexpected identifier \"c\" in label matching, expected string"),
        ("a{b==\"c\"}", 4, "unexpected \"=\" in label matching, expected string"),
        ("a{b}", 3, "unexpected \"}\" in label matching, expected label matching operator"),
        ("a{,}", 2, "unexpected \",\" in label matching, expected identifier or \"}\""),
        ("a{b=\"c\" d}", 8, "unexpected identifier \"d\" in label matching, expected \",\" or \"}\""),
        ("a{\"b\"=}", 6, "unexpected \"}\" in label matching, expected string"),
        (
            "a[]",
            2,
            "unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        (
            "a[step]",
            6,
            "unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("a[5m 6m]", 5, "unexpected duration \"6m\" in subquery or range, expected \":\" or \"]\""),
        ("a[5m:1m 2m]", 8, "unexpected duration \"2m\" in subquery selector, expected \"]\""),
        ("a offset", 8, "unexpected end of input in offset, expected number, duration, step(), or range()"),
        (
            "a offset b",
            9,
            "unexpected identifier \"b\" in offset, expected number, duration, step(), or range()",
        ),
        ("a @", 3, "unexpected end of input in @, expected timestamp"),
        ("a @ start", 9, "unexpected end of input in @, expected timestamp"),
        ("topk(a,)", 6, "trailing commas not allowed in function call args"),
        ("abs(a,,b)", 5, "trailing commas not allowed in function call args"),
    ]);
}

#[test]
fn modifiers_in_the_wrong_place_are_refused() {
    check(&[
        (
            "1 offset 1d",
            0,
            "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        (
            "rate(a[5m]) @ 1",
            0,
            "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("a offset 1s offset 2s", 0, "offset may not be set multiple times"),
        ("a @ 1 @ 2", 0, "@ <timestamp> may not be set multiple times"),
        ("a offset 1m[5m]", 11, "no offset modifiers allowed before range"),
        ("a offset step()[5m]", 15, "no offset modifiers allowed before range"),
        ("a @ 1 [5m]", 6, "no @ modifiers allowed before range"),
        ("(a + b)[5m]", 7, "ranges only allowed for vector selectors"),
        ("1[5m]", 1, "ranges only allowed for vector selectors"),
        ("a anchored smoothed", 0, "anchored and smoothed modifiers cannot be used together"),
        ("a[5m:] smoothed", 0, "smoothed modifier is not supported for subqueries"),
        ("1 anchored", 0, "anchored modifier not implemented"),
    ]);
}

#[test]
fn numbers_out_of_range_are_errors_and_never_panics() {
    check(&[
        ("1e400", 0, "error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range"),
        ("a[1e400]", 2, "error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range"),
        ("a[1e20]", 2, "duration out of range"),
        ("a[9.5e10]", 2, "duration out of range"),
        ("a offset 9.5e10", 9, "duration out of range"),
        ("a offset NaN", 9, "duration out of range"),
        ("a offset -Inf", 10, "duration out of range"),
        ("a @ Inf", 0, "timestamp out of bounds for @ modifier: +Inf"),
        ("a @ -Inf", 0, "timestamp out of bounds for @ modifier: -Inf"),
        ("a @ NaN", 0, "timestamp out of bounds for @ modifier: NaN"),
        ("a @ 1e30", 0, "timestamp out of bounds for @ modifier: 1000000000000000019884624838656.000000"),
        ("a[0]", 2, "duration must be greater than 0"),
        ("a[0m]", 2, "duration must be greater than 0"),
        ("a[-1]", 2, "duration must be greater than 0"),
        ("a[5m:0]", 5, "duration must be greater than 0"),
        ("a[0.0001]", 2, "duration must be greater than 0"),
        ("a[step()/0d]", 8, "division by zero"),
        ("a offset (4d % 0)", 13, "modulo by zero"),
    ]);
}

#[test]
fn operations_on_wrong_types_are_refused() {
    check(&[
        ("1 and 1", 0, "set operator \"and\" not allowed in binary scalar expression"),
        ("a or 1", 0, "set operator \"or\" not allowed in binary scalar expression"),
        ("1 unless a", 0, "set operator \"unless\" not allowed in binary scalar expression"),
        ("1 == 1", 2, "comparisons between scalars must use BOOL modifier"),
        ("a + (1 < 2)", 7, "comparisons between scalars must use BOOL modifier"),
        ("a + bool b", 2, "bool modifier can only be used on comparison operators"),
        ("a and bool 10", 2, "bool modifier can only be used on comparison operators"),
        ("1 or on(b) a", 0, "vector matching only allowed between instant vectors"),
        ("a == on(b) 10", 0, "vector matching only allowed between instant vectors"),
        ("a + fill(0) 1", 0, "filling in missing series only allowed between instant vectors"),
        ("a and fill(0) b", 0, "filling in missing series not allowed for set operators"),
        ("a and on(b) group_left(c) d", 0, "no grouping allowed for \"and\" operation"),
        ("a + on(b) group_left(c, b) d", 2, "label \"b\" must not occur in ON and GROUP clause at once"),
        ("a[5m] + 1", 0, "binary expression must contain only scalar and instant vector types"),
        ("1 + \"a\"", 4, "binary expression must contain only scalar and instant vector types"),
        (
            "-\"a\"",
            0,
            "unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "+a[5m]",
            0,
            "unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
        ),
        ("a[5m] offset 1m [10m:5s]", 0, "subquery is only allowed on instant vector, got matrix instead"),
        ("1[10m:5s]", 0, "subquery is only allowed on instant vector, got scalar instead"),
    ]);
}

#[test]
fn calls_with_wrong_arguments_are_refused() {
    check(&[
        ("foo()", 0, "unknown function with name \"foo\""),
        ("1 + foo(a[5m])", 4, "unknown function with name \"foo\""),
        ("ABS(a)", 0, "unknown function with name \"ABS\""),
        ("floor()", 0, "expected 1 argument(s) in call to \"floor\", got 0"),
        ("floor(a, b)", 0, "expected 1 argument(s) in call to \"floor\", got 2"),
        ("time(a)", 0, "expected 0 argument(s) in call to \"time\", got 1"),
        ("hour(a, b)", 0, "expected at most 1 argument(s) in call to \"hour\", got 2"),
        ("label_join(a, \"b\")", 0, "expected at least 3 argument(s) in call to \"label_join\", got 2"),
        ("floor(1)", 6, "expected type instant vector in call to function \"floor\", got scalar"),
        ("rate(a)", 5, "expected type range vector in call to function \"rate\", got instant vector"),
        ("exp(NaN)", 4, "expected type instant vector in call to function \"exp\", got scalar"),
        (
            "label_join(a, \"b\", \"c\", 1)",
            24,
            "expected type string in call to function \"label_join\", got scalar",
        ),
        ("info(a, b{c=\"d\"})", 8, "expected label selectors only, got vector selector instead"),
        ("info(a, {b=\"c\"} == 1)", 8, "expected label selectors only"),
        ("info(a, 1)", 0, "expected type instant vector in call to function \"info\", got scalar"),
        ("sum()", 0, "no arguments for aggregate expression provided"),
        ("sum () by (b)", 0, "no arguments for aggregate expression provided"),
        ("topk(a)", 0, "wrong number of arguments for aggregate expression provided, expected 2, got 1"),
        ("sum(a, b)", 0, "wrong number of arguments for aggregate expression provided, expected 1, got 2"),
        ("topk(a, b)", 5, "expected type scalar in aggregation parameter, got instant vector"),
        ("limitk(a, b)", 7, "expected type scalar in aggregation parameter, got instant vector"),
        ("limit_ratio(\"x\", b)", 12, "expected type scalar in aggregation parameter, got string"),
        ("count_values(5, a)", 13, "expected type string in aggregation parameter, got scalar"),
        ("sum(a[5m])", 4, "expected type instant vector in aggregation expression, got range vector"),
    ]);
}

#[test]
fn selectors_must_select_something() {
    const EMPTY: &str = "vector selector must contain at least one non-empty matcher";
    check(&[
        ("{}", 0, EMPTY),
        ("{a=\"\"}", 0, EMPTY),
        ("{a=~\".*\"}", 0, EMPTY),
        ("{a!~\".+\"}", 0, EMPTY),
        ("{a!=\"b\"}", 0, EMPTY),
        ("sum(rate({a=\"\"}[5m]))", 9, EMPTY),
        ("foo{__name__=\"bar\"}", 0, "metric name must not be set twice: \"foo\" or \"bar\""),
        ("foo{\"bar\"}", 0, "metric name must not be set twice: \"foo\" or \"bar\""),
        ("a{b=\"\\xff\"}", 4, "invalid UTF-8 in label matching: \"\\xff\""),
    ]);
    assert!(error("a{b=~\"(\"}").message.starts_with("error parsing regexp"));
}

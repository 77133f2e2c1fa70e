//! Trees print in Prometheus' canonical form and come back as they were.

use proptest::prelude::*;

use super::generate::{Language, is_well_typed, queries};
use super::{assert_prints_to_itself, many_cases, parsed};

#[test]
fn queries_print_in_canonical_form() {
    for (query, printed) in [
        ("1+2 *3", "1 + 2 * 3"),
        ("-1 ^2", "-1 ^ 2"),
        ("- - 1", "1"),
        ("+Inf", "+Inf"),
        ("Inf ^ 2", "Inf ^ 2"),
        ("nan", "NaN"),
        ("1e3", "1000"),
        ("0x1F", "31"),
        ("1_000.5", "1000.5"),
        ("1e-7", "0.0000001"),
        ("90m", "1h30m"),
        ("-5m", "-5m"),
        ("'a\\'b\\xff'", "\"a'b\\xff\""),
        ("`a\\b\"`", "\"a\\\\b\\\"\""),
        ("(  a)", "(a)"),
        ("-a", "-a"),
        ("+a", "+a"),
        ("a{}", "a"),
        ("a{c=\"d\",b=~'e',}", "a{b=~\"e\",c=\"d\"}"),
        ("{\"a.b\", \"c.d\"!='e'}", "{\"c.d\"!=\"e\",__name__=\"a.b\"}"),
        ("{__name__=\"a\"}", "{__name__=\"a\"}"),
        ("a  offset  -60s @ 1.5", "a @ 1.500 offset -1m"),
        ("a @ -1", "a @ -1.000"),
        ("a @ start()", "a @ start()"),
        ("a offset 0", "a"),
        ("a[300]", "a[5m]"),
        ("a[5m] anchored @ end() offset 1h", "a[5m] anchored @ end() offset 1h"),
        ("a smoothed offset 1m", "a smoothed offset 1m"),
        ("a[5m+1m] offset -(step()*2)", "a[5m + 1m] offset -(step() * 2)"),
        ("a[MIN_OF(range(),1)]", "a[min_of(range(), 1)]"),
        ("a[1h:]", "a[1h:]"),
        ("a[60m:60] @ 0 offset 1s", "a[1h:1m] @ 0.000 offset 1s"),
        ("SUM(a)BY(b,\"c.d\")", "sum by (b, \"c.d\") (a)"),
        ("sum by () (a)", "sum(a)"),
        ("sum(a) without()", "sum without () (a)"),
        ("count_values('x',a)", "count_values(\"x\", a)"),
        ("topk by(b)(3,a)", "topk by (b) (3, a)"),
        ("a==bool 1", "a == bool 1"),
        ("a+on(b)group_left c", "a + on (b) group_left () c"),
        ("a * ignoring(b) group_right(c,d) e", "a * ignoring (b) group_right (c, d) e"),
        ("a and on() b", "a and on () b"),
        ("a or ignoring() b", "a or b"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("a - on(b) fill_right(-1.5) fill_left(2) c", "a - on (b) fill_left (2) fill_right (-1.5) c"),
        ("a</ 5", "a </ 5"),
        ("round(a,5)", "round(a, 5)"),
        ("time( )", "time()"),
        ("start() + START", "start() + START"),
    ] {
        assert_eq!(parsed(query).to_string(), printed, "{query}");
        assert_prints_to_itself(query);
    }
}

proptest! {
    #![proptest_config(many_cases())]

    #[test]
    fn random_queries_parse_and_print_to_themselves(query in queries(Language::Full)) {
        if is_well_typed(&query) {
            assert_prints_to_itself(&query);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(query in "[-a-c0-9{}()\\[\\]:,.@^*/<>=!~\"'`\\\\ \n#+mse_Ié]{0,40}") {
        let _either = mytsdb_promql::parse(&query, &mytsdb_promql::ParseOptions::default());
    }
}

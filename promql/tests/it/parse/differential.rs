//! Another parser reads the same trees, where both accept a query.

use std::time::{SystemTime, UNIX_EPOCH};

use mytsdb_promql::parse::ast::{
    At, Cardinality, Duration, Expr, ExprKind, Grouping, VectorMatching, VectorSelector,
};
use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser as other;
use proptest::prelude::*;

use super::corpus::expressions;
use super::generate::{Language, is_well_typed, queries};
use super::{many_cases, parsed};

fn our_selector(selector: &VectorSelector) -> String {
    let matchers: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| matcher.name() != "__name__" || selector.name.as_deref() != Some(matcher.value()))
        .map(|matcher| format!("{}{}{}", matcher.name(), matcher.op().as_str(), matcher.value()))
        .collect();
    format!("{}{matchers:?}{}{}", our_name(selector), our_offset(&selector.offset), our_at(selector.at))
}

fn our_name(selector: &VectorSelector) -> &str {
    selector.name.as_deref().unwrap_or_default()
}

fn our_duration(duration: &Duration) -> i64 {
    match duration {
        Duration::Literal(duration_ms) => *duration_ms,
        Duration::Expression(expr) => panic!("the other parser does not know {expr}"),
    }
}

fn our_offset(offset: &Duration) -> String {
    format!(" offset {}", our_duration(offset))
}

fn our_at(at: Option<At>) -> String {
    match at {
        None => String::new(),
        Some(At::Time(time_ms)) => format!(" @ {time_ms}"),
        Some(At::Start) => " @ start".to_owned(),
        Some(At::End) => " @ end".to_owned(),
    }
}

fn our_matching(matching: &VectorMatching) -> String {
    let (cardinality, include) = match matching.cardinality {
        Cardinality::OneToOne | Cardinality::ManyToMany => ("", &Vec::new()),
        Cardinality::ManyToOne => ("left", &matching.include),
        Cardinality::OneToMany => ("right", &matching.include),
    };
    let word = if matching.is_on { "on" } else { "" };
    format!(
        "{word} {:?} {cardinality}{include:?} {:?} {:?}",
        matching.labels, matching.fill_left, matching.fill_right
    )
}

/// A neutral form of our tree.
fn our_tree(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Number { value, .. } => format!("{value}"),
        ExprKind::String(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        ExprKind::VectorSelector(selector) => our_selector(selector),
        ExprKind::MatrixSelector { selector, range, .. } => {
            format!("range({} {})", our_selector(selector), our_duration(range))
        }
        ExprKind::Subquery { expr, range, step, offset, at } => format!(
            "subquery({} {} {:?}{}{})",
            our_tree(expr),
            our_duration(range),
            step.as_ref().map(our_duration),
            our_offset(offset),
            our_at(*at)
        ),
        ExprKind::Aggregate(aggregate) => {
            let grouping = match &aggregate.grouping {
                Grouping::By(labels) if labels.is_empty() => String::new(),
                Grouping::By(labels) => format!("by {labels:?}"),
                Grouping::Without(labels) => format!("without {labels:?}"),
            };
            let param = aggregate.param.as_ref().map(our_tree);
            format!("{}({grouping} {param:?} {})", aggregate.op.as_str(), our_tree(&aggregate.expr))
        }
        ExprKind::Binary(binary) => format!(
            "({} {}{}[{}] {})",
            our_tree(&binary.lhs),
            binary.op.as_str(),
            if binary.return_bool { " bool" } else { "" },
            our_matching(&binary.matching),
            our_tree(&binary.rhs)
        ),
        // The other parser forgets plus signs.
        ExprKind::Unary { is_minus: false, expr } => our_tree(expr),
        ExprKind::Unary { expr, .. } => format!("-{}", our_tree(expr)),
        ExprKind::Call { function, args } => {
            format!("{function}{:?}", args.iter().map(our_tree).collect::<Vec<_>>())
        }
        ExprKind::Paren(inner) => format!("paren({})", our_tree(inner)),
    }
}

fn their_offset(offset: Option<&other::Offset>) -> String {
    let offset_ms = match offset {
        None => 0,
        Some(other::Offset::Pos(duration)) => duration.as_millis() as i64,
        Some(other::Offset::Neg(duration)) => -(duration.as_millis() as i64),
    };
    format!(" offset {offset_ms}")
}

fn their_time(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(duration) => duration.as_millis() as i128,
        Err(error) => -(error.duration().as_millis() as i128),
    }
}

fn their_at(at: Option<&other::AtModifier>) -> String {
    match at {
        None => String::new(),
        Some(other::AtModifier::Start) => " @ start".to_owned(),
        Some(other::AtModifier::End) => " @ end".to_owned(),
        Some(other::AtModifier::At(time)) => format!(" @ {}", their_time(*time)),
    }
}

fn their_matchers(matchers: &Matchers) -> Vec<String> {
    let show = |matcher: &promql_parser::label::Matcher| {
        let op = match matcher.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Re(_) => "=~",
            MatchOp::NotRe(_) => "!~",
        };
        format!("{}{op}{}", matcher.name, matcher.value)
    };
    matchers.matchers.iter().map(show).collect()
}

fn their_selector(selector: &other::VectorSelector) -> String {
    let name = selector.name.clone().unwrap_or_default();
    let matchers = their_matchers(&selector.matchers);
    format!("{name}{matchers:?}{}{}", their_offset(selector.offset.as_ref()), their_at(selector.at.as_ref()))
}

fn their_matching(modifier: Option<&other::BinModifier>, is_vector: bool) -> String {
    // Ours has dropped it where a scalar takes part.
    let modifier = modifier.filter(|_| is_vector);
    let (cardinality, include) = match modifier.map(|modifier| &modifier.card) {
        Some(other::VectorMatchCardinality::ManyToOne(labels)) => ("left", labels.labels.clone()),
        Some(other::VectorMatchCardinality::OneToMany(labels)) => ("right", labels.labels.clone()),
        _ => ("", Vec::new()),
    };
    let (word, labels) = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        Some(other::LabelModifier::Include(labels)) => ("on", labels.labels.clone()),
        Some(other::LabelModifier::Exclude(labels)) => ("", labels.labels.clone()),
        None => ("", Vec::new()),
    };
    let fill = modifier.map(|modifier| modifier.fill_values.clone()).unwrap_or_default();
    format!("{word} {labels:?} {cardinality}{include:?} {:?} {:?}", fill.lhs, fill.rhs)
}

/// The same form of the other parser's tree.
fn their_tree(expr: &other::Expr) -> String {
    match expr {
        other::Expr::NumberLiteral(number) => format!("{}", number.val),
        other::Expr::StringLiteral(string) => format!("{:?}", string.val),
        other::Expr::VectorSelector(selector) => their_selector(selector),
        other::Expr::MatrixSelector(matrix) => {
            format!("range({} {})", their_selector(&matrix.vs), matrix.range.as_millis())
        }
        other::Expr::Subquery(subquery) => format!(
            "subquery({} {} {:?}{}{})",
            their_tree(&subquery.expr),
            subquery.range.as_millis(),
            subquery.step.map(|step| step.as_millis()),
            their_offset(subquery.offset.as_ref()),
            their_at(subquery.at.as_ref())
        ),
        other::Expr::Aggregate(aggregate) => {
            let grouping = match &aggregate.modifier {
                None => String::new(),
                Some(other::LabelModifier::Include(labels)) if labels.labels.is_empty() => String::new(),
                Some(other::LabelModifier::Include(labels)) => format!("by {:?}", labels.labels),
                Some(other::LabelModifier::Exclude(labels)) => format!("without {:?}", labels.labels),
            };
            let param = aggregate.param.as_ref().map(|param| their_tree(param));
            format!("{}({grouping} {param:?} {})", aggregate.op, their_tree(&aggregate.expr))
        }
        other::Expr::Binary(binary) => {
            let is_vector = [&binary.lhs, &binary.rhs]
                .iter()
                .all(|side| side.value_type() == other::value::ValueType::Vector);
            let modifier = binary.modifier.as_ref();
            let is_bool = modifier.is_some_and(|modifier| modifier.return_bool);
            format!(
                "({} {}{}[{}] {})",
                their_tree(&binary.lhs),
                binary.op,
                if is_bool { " bool" } else { "" },
                their_matching(modifier, is_vector),
                their_tree(&binary.rhs)
            )
        }
        other::Expr::Unary(unary) => format!("-{}", their_tree(&unary.expr)),
        other::Expr::Call(call) => {
            let args: Vec<String> = call.args.args.iter().map(|arg| their_tree(arg)).collect();
            format!("{}{args:?}", call.func.name)
        }
        other::Expr::Paren(paren) => format!("paren({})", their_tree(&paren.expr)),
        other::Expr::Extension(_) => "extension".to_owned(),
    }
}

proptest! {
    #![proptest_config(many_cases())]

    #[test]
    fn both_parsers_read_the_same_trees(query in queries(Language::Common)) {
        if is_well_typed(&query) {
            let theirs = other::parse(&query);
            prop_assert!(theirs.is_ok(), "{query}: {theirs:?}");
            let theirs = theirs.unwrap();
            prop_assert_eq!(our_tree(&parsed(&query)), their_tree(&theirs), "{}", query);
        }
    }
}

#[test]
fn both_parsers_read_the_same_trees_in_the_corpus() {
    let expressions = expressions();
    let mut compared = 0;
    // The other parser reads `\xc5` as a character, not as a byte.
    for query in expressions.iter().filter(|query| !query.contains("\\x")) {
        let Ok(theirs) = other::parse(query) else { continue };
        assert_eq!(our_tree(&parsed(query)), their_tree(&theirs), "{query}");
        compared += 1;
    }
    // What the other parser refuses: extended ranges, trim operators, duration expressions.
    assert!(compared * 100 >= expressions.len() * 86, "{compared} of {}", expressions.len());
}

/// Queries that only one of the parsers accepts, with the reason. Where the other parser differs, Prometheus 3.14 is
/// on our side: each line is in its grammar, its checks or its parse_test.go.
#[test]
fn queries_that_one_parser_refuses_are_known() {
    let accepted_by_us = [
        ("foo[5m+1m]", "duration expressions"),
        ("foo offset -(step() * 2)", "duration expressions"),
        ("foo[min_of(5m, range())]", "duration expressions"),
        ("rate(foo[5m] anchored)", "anchored"),
        ("rate(foo[5m] smoothed)", "smoothed"),
        ("anchored + smoothed", "new keywords are still names"),
        ("foo </ 5", "trim operators"),
        ("foo >/ 5", "trim operators"),
        ("1_000", "underscores in numbers"),
        ("foo offset 0s", "an offset of nothing"),
        ("foo + fill(1m) bar", "numbers written as durations"),
        ("foo{or =\"x\"}", "keywords as label names"),
        ("foo{a=~\"\\\\Qa.b\\\\E\"}", "regular expressions as Go reads them"),
        ("foo{a=~\"[[]\"}", "regular expressions as Go reads them"),
    ];
    let accepted_by_them = [
        ("foo[0]", "a range must be above zero"),
        ("foo[5m:0]", "a step must be above zero"),
        ("limitk(foo, foo)", "the types of parameters"),
        ("limit_ratio(\"x\", foo)", "the types of parameters"),
        ("foo and fill(0) bar", "fill with set operators"),
        ("foo + fill(0) 1", "fill with numbers"),
        ("exp(NaN)", "a number for a vector"),
        ("+\"a\"", "a sign before a text"),
        ("+foo[5m]", "a sign before a range"),
        ("foo{a=\"b\" or c=\"d\"}", "an extension of MetricsQL"),
        ("foo @ 1e30", "a time beyond 64 bits"),
        ("foo{a=~\"x**\"}", "regular expressions as Go reads them"),
        ("foo offset 9.5e10", "a duration out of range"),
        ("foo[9.5e10]", "a duration out of range"),
        ("foo{a=\"\\xff\"}", "a value that is no text"),
    ];
    let ours = |query: &str| mytsdb_promql::parse(query, &mytsdb_promql::ParseOptions::default());
    for (query, reason) in accepted_by_us {
        assert!(ours(query).is_ok(), "{query} ({reason}): {:?}", ours(query));
        assert!(other::parse(query).is_err(), "{query}: the other parser knows {reason} by now");
    }
    for (query, reason) in accepted_by_them {
        assert!(ours(query).is_err(), "{query} ({reason}) is accepted");
        assert!(other::parse(query).is_ok(), "{query}: the other parser knows {reason} by now");
    }
}

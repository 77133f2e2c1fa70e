//! Random queries whose syntax is right by construction, and whose types mostly are: operands can come to belong to
//! another operator than the one they were written for.

use mytsdb_promql::{ParseOptions, parse};
use proptest::prelude::*;

/// Whether the types of a generated query are right.
///
/// # Panics
/// If its syntax is not.
pub(super) fn is_well_typed(query: &str) -> bool {
    let Err(error) = parse(query, &ParseOptions::default()) else { return true };
    let is_about_types = [
        "comparisons between scalars",
        "bool modifier can only",
        "set operator",
        "vector matching only",
        "filling in missing series",
        "expected type",
    ]
    .iter()
    .any(|start| error.message.starts_with(start));
    // `2m / 0`, written by chance.
    let is_about_zero = matches!(
        error.message.as_str(),
        "division by zero" | "modulo by zero" | "duration must be greater than 0"
    );
    assert!(is_about_types || is_about_zero, "{query}: {error}");
    false
}

/// What the queries may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// All of PromQL.
    Full,
    /// What the other parser knows and keeps in its tree.
    Common,
}

/// Queries whose choices are drawn from random numbers, so that they shrink.
pub(super) fn queries(language: Language) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<u16>(), 1..120).prop_map(move |choices| {
        let mut writer = Writer { choices: choices.into_iter(), language, out: String::new() };
        match writer.choose(4) {
            0 => writer.scalar(5),
            1 => writer.matrix(5),
            _ => writer.vector(6),
        }
        writer.out
    })
}

struct Writer {
    choices: std::vec::IntoIter<u16>,
    language: Language,
    out: String,
}

impl Writer {
    /// A number below `count`; 0 when the random numbers are used up, so that every choice 0 must end soon.
    fn choose(&mut self, count: usize) -> usize {
        self.choices.next().map_or(0, usize::from) % count
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.choose(texts.len())]
    }

    fn put_one_of(&mut self, texts: &[&str]) {
        let text = self.pick(texts);
        self.out.push_str(text);
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn is_full(&self) -> bool {
        self.language == Language::Full
    }

    fn space(&mut self) {
        if self.is_full() {
            self.put_one_of(&[" ", "  ", "\n", "\t", " # why\n"]);
        } else {
            self.put(" ");
        }
    }

    fn vector(&mut self, depth: usize) {
        if depth == 0 {
            return self.selector();
        }
        match self.choose(11) {
            0 => self.selector(),
            1 => {
                self.call(&["abs", "sgn", "sort", "timestamp", "hour", "histogram_avg"], depth, Self::vector)
            }
            2 => self.call(&["rate", "increase", "changes", "sum_over_time"], depth, Self::matrix),
            3 | 4 => self.aggregate(depth),
            5 => self.operation(depth),
            6 => {
                self.vector(depth - 1);
                self.scalar_operator(true);
                self.scalar(depth - 1);
            }
            7 => {
                self.scalar(depth - 1);
                self.scalar_operator(true);
                self.vector(depth - 1);
            }
            8 => {
                self.put_one_of(if self.is_full() { &["-", "+", "- "] } else { &["-"] });
                self.put("(");
                self.vector(depth - 1);
                self.put(")");
            }
            9 => {
                self.put("(");
                self.vector(depth - 1);
                self.put(")");
            }
            _ => {
                self.put("label_join(");
                self.vector(depth - 1);
                self.put(", \"a\", ");
                self.string();
                self.put(", 'b')");
            }
        }
    }

    fn call(&mut self, names: &[&str], depth: usize, arg: fn(&mut Self, usize)) {
        self.put_one_of(names);
        self.put("(");
        arg(self, depth - 1);
        self.put(")");
    }

    fn aggregate(&mut self, depth: usize) {
        let op = self.pick(&["sum", "MAX", "count", "group", "topk", "quantile", "count_values", "limitk"]);
        self.put(op);
        let place = self.choose(3);
        if place == 1 {
            self.grouping();
        }
        self.put("(");
        match op {
            "count_values" => {
                self.put("\"x\", ");
            }
            "topk" | "quantile" | "limitk" => {
                self.scalar(depth - 1);
                self.put(", ");
            }
            _ => {}
        }
        self.vector(depth - 1);
        self.put(")");
        if place == 2 {
            self.grouping();
        }
    }

    fn grouping(&mut self) {
        self.put_one_of(&[" by ", " without ", " BY"]);
        self.labels();
        self.put(" ");
    }

    fn labels(&mut self) {
        self.put("(");
        for index in 0..self.choose(3) {
            if index > 0 {
                self.put(", ");
            }
            self.put_one_of(&["job", "instance", "by", "on", "le", "sum", "offset"]);
            if self.is_full() && self.choose(6) == 5 {
                self.put_one_of(&[", \"a.b\"", ", 'inf'", ", anchored", ", nan1", ", atan2"]);
            }
        }
        self.put(")");
    }

    fn operation(&mut self, depth: usize) {
        self.vector(depth - 1);
        self.space();
        let op =
            self.pick(&["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", "and", "or", "unless"]);
        self.put(op);
        let is_set = matches!(op, "and" | "or" | "unless");
        if matches!(op, "==" | "!=" | ">" | "<") && self.choose(2) == 1 {
            self.put(" bool");
        }
        if self.choose(3) > 0 {
            self.put_one_of(&[" on ", " ignoring "]);
            self.labels();
            if !is_set && self.choose(2) == 1 {
                // Labels must not stand in both lists.
                self.put_one_of(&[" group_left(zone)", " group_right(version)", " group_left()"]);
            }
        }
        if !is_set && self.choose(4) == 1 {
            self.put_one_of(&[
                " fill(0)",
                " fill_left(-1)",
                " fill_right(2.5)",
                " fill_left(1) fill_right(2)",
            ]);
        }
        self.space();
        self.vector(depth - 1);
    }

    fn scalar_operator(&mut self, is_vector: bool) {
        if self.is_full() && is_vector {
            self.put_one_of(&[" </ ", ">/", " + ", " == bool ", " != "]);
        } else {
            self.put_one_of(&[" + ", " - ", " * ", " ^ ", " % ", " == bool ", " < bool ", " atan2 "]);
        }
    }

    fn scalar(&mut self, depth: usize) {
        if depth == 0 {
            return self.number();
        }
        match self.choose(7) {
            0 | 1 => self.number(),
            2 => {
                self.put("scalar(");
                self.vector(depth - 1);
                self.put(")");
            }
            3 => self.put_one_of(&["time()", "pi()", "step()", "max_of(1, 2)"]),
            4 => {
                self.scalar(depth - 1);
                self.scalar_operator(false);
                self.scalar(depth - 1);
            }
            5 => {
                self.put_one_of(if self.is_full() { &["-", "+", "--"] } else { &["-"] });
                self.scalar(depth - 1);
            }
            _ => {
                self.put("(");
                self.scalar(depth - 1);
                self.put(")");
            }
        }
    }

    fn number(&mut self) {
        if self.is_full() {
            self.put_one_of(&[
                "1", "0.5", "1e3", "0x1F", "1_000", "Inf", "5m", "1h30m", "1e-7", ".5", "3.", "017", "1ms",
                "1e300",
            ]);
        } else {
            self.put_one_of(&["1", "0.5", "1e3", "0x1F", "5m", "1h30m", ".5"]);
        }
    }

    fn string(&mut self) {
        if self.is_full() {
            self.put_one_of(&[
                "\"a\"",
                "'b\\'c'",
                "`raw\\n`",
                "\"\\xff\\n\\u00e9\"",
                "\"é☺\"",
                "\"\\t\\\\\"",
                "''",
            ]);
        } else {
            self.put_one_of(&["\"a\"", "'b'", "`raw`", "\"\""]);
        }
    }

    fn selector(&mut self) {
        let is_named = self.choose(5) > 0;
        if is_named {
            self.put_one_of(&["up", "http_requests_total", "job:rate:5m", "sum", "offset", "start", "by"]);
        } else if self.is_full() && self.choose(2) == 1 {
            self.put_one_of(&["fill", "anchored", "smoothed", "min_of", "step"]);
        } else {
            self.put_one_of(&[
                "{\"my.metric\"}",
                "{__name__=\"a\"}",
                "{__name__=~\"a.+\",}",
                "{a!=\"\", b=\"c\"}",
            ]);
            return self.modifiers();
        }
        if self.choose(3) > 0 {
            self.put("{");
            for index in 0..self.choose(3) {
                if index > 0 {
                    self.put(",");
                }
                self.put_one_of(&["job", "le", "by", "inf", "\"a.b\""]);
                self.put_one_of(&["=", "!="]);
                if self.is_full() {
                    self.put_one_of(&["\"x\"", "'y\\\\'", "`z`", "\"\\u2028\""]);
                } else {
                    self.put_one_of(&["\"x\"", "'y'", "`z`"]);
                }
            }
            if self.choose(4) == 3 && !self.out.ends_with('{') {
                self.put(",a=~\"b|c.*\",");
            }
            self.put("}");
        }
        self.modifiers();
    }

    fn matrix(&mut self, depth: usize) {
        if depth == 0 || self.choose(2) == 0 {
            self.put_one_of(&["up", "up{job=\"x\"}", "{a=\"b\"}"]);
            self.put("[");
            self.range();
            self.put("]");
        } else {
            self.put("(");
            self.vector(depth - 1);
            self.put(")[");
            self.range();
            self.put(":");
            if self.choose(2) == 1 {
                self.range();
            }
            self.put("]");
            return self.time_modifiers();
        }
        self.modifiers();
    }

    fn range(&mut self) {
        if !self.is_full() {
            return self.put_one_of(&["5m", "1h30m", "90s", "2w"]);
        }
        match self.choose(4) {
            0 => self.put_one_of(&["5m", "300", "1y2w3d", "0.5", "1h1ms"]),
            _ => self.duration(3),
        }
    }

    fn duration(&mut self, depth: usize) {
        if depth == 0 {
            return self.put_one_of(&["5m", "1", "step()", "RANGE ( )", "2.5"]);
        }
        match self.choose(6) {
            0 => self.put_one_of(&["(5m)", "step()", "range()", "min_of(1m,step())"]),
            1 | 2 => {
                self.duration(depth - 1);
                self.put_one_of(&[" + ", "-", " * ", "/", "%", "^"]);
                self.duration(depth - 1);
            }
            3 => {
                self.put_one_of(&["-(", "+(", "("]);
                self.duration(depth - 1);
                self.put(")");
            }
            4 => {
                self.put("max_of(");
                self.duration(depth - 1);
                self.put(", ");
                self.duration(depth - 1);
                self.put(")");
            }
            _ => {
                self.put("-step()+");
                self.duration(depth - 1);
            }
        }
    }

    fn modifiers(&mut self) {
        if self.is_full() && self.choose(6) == 5 {
            self.put_one_of(&[" anchored", " smoothed"]);
        }
        self.time_modifiers();
    }

    fn time_modifiers(&mut self) {
        let is_offset_first = self.choose(2) == 0;
        if is_offset_first {
            self.offset();
        }
        match self.choose(6) {
            1 => self.put_one_of(&[" @ 1609746000", " @ 1.5", " @ start()", "@end()"]),
            2 if self.is_full() => self.put_one_of(&[" @ -100.25", " @ 5m", " @ +1_0"]),
            _ => {}
        }
        if !is_offset_first {
            self.offset();
        }
    }

    fn offset(&mut self) {
        match self.choose(5) {
            1 => self.put_one_of(&[" offset 5m", " offset -1h", " OFFSET 90s"]),
            2 if self.is_full() => {
                self.put(" offset ");
                self.put_one_of(&[
                    "step()",
                    "-range()",
                    "+5",
                    "-(1m + 2)",
                    "min_of(1,2)",
                    "0.25",
                    "-max_of(1,2m)",
                ]);
            }
            _ => {}
        }
    }
}

//! The `eval` block: a query and what is expected of it.

use super::SeriesLine;
use super::literal::{duration_ms, metric, number, points, quoted};

/// When a query is evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum EvalKind {
    Instant { time_ms: i64 },
    Range { start_ms: i64, end_ms: i64, step_ms: i64 },
}

/// How a text is compared.
#[derive(Debug, Clone)]
pub(crate) enum TextMatch {
    Any,
    Exact(String),
    Regex(String),
}

/// The times at which an instant query's range vector has its points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeTimes {
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
}

/// An `eval` block.
#[derive(Debug, Clone)]
pub(crate) struct Eval {
    pub(crate) query: String,
    pub(crate) kind: EvalKind,
    pub(crate) is_ordered: bool,
    pub(crate) fail: Option<TextMatch>,
    pub(crate) warn: Vec<TextMatch>,
    pub(crate) info: Vec<TextMatch>,
    pub(crate) no_warn: bool,
    pub(crate) no_info: bool,
    pub(crate) range_vector: Option<RangeTimes>,
    pub(crate) string: Option<String>,
    pub(crate) scalar: Option<f64>,
    pub(crate) series: Vec<SeriesLine>,
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn expect_word<'a>(text: &'a str, expected: &str) -> Result<&'a str, String> {
    let (found, rest) = word(text);
    if found == expected { Ok(rest) } else { Err(format!("expected {expected:?} in {text:?}")) }
}

fn timed(text: &str) -> Result<(i64, &str), String> {
    let (duration, rest) = word(text);
    Ok((duration_ms(duration)?, rest))
}

/// Parses the block's first line and the lines after it.
pub(crate) fn parse(head: &str, body: &[&str]) -> Result<Eval, String> {
    let (command, rest) = word(head);
    let (mode, rest) = word(rest);
    let (kind, query) = if mode == "instant" {
        let (time_ms, query) = timed(expect_word(rest, "at")?)?;
        (EvalKind::Instant { time_ms }, query)
    } else if mode == "range" {
        let (start_ms, rest) = timed(expect_word(rest, "from")?)?;
        let (end_ms, rest) = timed(expect_word(rest, "to")?)?;
        let (step_ms, query) = timed(expect_word(rest, "step")?)?;
        (EvalKind::Range { start_ms, end_ms, step_ms }, query)
    } else {
        return Err(format!("neither instant nor range: {head}"));
    };
    let mut eval = Eval {
        query: query.to_owned(),
        kind,
        is_ordered: command == "eval_ordered",
        fail: (command == "eval_fail").then_some(TextMatch::Any),
        warn: if command == "eval_warn" { vec![TextMatch::Any] } else { vec![] },
        info: if command == "eval_info" { vec![TextMatch::Any] } else { vec![] },
        no_warn: false,
        no_info: false,
        range_vector: None,
        string: None,
        scalar: None,
        series: Vec::new(),
    };
    for line in body {
        if !eval.body_line(line)? {
            break;
        }
    }
    Ok(eval)
}

impl Eval {
    /// Reads one line; `false` if the block ends with it.
    fn body_line(&mut self, line: &str) -> Result<bool, String> {
        if let Some(text) = line.strip_prefix("expected_fail_message") {
            self.fail = Some(TextMatch::Exact(text.trim().to_owned()));
            return Ok(false);
        }
        if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            self.fail = Some(TextMatch::Regex(text.trim().to_owned()));
            return Ok(false);
        }
        if let Some(rest) = line.strip_prefix("expect range vector ") {
            let (start_ms, rest) = timed(expect_word(rest, "from")?)?;
            let (end_ms, rest) = timed(expect_word(rest, "to")?)?;
            let (step_ms, _) = timed(expect_word(rest, "step")?)?;
            self.range_vector = Some(RangeTimes { start_ms, step_ms });
            self.kind = EvalKind::Instant { time_ms: end_ms };
            return Ok(true);
        }
        if let Some(text) = line.strip_prefix("expect string ") {
            self.string = Some(quoted(text.trim())?.0);
            return Ok(true);
        }
        let (first, rest) = word(line);
        if first == "expect" {
            self.expectation(rest)?;
            return Ok(true);
        }
        if let Ok(value) = number(line) {
            self.scalar = Some(value);
            return Ok(false);
        }
        let (labels, rest) = metric(line)?;
        self.series.push(SeriesLine { labels, points: points(rest)?, starts: Vec::new() });
        Ok(true)
    }

    fn expectation(&mut self, text: &str) -> Result<(), String> {
        let (kind, rest) = word(text);
        let text_match = match rest.split_once(':') {
            None => TextMatch::Any,
            Some(("msg", text)) => TextMatch::Exact(text.trim().to_owned()),
            Some(("regex", text)) => TextMatch::Regex(text.trim().to_owned()),
            Some((other, _)) => return Err(format!("unknown expectation {other:?}")),
        };
        match kind {
            "ordered" => self.is_ordered = true,
            "fail" => self.fail = Some(text_match),
            "warn" => self.warn.push(text_match),
            "info" => self.info.push(text_match),
            "no_warn" => self.no_warn = true,
            "no_info" => self.no_info = true,
            other => return Err(format!("unknown expectation {other:?}")),
        }
        Ok(())
    }
}

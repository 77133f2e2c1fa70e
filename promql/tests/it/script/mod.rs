//! Prometheus' test scripts (`.test`): parsed here, run by `runner`.
//!
//! Grammar: load, clear and eval blocks that end at the first empty line; a comment line counts as empty.

mod eval;
mod histogram;
mod literal;
pub(crate) mod runner;

use std::collections::BTreeMap;

use mytsdb_storage::model::LabelSet;

pub(crate) use eval::{Eval, EvalKind};
pub(crate) use histogram::HistogramPoint;

/// One point of a series line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Point {
    /// `_`
    Gap,
    /// A number, or the stale marker.
    Float(f64),
    /// `{{…}}`
    Histogram(Box<HistogramPoint>),
}

/// `metric{labels} item item …`
#[derive(Debug, Clone)]
pub(crate) struct SeriesLine {
    pub(crate) labels: LabelSet,
    pub(crate) points: Vec<Point>,
    /// Start time of each point relative to its time, or nothing; shorter than `points` if the rest has none.
    pub(crate) starts: Vec<Option<i64>>,
}

/// A block of a script with the number of its first line.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Adds series; origin is time zero.
    Load { step_ms: i64, with_nhcb: bool, series: Vec<SeriesLine> },
    /// Forgets everything.
    Clear,
    /// Checks a query.
    Eval(Box<Eval>),
}

/// Parses a whole script.
pub(crate) fn parse(text: &str) -> Result<Vec<(usize, Command)>, String> {
    let lines: Vec<&str> =
        text.lines().map(|line| if line.trim().starts_with('#') { "" } else { line.trim() }).collect();
    let mut commands = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        if lines[index].is_empty() {
            index += 1;
            continue;
        }
        let end = (index..lines.len()).find(|line| lines[*line].is_empty()).unwrap_or(lines.len());
        let head = lines[index];
        let word = head.split([' ', '\t']).next().unwrap_or("").to_lowercase();
        let at = |error: String| format!("line {}: {error}", index + 1);
        let command = if word == "clear" {
            commands.push((index + 1, Command::Clear));
            index += 1;
            continue;
        } else if word.starts_with("load") {
            load(head, &lines[index + 1..end]).map_err(at)?
        } else if word.starts_with("eval") {
            Command::Eval(Box::new(eval::parse(head, &lines[index + 1..end]).map_err(at)?))
        } else {
            return Err(at(format!("unknown command {word:?}")));
        };
        commands.push((index + 1, command));
        index = end;
    }
    Ok(commands)
}

fn load(head: &str, body: &[&str]) -> Result<Command, String> {
    let (word, step) = head.split_once([' ', '\t']).ok_or("load without step")?;
    let step_ms = literal::duration_ms(step.trim())?;
    let mut series: BTreeMap<LabelSet, SeriesLine> = BTreeMap::new();
    let mut starts: Option<(LabelSet, Vec<Option<i64>>)> = None;
    for line in body {
        let (labels, rest) = literal::metric(line)?;
        if let Some(items) = rest.strip_prefix("@st") {
            starts = Some((labels, literal::start_times(items)?));
            continue;
        }
        let points = literal::points(rest)?;
        let starts = match starts.take() {
            Some((of, starts)) if of == labels && starts.len() == points.len() => starts,
            Some((of, starts)) => {
                return Err(format!(
                    "{} start times of {of} before {} points of {labels}",
                    starts.len(),
                    points.len()
                ));
            }
            None => Vec::new(),
        };
        series.insert(labels.clone(), SeriesLine { labels, points, starts });
    }
    let with_nhcb = word.eq_ignore_ascii_case("load_with_nhcb");
    Ok(Command::Load { step_ms, with_nhcb, series: series.into_values().collect() })
}

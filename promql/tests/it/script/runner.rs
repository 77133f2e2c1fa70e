//! Runs scripts against the real evaluator over real storage, as Prometheus' own runner does.
//!
//! Every instant eval is repeated at five other times with `@` added to its selectors, and each of these as the
//! middle step of a range query.

use std::fmt::Write as _;
use std::sync::Arc;

use mytsdb_promql::parse::ast::{At, Expr, ExprKind};
use mytsdb_promql::{
    Cancellation, Engine, EngineOptions, EvalError, FloatHistogram, MatrixSeries, ParseOptions, QueryOutput,
    Severity, Value, VectorSample, parse,
};
use mytsdb_storage::model::{LabelSet, StartTimes, TenantId, is_stale};
use mytsdb_storage::{HistogramSample, Snapshot, Storage, StorageOptions, WalSync, WriteBatch};
use regex_automata::meta::Regex;

use super::eval::TextMatch;
use super::{Command, Eval, EvalKind, Point, SeriesLine, histogram};

/// What became of a script's evals.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) repeated: usize,
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// Evals that were run.
    pub(crate) fn run(&self) -> usize {
        self.passed + self.failures.len()
    }

    /// Adds another script's counts.
    pub(crate) fn add(&mut self, other: Report) {
        self.passed += other.passed;
        self.repeated += other.repeated;
        self.failures.extend(other.failures);
    }
}

/// A storage whose tenants are the states between two `clear`.
struct Bench {
    storage: Storage,
    _folder: tempfile::TempDir,
    tenant: TenantId,
    clear_count: usize,
    engine: Engine,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = StorageOptions::new(folder.path());
        options.wal_sync = WalSync::None;
        options.limits.retention_ms = None;
        let engine = Engine::new(EngineOptions {
            delayed_name_removal: true,
            use_start_timestamps: true,
            thread_count: 2,
            ..EngineOptions::default()
        });
        Self {
            storage: Storage::open(options, 0).unwrap(),
            _folder: folder,
            tenant: TenantId::new("t0").unwrap(),
            clear_count: 0,
            engine,
        }
    }

    fn clear(&mut self) {
        self.clear_count += 1;
        self.tenant = TenantId::new(&format!("t{}", self.clear_count)).unwrap();
    }

    fn load(&mut self, step_ms: i64, series: &[SeriesLine]) {
        let labels: Vec<LabelSet> = series.iter().map(|line| line.labels.clone()).collect();
        let keys: Vec<u128> =
            labels.iter().map(|labels| self.storage.series_key(labels.encoded().as_bytes())).collect();
        let (mut times, mut values, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut histograms = Vec::new();
        let mut starts = StartTimes::new();
        for (series_index, line) in series.iter().enumerate() {
            for (index, point) in line.points.iter().enumerate() {
                let time_ms = index as i64 * step_ms;
                let start_ms = line.starts.get(index).copied().flatten().map_or(0, |start| time_ms + start);
                match point {
                    Point::Gap => {}
                    Point::Float(value) => {
                        starts.push(times.len(), start_ms);
                        times.push(time_ms);
                        values.push(*value);
                    }
                    Point::Histogram(point) => {
                        let mut histogram = histogram::stored(point);
                        histogram.start_ms = Some(start_ms).filter(|start_ms| *start_ms != 0);
                        histograms.push(HistogramSample { series_index, time_ms, histogram });
                    }
                }
            }
            ends.push(times.len());
        }
        let batch = WriteBatch {
            keys: &keys,
            sample_ends: &ends,
            timestamps_ms: &times,
            values: &values,
            starts: starts.runs(),
            labels: &labels,
            histograms: &histograms,
            exemplars: &[],
            metadata: &[],
        };
        let histogram_times = histograms.iter().map(|sample| sample.time_ms);
        let now_ms = times.iter().copied().chain(histogram_times).max().unwrap_or(0);
        let report = self.storage.write(&self.tenant, &batch, now_ms).unwrap();
        let sample_count = values.len() + histograms.len();
        assert_eq!(report.accepted_sample_count, sample_count, "{:?}", report.rejections);
    }
}

/// Runs one script; `name` is used in failures.
pub(crate) fn run(name: &str, text: &str) -> Report {
    let commands = super::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut bench = Bench::new();
    let mut report = Report::default();
    for (line, command) in commands {
        match command {
            Command::Clear => bench.clear(),
            Command::Load { step_ms, with_nhcb, series } => {
                bench.load(step_ms, &series);
                if with_nhcb {
                    let converted = histogram::converted(&series);
                    bench.load(step_ms, &converted.unwrap_or_else(|error| panic!("{name}:{line}: {error}")));
                }
            }
            Command::Eval(eval) => {
                let expr = match parse(&eval.query, &ParseOptions::default()) {
                    Ok(expr) => expr,
                    Err(error) => {
                        report.failures.push(format!("{name}:{line}: {}\n    {error}", eval.query));
                        continue;
                    }
                };
                match check(&bench, &eval, &expr) {
                    Ok(repeated) => {
                        report.passed += 1;
                        report.repeated += repeated;
                    }
                    Err(error) => report.failures.push(format!("{name}:{line}: {}\n    {error}", eval.query)),
                }
            }
        }
    }
    report
}

/// Functions that give something else when the evaluation time changes, even over `@`.
const TIME_FUNCTIONS: [&str; 16] = [
    "days_in_month",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "hour",
    "minute",
    "month",
    "year",
    "predict_linear",
    "time",
    "timestamp",
    "start_timestamp",
    "start",
    "end",
    "range",
    "step",
];

fn check(bench: &Bench, eval: &Eval, expr: &Expr) -> Result<usize, String> {
    let snapshot = bench.storage.reader(&bench.tenant);
    let EvalKind::Instant { time_ms } = eval.kind else {
        let EvalKind::Range { start_ms, end_ms, step_ms } = eval.kind else { unreachable!("two kinds") };
        let outcome =
            bench.engine.range(&snapshot, expr, start_ms, end_ms, step_ms, &Cancellation::default());
        check_outcome(eval, outcome, |value| check_range(eval, value, start_ms, end_ms, step_ms))?;
        return Ok(0);
    };
    check_instant(bench, &snapshot, eval, expr, time_ms)?;
    let mut repeated = 0;
    let is_time_bound = expr.contains(
        |node| matches!(&node.kind, ExprKind::Call { function, .. } if TIME_FUNCTIONS.contains(function)),
    );
    repeated += check_as_range(bench, &snapshot, eval, expr, time_ms)?;
    if !is_time_bound {
        let mut fixed = expr.clone();
        add_at(&mut fixed, time_ms);
        let others = match time_ms {
            0 => vec![-1_000, 0, 1_000],
            t => vec![-10 * t, 0, t / 5, t, 10 * t],
        };
        for other_ms in others {
            let context = |error: String| format!("with @ {time_ms} at {other_ms}: {error}");
            check_instant(bench, &snapshot, eval, &fixed, other_ms).map_err(context)?;
            repeated += 1 + check_as_range(bench, &snapshot, eval, &fixed, other_ms).map_err(context)?;
        }
    }
    Ok(repeated)
}

/// Fixes the time of everything that selects, but not inside of subqueries, whose own time is fixed.
fn add_at(expr: &mut Expr, time_ms: i64) {
    match &mut expr.kind {
        ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
            selector.at.get_or_insert(At::Time(time_ms));
        }
        ExprKind::Subquery { at, .. } => {
            at.get_or_insert(At::Time(time_ms));
        }
        ExprKind::Aggregate(aggregate) => {
            add_at(&mut aggregate.expr, time_ms);
            if let Some(param) = &mut aggregate.param {
                add_at(param, time_ms);
            }
        }
        ExprKind::Binary(binary) => {
            add_at(&mut binary.lhs, time_ms);
            add_at(&mut binary.rhs, time_ms);
        }
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => add_at(expr, time_ms),
        ExprKind::Call { function, args } => {
            // The second argument of `info` names labels, it selects nothing by itself.
            let count = if *function == "info" { 1 } else { args.len() };
            args.iter_mut().take(count).for_each(|arg| add_at(arg, time_ms));
        }
        ExprKind::Number { .. } | ExprKind::String(_) => {}
    }
}

fn check_instant(
    bench: &Bench,
    snapshot: &Snapshot,
    eval: &Eval,
    expr: &Expr,
    time_ms: i64,
) -> Result<(), String> {
    let outcome = bench.engine.instant(snapshot, expr, time_ms, &Cancellation::default());
    check_outcome(eval, outcome, |value| check_instant_value(eval, value))
}

/// Runs an instant eval as the middle step of a range query; 0 if that makes no sense for it.
fn check_as_range(
    bench: &Bench,
    snapshot: &Snapshot,
    eval: &Eval,
    expr: &Expr,
    time_ms: i64,
) -> Result<usize, String> {
    let depends_on_range =
        ["start()", "end()", "range()", "step()"].iter().any(|word| eval.query.contains(word));
    if eval.fail.is_some()
        || eval.is_ordered
        || eval.string.is_some()
        || eval.range_vector.is_some()
        || depends_on_range
    {
        return Ok(0);
    }
    let minute = 60_000;
    let output = bench
        .engine
        .range(snapshot, expr, time_ms - minute, time_ms + minute, minute, &Cancellation::default())
        .map_err(|error| format!("as range query at {time_ms}: {error}"))?;
    let Value::Matrix(matrix) = output.value else { return Err("range query without matrix".to_owned()) };
    check_sorted(&matrix)?;
    let at_time = |series: &MatrixSeries| {
        let histogram = series.histograms.iter().find(|(time, _)| *time == time_ms);
        let got = match series.timestamps_ms.iter().position(|time| *time == time_ms) {
            Some(index) => Got::Float(series.values[index]),
            None => Got::Histogram(Arc::clone(&histogram?.1)),
        };
        Some((series.labels.clone(), got))
    };
    let found: Vec<(LabelSet, Got)> = matrix.iter().filter_map(at_time).collect();
    let context = |error: String| format!("as range query at {time_ms}: {error}");
    if let Some(expected) = eval.scalar {
        let value = found.first().map(|(_, value)| value.clone());
        return match value {
            Some(Got::Float(value)) if is_close(expected, value) => Ok(1),
            _ => Err(context(format!("expected scalar {expected}, got {value:?}"))),
        };
    }
    compare_vector(eval, &found, false).map_err(context)?;
    Ok(1)
}

fn text_matches(expected: &TextMatch, text: &str) -> bool {
    match expected {
        TextMatch::Any => true,
        TextMatch::Exact(exact) => exact == text,
        TextMatch::Regex(pattern) => Regex::new(pattern).unwrap().is_match(text),
    }
}

fn check_outcome(
    eval: &Eval,
    outcome: Result<QueryOutput, EvalError>,
    check_value: impl FnOnce(&Value) -> Result<(), String>,
) -> Result<(), String> {
    match (&eval.fail, outcome) {
        (None, Err(error)) => Err(format!("failed: {error}")),
        (Some(_), Ok(output)) => Err(format!("should have failed, gave {:?}", output.value)),
        (Some(expected), Err(error)) => {
            let text = error.to_string();
            if text_matches(expected, &text) {
                Ok(())
            } else {
                Err(format!("wrong error {text:?}, expected {expected:?}"))
            }
        }
        (None, Ok(output)) => {
            check_annotations(eval, &output)?;
            check_value(&output.value)
        }
    }
}

fn check_annotations(eval: &Eval, output: &QueryOutput) -> Result<(), String> {
    let kinds = [
        (Severity::Warning, &eval.warn, eval.no_warn, "warnings"),
        (Severity::Info, &eval.info, eval.no_info, "infos"),
    ];
    for (severity, expected, expects_none, name) in kinds {
        let found: Vec<String> = output
            .annotations
            .iter()
            .filter(|annotation| annotation.severity == severity)
            .map(|annotation| annotation.render(&eval.query))
            .collect();
        if expects_none && !found.is_empty() {
            return Err(format!("expected no {name}, got {found:?}"));
        }
        if expected.is_empty() {
            continue;
        }
        let is_complete = expected.iter().all(|one| found.iter().any(|text| text_matches(one, text)))
            && found.iter().all(|text| expected.iter().any(|one| text_matches(one, text)));
        if !is_complete {
            return Err(format!("expected {name} {expected:?}, got {found:?}"));
        }
    }
    Ok(())
}

/// Equal, or closer than a millionth of their size.
pub(crate) fn is_close(left: f64, right: f64) -> bool {
    const EPSILON: f64 = 1e-6;
    if is_stale(left) || is_stale(right) {
        return is_stale(left) && is_stale(right);
    }
    if (left.is_nan() && right.is_nan()) || left == right {
        return true;
    }
    let size = left.abs() + right.abs();
    let difference = (left - right).abs();
    if left == 0.0 || right == 0.0 || size < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < EPSILON
}

fn check_sorted(matrix: &[MatrixSeries]) -> Result<(), String> {
    if matrix.is_sorted_by(|left, right| left.labels < right.labels) {
        Ok(())
    } else {
        Err("matrix is not sorted by labels".to_owned())
    }
}

fn check_instant_value(eval: &Eval, value: &Value) -> Result<(), String> {
    match value {
        Value::String { text, .. } => match &eval.string {
            Some(expected) if expected == text => Ok(()),
            expected => Err(format!("expected string {expected:?}, got {text:?}")),
        },
        Value::Scalar { value, .. } => match eval.scalar {
            Some(expected) if is_close(expected, *value) => Ok(()),
            expected => Err(format!("expected scalar {expected:?}, got {value}")),
        },
        Value::Vector(samples) => {
            let got = |sample: &VectorSample| match &sample.histogram {
                Some(histogram) => Got::Histogram(Arc::clone(histogram)),
                None => Got::Float(sample.value),
            };
            let found: Vec<(LabelSet, Got)> =
                samples.iter().map(|sample| (sample.labels.clone(), got(sample))).collect();
            compare_vector(eval, &found, eval.is_ordered)
        }
        Value::Matrix(matrix) => {
            let times = eval.range_vector.ok_or("a range vector was not expected")?;
            check_sorted(matrix)?;
            compare_matrix(eval, matrix, times.start_ms, times.step_ms)
        }
    }
}

/// A value that was found.
#[derive(Debug, Clone)]
enum Got {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl std::fmt::Display for Got {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Float(value) => write!(formatter, "{value}"),
            Self::Histogram(histogram) => {
                let (schema, hint) = (histogram.schema, histogram.reset_hint);
                write!(formatter, "schema {schema} {hint:?} {histogram}")
            }
        }
    }
}

/// Whether `found` is what is expected.
fn is_expected(expected: &Point, found: &Got) -> bool {
    match (expected, found) {
        (Point::Float(expected), Got::Float(found)) => is_close(*expected, *found),
        (Point::Histogram(expected), Got::Histogram(found)) => histogram::is_same(expected, found),
        _ => false,
    }
}

fn describe(found: &[(LabelSet, Got)]) -> String {
    found.iter().fold(String::new(), |mut text, (labels, value)| {
        let _infallible = write!(text, "{labels} {value}; ");
        text
    })
}

fn compare_vector(eval: &Eval, found: &[(LabelSet, Got)], is_ordered: bool) -> Result<(), String> {
    if eval.scalar.is_some() || eval.string.is_some() {
        return Err(format!("expected no vector, got {}", describe(found)));
    }
    if found.len() != eval.series.len() {
        return Err(format!("expected {} series, got {}", eval.series.len(), describe(found)));
    }
    for (index, line) in eval.series.iter().enumerate() {
        let position = found.iter().position(|(labels, _)| *labels == line.labels);
        let position = position.ok_or_else(|| format!("missing {}, got {}", line.labels, describe(found)))?;
        if is_ordered && position != index {
            return Err(format!("{} is at {position}, not at {index}", line.labels));
        }
        let Some(expected) = line.points.first() else {
            return Err(format!("nothing expected of {}", line.labels));
        };
        if !is_expected(expected, &found[position].1) {
            return Err(format!("{}: expected {expected:?}, got {}", line.labels, found[position].1));
        }
    }
    Ok(())
}

fn check_range(eval: &Eval, value: &Value, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<(), String> {
    let Value::Matrix(matrix) = value else { return Err("range query without matrix".to_owned()) };
    check_sorted(matrix)?;
    let _unused = end_ms;
    compare_matrix(eval, matrix, start_ms, step_ms)
}

fn compare_matrix(eval: &Eval, matrix: &[MatrixSeries], start_ms: i64, step_ms: i64) -> Result<(), String> {
    let with_points: Vec<&SeriesLine> =
        eval.series.iter().filter(|line| line.points.iter().any(|point| *point != Point::Gap)).collect();
    if matrix.len() != with_points.len() {
        return Err(format!("expected {} series, got {matrix:?}", with_points.len()));
    }
    for line in with_points {
        let series = matrix
            .iter()
            .find(|series| series.labels == line.labels)
            .ok_or_else(|| format!("missing {}, got {matrix:?}", line.labels))?;
        let expected: Vec<(i64, &Point)> = line
            .points
            .iter()
            .enumerate()
            .filter(|(_, point)| **point != Point::Gap)
            .map(|(index, point)| (start_ms + index as i64 * step_ms, point))
            .collect();
        let floats = series.timestamps_ms.iter().zip(&series.values);
        let mut got: Vec<(i64, Got)> =
            floats.map(|(time_ms, value)| (*time_ms, Got::Float(*value))).collect();
        let histograms = series.histograms.iter();
        got.extend(histograms.map(|(time_ms, histogram)| (*time_ms, Got::Histogram(Arc::clone(histogram)))));
        got.sort_by_key(|(time_ms, _)| *time_ms);
        let is_equal = expected.len() == got.len()
            && expected.iter().zip(&got).all(|((expected_ms, expected), (time_ms, found))| {
                expected_ms == time_ms && is_expected(expected, found)
            });
        if !is_equal {
            return Err(format!("{}: expected {expected:?}, got {series:?}", line.labels));
        }
    }
    Ok(())
}

//! `info(v, {…})`: adds the labels of info metrics (`target_info`) to the series that share `instance` and `job`.
//!
//! Source: Prometheus `promql/info.go`.

use hashbrown::HashMap;
use mytsdb_storage::model::{LabelSet, LabelSetBuilder, METRIC_NAME, MatchOp, Matcher};

use super::block::{Block, RowLabels};
use super::call::Call;
use super::cells::Cell;
use super::context::{Context, execution};
use super::rows::Rows;
use super::samples::SampleSource;
use super::selector::{describe, labels_of, newest_times};
use crate::engine::EvalError;
use crate::grid::WindowGrid;
use crate::kernel::{ABSENT, is_absent};
use crate::parse::ast::{At, Duration, Expr, ExprKind, VectorSelector};

const IDENTIFYING_LABELS: [&str; 2] = ["instance", "job"];

/// What of info series is wanted.
struct Wanted {
    /// Conditions on the metric name.
    names: Vec<Matcher>,
    /// Conditions on other labels; only these labels are copied, all if there are none.
    data: Vec<Matcher>,
}

impl Wanted {
    fn new(selector: Option<&VectorSelector>) -> Result<Self, EvalError> {
        let Some(selector) = selector else {
            return Ok(Self { names: vec![Matcher::equal(METRIC_NAME, "target_info")], data: Vec::new() });
        };
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) =
            selector.matchers.iter().cloned().partition(|matcher| matcher.name() == METRIC_NAME);
        let is_exclusion = |matcher: &Matcher| matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
        if !names.is_empty() && names.iter().all(is_exclusion) {
            // Only exclusions: anything else that is named like an info metric.
            names.push(regex_matcher(METRIC_NAME, ".+_info")?);
        }
        Ok(Self { names, data })
    }

    fn is_info_name(&self, name: &str) -> bool {
        !self.names.is_empty() && self.names.iter().all(|matcher| matcher.matches(name))
    }

    fn copies(&self, label: &str) -> bool {
        label != METRIC_NAME
            && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == label))
    }

    /// The matchers for info series of these base series; `None` if no base series has an identifying label.
    fn matchers(&self, base: &[&LabelSet]) -> Result<Option<Vec<Matcher>>, EvalError> {
        let mut matchers = Vec::new();
        for name in IDENTIFYING_LABELS {
            let mut values: Vec<&str> = base.iter().filter_map(|labels| labels.get(name)).collect();
            values.sort_unstable();
            values.dedup();
            if values.is_empty() {
                continue;
            }
            let pattern = values.iter().map(|value| escape(value)).collect::<Vec<_>>().join("|");
            matchers.push(regex_matcher(name, &pattern)?);
        }
        if matchers.is_empty() {
            return Ok(None);
        }
        matchers.extend(self.data.iter().cloned());
        matchers.extend(self.names.iter().cloned());
        if self.names.is_empty() {
            matchers.push(Matcher::equal(METRIC_NAME, "target_info"));
        }
        Ok(Some(matchers))
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if "\\.+*?()|[]{}^$#&-~".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The identifying labels of a series, as a key.
fn identity(labels: &LabelSet) -> Vec<String> {
    IDENTIFYING_LABELS.iter().map(|name| labels.get(name).unwrap_or("").to_owned()).collect()
}

fn regex_matcher(name: &str, pattern: &str) -> Result<Matcher, EvalError> {
    Matcher::new(MatchOp::Regex, name, pattern).map_err(|error| execution(error.to_string()))
}

/// `@` and offset of the first selector inside an expression, those of subqueries around it included: the info
/// series are looked up at the same time.
fn reference_time(ctx: &Context<'_>, expr: &Expr) -> Result<(Option<i64>, i64), EvalError> {
    let mut pending = vec![(expr, None, 0_i64)];
    while let Some((expr, at_ms, offset_ms)) = pending.pop() {
        let shifted = |at: Option<At>, offset: &Duration| -> Result<(Option<i64>, i64), EvalError> {
            let own_ms = ctx.offset_ms(offset)?;
            Ok(match ctx.at_ms(at) {
                Some(own_at_ms) => (Some(own_at_ms), own_ms),
                None => (at_ms, offset_ms.saturating_add(own_ms)),
            })
        };
        match &expr.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                return shifted(selector.at, &selector.offset);
            }
            ExprKind::Subquery { expr, offset, at, .. } => {
                let (at_ms, offset_ms) = shifted(*at, offset)?;
                pending.push((expr, at_ms, offset_ms));
            }
            _ => pending.extend(expr.children().into_iter().rev().map(|child| (child, at_ms, offset_ms))),
        }
    }
    Ok((None, 0))
}

/// The times of the info series' samples, one row per series.
fn info_times(call: &Call<'_>, matchers: &[Matcher]) -> Result<Block, EvalError> {
    let lookback_ms = call.ctx.options.lookback_ms;
    let (at_ms, offset_ms) = reference_time(call.ctx, call.arg(0)?)?;
    let windows = WindowGrid::new(call.grid, at_ms, offset_ms, lookback_ms);
    let range = windows.read_range(0, 0);
    let set = call.ctx.select(matchers, range)?;
    let labels = labels_of(&set);
    let source = SampleSource::stored(set, range, false, false);
    let mut kernels = newest_times(windows);
    // Histograms stay what they are, to be found below.
    kernels.mixed = Box::new(move |_, samples, _, out| {
        windows.for_each(samples.times_ms, |step, low, high| {
            out.set(
                step,
                match if high > low { samples.cell(high - 1) } else { Cell::Absent } {
                    Cell::Float(_) => Cell::Float(samples.times_ms[high - 1] as f64 / 1000.0),
                    other => other,
                },
            );
        });
    });
    let rows = Rows::stream(labels, call.grid.count, source, kernels, || describe(matchers));
    let block = rows.into_block(call.ctx)?;
    let has_histograms = |index: &usize| block.cells(*index).present_histograms().next().is_some();
    match (0..block.len()).find(has_histograms) {
        Some(index) => {
            let labels = &block.labels[index].set;
            Err(execution(format!("this should be an info metric, with float samples: {labels}")))
        }
        None => Ok(block),
    }
}

/// Info series by metric name and identity.
struct InfoIndex<'a> {
    block: &'a Block,
    names: Vec<&'a str>,
    by_identity: HashMap<(&'a str, Vec<String>), Vec<usize>>,
}

impl<'a> InfoIndex<'a> {
    fn new(block: &'a Block) -> Self {
        let mut by_identity: HashMap<(&str, Vec<String>), Vec<usize>> = HashMap::new();
        let mut names: Vec<&str> = Vec::new();
        for (index, labels) in block.labels.iter().enumerate() {
            let name = labels.set.metric_name();
            names.push(name);
            by_identity.entry((name, identity(&labels.set))).or_default().push(index);
        }
        names.sort_unstable();
        names.dedup();
        Self { block, names, by_identity }
    }

    /// Two samples of equal age of one info metric and identity contradict each other.
    fn check(&self) -> Result<(), EvalError> {
        for indexes in self.by_identity.values().filter(|indexes| indexes.len() > 1) {
            for step in 0..self.block.step_count {
                self.newest(indexes, step)?;
            }
        }
        Ok(())
    }

    fn newest(&self, indexes: &[usize], step: usize) -> Result<Option<usize>, EvalError> {
        let mut best: Option<(usize, f64)> = None;
        for index in indexes {
            let time = self.block.row(*index)[step];
            if is_absent(time) {
                continue;
            }
            match best {
                Some((other, best_time)) if best_time == time => {
                    let labels = |index: usize| &self.block.labels[index].set;
                    let time_ms = (time * 1000.0).round() as i64;
                    return Err(execution(format!(
                        "found duplicate series for info metric: existing {} @ {time_ms}, new {} @ {time_ms}",
                        labels(other),
                        labels(*index)
                    )));
                }
                Some((_, best_time)) if best_time > time => {}
                _ => best = Some((*index, time)),
            }
        }
        Ok(best.map(|(index, _)| index))
    }

    /// The info series that belong to one identity at one step, one per info metric.
    fn matches(&self, identity: &[String], step: usize) -> Result<Vec<usize>, EvalError> {
        let mut found = Vec::new();
        for name in &self.names {
            if let Some(indexes) = self.by_identity.get(&(*name, identity.to_vec()))
                && let Some(index) = self.newest(indexes, step)?
            {
                found.push(index);
            }
        }
        Ok(found)
    }
}

/// The base labels with those of the info series, which must agree with each other.
fn enriched(base: &LabelSet, infos: &[&LabelSet], wanted: &Wanted) -> Result<LabelSet, EvalError> {
    let mut added: Vec<(&str, &str)> = Vec::new();
    for (name, value) in infos.iter().flat_map(|labels| labels.iter()).filter(|(name, _)| wanted.copies(name))
    {
        if added.iter().any(|(known, other)| *known == name && *other != value) {
            return Err(execution(format!("conflicting label: {name}")));
        }
        if base.get(name).is_none() {
            added.push((name, value));
        }
    }
    let mut builder = LabelSetBuilder::new(base);
    for (name, value) in added {
        builder.set(name, value);
    }
    Ok(builder.build())
}

/// `info(v)`.
pub(crate) fn info(call: &Call<'_>) -> Result<Block, EvalError> {
    let base = call.vector(0)?;
    let selector = match call.args.get(1).map(|arg| &arg.unwrap_parens().kind) {
        Some(ExprKind::VectorSelector(selector)) => Some(selector),
        _ => None,
    };
    let wanted = Wanted::new(selector)?;
    let is_enriched: Vec<bool> =
        base.labels.iter().map(|labels| !wanted.is_info_name(labels.set.metric_name())).collect();
    let candidates: Vec<&LabelSet> =
        base.labels.iter().zip(&is_enriched).filter(|(_, is)| **is).map(|(labels, _)| &labels.set).collect();
    let infos = match wanted.matchers(&candidates)? {
        Some(matchers) => info_times(call, &matchers)?,
        None => Block::empty(base.step_count),
    };
    let index = InfoIndex::new(&infos);
    index.check()?;
    let must_match = wanted.data.iter().any(|matcher| !matcher.matches_absent());
    let mut rows: Vec<InfoRow> = Vec::new();
    for (series, labels) in base.labels.iter().enumerate() {
        if series % 64 == 0 {
            call.ctx.check_cancelled()?;
        }
        if !is_enriched[series] {
            let values = base.row(series).to_vec();
            rows.push(InfoRow { labels: labels.clone(), values, series });
            continue;
        }
        enrich_row(labels, (series, base.row(series)), &index, &wanted, must_match, &mut rows)?;
    }
    let reservation = call.ctx.reserve_numbers(rows.len(), base.step_count, String::new)?;
    let labels = rows.iter().map(|row| row.labels.clone()).collect();
    let values: Vec<f64> = rows.iter().flat_map(|row| row.values.iter().copied()).collect();
    let mut result = Block::from_rows(labels, values, base.step_count, vec![reservation]);
    let histograms =
        rows.iter().enumerate().map(|(index, row)| (index, base.cells(row.series).histograms.to_vec()));
    result.set_histograms(call.ctx, histograms)?;
    result.retain_present();
    result.merge_duplicates()?;
    Ok(result)
}

/// A row of the result.
struct InfoRow {
    labels: RowLabels,
    values: Vec<f64>,
    /// The base series, whose histograms it shares.
    series: usize,
}

/// Splits a base series by the info series that it has at each step.
fn enrich_row(
    labels: &RowLabels,
    (series, values): (usize, &[f64]),
    index: &InfoIndex<'_>,
    wanted: &Wanted,
    must_match: bool,
    rows: &mut Vec<InfoRow>,
) -> Result<(), EvalError> {
    let identity = identity(&labels.set);
    let mut by_match: HashMap<Vec<usize>, usize> = HashMap::new();
    for (step, value) in values.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
        let matches = index.matches(&identity, step)?;
        if matches.is_empty() && must_match {
            continue;
        }
        let row = match by_match.get(&matches) {
            Some(row) => *row,
            None => {
                let infos: Vec<&LabelSet> =
                    matches.iter().map(|info| &index.block.labels[*info].set).collect();
                let set = enriched(&labels.set, &infos, wanted)?;
                let labels = RowLabels { set, drop_name: labels.drop_name };
                rows.push(InfoRow { labels, values: vec![ABSENT; values.len()], series });
                by_match.insert(matches, rows.len() - 1);
                rows.len() - 1
            }
        };
        rows[row].values[step] = *value;
    }
    Ok(())
}

//! Instant selectors, and what range selectors share with them: matching, times, memory.

use mytsdb_storage::model::{Matcher, TimeRange};
use mytsdb_storage::read::SeriesSet;

use super::block::RowLabels;
use super::cells::{Cell, RowWriter};
use super::context::Context;
use super::histogram_windows;
use super::invariant::is_invariant;
use super::rows::{Kernels, Rows};
use super::samples::{MixedSamples, SampleSource};
use crate::engine::EvalError;
use crate::grid::{StepGrid, WindowGrid};
use crate::kernel::{ABSENT, Samples, is_absent, rate, select};
use crate::parse::ast::{At, Expr, ExprKind, RangeExtension, Span, VectorSelector};

/// The selector as text, for messages.
pub(crate) fn describe(matchers: &[Matcher]) -> String {
    let parts: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", parts.join(","))
}

impl Context<'_> {
    /// The time that `@` fixes.
    pub(crate) fn at_ms(&self, at: Option<At>) -> Option<i64> {
        at.map(|at| match at {
            At::Time(time_ms) => time_ms,
            At::Start => self.start_ms,
            At::End => self.end_ms,
        })
    }

    /// The windows of a selector over `grid`.
    pub(crate) fn windows(
        &self,
        selector: &VectorSelector,
        grid: &StepGrid,
        range_ms: i64,
    ) -> Result<WindowGrid, EvalError> {
        let offset_ms = self.offset_ms(&selector.offset)?;
        Ok(WindowGrid::new(grid, self.at_ms(selector.at), offset_ms, range_ms))
    }

    /// Finds series and checks that one series' samples fit into memory on every worker.
    pub(crate) fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<SeriesSet, EvalError> {
        self.check_cancelled()?;
        let set = self.snapshot.select(matchers, range)?;
        for warning in self.snapshot.warnings(range) {
            self.warn_of_data(warning);
        }
        let largest = set.series_sample_count_max();
        let workers = self.options.thread_count.clamp(1, set.len().max(1));
        let bytes = largest.saturating_mul(16).saturating_mul(workers);
        drop(self.reserve(bytes, || describe(matchers))?);
        Ok(set)
    }
}

/// The labels of a selection.
pub(crate) fn labels_of(set: &SeriesSet) -> Vec<RowLabels> {
    (0..set.len()).map(|index| RowLabels::kept(set.labels(index).clone())).collect()
}

/// What an instant selector gives per step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The sample's value.
    Value,
    /// 1 where there is one.
    Presence,
    /// The sample's own time in seconds.
    Time,
    /// The sample's start time in seconds.
    StartTime,
}

/// The rows of an instant selector at `span`.
pub(crate) fn instant_rows<'a>(
    ctx: &'a Context<'a>,
    selector: &'a VectorSelector,
    span: Span,
    grid: &StepGrid,
    wanted: Wanted,
) -> Result<Rows<'a>, EvalError> {
    let lookback_ms = ctx.options.lookback_ms;
    let windows = ctx.windows(selector, grid, lookback_ms)?;
    let is_smoothed = selector.extension == Some(RangeExtension::Smoothed);
    let after_ms = if is_smoothed { lookback_ms } else { 0 };
    let range = windows.read_range(0, after_ms);
    let set = ctx.select(&selector.matchers, range)?;
    let labels = labels_of(&set);
    let mut source = SampleSource::stored(set, range, is_smoothed, ctx.finds_resets(selector));
    if wanted == Wanted::StartTime {
        source.read_starts();
    }
    if matches!(wanted, Wanted::Presence | Wanted::Time) {
        source.read_presence();
    }
    let kernels = match wanted {
        Wanted::Value if is_smoothed => {
            let names = labels.iter().map(|labels| labels.set.clone()).collect();
            Kernels {
                floats: Box::new(move |_, samples, _, out| {
                    rate::smoothed_instant(samples, &windows, lookback_ms, out);
                }),
                started: None,
                mixed: histogram_windows::smoothed_instant(ctx, span, names, windows),
            }
        }
        Wanted::Value => Kernels {
            floats: Box::new(move |_, samples, _, out| select::newest_value(samples, &windows, out)),
            started: None,
            mixed: Box::new(move |_, samples, _, out| newest(samples, &windows, out)),
        },
        Wanted::Presence => Kernels {
            floats: Box::new(move |_, samples, _, out| select::presence(samples, &windows, out)),
            started: None,
            mixed: Box::new(move |_, samples, _, out| newest(samples, &windows, out)),
        },
        Wanted::Time => newest_times(windows),
        Wanted::StartTime => newest_starts(windows),
    };
    Ok(Rows::stream(labels, grid.count, source, kernels, move || describe(&selector.matchers)))
}

/// The rows of an expression of which only matters where it has values: these may be 1 instead.
pub(crate) fn presence_rows<'a>(
    ctx: &'a Context<'a>,
    expr: &'a Expr,
    grid: &StepGrid,
) -> Result<Rows<'a>, EvalError> {
    let expr = expr.unwrap_parens();
    match &expr.kind {
        ExprKind::VectorSelector(selector)
            if selector.extension.is_none() && !(grid.count > 1 && is_invariant(expr)) =>
        {
            instant_rows(ctx, selector, expr.span, grid, Wanted::Presence)
        }
        _ => super::rows(ctx, expr, grid),
    }
}

/// The kernels that give the newest sample's time.
pub(crate) fn newest_times<'a>(windows: WindowGrid) -> Kernels<'a> {
    Kernels {
        floats: Box::new(move |_, samples, _, out| select::newest_time(samples, &windows, out)),
        started: None,
        mixed: Box::new(move |_, samples, _, out| {
            windows.for_each(samples.times_ms, |step, low, high| {
                let is_there = high > low && !is_absent(samples.values[high - 1]);
                out.set(
                    step,
                    if is_there {
                        Cell::Float(samples.times_ms[high - 1] as f64 / 1000.0)
                    } else {
                        Cell::Absent
                    },
                );
            });
        }),
    }
}

/// The kernels that give the newest sample's start time.
fn newest_starts<'a>(windows: WindowGrid) -> Kernels<'a> {
    Kernels {
        floats: Box::new(move |_, samples, _, out| select::newest_start(samples, &[], &windows, out)),
        started: Some(Box::new(move |_, samples, starts_ms, _, out| {
            select::newest_start(samples, starts_ms, &windows, out);
        })),
        mixed: Box::new(move |_, samples, _, out| {
            let MixedSamples { times_ms, values, starts_ms, .. } = samples;
            let mut numbers = vec![ABSENT; windows.count];
            select::newest_start(Samples::new(times_ms, values), starts_ms, &windows, &mut numbers);
            for (step, number) in numbers.into_iter().enumerate() {
                out.set(step, if is_absent(number) { Cell::Absent } else { Cell::Float(number) });
            }
        }),
    }
}

/// The newest sample of each window; nothing if it is a stale marker.
fn newest(samples: MixedSamples<'_>, windows: &WindowGrid, out: &mut RowWriter<'_>) {
    windows.for_each(samples.times_ms, |step, low, high| {
        out.set(step, if high > low { samples.cell(high - 1) } else { Cell::Absent });
    });
}

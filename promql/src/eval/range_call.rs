//! Functions over range vectors: where the windows' samples come from, and which kernel folds them.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use mytsdb_storage::model::LabelSet;

use super::annotate;
use super::block::{Block, Operand, RowLabels, Scalars, duplicate_labels};
use super::context::{Context, execution};
use super::delta;
use super::histogram_windows;
use super::labels::METRIC_TYPE;
use super::rows::{Kernels, MixedKernel, RowKernel, Rows, StartedKernel};
use super::samples::SampleSource;
use super::selector::{describe, labels_of};
use crate::engine::EvalError;
use crate::grid::{StepGrid, WindowGrid};
use crate::kernel::rate::{Extended, RateKind};
use crate::kernel::{is_absent, over_time, quantile, rate, regression, started_rate};
use crate::parse::ast::{Expr, ExprKind, RangeExtension, Span, VectorSelector};

/// A range vector argument: its series, their samples, and its windows.
pub(crate) struct RangeVector<'a> {
    pub(crate) labels: Vec<RowLabels>,
    pub(crate) source: SampleSource,
    pub(crate) windows: WindowGrid,
    extension: Option<RangeExtension>,
    /// The selector, unless it is a subquery.
    selector: Option<&'a VectorSelector>,
    pub(crate) span: Span,
}

/// Prepares a range selector or evaluates the inside of a subquery.
pub(crate) fn range_vector<'a>(
    ctx: &'a Context<'a>,
    expr: &'a Expr,
    grid: &StepGrid,
) -> Result<RangeVector<'a>, EvalError> {
    let expr = expr.unwrap_parens();
    match &expr.kind {
        ExprKind::MatrixSelector { selector, range, .. } => {
            let windows = ctx.windows(selector, grid, ctx.range_ms(range)?)?;
            let lookback_ms = ctx.options.lookback_ms;
            let (before_ms, after_ms) = match selector.extension {
                None => (0, 0),
                Some(RangeExtension::Anchored) => (lookback_ms, 0),
                Some(RangeExtension::Smoothed) => (lookback_ms, lookback_ms),
            };
            let range = windows.read_range(before_ms, after_ms);
            let set = ctx.select(&selector.matchers, range)?;
            Ok(RangeVector {
                labels: labels_of(&set),
                source: SampleSource::stored(set, range, true, ctx.finds_resets(selector)),
                windows,
                extension: selector.extension,
                selector: Some(selector),
                span: expr.span,
            })
        }
        ExprKind::Subquery { expr: inner, range, step, offset, at } => {
            let range_ms = ctx.range_ms(range)?;
            let step_ms = match step {
                Some(step) => ctx.range_ms(step)?,
                None => 0,
            };
            let step_ms = if step_ms > 0 { step_ms } else { ctx.options.default_subquery_step_ms.max(1) };
            let windows = WindowGrid::new(grid, ctx.at_ms(*at), ctx.offset_ms(offset)?, range_ms);
            let inner_grid = StepGrid::subquery(windows.end_ms, windows.last_end_ms(), range_ms, step_ms);
            let mut block = super::eval(ctx, inner, &inner_grid)?;
            let mut block = match &mut block {
                Operand::Vector(block) => std::mem::replace(block, Block::empty(0)),
                _ => return Err(execution("subquery is only allowed on instant vector")),
            };
            Ok(RangeVector {
                labels: std::mem::take(&mut block.labels),
                source: SampleSource::Subquery { block, grid: inner_grid },
                windows,
                extension: None,
                selector: None,
                span: expr.span,
            })
        }
        _ => Err(execution(format!("expected type range vector, got {}", expr.value_type().describe()))),
    }
}

fn extended_of(ctx: &Context<'_>, extension: RangeExtension) -> Extended {
    Extended { is_smoothed: extension == RangeExtension::Smoothed, lookback_ms: ctx.options.lookback_ms }
}

fn check_extension(function: &str, extension: Option<RangeExtension>) -> Result<(), EvalError> {
    let (word, allowed): (&str, &[&str]) = match extension {
        None => return Ok(()),
        Some(RangeExtension::Anchored) => ("anchored", &["changes", "delta", "increase", "rate", "resets"]),
        Some(RangeExtension::Smoothed) => ("smoothed", &["delta", "increase", "rate"]),
    };
    if allowed.contains(&function) {
        return Ok(());
    }
    let allowed = allowed.join(", ");
    Err(execution(format!("{word} modifier can only be used with: {allowed} - not with {function}")))
}

/// Most steps of one series between two looks at the cancellation.
const STEPS_PER_TILE: usize = 1024;

/// The kernel of a function over any number of steps; `scalars` are its other arguments, in order.
///
/// A kernel looks at nothing but its samples, so a row of very many steps is computed in tiles.
pub(crate) fn kernel<'a>(
    ctx: &'a Context<'a>,
    function: &str,
    extension: Option<RangeExtension>,
    windows: WindowGrid,
    grid: StepGrid,
    scalars: Vec<Scalars>,
) -> Result<RowKernel<'a>, EvalError> {
    if grid.count <= STEPS_PER_TILE {
        return tile_kernel(ctx, function, extension, windows, grid, scalars);
    }
    let mut tiles = Vec::with_capacity(grid.count.div_ceil(STEPS_PER_TILE));
    for start in (0..grid.count).step_by(STEPS_PER_TILE) {
        let count = STEPS_PER_TILE.min(grid.count - start);
        let windows = WindowGrid { end_ms: windows.end_ms_at(start), count, ..windows };
        let grid = StepGrid { start_ms: grid.time_ms(start), count, ..grid };
        let scalars = scalars.iter().map(|scalars| scalars.tile(start..start + count)).collect();
        tiles.push(tile_kernel(ctx, function, extension, windows, grid, scalars)?);
    }
    Ok(Box::new(move |index, samples, scratch, out| {
        for (kernel, out) in tiles.iter().zip(out.chunks_mut(STEPS_PER_TILE)) {
            if ctx.check_cancelled().is_err() {
                // Whoever asked for the row looks as well, and returns the error.
                return;
            }
            kernel(index, samples, scratch, out);
        }
    }))
}

fn tile_kernel<'a>(
    ctx: &'a Context<'a>,
    function: &str,
    extension: Option<RangeExtension>,
    windows: WindowGrid,
    grid: StepGrid,
    scalars: Vec<Scalars>,
) -> Result<RowKernel<'a>, EvalError> {
    let extended = extension.map(|extension| extended_of(ctx, extension));
    let rate_kernel = |is_counter: bool, is_rate: bool| -> RowKernel<'a> {
        let kind = RateKind { is_counter, is_rate };
        match extended {
            None => Box::new(move |_, samples, scratch, out| {
                rate::extrapolated(samples, &windows, kind, scratch, out);
            }),
            Some(extended) => Box::new(move |_, samples, _, out| {
                rate::extended(samples, &windows, extended, kind, out);
            }),
        }
    };
    let pair_kernel = |differs: fn(f64, f64) -> bool| -> RowKernel<'a> {
        match extended {
            None => Box::new(move |_, samples, scratch, out| {
                over_time::count_pairs(samples, &windows, scratch, differs, out);
            }),
            Some(extended) => Box::new(move |_, samples, _, out| {
                rate::extended_count(samples, &windows, extended, differs, out);
            }),
        }
    };
    let fold_kernel = |fold: fn(&[f64], &[i64]) -> f64| -> RowKernel<'a> {
        Box::new(move |_, samples, _, out| over_time::fold(samples, &windows, fold, out))
    };
    Ok(match function {
        "rate" => rate_kernel(true, true),
        "increase" => rate_kernel(true, false),
        "delta" => rate_kernel(false, false),
        "irate" => Box::new(move |_, samples, _, out| rate::instant(samples, &windows, true, out)),
        "idelta" => Box::new(move |_, samples, _, out| rate::instant(samples, &windows, false, out)),
        "changes" => pair_kernel(over_time::is_change),
        "resets" => pair_kernel(over_time::is_reset),
        "sum_over_time" => {
            Box::new(move |_, samples, scratch, out| over_time::sum(samples, &windows, scratch, out))
        }
        "avg_over_time" => {
            Box::new(move |_, samples, scratch, out| over_time::avg(samples, &windows, scratch, out))
        }
        "min_over_time" => Box::new(move |_, samples, scratch, out| {
            over_time::extreme(samples, &windows, scratch, |value, best| value < best, out);
        }),
        "max_over_time" => Box::new(move |_, samples, scratch, out| {
            over_time::extreme(samples, &windows, scratch, |value, best| value > best, out);
        }),
        "count_over_time" => fold_kernel(|values, _| values.len() as f64),
        "present_over_time" | "absent_over_time" => fold_kernel(|_, _| 1.0),
        "first_over_time" => fold_kernel(|values, _| values[0]),
        "last_over_time" => fold_kernel(|values, _| values[values.len() - 1]),
        "ts_of_first_over_time" => fold_kernel(|_, times_ms| times_ms[0] as f64 / 1000.0),
        "ts_of_last_over_time" => fold_kernel(|_, times_ms| times_ms[times_ms.len() - 1] as f64 / 1000.0),
        "ts_of_max_over_time" => Box::new(move |_, samples, _, out| {
            over_time::time_of_extreme(samples, &windows, |value, best| value >= best, out);
        }),
        "ts_of_min_over_time" => Box::new(move |_, samples, _, out| {
            over_time::time_of_extreme(samples, &windows, |value, best| value <= best, out);
        }),
        "stdvar_over_time" => {
            Box::new(move |_, samples, _, out| over_time::variance(samples, &windows, |value| value, out))
        }
        "stddev_over_time" => {
            Box::new(move |_, samples, _, out| over_time::variance(samples, &windows, f64::sqrt, out))
        }
        "mad_over_time" => Box::new(move |_, samples, scratch, out| {
            let mad =
                |values: &[f64], _: &[i64]| quantile::median_absolute_deviation(values, &mut scratch.values);
            over_time::fold(samples, &windows, mad, out);
        }),
        "deriv" => Box::new(move |_, samples, _, out| regression::deriv(samples, &windows, out)),
        _ => return scalar_kernel(function, windows, grid, scalars),
    })
}

/// The kernel of a function that takes numbers besides the range vector.
fn scalar_kernel<'a>(
    function: &str,
    windows: WindowGrid,
    grid: StepGrid,
    scalars: Vec<Scalars>,
) -> Result<RowKernel<'a>, EvalError> {
    let mut scalars = scalars.into_iter();
    let mut next = || scalars.next().ok_or_else(|| execution(format!("missing argument of {function}")));
    Ok(match function {
        "quantile_over_time" => {
            let q = next()?;
            Box::new(move |_, samples, scratch, out| {
                over_time::quantiles(samples, &windows, scratch, |step| q.at(step), out);
            })
        }
        "predict_linear" => {
            let seconds = next()?;
            Box::new(move |_, samples, _, out| {
                regression::predict_linear(samples, &windows, &grid, |step| seconds.at(step), out);
            })
        }
        "double_exponential_smoothing" => {
            let (smoothing, trend) = (next()?, next()?);
            check_factors("smoothing factor", "sf", &smoothing)?;
            check_factors("trend factor", "tf", &trend)?;
            Box::new(move |_, samples, _, out| {
                let factors_at = |step| (smoothing.at(step), trend.at(step));
                regression::double_exponential_smoothing(samples, &windows, factors_at, out);
            })
        }
        _ => return Err(EvalError::Unsupported(format!("function {function}"))),
    })
}

fn check_factors(name: &str, symbol: &str, factors: &Scalars) -> Result<(), EvalError> {
    match factors.distinct().iter().find(|factor| **factor <= 0.0 || **factor >= 1.0) {
        None => Ok(()),
        Some(factor) => {
            Err(execution(format!("invalid {name}. Expected: 0 < {symbol} < 1, got: {factor:.6}")))
        }
    }
}

/// Whether `rate` of this series is probably a mistake. `by_type`: by the label `__type__` instead of the name.
fn is_possibly_no_counter(labels: &LabelSet, by_type: bool) -> bool {
    let name = labels.metric_name();
    let is_counter = if by_type {
        matches!(labels.get(METRIC_TYPE), Some("counter" | "histogram"))
    } else {
        ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
    };
    !name.is_empty() && !is_counter
}

/// The remark about such a series.
fn no_counter_text(labels: &LabelSet, by_type: bool) -> String {
    let name = annotate::quote(labels.metric_name().as_bytes());
    if !by_type {
        return format!(
            "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name}"
        );
    }
    let kind = annotate::quote(labels.get(METRIC_TYPE).unwrap_or_default().as_bytes());
    format!(
        "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {kind}: {name}"
    )
}

/// Makes remarks about a row of numbers once it is computed: `(series_index, numbers)`.
type Remark<'a> = Box<dyn Fn(usize, &[f64]) + Send + Sync + 'a>;

/// Remarks about rows that have numbers, if the function makes any.
fn remark<'a>(
    ctx: &'a Context<'a>,
    function: &'static str,
    names: &[LabelSet],
    span: Span,
    quantiles: Option<(Vec<f64>, Span)>,
) -> Option<Remark<'a>> {
    if let Some((outside, span)) = quantiles {
        return Some(Box::new(move |_, out| {
            if out.iter().any(|value| !is_absent(*value)) {
                for q in &outside {
                    ctx.warn(span, annotate::invalid_quantile(*q));
                }
            }
        }));
    }
    if !matches!(function, "rate" | "increase") {
        return None;
    }
    let by_type = ctx.options.type_and_unit_labels;
    // Most queries select one metric: remember which names and types were remarked upon, by row.
    if !names.iter().any(|labels| is_possibly_no_counter(labels, by_type)) {
        return None;
    }
    let names = names.to_vec();
    let seen = std::sync::Mutex::new(HashMap::<String, HashSet<String>>::new());
    Some(Box::new(move |index, out| {
        let labels = &names[index];
        if !is_possibly_no_counter(labels, by_type) || out.iter().all(|value| is_absent(*value)) {
            return;
        }
        let kind = if by_type { labels.get(METRIC_TYPE).unwrap_or_default() } else { "" };
        let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !seen.get(labels.metric_name()).is_some_and(|kinds| kinds.contains(kind)) {
            seen.entry(labels.metric_name().to_owned()).or_default().insert(kind.to_owned());
            ctx.info(span, no_counter_text(labels, by_type));
        }
    }))
}

/// Whether a function looks at start times.
fn uses_starts(function: &str) -> bool {
    matches!(function, "rate" | "increase" | "irate" | "resets")
}

/// The kernel of a function for numbers with start times, if those make a difference. `names`: labels by row.
fn started_kernel<'a>(
    ctx: &'a Context<'a>,
    function: &str,
    windows: WindowGrid,
    extended: Option<Extended>,
    span: Span,
    names: &[LabelSet],
) -> Option<StartedKernel<'a>> {
    let names = names.to_vec();
    let started_rate = |is_rate: bool| -> StartedKernel<'a> {
        Box::new(move |index, samples, starts_ms, scratch, out| {
            if started_rate::has_overlap(samples, starts_ms, &windows, scratch) {
                let name = names[index].metric_name();
                annotate::Remarks { ctx, span, name }.overlapping_starts();
            }
            started_rate::extrapolated(samples, starts_ms, &windows, is_rate, scratch, out);
        })
    };
    match (function, extended) {
        ("rate", None) => Some(started_rate(true)),
        ("increase", None) => Some(started_rate(false)),
        ("irate", None) => Some(Box::new(move |_, samples, starts_ms, _, out| {
            started_rate::instant(samples, starts_ms, &windows, out);
        })),
        ("resets", extended) => Some(Box::new(move |_, samples, starts_ms, scratch, out| {
            let is_reset = |index| started_rate::is_reset(samples, starts_ms, index);
            match extended {
                None => {
                    let flags = (1..samples.values.len()).map(is_reset);
                    over_time::count_flags(samples, &windows, scratch, flags, out);
                }
                Some(extended) => rate::extended_count_at(samples, &windows, extended, is_reset, out),
            }
        })),
        _ => None,
    }
}

/// The kernels of a function with the remarks it makes.
fn with_remark<'a>(
    floats: &Arc<RowKernel<'a>>,
    started: Option<Arc<StartedKernel<'a>>>,
    mixed: MixedKernel<'a>,
    remark: Option<Remark<'a>>,
) -> Kernels<'a> {
    let plain = Arc::clone(floats);
    let Some(remark) = remark.map(Arc::new) else {
        return Kernels {
            floats: Box::new(move |index, samples, scratch, out| plain(index, samples, scratch, out)),
            started: started.map(|started| -> StartedKernel<'a> {
                Box::new(move |index, samples, starts_ms, scratch, out| {
                    started(index, samples, starts_ms, scratch, out);
                })
            }),
            mixed,
        };
    };
    let same_remark = Arc::clone(&remark);
    let started_remark = Arc::clone(&remark);
    Kernels {
        started: started.map(|started| -> StartedKernel<'a> {
            Box::new(move |index, samples, starts_ms, scratch, out| {
                started(index, samples, starts_ms, scratch, out);
                started_remark(index, out);
            })
        }),
        floats: Box::new(move |index, samples, scratch, out| {
            plain(index, samples, scratch, out);
            same_remark(index, out);
        }),
        mixed: Box::new(move |index, samples, scratch, out| {
            mixed(index, samples, scratch, out);
            remark(index, &out.numbers());
        }),
    }
}

/// Whether a call has a range vector among its arguments.
pub(crate) fn has_range_vector(args: &[Expr]) -> bool {
    args.iter().any(|arg| {
        matches!(arg.unwrap_parens().kind, ExprKind::MatrixSelector { .. } | ExprKind::Subquery { .. })
    })
}

/// The rows of a function over a range vector.
pub(crate) fn range_rows<'a>(
    ctx: &'a Context<'a>,
    function: &'static str,
    args: &'a [Expr],
    grid: &StepGrid,
) -> Result<Rows<'a>, EvalError> {
    let mut scalars = Vec::new();
    let mut vector = None;
    let mut scalar_span = None;
    for arg in args {
        let arg = arg.unwrap_parens();
        if matches!(arg.kind, ExprKind::MatrixSelector { .. } | ExprKind::Subquery { .. }) {
            vector = Some(range_vector(ctx, arg, grid)?);
        } else {
            scalar_span.get_or_insert(arg.span);
            scalars.push(super::eval(ctx, arg, grid)?.into_scalars()?);
        }
    }
    let mut vector = vector.ok_or_else(|| execution(format!("missing range vector of {function}")))?;
    check_extension(function, vector.extension)?;
    let quantiles = (function == "quantile_over_time")
        .then(|| {
            let q = scalars.first()?;
            let is_outside = |q: &f64| q.is_nan() || !(0.0..=1.0).contains(q);
            let mut outside: Vec<f64> = q.distinct().iter().copied().filter(is_outside).collect();
            outside.dedup_by(|left, right| left.to_bits() == right.to_bits());
            (!outside.is_empty()).then_some((outside, scalar_span?))
        })
        .flatten();
    // Remarks of `quantile_over_time` point to its first argument, which is the quantile.
    let span =
        if function == "quantile_over_time" { scalar_span.unwrap_or(vector.span) } else { vector.span };
    let names: Vec<LabelSet> = vector.labels.iter().map(|labels| labels.set.clone()).collect();
    let remark = remark(ctx, function, &names, vector.span, quantiles);
    let of_deltas = match delta::rows_of(function, &names) {
        Some(is_delta) => Some((is_delta, delta::kernels(ctx, function, &vector, *grid, &names)?)),
        None => None,
    };
    let floats = Arc::new(kernel(ctx, function, vector.extension, vector.windows, *grid, scalars)?);
    let extended = vector.extension.map(|extension| extended_of(ctx, extension));
    let started = if ctx.options.use_start_timestamps && uses_starts(function) {
        vector.source.read_starts();
        started_kernel(ctx, function, vector.windows, extended, span, &names).map(Arc::new)
    } else {
        None
    };
    let numbers = histogram_windows::NumberKernels { plain: Arc::clone(&floats), started: started.clone() };
    let mixed = histogram_windows::kernel(ctx, function, vector.windows, extended, span, names, numbers);
    let mut kernels = with_remark(&floats, started, mixed, remark);
    if let Some((is_delta, of_deltas)) = of_deltas {
        kernels = kernels.or(is_delta, of_deltas);
    }
    let mut labels = vector.labels;
    if !matches!(function, "last_over_time" | "first_over_time") {
        for labels in &mut labels {
            labels.drop_metadata(ctx.options.delayed_name_removal);
        }
    }
    let selector = vector.selector;
    let name = move || selector.map_or_else(String::new, |selector| describe(&selector.matchers));
    let rows = Rows::stream(labels, grid.count, vector.source, kernels, name);
    if ctx.options.delayed_name_removal || function == "absent_over_time" || !has_duplicates(&rows.labels) {
        return Ok(rows);
    }
    // Without their names some series look alike: an error, but only if they have values.
    let block = rows.into_block(ctx)?;
    if has_duplicates(&block.labels) { Err(duplicate_labels()) } else { Ok(Rows::from_block(block)) }
}

fn has_duplicates(labels: &[RowLabels]) -> bool {
    let mut seen = HashSet::with_capacity(labels.len());
    !labels.iter().all(|labels| seen.insert(&labels.set))
}

/// `absent_over_time`: 1 at every step at which no series has a sample in its window.
pub(crate) fn absent_over_time<'a>(
    ctx: &'a Context<'a>,
    args: &'a [Expr],
    grid: &StepGrid,
) -> Result<Block, EvalError> {
    let _reservation = ctx.reserve_numbers(2, grid.count, String::new)?;
    let rows = range_rows(ctx, "absent_over_time", args, grid)?;
    let labels = args.first().map_or_else(LabelSet::empty, super::call::labels_for_absent);
    super::call::absent_block(ctx, &rows, grid, labels)
}

//! Functions over instant vectors and numbers. Only dispatch and the small ones; the others have their own files.

use mytsdb_storage::model::{LabelSet, LabelSetBuilder, METRIC_NAME, MatchOp};

use super::block::{Block, Operand, Scalars};
use super::context::{Context, execution};
use super::rows::Rows;
use super::selector::{Wanted, instant_rows, presence_rows};
use super::{classic_histogram, eval, info, label_functions, native_histogram, range_call, sort};
use crate::engine::EvalError;
use crate::grid::StepGrid;
use crate::kernel::time::{DatePart, date_part, whole_seconds};
use crate::kernel::{ABSENT, is_absent, math};
use crate::parse::ast::{Expr, ExprKind};

/// A function call with its place in time.
pub(crate) struct Call<'a> {
    pub(crate) ctx: &'a Context<'a>,
    pub(crate) function: &'static str,
    pub(crate) args: &'a [Expr],
    pub(crate) grid: &'a StepGrid,
    /// The call itself.
    pub(crate) expr: &'a Expr,
}

impl<'a> Call<'a> {
    /// An argument without parentheses.
    pub(crate) fn arg(&self, index: usize) -> Result<&'a Expr, EvalError> {
        let missing = || execution(format!("missing argument {} of {}", index + 1, self.function));
        self.args.get(index).map(Expr::unwrap_parens).ok_or_else(missing)
    }

    /// An argument as series.
    pub(crate) fn vector(&self, index: usize) -> Result<Block, EvalError> {
        eval(self.ctx, self.arg(index)?, self.grid)?.into_block()
    }

    /// An argument as numbers.
    pub(crate) fn scalars(&self, index: usize) -> Result<Scalars, EvalError> {
        eval(self.ctx, self.arg(index)?, self.grid)?.into_scalars()
    }

    /// An argument as bytes.
    pub(crate) fn bytes(&self, index: usize) -> Result<Vec<u8>, EvalError> {
        eval(self.ctx, self.arg(index)?, self.grid)?.into_string()
    }

    /// An argument as text; bytes that are no UTF-8 are replaced.
    pub(crate) fn text(&self, index: usize) -> Result<String, EvalError> {
        Ok(String::from_utf8_lossy(&self.bytes(index)?).into_owned())
    }

    /// Applies `function(value, step)` to every number and drops the names; histograms are passed over.
    fn map(&self, mut block: Block, function: impl Fn(f64, usize) -> f64) -> Result<Operand, EvalError> {
        block.drop_histograms();
        self.map_all(block, function)
    }

    /// As [`Self::map`], but histograms count as values: they become numbers, too.
    fn map_all(&self, mut block: Block, function: impl Fn(f64, usize) -> f64) -> Result<Operand, EvalError> {
        drop(block.take_histograms());
        for index in 0..block.len() {
            for (step, value) in block.row_mut(index).iter_mut().enumerate() {
                if !is_absent(*value) {
                    *value = function(*value, step);
                }
            }
        }
        block.drop_metadata(self.ctx)?;
        Ok(Operand::Vector(block))
    }
}

/// Evaluates a function call.
pub(crate) fn call(call: &Call<'_>) -> Result<Operand, EvalError> {
    if let Some(function) = math::unary(call.function) {
        return call.map(call.vector(0)?, |value, _| function(value));
    }
    if let Some(function) = native_histogram::of_one(call.function) {
        return native_histogram::map(call, function);
    }
    if call.function == "absent_over_time" {
        return range_call::absent_over_time(call.ctx, call.args, call.grid).map(Operand::Vector);
    }
    if range_call::has_range_vector(call.args) {
        let rows = range_call::range_rows(call.ctx, call.function, call.args, call.grid)?;
        return rows.into_block(call.ctx).map(Operand::Vector);
    }
    match call.function {
        "time" => time_scalars(call),
        "pi" => Ok(Operand::Scalar(Scalars::Constant(std::f64::consts::PI))),
        "start" => Ok(Operand::Scalar(Scalars::Constant(call.ctx.start_ms as f64 / 1000.0))),
        "end" => Ok(Operand::Scalar(Scalars::Constant(call.ctx.end_ms as f64 / 1000.0))),
        "step" => Ok(Operand::Scalar(Scalars::Constant(call.ctx.step_ms as f64 / 1000.0))),
        "range" => {
            let range_ms = call.ctx.end_ms - call.ctx.start_ms;
            Ok(Operand::Scalar(Scalars::Constant(range_ms as f64 / 1000.0)))
        }
        "max_of" => pick(call, math::max),
        "min_of" => pick(call, math::min),
        "scalar" => scalar(call),
        "vector" => vector(call),
        "clamp" => clamp(call, call.scalars(1)?, call.scalars(2)?),
        "clamp_min" => clamp(call, call.scalars(1)?, Scalars::Constant(f64::INFINITY)),
        "clamp_max" => clamp(call, Scalars::Constant(f64::NEG_INFINITY), call.scalars(1)?),
        "round" => {
            let nearest = if call.args.len() > 1 { call.scalars(1)? } else { Scalars::Constant(1.0) };
            call.map(call.vector(0)?, |value, step| math::round(value, 1.0 / nearest.at(step)))
        }
        "timestamp" => timestamp(call),
        "start_timestamp" => start_timestamp(call),
        "absent" => absent(call),
        "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
            sort::sort(call).map(Operand::Vector)
        }
        "label_replace" => label_functions::label_replace(call).map(Operand::Vector),
        "label_join" => label_functions::label_join(call).map(Operand::Vector),
        "info" => info::info(call).map(Operand::Vector),
        "histogram_quantile" => classic_histogram::histogram_quantile(call).map(Operand::Vector),
        "histogram_quantiles" => classic_histogram::histogram_quantiles(call).map(Operand::Vector),
        "histogram_fraction" => classic_histogram::histogram_fraction(call).map(Operand::Vector),
        other => match date_function(other) {
            Some(part) => date(call, part),
            None => Err(EvalError::Unsupported(format!("function {other}"))),
        },
    }
}

fn date_function(function: &str) -> Option<DatePart> {
    Some(match function {
        "days_in_month" => DatePart::DaysInMonth,
        "day_of_month" => DatePart::DayOfMonth,
        "day_of_week" => DatePart::DayOfWeek,
        "day_of_year" => DatePart::DayOfYear,
        "hour" => DatePart::Hour,
        "minute" => DatePart::Minute,
        "month" => DatePart::Month,
        "year" => DatePart::Year,
        _ => return None,
    })
}

fn date(call: &Call<'_>, part: DatePart) -> Result<Operand, EvalError> {
    if !call.args.is_empty() {
        return call.map(call.vector(0)?, |value, _| date_part(whole_seconds(value), part));
    }
    let _reservation = call.ctx.reserve_numbers(1, call.grid.count, String::new)?;
    let values = (0..call.grid.count).map(|step| date_part(call.grid.time_ms(step) / 1000, part)).collect();
    Block::one(call.ctx, LabelSet::empty(), values).map(Operand::Vector)
}

fn time_scalars(call: &Call<'_>) -> Result<Operand, EvalError> {
    let _reservation = call.ctx.reserve_numbers(1, call.grid.count, String::new)?;
    let times = (0..call.grid.count).map(|step| call.grid.time_ms(step) as f64 / 1000.0).collect();
    Ok(Operand::Scalar(Scalars::Steps(times)))
}

fn pick(call: &Call<'_>, choose: impl Fn(f64, f64) -> f64) -> Result<Operand, EvalError> {
    let mut best = call.scalars(0)?;
    for index in 1..call.args.len() {
        let other = call.scalars(index)?;
        best = match (best, other) {
            (Scalars::Constant(left), Scalars::Constant(right)) => Scalars::Constant(choose(left, right)),
            (left, right) => Scalars::Steps(
                (0..call.grid.count).map(|step| choose(left.at(step), right.at(step))).collect(),
            ),
        };
    }
    Ok(Operand::Scalar(best))
}

/// The value of the only series at each step, else NaN.
fn scalar(call: &Call<'_>) -> Result<Operand, EvalError> {
    let mut block = call.vector(0)?;
    block.drop_histograms();
    let _reservation = call.ctx.reserve_numbers(1, call.grid.count, String::new)?;
    let mut values = vec![ABSENT; call.grid.count];
    let mut is_ambiguous = vec![false; call.grid.count];
    for (_, row) in block.rows() {
        for (step, value) in row.iter().enumerate().filter(|(_, value)| !is_absent(**value)) {
            is_ambiguous[step] |= !is_absent(values[step]);
            values[step] = *value;
        }
    }
    for (value, is_ambiguous) in values.iter_mut().zip(is_ambiguous) {
        if is_ambiguous || is_absent(*value) {
            *value = f64::NAN;
        }
    }
    Ok(Operand::Scalar(Scalars::Steps(values)))
}

fn vector(call: &Call<'_>) -> Result<Operand, EvalError> {
    let scalars = call.scalars(0)?;
    let _reservation = call.ctx.reserve_numbers(1, call.grid.count, String::new)?;
    let values = (0..call.grid.count).map(|step| scalars.at(step)).collect();
    Block::one(call.ctx, LabelSet::empty(), values).map(Operand::Vector)
}

fn clamp(call: &Call<'_>, low: Scalars, high: Scalars) -> Result<Operand, EvalError> {
    let clamped = |value: f64, step: usize| {
        let (low, high) = (low.at(step), high.at(step));
        if high < low { ABSENT } else { math::max(low, math::min(high, value)) }
    };
    let Operand::Vector(mut block) = call.map(call.vector(0)?, clamped)? else {
        return Err(execution("expected type instant vector"));
    };
    block.retain_present();
    Ok(Operand::Vector(block))
}

fn timestamp(call: &Call<'_>) -> Result<Operand, EvalError> {
    let arg = call.arg(0)?;
    if let ExprKind::VectorSelector(selector) = &arg.kind {
        let rows: Rows<'_> = instant_rows(call.ctx, selector, arg.span, call.grid, Wanted::Time)?;
        let mut block = rows.into_block(call.ctx)?;
        block.drop_metadata(call.ctx)?;
        return Ok(Operand::Vector(block));
    }
    call.map_all(call.vector(0)?, |_, step| call.grid.time_ms(step) as f64 / 1000.0)
}

/// The start times of a selector's samples, 0 where they are unknown; of anything else nothing is known.
fn start_timestamp(call: &Call<'_>) -> Result<Operand, EvalError> {
    let arg = call.arg(0)?;
    match &arg.kind {
        ExprKind::VectorSelector(selector) if call.ctx.options.use_start_timestamps => {
            let rows: Rows<'_> = instant_rows(call.ctx, selector, arg.span, call.grid, Wanted::StartTime)?;
            let mut block = rows.into_block(call.ctx)?;
            block.drop_metadata(call.ctx)?;
            Ok(Operand::Vector(block))
        }
        _ => {
            drop(call.vector(0)?);
            Ok(Operand::Vector(Block::empty(call.grid.count)))
        }
    }
}

fn absent(call: &Call<'_>) -> Result<Operand, EvalError> {
    let rows = presence_rows(call.ctx, call.arg(0)?, call.grid)?;
    let _reservation = call.ctx.reserve_numbers(1, call.grid.count, String::new)?;
    let labels = labels_for_absent(call.arg(0)?);
    absent_block(call.ctx, &rows, call.grid, labels).map(Operand::Vector)
}

/// One series with `labels`: 1 at every step at which none of `rows` has a value.
pub(crate) fn absent_block(
    ctx: &Context<'_>,
    rows: &Rows<'_>,
    grid: &StepGrid,
    labels: LabelSet,
) -> Result<Block, EvalError> {
    let mut values = vec![1.0; grid.count];
    rows.visit(ctx, 0..rows.len(), |_, row| {
        for (value, found) in values.iter_mut().zip(row.values) {
            if !is_absent(*found) {
                *value = ABSENT;
            }
        }
    })?;
    let mut block = Block::one(ctx, labels, values)?;
    block.retain_present();
    Ok(block)
}

/// The labels that a selector fixes: those of equality matchers on names that occur once.
pub(crate) fn labels_for_absent(arg: &Expr) -> LabelSet {
    let (ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. }) =
        &arg.unwrap_parens().kind
    else {
        return LabelSet::empty();
    };
    let mut builder = LabelSetBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.delete(matcher.name());
        }
    }
    builder.build()
}

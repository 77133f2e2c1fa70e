//! Arithmetic and comparison of series with series: one-to-one, `group_left`, `group_right`, `fill`.
//!
//! Prometheus matches step by step. Here series are paired once per match group, and each pair is computed over all
//! steps; what Prometheus would refuse at some step is found by looking at the steps at which series meet.

use mytsdb_storage::model::LabelSet;

use super::binary_cells::{CellOperator, Outcome};
use super::block::{Block, RowLabels};
use super::cells::{Cell, HistogramRow, Row, RowWriter};
use super::context::{Context, execution};
use super::labels::{KeyIndex, KeyRule, LabelBudget, filtered, is_metadata, with_label, without_metadata};
use super::set_operators::match_rule;
use crate::budget::Reservation;
use crate::engine::EvalError;
use crate::kernel::math::{arithmetic, compare};
use crate::kernel::{ABSENT, is_absent};
use crate::parse::ast::{Binary, Cardinality, Span, VectorMatching};

/// The two sides of an operation, the one that may have many series per group first.
struct Sides<'a> {
    many: &'a Block,
    one: &'a Block,
    /// Whether `many` stands on the right (`group_right`).
    is_swapped: bool,
    fill_many: Option<f64>,
    fill_one: Option<f64>,
}

/// Series of one match group by index.
#[derive(Debug, Default)]
struct MatchGroup {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// An operation on series with series.
struct Matching<'a> {
    ctx: &'a Context<'a>,
    operation: &'a Binary,
    /// The whole operation.
    span: Span,
    sides: Sides<'a>,
    rule: KeyRule,
}

/// Result rows before they are put together.
struct Output<'a> {
    labels: Vec<RowLabels>,
    values: Vec<f64>,
    /// By row, those that have some.
    histograms: Vec<(usize, HistogramRow)>,
    /// What `values` takes.
    reservations: Vec<Reservation>,
    /// What labels take that `group_left` and `group_right` include.
    label_budget: LabelBudget<'a>,
}

/// Applies an arithmetic or comparison operator.
pub(crate) fn apply<'a>(
    ctx: &'a Context<'a>,
    operation: &'a Binary,
    span: Span,
    left: &'a Block,
    right: &'a Block,
) -> Result<Block, EvalError> {
    let matching = &operation.matching;
    let step_count = left.step_count;
    let is_swapped = matching.cardinality == Cardinality::OneToMany;
    let (many, one) = if is_swapped { (right, left) } else { (left, right) };
    // As in Prometheus, `fill_left` stands for the many side of `group_right` too, although it is on the right.
    let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
    let sides = Sides { many, one, is_swapped, fill_many, fill_one };
    let rule = match_rule(matching);
    let mut keys = KeyIndex::new(rule.clone());
    let mut groups: Vec<MatchGroup> = Vec::new();
    for (index, labels) in sides.many.labels.iter().enumerate() {
        let (number, is_new) = keys.number(&labels.set);
        if is_new {
            groups.push(MatchGroup::default());
        }
        groups[number].many.push(index);
    }
    for (index, labels) in sides.one.labels.iter().enumerate() {
        let (number, is_new) = keys.number(&labels.set);
        if is_new {
            groups.push(MatchGroup::default());
        }
        groups[number].one.push(index);
    }
    let matching = Matching { ctx, operation, span, sides, rule };
    matching.check_one_side(&groups)?;
    let row_count = groups.iter().fold(0_usize, |sum, group| sum.saturating_add(matching.row_count(group)));
    let reservations = vec![ctx.reserve_numbers(row_count, step_count, String::new)?];
    let label_budget = LabelBudget::new(ctx);
    let mut output =
        Output { labels: Vec::new(), values: Vec::new(), histograms: Vec::new(), reservations, label_budget };
    for (number, group) in groups.iter().enumerate() {
        if number % 64 == 0 {
            ctx.check_cancelled()?;
        }
        matching.group(group, &mut output)?;
    }
    let mut block = Block::from_rows(output.labels, output.values, step_count, output.reservations);
    block.set_histograms(ctx, output.histograms)?;
    block.hold(output.label_budget.finish()?);
    block.retain_present();
    if !ctx.options.delayed_name_removal || step_count != 1 {
        block.merge_duplicates()?;
    }
    Ok(block)
}

impl Matching<'_> {
    fn step_count(&self) -> usize {
        self.sides.many.step_count
    }

    fn matching(&self) -> &VectorMatching {
        &self.operation.matching
    }

    fn has_fill(&self) -> bool {
        self.sides.fill_many.is_some() || self.sides.fill_one.is_some()
    }

    /// How many rows a match group gives at most.
    fn row_count(&self, group: &MatchGroup) -> usize {
        let (many_count, one_count) = (group.many.len(), group.one.len());
        let filled = |fill: Option<f64>, count: usize| if fill.is_some() { count } else { 0 };
        many_count
            .saturating_mul(one_count)
            .saturating_add(filled(self.sides.fill_one, many_count))
            .saturating_add(filled(self.sides.fill_many, one_count))
    }

    /// Two series of the "one" side in one group at one step are an error, matched or not, unless the other side is
    /// empty at that step.
    fn check_one_side(&self, groups: &[MatchGroup]) -> Result<(), EvalError> {
        if groups.iter().all(|group| group.one.len() < 2) {
            return Ok(());
        }
        let step_count = self.step_count();
        let mut is_step_live = vec![self.has_fill(); step_count];
        for row in self.sides.many.values.chunks(step_count.max(1)) {
            for (is_live, value) in is_step_live.iter_mut().zip(row) {
                *is_live |= !is_absent(*value);
            }
        }
        let mut owner = vec![usize::MAX; step_count];
        for group in groups.iter().filter(|group| group.one.len() > 1) {
            owner.fill(usize::MAX);
            for index in &group.one {
                for (step, value) in self.sides.one.row(*index).iter().enumerate() {
                    if is_absent(*value) || !is_step_live[step] {
                        continue;
                    }
                    if owner[step] != usize::MAX {
                        return Err(self.duplicate_on_one_side(owner[step], *index));
                    }
                    owner[step] = *index;
                }
            }
        }
        Ok(())
    }

    fn duplicate_on_one_side(&self, first: usize, second: usize) -> EvalError {
        let labels = |index: usize| &self.sides.one.labels[index].set;
        let mut names = [labels(first).to_string(), labels(second).to_string()];
        names.sort();
        let group = self.rule.apply(labels(first));
        let side = if self.sides.is_swapped { "left" } else { "right" };
        execution(format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: [{}, {}]\
             ;many-to-many matching not allowed: matching labels must be unique on one side",
            names[0], names[1]
        ))
    }

    /// Computes all rows of one match group.
    fn group(&self, group: &MatchGroup, output: &mut Output<'_>) -> Result<(), EvalError> {
        let step_count = self.step_count();
        let start = output.labels.len();
        for many in &group.many {
            self.ctx.check_cancelled()?;
            for one in &group.one {
                let labels =
                    self.result_labels(&self.sides.many.labels[*many].set, &self.sides.one.labels[*one].set);
                self.push(output, labels, self.sides.many.cells(*many), self.sides.one.cells(*one))?;
            }
        }
        if let Some(fill) = self.sides.fill_one {
            let one_present = presence(self.sides.one, &group.one);
            for many in &group.many {
                let set = &self.sides.many.labels[*many].set;
                let labels = self.result_labels(set, &self.rule.apply(set));
                let filled: Vec<f64> =
                    one_present.iter().map(|is_present| if *is_present { ABSENT } else { fill }).collect();
                self.push(output, labels, self.sides.many.cells(*many), Row::floats(&filled))?;
            }
        }
        if let Some(fill) = self.sides.fill_many {
            let many_present = presence(self.sides.many, &group.many);
            for one in &group.one {
                let set = &self.sides.one.labels[*one].set;
                let labels = self.result_labels(&self.rule.apply(set), set);
                let filled: Vec<f64> =
                    many_present.iter().map(|is_present| if *is_present { ABSENT } else { fill }).collect();
                self.push(output, labels, Row::floats(&filled), self.sides.one.cells(*one))?;
            }
        }
        let is_single = output.labels.len() - start < 2;
        if is_single || (group.many.len() < 2 && !self.has_fill()) {
            return self.drop_unkept(output, start * step_count);
        }
        self.check_many_side(output, start)?;
        self.drop_unkept(output, start * step_count)
    }

    /// Adds a row: at steps where both sides have a value, the result, or [`UNKEPT`] if a comparison fails.
    fn push(
        &self,
        output: &mut Output<'_>,
        labels: RowLabels,
        many: Row<'_>,
        one: Row<'_>,
    ) -> Result<(), EvalError> {
        let op = self.operation.op;
        let is_swapped = self.sides.is_swapped;
        if !self.matching().include.is_empty() {
            output.label_budget.add(&labels.set)?;
        }
        output.labels.push(labels);
        if op.is_trim() || !many.histograms.is_empty() || !one.histograms.is_empty() {
            self.push_cells(output, many, one);
            return Ok(());
        }
        let pairs = many.values.iter().zip(one.values);
        if !op.is_comparison() {
            output.values.extend(pairs.map(|(many, one)| {
                if is_absent(*many) || is_absent(*one) {
                    ABSENT
                } else if is_swapped {
                    arithmetic(op, *one, *many)
                } else {
                    arithmetic(op, *many, *one)
                }
            }));
            return Ok(());
        }
        let return_bool = self.operation.return_bool;
        output.values.extend(pairs.map(|(many, one)| {
            if is_absent(*many) || is_absent(*one) {
                return ABSENT;
            }
            // A filter keeps the value of the left operand, whichever side has many.
            let (left, right) = if is_swapped { (*one, *many) } else { (*many, *one) };
            match (compare(op, left, right), return_bool) {
                (true, false) => left,
                (holds, true) => f64::from(u8::from(holds)),
                (false, false) => UNKEPT,
            }
        }));
        Ok(())
    }

    /// As [`Self::push`], for rows that may have histograms.
    fn push_cells(&self, output: &mut Output<'_>, many: Row<'_>, one: Row<'_>) {
        let operator = CellOperator { ctx: self.ctx, op: self.operation.op, span: self.span };
        let return_bool = self.operation.return_bool;
        let start = output.values.len();
        output.values.resize(start + many.values.len(), ABSENT);
        let mut histograms = HistogramRow::new();
        let mut row = RowWriter::new(&mut output.values[start..], &mut histograms);
        for step in 0..many.values.len() {
            let (many, one) = (many.cell(step), one.cell(step));
            let (left, right) = if self.sides.is_swapped { (&one, &many) } else { (&many, &one) };
            row.set(
                step,
                match operator.apply(left, right) {
                    Outcome::Value(Cell::Absent) | Outcome::Refused => Cell::Absent,
                    Outcome::Value(_) if return_bool => Cell::Float(1.0),
                    Outcome::Value(value) => value,
                    Outcome::Fails if return_bool => Cell::Float(0.0),
                    Outcome::Fails => Cell::Float(UNKEPT),
                },
            );
        }
        if !histograms.is_empty() {
            output.histograms.push((output.labels.len() - 1, histograms));
        }
    }

    /// Two results of one group at one step are an error unless their labels tell them apart.
    fn check_many_side(&self, output: &Output<'_>, start: usize) -> Result<(), EvalError> {
        let step_count = self.step_count();
        let is_one_to_one = self.matching().cardinality == Cardinality::OneToOne;
        let rows = &output.values[start * step_count..];
        let labels = &output.labels[start..];
        let mut owner = vec![usize::MAX; step_count];
        let meets = |rows_so_far: &mut Vec<usize>, index: usize| {
            let row = &rows[index * step_count..(index + 1) * step_count];
            let mut does_meet = false;
            for (owner, value) in rows_so_far.iter_mut().zip(row) {
                if !is_absent(*value) {
                    does_meet |= *owner != usize::MAX;
                    *owner = index;
                }
            }
            does_meet
        };
        if is_one_to_one {
            return match (0..labels.len()).any(|index| meets(&mut owner, index)) {
                false => Ok(()),
                true => Err(execution(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                )),
            };
        }
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by(|left, right| labels[*left].set.encoded().cmp(labels[*right].set.encoded()));
        for same in order.chunk_by(|left, right| labels[*left].set == labels[*right].set) {
            owner.fill(usize::MAX);
            if same.len() > 1 && same.iter().any(|index| meets(&mut owner, *index)) {
                return Err(execution(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                ));
            }
        }
        Ok(())
    }

    fn drop_unkept(&self, output: &mut Output<'_>, start: usize) -> Result<(), EvalError> {
        if self.operation.op.is_comparison() && !self.operation.return_bool {
            for value in output.values[start..].iter_mut().filter(|value| value.to_bits() == UNKEPT.to_bits())
            {
                *value = ABSENT;
            }
        }
        Ok(())
    }

    /// The labels of a result, from those of the many side and what `group_*` includes of the one side.
    fn result_labels(&self, many: &LabelSet, one: &LabelSet) -> RowLabels {
        let matching = self.matching();
        let mut set = if self.operation.op.is_comparison() || self.operation.op.is_trim() {
            many.clone()
        } else {
            filtered(many, |name| !is_metadata(name))
        };
        if matching.cardinality == Cardinality::OneToOne {
            set = filtered(&set, |name| matching.labels.iter().any(|label| label == name) == matching.is_on);
        }
        for name in &matching.include {
            set = with_label(&set, name, one.get(name).unwrap_or(""));
        }
        let drop_name = self.operation.return_bool;
        if drop_name && !self.ctx.options.delayed_name_removal {
            return RowLabels::kept(without_metadata(&set));
        }
        RowLabels { set, drop_name }
    }
}

/// "Matched, but the comparison does not hold": not a result, yet it counts as a match. A NaN of our own.
const UNKEPT: f64 = f64::from_bits(0x7ff0_0000_0000_0003);

/// Per step, whether any of these series has a value.
fn presence(block: &Block, indexes: &[usize]) -> Vec<bool> {
    let mut present = vec![false; block.step_count];
    for index in indexes {
        for (flag, value) in present.iter_mut().zip(block.row(*index)) {
            *flag |= !is_absent(*value);
        }
    }
    present
}

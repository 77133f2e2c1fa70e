//! Sums and means of the histograms of a group, step by step, beside those of its numbers.
//!
//! Source: Prometheus `promql/engine.go` (`aggregation`).

use std::sync::Arc;

use hashbrown::HashMap;
use mytsdb_storage::model::ResetHint;

use super::annotate::Remarks;
use super::block::Block;
use super::cells::{HistogramRow, Row};
use super::context::Context;
use super::rows::Rows;
use crate::budget::Reservation;
use crate::engine::EvalError;
use crate::histogram::{FloatHistogram, HistogramSum};
use crate::kernel::{HISTOGRAM, is_absent};
use crate::parse::ast::Span;

/// What is kept of the histograms of one group at one step.
#[derive(Debug)]
struct HistogramCell {
    sum: HistogramSum,
    count: f64,
    has_reset: bool,
    has_no_reset: bool,
    has_reconciled_bounds: bool,
    /// First series with exponential buckets and first with custom bounds.
    first_series: [Option<usize>; 2],
}

impl HistogramCell {
    fn new(series: usize, histogram: &FloatHistogram) -> Self {
        let mut cell = Self {
            sum: HistogramSum::new(histogram.clone()),
            count: 1.0,
            has_reset: false,
            has_no_reset: false,
            has_reconciled_bounds: false,
            first_series: [None, None],
        };
        cell.note(series, histogram);
        cell
    }

    fn note(&mut self, series: usize, histogram: &FloatHistogram) {
        self.has_reset |= histogram.reset_hint == ResetHint::Reset;
        self.has_no_reset |= histogram.reset_hint == ResetHint::NotReset;
        self.first_series[usize::from(histogram.has_custom_bounds())].get_or_insert(series);
    }

    fn add(&mut self, series: usize, histogram: &FloatHistogram) {
        self.note(series, histogram);
        self.count += 1.0;
        // A mixture of schemas is told in the end; the sum is of no use then.
        if let Ok(combined) = self.sum.add(histogram) {
            self.has_reconciled_bounds |= combined.has_reconciled_bounds;
        }
    }

    fn merge(&mut self, later: Self) {
        self.count += later.count;
        self.has_reset |= later.has_reset;
        self.has_no_reset |= later.has_no_reset;
        self.has_reconciled_bounds |= later.has_reconciled_bounds;
        for (first, later) in self.first_series.iter_mut().zip(later.first_series) {
            *first = (*first).or(later);
        }
        if let Ok(combined) = self.sum.merge(&later.sum) {
            self.has_reconciled_bounds |= combined.has_reconciled_bounds;
        }
    }

    /// The first series whose schema does not go with those before it.
    fn misfit(&self) -> Option<usize> {
        match self.first_series {
            [Some(exponential), Some(custom)] => Some(exponential.max(custom)),
            _ => None,
        }
    }
}

/// The histograms that one part of the series met, by group and step.
#[derive(Debug, Default)]
pub(super) struct HistogramPart {
    cells: HashMap<(u32, u32), HistogramCell>,
    reservations: Vec<Reservation>,
    failure: Option<EvalError>,
}

impl HistogramPart {
    /// Adds the histograms of one row.
    pub(super) fn add_row(&mut self, ctx: &Context<'_>, group: u32, series: usize, row: &Row<'_>) {
        if self.failure.is_some() {
            return;
        }
        let mut bytes = 0;
        for (step, histogram) in row.present_histograms() {
            match self.cells.get_mut(&(group, step as u32)) {
                Some(cell) => {
                    // A sum has the buckets of all its series, which may be different ones.
                    let before = cell.sum.memory_bytes();
                    cell.add(series, histogram);
                    bytes += cell.sum.memory_bytes().saturating_sub(before);
                }
                None => {
                    let cell = HistogramCell::new(series, histogram);
                    bytes += cell.sum.memory_bytes();
                    self.cells.insert((group, step as u32), cell);
                }
            }
        }
        if bytes > 0 {
            match ctx.reserve(bytes, String::new) {
                Ok(reservation) => self.reservations.push(reservation),
                Err(error) => self.failure = Some(error),
            }
        }
    }

    /// The part, unless its histograms take more memory than the query may have.
    pub(super) fn checked(self) -> Result<Self, EvalError> {
        match self.failure {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

/// What the histograms of a sum or mean are put together with.
pub(super) struct HistogramAggregation<'a> {
    pub(super) ctx: &'a Context<'a>,
    /// The aggregated expression.
    pub(super) span: Span,
    pub(super) is_mean: bool,
    pub(super) rows: &'a Rows<'a>,
    pub(super) of_series: &'a [u32],
}

impl HistogramAggregation<'_> {
    /// Merges the parts, in order, into the result, which holds the sums or means of the numbers.
    pub(super) fn finish(&self, parts: Vec<HistogramPart>, result: &mut Block) -> Result<(), EvalError> {
        let mut merged: HashMap<(u32, u32), HistogramCell> = HashMap::new();
        let mut reservations = Vec::new();
        for part in parts {
            reservations.extend(part.reservations);
            for (key, cell) in part.cells {
                match merged.remove(&key) {
                    None => merged.insert(key, cell),
                    Some(mut earlier) => {
                        earlier.merge(cell);
                        merged.insert(key, earlier)
                    }
                };
            }
        }
        if merged.is_empty() {
            return Ok(());
        }
        let mut keys: Vec<(u32, u32)> = merged.keys().copied().collect();
        keys.sort_unstable();
        let overflowing = keys.iter().filter(|key| self.is_mean && merged[*key].sum.value().has_overflow());
        let means = self.incremental_means(&overflowing.copied().collect::<Vec<_>>())?;
        let mut rows: Vec<HistogramRow> = vec![HistogramRow::new(); result.len()];
        for key in keys {
            let Some(cell) = merged.remove(&key) else { continue };
            let (group, step) = (key.0 as usize, key.1 as usize);
            let has_numbers = !is_absent(result.row(group)[step]);
            let mean = means.get(&key);
            let value = &mut result.row_mut(group)[step];
            match self.value(cell, has_numbers, mean) {
                Some(histogram) => {
                    *value = HISTOGRAM;
                    rows[group].push((key.1, Arc::new(histogram)));
                }
                None => *value = crate::kernel::ABSENT,
            }
        }
        result.set_histograms(self.ctx, rows.into_iter().enumerate())
    }

    /// The result of one group at one step, and what is to be said about it.
    fn value(
        &self,
        cell: HistogramCell,
        has_numbers: bool,
        mean: Option<&FloatHistogram>,
    ) -> Option<FloatHistogram> {
        let name = |series: usize| self.rows.labels[series].set.metric_name();
        let remarks = Remarks { ctx: self.ctx, span: self.span, name: cell.misfit().map_or("", name) };
        if cell.has_reconciled_bounds {
            remarks.reconciled("aggregation");
        }
        if cell.misfit().is_some() {
            remarks.mixed_schemas();
        }
        if has_numbers {
            self.ctx.warn(self.span, "encountered a mix of histograms and floats for aggregation");
        }
        if has_numbers || cell.misfit().is_some() {
            return None;
        }
        if cell.has_reset && cell.has_no_reset {
            remarks.conflicting_resets("aggregation");
        }
        let mut result = match mean {
            Some(mean) => mean.clone(),
            None => {
                let mut sum = cell.sum;
                if self.is_mean {
                    sum.divide(cell.count);
                }
                sum.finish()
            }
        };
        result.compact();
        Some(result)
    }

    /// Means whose sum overflows, taken again as incremental means.
    fn incremental_means(
        &self,
        keys: &[(u32, u32)],
    ) -> Result<HashMap<(u32, u32), FloatHistogram>, EvalError> {
        let mut members: HashMap<(u32, u32), Vec<Arc<FloatHistogram>>> =
            keys.iter().map(|key| (*key, Vec::new())).collect();
        if members.is_empty() {
            return Ok(HashMap::new());
        }
        self.rows.visit(self.ctx, 0..self.rows.len(), |series, row| {
            for (step, histogram) in row.present_histograms() {
                if let Some(members) = members.get_mut(&(self.of_series[series], step as u32)) {
                    members.push(Arc::clone(histogram));
                }
            }
        })?;
        let mean = |members: &[Arc<FloatHistogram>]| {
            HistogramSum::mean(members.iter().map(Arc::as_ref), |_| {}).ok().flatten()
        };
        Ok(members.iter().filter_map(|(key, members)| Some((*key, mean(members)?))).collect())
    }
}

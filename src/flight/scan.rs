//! Reads of tables: series after series, decoded as the client takes them, and what they may hold meanwhile.
//!
//! Input: a [`Selection`]. Output: an iterator of record batches. The list of series and the series that is being sent
//! count against the limits of queries. Not here: PromQL (see [`super::read`]), the batches themselves (see
//! [`super::rows`], [`super::shape`]).

use std::sync::Arc;

use arrow::array::RecordBatch;
use mytsdb_promql::{BudgetScope, EvalError, MemoryBudget, ParseOptions, Reservation, parse_selector};
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{Exemplar, LabelSet, METRIC_NAME, MatchOp, Matcher, TimeRange};
use mytsdb_storage::read::{ReadError, SampleColumns, SeriesSet};
use tonic::Status;

use super::rows::{Batches, Content, ReadSeries, batch_status};
use super::shape::{Shape, exemplar_batch, metadata_batch, series_batch};
use super::table::{RESOURCE_METRIC, Table};
use super::ticket::Selection;
use crate::queries::Place;

/// What a series of a list takes beside its labels.
const SERIES_BYTES: usize = 64;
/// What a decoded sample takes, in columns and in the batch that is built of it.
const SAMPLE_BYTES: usize = 48;
/// What an exemplar takes, about.
const EXEMPLAR_BYTES: usize = 256;

/// Record batches of a read.
pub(super) type BatchRows = Box<dyn Iterator<Item = Result<RecordBatch, Status>> + Send>;

/// What an evaluation or a read that failed is answered with.
pub(super) fn eval_status(error: EvalError) -> Status {
    match error {
        EvalError::Canceled => Status::cancelled(error.to_string()),
        EvalError::TimedOut => Status::deadline_exceeded(error.to_string()),
        EvalError::TooManyBytes { .. } => Status::resource_exhausted(error.to_string()),
        EvalError::Read(error) => read_status(&error),
        _ => Status::invalid_argument(error.to_string()),
    }
}

/// What damaged data are answered with.
pub(super) fn read_status(error: &ReadError) -> Status {
    match error {
        ReadError::TooManyExemplars { .. } => Status::resource_exhausted(error.to_string()),
        _ => Status::data_loss(error.to_string()),
    }
}

/// The matchers of every selector of `selection`, those of its table added.
///
/// # Errors
/// `InvalidArgument` with what is wrong with which selector.
pub(super) fn matchers(selection: &Selection, options: &ParseOptions) -> Result<Vec<Vec<Matcher>>, Status> {
    let of_table = match &selection.table {
        Table::Metric(name) => Some(name.as_str()),
        Table::Resources => Some(RESOURCE_METRIC),
        _ => None,
    };
    let of_table = of_table
        .map(|name| Matcher::new(MatchOp::Equal, METRIC_NAME, name))
        .transpose()
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    if selection.selectors.is_empty() {
        return Ok(vec![of_table.into_iter().collect()]);
    }
    let parse = |text: &String| {
        let mut matchers = parse_selector(text, options)
            .map_err(|error| Status::invalid_argument(format!("match {text:?}: {error}")))?;
        matchers.extend(of_table.clone());
        Ok(matchers)
    };
    selection.selectors.iter().map(parse).collect()
}

/// The series of several selections, each once.
#[derive(Debug)]
pub(super) struct FoundSeries {
    sets: Vec<(SeriesSet, Vec<Matcher>)>,
}

impl FoundSeries {
    /// Finds the series that any of `selectors` finds.
    pub(super) fn new(
        snapshot: &Snapshot,
        selectors: Vec<Vec<Matcher>>,
        range: TimeRange,
    ) -> Result<Self, Status> {
        let find = |matchers: Vec<Matcher>| {
            let set = snapshot.select(&matchers, range).map_err(|error| read_status(&error))?;
            Ok((set, matchers))
        };
        Ok(Self { sets: selectors.into_iter().map(find).collect::<Result<_, Status>>()? })
    }

    /// Bytes of the list.
    fn bytes(&self) -> usize {
        let of_set = |set: &SeriesSet| -> usize {
            (0..set.len()).map(|index| set.labels(index).encoded().len() + SERIES_BYTES).sum()
        };
        self.sets.iter().map(|(set, _)| of_set(set)).sum()
    }

    /// Position of every series: set, series of the set.
    pub(super) fn positions(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let all = self.sets.iter().enumerate();
        let all = all.flat_map(|(index, (set, _))| (0..set.len()).map(move |series| (index, series)));
        all.filter(|(index, series)| !self.is_in_set_before(*index, *series))
    }

    fn is_in_set_before(&self, set_index: usize, series: usize) -> bool {
        let labels = self.sets[set_index].0.labels(series);
        let finds = |matchers: &[Matcher]| {
            matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        };
        self.sets[..set_index].iter().any(|(_, matchers)| finds(matchers))
    }

    /// An upper estimate of the samples of a series.
    pub(super) fn estimated_sample_count(&self, (set, series): (usize, usize), range: TimeRange) -> usize {
        self.sets[set].0.estimated_sample_count(series, range)
    }
}

/// The batches of a table.
pub(super) fn batches(
    snapshot: &Snapshot,
    selection: &Selection,
    shape: Shape,
    options: &ParseOptions,
    mut held: Held,
    row_count_max: usize,
) -> Result<BatchRows, Status> {
    if shape == Shape::Metadata {
        let metadata = snapshot.metadata();
        let batches: Vec<_> =
            metadata.chunks(row_count_max).map(|rows| metadata_batch(rows).map_err(batch_status)).collect();
        return Ok(Box::new(batches.into_iter()));
    }
    let selectors = matchers(selection, options)?;
    if shape == Shape::Exemplars {
        return exemplar_batches(snapshot, &selectors, selection.range, held, row_count_max);
    }
    let found = FoundSeries::new(snapshot, selectors, selection.range)?;
    held.list = Some(held.reserve(found.bytes())?);
    let positions: Vec<(usize, usize)> = found.positions().collect();
    match shape {
        Shape::Samples(columns) => {
            let (content, range) = (columns.content, selection.range);
            let mut samples = SampleColumns::default();
            let series = positions.into_iter().map(move |(set, series)| {
                held.check()?;
                held.series = None;
                let set = &found.sets[set].0;
                let bytes = set.estimated_sample_count(series, range).saturating_mul(SAMPLE_BYTES);
                held.series = Some(held.reserve(bytes)?);
                set.read(series, range, &mut samples).map_err(|error| read_status(&error))?;
                taken(set.labels(series), &mut samples, content)
            });
            Ok(Box::new(Batches::new(Box::new(series), columns, row_count_max)))
        }
        _ => {
            let mut position = 0;
            Ok(Box::new(std::iter::from_fn(move || {
                let end = positions.len().min(position + row_count_max);
                let rows = positions.get(position..end).filter(|rows| !rows.is_empty())?;
                position = end;
                let checked = held.check();
                let labels = rows.iter().map(|(set, series)| found.sets[*set].0.labels(*series));
                Some(checked.and_then(|()| series_batch(labels).map_err(batch_status)))
            })))
        }
    }
}

/// Takes the samples of a series out of their columns.
fn taken(labels: &LabelSet, samples: &mut SampleColumns, content: Content) -> Result<ReadSeries, Status> {
    if content == Content::Floats && !samples.histograms.is_empty() {
        return Err(Status::invalid_argument(format!(
            "series {labels} has native histograms, which have no place in a value column: ask for them with \
             \"histograms\": true, by an export, or from the table histograms"
        )));
    }
    Ok(ReadSeries {
        labels: labels.clone(),
        timestamps_ms: std::mem::take(&mut samples.timestamps_ms),
        values: std::mem::take(&mut samples.values),
        starts: std::mem::take(&mut samples.starts),
        histograms: std::mem::take(&mut samples.histograms),
    })
}

fn exemplar_batches(
    snapshot: &Snapshot,
    selectors: &[Vec<Matcher>],
    range: TimeRange,
    mut held: Held,
    row_count_max: usize,
) -> Result<BatchRows, Status> {
    let limit = held.budget.bytes_left() / EXEMPLAR_BYTES;
    let mut found: Vec<(Arc<LabelSet>, Exemplar)> = Vec::new();
    for (index, matchers) in selectors.iter().enumerate() {
        let series = snapshot.exemplars(matchers, range, limit).map_err(|error| read_status(&error))?;
        for (labels, exemplars) in series {
            let finds = |matchers: &Vec<Matcher>| {
                matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
            };
            if selectors[..index].iter().any(finds) {
                continue;
            }
            let labels = Arc::new(labels);
            found.extend(exemplars.into_iter().map(|exemplar| (Arc::clone(&labels), exemplar)));
        }
        held.list = None;
        held.list = Some(held.reserve(found.len().saturating_mul(EXEMPLAR_BYTES))?);
    }
    let mut position = 0;
    Ok(Box::new(std::iter::from_fn(move || {
        let end = found.len().min(position + row_count_max);
        let rows = found.get(position..end).filter(|rows| !rows.is_empty())?;
        position = end;
        Some(held.check().and_then(|()| exemplar_batch(rows).map_err(batch_status)))
    })))
}

/// What a read holds until its last batch is sent: its entry in the list of queries, and its bytes.
#[derive(Debug)]
pub(super) struct Held {
    place: Place,
    budget: Arc<MemoryBudget>,
    /// The series that were found.
    list: Option<Reservation>,
    /// The one that is being sent.
    series: Option<Reservation>,
}

impl Held {
    /// Nothing yet, but at most `bytes_max` and what the tenant may hold. It no longer counts as running: the client may
    /// take its time.
    pub(super) fn new(mut place: Place, bytes_max: usize) -> Self {
        let parent = Some(Arc::clone(place.budget()));
        let budget = Arc::new(MemoryBudget::new(BudgetScope::Query, bytes_max, parent));
        place.give_up_turn();
        Self { place, budget, list: None, series: None }
    }

    fn reserve(&self, bytes: usize) -> Result<Reservation, Status> {
        self.budget.reserve(bytes, String::new).map_err(eval_status)
    }

    fn check(&self) -> Result<(), Status> {
        self.place.check_cancelled().map_err(eval_status)
    }
}

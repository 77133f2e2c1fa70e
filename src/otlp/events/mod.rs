//! Spans and log records in, time series out: how many there were and how long they took.
//!
//! Input: an `ExportTraceServiceRequest` or `ExportLogsServiceRequest` in protobuf. Way: [`spans`] and [`logs`] count
//! the events of the request by what tells them apart and by the second in which they ended; [`slots`] gives each such
//! second a time of its own within the second; [`request`] writes the counts as points of delta temporality, and those
//! go the way of all metrics.
//!
//! Why delta: a request says what happened, not how often it happened since some start. A point of its own per request
//! needs no state that a restart could lose: what was acknowledged is on disk, and `increase` sums it up.
//! Names and dimensions are those of the OpenTelemetry Collector's spanmetrics and count connectors.
//! Not here: keeping spans and log records themselves; nobody does.

mod cardinality;
mod logs;
mod request;
mod slots;
mod spans;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use mytsdb_storage::Commit;
use mytsdb_storage::model::{METRIC_NAME, Matcher, TenantId, TimeRange};
use mytsdb_storage::read::{ReadError, SampleColumns};

use self::cardinality::Cardinality;
use self::request::{Cell, Dimensions};
pub(super) use self::slots::SlotError;
use self::slots::Slots;
use super::OtlpOptions;
use super::columns::{DELTA, TEMPORALITY_LABEL};
use super::ingest::{OtlpError, ingest};
use super::known::KnownMetadata;
use super::naming::NameKind;
use super::options::DeltaTemporality;
use super::outcome::Outcome;
use super::signal::Signal;
use super::tally::Tally;
use crate::core::Core;
use crate::wire::WireError;

/// Name of the counter of spans.
const CALLS: &str = "traces.span.metrics.calls";
/// Name of the histogram of spans' durations.
const DURATION: &str = "traces.span.metrics.duration";
/// Name of the counter of log records.
const LOG_RECORDS: &str = "log.record.count";

/// Most cells of one request: a byte of a request must not cost any amount of memory. No batch of a client has so many.
const CELL_COUNT_MAX: usize = 20_000;

/// What is remembered of the events of all tenants.
#[derive(Debug, Default)]
pub(super) struct Events {
    tenants: Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<TenantEvents>>>>,
}

/// What is remembered of one tenant's events. All of it can be lost: a restart begins with nothing.
///
/// Whoever has it locked takes slots and writes to them, so that the storage shows to the next one all slots taken.
#[derive(Debug, Default)]
pub(super) struct TenantEvents {
    slots: Slots,
    cardinality: Cardinality,
}

impl Events {
    /// What is remembered of a tenant.
    pub(super) fn of(&self, tenant: &TenantId) -> Arc<tokio::sync::Mutex<TenantEvents>> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tenants.entry(tenant.clone()).or_default())
    }
}

/// The events of one request, counted.
#[derive(Debug, Default)]
struct Counted<'a> {
    resources: Vec<ResourceEvents<'a>>,
    /// Events in the request.
    event_count: usize,
    /// Events that cannot be counted.
    refused: Tally,
}

/// The events of one resource.
#[derive(Debug)]
struct ResourceEvents<'a> {
    /// The resource's own bytes.
    resource: &'a [u8],
    service_name: Option<String>,
    cells: Vec<Cell<'a>>,
}

/// Counts the events of one request.
#[derive(Debug, Default)]
struct Counter<'a> {
    counted: Counted<'a>,
    /// Bytes of a resource → its place; what comes in several parts is counted together.
    places: HashMap<&'a [u8], usize>,
    /// Place of the resource, dimensions and second → place of the cell in the resource.
    cells: HashMap<(usize, Dimensions<'a>, i64), usize>,
}

impl<'a> Counter<'a> {
    /// The cell of an event; `None`, and the event is refused, if the request has too many.
    ///
    /// `place`: that of the resource, once it is known.
    fn cell(
        &mut self,
        place: &mut Option<usize>,
        resource: &'a [u8],
        dimensions: Dimensions<'a>,
        second: i64,
    ) -> Result<Option<&mut Cell<'a>>, WireError> {
        let known = place.or_else(|| self.places.get(resource).copied());
        let at = known.unwrap_or(self.counted.resources.len());
        let key = (at, dimensions, second);
        let index = match self.cells.get(&key).copied() {
            Some(index) => index,
            None if self.cells.len() >= CELL_COUNT_MAX => {
                let message =
                    || format!("the request has more than {CELL_COUNT_MAX} series and seconds to count in");
                self.counted.refused.add("too_many_cells", "", 1, message);
                return Ok(None);
            }
            None => {
                if known.is_none() {
                    let service_name = request::service_name_of(resource)?;
                    self.counted.resources.push(ResourceEvents { resource, service_name, cells: Vec::new() });
                    self.places.insert(resource, at);
                }
                let Some(events) = self.counted.resources.get_mut(at) else { return Ok(None) };
                events.cells.push(Cell::new(key.1.clone(), second));
                let index = events.cells.len() - 1;
                self.cells.insert(key, index);
                index
            }
        };
        *place = Some(at);
        Ok(self.counted.resources.get_mut(at).and_then(|events| events.cells.get_mut(index)))
    }
}

impl TenantEvents {
    /// Counts the events of `body` and appends the counts.
    ///
    /// # Errors
    /// [`OtlpError`]; refused events are not an error but part of the outcome.
    pub(super) fn ingest(
        &mut self,
        core: &Core,
        tenant: &TenantId,
        options: &OtlpOptions,
        known: &KnownMetadata,
        (signal, body): (Signal, &[u8]),
    ) -> Result<(Outcome, Commit), OtlpError> {
        let counted = match signal {
            Signal::Logs => logs::count(body)?,
            _ => {
                let mut counted = spans::count(body)?;
                self.cardinality.limit(core, options.traces_cardinality_limit, &mut counted);
                counted
            }
        };
        let seconds: BTreeSet<i64> =
            counted.resources.iter().flat_map(|one| &one.cells).map(|cell| cell.second).collect();
        let look_up = |range| taken_slots(core, tenant, options, range);
        let times_ms = self.slots.take(core.storage.series_key(body), seconds, core.now_ms(), look_up)?;
        let bytes = request::metrics_request(&counted, &times_ms, signal);
        let options = OtlpOptions { delta_temporality: DeltaTemporality::Keep, ..options.clone() };
        let (outcome, commit) = ingest(core, tenant, &options, known, &bytes)?;
        Ok((told_in_events(&counted, outcome, signal), commit))
    }
}

/// The outcome of the points in the words of the events that they count.
fn told_in_events(counted: &Counted<'_>, of_points: Outcome, signal: Signal) -> Outcome {
    let mut event_counts = Vec::new();
    for cell in counted.resources.iter().flat_map(|one| &one.cells) {
        event_counts.extend(std::iter::repeat_n(cell.count as usize, request::point_count_of(signal)));
    }
    Outcome::of_events(signal, counted.event_count, counted.refused.clone(), &of_points, |point_index| {
        // Points of one cell stand side by side; the cell's events are refused once.
        let first = point_index - point_index % request::point_count_of(signal);
        (first, event_counts.get(point_index).copied().unwrap_or(0))
    })
}

/// The times of all samples of the counters of events in a range.
///
/// Every event of a tenant is in one of two counters, whatever else it makes.
fn taken_slots(
    core: &Core,
    tenant: &TenantId,
    options: &OtlpOptions,
    range: TimeRange,
) -> Result<Vec<i64>, SlotError> {
    let mut times_ms = Vec::new();
    let mut columns = SampleColumns::default();
    let mut read = |name: &str| -> Result<(), ReadError> {
        let matchers = [Matcher::equal(METRIC_NAME, name), Matcher::equal(TEMPORALITY_LABEL, DELTA)];
        let series = core.storage.reader(tenant).select(&matchers, range)?;
        for index in 0..series.len() {
            series.read_presence(index, range, &mut columns)?;
            times_ms.extend_from_slice(&columns.timestamps_ms);
        }
        Ok(())
    };
    for name in [CALLS, LOG_RECORDS] {
        let failed = |reason| SlotError::Read { reason };
        let name = options
            .namer
            .metric_name(name, "", NameKind::Counter)
            .map_err(|error| failed(error.to_string()))?;
        read(&name).map_err(|error| failed(error.to_string()))?;
    }
    Ok(times_ms)
}

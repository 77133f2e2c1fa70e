//! What there is to read: `ListFlights`, `GetFlightInfo`, `GetSchema`.
//!
//! Input: descriptors. Output: `FlightInfo` with one endpoint on this server. Not here: reading (see [`super::read`]).

use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, SchemaAsIpc, SchemaResult, Ticket};
use bytes::Bytes;
use mytsdb_storage::model::{METRIC_NAME, TenantId, TimeRange};
use serde_json::{Value, json};
use tonic::Status;

use super::rows::RowLayout;
use super::scan::{self, FoundSeries, read_status};
use super::shape::Shape;
use super::sql;
use super::table::{Table, VIRTUAL};
use super::ticket::{Selection, Source, descriptor_query};
use crate::core::Core;

/// Series up to which an information counts their samples, which takes a look at every one.
const COUNTED_SERIES_MAX: usize = 100_000;

/// Tables whose name contains `fragment`, as flights with a path descriptor: those that always exist, then metrics.
pub(super) fn list(core: &Core, tenant: &TenantId, fragment: &str) -> Result<Vec<FlightInfo>, Status> {
    let names = core
        .storage
        .reader(tenant)
        .label_values(METRIC_NAME, &[], TimeRange::ALL)
        .map_err(|error| read_status(&error))?;
    let fixed = VIRTUAL.iter().map(|(table, _)| table.name().to_owned());
    // A metric named like a table that always exists is in `samples`, but no table of its own.
    let metrics = names.into_iter().filter(|name| matches!(Table::named(name), Ok(Table::Metric(_))));
    let wanted = fixed.chain(metrics).filter(|name| name.contains(fragment));
    wanted
        .map(|name| {
            let descriptor = FlightDescriptor::new_path(vec![name]);
            let query = descriptor_query(&descriptor)?;
            described(descriptor, &query.shape.schema(), None)
        })
        .collect()
}

/// How to read what `descriptor` names, and how much it is; may block.
pub(super) fn info(
    core: &Core,
    tenant: &TenantId,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    if let Some(command) = sql_command(&descriptor)? {
        let ticket = sql::ticket_of(&command, &descriptor.cmd);
        return match sql::read_of(command, tenant)? {
            sql::Read::Metadata(command) => {
                described(descriptor, &sql::metadata_schema(command)?, Some(ticket))
            }
            sql::Read::Query(query) => {
                let info = described(descriptor, &query.shape.schema(), Some(ticket))?;
                counted(core, tenant, info, &query.source, query.shape)
            }
        };
    }
    let query = descriptor_query(&descriptor)?;
    let info = described(descriptor, &query.shape.schema(), None)?;
    counted(core, tenant, info, &query.source, query.shape)
}

/// The schema of what `descriptor` names.
pub(super) fn schema(tenant: &TenantId, descriptor: &FlightDescriptor) -> Result<SchemaResult, Status> {
    let schema = match sql_command(descriptor)? {
        Some(command) => match sql::read_of(command, tenant)? {
            sql::Read::Metadata(command) => sql::metadata_schema(command)?,
            sql::Read::Query(query) => query.shape.schema(),
        },
        None => descriptor_query(descriptor)?.shape.schema(),
    };
    SchemaResult::try_from(SchemaAsIpc::new(&schema, &IpcWriteOptions::default()))
        .map_err(|error| Status::internal(format!("cannot encode the schema: {error}")))
}

fn sql_command(descriptor: &FlightDescriptor) -> Result<Option<arrow_flight::sql::Command>, Status> {
    if descriptor.r#type() == DescriptorType::Cmd { sql::command(&descriptor.cmd) } else { Ok(None) }
}

fn described(
    descriptor: FlightDescriptor,
    schema: &SchemaRef,
    ticket: Option<Bytes>,
) -> Result<FlightInfo, Status> {
    let ticket = match (ticket, descriptor.path.first()) {
        (Some(ticket), _) => ticket,
        (None, Some(name)) => json!({ "table": name, "layout": RowLayout::Long.word() }).to_string().into(),
        // A command is its own ticket.
        (None, None) => descriptor.cmd.clone(),
    };
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(format!("cannot encode the schema: {error}")))?;
    Ok(info
        .with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(ticket)))
        .with_descriptor(descriptor)
        .with_ordered(true)
        .with_total_records(-1)
        .with_total_bytes(-1))
}

/// Adds how many rows and series there are, as far as that is known without reading them.
fn counted(
    core: &Core,
    tenant: &TenantId,
    mut info: FlightInfo,
    source: &Source,
    shape: Shape,
) -> Result<FlightInfo, Status> {
    let Source::Table(selection) = source else { return Ok(info) };
    let counts = match shape {
        Shape::Metadata => {
            let metric_count = core.storage.reader(tenant).metadata().len();
            info.total_records = metric_count as i64;
            json!({ "metric_count": metric_count })
        }
        Shape::Exemplars => json!({}),
        Shape::Series | Shape::Samples(_) => {
            let (series_count, counts) = series_counts(core, tenant, selection, shape)?;
            if shape == Shape::Series {
                info.total_records = series_count as i64;
            }
            counts
        }
    };
    let mut metadata = json!({ "table": selection.table.name() });
    if let (Value::Object(metadata), Value::Object(counts)) = (&mut metadata, counts) {
        metadata.extend(counts);
    }
    info.app_metadata = metadata.to_string().into();
    Ok(info)
}

fn series_counts(
    core: &Core,
    tenant: &TenantId,
    selection: &Selection,
    shape: Shape,
) -> Result<(usize, Value), Status> {
    let range = selection.range;
    let selectors = scan::matchers(selection, &core.parse_options)?;
    let found = FoundSeries::new(&core.storage.reader(tenant), selectors, range)?;
    let positions: Vec<(usize, usize)> = found.positions().collect();
    let series_count = positions.len();
    let mut counts = json!({ "series_count": series_count });
    if shape != Shape::Series && series_count <= COUNTED_SERIES_MAX {
        let estimates = positions.into_iter().map(|position| found.estimated_sample_count(position, range));
        counts["sample_count_max"] = estimates.sum::<usize>().into();
    }
    Ok((series_count, counts))
}

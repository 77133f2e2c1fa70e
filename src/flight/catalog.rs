//! What there is to read: `ListFlights`, `GetFlightInfo`, `GetSchema`.
//!
//! Input: descriptors. Output: `FlightInfo` with one endpoint on this server. Not here: reading (see [`super::read`]).

use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, SchemaAsIpc, SchemaResult, Ticket};
use bytes::Bytes;
use mytsdb_storage::model::{METRIC_NAME, TenantId, TimeRange};
use tonic::Status;

use super::rows::RowLayout;
use super::ticket::{Query, Source, descriptor_query};
use crate::core::Core;

/// Metrics whose name contains `fragment`, as flights with a path descriptor.
pub(super) fn list(core: &Core, tenant: &TenantId, fragment: &str) -> Result<Vec<FlightInfo>, Status> {
    let names = core
        .storage
        .reader(tenant)
        .label_values(METRIC_NAME, &[], TimeRange::ALL)
        .map_err(|error| Status::data_loss(error.to_string()))?;
    let wanted = names.into_iter().filter(|name| name.contains(fragment));
    wanted.map(|name| info(FlightDescriptor::new_path(vec![name]))).collect()
}

/// How to read what `descriptor` names.
pub(super) fn info(descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
    let query = descriptor_query(&descriptor)?;
    let ticket = ticket_of(&descriptor, &query);
    let info = FlightInfo::new()
        .try_with_schema(&query.columns.schema())
        .map_err(|error| Status::internal(format!("cannot encode the schema: {error}")))?;
    Ok(info
        .with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(ticket)))
        .with_descriptor(descriptor)
        .with_ordered(true)
        .with_total_records(-1)
        .with_total_bytes(-1))
}

/// The schema of what `descriptor` names.
pub(super) fn schema(descriptor: &FlightDescriptor) -> Result<SchemaResult, Status> {
    let schema = descriptor_query(descriptor)?.columns.schema();
    SchemaResult::try_from(SchemaAsIpc::new(&schema, &IpcWriteOptions::default()))
        .map_err(|error| Status::internal(format!("cannot encode the schema: {error}")))
}

fn ticket_of(descriptor: &FlightDescriptor, query: &Query) -> Bytes {
    match (&query.source, descriptor.path.first()) {
        (Source::Table { .. }, Some(name)) => {
            serde_json::json!({ "table": name, "layout": RowLayout::Long.word() }).to_string().into()
        }
        // A command is its own ticket.
        _ => descriptor.cmd.clone(),
    }
}

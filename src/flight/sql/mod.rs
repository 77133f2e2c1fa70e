//! Flight SQL: bulk ingest, the catalog, and a few simple statements; so ADBC, JDBC and ODBC drivers connect.
//!
//! | Message | Answer |
//! |---|---|
//! | `CommandStatementIngest` (`DoPut`) | rows are written as by a path ([`ingest`]) |
//! | `CommandStatementQuery`, prepared statements | the rows of a [`statement`]; a handle is the text itself |
//! | `CommandGetSqlInfo`, `…Catalogs`, `…DbSchemas`, `…Tables`, `…TableTypes`, `…XdbcTypeInfo` | [`metadata`] |
//!
//! Catalog = tenant, schema = [`SCHEMA_NAME`]. Not here: a query engine for SQL, transactions, parameters.

pub(super) mod ingest;
mod metadata;
mod prepared;
mod statement;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::{Any, Command, ProstMessageExt, TicketStatementQuery};
use bytes::Bytes;
use mytsdb_storage::model::TenantId;
use prost::Message;
use tonic::Status;

use super::ticket::Query;
use crate::core::Core;

pub(super) use prepared::{close, create, is_action};

/// The one schema of every catalog.
pub(super) const SCHEMA_NAME: &str = "metrics";

/// First bytes of the names of all messages of Flight SQL.
const TYPE_PREFIX: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

/// The message of Flight SQL that a command or ticket holds; `None` if it holds something else.
///
/// # Errors
/// `InvalidArgument` if it says that it is one and is not.
pub(super) fn command(bytes: &[u8]) -> Result<Option<Command>, Status> {
    let Some(any) = Any::decode(bytes).ok().filter(|any| any.type_url.starts_with(TYPE_PREFIX)) else {
        return Ok(None);
    };
    let name = any.type_url.clone();
    match Command::try_from(any) {
        Ok(command) => Ok(Some(command)),
        Err(error) => Err(Status::invalid_argument(format!("cannot read {name}: {error}"))),
    }
}

/// The answer to a message that has none here.
pub(super) fn not_supported(command: &Command) -> Status {
    let name = command.type_url().trim_start_matches(TYPE_PREFIX);
    Status::unimplemented(format!(
        "{name} is not supported; Flight SQL here is bulk ingest (CommandStatementIngest), statements of the form {} and \
         the catalog",
        statement::FORMS
    ))
}

/// What a message asks to read.
#[derive(Debug, Clone)]
pub(super) enum Read {
    /// Rows of a table or of a PromQL query.
    Query(Box<Query>),
    /// Facts about the server and its tables.
    Metadata(Command),
}

/// What a message asks to read.
///
/// # Errors
/// `InvalidArgument` if its statement is none of those allowed; `Unimplemented` if it asks for something else.
pub(super) fn read_of(command: Command, tenant: &TenantId) -> Result<Read, Status> {
    let query = |text: &str| statement::parse(text, tenant).map(|query| Read::Query(Box::new(query)));
    match command {
        Command::CommandStatementQuery(statement) => query(&statement.query),
        Command::TicketStatementQuery(ticket) => query(text_of(&ticket.statement_handle)?),
        Command::CommandPreparedStatementQuery(prepared) => {
            query(text_of(&prepared.prepared_statement_handle)?)
        }
        Command::CommandGetSqlInfo(_)
        | Command::CommandGetCatalogs(_)
        | Command::CommandGetDbSchemas(_)
        | Command::CommandGetTables(_)
        | Command::CommandGetTableTypes(_)
        | Command::CommandGetXdbcTypeInfo(_) => Ok(Read::Metadata(command)),
        other => Err(not_supported(&other)),
    }
}

/// The ticket with which the rows of a message are fetched.
pub(super) fn ticket_of(command: &Command, bytes: &Bytes) -> Bytes {
    match command {
        Command::CommandStatementQuery(statement) => {
            let statement_handle = statement.query.clone().into();
            TicketStatementQuery { statement_handle }.as_any().encode_to_vec().into()
        }
        _ => bytes.clone(),
    }
}

/// Handles are the text of the statement.
fn text_of(handle: &[u8]) -> Result<&str, Status> {
    std::str::from_utf8(handle)
        .map_err(|_| Status::invalid_argument("the handle of a statement is not one of this server"))
}

/// The schema of facts.
pub(super) fn metadata_schema(command: Command) -> Result<SchemaRef, Status> {
    metadata::schema(command)
}

/// The facts; may block.
pub(super) fn metadata_batch(
    core: &Core,
    tenant: &TenantId,
    command: Command,
) -> Result<RecordBatch, Status> {
    metadata::batch(core, tenant, command)
}

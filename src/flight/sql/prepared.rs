//! Prepared statements without state: the handle is the text of the statement, so there is nothing to keep or to limit.

use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, ProstMessageExt,
};
use arrow_flight::{ActionType, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use mytsdb_storage::model::TenantId;
use prost::Message;
use tonic::Status;

use super::statement;

const CREATE: &str = "CreatePreparedStatement";
const CLOSE: &str = "ClosePreparedStatement";

/// The actions, for lists of them.
pub(in crate::flight) fn is_action(name: &str) -> Option<ActionType> {
    let description = match name {
        CREATE => "Flight SQL: prepares a statement. Body: ActionCreatePreparedStatementRequest.",
        CLOSE => "Flight SQL: forgets a prepared statement. Body: ActionClosePreparedStatementRequest.",
        _ => return None,
    };
    Some(ActionType { r#type: name.to_owned(), description: description.to_owned() })
}

/// Checks a statement and returns its handle and columns.
pub(in crate::flight) fn create(body: &[u8], tenant: &TenantId) -> Result<Bytes, Status> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Status::invalid_argument(format!("cannot read ActionCreatePreparedStatementRequest: {error}"))
    };
    let any = Any::decode(body).map_err(|error| unreadable(&error))?;
    let request: ActionCreatePreparedStatementRequest =
        any.unpack().map_err(|error| unreadable(&error))?.ok_or_else(|| unreadable(&any.type_url))?;
    let schema = statement::parse(&request.query, tenant)?.shape.schema();
    let IpcMessage(dataset_schema) =
        IpcMessage::try_from(SchemaAsIpc::new(&schema, &IpcWriteOptions::default()))
            .map_err(|error| Status::internal(format!("cannot encode the schema: {error}")))?;
    let result = ActionCreatePreparedStatementResult {
        prepared_statement_handle: request.query.into(),
        dataset_schema,
        parameter_schema: Bytes::new(),
    };
    Ok(result.as_any().encode_to_vec().into())
}

/// Forgets a statement: there is nothing to forget.
pub(in crate::flight) fn close() -> Bytes {
    Bytes::new()
}

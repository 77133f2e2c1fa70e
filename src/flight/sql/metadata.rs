//! Facts that drivers ask for: what the server can do, which catalogs, schemas and tables there are.
//!
//! A tenant sees its own catalog only. Metrics are of type `TABLE`, the tables that always exist of type `SYSTEM TABLE`.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Command, CommandGetSqlInfo, CommandGetTables, SqlInfo};
use mytsdb_storage::model::{METRIC_NAME, TenantId, TimeRange};
use tonic::Status;

use super::{SCHEMA_NAME, not_supported};
use crate::core::Core;
use crate::flight::scan::read_status;
use crate::flight::table::{Table, VIRTUAL};
use crate::flight::ticket::Query;

const METRIC_TYPE: &str = "TABLE";
const VIRTUAL_TYPE: &str = "SYSTEM TABLE";

/// What is said about the server, `None` only if Arrow cannot build its table.
static SQL_INFO: LazyLock<Option<SqlInfoData>> = LazyLock::new(|| {
    let mut infos = SqlInfoDataBuilder::new();
    infos.append(SqlInfo::FlightSqlServerName, "MyTSDB");
    infos.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    infos.append(SqlInfo::FlightSqlServerArrowVersion, arrow::ARROW_VERSION);
    infos.append(SqlInfo::FlightSqlServerReadOnly, false);
    infos.append(SqlInfo::FlightSqlServerSql, true);
    infos.append(SqlInfo::FlightSqlServerSubstrait, false);
    infos.append(SqlInfo::FlightSqlServerTransaction, 0_i32);
    infos.append(SqlInfo::FlightSqlServerCancel, false);
    infos.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    infos.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    infos.append(SqlInfo::SqlDdlCatalog, false);
    infos.append(SqlInfo::SqlDdlSchema, false);
    infos.append(SqlInfo::SqlDdlTable, false);
    infos.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    infos.append(SqlInfo::SqlAllTablesAreSelectable, true);
    infos.append(SqlInfo::SqlCatalogTerm, "tenant");
    infos.append(SqlInfo::SqlSchemaTerm, "schema");
    infos.append(SqlInfo::SqlCatalogAtStart, true);
    infos.build().ok()
});

fn sql_info() -> Result<&'static SqlInfoData, Status> {
    SQL_INFO.as_ref().ok_or_else(|| Status::internal("cannot build the facts about the server"))
}

fn failed(error: FlightError) -> Status {
    Status::internal(format!("cannot build the answer: {error}"))
}

/// The facts asked for without those that nobody knows: a client may ask for millions.
fn known(mut command: CommandGetSqlInfo) -> CommandGetSqlInfo {
    if command.info.is_empty() {
        return command;
    }
    command.info.sort_unstable();
    command.info.dedup();
    command.info.retain(|info| i32::try_from(*info).is_ok_and(|info| SqlInfo::try_from(info).is_ok()));
    if command.info.is_empty() {
        // None would mean all.
        command.info.push(u32::MAX);
    }
    command
}

/// The columns of an answer.
pub(super) fn schema(command: Command) -> Result<SchemaRef, Status> {
    match command {
        Command::CommandGetSqlInfo(command) => Ok(command.into_builder(sql_info()?).schema()),
        Command::CommandGetCatalogs(command) => Ok(command.into_builder().schema()),
        Command::CommandGetDbSchemas(command) => Ok(command.into_builder().schema()),
        Command::CommandGetTables(command) => Ok(command.into_builder().schema()),
        Command::CommandGetTableTypes(command) => Ok(command.into_builder().schema()),
        Command::CommandGetXdbcTypeInfo(command) => {
            let none = XdbcTypeInfoDataBuilder::new().build().map_err(failed)?;
            Ok(command.into_builder(&none).schema())
        }
        other => Err(not_supported(&other)),
    }
}

/// The answer; may block.
pub(super) fn batch(core: &Core, tenant: &TenantId, command: Command) -> Result<RecordBatch, Status> {
    match command {
        Command::CommandGetSqlInfo(command) => known(command).into_builder(sql_info()?).build(),
        Command::CommandGetCatalogs(command) => {
            let mut catalogs = command.into_builder();
            catalogs.append(tenant.as_str());
            catalogs.build()
        }
        Command::CommandGetDbSchemas(command) => {
            let mut schemas = command.into_builder();
            schemas.append(tenant.as_str(), SCHEMA_NAME);
            schemas.build()
        }
        Command::CommandGetTables(command) => return tables(core, tenant, command),
        Command::CommandGetTableTypes(command) => {
            let mut types = command.into_builder();
            types.append(METRIC_TYPE);
            types.append(VIRTUAL_TYPE);
            types.build()
        }
        Command::CommandGetXdbcTypeInfo(command) => {
            let none = XdbcTypeInfoDataBuilder::new().build().map_err(failed)?;
            command.into_builder(&none).build()
        }
        other => return Err(not_supported(&other)),
    }
    .map_err(failed)
}

fn tables(core: &Core, tenant: &TenantId, command: CommandGetTables) -> Result<RecordBatch, Status> {
    let names = core
        .storage
        .reader(tenant)
        .label_values(METRIC_NAME, &[], TimeRange::ALL)
        .map_err(|error| read_status(&error))?;
    let mut tables = command.into_builder();
    let mut add = |table: Table, kind: &str| -> Result<(), Status> {
        let name = table.name().to_owned();
        let schema = Query::everything(table, TimeRange::ALL).shape.schema();
        tables.append(tenant.as_str(), SCHEMA_NAME, name, kind, &schema).map_err(failed)
    };
    for (table, _) in VIRTUAL {
        add(table, VIRTUAL_TYPE)?;
    }
    for name in names {
        add(Table::Metric(name), METRIC_TYPE)?;
    }
    tables.build().map_err(failed)
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::UInt32Type;

    use super::*;

    #[test]
    fn unknown_facts_are_left_out_and_do_not_mean_all() {
        let ask = |info: Vec<u32>| {
            let batch = known(CommandGetSqlInfo { info }).into_builder(sql_info().unwrap()).build().unwrap();
            batch.column(0).as_primitive::<UInt32Type>().values().to_vec()
        };
        assert_eq!(ask(vec![10, 0, 10, 4_000_000_000, 777_777]), [0, 10]);
        assert!(ask(vec![777_777]).is_empty());
        assert!(ask(Vec::new()).len() > 10);
    }
}

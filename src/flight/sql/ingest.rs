//! Bulk ingest: which tenant and table a `CommandStatementIngest` writes, and whether its modes allow that.
//!
//! | Mode of ADBC | Virtual table | Metric with samples | Metric without |
//! |---|---|---|---|
//! | `append` | written | written | written |
//! | `create_append` | written | written | written |
//! | `create` | refused: it exists | refused: it exists | written |
//! | `replace` | refused | refused: delete its series first | written |

use arrow_flight::sql::{CommandStatementIngest, TableExistsOption};
use mytsdb_storage::model::{METRIC_NAME, MatchOp, Matcher, TenantId, TimeRange};
use tonic::Status;

use super::SCHEMA_NAME;
use crate::core::Core;
use crate::flight::scan::read_status;
use crate::flight::table::Table;

/// The tenant that is written: the one that the call names, or else the catalog.
///
/// # Errors
/// `InvalidArgument` if both are given and differ, or the catalog is no name of a tenant.
pub(in crate::flight) fn tenant(
    command: &CommandStatementIngest,
    named: Option<TenantId>,
) -> Result<TenantId, Status> {
    let catalog = command.catalog.as_deref().filter(|catalog| !catalog.is_empty());
    match (named, catalog) {
        (Some(named), Some(catalog)) if named.as_str() != catalog => Err(Status::invalid_argument(format!(
            "catalog {catalog:?} is not the tenant {:?} that the call's metadata names; a catalog is a tenant",
            named.as_str()
        ))),
        (Some(named), _) => Ok(named),
        (None, None) => Ok(TenantId::anonymous()),
        (None, Some(catalog)) => TenantId::new(catalog)
            .map_err(|error| Status::invalid_argument(format!("catalog {catalog:?}: {error}"))),
    }
}

/// The table that is written; may block.
///
/// # Errors
/// `AlreadyExists` or `InvalidArgument` that says which mode is allowed.
pub(in crate::flight) fn table(
    core: &Core,
    tenant: &TenantId,
    command: &CommandStatementIngest,
) -> Result<Table, Status> {
    let refused = |what: &str| Err(Status::invalid_argument(format!("bulk ingest: {what}")));
    if command.temporary {
        return refused("there are no temporary tables");
    }
    if command.transaction_id.as_ref().is_some_and(|id| !id.is_empty()) {
        return refused("there are no transactions");
    }
    if let Some(schema) =
        command.schema.as_deref().filter(|schema| !schema.is_empty() && *schema != SCHEMA_NAME)
    {
        return refused(&format!("schema {schema:?} does not exist; allowed is {SCHEMA_NAME:?} or none"));
    }
    if let Some(option) = command.options.keys().min() {
        return refused(&format!("option {option:?} is unknown; none is allowed"));
    }
    let table = Table::named(&command.table)?;
    let if_exists = command.table_definition_options.as_ref().map(|options| options.if_exists());
    let name = table.name();
    match if_exists {
        Some(TableExistsOption::Fail) if exists(core, tenant, &table)? => Err(Status::already_exists(
            format!("table {name:?} exists; use the mode append or create_append"),
        )),
        Some(TableExistsOption::Replace) if exists(core, tenant, &table)? => refused(&format!(
            "table {name:?} cannot be replaced; use the mode append, and delete what is old by the admin API"
        )),
        _ => Ok(table),
    }
}

/// A table of a metric exists if a series of it does.
fn exists(core: &Core, tenant: &TenantId, table: &Table) -> Result<bool, Status> {
    let Some(name) = table.metric() else { return Ok(true) };
    let matcher = Matcher::new(MatchOp::Equal, METRIC_NAME, name)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let reader = core.storage.reader(tenant);
    let found = reader.label_values(METRIC_NAME, &[matcher], TimeRange::ALL);
    found.map(|names| !names.is_empty()).map_err(|error| read_status(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_is_the_one_of_the_call_or_the_catalog() {
        let with = |catalog: Option<&str>| CommandStatementIngest {
            catalog: catalog.map(str::to_owned),
            ..CommandStatementIngest::default()
        };
        let team = || TenantId::new("team").unwrap();
        assert_eq!(tenant(&with(None), None).unwrap(), TenantId::anonymous());
        assert_eq!(tenant(&with(Some("")), Some(team())).unwrap(), team());
        assert_eq!(tenant(&with(Some("team")), None).unwrap(), team());
        assert_eq!(tenant(&with(Some("team")), Some(team())).unwrap(), team());
        assert!(tenant(&with(Some("other")), Some(team())).unwrap_err().message().contains("\"other\""));
        assert!(tenant(&with(Some("../x")), None).is_err());
    }
}

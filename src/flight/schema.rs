//! Which column of an ingest schema is what: the layout of a stream, decided once at its schema.
//!
//! Input: an Arrow schema and the table. Output: a [`Layout`], or an error that names the column.
//! Roles come from field metadata `mytsdb.role`, then `iox::column::type`, then the column's name.
//! Not here: the schemas of reads (see [`super::rows`]), the types of numbers (see [`super::columns`]).

use arrow::datatypes::{Field, Schema};

use super::table::Table;
use super::{columns, histogram_columns};

/// Field metadata that says what a column is.
pub(super) const ROLE_KEY: &str = "mytsdb.role";
/// The same in InfluxDB's words.
pub(super) const IOX_KEY: &str = "iox::column::type";

/// Text types allowed for labels and the metric.
pub(super) const TEXT_TYPES: &str = "Utf8, LargeUtf8, Utf8View, a dictionary or run-end-encoding of them";

/// Most columns of a batch.
const COLUMN_COUNT_MAX: usize = 4_096;
/// Most columns that a message lists.
const LISTED_COLUMN_COUNT_MAX: usize = 50;

/// Why a schema cannot be ingested.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum SchemaError {
    /// A column that must be there is not.
    #[error("column {column:?} is missing; allowed is {allowed}; found columns: {found}")]
    Missing {
        /// Its name.
        column: &'static str,
        /// What it may be.
        allowed: String,
        /// The columns that are there.
        found: String,
    },
    /// A column has a type that its role does not take.
    #[error("column {column:?} has type {found}; allowed for a {role} is {allowed}")]
    Type {
        /// Its name.
        column: String,
        /// What it stands for.
        role: &'static str,
        /// Its type.
        found: String,
        /// The types allowed.
        allowed: String,
    },
    /// Two columns have a role that only one can have.
    #[error("columns {first:?} and {second:?} are both the {role}; allowed is one")]
    Twice {
        /// The role.
        role: &'static str,
        /// The first column.
        first: String,
        /// The second column.
        second: String,
    },
    /// Field metadata names no role.
    #[error(
        "column {column:?}: metadata mytsdb.role is {found:?}; allowed is metric, timestamp, start_timestamp, value, field, label, labels, histogram or exemplar_labels"
    )]
    Role {
        /// The column.
        column: String,
        /// The word found.
        found: String,
    },
    /// Columns that only the table of a metric can have.
    #[error(
        "columns {first:?} and {second:?} are fields, which become metrics named <table>_<column>: write them to a \
         path or table with that name, not to {table:?}"
    )]
    FieldsWithoutName {
        /// The first field.
        first: String,
        /// The second field.
        second: String,
        /// The table that was named.
        table: String,
    },
    /// Too many columns.
    #[error("the schema has {given} columns, the limit is {limit}")]
    TooManyColumns {
        /// How many.
        given: usize,
        /// Most columns.
        limit: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Metric,
    Timestamp,
    StartTimestamp,
    Value,
    Field,
    Label,
    Labels,
    Histogram,
    ExemplarLabels,
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowKind {
    /// A sample.
    Long,
    /// A series with lists of samples.
    Series,
    /// A sample of several metrics.
    Wide,
}

/// Which column is what. All positions are indexes of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// What a row is.
    pub(super) kind: RowKind,
    /// Label name and column of every text column, the metric (`__name__`) included.
    pub(super) text_columns: Vec<(String, usize)>,
    /// The column with a map of labels.
    pub(super) labels_map: Option<usize>,
    /// Sample times.
    pub(super) timestamp: usize,
    /// When counting began.
    pub(super) start_timestamp: Option<usize>,
    /// Sample values, of each of `metrics` if a row is wide, else one column or none.
    pub(super) values: Vec<usize>,
    /// Native histograms.
    pub(super) histogram: Option<usize>,
    /// The labels of exemplars.
    pub(super) exemplar_labels: Option<usize>,
    /// The metric that the table stands for, or one for each of `values`.
    pub(super) metrics: Vec<String>,
}

impl Layout {
    /// Finds the layout of `schema` for `table`.
    pub(super) fn detect(schema: &Schema, table: &Table) -> Result<Self, SchemaError> {
        let given = schema.fields().len();
        if given > COLUMN_COUNT_MAX {
            return Err(SchemaError::TooManyColumns { given, limit: COLUMN_COUNT_MAX });
        }
        let mut found = Found::default();
        for (position, field) in schema.fields().iter().enumerate() {
            let role = role_of(field, table)?;
            found.take(schema, position, field, role)?;
        }
        let timestamp =
            found.timestamp.ok_or_else(|| missing(schema, "timestamp", columns::TIMESTAMP_TYPES))?;
        if table.metric().is_none() && found.metric.is_none() && found.labels_map.is_none() {
            return Err(missing(schema, "metric", TEXT_TYPES));
        }
        let (kind, values, metrics) = found.values(schema, table)?;
        let is_series = match (kind, values.first()) {
            (RowKind::Long, Some(value)) => check_samples(schema.field(timestamp), schema.field(*value))?,
            _ => {
                check_times(schema.field(timestamp))?;
                false
            }
        };
        if let Some(histogram) = found.histogram {
            let field = schema.field(histogram);
            let is_histogram = histogram_columns::is_histogram(field.data_type(), is_series);
            require(is_histogram, field, "histogram", histogram_columns::TYPES)?;
        }
        if let Some(start_timestamp) = found.start_timestamp {
            check_starts(schema.field(start_timestamp), is_series)?;
        }
        Ok(Self {
            kind: if is_series { RowKind::Series } else { kind },
            text_columns: found.text_columns,
            labels_map: found.labels_map,
            timestamp,
            start_timestamp: found.start_timestamp,
            values,
            histogram: found.histogram,
            exemplar_labels: found.exemplar_labels,
            metrics,
        })
    }
}

#[derive(Debug, Default)]
struct Found {
    metric: Option<usize>,
    timestamp: Option<usize>,
    start_timestamp: Option<usize>,
    value: Option<usize>,
    fields: Vec<usize>,
    labels_map: Option<usize>,
    histogram: Option<usize>,
    exemplar_labels: Option<usize>,
    text_columns: Vec<(String, usize)>,
}

impl Found {
    fn take(
        &mut self,
        schema: &Schema,
        position: usize,
        field: &Field,
        role: Role,
    ) -> Result<(), SchemaError> {
        let map_types = || format!("Map of text to text, or a List of such pairs (text: {TEXT_TYPES})");
        let (slot, word) = match role {
            Role::Metric => {
                require(columns::is_text(field.data_type()), field, "metric", TEXT_TYPES)?;
                self.text_columns.push((mytsdb_storage::model::METRIC_NAME.to_owned(), position));
                (&mut self.metric, "metric")
            }
            Role::Timestamp => (&mut self.timestamp, "timestamp"),
            Role::StartTimestamp => (&mut self.start_timestamp, "start timestamp"),
            Role::Value => (&mut self.value, "value"),
            Role::Histogram => (&mut self.histogram, "histogram"),
            Role::Labels => {
                require(columns::is_text_map(field.data_type()), field, "labels map", &map_types())?;
                (&mut self.labels_map, "labels map")
            }
            Role::ExemplarLabels => {
                require(columns::is_text_map(field.data_type()), field, "exemplar labels map", &map_types())?;
                (&mut self.exemplar_labels, "exemplar labels map")
            }
            Role::Field => {
                require(columns::is_value(field.data_type()), field, "field", columns::VALUE_TYPES)?;
                self.fields.push(position);
                return Ok(());
            }
            Role::Label => {
                require(columns::is_text(field.data_type()), field, "label", TEXT_TYPES)?;
                self.text_columns.push((field.name().clone(), position));
                return Ok(());
            }
        };
        if let Some(first) = slot.replace(position) {
            return Err(SchemaError::Twice {
                role: word,
                first: schema.field(first).name().clone(),
                second: field.name().clone(),
            });
        }
        Ok(())
    }

    /// The kind of rows, the value columns and their metrics, before lists are looked at.
    fn values(
        &self,
        schema: &Schema,
        table: &Table,
    ) -> Result<(RowKind, Vec<usize>, Vec<String>), SchemaError> {
        let name_of = |position: usize| schema.field(position).name().clone();
        let metrics: Vec<String> = table.metric().map(str::to_owned).into_iter().collect();
        match (self.value, self.fields.as_slice(), table.metric()) {
            (Some(value), [], _) => Ok((RowKind::Long, vec![value], metrics)),
            (Some(value), [field, ..], _) => Err(SchemaError::Twice {
                role: "value",
                first: name_of(value.min(*field)),
                second: name_of(value.max(*field)),
            }),
            (None, [], _) if self.histogram.is_some() => Ok((RowKind::Long, Vec::new(), metrics)),
            (None, [], _) => Err(missing(schema, "value", columns::VALUE_TYPES)),
            (None, fields, Some(table)) => {
                let metrics = fields.iter().map(|field| format!("{table}_{}", name_of(*field))).collect();
                Ok((RowKind::Wide, fields.to_vec(), metrics))
            }
            (None, [field], None) => Ok((RowKind::Long, vec![*field], metrics)),
            (None, [first, second, ..], None) => Err(SchemaError::FieldsWithoutName {
                first: name_of(*first),
                second: name_of(*second),
                table: table.name().to_owned(),
            }),
        }
    }
}

/// Refuses a column whose type does not hold.
pub(super) fn require(
    holds: bool,
    field: &Field,
    role: &'static str,
    allowed: &str,
) -> Result<(), SchemaError> {
    if holds {
        return Ok(());
    }
    Err(SchemaError::Type {
        column: field.name().clone(),
        role,
        found: field.data_type().to_string(),
        allowed: allowed.to_owned(),
    })
}

/// The error of a column that is not there.
pub(super) fn missing(schema: &Schema, column: &'static str, allowed: &str) -> SchemaError {
    let listed = schema.fields().iter().take(LISTED_COLUMN_COUNT_MAX);
    let mut found: Vec<String> =
        listed.map(|field| format!("{} ({})", field.name(), field.data_type())).collect();
    if schema.fields().len() > found.len() {
        found.push("…".to_owned());
    }
    SchemaError::Missing { column, allowed: allowed.to_owned(), found: found.join(", ") }
}

fn role_of(field: &Field, table: &Table) -> Result<Role, SchemaError> {
    if let Some(word) = field.metadata().get(ROLE_KEY) {
        return match word.as_str() {
            "metric" => Ok(Role::Metric),
            "timestamp" => Ok(Role::Timestamp),
            "start_timestamp" => Ok(Role::StartTimestamp),
            "value" => Ok(Role::Value),
            "field" => Ok(Role::Field),
            "label" => Ok(Role::Label),
            "labels" => Ok(Role::Labels),
            "histogram" => Ok(Role::Histogram),
            "exemplar_labels" => Ok(Role::ExemplarLabels),
            _ => Err(SchemaError::Role { column: field.name().clone(), found: word.clone() }),
        };
    }
    match field.metadata().get(IOX_KEY).map(String::as_str) {
        Some("iox::column_type::timestamp") => return Ok(Role::Timestamp),
        Some("iox::column_type::tag") => return Ok(Role::Label),
        Some(word) if word.starts_with("iox::column_type::field::") => {
            let is_list = columns::list_item(field.data_type()).is_some();
            return Ok(if is_list { Role::Value } else { Role::Field });
        }
        _ => {}
    }
    Ok(match field.name().as_str() {
        "metric" | "__name__" if table.metric().is_none() => Role::Metric,
        "timestamp" | "timestamps" => Role::Timestamp,
        // As text the name is a label like any other.
        "start_timestamp" | "start_timestamps" if !columns::is_text(field.data_type()) => {
            Role::StartTimestamp
        }
        "value" | "values" => Role::Value,
        "labels" if columns::is_text_map(field.data_type()) => Role::Labels,
        "exemplar_labels" if *table == Table::Exemplars => Role::ExemplarLabels,
        "histogram" | "histograms" if !columns::is_text(field.data_type()) => Role::Histogram,
        // A float is no label: it can only be a field.
        _ if columns::is_float(field.data_type()) => Role::Field,
        _ => Role::Label,
    })
}

/// Checks the types of times and values, and returns whether they are lists.
fn check_samples(timestamp: &Field, value: &Field) -> Result<bool, SchemaError> {
    let times = columns::list_item(timestamp.data_type());
    let values = columns::list_item(value.data_type());
    let is_series = times.is_some() || values.is_some();
    let (times, values) = if is_series {
        let list = |types: &str| format!("List or LargeList of {types}, if the other is a list");
        let (time_types, value_types) = (list(columns::TIMESTAMP_TYPES), list(columns::VALUE_TYPES));
        require(times.is_some(), timestamp, "list of timestamps", &time_types)?;
        require(values.is_some(), value, "list of values", &value_types)?;
        (times, values)
    } else {
        (Some(timestamp.data_type()), Some(value.data_type()))
    };
    let is_time = times.is_some_and(columns::is_timestamp);
    require(is_time, timestamp, "timestamp", columns::TIMESTAMP_TYPES)?;
    require(values.is_some_and(columns::is_value), value, "value", columns::VALUE_TYPES)?;
    Ok(is_series)
}

fn check_times(field: &Field) -> Result<(), SchemaError> {
    require(columns::is_timestamp(field.data_type()), field, "timestamp", columns::TIMESTAMP_TYPES)
}

/// Checks the type of start times: one for each sample; in the series layout also one for the whole row.
fn check_starts(field: &Field, is_series: bool) -> Result<(), SchemaError> {
    let kind = field.data_type();
    let item = if is_series { columns::list_item(kind).unwrap_or(kind) } else { kind };
    let allowed = match is_series {
        true => format!("{}, or a List or LargeList of them", columns::TIMESTAMP_TYPES),
        false => columns::TIMESTAMP_TYPES.to_owned(),
    };
    require(columns::is_timestamp(item), field, "start timestamp", &allowed)
}

//! Which column of an ingest schema is what: the layout of a stream, decided once at its schema.
//!
//! Input: an Arrow schema and the table. Output: a [`Layout`], or an error that names the column.
//! Roles come from field metadata `mytsdb.role`, then `iox::column::type`, then the column's name.
//! Not here: the schemas of reads (see [`super::rows`]), the types of numbers (see [`super::columns`]).

use arrow::datatypes::{DataType, Field, Schema};

use super::columns;

/// Field metadata that says what a column is.
const ROLE_KEY: &str = "mytsdb.role";
/// The same in InfluxDB's words.
const IOX_KEY: &str = "iox::column::type";

/// Text types allowed for labels and the metric.
pub(super) const TEXT_TYPES: &str = "Utf8, LargeUtf8, Utf8View or a dictionary of them";

/// What the stream is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Table {
    /// Samples of any metric.
    Samples,
    /// Samples of the metric with this name.
    Metric(String),
}

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
        "column {column:?}: metadata mytsdb.role is {found:?}; allowed is metric, timestamp, start_timestamp, value, label or labels"
    )]
    Role {
        /// The column.
        column: String,
        /// The word found.
        found: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Metric,
    Timestamp,
    StartTimestamp,
    Value,
    Label,
    Labels,
}

/// Which column is what. All positions are indexes of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Whether a row is a whole series (lists of samples) or one sample.
    pub(super) is_series: bool,
    /// Label name and column of every text column, the metric (`__name__`) included.
    pub(super) text_columns: Vec<(String, usize)>,
    /// The column with a map of labels.
    pub(super) labels_map: Option<usize>,
    /// Sample times.
    pub(super) timestamp: usize,
    /// When counting began.
    pub(super) start_timestamp: Option<usize>,
    /// Sample values.
    pub(super) value: usize,
    /// The metric that the table stands for.
    pub(super) metric: Option<String>,
}

impl Layout {
    /// Finds the layout of `schema` for `table`.
    pub(super) fn detect(schema: &Schema, table: &Table) -> Result<Self, SchemaError> {
        let mut found = Found::default();
        for (position, field) in schema.fields().iter().enumerate() {
            let role = role_of(field, table)?;
            found.take(schema, position, field, role)?;
        }
        let timestamp =
            found.timestamp.ok_or_else(|| missing(schema, "timestamp", columns::TIMESTAMP_TYPES))?;
        let value = found.value.ok_or_else(|| missing(schema, "value", columns::VALUE_TYPES))?;
        let metric = match table {
            Table::Metric(name) => Some(name.clone()),
            Table::Samples => None,
        };
        if *table == Table::Samples && found.metric.is_none() && found.labels_map.is_none() {
            return Err(missing(schema, "metric", TEXT_TYPES));
        }
        let is_series = check_samples(schema.field(timestamp), schema.field(value))?;
        if let Some(start_timestamp) = found.start_timestamp {
            check_starts(schema.field(start_timestamp), is_series)?;
        }
        Ok(Self {
            is_series,
            text_columns: found.text_columns,
            labels_map: found.labels_map,
            timestamp,
            start_timestamp: found.start_timestamp,
            value,
            metric,
        })
    }
}

#[derive(Debug, Default)]
struct Found {
    metric: Option<usize>,
    timestamp: Option<usize>,
    start_timestamp: Option<usize>,
    value: Option<usize>,
    labels_map: Option<usize>,
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
        let (slot, word) = match role {
            Role::Metric => (&mut self.metric, "metric"),
            Role::Timestamp => (&mut self.timestamp, "timestamp"),
            Role::StartTimestamp => (&mut self.start_timestamp, "start timestamp"),
            Role::Value => (&mut self.value, "value"),
            Role::Labels => (&mut self.labels_map, "labels map"),
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
        match role {
            Role::Metric => {
                require(columns::is_text(field.data_type()), field, "metric", TEXT_TYPES)?;
                self.text_columns.push((mytsdb_storage::model::METRIC_NAME.to_owned(), position));
                Ok(())
            }
            Role::Labels => {
                let allowed = format!("Map of text to text (text: {TEXT_TYPES})");
                require(columns::is_text_map(field.data_type()), field, "labels map", &allowed)
            }
            Role::Timestamp | Role::StartTimestamp | Role::Value | Role::Label => Ok(()),
        }
    }
}

fn require(holds: bool, field: &Field, role: &'static str, allowed: &str) -> Result<(), SchemaError> {
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

fn missing(schema: &Schema, column: &'static str, allowed: &str) -> SchemaError {
    let found = schema
        .fields()
        .iter()
        .map(|field| format!("{} ({})", field.name(), field.data_type()))
        .collect::<Vec<_>>();
    SchemaError::Missing { column, allowed: allowed.to_owned(), found: found.join(", ") }
}

fn role_of(field: &Field, table: &Table) -> Result<Role, SchemaError> {
    if let Some(word) = field.metadata().get(ROLE_KEY) {
        return match word.as_str() {
            "metric" => Ok(Role::Metric),
            "timestamp" => Ok(Role::Timestamp),
            "start_timestamp" => Ok(Role::StartTimestamp),
            "value" => Ok(Role::Value),
            "label" => Ok(Role::Label),
            "labels" => Ok(Role::Labels),
            _ => Err(SchemaError::Role { column: field.name().clone(), found: word.clone() }),
        };
    }
    match field.metadata().get(IOX_KEY).map(String::as_str) {
        Some("iox::column_type::timestamp") => return Ok(Role::Timestamp),
        Some("iox::column_type::tag") => return Ok(Role::Label),
        Some(word) if word.starts_with("iox::column_type::field::") => return Ok(Role::Value),
        _ => {}
    }
    Ok(match field.name().as_str() {
        "metric" | "__name__" if *table == Table::Samples => Role::Metric,
        "timestamp" | "timestamps" => Role::Timestamp,
        // As text the name is a label like any other.
        "start_timestamp" | "start_timestamps" if !columns::is_text(field.data_type()) => {
            Role::StartTimestamp
        }
        "value" | "values" => Role::Value,
        "labels" if matches!(field.data_type(), DataType::Map(..)) => Role::Labels,
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    fn time() -> DataType {
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
    }

    fn schema(fields: Vec<(&str, DataType)>) -> Schema {
        Schema::new(fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect::<Vec<_>>())
    }

    fn detect(fields: Vec<(&str, DataType)>) -> Result<Layout, SchemaError> {
        Layout::detect(&schema(fields), &Table::Samples)
    }

    #[test]
    fn long_columns_are_found_by_name_and_all_other_text_is_labels() {
        let layout = detect(vec![
            ("host", DataType::Utf8),
            ("value", DataType::Float64),
            ("metric", DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View))),
            ("timestamp", time()),
        ])
        .unwrap();
        assert!(!layout.is_series);
        assert_eq!((layout.timestamp, layout.value), (3, 1));
        assert_eq!(layout.text_columns, [("host".to_owned(), 0), ("__name__".to_owned(), 2)]);
    }

    #[test]
    fn metadata_decides_before_names_do() {
        let with = |name: &str, kind, key: &str, word: &str| {
            Field::new(name, kind, true)
                .with_metadata(std::collections::HashMap::from([(key.to_owned(), word.to_owned())]))
        };
        let schema = Schema::new(vec![
            with("m", DataType::Utf8, ROLE_KEY, "metric"),
            with("time", time(), IOX_KEY, "iox::column_type::timestamp"),
            with("usage", DataType::Float64, IOX_KEY, "iox::column_type::field::float"),
            with("value", DataType::Utf8, ROLE_KEY, "label"),
        ]);
        let layout = Layout::detect(&schema, &Table::Samples).unwrap();
        assert_eq!((layout.timestamp, layout.value), (1, 2));
        assert_eq!(layout.text_columns[1], ("value".to_owned(), 3));
    }

    #[test]
    fn a_missing_column_is_named_with_what_is_allowed_and_found() {
        let error = detect(vec![("metric", DataType::Utf8), ("value", DataType::Float64)]).unwrap_err();
        let text = error.to_string();
        for part in ["\"timestamp\"", "Timestamp", "metric (Utf8)"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn an_ill_typed_column_is_named_with_its_type_and_what_is_allowed() {
        let text = |kind_of_value, kind_of_host| {
            detect(vec![
                ("metric", DataType::Utf8),
                ("timestamp", time()),
                ("value", kind_of_value),
                ("host", kind_of_host),
            ])
            .unwrap_err()
            .to_string()
        };
        let wrong_value = text(DataType::Utf8, DataType::Utf8);
        assert!(wrong_value.contains("\"value\" has type Utf8"), "{wrong_value}");
        assert!(wrong_value.contains("Float64"), "{wrong_value}");
        let wrong_label = text(DataType::Float64, DataType::Int64);
        assert!(wrong_label.contains("\"host\" has type Int64"), "{wrong_label}");
        assert!(wrong_label.contains("LargeUtf8"), "{wrong_label}");
    }

    #[test]
    fn lists_make_the_series_layout_and_must_come_together() {
        let list = |kind| DataType::new_list(kind, true);
        let fields =
            |value| vec![("metric", DataType::Utf8), ("timestamps", list(time())), ("values", value)];
        assert!(detect(fields(list(DataType::Float64))).unwrap().is_series);
        let error = detect(fields(DataType::Float64)).unwrap_err().to_string();
        assert!(error.contains("\"values\" has type Float64"), "{error}");
    }

    #[test]
    fn start_times_are_found_by_name_and_as_text_are_a_label() {
        let fields = |kind| {
            vec![
                ("metric", DataType::Utf8),
                ("start_timestamp", kind),
                ("timestamp", time()),
                ("value", DataType::Float64),
            ]
        };
        assert_eq!(detect(fields(time())).unwrap().start_timestamp, Some(1));
        let label = detect(fields(DataType::Utf8)).unwrap();
        assert_eq!((label.start_timestamp, label.text_columns.len()), (None, 2));
        let error = detect(fields(DataType::new_list(time(), true))).unwrap_err().to_string();
        assert!(
            error.contains("\"start_timestamp\" has type List") && error.contains("Timestamp(s"),
            "{error}"
        );
    }

    #[test]
    fn a_role_twice_or_unknown_is_refused() {
        let twice = detect(vec![("value", DataType::Float64), ("values", DataType::Float64)]).unwrap_err();
        assert!(matches!(twice, SchemaError::Twice { role: "value", .. }), "{twice}");
        let field = Field::new("x", DataType::Utf8, true)
            .with_metadata(std::collections::HashMap::from([(ROLE_KEY.to_owned(), "tag".to_owned())]));
        let unknown = Layout::detect(&Schema::new(vec![field]), &Table::Samples).unwrap_err();
        assert!(matches!(unknown, SchemaError::Role { .. }), "{unknown}");
    }

    #[test]
    fn the_table_of_a_metric_needs_no_metric_column() {
        let fields = vec![("timestamp", time()), ("value", DataType::Float64)];
        let table = Table::Metric("up".to_owned());
        let layout = Layout::detect(&schema(fields.clone()), &table).unwrap();
        assert_eq!(layout.metric.as_deref(), Some("up"));
        assert!(matches!(detect(fields), Err(SchemaError::Missing { column: "metric", .. })));
    }
}

//! Tests of the layouts: which column is what, and what the sender is told otherwise.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::schema::*;
use super::table::Table;

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
    assert_eq!(layout.kind, RowKind::Long);
    assert_eq!((layout.timestamp, layout.values), (3, vec![1]));
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
    assert_eq!((layout.timestamp, layout.values.as_slice()), (1, [2].as_slice()));
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
    let fields = |value| vec![("metric", DataType::Utf8), ("timestamps", list(time())), ("values", value)];
    assert_eq!(detect(fields(list(DataType::Float64))).unwrap().kind, RowKind::Series);
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
    assert!(error.contains("\"start_timestamp\" has type List") && error.contains("Timestamp(s"), "{error}");
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
    assert_eq!(layout.metrics, ["up"]);
    assert!(matches!(detect(fields), Err(SchemaError::Missing { column: "metric", .. })));
}
#[test]
fn several_fields_are_metrics_of_the_table_and_need_its_name() {
    let fields = || {
        vec![
            ("host", DataType::Utf8),
            ("user", DataType::Float64),
            ("idle", DataType::Float32),
            ("timestamp", time()),
        ]
    };
    let layout = Layout::detect(&schema(fields()), &Table::Metric("cpu".to_owned())).unwrap();
    assert_eq!((layout.kind, layout.values), (RowKind::Wide, vec![1, 2]));
    assert_eq!(layout.metrics, ["cpu_user", "cpu_idle"]);
    let mut with_metric = fields();
    with_metric.push(("metric", DataType::Utf8));
    let error = detect(with_metric).unwrap_err().to_string();
    assert!(error.contains("\"user\" and \"idle\"") && error.contains("<table>_<column>"), "{error}");
    let integer = Field::new("total", DataType::Int64, true)
        .with_metadata(std::collections::HashMap::from([(ROLE_KEY.to_owned(), "field".to_owned())]));
    let marked = Schema::new(vec![Field::new("timestamp", time(), false), integer]);
    assert_eq!(Layout::detect(&marked, &Table::Metric("disk".to_owned())).unwrap().metrics, ["disk_total"]);
    let both = vec![("timestamp", time()), ("value", DataType::Float64), ("load", DataType::Float64)];
    let error = Layout::detect(&schema(both), &Table::Metric("m".to_owned())).unwrap_err();
    assert!(matches!(error, SchemaError::Twice { role: "value", .. }), "{error}");
}

#[test]
fn a_schema_of_very_many_columns_is_refused_and_not_listed() {
    let many = |count: usize| {
        Schema::new(
            (0..count).map(|index| Field::new(format!("l{index}"), DataType::Utf8, true)).collect::<Vec<_>>(),
        )
    };
    let error = Layout::detect(&many(4_097), &Table::Samples).unwrap_err();
    assert_eq!(error, SchemaError::TooManyColumns { given: 4_097, limit: 4_096 });
    let error = Layout::detect(&many(4_096), &Table::Samples).unwrap_err().to_string();
    assert!(error.contains("l49") && !error.contains("l50") && error.contains('…'), "{error}");
}

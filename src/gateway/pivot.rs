//! Rows with a column per metric: what was reported at one time stands in one row.
//!
//! A GPU that is cut into instances (MIG) has a row per time and instance. Metrics without a column of their own keep
//! their name. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::telemetry::Row;

/// Columns and the metrics they show.
const COLUMNS: [(&str, &str); 12] = [
    ("gpu_utilization", "DCGM_FI_DEV_GPU_UTIL"),
    ("memory_utilization", "DCGM_FI_DEV_MEM_COPY_UTIL"),
    ("encoder_utilization", "DCGM_FI_DEV_ENC_UTIL"),
    ("decoder_utilization", "DCGM_FI_DEV_DEC_UTIL"),
    ("memory_used_mb", "DCGM_FI_DEV_FB_USED"),
    ("memory_free_mb", "DCGM_FI_DEV_FB_FREE"),
    ("temperature", "DCGM_FI_DEV_GPU_TEMP"),
    ("memory_temperature", "DCGM_FI_DEV_MEMORY_TEMP"),
    ("power_draw", "DCGM_FI_DEV_POWER_USAGE"),
    ("energy_mj", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"),
    ("sm_clock_mhz", "DCGM_FI_DEV_SM_CLOCK"),
    ("memory_clock_mhz", "DCGM_FI_DEV_MEM_CLOCK"),
];

/// The metric that a column shows; other names mean themselves.
pub(super) fn metric_of_column(name: &str) -> &str {
    COLUMNS.iter().find(|(column, _)| *column == name).map_or(name, |(_, metric)| metric)
}

fn column_of_metric(metric: &str) -> &str {
    COLUMNS.iter().find(|(_, found)| *found == metric).map_or(metric, |(column, _)| column)
}

/// Joins rows of the same time; at most `limit` rows, and whether there are more. `rows` are in order of time.
pub(super) fn pivot(rows: Vec<Row>, limit: usize) -> (Vec<Value>, bool) {
    let mut joined: BTreeMap<(i64, String), Map<String, Value>> = BTreeMap::new();
    for row in rows {
        let cells = joined.entry((row.time_ms, row.gpu_instance_id.clone())).or_insert_with(|| {
            let mut cells = Map::from_iter([("timestamp".to_owned(), json!(row.timestamp))]);
            if !row.gpu_instance_id.is_empty() {
                cells.insert("gpu_instance_id".to_owned(), json!(row.gpu_instance_id));
            }
            cells
        });
        cells.insert(column_of_metric(&row.metric).to_owned(), json!(row.value));
    }
    let has_more = joined.len() > limit;
    (joined.into_values().take(limit).map(Value::Object).collect(), has_more)
}

#[cfg(test)]
mod tests {
    use mytsdb_storage::model::LabelSet;

    use super::*;

    fn row(metric: &str, instance: &str, time_ms: i64, value: f64) -> Row {
        let pairs = [("__name__", metric), ("GPU_I_ID", instance)];
        let labels = LabelSet::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty())).unwrap();
        Row::new(&labels, time_ms, value)
    }

    #[test]
    fn what_has_one_time_and_instance_stands_in_one_row() {
        let rows = vec![
            row("DCGM_FI_DEV_GPU_UTIL", "", 1_000, 85.0),
            row("DCGM_FI_DEV_XID_ERRORS", "", 1_000, 13.0),
            row("DCGM_FI_DEV_GPU_UTIL", "1", 2_000, 5.0),
            row("DCGM_FI_DEV_GPU_UTIL", "2", 2_000, 6.0),
            row("DCGM_FI_DEV_GPU_TEMP", "1", 2_000, 40.5),
        ];
        let (found, has_more) = pivot(rows.clone(), 2);
        assert!(has_more);
        assert_eq!(
            Value::Array(found),
            json!([
                {"timestamp": "1970-01-01T00:00:01.000Z", "gpu_utilization": 85.0, "DCGM_FI_DEV_XID_ERRORS": 13.0},
                {"timestamp": "1970-01-01T00:00:02.000Z", "gpu_instance_id": "1", "gpu_utilization": 5.0,
                 "temperature": 40.5},
            ])
        );
        assert_eq!(pivot(rows, 3).0.len(), 3);
    }
}

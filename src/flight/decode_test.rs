//! Tests of both decoders against a real storage: what was put is what is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};
use mytsdb_storage::model::{STALE_NAN_BITS, TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{Storage, StorageOptions, WriteReport};
use proptest::prelude::*;

use super::batch::{BatchColumns, RefusedRow};
use super::schema::{Layout, RowKind};
use super::table::Table;
use super::{decode_long, decode_series, decode_wide};

/// Current enough for any retention.
const NOW_MS: i64 = 1_800_000_000_000;

struct Fixture {
    storage: Storage,
    tenant: TenantId,
    _dir: tempfile::TempDir,
}

type Stored = BTreeMap<String, Vec<(i64, u64)>>;

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = Storage::open(StorageOptions::new(dir.path()), NOW_MS).unwrap();
        Self { storage, tenant: TenantId::anonymous(), _dir: dir }
    }

    fn decode(&self, table: &Table, batch: &RecordBatch) -> BatchColumns {
        let layout = Layout::detect(batch.schema_ref(), table).unwrap();
        let decode = match layout.kind {
            RowKind::Long => decode_long::decode,
            RowKind::Series => decode_series::decode,
            RowKind::Wide => decode_wide::decode,
        };
        decode(&self.storage, &self.tenant, &layout, batch).unwrap()
    }

    fn put(&self, table: &Table, batch: &RecordBatch) -> (BatchColumns, WriteReport) {
        let columns = self.decode(table, batch);
        let labels = columns.row_labels();
        let report = self.storage.write(&self.tenant, &columns.write_batch(&labels), NOW_MS).unwrap();

        (columns, report)
    }

    fn stored(&self) -> Stored {
        let set = self.storage.reader(&self.tenant).select(&[], TimeRange::ALL).unwrap();
        let mut samples = SampleColumns::default();
        (0..set.len())
            .map(|index| {
                set.read(index, TimeRange::ALL, &mut samples).unwrap();
                let pairs = samples.timestamps_ms.iter().zip(&samples.values);
                let offsets = pairs.map(|(time, value)| (time - NOW_MS, value.to_bits())).collect();
                (set.labels(index).to_string(), offsets)
            })
            .collect()
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

fn times(offsets_ms: &[Option<i64>]) -> ArrayRef {
    let times = offsets_ms.iter().map(|offset| offset.map(|offset| NOW_MS + offset));
    Arc::new(TimestampMillisecondArray::from_iter(times).with_timezone("UTC"))
}

fn texts(texts: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

fn doubles(values: &[Option<f64>]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn map(rows: &[&[(&str, &str)]]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (name, text) in *row {
            builder.keys().append_value(name);
            builder.values().append_value(text);
        }
        builder.append(true).unwrap();
    }
    Arc::new(builder.finish())
}

fn list(items: ArrayRef, lengths: &[usize]) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(item, offsets, items, None))
}

fn bits(value: f64) -> u64 {
    value.to_bits()
}

/// A start time that tells rows apart, now and then none.
fn start_of_row(row: usize) -> Option<i64> {
    (row % 4 != 3).then_some(-1_000 * (1 + row as i64 / 2))
}

#[test]
fn start_times_of_a_series_are_one_for_all_or_a_list() {
    let fixture = Fixture::new();
    let samples = |starts: ArrayRef| {
        batch(vec![
            ("metric", texts(&[Some("up"), Some("load")])),
            ("timestamps", list(times(&[Some(1), Some(2), Some(3), Some(4)]), &[3, 1])),
            ("values", list(doubles(&[Some(1.0), Some(2.0), Some(3.0), Some(4.0)]), &[3, 1])),
            ("start_timestamps", starts),
        ])
    };
    let starts_of = |starts: ArrayRef| {
        let columns = fixture.put(&Table::Samples, &samples(starts)).0;
        let starts_ms = columns.starts.up_to(columns.values.len()).each(columns.values.len());
        let offsets = starts_ms.map(|start_ms| if start_ms == 0 { None } else { Some(start_ms - NOW_MS) });
        (offsets.collect::<Vec<_>>(), columns.refused.sample_count)
    };
    assert_eq!(starts_of(times(&[Some(-5), None])), (vec![Some(-5), Some(-5), Some(-5), None], 0));
    let each = list(times(&[Some(-5), None, Some(-3), Some(-2)]), &[3, 1]);
    assert_eq!(starts_of(each), (vec![Some(-5), None, Some(-3), Some(-2)], 0));
    let uneven = list(times(&[Some(-5), Some(-2)]), &[1, 1]);
    assert_eq!(starts_of(uneven), (vec![Some(-2)], 3));
    let absent = list(times(&[Some(-5), Some(-4), Some(-3)]), &[3, 0]);
    assert_eq!(starts_of(absent), (vec![Some(-5), Some(-4), Some(-3), None], 0));
}

#[test]
fn long_rows_in_any_order_become_series() {
    let fixture = Fixture::new();
    let rows = batch(vec![
        ("metric", texts(&[Some("up"), Some("load"), Some("up"), Some("up"), Some("load")])),
        ("timestamp", times(&[Some(1), Some(2), Some(3), Some(4), Some(5)])),
        ("value", doubles(&[Some(1.0), Some(2.0), Some(3.0), Some(4.0), Some(5.0)])),
        ("host", texts(&[Some("a"), None, Some("b"), Some("a"), Some("")])),
    ]);
    let (columns, report) = fixture.put(&Table::Samples, &rows);
    assert_eq!((columns.keys.len(), report.accepted_sample_count), (3, 5));
    let expected = BTreeMap::from([
        (r#"{__name__="load"}"#.to_owned(), vec![(2, bits(2.0)), (5, bits(5.0))]),
        (r#"{__name__="up", host="a"}"#.to_owned(), vec![(1, bits(1.0)), (4, bits(4.0))]),
        (r#"{__name__="up", host="b"}"#.to_owned(), vec![(3, bits(3.0))]),
    ]);
    assert_eq!(fixture.stored(), expected);
}

#[test]
fn a_null_value_is_skipped_a_null_time_refused_and_the_others_are_kept() {
    let fixture = Fixture::new();
    let stale = f64::from_bits(STALE_NAN_BITS);
    for grouped in [true, false] {
        let names = if grouped { ["up", "up", "up", "x", "x"] } else { ["up", "x", "up", "x", "up"] };
        let rows = batch(vec![
            ("metric", texts(&names.map(Some))),
            ("timestamp", times(&[Some(1), Some(2), None, None, Some(5)])),
            ("value", doubles(&[Some(stale), None, Some(3.0), None, Some(5.0)])),
        ]);
        let (columns, report) = fixture.put(&Table::Samples, &rows);
        assert_eq!(report.accepted_sample_count, 2);
        assert_eq!(columns.refused.sample_count, 1);
        assert!(columns.refused.first_reason().unwrap().contains("row 2: timestamp is null"));
        assert_eq!(fixture.stored()[r#"{__name__="up"}"#][0], (1, STALE_NAN_BITS));
    }
}

#[test]
fn rows_without_a_metric_or_with_a_label_twice_are_refused_with_the_reason() {
    let fixture = Fixture::new();
    let rows = batch(vec![
        ("metric", texts(&[None, Some("up"), Some("up")])),
        ("timestamp", times(&[Some(1), Some(2), Some(3)])),
        ("value", doubles(&[Some(1.0), Some(2.0), Some(3.0)])),
        ("host", texts(&[Some("a"), Some("a"), Some("a")])),
        ("labels", map(&[&[], &[("host", "b")], &[("zone", "z")]])),
    ]);
    let (_, report) = fixture.put(&Table::Samples, &rows);
    assert_eq!(report.accepted_sample_count, 1);
    let reasons: Vec<String> = report.rejections.iter().map(|one| one.reason.to_string()).collect();
    assert!(reasons[0].contains("no metric name"), "{reasons:?}");
    assert!(reasons[1].contains("\"host\" occurs twice"), "{reasons:?}");
    assert_eq!(fixture.stored().into_keys().collect::<Vec<_>>(), [r#"{__name__="up", host="a", zone="z"}"#]);
}

#[test]
fn every_text_type_gives_the_same_series_and_key() {
    let fixture = Fixture::new();
    let plain = texts(&[Some("a"), Some("b"), None, Some("a")]);
    let dictionary = |key| DataType::Dictionary(Box::new(key), Box::new(DataType::Utf8));
    let mut keys = Vec::new();
    for kind in [
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        dictionary(DataType::Int8),
        dictionary(DataType::UInt64),
    ] {
        let rows = batch(vec![
            ("metric", cast(&texts(&[Some("up"); 4]), &kind).unwrap()),
            ("host", cast(&plain, &kind).unwrap()),
            ("timestamp", times(&[Some(1), Some(2), Some(3), Some(4)])),
            ("value", doubles(&[Some(1.0); 4])),
        ]);
        let (columns, report) = fixture.put(&Table::Samples, &rows);
        assert_eq!(report.accepted_sample_count, 4, "{kind}");
        keys.push(columns.keys);
    }
    assert!(keys.iter().all(|other| *other == keys[0]));
    assert_eq!(fixture.stored().len(), 3);
}

#[test]
fn every_number_and_time_type_is_stored_alike() {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let seconds: ArrayRef = Arc::new(Int64Array::from(vec![NOW_MS / 1000, NOW_MS / 1000 + 1]));
    let as_seconds = cast(&seconds, &DataType::Timestamp(TimeUnit::Second, Some("+00:00".into()))).unwrap();
    let expected = vec![(0, bits(1.0)), (1000, bits(2.0))];
    let check = |time_type: &DataType, value_type: &DataType| {
        let fixture = Fixture::new();
        let rows = batch(vec![
            ("timestamp", cast(&as_seconds, time_type).unwrap()),
            ("value", cast(&numbers, value_type).unwrap()),
        ]);
        fixture.put(&Table::Metric("up".to_owned()), &rows);
        assert_eq!(fixture.stored()[r#"{__name__="up"}"#], expected, "{time_type} {value_type}");
    };
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        check(&DataType::Timestamp(unit, None), &DataType::Float64);
        check(&DataType::Timestamp(unit, Some("+02:00".into())), &DataType::Float64);
    }
    for kind in [
        DataType::Float32,
        DataType::Int64,
        DataType::Int32,
        DataType::Int16,
        DataType::Int8,
        DataType::UInt64,
        DataType::UInt32,
        DataType::UInt16,
        DataType::UInt8,
    ] {
        check(&DataType::Timestamp(TimeUnit::Millisecond, None), &kind);
    }
}

#[test]
fn dates_with_milliseconds_are_times() {
    let fixture = Fixture::new();
    let dates: ArrayRef = Arc::new(Date64Array::from(vec![NOW_MS + 7]));
    fixture.put(
        &Table::Metric("up".to_owned()),
        &batch(vec![("timestamp", dates), ("value", doubles(&[Some(1.0)]))]),
    );
    assert_eq!(fixture.stored()[r#"{__name__="up"}"#], [(7, bits(1.0))]);
}

#[test]
fn complete_lists_are_taken_as_they_are() {
    let fixture = Fixture::new();
    let items = doubles(&[Some(1.0), Some(2.0), Some(3.0)]);
    let rows = batch(vec![
        ("labels", map(&[&[("__name__", "up"), ("host", "a")], &[("host", "b"), ("__name__", "up")]])),
        ("timestamps", list(times(&[Some(1), Some(2), Some(1)]), &[2, 1])),
        ("values", list(Arc::clone(&items), &[2, 1])),
    ]);
    let (columns, report) = fixture.put(&Table::Samples, &rows);
    assert_eq!(report.accepted_sample_count, 3);
    assert_eq!(columns.sample_ends, [2, 3]);
    let borrowed = items.as_primitive::<arrow::datatypes::Float64Type>().values().as_ptr();
    assert_eq!(columns.values.as_ptr(), borrowed, "the values were copied");
    let expected = BTreeMap::from([
        (r#"{__name__="up", host="a"}"#.to_owned(), vec![(1, bits(1.0)), (2, bits(2.0))]),
        (r#"{__name__="up", host="b"}"#.to_owned(), vec![(1, bits(3.0))]),
    ]);
    assert_eq!(fixture.stored(), expected);
}

#[test]
fn sliced_batches_and_large_lists_are_read_at_their_offsets() {
    let fixture = Fixture::new();
    let times = list(times(&[Some(1), Some(2), Some(3), Some(4)]), &[1, 2, 1]);
    let values = list(doubles(&[Some(1.0), Some(2.0), Some(3.0), Some(4.0)]), &[1, 2, 1]);
    let large = |array: &ArrayRef| {
        let item = array.as_list::<i32>().values().data_type().clone();
        cast(array, &DataType::LargeList(Arc::new(Field::new_list_field(item, true)))).unwrap()
    };
    let names = texts(&[Some("a"), Some("b"), Some("c")]);
    let rows = batch(vec![("metric", names), ("timestamps", large(&times)), ("values", large(&values))]);
    let (_, report) = fixture.put(&Table::Samples, &rows.slice(1, 1));
    assert_eq!(report.accepted_sample_count, 2);
    let expected = BTreeMap::from([(r#"{__name__="b"}"#.to_owned(), vec![(2, bits(2.0)), (3, bits(3.0))])]);
    assert_eq!(fixture.stored(), expected);
}

#[test]
fn incomplete_lists_lose_only_what_is_unusable() {
    let fixture = Fixture::new();
    let null_row = ListArray::new(
        Arc::new(Field::new_list_field(DataType::Float64, true)),
        OffsetBuffer::new(ScalarBuffer::from(vec![0, 3, 5, 6, 6])),
        doubles(&[Some(1.0), None, Some(3.0), Some(4.0), Some(5.0), Some(6.0)]),
        Some(NullBuffer::from(vec![true, true, true, false])),
    );
    let rows = batch(vec![
        ("metric", texts(&[Some("a"), Some("b"), Some("c"), Some("d")])),
        ("timestamps", list(times(&[Some(1), Some(2), None, Some(4), Some(6)]), &[3, 1, 1, 0])),
        ("values", Arc::new(null_row)),
    ]);
    let (columns, report) = fixture.put(&Table::Samples, &rows);
    assert_eq!(report.accepted_sample_count, 2);
    assert_eq!(columns.refused.sample_count, 3);
    assert!(columns.refused.first_reason().unwrap().contains("row 0: timestamp 2 of the list is null"));
    let expected = BTreeMap::from([
        (r#"{__name__="a"}"#.to_owned(), vec![(1, bits(1.0))]),
        (r#"{__name__="c"}"#.to_owned(), vec![(6, bits(6.0))]),
    ]);
    assert_eq!(fixture.stored(), expected);
}

#[test]
fn a_label_moved_to_another_column_makes_another_key() {
    let fixture = Fixture::new();
    let key = |host: Option<&str>, pod: Option<&str>, extra: &[(&str, &str)]| {
        let rows = batch(vec![
            ("metric", texts(&[Some("up")])),
            ("timestamp", times(&[Some(1)])),
            ("value", doubles(&[Some(1.0)])),
            ("host", texts(&[host])),
            ("pod", texts(&[pod])),
            ("labels", map(&[extra])),
        ]);
        fixture.decode(&Table::Samples, &rows).keys[0]
    };
    let keys = [
        key(Some("a"), None, &[]),
        key(None, Some("a"), &[]),
        key(Some("a"), Some("a"), &[]),
        key(None, None, &[("x", "ab"), ("y", "c")]),
        key(None, None, &[("x", "a"), ("y", "bc")]),
        key(None, None, &[("xa", "b"), ("y", "c")]),
    ];
    let distinct: std::collections::BTreeSet<u128> = keys.into_iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert_eq!(key(Some("a"), Some(""), &[]), keys[0]);
}

#[test]
fn tenants_never_share_a_key() {
    let mut fixture = Fixture::new();
    let rows = batch(vec![
        ("metric", texts(&[Some("up")])),
        ("timestamp", times(&[Some(1)])),
        ("value", doubles(&[Some(1.0)])),
    ]);
    let first = fixture.decode(&Table::Samples, &rows).keys;
    fixture.tenant = TenantId::new("other").unwrap();
    assert_ne!(first, fixture.decode(&Table::Samples, &rows).keys);
}

#[test]
fn wide_rows_become_a_metric_for_each_field() {
    let fixture = Fixture::new();
    let rows = batch(vec![
        ("host", texts(&[Some("a"), Some("b"), Some("a")])),
        ("timestamp", times(&[Some(1), Some(2), Some(3)])),
        ("user", doubles(&[Some(1.0), None, Some(3.0)])),
        ("idle", Arc::new(Float32Array::from(vec![0.5, 0.25, 0.125]))),
        ("start_timestamp", times(&[Some(-5), None, Some(-5)])),
    ]);
    let (columns, report) = fixture.put(&Table::Metric("cpu".to_owned()), &rows);
    assert_eq!((report.accepted_sample_count, columns.refused.sample_count), (5, 0));
    let expected = BTreeMap::from([
        (r#"{__name__="cpu_idle", host="a"}"#.to_owned(), vec![(1, bits(0.5)), (3, bits(0.125))]),
        (r#"{__name__="cpu_idle", host="b"}"#.to_owned(), vec![(2, bits(0.25))]),
        (r#"{__name__="cpu_user", host="a"}"#.to_owned(), vec![(1, bits(1.0)), (3, bits(3.0))]),
    ]);
    assert_eq!(fixture.stored(), expected);
    let starts: Vec<i64> = columns.starts.up_to(5).each(5).collect();
    assert_eq!(starts, [NOW_MS - 5, NOW_MS - 5, NOW_MS - 5, NOW_MS - 5, 0]);
    let long = batch(vec![
        ("host", texts(&[Some("a")])),
        ("timestamp", times(&[Some(1)])),
        ("value", doubles(&[Some(1.0)])),
    ]);
    let keys = fixture.decode(&Table::Metric("cpu_user".to_owned()), &long).keys;
    assert_eq!(keys, columns.keys[..1], "a wide row has another key than a long one");
}

#[test]
fn run_end_encoded_columns_are_the_same_as_plain_ones() {
    let fixture = Fixture::new();
    let runs = |ends: Vec<i32>, values: ArrayRef| -> ArrayRef {
        Arc::new(RunArray::try_new(&Int32Array::from(ends), &values).unwrap())
    };
    let dictionary = cast(
        &texts(&[Some("a"), None, Some("b")]),
        &DataType::Dictionary(Box::new(DataType::UInt8), Box::new(DataType::LargeUtf8)),
    );
    let rows = batch(vec![
        ("metric", runs(vec![5], texts(&[Some("up")]))),
        ("host", runs(vec![2, 3, 5], dictionary.unwrap())),
        ("timestamp", runs(vec![1, 2, 4, 5], times(&[Some(1), Some(2), Some(3), Some(4)]))),
        ("value", runs(vec![4, 5], doubles(&[Some(7.0), None]))),
    ]);
    let (_, report) = fixture.put(&Table::Samples, &rows);
    assert_eq!(report.accepted_sample_count, 4);
    let expected = BTreeMap::from([
        (r#"{__name__="up", host="a"}"#.to_owned(), vec![(1, bits(7.0)), (2, bits(7.0))]),
        (r#"{__name__="up", host="b"}"#.to_owned(), vec![(3, bits(7.0))]),
        (r#"{__name__="up"}"#.to_owned(), vec![(3, bits(7.0))]),
    ]);
    assert_eq!(fixture.stored(), expected);
}

#[test]
fn labels_as_a_list_of_pairs_are_a_map() {
    let fixture = Fixture::new();
    let labels = map(&[&[("__name__", "up"), ("host", "a")], &[("__name__", "up")]]);
    let entries = labels.as_map().entries().clone();
    let pairs = list(Arc::new(entries), &[2, 1]);
    let large = DataType::LargeList(Arc::new(Field::new_list_field(
        pairs.as_list::<i32>().values().data_type().clone(),
        true,
    )));
    for (offset, pairs) in [(1, Arc::clone(&pairs)), (2, cast(&pairs, &large).unwrap())] {
        let rows = batch(vec![
            ("labels", pairs),
            ("timestamp", times(&[Some(offset), Some(offset)])),
            ("value", doubles(&[Some(1.0), Some(2.0)])),
        ]);
        assert_eq!(fixture.put(&Table::Samples, &rows).1.accepted_sample_count, 2);
    }
    assert_eq!(fixture.stored().len(), 2);
}

#[test]
fn a_refused_row_is_named_by_its_number_in_every_layout() {
    const ROW_COUNT: i64 = 10_000;
    const BAD_ROW: usize = 7_777;
    let too_old = |row: i64| if row == BAD_ROW as i64 { -NOW_MS } else { row };
    let all: Vec<Option<i64>> = (0..ROW_COUNT).map(|row| Some(too_old(row))).collect();
    let values = doubles(&vec![Some(1.0); ROW_COUNT as usize]);
    let host = |group_size: i64| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            (0..ROW_COUNT).map(|row| format!("h{}", row / group_size % 10)),
        ))
    };
    for group_size in [1, 1_000] {
        let fixture = Fixture::new();
        let rows = batch(vec![
            ("host", host(group_size)),
            ("timestamp", times(&all)),
            ("value", Arc::clone(&values)),
        ]);
        let (columns, report) = fixture.put(&Table::Metric("up".to_owned()), &rows);
        assert_eq!(report.accepted_sample_count, 9_999);
        let refused = columns.refused_rows(&report);
        let [RefusedRow { row, samples, reason }] = refused.rows.as_slice() else { panic!("{refused:?}") };
        assert_eq!((*row, *samples), (Some(BAD_ROW), 1));
        assert!(reason.contains("older than"), "{reason}");
        let rows = batch(vec![
            ("host", host(group_size)),
            ("timestamp", times(&all)),
            ("user", Arc::clone(&values)),
            ("idle", Arc::clone(&values)),
        ]);
        let (columns, report) = fixture.put(&Table::Metric("cpu".to_owned()), &rows);
        let found: Vec<_> = columns.refused_rows(&report).rows.iter().map(|refused| refused.row).collect();
        assert_eq!(found, [Some(BAD_ROW); 2]);
    }
    let fixture = Fixture::new();
    let rows = batch(vec![
        ("metric", host(1_000).slice(0, 10)),
        ("timestamps", list(times(&all[..100]), &[10; 10])),
        ("values", list(values.slice(0, 100), &[10; 10])),
    ]);
    let (columns, mut report) = fixture.put(&Table::Samples, &rows);
    assert!(columns.refused_rows(&report).rows.is_empty());
    report.rejections.push(mytsdb_storage::Rejection {
        series_index: 3,
        sample_count: 2,
        reason: mytsdb_storage::RejectReason::InvalidLabels("no".to_owned()),
    });
    assert_eq!(columns.refused_rows(&report).rows[0].row, Some(3));
}

proptest! {
    #[test]
    fn grouping_keeps_every_sample_of_every_series(
        rows in prop::collection::vec((0..5_u8, 0..3_u8, prop::option::of(-9..9_i64), prop::option::of(any::<f64>())), 0..60),
        is_dictionary in any::<bool>(),
    ) {
        let fixture = Fixture::new();
        let names: Vec<String> = rows.iter().map(|row| format!("m{}", row.0)).collect();
        let hosts: Vec<String> = rows.iter().map(|row| format!("h{}", row.1)).collect();
        let column = |texts: &[String]| -> ArrayRef {
            if is_dictionary {
                Arc::new(texts.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>())
            } else {
                Arc::new(StringArray::from_iter_values(texts))
            }
        };
        let batch = batch(vec![
            ("metric", column(&names)),
            ("host", column(&hosts)),
            ("timestamp", times(&rows.iter().map(|row| row.2).collect::<Vec<_>>())),
            ("value", doubles(&rows.iter().map(|row| row.3).collect::<Vec<_>>())),
            ("start_timestamp", times(&(0..rows.len()).map(start_of_row).collect::<Vec<_>>())),
        ]);
        let columns = fixture.decode(&Table::Samples, &batch);
        let mut found: Vec<(u32, i64, u64, i64)> = Vec::new();
        let mut start = 0;
        for (row, end) in columns.rows.iter().zip(&columns.sample_ends) {
            let pairs = columns.timestamps_ms[start..*end].iter().zip(&columns.values[start..*end]);
            let starts_ms = columns.starts.slice(start..*end).each(end - start);
            found.extend(pairs.zip(starts_ms).map(|((time, value), start_ms)| {
                (*row, time - NOW_MS, value.to_bits(), start_ms)
            }));
            start = *end;
        }
        // Per row of the batch that has both: the first row of the same series, time, value.
        let mut first_rows = BTreeMap::new();
        let usable = rows.iter().enumerate().filter_map(|(row, (name, host, time, value))| {
            let (time, value) = ((*time)?, (*value)?);
            let first = *first_rows.entry((*name, *host)).or_insert(row as u32);
            Some((first, time, value.to_bits(), start_of_row(row).map_or(0, |start| NOW_MS + start)))
        });
        let mut expected: Vec<(u32, i64, u64, i64)> = usable.collect();
        expected.sort_by_key(|sample| sample.0);
        found.sort_by_key(|sample| sample.0);
        prop_assert_eq!(found, expected);
        let refused = rows.iter().filter(|row| row.2.is_none() && row.3.is_some()).count();
        prop_assert_eq!(columns.refused.sample_count, refused);
    }
}

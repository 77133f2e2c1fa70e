//! Arrow Flight over the network: what is put is acknowledged, stored, and given back.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema, TimestampMillisecondType};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::{Action, FlightClient, FlightData, FlightDescriptor, Ticket};
use futures::{StreamExt, TryStreamExt};
use mytsdb::Running;
use mytsdb_storage::model::{TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use serde_json::Value;
use tonic::Code;

use super::grpc_server::{now_ms, start};

pub(crate) async fn client(server: &Running) -> FlightClient {
    let channel = tonic::transport::Endpoint::try_from(format!("http://{}", server.addrs.arrow)).unwrap();
    FlightClient::new(channel.connect().await.unwrap())
}

pub(crate) fn path(name: &str) -> FlightDescriptor {
    FlightDescriptor::new_path(vec![name.to_owned()])
}

pub(crate) async fn messages(
    descriptor: FlightDescriptor,
    batches: Vec<RecordBatch>,
    options: IpcWriteOptions,
    dictionaries: DictionaryHandling,
) -> Vec<FlightData> {
    FlightDataEncoderBuilder::new()
        .with_flight_descriptor(Some(descriptor))
        .with_options(options)
        .with_dictionary_handling(dictionaries)
        .with_max_flight_data_size(usize::MAX)
        .build(futures::stream::iter(batches.into_iter().map(Ok)))
        .try_collect()
        .await
        .unwrap()
}

pub(crate) async fn put_messages(
    client: &mut FlightClient,
    messages: Vec<FlightData>,
) -> Result<Vec<Value>, FlightError> {
    let replies = client.do_put(futures::stream::iter(messages.into_iter().map(Ok))).await?;
    replies
        .map_ok(|reply| serde_json::from_slice(&reply.app_metadata).unwrap())
        .try_collect::<Vec<Value>>()
        .await
}

pub(crate) async fn put(
    client: &mut FlightClient,
    descriptor: FlightDescriptor,
    batches: Vec<RecordBatch>,
) -> Result<Vec<Value>, FlightError> {
    let plain = IpcWriteOptions::default();
    let messages = messages(descriptor, batches, plain, DictionaryHandling::Resend).await;
    put_messages(client, messages).await
}

pub(crate) async fn get(
    client: &mut FlightClient,
    ticket: Value,
) -> Result<Option<RecordBatch>, FlightError> {
    let batches: Vec<RecordBatch> =
        client.do_get(Ticket::new(ticket.to_string())).await?.try_collect().await?;
    Ok(batches.first().map(|first| concat_batches(first.schema_ref(), &batches).unwrap()))
}

pub(crate) fn status(error: FlightError) -> tonic::Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("no status: {other}"),
    }
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

pub(crate) fn times(times_ms: &[i64]) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(times_ms.to_vec()).with_timezone("UTC"))
}

pub(crate) fn dictionary(texts: &[&str]) -> ArrayRef {
    Arc::new(texts.iter().copied().collect::<DictionaryArray<Int32Type>>())
}

pub(crate) fn long(times_ms: &[i64], metrics: &[&str], hosts: &[&str], values: &[f64]) -> RecordBatch {
    batch(vec![
        ("metric", dictionary(metrics)),
        ("timestamp", times(times_ms)),
        ("value", Arc::new(Float64Array::from(values.to_vec()))),
        ("host", dictionary(hosts)),
    ])
}

fn series(start_ms: i64, series_count: usize, sample_count: usize) -> RecordBatch {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for index in 0..series_count {
        labels.keys().append_value("__name__");
        labels.values().append_value("load");
        labels.keys().append_value("host");
        labels.values().append_value(format!("h{index}"));
        labels.append(true).unwrap();
    }
    let all = series_count * sample_count;
    let times = times(&(0..all).map(|index| start_ms + (index % sample_count) as i64).collect::<Vec<_>>());
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..all).map(|index| index as f64)));
    let list = |items: ArrayRef| -> ArrayRef {
        let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        let offsets = OffsetBuffer::from_repeated_length(sample_count, series_count);
        Arc::new(ListArray::new(item, offsets, items, None))
    };
    batch(vec![("labels", Arc::new(labels.finish())), ("timestamps", list(times)), ("values", list(values))])
}

/// What the storage holds: labels and samples in order.
fn stored(server: &Running, tenant: &str) -> Vec<(String, Vec<(i64, f64)>)> {
    let reader = server.core().storage.reader(&TenantId::new(tenant).unwrap());
    let set = reader.select(&[], TimeRange::ALL).unwrap();
    let mut samples = SampleColumns::default();
    let read = |index| {
        set.read(index, TimeRange::ALL, &mut samples).unwrap();
        let pairs = samples.timestamps_ms.iter().copied().zip(samples.values.iter().copied());
        (set.labels(index).to_string(), pairs.collect())
    };
    (0..set.len()).map(read).collect()
}

#[tokio::test]
async fn long_rows_are_acknowledged_per_batch_and_stored() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let first = long(&[now, now, now + 1], &["up", "load", "up"], &["a", "a", "a"], &[1.0, 2.0, 3.0]);
    let second = long(&[now + 2], &["load"], &["b"], &[4.0]);
    let acks = put(&mut client, path("samples"), vec![first, second]).await.unwrap();
    assert_eq!(acks.len(), 2);
    assert_eq!((&acks[0]["request_id"], &acks[0]["affected_rows"]), (&1.into(), &3.into()));
    assert_eq!((&acks[1]["request_id"], &acks[1]["affected_rows"]), (&2.into(), &1.into()));
    assert_eq!((&acks[0]["durable"], &acks[0]["rejected_rows"]), (&true.into(), &0.into()));
    let expected = vec![
        (r#"{__name__="load", host="a"}"#.to_owned(), vec![(now, 2.0)]),
        (r#"{__name__="load", host="b"}"#.to_owned(), vec![(now + 2, 4.0)]),
        (r#"{__name__="up", host="a"}"#.to_owned(), vec![(now, 1.0), (now + 1, 3.0)]),
    ];
    assert_eq!(stored(&server.running, "anonymous"), expected);
}

#[tokio::test]
async fn a_command_and_the_table_of_a_metric_are_taken_like_a_path() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let command = FlightDescriptor::new_cmd(r#"{"type":"ingest","table":"samples"}"#);
    put(&mut client, command, vec![long(&[now], &["up"], &["a"], &[1.0])]).await.unwrap();
    let rows = batch(vec![
        ("timestamp", times(&[now])),
        ("value", Arc::new(Int64Array::from(vec![7]))),
        ("pod", Arc::new(StringViewArray::from(vec!["p"]))),
    ]);
    put(&mut client, path("queue_length"), vec![rows]).await.unwrap();
    let labels: Vec<String> = stored(&server.running, "anonymous").into_iter().map(|one| one.0).collect();
    assert_eq!(labels, [r#"{__name__="queue_length", pod="p"}"#, r#"{__name__="up", host="a"}"#]);
}

#[tokio::test]
async fn series_put_compressed_are_read_back_in_both_layouts_and_can_be_put_again() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let start_ms = now_ms() - 100;
    let rows = series(start_ms, 3, 5);
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let messages =
            messages(path("samples"), vec![rows.clone()], options, DictionaryHandling::Hydrate).await;
        let acks = put_messages(&mut client, messages).await.unwrap();
        assert_eq!(acks[0]["affected_rows"], 15, "{compression:?}");
    }
    let back =
        get(&mut client, serde_json::json!({"table": "load", "layout": "series"})).await.unwrap().unwrap();
    let numbers = |rows: &RecordBatch| {
        rows.column_by_name("values").unwrap().as_list::<i32>().values().as_primitive::<Float64Type>().clone()
    };
    assert_eq!(numbers(&back), numbers(&rows));
    let long = get(&mut client, serde_json::json!({"table": "samples"})).await.unwrap().unwrap();
    assert_eq!(long.num_rows(), 15);
    let times = long.column_by_name("timestamp").unwrap().as_primitive::<TimestampMillisecondType>();
    assert_eq!(times.value(4), start_ms + 4);
    client.add_header("x-scope-orgid", "copy").unwrap();
    put(&mut client, path("samples"), vec![long]).await.unwrap();
    assert_eq!(stored(&server.running, "copy"), stored(&server.running, "anonymous"));
    client.metadata_mut().clear();
    client.add_header("database", "copy2").unwrap();
    put(&mut client, path("samples"), vec![back]).await.unwrap();
    assert_eq!(stored(&server.running, "copy2"), stored(&server.running, "copy"));
}

#[tokio::test]
async fn start_times_are_given_back_in_both_layouts_and_can_be_put_again() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let starts = [Some(now - 900), Some(now - 900), None, Some(now - 30)];
    let start_column = TimestampMillisecondArray::from_iter(starts).with_timezone("UTC");
    let rows = batch(vec![
        ("metric", Arc::new(StringArray::from(vec!["a_total", "b_total", "a_total", "b_total"])) as ArrayRef),
        ("timestamp", times(&[now - 20, now - 20, now - 10, now - 10])),
        ("value", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0]))),
        ("start_timestamp", Arc::new(start_column)),
    ]);
    put(&mut client, path("samples"), vec![rows]).await.unwrap();
    let starts_of = |tenant: &str| -> Vec<(String, Vec<i64>)> {
        let reader = server.running.core().storage.reader(&TenantId::new(tenant).unwrap());
        let set = reader.select(&[], TimeRange::ALL).unwrap();
        let mut samples = SampleColumns::default();
        let read = |index| {
            set.read(index, TimeRange::ALL, &mut samples).unwrap();
            let starts_ms = samples.starts.up_to(samples.len()).each(samples.len());
            (set.labels(index).to_string(), starts_ms.collect())
        };
        (0..set.len()).map(read).collect()
    };
    let expected = [
        (r#"{__name__="a_total"}"#.to_owned(), vec![now - 900, 0]),
        (r#"{__name__="b_total"}"#.to_owned(), vec![now - 900, now - 30]),
    ];
    assert_eq!(starts_of("anonymous"), expected);
    for layout in ["long", "series"] {
        let ticket = serde_json::json!({"table": "samples", "layout": layout, "start_timestamps": true});
        client.metadata_mut().clear();
        let back = get(&mut client, ticket).await.unwrap().unwrap();
        client.add_header("x-scope-orgid", layout).unwrap();
        put(&mut client, path("samples"), vec![back]).await.unwrap();
        assert_eq!(starts_of(layout), expected, "{layout}");
        assert_eq!(stored(&server.running, layout), stored(&server.running, "anonymous"));
    }
}

#[tokio::test]
async fn dictionaries_that_grow_by_deltas_are_followed() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let rows = |host_count: usize| {
        let hosts: Vec<String> = (0..host_count).map(|index| format!("h{index}")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        long(&vec![now; host_count], &vec!["up"; host_count], &hosts, &vec![1.0; host_count])
    };
    let options =
        IpcWriteOptions::default().with_dictionary_handling(arrow::ipc::writer::DictionaryHandling::Delta);
    let messages =
        messages(path("samples"), vec![rows(2), rows(5)], options, DictionaryHandling::Resend).await;
    let delta_count = messages
        .iter()
        .filter_map(|message| arrow::ipc::root_as_message(&message.data_header).ok())
        .filter(|message| message.header_as_dictionary_batch().is_some_and(|batch| batch.isDelta()))
        .count();
    assert_eq!(delta_count, 1);
    let acks = put_messages(&mut client, messages).await.unwrap();
    assert_eq!(acks[1]["affected_rows"], 5);
    let labels: Vec<String> = stored(&server.running, "anonymous").into_iter().map(|one| one.0).collect();
    assert_eq!(labels.len(), 5);
    assert_eq!(labels[4], r#"{__name__="up", host="h4"}"#);
}

#[tokio::test]
async fn an_ill_typed_column_is_named_and_the_server_goes_on() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let wrong = batch(vec![
        ("metric", dictionary(&["up"])),
        ("timestamp", times(&[now])),
        ("value", dictionary(&["one"])),
    ]);
    let refused = status(put(&mut client, path("samples"), vec![wrong]).await.unwrap_err());
    assert_eq!(refused.code(), Code::InvalidArgument);
    for part in ["\"value\"", "Dictionary", "Float64"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    let acks = put(&mut client, path("samples"), vec![long(&[now], &["up"], &["a"], &[1.0])]).await.unwrap();
    assert_eq!(acks[0]["affected_rows"], 1);
}

#[tokio::test]
async fn bytes_that_are_no_arrow_are_refused_and_the_server_goes_on() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let good = messages(
        path("samples"),
        vec![long(&[now_ms()], &["up"], &["a"], &[1.0])],
        IpcWriteOptions::default(),
        DictionaryHandling::Hydrate,
    )
    .await;
    for cut in [0, 1] {
        let mut damaged = good.clone();
        damaged[cut].data_header = damaged[cut].data_header.slice(..damaged[cut].data_header.len() / 2);
        let refused = status(put_messages(&mut client, damaged).await.unwrap_err());
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let mut short = good.clone();
    short[1].data_body = short[1].data_body.slice(..8);
    let refused = status(put_messages(&mut client, short).await.unwrap_err());
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let mut headless = good.clone();
    headless.remove(0);
    headless[0].flight_descriptor = Some(path("samples"));
    let refused = status(put_messages(&mut client, headless).await.unwrap_err());
    assert!(refused.message().contains("before the schema"), "{refused}");
    assert_eq!(put_messages(&mut client, good).await.unwrap()[0]["affected_rows"], 1);
}

#[tokio::test]
async fn rows_that_cannot_be_stored_are_counted_with_a_reason_and_the_others_kept() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let some = TimestampMillisecondArray::from(vec![Some(now), None, Some(now)]).with_timezone("UTC");
    let rows = batch(vec![
        ("metric", Arc::new(StringArray::from(vec![Some("up"), Some("up"), None]))),
        ("timestamp", Arc::new(some)),
        ("value", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0]))),
    ]);
    let acks = put(&mut client, path("samples"), vec![rows]).await.unwrap();
    assert_eq!((&acks[0]["affected_rows"], &acks[0]["rejected_rows"]), (&1.into(), &2.into()));
    assert!(acks[0]["error"].as_str().unwrap().contains("timestamp is null"), "{acks:?}");
    assert_eq!(stored(&server.running, "anonymous").len(), 1);
}

#[tokio::test]
async fn one_bad_row_of_ten_thousand_is_reported_with_its_number_and_the_others_are_stored() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let mut times_ms: Vec<i64> = (0..10_000).map(|row| now - row).collect();
    times_ms[6_543] = 1;
    let rows = long(&times_ms, &["up"; 10_000], &["a"; 10_000], &[1.0; 10_000]);
    let acks = put(&mut client, path("samples"), vec![rows]).await.unwrap();
    assert_eq!((&acks[0]["affected_rows"], &acks[0]["rejected_rows"]), (&9_999.into(), &1.into()));
    let rejected = acks[0]["rejected"].as_array().unwrap();
    assert_eq!((rejected.len(), &rejected[0]["row"]), (1, &6_543.into()));
    assert!(rejected[0]["reason"].as_str().unwrap().contains("older than"), "{acks:?}");
    assert_eq!(stored(&server.running, "anonymous")[0].1.len(), 9_999);
}

#[tokio::test]
async fn wide_rows_are_written_to_the_metrics_of_their_table() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let rows = batch(vec![
        ("timestamp", times(&[now_ms()])),
        ("host", dictionary(&["a"])),
        ("usage_user", Arc::new(Float64Array::from(vec![1.0]))),
        ("usage_idle", Arc::new(Float64Array::from(vec![2.0]))),
    ]);
    let acks = put(&mut client, path("cpu"), vec![rows]).await.unwrap();
    assert_eq!(acks[0]["affected_rows"], 2);
    let labels: Vec<String> = stored(&server.running, "anonymous").into_iter().map(|one| one.0).collect();
    assert_eq!(
        labels,
        [r#"{__name__="cpu_usage_idle", host="a"}"#, r#"{__name__="cpu_usage_user", host="a"}"#]
    );
}

#[tokio::test]
async fn tables_that_only_can_be_read_say_so() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let rows = || long(&[now_ms()], &["up"], &["a"], &[1.0]);
    for name in ["series", "resources"] {
        let refused = status(put(&mut client, path(name), vec![rows()]).await.unwrap_err());
        assert!(refused.message().contains("can only be read"), "{refused}");
    }
}

#[tokio::test]
async fn request_ids_of_the_client_come_back() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let rows = long(&[now_ms()], &["up"], &["a"], &[1.0]);
    let plain = IpcWriteOptions::default();
    let mut messages = messages(path("samples"), vec![rows], plain, DictionaryHandling::Hydrate).await;
    messages.last_mut().unwrap().app_metadata = r#"{"request_id":42,"max_timestamp":5}"#.into();
    assert_eq!(put_messages(&mut client, messages).await.unwrap()[0]["request_id"], 42);
}

#[tokio::test]
async fn a_client_that_reads_no_acknowledgements_gets_a_summary_at_the_end() {
    const BATCH_COUNT: usize = 5_000;
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let rows = (0..BATCH_COUNT as i64).map(|time| long(&[now + time], &["up"], &["a"], &[1.0])).collect();
    let plain = IpcWriteOptions::default();
    let messages = messages(path("samples"), rows, plain, DictionaryHandling::Hydrate).await;
    let (sent, is_sent) = tokio::sync::oneshot::channel();
    let input =
        futures::stream::iter(messages.into_iter().map(Ok)).chain(futures::stream::once(async move {
            sent.send(()).unwrap();
            Ok(FlightData::new())
        }));
    let replies = client.do_put(input).await.unwrap();
    is_sent.await.unwrap();
    let acks: Vec<Value> = replies
        .map_ok(|reply| serde_json::from_slice(&reply.app_metadata).unwrap())
        .try_collect()
        .await
        .unwrap();
    let total: u64 = acks.iter().map(|ack| ack["affected_rows"].as_u64().unwrap()).sum();
    assert_eq!(total, BATCH_COUNT as u64);
    let batches: u64 = acks.iter().map(|ack| ack["batch_count"].as_u64().unwrap_or(1)).sum();
    assert_eq!(batches, BATCH_COUNT as u64);
    assert_eq!(stored(&server.running, "anonymous")[0].1.len(), BATCH_COUNT);
}

#[tokio::test]
async fn queries_give_rows_and_their_errors_a_status() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms() / 1_000 * 1_000;
    let rows = long(&[now - 1_000, now], &["up", "up"], &["a", "a"], &[1.0, 2.0]);
    put(&mut client, path("samples"), vec![rows]).await.unwrap();
    let instant = serde_json::json!({"promql": "up * 10", "time": now / 1_000});
    let found = get(&mut client, instant).await.unwrap().unwrap();
    assert_eq!(found.column(2).as_primitive::<Float64Type>().values(), &[20.0]);
    let seconds = now / 1_000;
    let range = serde_json::json!({"promql": "up", "start": seconds - 1, "end": seconds, "step": 1});
    let found = get(&mut client, range).await.unwrap().unwrap();
    assert_eq!(found.column(2).as_primitive::<Float64Type>().values(), &[1.0, 2.0]);
    let labels = found.column(0).as_map();
    assert_eq!(labels.keys().as_string::<i32>().value(0), "__name__");
    assert_eq!(labels.values().as_string::<i32>().value(1), "a");
    for (promql, part) in [("up +", "parse error"), ("up + on() {__name__=~\".+\"}[5m]", "")] {
        let refused = status(get(&mut client, serde_json::json!({"promql": promql})).await.unwrap_err());
        assert_eq!(refused.code(), Code::InvalidArgument, "{promql}");
        assert!(refused.message().contains(part), "{refused}");
    }
    assert!(get(&mut client, serde_json::json!({"promql": "nothing"})).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_stored_is_listed_described_and_readable_through_its_ticket() {
    let server = start().await;
    let mut client = client(&server.running).await;
    let now = now_ms();
    let rows = long(&[now, now], &["up", "load"], &["a", "a"], &[1.0, 2.0]);
    put(&mut client, path("samples"), vec![rows]).await.unwrap();
    let flights: Vec<_> = client.list_flights("").await.unwrap().try_collect().await.unwrap();
    let names: Vec<_> =
        flights.iter().map(|flight| flight.flight_descriptor.clone().unwrap().path.remove(0)).collect();
    let fixed = ["samples", "series", "histograms", "exemplars", "metadata", "resources"];
    assert_eq!(names, [fixed.as_slice(), &["load", "up"]].concat());
    let ticket = flights[7].endpoint[0].ticket.clone().unwrap();
    let found: Vec<RecordBatch> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
    assert_eq!(found[0].column(2).as_primitive::<Float64Type>().values(), &[1.0]);
    let schema = client.get_schema(path("samples")).await.unwrap();
    assert_eq!(schema, *found[0].schema());
    let command = FlightDescriptor::new_cmd(r#"{"promql":"up","layout":"series"}"#);
    let info = client.get_flight_info(command).await.unwrap();
    assert!(info.ordered);
    let of_table = client.get_flight_info(path("samples")).await.unwrap();
    let counts: Value = serde_json::from_slice(&of_table.app_metadata).unwrap();
    let expected = serde_json::json!({"table": "samples", "series_count": 2, "sample_count_max": 2});
    assert_eq!((of_table.endpoint.len(), counts), (1, expected));
    assert!(matches!(
        info.try_decode_schema().unwrap().field_with_name("values").unwrap().data_type(),
        DataType::List(_)
    ));
}

#[tokio::test]
async fn actions_answer_and_unsupported_verbs_say_so() {
    let server = start().await;
    let mut client = client(&server.running).await;
    assert_eq!(client.handshake("hello").await.unwrap(), "hello");
    let actions: Vec<_> = client.list_actions().await.unwrap().try_collect().await.unwrap();
    let names: Vec<&str> = actions.iter().map(|action| action.r#type.as_str()).collect();
    let own = ["healthcheck", "flush", "stats", "queries", "cancel"];
    assert_eq!(names, [own.as_slice(), &["CreatePreparedStatement", "ClosePreparedStatement"]].concat());
    for name in ["healthcheck", "stats", "queries"] {
        let answers: Vec<_> =
            client.do_action(Action::new(name, "")).await.unwrap().try_collect().await.unwrap();
        assert!(serde_json::from_slice::<Value>(&answers[0]).unwrap().is_object(), "{name}");
    }
    for (name, body, code) in [
        ("reboot", "", Code::Unimplemented),
        ("flush", "", Code::PermissionDenied),
        ("cancel", "now", Code::InvalidArgument),
        ("cancel", r#"{"id":"0f"}"#, Code::NotFound),
        ("CreatePreparedStatement", "SELECT", Code::InvalidArgument),
    ] {
        let refused = status(client.do_action(Action::new(name, body)).await.err().unwrap());
        assert_eq!(refused.code(), code, "{refused}");
    }
    let unknown = client.do_action(Action::new("reboot", "")).await.err().unwrap();
    assert!(status(unknown).message().contains("healthcheck, flush, stats"));
    let exchange = client.do_exchange(futures::stream::empty()).await.err().unwrap();
    assert_eq!(status(exchange).code(), Code::Unimplemented);
    client.add_header("x-scope-orgid", "no/tenant").unwrap();
    assert_eq!(status(client.list_flights("").await.err().unwrap()).code(), Code::InvalidArgument);
}

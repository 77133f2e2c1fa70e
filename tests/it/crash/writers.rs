//! One writer per protocol: sends batches of numbered samples until the connection breaks.
//!
//! A broken connection is the kill and ends the writer; a refusal is a failure of the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow::array::{Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightDescriptor, PutResult};
use futures::StreamExt;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as PointValue;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::ledger::{Acknowledgements, Ledger, Random, Sample};
use super::process::Addresses;
use crate::support::{request, request_v2};

/// Most samples in a batch.
const BATCH_SAMPLES_MAX: u64 = 150;

/// The connection broke: the server is dead.
struct Broken;

enum Client {
    Flight { batches: mpsc::Sender<RecordBatch>, acks: Streaming<PutResult> },
    Remote(SocketAddr),
    Otlp(MetricsServiceClient<Channel>),
}

/// Writes as `ledger.writer` until the server is gone.
pub(super) async fn write(
    addresses: Addresses,
    ledger: Arc<Ledger>,
    acknowledgements: Arc<Acknowledgements>,
    mut random: Random,
) {
    let Ok(mut client) = Client::connect(addresses, ledger.writer).await else { return };
    loop {
        let numbers = ledger.take(1 + random.below(BATCH_SAMPLES_MAX));
        match client.send(&ledger, &numbers).await {
            Ok(()) => {
                ledger.acknowledge(numbers);
                acknowledgements.add();
            }
            Err(Broken) => return,
        }
    }
}

/// Flushes the head again and again until the server is gone.
pub(super) async fn flush(http: SocketAddr) {
    while let Ok(status) = post(http, "/api/v1/admin/tsdb/flush", b"").await {
        assert_eq!(status, 204, "flush");
    }
}

/// Flushes a few times and compacts, again and again until the server is gone.
pub(super) async fn compact(http: SocketAddr) {
    loop {
        for path in ["flush", "flush", "compact"] {
            let Ok(status) = post(http, &format!("/api/v1/admin/tsdb/{path}"), b"").await else { return };
            assert_eq!(status, 204, "{path}");
        }
    }
}

/// Takes snapshots until the server is gone; those that were answered for go to `names`.
pub(super) async fn snapshot(http: SocketAddr, names: Arc<Mutex<Vec<String>>>) {
    while let Ok((status, body)) = ask(http, "/api/v1/admin/tsdb/snapshot", b"").await {
        assert_eq!(status, 200, "snapshot: {body}");
        // A body that the kill cut is no answer.
        let Ok(answer) = serde_json::from_str::<serde_json::Value>(&body) else { return };
        names.lock().unwrap().push(answer["data"]["name"].as_str().unwrap().to_owned());
    }
}

impl Client {
    async fn connect(addresses: Addresses, writer: &str) -> Result<Self, Broken> {
        match writer.split('-').next() {
            Some("flight") => Self::connect_flight(addresses.arrow).await,
            Some("remote") => Ok(Self::Remote(addresses.http)),
            Some("otlp") => {
                let endpoint = format!("http://{}", addresses.otlp_grpc);
                Ok(Self::Otlp(MetricsServiceClient::connect(endpoint).await.map_err(|_| Broken)?))
            }
            other => panic!("no protocol {other:?}"),
        }
    }

    async fn connect_flight(addr: SocketAddr) -> Result<Self, Broken> {
        let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap();
        let mut client = FlightServiceClient::new(endpoint.connect().await.map_err(|_| Broken)?);
        let (batches, receiver) = mpsc::channel(1);
        let messages = FlightDataEncoderBuilder::new()
            .with_schema(flight_batch("", &[]).schema())
            .with_flight_descriptor(Some(FlightDescriptor::new_path(vec!["samples".to_owned()])))
            .build(ReceiverStream::new(receiver).map(Ok))
            .map(|message| message.unwrap());
        let acks = client.do_put(messages).await.map_err(|status| broken(&status))?.into_inner();
        Ok(Self::Flight { batches, acks })
    }

    /// Sends samples and comes back when they are acknowledged.
    async fn send(&mut self, ledger: &Ledger, numbers: &Range<u64>) -> Result<(), Broken> {
        let samples = ledger.samples(numbers);
        match self {
            Self::Flight { batches, acks } => {
                batches.send(flight_batch(ledger.writer, &samples)).await.map_err(|_| Broken)?;
                let ack = acks.message().await.map_err(|status| broken(&status))?.ok_or(Broken)?;
                let ack: serde_json::Value = serde_json::from_slice(&ack.app_metadata).unwrap();
                assert_eq!(ack["affected_rows"], samples.len(), "{ack}");
                assert_eq!(ack["rejected_rows"], 0, "{ack}");
                assert_eq!(ack["durable"], true, "{ack}");
                Ok(())
            }
            Self::Remote(addr) => {
                let (media, body) = remote_body(ledger.writer, &samples, numbers.start.is_multiple_of(2));
                let (status, text) = ask_as(*addr, "/api/v1/write", media, &body).await?;
                assert_eq!(status, 204, "remote write: {text}");
                Ok(())
            }
            Self::Otlp(client) => {
                let response =
                    client.export(otlp_request(ledger.writer, &samples)).await.map_err(|s| broken(&s))?;
                assert_eq!(response.into_inner().partial_success, None);
                Ok(())
            }
        }
    }
}

fn broken(status: &Status) -> Broken {
    let is_connection = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
    assert!(is_connection || status.code() == Code::Internal, "refused: {status}");
    Broken
}

/// Sends one HTTP request; returns the status of the answer.
async fn post(addr: SocketAddr, path: &str, body: &[u8]) -> Result<u16, Broken> {
    Ok(ask(addr, path, body).await?.0)
}

/// Sends one HTTP request; returns the status and the body of the answer.
async fn ask(addr: SocketAddr, path: &str, body: &[u8]) -> Result<(u16, String), Broken> {
    ask_as(addr, path, "application/x-protobuf", body).await
}

async fn ask_as(addr: SocketAddr, path: &str, media: &str, body: &[u8]) -> Result<(u16, String), Broken> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-encoding: snappy\r\n\
         content-type: {media}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = Vec::new();
    let mut stream = TcpStream::connect(addr).await.map_err(|_| Broken)?;
    stream.write_all(head.as_bytes()).await.map_err(|_| Broken)?;
    stream.write_all(body).await.map_err(|_| Broken)?;
    stream.read_to_end(&mut answer).await.map_err(|_| Broken)?;
    let answer = String::from_utf8_lossy(&answer);
    // An answer without the end of its head was cut by the kill.
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(Broken)?;
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

fn by_series(samples: &[Sample]) -> BTreeMap<u64, Vec<Sample>> {
    let mut series: BTreeMap<u64, Vec<Sample>> = BTreeMap::new();
    for sample in samples {
        series.entry(sample.series).or_default().push(*sample);
    }
    series
}

fn flight_batch(writer: &str, samples: &[Sample]) -> RecordBatch {
    let timestamps: Vec<i64> = samples.iter().map(|sample| sample.timestamp_ms).collect();
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let series: Vec<String> = samples.iter().map(|sample| sample.series.to_string()).collect();
    RecordBatch::try_from_iter([
        ("metric", Arc::new(StringArray::from(vec!["crash_samples"; samples.len()])) as _),
        ("timestamp", Arc::new(TimestampMillisecondArray::from(timestamps)) as _),
        ("value", Arc::new(Float64Array::from(values)) as _),
        ("writer", Arc::new(StringArray::from(vec![writer; samples.len()])) as _),
        ("series", Arc::new(StringArray::from(series)) as _),
    ])
    .unwrap()
}

/// A request of remote write 1.0 or 2.0, with its media type.
fn remote_body(writer: &str, samples: &[Sample], is_v2: bool) -> (&'static str, Vec<u8>) {
    let (mut first, mut second) = (Vec::new(), request_v2::Request::new());
    for (series, samples) in by_series(samples) {
        let series = series.to_string();
        let labels = [("__name__", "crash_samples"), ("series", series.as_str()), ("writer", writer)];
        let samples: Vec<(f64, i64)> =
            samples.iter().map(|sample| (sample.value, sample.timestamp_ms)).collect();
        if is_v2 {
            second.series(&labels, &samples);
        } else {
            first.extend(request::write_request(&[(&labels, &samples)]).timeseries);
        }
    }
    if is_v2 {
        return (request_v2::CONTENT_TYPE.1, second.compressed());
    }
    let first = request::WriteRequest { timeseries: first, metadata: Vec::new() };
    ("application/x-protobuf", request::compressed(&first))
}

fn otlp_request(writer: &str, samples: &[Sample]) -> ExportMetricsServiceRequest {
    let attribute = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(OtlpValue::StringValue(value)) }),
        ..KeyValue::default()
    };
    let data_points = samples
        .iter()
        .map(|sample| NumberDataPoint {
            attributes: vec![
                attribute("writer", writer.to_owned()),
                attribute("series", sample.series.to_string()),
            ],
            time_unix_nano: sample.timestamp_ms as u64 * 1_000_000,
            value: Some(PointValue::AsDouble(sample.value)),
            ..NumberDataPoint::default()
        })
        .collect();
    let metric = Metric {
        name: "crash_samples".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points })),
        ..Metric::default()
    };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
    }
}

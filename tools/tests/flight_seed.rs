//! The generator against a small Flight server in this process: every sample arrives, and what goes wrong is said.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail where it is")]

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMillisecondType};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use clap::Parser;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use mytsdb_tools::flight_client::FlightClientError;
use mytsdb_tools::k8s::expected::group_values;
use mytsdb_tools::k8s::options::SeedOptions;
use mytsdb_tools::k8s::progress::Progress;
use mytsdb_tools::k8s::seed::{Dataset, SeedError, SeedReport, seed};
use mytsdb_tools::k8s::verify::VerifyError;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Labels = BTreeMap<String, String>;
type Samples = BTreeMap<Labels, BTreeMap<i64, f64>>;

/// How the server misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Refuses one sample of every batch.
    Refuses,
    /// Ends the replies after the first acknowledgement.
    StopsAcknowledging,
    /// Acknowledges all batches at once, at the end.
    Summarises,
}

#[derive(Debug)]
struct Held {
    samples: Samples,
    tenants: Vec<Option<String>>,
}

#[derive(Debug, Clone)]
struct Server {
    manner: Manner,
    held: Arc<Mutex<Held>>,
}

impl Server {
    /// Keeps the samples of `batch`; returns how many there are.
    fn keep(&self, batch: &RecordBatch) -> usize {
        let maps = batch.column_by_name("labels").unwrap().as_map();
        let timestamps = batch.column_by_name("timestamps").unwrap().as_list::<i32>();
        let values = batch.column_by_name("values").unwrap().as_list::<i32>();
        let mut held = self.held.lock().unwrap();
        let mut sample_count = 0;
        for row in 0..batch.num_rows() {
            let entries = maps.value(row);
            let names = entries.column(0).as_string::<i32>().iter().flatten().map(str::to_owned);
            let texts = entries.column(1).as_string::<i32>().iter().flatten().map(str::to_owned);
            let series = held.samples.entry(names.zip(texts).collect()).or_default();
            let (times, values) = (timestamps.value(row), values.value(row));
            assert_eq!(times.as_primitive::<TimestampMillisecondType>().timezone(), Some("UTC"));
            let times = times.as_primitive::<TimestampMillisecondType>().values().to_vec();
            sample_count += times.len();
            let values = values.as_primitive::<Float64Type>().values().to_vec();
            assert_eq!(times.len(), values.len());
            for (time, value) in times.into_iter().zip(values) {
                assert_eq!(series.insert(time, value), None, "a sample came twice");
            }
        }
        sample_count
    }

    /// Loses a sample that was acknowledged.
    fn lose_one(&self) {
        let mut held = self.held.lock().unwrap();
        let series = held.samples.values_mut().find(|series| series.len() > 1).unwrap();
        series.pop_first();
    }

    /// Answers `sum(count_over_time(metric{…}[Nms]))`.
    fn count(&self, promql: &str, time_ms: i64) -> f64 {
        let inner = promql.strip_prefix("sum(count_over_time(").unwrap().strip_suffix("ms]))").unwrap();
        let (selector, range_ms) = inner.rsplit_once('[').unwrap();
        let metric = selector.split_once('{').unwrap().0;
        let after = time_ms - range_ms.parse::<i64>().unwrap();
        let held = self.held.lock().unwrap();
        let series = held.samples.iter().filter(|(labels, _)| labels["__name__"] == metric);
        series.map(|(_, samples)| samples.range(after + 1..=time_ms).count()).sum::<usize>() as f64
    }
}

fn ack(request_id: usize, affected: usize, rejected: usize, batch_count: usize) -> PutResult {
    let error = if rejected > 0 { "\"too old\"" } else { "null" };
    let json = format!(
        "{{\"request_id\":{request_id},\"affected_rows\":{affected},\"elapsed_secs\":0.1,\"rejected_rows\":{rejected},\"error\":{error},\"durable\":true,\"batch_count\":{batch_count}}}"
    );
    PutResult { app_metadata: json.into() }
}

#[tonic::async_trait]
impl FlightService for Server {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let tenant =
            request.metadata().get("x-scope-orgid").map(|tenant| tenant.to_str().unwrap().to_owned());
        self.held.lock().unwrap().tenants.push(tenant);
        let server = self.clone();
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let mut input = request.into_inner();
            let first = input.message().await.unwrap().unwrap();
            assert_eq!(first.flight_descriptor, Some(FlightDescriptor::new_path(vec!["samples".to_owned()])));
            let messages = stream::once(async { Ok(first) }).chain(input.map_err(FlightError::from));
            let mut batches = FlightRecordBatchStream::new_from_flight_data(messages).into_inner();
            let (mut batch_count, mut total) = (0, 0);
            while let Some(decoded) = batches.try_next().await.unwrap() {
                let arrow_flight::decode::DecodedPayload::RecordBatch(batch) = &decoded.payload else {
                    continue;
                };
                batch_count += 1;
                assert_eq!(decoded.app_metadata(), format!("{{\"request_id\":{batch_count}}}"));
                let sample_count = server.keep(batch);
                total += sample_count;
                let answer = match server.manner {
                    Manner::Summarises => continue,
                    Manner::Refuses => ack(batch_count, sample_count - 1, 1, 1),
                    _ => ack(batch_count, sample_count, 0, 1),
                };
                let is_gone = sender.send(Ok(answer)).await.is_err();
                if is_gone || server.manner == Manner::StopsAcknowledging {
                    return;
                }
            }
            if server.manner == Manner::Summarises {
                let _gone = sender.send(Ok(ack(batch_count, total, 0, batch_count))).await;
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let ticket: serde_json::Value = serde_json::from_slice(&request.into_inner().ticket).unwrap();
        assert_eq!(ticket["start"], ticket["end"]);
        let time_ms = (ticket["end"].as_f64().unwrap() * 1e3).round() as i64;
        let count = self.count(ticket["promql"].as_str().unwrap(), time_ms);
        let column: Arc<dyn Array> = Arc::new(Float64Array::from(vec![count]));
        let batch = RecordBatch::try_from_iter([("value", column)]).unwrap();
        let messages = FlightDataEncoderBuilder::new().build(stream::iter([Ok(batch)]));
        Ok(Response::new(Box::pin(messages.map_err(Status::from))))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Starts a server on a free port.
async fn start(manner: Manner) -> (Server, String) {
    let held = Arc::new(Mutex::new(Held { samples: Samples::new(), tenants: Vec::new() }));
    let server = Server { manner, held };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let service = FlightServiceServer::new(server.clone()).max_decoding_message_size(64 << 20);
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    (server, endpoint)
}

/// 4 pods × 2 containers × 90 series × 144 steps = 103,680 samples, in runs of 100 steps and small batches.
fn small(endpoint: &str, more: &[&str]) -> (SeedOptions, Dataset) {
    let size = ["x", "--services", "1", "--days", "0.025", "--run-length", "100", "--batch-bytes", "65536"];
    let place = ["--endpoint", endpoint, "--end", "1760000000.5"];
    let options = SeedOptions::parse_from(size.iter().chain(&place).chain(more));
    let dataset = Dataset::new(&options, 0).unwrap();
    (options, dataset)
}

async fn run(manner: Manner, more: &[&str]) -> (Result<SeedReport, SeedError>, Server, Dataset) {
    let (server, endpoint) = start(manner).await;
    let (options, dataset) = small(&endpoint, more);
    let report = seed(&options, &dataset, &Arc::new(Progress::silent())).await;
    (report, server, dataset)
}

#[tokio::test]
async fn every_sample_arrives_as_the_model_says() {
    let (report, server, dataset) = run(Manner::Honest, &["--streams", "3"]).await;
    let report = report.unwrap();
    assert_eq!((report.sample_count, report.verified_count), (103_680, Some(103_680)));
    assert!(report.to_string().starts_with("seeded 103680 samples in "), "{report}");
    let held = server.held.lock().unwrap();
    assert_eq!(held.samples.len() as u64, dataset.topology.scale.series_count());
    for group in &dataset.plan.groups {
        for (labels, values) in group.labels.iter().zip(group_values(&dataset, group)) {
            let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
            let expected: BTreeMap<i64, f64> =
                (0..).map(|step| dataset.clock.time_ms(step)).zip(values).collect();
            assert_eq!(held.samples[&labels], expected, "{labels:?}");
            assert_eq!(expected.last_key_value().unwrap().0, &1_759_999_995_000);
        }
    }
}

#[tokio::test]
async fn one_lost_sample_is_found() {
    let (server, endpoint) = start(Manner::Honest).await;
    let (mut options, dataset) = small(&endpoint, &[]);
    options.no_verify = true;
    let silent = Arc::new(Progress::silent());
    assert_eq!(seed(&options, &dataset, &silent).await.unwrap().verified_count, None);
    server.lose_one();
    let mut client = {
        use mytsdb_tools::flight_client::{FlightClient, FlightTarget};
        let target = FlightTarget { endpoint, tenant: None, connect_timeout: options.connect_timeout };
        FlightClient::connect(&target, |_| {}).await.unwrap()
    };
    use mytsdb_tools::k8s::verify::{count_queries, verify};
    let queries = count_queries(&dataset.topology, &dataset.plan, &dataset.clock, None);
    let error = verify(&options, &mut client, &queries).await.unwrap_err();
    match error {
        VerifyError::Mismatch { found, expected, metric_found, metric_expected, .. } => {
            assert_eq!((found, expected, metric_expected - metric_found), (103_679, 103_680, 1));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn refused_samples_fail_the_run_with_the_servers_reason() {
    let (report, _, _) = run(Manner::Refuses, &[]).await;
    match report.unwrap_err() {
        SeedError::Refused { sample_count, reason } => {
            assert!(sample_count > 1);
            assert_eq!(reason, "too old");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn batches_that_nobody_acknowledged_fail_the_run() {
    let (report, _, _) = run(Manner::StopsAcknowledging, &["--streams", "1"]).await;
    // Which one depends on how many batches the client had sent when the server went away.
    let error = report.unwrap_err();
    assert!(
        matches!(
            error,
            SeedError::Flight(
                FlightClientError::Unacknowledged { .. }
                    | FlightClientError::EndedEarly { .. }
                    | FlightClientError::Status(_)
            )
        ),
        "{error}"
    );
}

#[tokio::test]
async fn one_summary_acknowledges_many_batches() {
    let (report, _, _) = run(Manner::Summarises, &["--in-flight", "512"]).await;
    assert_eq!(report.unwrap().verified_count, Some(103_680));
}

#[tokio::test]
async fn silence_with_all_batches_on_the_way_is_said() {
    let (report, _, _) = run(Manner::Summarises, &["--in-flight", "1", "--ack-timeout", "200ms"]).await;
    let error = report.unwrap_err();
    assert!(
        matches!(error, SeedError::Flight(FlightClientError::AckTimeout { batch_count: 1, .. })),
        "{error}"
    );
}

#[tokio::test]
async fn the_tenant_goes_with_every_stream_and_the_run_is_a_label() {
    let (report, server, _) = run(Manner::Honest, &["--tenant", "t1", "--seed-run", "r7"]).await;
    assert_eq!(report.unwrap().verified_count, Some(103_680));
    let held = server.held.lock().unwrap();
    assert_eq!(held.tenants, vec![Some("t1".to_owned()); 2]);
    assert!(held.samples.keys().all(|labels| labels["seed_run"] == "r7"));
}

//! Tests of workers against a gRPC server that answers by a script.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::OsString;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tonic::Code as GrpcCode;

use super::super::answer::Code;
use super::super::config::Config;
use super::super::stop::{Stopper, stop};
use super::super::transport::Transports;
use super::super::transport::connect::Traffic;
use super::*;
use crate::telemetry::template::Signal;

/// Answers in order; when they are used up, everything is taken.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<VecDeque<(GrpcCode, &'static [u8])>>,
    /// First byte of every message that came.
    came: Mutex<Vec<u8>>,
}

/// `ExportMetricsServiceResponse { partial_success { rejected: 2, error_message: "no" } }`, as a gRPC message.
const TWO_REJECTED: &[u8] = &[0, 0, 0, 0, 8, 0x0a, 6, 0x08, 2, 0x12, 2, b'n', b'o'];
const ALL_TAKEN: &[u8] = &[0; 5];

async fn serve(script: Arc<Script>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let script = Arc::clone(&script);
            let service = service_fn(move |request| answer(request, Arc::clone(&script)));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn answer(
    request: HttpRequest<Incoming>,
    script: Arc<Script>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let message = request.into_body().collect().await.unwrap().to_bytes();
    script.came.lock().unwrap().push(message[5]);
    let (code, body) = script.answers.lock().unwrap().pop_front().unwrap_or((GrpcCode::Ok, ALL_TAKEN));
    let mut response = Response::new(Full::new(Bytes::from_static(body)));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code as i32));
    Ok(response)
}

/// Requests of ten events whose bodies are their numbers.
#[derive(Debug)]
struct Numbers {
    next: u8,
    count: u8,
}

impl Source for Numbers {
    fn next_request(&mut self, now_ns: u64) -> Option<Request> {
        self.next += 1;
        (self.next <= self.count).then(|| Request {
            signal: Signal::Metrics,
            body: Bytes::from(vec![self.next]),
            columns: None,
            events: 10,
            batch: 0,
            time_ns: now_ns,
            is_repeat: false,
        })
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::default()
    }
}

struct Run {
    shared: Arc<Shared>,
    worker: Worker<Numbers>,
    stopper: Stopper,
}

async fn start(script: &Arc<Script>, count: u8) -> Run {
    let address = serve(Arc::clone(script)).await;
    let args =
        ["telemetry-sender", "--endpoint", &address, "--insecure", "--sending-retry-initial-interval", "1ms"];
    let config = Config::read(args.iter().map(OsString::from).collect(), None).unwrap();
    let transports = Transports::connect(&config, Arc::new(Traffic::default())).await.unwrap();
    let shared = Arc::new(Shared {
        schedule: Schedule::new(0.0, Duration::ZERO),
        stats: Stats::default(),
        started: Instant::now(),
        ends: None,
        answer_timeout: Duration::from_secs(60),
        retry: config.retry,
    });
    let (stopper, stop) = stop();
    let worker = Worker {
        index: 0,
        source: Numbers { next: 0, count },
        transport: transports.of_worker(&config, 0).unwrap(),
        first_expected_count: 10,
        shared: Arc::clone(&shared),
        stop,
    };
    Run { shared, worker, stopper }
}

fn script(answers: &[(GrpcCode, &'static [u8])]) -> Arc<Script> {
    Arc::new(Script { answers: Mutex::new(answers.iter().copied().collect()), ..Script::default() })
}

#[tokio::test]
async fn a_retried_request_is_answered_before_the_next_one_is_made() {
    let busy = (GrpcCode::Unavailable, ALL_TAKEN);
    let script = script(&[(GrpcCode::Ok, ALL_TAKEN), busy, busy]);
    let run = start(&script, 3).await;
    run.worker.run().await;
    assert_eq!(*script.came.lock().unwrap(), [1, 2, 2, 2, 3]);
    let total = run.shared.stats.total();
    assert_eq!((total.requests, total.retries, total.retried), (3, 2, 20));
    assert_eq!((total.sent, total.accepted, total.failed), (30, 30, 0));
}

#[tokio::test]
async fn what_would_fail_again_is_not_retried_and_counted_by_code() {
    let script = script(&[(GrpcCode::InvalidArgument, ALL_TAKEN), (GrpcCode::Ok, TWO_REJECTED)]);
    let run = start(&script, 2).await;
    run.worker.run().await;
    assert_eq!(*script.came.lock().unwrap(), [1, 2]);
    let counts = run.shared.stats.counts();
    let total = counts.total();
    assert_eq!((total.accepted, total.rejected, total.failed, total.retried), (8, 2, 10, 0));
    let code = |code: GrpcCode| counts.codes[&("metrics", Code::Grpc(code as i32))];
    assert_eq!((code(GrpcCode::InvalidArgument), code(GrpcCode::Ok)), (1, 1));
    assert_eq!(counts.reasons["OK: no"], 1);
}

#[tokio::test]
async fn draining_lets_the_retry_end_and_makes_no_new_request() {
    let script = script(&[(GrpcCode::Unavailable, ALL_TAKEN)]);
    let run = start(&script, 200).await;
    let worker = tokio::spawn(run.worker.run());
    while script.came.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    run.stopper.advance(Stage::Draining);
    worker.await.unwrap();
    let total = run.shared.stats.total();
    assert_eq!(total.in_flight(), 0);
    assert_eq!((total.accepted, total.failed), (total.sent, 0));
    assert!(total.requests < 200, "{total:?}");
}

#[tokio::test]
async fn aborting_waits_for_nothing_and_says_so() {
    let script = script(&[(GrpcCode::Unavailable, ALL_TAKEN); 100_000]);
    let run = start(&script, 1).await;
    let worker = tokio::spawn(run.worker.run());
    while script.came.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    run.stopper.advance(Stage::Aborted);
    worker.await.unwrap();
    let total = run.shared.stats.total();
    assert_eq!((total.sent, total.failed, total.in_flight()), (10, 10, 0));
}

//! OTLP/gRPC: gauges under DCGM's names, verbatim.
//!
//! A target (`job`, `instance`) is a resource with `service.name` and `service.instance.id`; all other labels are attributes
//! of the point. There is no unit, and counters are gauges that say `prometheus.type = unknown`: a unit, or a sum that
//! counts, would get a suffix on its way to Prometheus' names.
//! Source: opentelemetry-proto; OTLP specification, "Partial Success", "Failures".

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::{CONNECT_TIMEOUT, Outcome, REQUEST_TIMEOUT, SendError, Target, causes};
use crate::bench_load::otlp::{put_attribute, put_fixed64};
use crate::bench_load::wire::put_field;
use crate::gpu::metric::Kind;
use crate::gpu::player::Sample;
use crate::gpu::recording::{Recording, Series};
use crate::raw_codec::RawCodec;

const EXPORT_PATH: PathAndQuery =
    PathAndQuery::from_static("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
const SCOPE: &str = "gpu-csv-replay";

/// Sends over one connection.
#[derive(Debug)]
pub struct OtlpSender {
    endpoint: Endpoint,
    address: String,
    tenant: Option<MetadataValue<Ascii>>,
    recording: Arc<Recording>,
    grpc: Option<Grpc<Channel>>,
}

impl OtlpSender {
    /// Prepares sending.
    ///
    /// # Errors
    /// [`SendError::Never`] if the endpoint or the tenant cannot be.
    pub fn new(target: &Target, recording: Arc<Recording>) -> Result<Self, SendError> {
        let address = target.endpoint.clone();
        let wrong = |reason: String| SendError::never(format!("{address:?} is no address: {reason}"));
        if !address.starts_with("http://") {
            return Err(wrong("it does not start with http://".to_owned()));
        }
        let endpoint = Endpoint::from_shared(address.clone()).map_err(|error| wrong(causes(&error)))?;
        let endpoint = endpoint.tcp_nodelay(true).connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
        let tenant = target.tenant.as_ref().map(|tenant| tenant.parse()).transpose();
        let tenant = tenant.map_err(|_| SendError::never("the tenant is no visible ASCII"))?;
        Ok(Self { endpoint, address, tenant, recording, grpc: None })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&mut self, samples: &[Sample]) -> Result<Outcome, SendError> {
        let mut request = Request::new(Bytes::from(encode(&self.recording, samples)));
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("x-scope-orgid", tenant.clone());
        }
        let mut grpc = match self.grpc.take() {
            Some(grpc) => grpc,
            None => {
                let channel = self.endpoint.connect().await.map_err(|error| {
                    SendError::later(format!("cannot connect to {}: {}", self.address, causes(&error)))
                })?;
                Grpc::new(channel)
            }
        };
        grpc.ready().await.map_err(SendError::later)?;
        let reply = grpc.unary(request, EXPORT_PATH, RawCodec).await.map_err(failure)?.into_inner();
        // Kept only while it works.
        self.grpc = Some(grpc);
        let (rejected, reason) = partial_success(&reply);
        let accepted = (samples.len() as u64).saturating_sub(rejected);
        Ok(Outcome { accepted, rejected, reason: reason.filter(|_| rejected > 0) })
    }
}

/// Which answers are worth another try: those of the specification, and a connection that broke.
fn failure(status: Status) -> SendError {
    let reason = format!("the server answered {:?}: {}", status.code(), status.message());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::ResourceExhausted => SendError::later(reason),
        // What breaks the connection under a call has no code of the protocol.
        Code::Unknown if std::error::Error::source(&status).is_some() => SendError::later(reason),
        _ => SendError::never(reason),
    }
}

/// The samples of a target by metric.
type Metrics<'a> = BTreeMap<&'a str, Vec<(&'a Series, Sample)>>;

/// Encodes an `ExportMetricsServiceRequest`.
fn encode(recording: &Recording, samples: &[Sample]) -> Vec<u8> {
    let mut targets: BTreeMap<(&str, &str), Metrics<'_>> = BTreeMap::new();
    for sample in samples {
        if let Some(series) = recording.series.get(sample.series as usize) {
            let target = targets.entry((series.label("job"), series.label("instance"))).or_default();
            target.entry(&series.metric).or_default().push((series, *sample));
        }
    }
    let mut request = Vec::new();
    for ((job, instance), metrics) in targets {
        let mut attributes = Vec::new();
        put_attribute(&mut attributes, 1, "service.name", job);
        put_attribute(&mut attributes, 1, "service.instance.id", instance);
        let mut scope = Vec::new();
        put_field(&mut scope, 1, SCOPE.as_bytes());
        let mut scope_metrics = Vec::new();
        put_field(&mut scope_metrics, 1, &scope);
        for (name, points) in metrics {
            put_field(&mut scope_metrics, 2, &metric(name, &points));
        }
        let mut resource_metrics = Vec::new();
        put_field(&mut resource_metrics, 1, &attributes);
        put_field(&mut resource_metrics, 2, &scope_metrics);
        put_field(&mut request, 1, &resource_metrics);
    }
    request
}

fn metric(name: &str, points: &[(&Series, Sample)]) -> Vec<u8> {
    let mut gauge = Vec::new();
    for (series, sample) in points {
        let mut point = Vec::new();
        // Times before 1970 do not exist in OTLP.
        put_fixed64(&mut point, 3, sample.time_ms.max(0).unsigned_abs() * 1_000_000);
        put_fixed64(&mut point, 4, sample.value.to_bits());
        for (label, value) in series.labels.iter().filter(|(label, _)| label != "job" && label != "instance")
        {
            put_attribute(&mut point, 7, label, value);
        }
        put_field(&mut gauge, 1, &point);
    }
    let mut metric = Vec::new();
    put_field(&mut metric, 1, name.as_bytes());
    let known = points.first().map(|(series, _)| series.known);
    if let Some(known) = known.filter(|known| !known.help.is_empty()) {
        put_field(&mut metric, 2, known.help.as_bytes());
    }
    put_field(&mut metric, 5, &gauge);
    if known.is_some_and(|known| known.kind != Kind::Gauge) {
        put_attribute(&mut metric, 12, "prometheus.type", "unknown");
    }
    metric
}

/// Reads `partial_success` of an answer: how many points were refused, and why.
fn partial_success(reply: &[u8]) -> (u64, Option<String>) {
    let mut found = (0, None);
    let Some((1, Field::Bytes(partial), _)) = next_field(reply) else { return found };
    let mut rest = partial;
    while let Some((number, field, after)) = next_field(rest) {
        match (number, field) {
            (1, Field::Number(count)) => found.0 = count,
            (2, Field::Bytes(text)) => found.1 = Some(String::from_utf8_lossy(text).into_owned()),
            _ => {}
        }
        rest = after;
    }
    found
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The first field of a message: its number, its content, what comes after. `None` at the end, or for what an answer of
/// this protocol does not have.
fn next_field(bytes: &[u8]) -> Option<(u64, Field<'_>, &[u8])> {
    let (key, rest) = varint(bytes)?;
    let (number, rest) = varint(rest)?;
    match key & 7 {
        0 => Some((key >> 3, Field::Number(number), rest)),
        2 => {
            let (content, rest) = rest.split_at_checked(usize::try_from(number).ok()?)?;
            Some((key >> 3, Field::Bytes(content), rest))
        }
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_successes_are_read() {
        assert_eq!(partial_success(b""), (0, None));
        assert_eq!(partial_success(b"\x0a\x00"), (0, None));
        assert_eq!(partial_success(b"\x0a\x09\x08\xac\x02\x12\x04late"), (300, Some("late".to_owned())));
        assert_eq!(partial_success(b"\x0a\xff"), (0, None));
    }

    #[test]
    fn a_connection_that_broke_is_tried_again_and_a_refusal_is_not() {
        assert!(matches!(failure(Status::unavailable("x")), SendError::Later { .. }));
        assert!(matches!(failure(Status::invalid_argument("x")), SendError::Never { .. }));
        assert!(matches!(failure(Status::unauthenticated("x")), SendError::Never { .. }));
    }
}

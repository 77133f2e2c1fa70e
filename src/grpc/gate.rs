//! Bounds what gRPC calls hold in memory while they are received: bytes in flight, and time.
//!
//! Around every call: its bytes are reserved as they arrive, before they are gathered into a message. A call of one
//! message keeps them until it is answered and is refused if there is no room (`UNAVAILABLE` with `RetryInfo`). In a
//! stream of messages the bytes of each go over to whoever works on it ([`Hold::take`]); without room the stream is
//! read no further for a while: its client feels it as back pressure. Not here: sizes of messages as they are sent, which
//! tonic limits while it reads.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures::future::BoxFuture;
use hyper::body::{Frame, SizeHint};
use mytsdb_storage::model::TenantId;
use tokio::time::Sleep;
use tonic::Status;

use super::busy;
use super::inflate::Encoding;
use super::inflated_body::{InflateLimits, InflatedBody};
use crate::core::Core;
use crate::inflight::{Inflight, InflightFull, Reservation};

/// The call of many messages, by the end of its path.
const STREAM_METHOD: &str = "/DoPut";

/// What the calls of one port share.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) core: Arc<Core>,
    pub(crate) inflight: Arc<Inflight>,
    /// Metadata keys that name the tenant, first come first.
    pub(crate) tenant_keys: &'static [&'static str],
    /// The protocol in the words of the metrics.
    pub(crate) protocol: &'static str,
    /// Longest time to send a call of one message, and to wait for room in a stream.
    pub(crate) read_timeout: Duration,
    /// Bounds decompression.
    pub(crate) inflate: InflateLimits,
}

/// The bytes of one call that are in flight, as an extension of its request.
#[derive(Debug, Clone)]
pub(crate) struct Hold(Arc<Mutex<Reservation>>);

impl Hold {
    /// Hands over the bytes received so far.
    pub(crate) fn take(&self) -> Reservation {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).split()
    }

    /// Takes `bytes` more.
    pub(super) fn grow(&self, bytes: usize) -> Result<(), InflightFull> {
        self.with(|held| held.grow(bytes))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Reservation) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The middleware.
pub(crate) async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    // A name that is not allowed is refused by the service, in its words.
    let tenant = super::tenant_name(request.headers(), gate.tenant_keys)
        .and_then(|name| TenantId::new(name).ok())
        .unwrap_or_else(TenantId::anonymous);
    let tenant_bytes_max = gate.core.storage.limits(&tenant).inflight_bytes_max;
    let hold = Hold(Arc::new(Mutex::new(gate.inflight.begin(tenant, tenant_bytes_max))));
    let is_stream = request.uri().path().ends_with(STREAM_METHOD);
    request.extensions_mut().insert(hold.clone());
    let encoding = Encoding::take(request.headers_mut());
    let (read_timeout, limits) = (gate.read_timeout, gate.inflate.clone());
    let request = request.map(|body| {
        let body = Body::new(GatedBody {
            body,
            gate,
            hold: hold.clone(),
            deadline: (!is_stream).then(|| Box::pin(tokio::time::sleep(read_timeout))),
            waiting: None,
        });
        match encoding {
            None => body,
            Some(encoding) => Body::new(InflatedBody::new(body, encoding, limits, hold.clone())),
        }
    });
    let response = next.run(request).await;
    // A call of one message is over: its bytes are free. A stream goes on and its body has the other handle.
    drop(hold);
    response
}

/// Room for a frame that is waited for, and the frame.
type Waiting = (BoxFuture<'static, Result<Reservation, InflightFull>>, Option<Bytes>);

/// The body of a call, reserved as it arrives.
struct GatedBody {
    body: Body,
    gate: Gate,
    hold: Hold,
    /// When a call of one message must have been received; `None` in a stream.
    deadline: Option<Pin<Box<Sleep>>>,
    waiting: Option<Waiting>,
}

impl GatedBody {
    fn refuse(&self, reason: &'static str, status: Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.gate.core.metrics.refused_write_request(self.gate.protocol, reason);
        Poll::Ready(Some(Err(status)))
    }

    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some((room, data)) = &mut self.waiting else { return Poll::Ready(None) };
        let outcome = ready!(room.as_mut().poll(context));
        let data = data.take().unwrap_or_default();
        self.waiting = None;
        match outcome {
            Ok(reservation) => {
                self.hold.with(|held| held.merge(reservation));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Err(full) => self.refuse("busy", busy(&full.to_string())),
        }
    }
}

impl HttpBody for GatedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.waiting.is_some() {
            return this.poll_waiting(context);
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            let wait = this.gate.read_timeout;
            let text = format!("call was not received within {wait:?}, the limit of --http-read-timeout");
            return this.refuse("timeout", Status::deadline_exceeded(text));
        }
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into_inner())))),
            None => return Poll::Ready(None),
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        let is_stream = this.deadline.is_none();
        match this.hold.grow(data.len()) {
            Ok(()) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Err(_) if is_stream => {
                let room = this.hold.with(|held| held.wait_for(data.len(), this.gate.read_timeout));
                this.waiting = Some((Box::pin(room), Some(data)));
                this.poll_waiting(context)
            }
            Err(full) => this.refuse("busy", busy(&full.to_string())),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

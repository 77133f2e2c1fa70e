//! The body of a compressed gRPC call as tonic wants it: the same messages without compression.
//!
//! Why not tonic itself: it gathers what it inflates in one buffer that doubles as it grows, on an async thread, after
//! the whole compressed message is there; fifty bombs together are fifty such buffers. Here a message is inflated while
//! it arrives, on a blocking thread, a few at a time, and what it inflates to counts as bytes in flight.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use futures::future::BoxFuture;
use hyper::body::Frame;
use tokio::sync::Semaphore;
use tonic::Status;

use super::busy;
use super::gate::Hold;
use super::inflate::{Encoding, Inflater};

/// Flag and length before each message.
pub(super) const MESSAGE_HEAD_BYTES: usize = 5;

/// Compressed bytes that are gathered before they are inflated.
const GATHERED_BYTES: usize = 256 << 10;

/// Up to so many compressed bytes are inflated where they arrive: they cannot become many.
const INLINE_BYTES_MAX: usize = 4 << 10;

/// What all calls of a port share.
#[derive(Debug, Clone)]
pub(crate) struct InflateLimits {
    /// Messages that are inflated at a time.
    pub(crate) turns: Arc<Semaphore>,
    /// Largest message, compressed and not.
    pub(crate) bytes_max: usize,
}

/// What a step of inflating gives: the work so far, or the whole message.
enum Step {
    More(Box<Inflater>),
    Done(Vec<Bytes>),
}

/// The message that is being received.
struct Message {
    flag: u8,
    left_bytes: usize,
    /// `None` if it is not compressed, and while a step is under way.
    inflater: Option<Box<Inflater>>,
}

/// The body.
pub(super) struct InflatedBody {
    body: Body,
    encoding: Encoding,
    limits: InflateLimits,
    hold: Hold,
    received: Vec<u8>,
    message: Option<Message>,
    step: Option<BoxFuture<'static, Result<Step, Status>>>,
    ready: VecDeque<Bytes>,
    is_over: bool,
}

impl InflatedBody {
    pub(super) fn new(body: Body, encoding: Encoding, limits: InflateLimits, hold: Hold) -> Self {
        Self {
            body,
            encoding,
            limits,
            hold,
            received: Vec::new(),
            message: None,
            step: None,
            ready: VecDeque::new(),
            is_over: false,
        }
    }

    /// Does what can be done with the received bytes; returns whether more are needed for anything.
    fn advance(&mut self) -> Result<bool, Status> {
        let Some(message) = &mut self.message else {
            let [flag, length @ ..] = self.received.get(..MESSAGE_HEAD_BYTES).unwrap_or_default() else {
                return Ok(true);
            };
            let left_bytes = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let (flag, limit) = (*flag, self.limits.bytes_max);
            if left_bytes > limit {
                return Err(Status::resource_exhausted(format!(
                    "message has {left_bytes} bytes, the limit of --grpc-max-bytes is {limit}"
                )));
            }
            self.received.drain(..MESSAGE_HEAD_BYTES);
            let inflater = match flag {
                1 => Some(Box::new(Inflater::new(self.encoding, limit)?)),
                // Not compressed, or wrong: tonic says so.
                _ => {
                    self.ready.push_back(message_head(flag, left_bytes));
                    None
                }
            };
            self.message = Some(Message { flag, left_bytes, inflater });
            return Ok(false);
        };
        let is_whole = self.received.len() >= message.left_bytes;
        if message.flag == 1 && !is_whole && self.received.len() < GATHERED_BYTES {
            return Ok(true);
        }
        let part_bytes = message.left_bytes.min(self.received.len());
        if part_bytes == 0 && !is_whole {
            return Ok(true);
        }
        let rest = self.received.split_off(part_bytes);
        let part = std::mem::replace(&mut self.received, rest);
        message.left_bytes -= part_bytes;
        match message.inflater.take() {
            Some(inflater) => self.step = Some(self.begin_step(inflater, part, is_whole)),
            None => {
                self.ready.push_back(part.into());
                if is_whole {
                    self.message = None;
                }
            }
        }
        Ok(false)
    }

    fn begin_step(
        &self,
        mut inflater: Box<Inflater>,
        part: Vec<u8>,
        is_last: bool,
    ) -> BoxFuture<'static, Result<Step, Status>> {
        let (turns, hold) = (Arc::clone(&self.limits.turns), self.hold.clone());
        let is_small = is_last && part.len() <= INLINE_BYTES_MAX;
        let work = move || -> Result<Step, Status> {
            inflater.push(&part)?;
            if !is_last {
                return Ok(Step::More(inflater));
            }
            let pieces = inflater.finish()?;
            let byte_count = pieces.iter().map(Bytes::len).sum();
            hold.grow(byte_count).map_err(|full| busy(&full.to_string()))?;
            Ok(Step::Done(std::iter::once(message_head(0, byte_count)).chain(pieces).collect()))
        };
        Box::pin(async move {
            if is_small {
                return work();
            }
            let closed = |_| Status::unavailable("server is shutting down");
            let _turn = turns.acquire_owned().await.map_err(closed)?;
            let worked = tokio::task::spawn_blocking(work).await;
            worked.map_err(|_| Status::internal("internal error: the work panicked"))?
        })
    }

    fn take_step(&mut self, step: Step) {
        match (step, &mut self.message) {
            (Step::More(inflater), Some(message)) => message.inflater = Some(inflater),
            (Step::More(_), None) => {}
            (Step::Done(pieces), _) => {
                self.ready.extend(pieces);
                self.message = None;
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Status>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Ok(Some(Frame::data(piece))));
            }
            if let Some(step) = &mut self.step {
                let outcome = ready!(step.as_mut().poll(context));
                self.step = None;
                self.take_step(outcome?);
                continue;
            }
            if !self.advance()? {
                continue;
            }
            if self.is_over {
                let is_whole = self.received.is_empty() && self.message.is_none();
                self.received.clear();
                self.message = None;
                let cut = || Status::invalid_argument("the call ends inside of a message");
                return Poll::Ready(if is_whole { Ok(None) } else { Err(cut()) });
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => self.is_over = true,
                Some(Err(error)) => return Poll::Ready(Err(Status::from_error(error.into_inner()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.received.extend_from_slice(&data),
                    Err(other) => return Poll::Ready(Ok(Some(other))),
                },
            }
        }
    }
}

fn message_head(flag: u8, byte_count: usize) -> Bytes {
    let length = byte_count as u32;
    Bytes::from(vec![flag, (length >> 24) as u8, (length >> 16) as u8, (length >> 8) as u8, length as u8])
}

impl HttpBody for InflatedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.get_mut().poll_next(context).map(Result::transpose)
    }
}

//! A connection whose control frames and answers are noted in its budget (see [`super::floods`]).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::floods::ControlBudget;
use super::frames::FrameMeter;

/// Why a connection was ended: it sent too much that is no request.
#[derive(Debug, thiserror::Error)]
#[error("flood of control frames")]
struct Flood;

/// A connection after TLS; reading fails with [`Flood`] once its budget is overdrawn.
#[derive(Debug)]
pub(super) struct Metered<S> {
    stream: S,
    frames: FrameMeter,
    budget: Arc<ControlBudget>,
}

impl<S> Metered<S> {
    pub(super) fn new(stream: S, budget: Arc<ControlBudget>) -> Self {
        Self { stream, frames: FrameMeter::new(), budget }
    }

    fn note_sent(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(byte_count)) = &outcome {
            self.budget.sent(*byte_count);
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        let byte_count = this.frames.control_bytes(&buffer.filled()[before..]);
        if byte_count > 0 && !this.budget.received(byte_count, Instant::now) {
            return Poll::Ready(Err(io::Error::other(Flood)));
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.note_sent(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.note_sent(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

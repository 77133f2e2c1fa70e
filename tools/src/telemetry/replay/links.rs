//! Spans that were sent last, for exemplars and log records to point at.

use super::patches::put_array;
use crate::telemetry::template::{Patch, Place};

/// How many spans of a request are remembered.
const SPAN_COUNT_MAX: usize = 64;

/// Spans of the worker's last request of traces.
#[derive(Debug, Default)]
pub(super) struct Links {
    spans: Vec<([u8; 16], [u8; 8])>,
    turn: usize,
}

/// Where an item points at a span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    trace_at: u32,
    span_at: u32,
}

impl Link {
    /// Finds the places of an item that begins at `begin`.
    pub(super) fn find(patches: &[Patch], begin: u32) -> Option<Self> {
        let at = |place| patches.iter().find(|patch| patch.place == place).map(|patch| begin + patch.offset);
        Some(Self { trace_at: at(Place::LinkedTrace)?, span_at: at(Place::LinkedSpan)? })
    }
}

impl Links {
    /// Forgets what was sent before.
    pub(super) fn begin(&mut self) {
        self.spans.clear();
    }

    /// Whether another span would be remembered.
    pub(super) fn has_room(&self) -> bool {
        self.spans.len() < SPAN_COUNT_MAX
    }

    /// Remembers a span.
    pub(super) fn add(&mut self, trace: [u8; 16], span: [u8; 8]) {
        self.spans.push((trace, span));
    }

    /// Points an item at one of the spans, the next one each time.
    pub(super) fn patch(&mut self, body: &mut [u8], link: &Link) {
        if self.turn >= self.spans.len() {
            self.turn = 0;
        }
        if let Some((trace, span)) = self.spans.get(self.turn) {
            put_array(body, link.trace_at, *trace);
            put_array(body, link.span_at, *span);
        }
        self.turn += 1;
    }
}

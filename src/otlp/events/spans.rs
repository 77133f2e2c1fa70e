//! Counts the spans of a request, read from its bytes without building a message.
//!
//! Input: an `ExportTraceServiceRequest`. Output: per resource a cell for each name, kind, status and second of the
//! end. Attributes, events and links are skipped: nothing is counted by them.

use hashbrown::HashMap;

use super::Counted;
use super::request::{Cell, Dimensions, EventExemplar};
use crate::wire::{FIXED64, LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Names of `SpanKind`, by number.
const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
/// Names of `Status.StatusCode`, by number.
const STATUS_CODES: [&str; 3] = ["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

/// A span as far as it is counted.
#[derive(Default)]
struct Span<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    name: &'a [u8],
    kind: u64,
    start_ns: u64,
    end_ns: u64,
    status_code: u64,
}

/// Counts the spans of a request.
///
/// # Errors
/// [`WireError`] if the bytes are no such message.
pub(super) fn count(body: &[u8]) -> Result<Counted<'_>, WireError> {
    let mut counted = Counted::default();
    each(body, 1, |resource_spans| {
        let mut spans = Spans { cells: Vec::new(), index: HashMap::new() };
        each(resource_spans, 2, |scope_spans| {
            each(scope_spans, 2, |span| {
                counted.event_count += 1;
                spans.add(&read_span(span)?, &mut counted);
                Ok(())
            })
        })?;
        counted.add(super::request::resource_of(resource_spans)?, spans.cells)
    })?;
    Ok(counted)
}

/// Calls `visit` with every payload of the field `number`.
pub(super) fn each<'a>(
    message: &'a [u8],
    number: u32,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some(key) = reader.key()? {
        if key.field == number {
            key.expect(LENGTH_DELIMITED)?;
            visit(reader.payload()?)?;
        } else {
            reader.skip(key)?;
        }
    }
    Ok(())
}

/// The cells of one resource.
struct Spans<'a> {
    cells: Vec<Cell<'a>>,
    index: HashMap<(&'a str, u8, u8, i64), usize>,
}

impl<'a> Spans<'a> {
    fn add(&mut self, span: &Span<'a>, counted: &mut Counted<'a>) {
        let Ok(name) = std::str::from_utf8(span.name) else {
            let text = || format!("the span name {:?} is no UTF-8", String::from_utf8_lossy(span.name));
            counted.refused.add("invalid_name", "", 1, text);
            return;
        };
        if span.end_ns == 0 {
            counted.refused.add("no_end_time", "", 1, || format!("span {name:?} has no end time"));
            return;
        }
        let kind = if span.kind < KINDS.len() as u64 { span.kind as u8 } else { 0 };
        let status = if span.status_code < STATUS_CODES.len() as u64 { span.status_code as u8 } else { 0 };
        let second = (span.end_ns / 1_000_000_000) as i64;
        let index = *self.index.entry((name, kind, status, second)).or_insert_with(|| {
            let (kind, status_code) = (KINDS[usize::from(kind)], STATUS_CODES[usize::from(status)]);
            self.cells.push(Cell::new(Dimensions::Span { name, kind, status_code }, second));
            self.cells.len() - 1
        });
        if let Some(cell) = self.cells.get_mut(index) {
            // Clocks that were set back give spans that end before they begin.
            let duration_ms = span.end_ns.saturating_sub(span.start_ns) as f64 / 1e6;
            let exemplar = EventExemplar::new(duration_ms, span.end_ns, span.trace_id, span.span_id);
            cell.add_span(duration_ms, exemplar);
        }
    }
}

fn read_span(message: &[u8]) -> Result<Span<'_>, WireError> {
    let mut span = Span::default();
    let mut reader = Reader::new(message);
    while let Some(key) = reader.key()? {
        match key.field {
            1 | 2 | 5 | 15 => {
                key.expect(LENGTH_DELIMITED)?;
                let payload = reader.payload()?;
                match key.field {
                    1 => span.trace_id = payload,
                    2 => span.span_id = payload,
                    5 => span.name = payload,
                    _ => read_status(payload, &mut span.status_code)?,
                }
            }
            6 => {
                key.expect(VARINT)?;
                span.kind = reader.varint()?;
            }
            7 | 8 => {
                key.expect(FIXED64)?;
                let time_ns = reader.fixed64()?;
                *(if key.field == 7 { &mut span.start_ns } else { &mut span.end_ns }) = time_ns;
            }
            _ => reader.skip(key)?,
        }
    }
    Ok(span)
}

fn read_status(message: &[u8], code: &mut u64) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some(key) = reader.key()? {
        if key.field == 3 {
            key.expect(VARINT)?;
            *code = reader.varint()?;
        } else {
            reader.skip(key)?;
        }
    }
    Ok(())
}

//! Counts the spans of a request, read from its bytes without building a message.
//!
//! Input: an `ExportTraceServiceRequest`. Output: per resource a cell for each name, kind, status and second of the
//! end. Attributes, events and links are skipped: nothing is counted by them.

use super::request::{Dimensions, EventExemplar};
use super::{Counted, Counter};
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
    let mut counter = Counter::default();
    each(body, 1, |resource_spans| {
        let resource = super::request::resource_of(resource_spans)?;
        let mut place = None;
        each(resource_spans, 2, |scope_spans| {
            each(scope_spans, 2, |message| {
                let span = read_span(message)?;
                counter.counted.event_count += 1;
                add(&mut counter, &mut place, resource, &span)
            })
        })
    })?;
    Ok(counter.counted)
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

fn add<'a>(
    counter: &mut Counter<'a>,
    place: &mut Option<usize>,
    resource: &'a [u8],
    span: &Span<'a>,
) -> Result<(), WireError> {
    let Ok(name) = std::str::from_utf8(span.name) else {
        let text = || format!("the span name {:?} is no UTF-8", String::from_utf8_lossy(span.name));
        counter.counted.refused.add("invalid_name", "", 1, text);
        return Ok(());
    };
    if span.end_ns == 0 {
        counter.counted.refused.add("no_end_time", "", 1, || format!("span {name:?} has no end time"));
        return Ok(());
    }
    let named = |names: &[&'static str], number: u64| {
        names
            .get(usize::try_from(number).unwrap_or(usize::MAX))
            .or(names.first())
            .copied()
            .unwrap_or_default()
    };
    let (kind, status_code) = (named(&KINDS, span.kind), named(&STATUS_CODES, span.status_code));
    let dimensions = Dimensions::Span { name, kind, status_code };
    let second = (span.end_ns / 1_000_000_000) as i64;
    if let Some(cell) = counter.cell(place, resource, dimensions, second)? {
        // Clocks that were set back give spans that end before they begin.
        let duration_ms = span.end_ns.saturating_sub(span.start_ns) as f64 / 1e6;
        let exemplar = EventExemplar::new(duration_ms, span.end_ns, span.trace_id, span.span_id);
        cell.add_span(duration_ms, exemplar);
    }
    Ok(())
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

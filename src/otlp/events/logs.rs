//! Counts the log records of a request, read from its bytes without building a message.
//!
//! Input: an `ExportLogsServiceRequest`. Output: per resource a cell for each severity and second. Bodies and attributes
//! are skipped: nothing is counted by them.

use super::request::{Dimensions, EventExemplar};
use super::spans::each;
use super::{Counted, Counter};
use crate::wire::{FIXED64, LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Short names of severities: of each range of four numbers one.
const SEVERITIES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
const UNSPECIFIED: &str = "UNSPECIFIED";

/// A log record as far as it is counted.
#[derive(Default)]
struct LogRecord<'a> {
    time_ns: u64,
    observed_ns: u64,
    severity_number: u64,
    severity_text: &'a [u8],
    trace_id: &'a [u8],
    span_id: &'a [u8],
}

/// Counts the log records of a request.
///
/// # Errors
/// [`WireError`] if the bytes are no such message.
pub(super) fn count(body: &[u8]) -> Result<Counted<'_>, WireError> {
    let mut counter = Counter::default();
    each(body, 1, |resource_logs| {
        let resource = super::request::resource_of(resource_logs)?;
        let mut place = None;
        each(resource_logs, 2, |scope_logs| {
            each(scope_logs, 2, |message| {
                let record = read_record(message)?;
                counter.counted.event_count += 1;
                add(&mut counter, &mut place, resource, &record)
            })
        })
    })?;
    Ok(counter.counted)
}

fn add<'a>(
    counter: &mut Counter<'a>,
    place: &mut Option<usize>,
    resource: &'a [u8],
    record: &LogRecord<'a>,
) -> Result<(), WireError> {
    // The time when it happened may be unknown, the time when it was seen is not.
    let time_ns = if record.time_ns == 0 { record.observed_ns } else { record.time_ns };
    if time_ns == 0 {
        counter.counted.refused.add("no_time", "", 1, || "a log record has no time".to_owned());
        return Ok(());
    }
    let dimensions = Dimensions::Log { severity: severity(record.severity_number, record.severity_text) };
    let second = (time_ns / 1_000_000_000) as i64;
    if let Some(cell) = counter.cell(place, resource, dimensions, second)? {
        cell.add_log(EventExemplar::new(1.0, time_ns, record.trace_id, record.span_id));
    }
    Ok(())
}

/// The short name of a severity, by its number or, if there is none, by its text.
fn severity(number: u64, text: &[u8]) -> &'static str {
    if (1..=24).contains(&number) {
        return SEVERITIES[(number as usize - 1) / 4];
    }
    let text = text.to_ascii_uppercase();
    match text.as_slice() {
        b"TRACE" | b"FINEST" | b"VERBOSE" => "TRACE",
        b"DEBUG" | b"FINE" => "DEBUG",
        b"INFO" | b"INFORMATION" | b"INFORMATIONAL" | b"NOTICE" => "INFO",
        b"WARN" | b"WARNING" => "WARN",
        b"ERROR" | b"ERR" | b"SEVERE" => "ERROR",
        b"FATAL" | b"CRITICAL" | b"CRIT" | b"ALERT" | b"EMERG" | b"EMERGENCY" | b"PANIC" => "FATAL",
        _ => UNSPECIFIED,
    }
}

fn read_record(message: &[u8]) -> Result<LogRecord<'_>, WireError> {
    let mut record = LogRecord::default();
    let mut reader = Reader::new(message);
    while let Some(key) = reader.key()? {
        match key.field {
            1 | 11 => {
                key.expect(FIXED64)?;
                let time_ns = reader.fixed64()?;
                *(if key.field == 1 { &mut record.time_ns } else { &mut record.observed_ns }) = time_ns;
            }
            2 => {
                key.expect(VARINT)?;
                record.severity_number = reader.varint()?;
            }
            3 | 9 | 10 => {
                key.expect(LENGTH_DELIMITED)?;
                let payload = reader.payload()?;
                match key.field {
                    3 => record.severity_text = payload,
                    9 => record.trace_id = payload,
                    _ => record.span_id = payload,
                }
            }
            _ => reader.skip(key)?,
        }
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_have_the_short_name_of_their_range_or_of_their_text() {
        for (number, text, expected) in [
            (1, "", "TRACE"),
            (4, "", "TRACE"),
            (5, "", "DEBUG"),
            (9, "whatever", "INFO"),
            (16, "", "WARN"),
            (17, "", "ERROR"),
            (24, "", "FATAL"),
            (25, "", "UNSPECIFIED"),
            (0, "", "UNSPECIFIED"),
            (0, "Warning", "WARN"),
            (0, "critical", "FATAL"),
            (0, "loud", "UNSPECIFIED"),
        ] {
            assert_eq!(severity(number, text.as_bytes()), expected, "{number} {text}");
        }
    }
}

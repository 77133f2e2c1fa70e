//! Reads a metrics request from its bytes, borrowing everything: no message is built, nothing is allocated per point.
//!
//! Input: an `ExportMetricsServiceRequest`. Output: calls of a [`Visitor`], in the order of the request: resource,
//! scope, metric, its points. Attributes, exemplars and whole resources stay bytes; who needs them decodes them.
//! Fields may come in any order (but see below), unknown ones are skipped, numbers may be packed or not.
//! Not here: what points mean (see `columns`).
//!
//! What protobuf allows and nobody sends (a resource in two parts that must be merged, or after its metrics; attributes
//! with other fields between them) is [`ReadError::Scattered`]: the caller brings such a request into the usual shape
//! with prost first.
//!
//! Source: opentelemetry-proto `metrics/v1/metrics.proto`; limits as in prost. Fuzzed against prost on the same bytes.

mod layout;
mod points;
#[cfg(any(test, feature = "fuzzing"))]
pub mod rebuild;
#[cfg(test)]
mod tests;

pub use layout::{MetricLayout, PointLayout};
use points::Stop;
pub use points::{
    BUCKET_COUNT_READ_MAX, Buckets, ExponentialPoint, HistogramPoint, Number, NumberPoint, Scratch,
    SummaryPoint,
};

use crate::wire::{LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Why a request cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The bytes are no such message.
    #[error("the message at byte {offset} is malformed: {source}")]
    Malformed {
        /// Where the innermost message that is known begins in the request.
        offset: usize,
        /// What is wrong with it.
        source: WireError,
    },
    /// A message comes in parts that must be merged first.
    #[error("parts of one message are scattered")]
    Scattered,
}

/// Which points a metric has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// Numbers as they are.
    Gauge,
    /// Numbers that were added up.
    Sum,
    /// Buckets with explicit bounds.
    Histogram,
    /// Buckets whose bounds grow exponentially.
    ExponentialHistogram,
    /// Quantiles.
    Summary,
}

/// A metric without its points. Texts are not known to be UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub struct MetricHeader<'a> {
    /// Name as sent.
    pub name: &'a [u8],
    /// Help text.
    pub description: &'a [u8],
    /// Unit as sent.
    pub unit: &'a [u8],
    /// Fields `metadata`, keys included.
    pub metadata: &'a [u8],
    /// All of it but its data, as it came before and behind these: equal bytes say the same.
    pub beside_data: (&'a [u8], &'a [u8]),
    /// Kind of its points; `None` if it has no data at all.
    pub kind: Option<DataKind>,
    /// `AggregationTemporality` as a number; 0 where there is none.
    pub temporality: i32,
    /// Whether a sum only grows.
    pub is_monotonic: bool,
    /// How many points follow.
    pub point_count: usize,
}

/// Is told what a request holds.
pub trait Visitor<'a> {
    /// Whether schema URLs are wanted; they come after what they belong to, so they cost a look ahead. Else they are empty.
    fn wants_schema_urls(&self) -> bool {
        true
    }
    /// The metrics that follow belong to this resource (a `Resource` message, if there is one).
    fn resource(&mut self, resource: Option<&'a [u8]>, schema_url: &'a [u8]);
    /// The metrics that follow belong to this scope (an `InstrumentationScope` message, if there is one).
    fn scope(&mut self, scope: Option<&'a [u8]>, schema_url: &'a [u8]);
    /// Takes a whole `Metric` message that came before, all but its numbers; `false` = it is to be read.
    fn take_repeated(&mut self, _message: &'a [u8]) -> bool {
        false
    }
    /// A metric begins; `false` = its points are not wanted.
    fn metric(&mut self, metric: &MetricHeader<'a>) -> bool;
    /// A point of a gauge or sum.
    fn number(&mut self, point: &NumberPoint<'a>);
    /// A point of a histogram.
    fn histogram(&mut self, point: &HistogramPoint<'a, '_>);
    /// A point of an exponential histogram.
    fn exponential(&mut self, point: &ExponentialPoint<'a, '_>);
    /// A point of a summary.
    fn summary(&mut self, point: &SummaryPoint<'a, '_>);
    /// All points of the metric were told.
    fn metric_end(&mut self, _message: &'a [u8]) {}
    /// All metrics of the resource were told.
    fn resource_end(&mut self);
}

/// Reads the request in `body`. After an error the visitor has seen a part of it.
///
/// # Errors
/// [`ReadError`].
pub fn read<'a, V: Visitor<'a>>(body: &'a [u8], visitor: &mut V) -> Result<(), ReadError> {
    let mut walk = Walk { body, scratch: Scratch::default(), visitor };
    let mut reader = Reader::new(body);
    while let Some(key) = walk.located(body, reader.key())? {
        if key.field == 1 {
            let resource_metrics =
                walk.located(body, key.expect(LENGTH_DELIMITED).and_then(|()| reader.payload()))?;
            walk.resource_metrics(resource_metrics)?;
        } else {
            walk.located(body, reader.skip(key))?;
        }
    }
    Ok(())
}

struct Walk<'a, 'v, V> {
    body: &'a [u8],
    scratch: Scratch,
    visitor: &'v mut V,
}

/// The fields of `ResourceMetrics` and `ScopeMetrics`, which look alike: 1 = whose, 2 = what, 3 = schema.
struct Owner<'a> {
    owner: Option<&'a [u8]>,
    schema_url: &'a [u8],
}

impl<'a> Owner<'a> {
    /// Reads all but field 2, which is only checked to be there whole.
    fn read(bytes: &'a [u8]) -> Result<Self, Stop> {
        let mut found = Self { owner: None, schema_url: &[] };
        let mut reader = Reader::new(bytes);
        while let Some(key) = reader.key()? {
            match key.field {
                1..=3 => {
                    key.expect(LENGTH_DELIMITED)?;
                    let payload = reader.payload()?;
                    match key.field {
                        2 => {}
                        1 if found.owner.is_some() => return Err(Stop::Scattered),
                        1 => found.owner = Some(payload),
                        _ => only_text(&mut found.schema_url, payload)?,
                    }
                }
                _ => reader.skip(key)?,
            }
        }
        Ok(found)
    }
}

impl<'a, V: Visitor<'a>> Walk<'a, '_, V> {
    /// Says where the message that could not be read begins.
    #[inline]
    fn located<T, E: Into<Stop>>(&self, message: &'a [u8], result: Result<T, E>) -> Result<T, ReadError> {
        result.map_err(|stop| match stop.into() {
            Stop::Scattered => ReadError::Scattered,
            Stop::Wire(source) => {
                ReadError::Malformed { offset: offset_of(message, self.body).unwrap_or_default(), source }
            }
        })
    }

    fn resource_metrics(&mut self, bytes: &'a [u8]) -> Result<(), ReadError> {
        self.owned(
            bytes,
            |walk, owner| walk.visitor.resource(owner.owner, owner.schema_url),
            Self::scope_metrics,
        )?;
        self.visitor.resource_end();
        Ok(())
    }

    fn scope_metrics(&mut self, bytes: &'a [u8]) -> Result<(), ReadError> {
        self.owned(bytes, |walk, owner| walk.visitor.scope(owner.owner, owner.schema_url), Self::metric)
    }

    /// Reads `ResourceMetrics` or `ScopeMetrics`: `begin` is told whose they are, `take` what they hold, piece by piece.
    fn owned(
        &mut self,
        bytes: &'a [u8],
        begin: impl Fn(&mut Self, Owner<'a>),
        take: impl Fn(&mut Self, &'a [u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        if self.visitor.wants_schema_urls() {
            let owner = self.located(bytes, Owner::read(bytes))?;
            begin(self, owner);
            return self.each_of_field(bytes, 2, take);
        }
        // PERF: the owner comes first, so one walk is enough; a look ahead costs 6 % of a whole write.
        let (mut owner, mut has_begun) = (Owner { owner: None, schema_url: &[] }, false);
        let mut reader = Reader::new(bytes);
        while let Some(key) = self.located(bytes, reader.key())? {
            if !matches!(key.field, 1..=3) {
                self.located(bytes, reader.skip(key))?;
                continue;
            }
            let payload =
                self.located(bytes, key.expect(LENGTH_DELIMITED).and_then(|()| reader.payload()))?;
            match key.field {
                1 if has_begun || owner.owner.is_some() => return Err(ReadError::Scattered),
                1 => owner.owner = Some(payload),
                2 => {
                    if !std::mem::replace(&mut has_begun, true) {
                        begin(self, Owner { owner: owner.owner, schema_url: &[] });
                    }
                    take(self, payload)?;
                }
                _ => self.located(bytes, only_text(&mut owner.schema_url, payload))?,
            }
        }
        if !has_begun {
            begin(self, Owner { owner: owner.owner, schema_url: &[] });
        }
        Ok(())
    }

    /// Calls `take` with each payload of a field; the message was read before, so that its other fields are whole.
    #[inline]
    fn each_of_field(
        &mut self,
        bytes: &'a [u8],
        field: u32,
        mut take: impl FnMut(&mut Self, &'a [u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut reader = Reader::new(bytes);
        while let Some(key) = self.located(bytes, reader.key())? {
            if key.field == field {
                let payload = self.located(bytes, reader.payload())?;
                take(self, payload)?;
            } else {
                self.located(bytes, reader.skip(key))?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, bytes: &'a [u8]) -> Result<(), ReadError> {
        if self.visitor.take_repeated(bytes) {
            return Ok(());
        }
        let (mut header, mut data) = (MetricHeader::default(), &[][..]);
        self.located(bytes, read_header(bytes, &mut header, &mut data))?;
        let is_wanted = match header.kind {
            None => self.visitor.metric(&header),
            Some(kind) => {
                self.located(data, read_data(data, kind, &mut header))?;
                self.visitor.metric(&header)
            }
        };
        let Some(kind) = header.kind else { return Ok(()) };
        // Points that nobody wants are read all the same: a malformed request is one for everybody.
        self.each_of_field(data, 1, |walk, point| walk.point(kind, is_wanted, point))?;
        self.visitor.metric_end(bytes);
        Ok(())
    }

    #[inline]
    fn point(&mut self, kind: DataKind, is_wanted: bool, bytes: &'a [u8]) -> Result<(), ReadError> {
        match kind {
            DataKind::Gauge | DataKind::Sum => {
                let mut point = NumberPoint::default();
                self.located(bytes, point.read(bytes))?;
                if is_wanted {
                    self.visitor.number(&point);
                }
            }
            DataKind::Histogram => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let point = self.located(bytes, HistogramPoint::read(bytes, &mut scratch))?;
                if is_wanted {
                    self.visitor.histogram(&point);
                }
                self.scratch = scratch;
            }
            DataKind::ExponentialHistogram => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let point = self.located(bytes, ExponentialPoint::read(bytes, &mut scratch))?;
                if is_wanted {
                    self.visitor.exponential(&point);
                }
                self.scratch = scratch;
            }
            DataKind::Summary => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let point = self.located(bytes, SummaryPoint::read(bytes, &mut scratch))?;
                if is_wanted {
                    self.visitor.summary(&point);
                }
                self.scratch = scratch;
            }
        }
        Ok(())
    }
}

/// Where `part`, which is a part of `whole`, begins in it.
fn offset_of(part: &[u8], whole: &[u8]) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (offset + part.len() <= whole.len()).then_some(offset)
}

/// Takes a text that may be there once.
fn only_text<'a>(field: &mut &'a [u8], text: &'a [u8]) -> Result<(), Stop> {
    if !field.is_empty() {
        return Err(Stop::Scattered);
    }
    *field = text;
    Ok(())
}

/// Reads a `Metric` up to its data, which stay bytes.
///
/// PERF: like the points, into memory that the caller has: copies of results would wait for their own writes.
fn read_header<'a>(bytes: &'a [u8], header: &mut MetricHeader<'a>, data: &mut &'a [u8]) -> Result<(), Stop> {
    const METADATA_KEY: u8 = 12 << 3 | LENGTH_DELIMITED;
    header.beside_data.0 = bytes;
    let mut reader = Reader::new(bytes);
    // PERF: as everybody sends them; the loop below takes what is left, in any order.
    for (field, text) in [(1, &mut header.name), (2, &mut header.description), (3, &mut header.unit)] {
        if reader.take_key(field << 3 | LENGTH_DELIMITED) {
            *text = reader.payload()?;
        }
    }
    loop {
        let start = reader.position();
        let Some(key) = reader.key()? else { return Ok(()) };
        let kind = match key.field {
            1..=3 => {
                key.expect(LENGTH_DELIMITED)?;
                let field = match key.field {
                    1 => &mut header.name,
                    2 => &mut header.description,
                    _ => &mut header.unit,
                };
                only_text(field, reader.payload()?)?;
                continue;
            }
            12 => {
                key.expect(LENGTH_DELIMITED)?;
                if !header.metadata.is_empty() {
                    return Err(Stop::Scattered);
                }
                header.metadata = reader.run(start, METADATA_KEY)?;
                continue;
            }
            5 => DataKind::Gauge,
            7 => DataKind::Sum,
            9 => DataKind::Histogram,
            10 => DataKind::ExponentialHistogram,
            11 => DataKind::Summary,
            _ => {
                reader.skip(key)?;
                continue;
            }
        };
        key.expect(LENGTH_DELIMITED)?;
        if header.kind.is_some() {
            return Err(Stop::Scattered);
        }
        header.kind = Some(kind);
        *data = reader.payload()?;
        let (before, behind) = (bytes.get(..start), bytes.get(reader.position()..));
        header.beside_data = (before.unwrap_or_default(), behind.unwrap_or_default());
    }
}

/// Reads what a `Gauge`, `Sum` … says beside its points, which are only counted.
fn read_data(bytes: &[u8], kind: DataKind, header: &mut MetricHeader<'_>) -> Result<(), Stop> {
    let has_temporality =
        matches!(kind, DataKind::Sum | DataKind::Histogram | DataKind::ExponentialHistogram);
    let mut reader = Reader::new(bytes);
    while let Some(key) = reader.key()? {
        match key.field {
            1 => {
                key.expect(LENGTH_DELIMITED)?;
                reader.payload()?;
                header.point_count += 1;
            }
            2 if has_temporality => {
                key.expect(VARINT)?;
                header.temporality = reader.varint()? as i32;
            }
            3 if kind == DataKind::Sum => {
                key.expect(VARINT)?;
                header.is_monotonic = reader.varint()? != 0;
            }
            _ => reader.skip(key)?,
        }
    }
    Ok(())
}

/// The payloads of a run of fields that all have the same one-byte key.
///
/// # Errors
/// [`WireError`] if they are none; runs that were read once are whole.
pub fn payloads(run: &[u8]) -> impl Iterator<Item = Result<&[u8], WireError>> {
    let mut reader = Reader::new(run);
    std::iter::from_fn(move || match reader.key() {
        Ok(None) => None,
        Ok(Some(_)) => Some(reader.payload()),
        Err(error) => Some(Err(error)),
    })
    // A reader that fails does not go on.
    .scan(false, |has_failed, payload| {
        let was_fine = !std::mem::replace(has_failed, payload.is_err());
        was_fine.then_some(payload)
    })
}

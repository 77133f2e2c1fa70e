//! Remote write 1.0: from the bytes of a `WriteRequest` to columns, without parsing labels.
//!
//! Input: the decompressed body. Output: [`Columns`], and where in the body the label bytes lie. Labels are
//! parsed only when the head meets a series for the first time ([`RequestLabels`]).
//! Not here: snappy and HTTP (see `receive`), samples, histograms and exemplars (see `sample`, `sparse`).
//!
//! Messages: `WriteRequest { timeseries = 1, metadata = 3 }`, `TimeSeries { labels = 1, samples = 2, exemplars = 3,
//! histograms = 4 }`, `Label { name = 1, value = 2 }`, `Sample { value = 1, timestamp = 2 }`,
//! `MetricMetadata { type = 1, metric_family_name = 2, help = 4, unit = 5 }`.
//! Source: Prometheus `prompb/remote.proto`, `prompb/types.proto`.

use mytsdb_storage::LabelSource;
use mytsdb_storage::model::{Exemplar, LabelSet, METRIC_NAME, MetricKind, MetricMetadata};

use super::columns::{Columns, LABEL_COUNT_MAX};
use super::metadata::metric_kind;
use super::refusals::DecodeError;
use super::sample::decode_sample;
use super::sparse::{ExemplarError, decode_exemplar, exemplar_labels};
use super::wire::{Key, LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Keeps keys of this protocol apart from those of other protocols: their label bytes are written differently,
/// and equal bytes must not mean different labels.
const KEY_DOMAIN: u128 = 0x7265_6d6f_7465_5f77_7269_7465_5f76_3100;

/// First byte of a label inside a series: field 1, length-delimited.
const LABEL_KEY: u8 = 0x0a;

/// Where the label bytes of one series lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LabelSpan {
    start: usize,
    end: usize,
    /// Whether in [`Request::joined`] instead of the body.
    is_joined: bool,
}

/// A write request: columns, and the way to its labels. Reuse it between requests.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What the request holds.
    pub columns: Columns,
    /// Per series of the columns.
    spans: Vec<LabelSpan>,
    /// Labels of series whose labels do not lie in one run.
    joined: Vec<u8>,
}

impl Request {
    /// Bytes of memory held, roughly.
    pub fn capacity_bytes(&self) -> usize {
        let spans_bytes = self.spans.capacity() * size_of::<LabelSpan>();
        self.columns.capacity_bytes() + spans_bytes + self.joined.capacity()
    }

    /// Reads `body` (what was read before is forgotten); `key_of` is the storage's key of label bytes.
    ///
    /// # Errors
    /// [`DecodeError`] if the body is no `WriteRequest`; the columns are useless then.
    pub fn decode(&mut self, body: &[u8], key_of: impl Fn(&[u8]) -> u128) -> Result<(), DecodeError> {
        self.columns.clear();
        self.spans.clear();
        self.joined.clear();
        let mut reader = Reader::new(body);
        while let Some(key) = reader.key()? {
            match key.field {
                1 => {
                    key.expect(LENGTH_DELIMITED)?;
                    let series = reader.payload()?;
                    self.decode_series(series, reader.position() - series.len(), &key_of)?;
                }
                3 => {
                    key.expect(LENGTH_DELIMITED)?;
                    self.columns.push_metadata(decode_metadata(reader.payload()?)?)?;
                }
                _ => reader.skip(key)?,
            }
        }
        Ok(())
    }

    /// Reads one series that begins at `offset` of the body.
    #[inline]
    fn decode_series(
        &mut self,
        series: &[u8],
        offset: usize,
        key_of: impl Fn(&[u8]) -> u128,
    ) -> Result<(), DecodeError> {
        self.columns.begin_series()?;
        let mut reader = Reader::new(series);
        while reader.peek() == Some(LABEL_KEY) {
            reader.key()?;
            reader.payload()?;
        }
        let labels_end = reader.position();
        let mut has_more_labels = false;
        while let Some(key) = reader.key()? {
            has_more_labels |= self.decode_field(key, &mut reader)?;
        }
        let (key, span) = if has_more_labels {
            let start = self.joined.len();
            join_labels(series, &mut self.joined)?;
            let end = self.joined.len();
            (key_of(&self.joined[start..end]), LabelSpan { start, end, is_joined: true })
        } else {
            let span = LabelSpan { start: offset, end: offset + labels_end, is_joined: false };
            (key_of(&series[..labels_end]), span)
        };
        self.columns.end_series(key ^ KEY_DOMAIN);
        self.spans.push(span);
        Ok(())
    }

    /// Reads one field after the first run of labels; returns whether it was one more label.
    #[inline]
    fn decode_field(&mut self, key: Key, reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
        if !matches!(key.field, 1..=4) {
            reader.skip(key)?;
            return Ok(false);
        }
        key.expect(LENGTH_DELIMITED)?;
        let payload = reader.payload()?;
        match key.field {
            1 => return Ok(true),
            2 => self.columns.push_sample(decode_sample::<false>(payload)?)?,
            3 => self.columns.push_exemplar(decode_labelled_exemplar(payload))?,
            _ => self.columns.push_histogram(payload, false)?,
        }
        Ok(false)
    }

    /// The labels, for the storage to ask for; `body` is what was decoded.
    pub fn labels<'a>(&'a self, body: &'a [u8]) -> RequestLabels<'a> {
        RequestLabels { body, request: self }
    }
}

/// Gathers all labels of a series, keys included.
fn join_labels(series: &[u8], joined: &mut Vec<u8>) -> Result<(), WireError> {
    let mut reader = Reader::new(series);
    loop {
        let start = reader.position();
        let Some(key) = reader.key()? else { return Ok(()) };
        reader.skip(key)?;
        if key.field == 1 {
            joined.extend_from_slice(&series[start..reader.position()]);
        }
    }
}

/// Reads an exemplar.
fn decode_labelled_exemplar(bytes: &[u8]) -> Result<Exemplar, ExemplarError> {
    let mut pairs = Vec::new();
    let (value, time_ms) = decode_exemplar(bytes, |key, reader| {
        key.expect(LENGTH_DELIMITED)?;
        if pairs.len() == LABEL_COUNT_MAX {
            return Err(ExemplarError::TooManyLabels { limit: LABEL_COUNT_MAX });
        }
        pairs.push(decode_label(reader.payload()?)?);
        Ok(())
    })?;
    Ok(Exemplar { labels: exemplar_labels(&pairs)?, value, time_ms })
}

fn decode_metadata(bytes: &[u8]) -> Result<MetricMetadata, WireError> {
    let mut reader = Reader::new(bytes);
    let (mut kind, mut metric, mut help, mut unit) = (MetricKind::Unknown, &[][..], &[][..], &[][..]);
    while let Some(key) = reader.key()? {
        match key.field {
            1 => {
                key.expect(VARINT)?;
                kind = metric_kind(reader.varint()?);
            }
            2 | 4 | 5 => {
                key.expect(LENGTH_DELIMITED)?;
                let payload = reader.payload()?;
                match key.field {
                    2 => metric = payload,
                    4 => help = payload,
                    _ => unit = payload,
                }
            }
            _ => reader.skip(key)?,
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(MetricMetadata { metric: text(metric), kind, unit: text(unit), help: text(help) })
}

/// Parses labels of a request when the storage asks for them.
#[derive(Debug, Clone, Copy)]
pub struct RequestLabels<'a> {
    body: &'a [u8],
    request: &'a Request,
}

impl LabelSource for RequestLabels<'_> {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        let span = self
            .request
            .spans
            .get(series_index)
            .ok_or_else(|| format!("no series at index {series_index}"))?;
        let source = if span.is_joined { self.request.joined.as_slice() } else { self.body };
        let bytes = source.get(span.start..span.end).ok_or("labels lie outside the request")?;
        decode_labels(bytes)
    }
}

/// Reads a run of label messages.
fn decode_labels(bytes: &[u8]) -> Result<LabelSet, String> {
    let malformed = |error: WireError| error.to_string();
    let mut reader = Reader::new(bytes);
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(16);
    while reader.key().map_err(malformed)?.is_some() {
        let (name, value) = decode_label(reader.payload().map_err(malformed)?).map_err(malformed)?;
        let name = std::str::from_utf8(name)
            .map_err(|_| format!("label name {:?} is not UTF-8", String::from_utf8_lossy(name)))?;
        let value =
            std::str::from_utf8(value).map_err(|_| format!("value of label {name:?} is not UTF-8"))?;
        if pairs.len() == LABEL_COUNT_MAX {
            return Err(format!("series has more than {LABEL_COUNT_MAX} labels"));
        }
        pairs.push((name, value));
    }
    let labels = LabelSet::from_pairs(pairs).map_err(|error| error.to_string())?;
    if labels.metric_name().is_empty() {
        return Err(format!("series {labels} has no {METRIC_NAME} label"));
    }
    Ok(labels)
}

fn decode_label(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let mut reader = Reader::new(bytes);
    let (mut name, mut value) = (&[][..], &[][..]);
    while let Some(key) = reader.key()? {
        match key.field {
            1 => {
                key.expect(LENGTH_DELIMITED)?;
                name = reader.payload()?;
            }
            2 => {
                key.expect(LENGTH_DELIMITED)?;
                value = reader.payload()?;
            }
            _ => reader.skip(key)?,
        }
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests;

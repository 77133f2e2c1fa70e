//! Remote write 1.0: from the bytes of a `WriteRequest` to columns, without parsing labels.
//!
//! Input: the decompressed body. Output: a [`Columns`] whose label bytes are borrowed from the body. Labels are
//! parsed only when the head meets a series for the first time ([`RequestLabels`]).
//! Not here: snappy and HTTP (see `receive`), histograms and exemplars (see `sparse`).
//!
//! Messages: `WriteRequest { timeseries = 1, metadata = 3 }`, `TimeSeries { labels = 1, samples = 2, exemplars = 3,
//! histograms = 4 }`, `Label { name = 1, value = 2 }`, `Sample { value = 1, timestamp = 2 }`,
//! `MetricMetadata { type = 1, metric_family_name = 2, help = 4, unit = 5 }`.
//! Source: Prometheus `prompb/remote.proto`, `prompb/types.proto`.

use mytsdb_storage::model::{LabelSet, METRIC_NAME, MetricKind, MetricMetadata};
use mytsdb_storage::{ExemplarSample, HistogramSample, LabelSource, WriteBatch};

use self::sparse::{decode_exemplar, decode_histogram};
use super::wire::{FIXED64, Key, LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Keeps keys of this protocol apart from those of other protocols: their label bytes are written differently,
/// and equal bytes must not mean different labels.
const KEY_DOMAIN: u128 = 0x7265_6d6f_7465_5f77_7269_7465_5f76_3100;

/// First byte of a label inside a series: field 1, length-delimited.
const LABEL_KEY: u8 = 0x0a;

/// Most names and values of labels in one series; more makes no sense and costs memory.
const LABEL_COUNT_MAX: usize = 1024;

/// Where the label bytes of one series lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LabelSpan {
    start: usize,
    end: usize,
    /// Whether in [`Columns::joined`] instead of the body.
    is_joined: bool,
}

/// A write request as columns. Reuse it between requests.
///
/// # Shape
/// `keys`, `sample_ends`: `[series_count]`; `timestamps_ms`, `values`: `[sample_count]`, grouped by series.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Per series: its key.
    pub keys: Vec<u128>,
    /// Per series: end of its samples.
    pub sample_ends: Vec<usize>,
    /// Sample times in milliseconds since the Unix epoch.
    pub timestamps_ms: Vec<i64>,
    /// Sample values, bit-exact.
    pub values: Vec<f64>,
    /// Facts about metrics.
    pub metadata: Vec<MetricMetadata>,
    /// Native histograms, by series.
    pub histograms: Vec<HistogramSample>,
    /// Exemplars, by series.
    pub exemplars: Vec<ExemplarSample>,
    /// Histograms that are no such message: index of the series, and why.
    pub malformed_histograms: Vec<(usize, WireError)>,
    /// Exemplars that are no such message or whose labels make no label set.
    pub malformed_exemplar_count: usize,
    spans: Vec<LabelSpan>,
    /// Labels of series whose labels do not lie in one run.
    joined: Vec<u8>,
}

impl Columns {
    /// Empties the columns, keeping their memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.sample_ends.clear();
        self.timestamps_ms.clear();
        self.values.clear();
        self.metadata.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.malformed_histograms.clear();
        self.malformed_exemplar_count = 0;
        self.spans.clear();
        self.joined.clear();
    }

    /// Bytes of memory held, roughly.
    pub fn capacity_bytes(&self) -> usize {
        self.keys.capacity() * (16 + 8 + size_of::<LabelSpan>())
            + self.values.capacity() * 16
            + self.histograms.capacity() * size_of::<HistogramSample>()
            + self.exemplars.capacity() * size_of::<ExemplarSample>()
            + self.joined.capacity()
    }

    /// Reads `body` into the columns (cleared first); `key_of` is the storage's key of label bytes.
    ///
    /// # Errors
    /// [`WireError`] if the body is no `WriteRequest`; the columns are useless then.
    pub fn decode(&mut self, body: &[u8], key_of: impl Fn(&[u8]) -> u128) -> Result<(), WireError> {
        self.clear();
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
                    self.metadata.push(decode_metadata(reader.payload()?)?);
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
    ) -> Result<(), WireError> {
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
        self.keys.push(key ^ KEY_DOMAIN);
        self.spans.push(span);
        self.sample_ends.push(self.values.len());
        Ok(())
    }

    /// Reads one field after the first run of labels; returns whether it was one more label.
    #[inline]
    fn decode_field(&mut self, key: Key, reader: &mut Reader<'_>) -> Result<bool, WireError> {
        match key.field {
            1 => {
                key.expect(LENGTH_DELIMITED)?;
                reader.payload()?;
                return Ok(true);
            }
            2 => {
                key.expect(LENGTH_DELIMITED)?;
                let (value, timestamp_ms) = decode_sample(reader.payload()?)?;
                self.values.push(value);
                self.timestamps_ms.push(timestamp_ms);
            }
            3 => {
                key.expect(LENGTH_DELIMITED)?;
                // One that is malformed costs its neighbours nothing.
                match decode_exemplar(reader.payload()?) {
                    Ok(Some(exemplar)) => {
                        self.exemplars.push(ExemplarSample { series_index: self.keys.len(), exemplar });
                    }
                    Ok(None) | Err(_) => self.malformed_exemplar_count += 1,
                }
            }
            4 => {
                key.expect(LENGTH_DELIMITED)?;
                let series_index = self.keys.len();
                match decode_histogram(reader.payload()?) {
                    Ok((time_ms, histogram)) => {
                        self.histograms.push(HistogramSample { series_index, time_ms, histogram });
                    }
                    Err(error) => self.malformed_histograms.push((series_index, error)),
                }
            }
            _ => reader.skip(key)?,
        }
        Ok(false)
    }

    /// The labels, for the storage to ask for; `body` is what was decoded.
    pub fn labels<'a>(&'a self, body: &'a [u8]) -> RequestLabels<'a> {
        RequestLabels { body, columns: self }
    }

    /// The columns as the storage's argument.
    pub fn batch<'a>(&'a self, labels: &'a RequestLabels<'a>) -> WriteBatch<'a> {
        WriteBatch {
            keys: &self.keys,
            sample_ends: &self.sample_ends,
            timestamps_ms: &self.timestamps_ms,
            values: &self.values,
            starts: &[],
            labels,
            histograms: &self.histograms,
            exemplars: &self.exemplars,
            metadata: &self.metadata,
        }
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

/// Reads a sample: value and time.
#[inline]
fn decode_sample(bytes: &[u8]) -> Result<(f64, i64), WireError> {
    // PERF: everybody writes the value, then the time, and current times take 6 bytes; see bench `rim`, `decode/columns`.
    if let [0x09, v0, v1, v2, v3, v4, v5, v6, v7, 0x10, t0, t1, t2, t3, t4, t5] = *bytes
        && t0 & t1 & t2 & t3 & t4 & 0x80 != 0
        && t5 < 0x80
    {
        let value = f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
        let low = [t0, t1, t2, t3, t4]
            .into_iter()
            .rev()
            .fold(u64::from(t5), |sum, byte| sum << 7 | u64::from(byte & 0x7f));
        return Ok((value, low as i64));
    }
    let mut reader = Reader::new(bytes);
    let mut value = 0.0;
    let mut timestamp_ms = 0;
    while let Some(key) = reader.key()? {
        match key.field {
            1 => {
                key.expect(FIXED64)?;
                value = reader.double()?;
            }
            2 => {
                key.expect(VARINT)?;
                timestamp_ms = reader.varint()? as i64;
            }
            _ => reader.skip(key)?,
        }
    }
    Ok((value, timestamp_ms))
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

/// The kinds as `prompb` numbers them.
fn metric_kind(code: u64) -> MetricKind {
    match code {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

/// Parses labels of a request when the storage asks for them.
#[derive(Debug, Clone, Copy)]
pub struct RequestLabels<'a> {
    body: &'a [u8],
    columns: &'a Columns,
}

impl LabelSource for RequestLabels<'_> {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        let span = self
            .columns
            .spans
            .get(series_index)
            .ok_or_else(|| format!("no series at index {series_index}"))?;
        let source = if span.is_joined { self.columns.joined.as_slice() } else { self.body };
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

mod sparse;
#[cfg(test)]
mod sparse_tests;
#[cfg(test)]
mod tests;

//! Remote write 2.0: from the bytes of an `io.prometheus.write.v2.Request` to columns, without looking at labels.
//!
//! Input: the decompressed body. Output: [`Columns`], and where in the body each series lies. The key of a series is
//! the hash of its symbols' hashes; labels are gathered only when the head meets a key for the first time
//! ([`RequestLabels`]).
//! Not here: snappy and HTTP (see `receive`), samples, histograms and exemplars (see `sample`, `sparse`).
//!
//! Messages: `Request { symbols = 4, timeseries = 5 }`, `TimeSeries { labels_refs = 1, samples = 2, histograms = 3,
//! exemplars = 4, metadata = 5, created_timestamp = 6 }`, `Metadata { type = 1, help_ref = 3, unit_ref = 4 }`. Field 6
//! is of the drafts before 2.0-rc.4; it stands for the start time of all samples that name none.
//! Source: Prometheus `prompb/io/prometheus/write/v2/types.proto`,
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.
//!
//! More lenient than the specification wants senders to be: labels in any order, labels without value (there is no such
//! label), one label set in several series, samples in any order.

mod fold;
mod labels;
mod symbols;

pub use labels::RequestLabels;

use mytsdb_storage::model::{Exemplar, METRIC_NAME, MetricKind, MetricMetadata};

use self::fold::Fold;
use self::labels::read_series;
use self::symbols::Symbols;
use super::columns::{Columns, LABEL_COUNT_MAX, SeriesStart};
use super::metadata::{family_name, metric_kind};
use super::refusals::{DecodeError, SeriesError};
use super::sample::decode_sample;
use super::sparse::{ExemplarError, decode_exemplar, exemplar_labels};
use super::wire::{Key, LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Keeps keys of this protocol apart from those of others: equal bytes must not mean different labels.
const KEY_DOMAIN: u128 = 0x7265_6d6f_7465_5f77_7269_7465_5f76_3200;

/// What a series says about its metric.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Metadata {
    kind: MetricKind,
    help_ref: u32,
    unit_ref: u32,
}

/// A write request: columns, and the way to its labels. Reuse it between requests.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What the request holds.
    pub columns: Columns,
    symbols: Symbols,
    /// Per series of the columns: where its message lies in the body.
    spans: Vec<(usize, usize)>,
    /// Whether type and unit are labels.
    has_type_and_unit: bool,
    /// Per symbol: what was said last about the metric that is called so.
    known: Vec<Metadata>,
}

impl Request {
    /// Bytes of memory held, roughly.
    pub fn capacity_bytes(&self) -> usize {
        self.columns.capacity_bytes()
            + self.symbols.capacity_bytes()
            + self.spans.capacity() * size_of::<(usize, usize)>()
            + self.known.capacity() * size_of::<Metadata>()
    }

    /// Reads `body` (what was read before is forgotten); `key_of` is the storage's key of any bytes.
    /// `has_type_and_unit`: whether type and unit of the metadata become labels.
    ///
    /// # Errors
    /// [`DecodeError`] if the body is no such request; the columns are useless then.
    pub fn decode(
        &mut self,
        body: &[u8],
        has_type_and_unit: bool,
        key_of: impl Fn(&[u8]) -> u128,
    ) -> Result<(), DecodeError> {
        self.columns.clear();
        self.symbols.clear();
        self.spans.clear();
        self.has_type_and_unit = has_type_and_unit;
        // Symbols first: nobody promises that they come first.
        let mut reader = Reader::new(body);
        while let Some(key) = reader.key()? {
            match key.field {
                4 => {
                    key.expect(LENGTH_DELIMITED)?;
                    let text = reader.payload()?;
                    self.symbols.push(reader.position() - text.len(), text, key_of(text))?;
                }
                _ => reader.skip(key)?,
            }
        }
        self.known.clear();
        self.known.resize(self.symbols.len(), Metadata::default());
        let mut fold = Fold::new(&key_of);
        let mut reader = Reader::new(body);
        while let Some(key) = reader.key()? {
            match key.field {
                5 => {
                    key.expect(LENGTH_DELIMITED)?;
                    let series = reader.payload()?;
                    let end = reader.position();
                    self.decode_series(body, (end - series.len(), end), &mut fold, &key_of)?;
                }
                _ => reader.skip(key)?,
            }
        }
        Ok(())
    }

    /// Reads the series that lies at `span` of the body.
    #[inline]
    fn decode_series(
        &mut self,
        body: &[u8],
        span: (usize, usize),
        fold: &mut Fold,
        key_of: impl Fn(&[u8]) -> u128,
    ) -> Result<(), DecodeError> {
        let start = self.columns.begin_series()?;
        fold.begin();
        let mut metadata = Metadata::default();
        let mut created_ms = 0;
        let mut reader = Reader::new(&body[span.0..span.1]);
        while let Some(key) = reader.key()? {
            match key.field {
                1 => fold.read(key, &mut reader, &self.symbols)?,
                2..=5 => {
                    key.expect(LENGTH_DELIMITED)?;
                    let payload = reader.payload()?;
                    match key.field {
                        2 => self.columns.push_sample(decode_sample::<true>(payload)?)?,
                        3 => self.columns.push_histogram(payload, true)?,
                        4 => self.columns.push_exemplar(referring_exemplar(payload, body, &self.symbols))?,
                        _ => read_metadata(payload, &mut metadata)?,
                    }
                }
                6 => {
                    key.expect(VARINT)?;
                    created_ms = reader.varint()? as i64;
                }
                _ => reader.skip(key)?,
            }
        }
        if created_ms != 0 {
            self.columns.set_unknown_starts(start, created_ms);
        }
        match self.series_key(fold, start, metadata, key_of) {
            Ok(key) => {
                if metadata != Metadata::default() {
                    self.add_metadata(body, span, fold.first(), metadata, start)?;
                }
                self.columns.end_series(key);
                self.spans.push(span);
            }
            Err(error) => self.columns.refuse_series(start, error),
        }
        Ok(())
    }

    /// The key of the series that was read, if it is one.
    #[inline]
    fn series_key(
        &self,
        fold: &Fold,
        start: SeriesStart,
        metadata: Metadata,
        key_of: impl Fn(&[u8]) -> u128,
    ) -> Result<u128, SeriesError> {
        let given = fold.count();
        if given % 2 == 1 {
            return Err(SeriesError::OddLabelReferences { given });
        }
        if given > 2 * LABEL_COUNT_MAX {
            return Err(SeriesError::TooManyLabels { given: given / 2 });
        }
        if let Some(reference) = fold.missing() {
            return Err(SeriesError::LabelReference { reference, symbol_count: self.symbols.len() });
        }
        match self.columns.series_counts(start) {
            (0, 0) => return Err(SeriesError::Empty),
            (_, 0) | (0, _) => {}
            (sample_count, histogram_count) => {
                return Err(SeriesError::SamplesAndHistograms { sample_count, histogram_count });
            }
        }
        let more = self.has_type_and_unit.then(|| {
            let [low, high] = self.symbols.hash(metadata.unit_ref).unwrap_or_default();
            let mut bytes = [metadata.kind as u8; 17];
            bytes[1..9].copy_from_slice(&low.to_le_bytes());
            bytes[9..].copy_from_slice(&high.to_le_bytes());
            bytes
        });
        Ok(fold.key(more, key_of) ^ KEY_DOMAIN)
    }

    /// Keeps what the series at `span` says about its metric, unless it is what was said before. `first`: its first label.
    #[inline]
    fn add_metadata(
        &mut self,
        body: &[u8],
        span: (usize, usize),
        first: [u32; 2],
        metadata: Metadata,
        start: SeriesStart,
    ) -> Result<(), DecodeError> {
        // PERF: labels are sorted, so the name comes first, mostly; see bench `rim`, `decode/v2`.
        let is_name = |reference| self.symbols.text(body, reference) == Some(METRIC_NAME.as_bytes());
        let name_ref = if is_name(first[0]) {
            first[1]
        } else {
            let (references, _) = read_series(&body[span.0..span.1])?;
            // A series without name will be refused for it.
            let Some(pair) = references.chunks_exact(2).find(|pair| is_name(pair[0])) else { return Ok(()) };
            pair[1]
        };
        match self.known.get_mut(name_ref as usize) {
            Some(known) if *known != metadata => *known = metadata,
            _ => return Ok(()),
        }
        let name = self.symbols.text(body, name_ref).and_then(|name| std::str::from_utf8(name).ok());
        let Some(name) = name.map(str::to_owned) else {
            // As above.
            return Ok(());
        };
        let is_native = self.columns.series_counts(start).1 > 0;
        let metric = if is_native { name } else { family_name(name, metadata.kind) };
        match self.metric_metadata(body, metric, metadata) {
            Ok(metadata) => self.columns.push_metadata(metadata)?,
            Err(reference) => {
                let symbol_count = self.symbols.len();
                self.columns.refuse_metadata(|| {
                    format!("help or unit reference {reference} is outside of the {symbol_count} symbols")
                });
            }
        }
        Ok(())
    }

    /// Metadata with their texts; or the reference to which there is no symbol.
    fn metric_metadata(
        &self,
        body: &[u8],
        metric: String,
        metadata: Metadata,
    ) -> Result<MetricMetadata, u32> {
        let text = |reference| {
            let bytes = self.symbols.text(body, reference).ok_or(reference)?;
            Ok::<String, u32>(String::from_utf8_lossy(bytes).into_owned())
        };
        let (unit, help) = (text(metadata.unit_ref)?, text(metadata.help_ref)?);
        Ok(MetricMetadata { metric, kind: metadata.kind, unit, help })
    }

    /// The labels, for the storage to ask for; `body` is what was decoded.
    pub fn labels<'a>(&'a self, body: &'a [u8]) -> RequestLabels<'a> {
        RequestLabels::new(body, self)
    }
}

/// Reads references, packed or not.
#[inline]
fn read_references(key: Key, reader: &mut Reader<'_>, references: &mut Vec<u32>) -> Result<(), WireError> {
    if key.wire_type != LENGTH_DELIMITED {
        key.expect(VARINT)?;
        // What is above 32 bits is dropped, as every reader of the format does.
        references.push(reader.varint()? as u32);
        return Ok(());
    }
    let mut packed = Reader::new(reader.payload()?);
    while !packed.is_at_end() {
        references.push(packed.varint()? as u32);
    }
    Ok(())
}

/// Reads metadata over what was read of the same series before.
#[inline]
fn read_metadata(bytes: &[u8], metadata: &mut Metadata) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    while let Some(key) = reader.key()? {
        if !matches!(key.field, 1 | 3 | 4) {
            reader.skip(key)?;
            continue;
        }
        key.expect(VARINT)?;
        let number = reader.varint()?;
        match key.field {
            1 => metadata.kind = metric_kind(number),
            3 => metadata.help_ref = number as u32,
            _ => metadata.unit_ref = number as u32,
        }
    }
    Ok(())
}

/// Reads an exemplar whose labels are references.
fn referring_exemplar(bytes: &[u8], body: &[u8], symbols: &Symbols) -> Result<Exemplar, ExemplarError> {
    let mut references = Vec::new();
    let (value, time_ms) =
        decode_exemplar(bytes, |key, reader| Ok(read_references(key, reader, &mut references)?))?;
    let given = references.len();
    if given % 2 == 1 {
        return Err(ExemplarError::OddLabelReferences { given });
    }
    if given > 2 * LABEL_COUNT_MAX {
        return Err(ExemplarError::TooManyLabels { limit: LABEL_COUNT_MAX });
    }
    let symbol_count = symbols.len();
    let text = |reference: u32| {
        symbols.text(body, reference).ok_or(ExemplarError::LabelReference { reference, symbol_count })
    };
    let mut pairs = Vec::with_capacity(given / 2);
    for pair in references.chunks_exact(2) {
        pairs.push((text(pair[0])?, text(pair[1])?));
    }
    Ok(Exemplar { labels: exemplar_labels(&pairs)?, value, time_ms })
}

#[cfg(test)]
mod tests;

//! The labels of a series, gathered when the storage asks for them: when it meets a key for the first time.

use mytsdb_storage::LabelSource;
use mytsdb_storage::model::{LabelSet, METRIC_NAME, MetricKind};

use super::super::wire::{LENGTH_DELIMITED, Reader, WireError};
use super::{Metadata, Request, read_metadata, read_references};

/// The label for the type of the metadata.
const METRIC_TYPE: &str = "__type__";
/// The label for the unit of the metadata.
const METRIC_UNIT: &str = "__unit__";

/// Reads the labels of a request's series once more, this time with their texts.
#[derive(Debug, Clone, Copy)]
pub struct RequestLabels<'a> {
    body: &'a [u8],
    request: &'a Request,
}

impl<'a> RequestLabels<'a> {
    /// Those of `request`, which was read from `body`.
    pub(super) fn new(body: &'a [u8], request: &'a Request) -> Self {
        Self { body, request }
    }

    fn text(&self, reference: u32, what: &str) -> Result<&'a str, String> {
        let symbols = &self.request.symbols;
        let bytes = symbols.text(self.body, reference).ok_or_else(|| {
            format!("{what} reference {reference} is outside of the {} symbols", symbols.len())
        })?;
        std::str::from_utf8(bytes)
            .map_err(|_| format!("{what} {:?} is not UTF-8", String::from_utf8_lossy(bytes)))
    }

    /// Adds the type and the unit as labels, in the place of such labels.
    fn add_type_and_unit(
        &self,
        pairs: &mut Vec<(&'a str, &'a str)>,
        metadata: Metadata,
    ) -> Result<(), String> {
        let unit = self.text(metadata.unit_ref, "unit")?;
        if metadata.kind == MetricKind::Unknown && unit.is_empty() {
            return Ok(());
        }
        pairs.retain(|(name, _)| *name != METRIC_TYPE && *name != METRIC_UNIT);
        if metadata.kind != MetricKind::Unknown {
            pairs.push((METRIC_TYPE, metadata.kind.as_str()));
        }
        pairs.push((METRIC_UNIT, unit));
        Ok(())
    }
}

impl LabelSource for RequestLabels<'_> {
    fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
        let span = self.request.spans.get(series_index);
        let (start, end) = *span.ok_or_else(|| format!("no series at index {series_index}"))?;
        let series = self.body.get(start..end).ok_or("series lies outside the request")?;
        let (references, metadata) = read_series(series).map_err(|error| error.to_string())?;
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(references.len() / 2 + 2);
        for pair in references.chunks_exact(2) {
            pairs.push((self.text(pair[0], "label name")?, self.text(pair[1], "label value")?));
        }
        if self.request.has_type_and_unit {
            self.add_type_and_unit(&mut pairs, metadata)?;
        }
        let labels = LabelSet::from_pairs(pairs).map_err(|error| error.to_string())?;
        if labels.metric_name().is_empty() {
            return Err(format!("series {labels} has no {METRIC_NAME} label"));
        }
        Ok(labels)
    }
}

/// The references and the metadata of a series.
pub(super) fn read_series(series: &[u8]) -> Result<(Vec<u32>, Metadata), WireError> {
    let (mut references, mut metadata) = (Vec::new(), Metadata::default());
    let mut reader = Reader::new(series);
    while let Some(key) = reader.key()? {
        match key.field {
            1 => read_references(key, &mut reader, &mut references)?,
            5 => {
                key.expect(LENGTH_DELIMITED)?;
                read_metadata(reader.payload()?, &mut metadata)?;
            }
            _ => reader.skip(key)?,
        }
    }
    Ok((references, metadata))
}

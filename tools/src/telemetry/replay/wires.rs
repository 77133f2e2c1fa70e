//! Metrics by remote write or Arrow Flight: the OTLP bytes are patched in a scratch, and translated.

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use super::assemble::Assembled;
use super::columns::{ColumnsBatch, schema};
use super::metrics::Slot;
use super::options::Wire;
use super::pool::Pool;
use super::remote::RemoteBatch;
use super::samples::{Sample, samples, values};
use crate::telemetry::template::Template;

/// The batches of a wire that is not OTLP.
#[derive(Debug)]
pub(super) struct Translator {
    wire: Wire,
    batches: Vec<Translated>,
    schema: SchemaRef,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Translated {
    samples: Vec<Sample>,
    remote: RemoteBatch,
    columns: ColumnsBatch,
}

impl Translator {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, batches: Vec::new(), schema: schema(), scratch: Vec::new() }
    }

    /// Adds the next batch.
    pub(super) fn add(&mut self, template: &Template, assembled: &Assembled, instance: &str) {
        let samples = samples(template, assembled, instance);
        let remote = match self.wire {
            Wire::RemoteWriteV1 => RemoteBatch::v1(&samples),
            Wire::RemoteWriteV2 => RemoteBatch::v2(&samples),
            Wire::Otlp | Wire::Flight => RemoteBatch::default(),
        };
        self.batches.push(Translated { samples, remote, columns: ColumnsBatch::default() });
    }

    /// Returns a copy of `template` to patch.
    pub(super) fn scratch(&mut self, template: &[u8]) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(template);
        scratch
    }

    /// Translates patched OTLP bytes: body, rows, and the number of samples. Takes the scratch back.
    pub(super) fn translate(
        &mut self,
        slot: &Slot,
        otlp: Vec<u8>,
        pool: &mut Pool,
    ) -> Option<(Bytes, Option<RecordBatch>, u64)> {
        let batch = self.batches.get_mut(slot.batch)?;
        let mut found = Vec::with_capacity(batch.samples.len());
        values(&otlp, &batch.samples, &mut found);
        let count = found.len() as u64;
        let (body, rows) = if self.wire == Wire::Flight {
            let rows = batch.columns.rows(&self.schema, &batch.samples, &otlp, found, slot.time_ns);
            (Bytes::new(), Some(rows.ok()?))
        } else {
            let mut body = pool.copy(&batch.remote.bytes);
            batch.remote.patch(&otlp, &found, slot.time_ns, &mut body);
            (pool.freeze(body), None)
        };
        self.scratch = otlp;
        Some((body, rows, count))
    }
}

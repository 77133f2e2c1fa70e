//! Remote write requests of a batch: encoded once, patched with values, times and generations.
//!
//! A time is a varint of six bytes, which milliseconds of the present are anyway.
//! Messages: 1.0 `WriteRequest { timeseries = 1 }`, `TimeSeries { labels = 1, samples = 2 }`, `Label { name = 1, value = 2 }`,
//! `Sample { value = 1, timestamp = 2 }`; 2.0 `Request { symbols = 4, timeseries = 5 }`, `TimeSeries { labels_refs = 1,
//! samples = 2, metadata = 5 }`, `Sample { value = 1, timestamp = 2, start_timestamp = 3 }`, `Metadata { type = 1 }`.
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, `…/remote_write_spec_2_0/`.

use std::collections::BTreeMap;

use super::assemble::GENERATION_DIGITS;
use super::patches::{put, put_array};
use super::samples::{Sample, generation, get};
use crate::telemetry::template::MetricType;
use crate::telemetry::template::protobuf::{
    WIDE_VARINT_BYTES, put_bytes, put_fixed64, put_head, put_uint, put_varint, wide_varint,
};

const MS_NS: u64 = 1_000_000;

/// The request of a batch.
#[derive(Debug, Default)]
pub(super) struct RemoteBatch {
    /// What is copied.
    pub(super) bytes: Vec<u8>,
    samples: Vec<Places>,
    /// (where in the OTLP bytes, where in these).
    generations: Vec<(u32, u32)>,
}

/// Where a sample is patched.
#[derive(Debug, Clone, Copy)]
struct Places {
    value_at: u32,
    time_at: u32,
    /// (where in the OTLP bytes, where in these).
    start: Option<(u32, u32)>,
}

impl RemoteBatch {
    /// Encodes samples for remote write 1.0.
    pub(super) fn v1(samples: &[Sample]) -> Self {
        let mut batch = Self::default();
        for sample in samples {
            let mut labels = Vec::new();
            let mut instance_end = 0;
            for (name, value) in &sample.labels {
                let mut label = Vec::with_capacity(name.len() + value.len() + 6);
                put_bytes(&mut label, 1, name.as_bytes());
                put_bytes(&mut label, 2, value.as_bytes());
                put_bytes(&mut labels, 1, &label);
                if name == "instance" {
                    instance_end = labels.len() as u32;
                }
            }
            let (message, places) = sample_message(None);
            put_head(&mut batch.bytes, 1, labels.len() + 2 + message.len());
            let begin = batch.bytes.len() as u32;
            batch.bytes.extend_from_slice(&labels);
            batch.put_sample(2, &message, places);
            let digits_at = begin + instance_end - GENERATION_DIGITS as u32;
            batch.generations.push((sample.generation_at, digits_at));
        }
        batch
    }

    /// Encodes samples for remote write 2.0.
    pub(super) fn v2(samples: &[Sample]) -> Self {
        let mut batch = Self::default();
        let mut symbols = Symbols::default();
        batch.put_symbol(&mut symbols, "", None);
        let series: Vec<Vec<u8>> = samples
            .iter()
            .map(|sample| {
                let mut references = Vec::new();
                for (name, value) in &sample.labels {
                    let generation_at = (name == "instance").then_some(sample.generation_at);
                    put_varint(&mut references, batch.put_symbol(&mut symbols, name, None));
                    put_varint(&mut references, batch.put_symbol(&mut symbols, value, generation_at));
                }
                references
            })
            .collect();
        for (sample, references) in samples.iter().zip(series) {
            let (message, places) = sample_message(sample.start_at);
            let mut before = Vec::new();
            put_bytes(&mut before, 1, &references);
            let mut metadata = Vec::new();
            put_uint(&mut metadata, 1, metadata_type(sample.metric_type));
            put_bytes(&mut before, 5, &metadata);
            put_head(&mut batch.bytes, 5, before.len() + 2 + message.len());
            batch.bytes.extend_from_slice(&before);
            batch.put_sample(2, &message, places);
        }
        batch
    }

    fn put_sample(&mut self, field: u32, message: &[u8], places: Places) {
        put_head(&mut self.bytes, field, message.len());
        let begin = self.bytes.len() as u32;
        self.bytes.extend_from_slice(message);
        self.samples.push(Places {
            value_at: begin + places.value_at,
            time_at: begin + places.time_at,
            start: places.start.map(|(from, at)| (from, begin + at)),
        });
    }

    /// Returns the number of a symbol, written when it is new. The same instance of two targets would be two symbols.
    fn put_symbol(&mut self, symbols: &mut Symbols, text: &str, generation_at: Option<u32>) -> u64 {
        let next = symbols.numbers.len() as u64;
        if let Some(number) = symbols.numbers.get(text) {
            return *number;
        }
        symbols.numbers.insert(text.to_owned(), next);
        put_bytes(&mut self.bytes, 4, text.as_bytes());
        if let Some(from) = generation_at {
            self.generations.push((from, (self.bytes.len() - GENERATION_DIGITS) as u32));
        }
        next
    }

    /// Patches a copy of the bytes with values, and with what the patched OTLP bytes say.
    pub(super) fn patch(&self, otlp: &[u8], values: &[f64], time_ns: u64, body: &mut [u8]) {
        let time = six(time_ns);
        for (places, value) in self.samples.iter().zip(values) {
            put(body, places.value_at, value.to_bits());
            put_array(body, places.time_at, time);
            if let Some((from, at)) = places.start {
                put_array(body, at, six(get(otlp, from)));
            }
        }
        for (from, at) in &self.generations {
            put_array(body, *at, generation(otlp, *from));
        }
    }
}

#[derive(Debug, Default)]
struct Symbols {
    numbers: BTreeMap<String, u64>,
}

/// Returns nanoseconds as milliseconds, a varint of six bytes.
fn six(time_ns: u64) -> [u8; WIDE_VARINT_BYTES] {
    let [bytes @ .., _, _] = wide_varint(time_ns / MS_NS).to_le_bytes();
    bytes
}

/// Returns a message `Sample` with zeros, and where what is in it.
fn sample_message(start_at: Option<u32>) -> (Vec<u8>, Places) {
    let mut message = Vec::new();
    let value_at = put_fixed64(&mut message, 1, 0);
    let mut put_time = |field: u32| {
        put_varint(&mut message, u64::from(field << 3));
        message.extend_from_slice(&six(0));
        (message.len() - WIDE_VARINT_BYTES) as u32
    };
    let time_at = put_time(2);
    let start = start_at.map(|from| (from, put_time(3)));
    (message, Places { value_at, time_at, start })
}

fn metadata_type(metric_type: MetricType) -> u64 {
    match metric_type {
        MetricType::Counter => 1,
        MetricType::Gauge | MetricType::UpDownCounter => 2,
        MetricType::Histogram | MetricType::ExponentialHistogram => 3,
        MetricType::Summary => 5,
    }
}

//! Encodes a data set into requests of a protocol.
//!
//! Order: as Prometheus' own sender has it. Containers are spread over shards; within a shard samples are in time
//! order, and a request is cut after a fixed number of samples. Remote write: every sample is its own `TimeSeries`.
//! OTLP: see [`otlp`].

use std::path::PathBuf;

use super::container::{Container, SERIES_PER_CONTAINER, label_sets};
use super::file::RequestWriter;
use super::{otlp, wire};

/// Scrape interval of the data.
pub const STEP_MS: i64 = 15_000;

/// The protocol of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Prometheus remote write 1.0.
    RemoteWrite,
    /// OTLP metrics.
    Otlp,
}

/// What to encode.
#[derive(Debug, Clone)]
pub struct Options {
    /// Protocol of the requests.
    pub protocol: Protocol,
    /// Containers of 90 series each.
    pub container_count: usize,
    /// Samples per series.
    pub step_count: usize,
    /// Time of the last sample.
    pub end_ms: i64,
    /// Senders that the series are spread over.
    pub shard_count: usize,
    /// Samples per request.
    pub request_sample_count: usize,
    /// Equal seeds give equal data.
    pub seed: u64,
    /// File to write.
    pub out: PathBuf,
}

/// What was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Series in the file.
    pub series_count: usize,
    /// Samples in the file.
    pub sample_count: usize,
    /// Requests in the file.
    pub request_count: usize,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Time of the first sample.
    pub start_ms: i64,
    /// Time of the last sample.
    pub end_ms: i64,
}

/// The part of a container's requests that never changes.
enum Target {
    /// Encoded labels by series.
    RemoteWrite(Vec<Vec<u8>>),
    Otlp(otlp::Target),
}

impl Target {
    fn new(options: &Options, container_index: usize) -> Self {
        let label_sets = label_sets(container_index);
        match options.protocol {
            Protocol::RemoteWrite => {
                Self::RemoteWrite(label_sets.iter().map(|labels| wire::encode_labels(labels)).collect())
            }
            Protocol::Otlp => Self::Otlp(otlp::Target::new(&label_sets, start_ms(options))),
        }
    }

    /// Appends the values of the series from `first` on.
    fn put(&self, request: &mut Vec<u8>, first: usize, values: &[f64], timestamp_ms: i64) {
        match self {
            Self::RemoteWrite(labels) => {
                for (encoded_labels, value) in labels.iter().skip(first).zip(values) {
                    wire::put_series(request, encoded_labels, timestamp_ms, *value);
                }
            }
            Self::Otlp(target) => target.put(request, first, values, timestamp_ms),
        }
    }
}

fn start_ms(options: &Options) -> i64 {
    options.end_ms - (options.step_count as i64 - 1) * STEP_MS
}

struct Shard {
    containers: Vec<(Container, Target)>,
    request: Vec<u8>,
    sample_count: usize,
}

/// Encodes the data set into `options.out`.
///
/// # Errors
/// If the file cannot be written.
pub fn encode(options: &Options) -> anyhow::Result<Summary> {
    let mut shards = make_shards(options);
    let mut writer = RequestWriter::create(&options.out)?;
    let mut compressor = snap::raw::Encoder::new();
    let start_ms = start_ms(options);
    let mut request_count = 0;
    let mut values = Vec::with_capacity(SERIES_PER_CONTAINER);
    for step_index in 0..options.step_count {
        let timestamp_ms = start_ms + step_index as i64 * STEP_MS;
        let is_last_step = step_index + 1 == options.step_count;
        for (shard_index, shard) in shards.iter_mut().enumerate() {
            let Shard { containers, request, sample_count } = shard;
            let mut close = |request: &mut Vec<u8>, sample_count: &mut usize| -> anyhow::Result<()> {
                let body = compressor.compress_vec(request)?;
                writer.append(shard_index as u32, *sample_count as u32, &body)?;
                request.clear();
                *sample_count = 0;
                request_count += 1;
                Ok(())
            };
            for (container, target) in containers.iter_mut() {
                container.step(&mut values);
                let mut first = 0;
                while first < values.len() {
                    let room = options.request_sample_count - *sample_count;
                    let end = values.len().min(first + room);
                    target.put(request, first, &values[first..end], timestamp_ms);
                    *sample_count += end - first;
                    first = end;
                    if *sample_count == options.request_sample_count {
                        close(request, sample_count)?;
                    }
                }
            }
            if is_last_step && *sample_count > 0 {
                close(request, sample_count)?;
            }
        }
    }
    let file_bytes = writer.written_bytes;
    writer.close()?;
    let series_count = options.container_count * SERIES_PER_CONTAINER;
    Ok(Summary {
        series_count,
        sample_count: series_count * options.step_count,
        request_count,
        file_bytes,
        start_ms,
        end_ms: options.end_ms,
    })
}

fn make_shards(options: &Options) -> Vec<Shard> {
    let mut shards: Vec<Shard> = (0..options.shard_count.max(1))
        .map(|_| Shard { containers: Vec::new(), request: Vec::new(), sample_count: 0 })
        .collect();
    let shard_count = shards.len();
    for index in 0..options.container_count {
        let container = Container::new(options.seed, index, options.step_count);
        shards[index % shard_count].containers.push((container, Target::new(options, index)));
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::{Options, Protocol, encode};
    use crate::bench_load::file::read_entries;

    #[test]
    fn all_samples_are_in_the_file_and_equal_seeds_give_equal_bytes() {
        for protocol in [Protocol::RemoteWrite, Protocol::Otlp] {
            check(protocol);
        }
    }

    fn check(protocol: Protocol) {
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options {
            protocol,
            container_count: 3,
            step_count: 7,
            end_ms: 1_800_000_000_000,
            shard_count: 2,
            request_sample_count: 100,
            seed: 9,
            out: directory.path().join("one"),
        };
        let summary = encode(&options).unwrap();
        assert_eq!(summary.sample_count, 3 * 90 * 7);
        let entries = read_entries(&std::fs::File::open(&options.out).unwrap()).unwrap();
        assert_eq!(entries.len(), summary.request_count);
        assert_eq!(entries.iter().map(|entry| entry.sample_count as usize).sum::<usize>(), 3 * 90 * 7);
        let first = std::fs::read(&options.out).unwrap();
        options.out = directory.path().join("two");
        encode(&options).unwrap();
        assert_eq!(first, std::fs::read(&options.out).unwrap());
    }
}

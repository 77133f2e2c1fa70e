//! Merging blocks with what no write door gives yet: histograms beside floats, and copied bytes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{FINAL_LEVEL, MergeError, MergeTarget, Pace, merge_blocks};
use crate::block::layout::{BlockRef, Day};
use crate::block::reader::BlockReader;
use crate::block::view::BlockView;
use crate::block::writer::{BlockIdentity, BlockWriter, ChunkInput};
use crate::chunk::{ChunkDecoder, ChunkEncoder, is_histogram_chunk};
use crate::fs::FileSystem;
use crate::fs::disk::Disk;
use crate::model::{Exemplar, Histogram, LabelSet, TenantId, TimeRange};

enum Values {
    Floats(Vec<f64>),
    Histograms(Vec<Arc<Histogram>>),
}

fn floats(count: usize, value: f64) -> Values {
    Values::Floats((0..count).map(|index| value + (index % 7) as f64).collect())
}

fn histograms(count: usize, value: f64) -> Values {
    let histogram = |index: usize| Histogram { count: value + index as f64, ..Histogram::default() };
    Values::Histograms((0..count).map(|index| Arc::new(histogram(index))).collect())
}

fn reference(id: u64) -> BlockRef {
    BlockRef { tenant: TenantId::anonymous(), day: Day::of_ms(0), id }
}

/// A block of one series; each run is its first time, its step and its values.
fn block(data_dir: &Path, id: u64, runs: &[(i64, i64, Values)]) -> BlockView {
    let fs: Arc<dyn FileSystem> = Arc::new(Disk);
    let mut encoder = ChunkEncoder::new();
    let encoded: Vec<(Vec<i64>, Vec<u8>, Vec<u8>)> = runs
        .iter()
        .map(|(start_ms, step_ms, values)| {
            let (mut timestamps, mut bytes) = (Vec::new(), Vec::new());
            let count = match values {
                Values::Floats(values) => {
                    encoder.encode_values(values, &mut bytes);
                    values.len()
                }
                Values::Histograms(rows) => {
                    encoder.encode_histograms(rows, &mut bytes);
                    rows.len()
                }
            };
            let times_ms: Vec<i64> = (0..count as i64).map(|index| start_ms + index * step_ms).collect();
            encoder.encode_timestamps(&times_ms, &mut timestamps);
            (times_ms, timestamps, bytes)
        })
        .collect();
    let mut writer = BlockWriter::new(&fs, BlockIdentity { id, tenant: TenantId::anonymous() });
    let chunks: Vec<ChunkInput<'_>> = encoded
        .iter()
        .map(|(times_ms, timestamps, values)| ChunkInput {
            min_ms: times_ms[0],
            max_ms: times_ms[times_ms.len() - 1],
            sample_count: times_ms.len() as u32,
            timestamps,
            values,
        })
        .collect();
    writer.add_series(&LabelSet::from_pairs([("__name__", "up")]).unwrap(), &chunks);
    let reference = reference(id);
    writer.finish(&reference.directory(data_dir)).unwrap();
    open(data_dir, id)
}

fn open(data_dir: &Path, id: u64) -> BlockView {
    BlockView::whole(Arc::new(BlockReader::open(&Disk, &reference(id).path(data_dir)).unwrap()))
}

fn merge(data_dir: &Path, inputs: &[BlockView], level: u8) -> Result<BlockView, MergeError> {
    let fs: Arc<dyn FileSystem> = Arc::new(Disk);
    let is_stopping = AtomicBool::new(false);
    let target = MergeTarget { block: reference(99), level };
    let merged = merge_blocks(&fs, data_dir, inputs, &target, &mut Pace::new(&is_stopping, 0))?;
    assert_eq!(merged.unwrap().precedence, inputs[inputs.len() - 1].meta().precedence);
    Ok(open(data_dir, 99))
}

/// All samples: time, whether it is a histogram, value or count.
fn samples(view: &BlockView) -> Vec<(i64, bool, f64)> {
    let (mut chunks, mut found) = (Vec::new(), Vec::new());
    view.chunks(0, TimeRange::ALL, &mut chunks).unwrap();
    let mut decoder = ChunkDecoder::new();
    for chunk in &chunks {
        let (mut times_ms, mut values, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let count = chunk.sample_count as usize;
        decoder.decode_timestamps(view.reader.timestamps(chunk).unwrap(), count, &mut times_ms).unwrap();
        let bytes = view.reader.values(chunk).unwrap();
        let is_histogram = is_histogram_chunk(bytes);
        if is_histogram {
            decoder.decode_histograms(bytes, count, &mut rows).unwrap();
            values.extend(rows.iter().map(|row| row.count));
        } else {
            decoder.decode_values(bytes, count, &mut values).unwrap();
        }
        found.extend(times_ms.into_iter().zip(values).map(|(time_ms, value)| (time_ms, is_histogram, value)));
    }
    found
}

#[test]
fn histograms_and_floats_of_one_series_are_merged_and_histograms_win() {
    let data = tempfile::tempdir().unwrap();
    let older = block(data.path(), 1, &[(0, 10, histograms(100, 1000.0)), (2000, 10, floats(50, 5.0))]);
    // Between and over the histograms, and histograms over the end of the floats.
    let newer = block(data.path(), 2, &[(405, 5, floats(10, 70.0)), (2400, 10, histograms(20, 9.0))]);
    for level in [1, FINAL_LEVEL] {
        let merged = samples(&merge(data.path(), &[older.clone(), newer.clone()], level).unwrap());
        // Every second of the newer floats has the time of a histogram.
        let between = (0..10).step_by(2).map(|index| (405 + index * 5, false, 70.0 + (index % 7) as f64));
        let mut first: Vec<(i64, bool, f64)> =
            (0..100).map(|index| (index * 10, true, 1000.0 + index as f64)).chain(between).collect();
        first.sort_by_key(|(time_ms, ..)| *time_ms);
        let expected: Vec<(i64, bool, f64)> = first
            .into_iter()
            .chain((0..40).map(|index| (2000 + index * 10, false, 5.0 + (index % 7) as f64)))
            .chain((0..20).map(|index| (2400 + index * 10, true, 9.0 + index as f64)))
            .collect();
        assert_eq!(merged, expected, "level {level}");
    }
}

#[test]
fn exemplars_are_carried_along_each_once() {
    let data = tempfile::tempdir().unwrap();
    let exemplar = |time_ms: i64| Exemplar {
        labels: LabelSet::from_pairs([("trace_id", "a")]).unwrap(),
        value: time_ms as f64,
        time_ms,
    };
    let with = |id: u64, times_ms: &[i64]| {
        let fs: Arc<dyn FileSystem> = Arc::new(Disk);
        let mut writer = BlockWriter::new(&fs, BlockIdentity { id, tenant: TenantId::anonymous() });
        let (mut timestamps, mut values) = (Vec::new(), Vec::new());
        ChunkEncoder::new().encode_timestamps(&[id as i64], &mut timestamps);
        ChunkEncoder::new().encode_values(&[1.0], &mut values);
        let time_ms = id as i64;
        let chunk = ChunkInput {
            min_ms: time_ms,
            max_ms: time_ms,
            sample_count: 1,
            timestamps: &timestamps,
            values: &values,
        };
        writer.add_series(&LabelSet::from_pairs([("__name__", "up")]).unwrap(), &[chunk]);
        writer.add_exemplars(&times_ms.iter().map(|time_ms| exemplar(*time_ms)).collect::<Vec<_>>());
        writer.finish(&reference(id).directory(data.path())).unwrap();
        open(data.path(), id)
    };
    let inputs = [with(1, &[5, 7, 9]), with(2, &[7, 8])];
    let merged = merge(data.path(), &inputs, FINAL_LEVEL).unwrap();
    let mut found = Vec::new();
    merged.exemplars().read(0, TimeRange::ALL, &mut found).unwrap();
    assert_eq!(found, [5, 7, 8, 9].map(exemplar));
}

#[test]
fn chunks_that_nothing_touches_are_copied_byte_for_byte() {
    let data = tempfile::tempdir().unwrap();
    let first = block(data.path(), 1, &[(0, 10, floats(400, 1.0)), (9_000, 10, histograms(100, 1.0))]);
    let second = block(data.path(), 2, &[(20_000, 10, floats(400, 3.0))]);
    let merged = merge(data.path(), &[first.clone(), second.clone()], 1).unwrap();
    let chunk_bytes = |view: &BlockView| -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        view.chunks(0, TimeRange::ALL, &mut chunks).unwrap();
        chunks.iter().map(|chunk| view.reader.values(chunk).unwrap().to_vec()).collect()
    };
    assert_eq!(chunk_bytes(&merged), [chunk_bytes(&first), chunk_bytes(&second)].concat());
    assert_eq!((merged.meta().precedence, merged.meta().level), (2, 1));
}

#[test]
fn a_long_series_leaves_in_pieces_and_comes_whole() {
    let data = tempfile::tempdir().unwrap();
    // Two blocks whose samples alternate: every chunk overlaps others.
    let runs = |offset_ms: i64, value: f64| -> Vec<(i64, i64, Values)> {
        (0..120).map(|part| (part * 5000 + offset_ms, 10, floats(500, value))).collect()
    };
    let inputs = [block(data.path(), 1, &runs(0, 1.0)), block(data.path(), 2, &runs(5, 100.0))];
    for level in [1, FINAL_LEVEL] {
        let merged = samples(&merge(data.path(), &inputs, level).unwrap());
        assert_eq!(merged.len(), 120_000);
        assert!(merged.iter().enumerate().all(|(index, (time_ms, ..))| *time_ms == index as i64 * 5));
    }
}

#[test]
fn a_stopped_merge_leaves_no_file() {
    let data = tempfile::tempdir().unwrap();
    let input = block(data.path(), 1, &[(0, 10, floats(400, 1.0))]);
    let fs: Arc<dyn FileSystem> = Arc::new(Disk);
    let is_stopping = AtomicBool::new(true);
    let target = MergeTarget { block: reference(99), level: 1 };
    let outcome = merge_blocks(&fs, data.path(), &[input], &target, &mut Pace::new(&is_stopping, 0));
    assert!(matches!(outcome, Err(MergeError::Stopped)));
    let names = std::fs::read_dir(reference(99).directory(data.path())).unwrap();
    assert_eq!(names.count(), 1, "the input alone");
}

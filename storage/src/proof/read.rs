//! Asks the readers of each kind of file everything they can be asked.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::samples::{DATA_DIR, alone};
use crate::block::manifest::{Manifest, ManifestState};
use crate::block::reader::BlockReader;
use crate::block::tombstones::Tombstones;
use crate::block::writer::BlockMeta;
use crate::chunk::{ChunkDecoder, is_histogram_chunk};
use crate::fs::FileSystem;
use crate::model::{LabelSet, MatchOp, Matcher, StartTimes, TimeRange};
use crate::read::ReadError;
use crate::wal::{Record, ReplayProgress, replay};

/// What blocks are asked; compiled once.
static MATCHERS: LazyLock<Vec<Matcher>> = LazyLock::new(|| {
    let matchers = [
        Matcher::new(MatchOp::Equal, "zone", "zone-1"),
        Matcher::new(MatchOp::Regex, "instance", "host-0.[13].*"),
        Matcher::new(MatchOp::NotEqual, "größe", ""),
        Matcher::new(MatchOp::NotRegex, "__name__", "node.*|"),
    ];
    matchers.into_iter().flatten().collect()
});

/// A series with its samples as bits.
pub(crate) type Series = (LabelSet, Vec<(i64, u64)>);

/// Everything that a block can be asked.
#[derive(Debug, PartialEq)]
pub(crate) struct BlockAnswers {
    meta: BlockMeta,
    series: Vec<Result<Series, ReadError>>,
    selections: Vec<Result<RoaringBitmap, ReadError>>,
    lists: Vec<Result<Vec<String>, ReadError>>,
}

impl BlockAnswers {
    /// Returns whether every answer is that of `whole`, or a named error.
    pub(crate) fn is_true_to(&self, whole: &Self) -> bool {
        fn agrees<T: PartialEq>(found: &[Result<T, ReadError>], whole: &[Result<T, ReadError>]) -> bool {
            found.len() == whole.len()
                && found.iter().zip(whole).all(|(found, whole)| found.is_err() || found == whole)
        }
        self.meta == whole.meta
            && agrees(&self.series, &whole.series)
            && agrees(&self.selections, &whole.selections)
            && agrees(&self.lists, &whole.lists)
    }

    /// How many samples came out.
    pub(crate) fn sample_count(&self) -> usize {
        self.series.iter().flatten().map(|(_, samples)| samples.len()).sum()
    }
}

/// Opens `bytes` as a block and asks it everything.
///
/// # Errors
/// Why it does not open.
pub(crate) fn block(bytes: Vec<u8>) -> Result<BlockAnswers, String> {
    /// A forged header may announce more series than anybody wants to ask for.
    const SERIES_COUNT_MAX: u32 = 4096;
    let path = Path::new(DATA_DIR).join("0000000000000001.mtb");
    let fs = alone(&path, bytes);
    let block = BlockReader::open(&fs, &path).map_err(|error| error.to_string())?;
    let series_count = block.meta().series_count.min(SERIES_COUNT_MAX);
    let some: RoaringBitmap = (0..series_count).step_by(3).collect();
    let mut decoder = ChunkDecoder::new();
    Ok(BlockAnswers {
        meta: block.meta().clone(),
        series: (0..series_count).map(|id| series(&block, id, &mut decoder)).collect(),
        selections: MATCHERS.iter().map(|matcher| block.select(std::slice::from_ref(matcher))).collect(),
        lists: vec![
            block.label_names(None),
            block.label_names(Some(&some)),
            block.label_values("instance", None),
            block.label_values("zone", Some(&some)),
        ],
    })
}

fn series(block: &BlockReader, id: u32, decoder: &mut ChunkDecoder) -> Result<Series, ReadError> {
    let labels = block.labels(id)?;
    let mut views = Vec::new();
    block.chunks(id, TimeRange::ALL, &mut views)?;
    let (mut timestamps_ms, mut values, mut bits) = (Vec::new(), Vec::new(), Vec::new());
    for view in &views {
        let sample_count = view.sample_count as usize;
        let damaged = |error: crate::chunk::ChunkError| ReadError::Corrupt {
            path: block.path().display().to_string(),
            reason: error.to_string(),
        };
        decoder
            .decode_timestamps(block.timestamps(view)?, sample_count, &mut timestamps_ms)
            .map_err(damaged)?;
        let bytes = block.values(view)?;
        if is_histogram_chunk(bytes) {
            let mut rows = Vec::new();
            decoder.decode_histograms(bytes, sample_count, &mut rows).map_err(damaged)?;
            // What tells two histograms apart, in place of the bits of a value.
            bits.extend(rows.iter().map(|row| xxh3_64(format!("{row:?}").as_bytes())));
        } else {
            values.clear();
            let mut starts = StartTimes::new();
            decoder.decode_starts(bytes, sample_count, 0..sample_count, 0, &mut starts).map_err(damaged)?;
            decoder.decode_values(bytes, sample_count, &mut values).map_err(damaged)?;
            let starts_ms = starts.up_to(sample_count).each(sample_count);
            bits.extend(values.iter().zip(starts_ms).map(|(value, start_ms)| {
                value.to_bits() ^ start_ms.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15)
            }));
        }
    }
    Ok((labels, timestamps_ms.into_iter().zip(bits).collect()))
}

/// What replaying a segment gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalAnswer {
    /// Records that were given out.
    pub(crate) record_count: u64,
    /// Bytes that were reported as damaged.
    pub(crate) dropped_bytes: u64,
    /// Whether what was left is read again without a complaint, and gives as much.
    pub(crate) is_stable: bool,
}

/// Replays `bytes` as the first segment of a log; `visit` sees each record with its number. `is_read_twice`: looks
/// whether what is left is stable.
///
/// # Errors
/// Why it cannot be replayed.
pub(crate) fn wal(
    bytes: Vec<u8>,
    is_read_twice: bool,
    mut visit: impl FnMut(usize, u32, Record<'_>),
) -> Result<WalAnswer, String> {
    let directory = Path::new(DATA_DIR).join("wal");
    let fs: Arc<dyn FileSystem> = Arc::new(alone(&directory.join("0000000000000001.wal"), bytes));
    let mut number = 0;
    let first = replay(&fs, &directory, 0, &ReplayProgress::default(), |tenant, record| {
        visit(number, tenant, record);
        number += 1;
    })
    .map_err(|error| error.to_string())?;
    let mut is_stable = true;
    if is_read_twice {
        let second = replay(&fs, &directory, 0, &ReplayProgress::default(), |_, _| {})
            .map_err(|error| error.to_string())?;
        is_stable = second.dropped_bytes == 0 && second.record_count == first.record_count;
    }
    Ok(WalAnswer { record_count: first.record_count, dropped_bytes: first.dropped_bytes, is_stable })
}

/// Opens `bytes` as a MANIFEST.
///
/// # Errors
/// Why it does not open.
pub(crate) fn manifest(bytes: Vec<u8>) -> Result<ManifestState, String> {
    let directory = Path::new(DATA_DIR);
    let fs: Arc<dyn FileSystem> = Arc::new(alone(&directory.join("MANIFEST"), bytes));
    let (_, state) = Manifest::open(&fs, directory).map_err(|error| error.to_string())?;
    let again = Manifest::open(&fs, directory).map(|(_, state)| state);
    assert!(again.as_ref().is_ok_and(|again| *again == state), "{again:?} instead of {state:?}");
    Ok(state)
}

/// Reads `bytes` as the tombstones of block 1.
///
/// # Errors
/// Why they cannot be read.
pub(crate) fn tombstones(bytes: Vec<u8>, generation: u64) -> Result<Tombstones, String> {
    let path = Path::new(DATA_DIR).join("0000000000000001.1.tomb");
    let fs = alone(&path, bytes);
    Tombstones::read(&fs, &path, 1, generation).map_err(|error| error.to_string())
}

/// Writes tombstones of block 1 and reads them again.
///
/// # Errors
/// Why they cannot be read.
pub(crate) fn rewritten(tombstones: &Tombstones) -> Result<Tombstones, String> {
    let path = Path::new(DATA_DIR).join("0000000000000001.2.tomb");
    let fs = alone(&path, Vec::new());
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    tombstones.write(&shared, &path).map_err(|error| error.to_string())?;
    let bytes = fs.read(&path).map_err(|error| error.to_string())?;
    self::tombstones(bytes, tombstones.generation())
}

//! Blocks: what is written is read, and damage is told.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::format::{
    HEADER_BYTES, PAGE_BYTES, Section, SectionEntry, TAIL_BYTES, decode_footer, encode_footer,
};
use super::reader::{BlockOpenError, BlockReader, ChunkView};
use super::writer::{BlockIdentity, BlockMeta, BlockWriteError, BlockWriter, ChunkInput};
use crate::fs::FileSystem;
use crate::fs::disk::Disk;
use crate::model::{LabelSet, MatchOp, Matcher, TenantId, TimeRange};
use crate::read::ReadError;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chunk {
    min_ms: i64,
    max_ms: i64,
    sample_count: u32,
    timestamps: Vec<u8>,
    values: Vec<u8>,
}

type Series = Vec<(LabelSet, Vec<Chunk>)>;

fn disk() -> Arc<dyn FileSystem> {
    Arc::new(Disk)
}

fn identity() -> BlockIdentity {
    BlockIdentity { id: 0xabc, tenant: TenantId::new("team-a").unwrap() }
}

fn add_all(writer: &mut BlockWriter, series: &Series) {
    for (labels, chunks) in series {
        let inputs: Vec<ChunkInput<'_>> = chunks
            .iter()
            .map(|chunk| ChunkInput {
                min_ms: chunk.min_ms,
                max_ms: chunk.max_ms,
                sample_count: chunk.sample_count,
                timestamps: &chunk.timestamps,
                values: &chunk.values,
            })
            .collect();
        writer.add_series(labels, &inputs);
    }
}

fn write(directory: &Path, series: &Series, is_streaming: bool) -> BlockMeta {
    let mut writer = match is_streaming {
        true => BlockWriter::streaming(&disk(), identity(), directory).unwrap(),
        false => BlockWriter::new(&disk(), identity()),
    };
    add_all(&mut writer, series);
    writer.finish(directory).unwrap()
}

fn open(directory: &Path) -> Result<BlockReader, BlockOpenError> {
    BlockReader::open(&Disk, &directory.join("0000000000000abc.mtb"))
}

fn read_chunk(block: &BlockReader, chunk: &ChunkView) -> Result<Chunk, ReadError> {
    Ok(Chunk {
        min_ms: chunk.min_ms,
        max_ms: chunk.max_ms,
        sample_count: chunk.sample_count,
        timestamps: block.timestamps(chunk)?.to_vec(),
        values: block.values(chunk)?.to_vec(),
    })
}

fn read_series(block: &BlockReader, id: u32, range: TimeRange) -> Result<(LabelSet, Vec<Chunk>), ReadError> {
    let mut views = Vec::new();
    block.chunks(id, range, &mut views)?;
    let chunks = views.iter().map(|view| read_chunk(block, view)).collect::<Result<_, _>>()?;
    Ok((block.labels(id)?, chunks))
}

fn read_all(block: &BlockReader) -> Result<Series, ReadError> {
    (0..block.meta().series_count).map(|id| read_series(block, id, TimeRange::ALL)).collect()
}

/// Everything a block can be asked, for comparing two of them.
#[derive(Debug, PartialEq)]
struct Answers {
    meta: BlockMeta,
    series: Result<Series, ReadError>,
    selections: Vec<Result<RoaringBitmap, ReadError>>,
    lists: Vec<Result<Vec<String>, ReadError>>,
}

impl Answers {
    fn of(block: &BlockReader) -> Self {
        let matchers = [
            Matcher::equal("a", "x"),
            Matcher::new(MatchOp::Regex, "b", "v.*[13]").unwrap(),
            Matcher::new(MatchOp::NotEqual, "c", "").unwrap(),
            Matcher::new(MatchOp::NotRegex, "b", "v1|v2|").unwrap(),
        ];
        let some = RoaringBitmap::from_iter([0, 2]);
        Self {
            meta: block.meta().clone(),
            series: read_all(block),
            selections: matchers.iter().map(|m| block.select(std::slice::from_ref(m))).collect(),
            lists: vec![
                block.label_names(None),
                block.label_names(Some(&some)),
                block.label_values("b", None),
                block.label_values("b", Some(&some)),
            ],
        }
    }

    /// Returns whether every answer is that of `whole` or an error.
    fn is_true_to(&self, whole: &Self) -> bool {
        fn agrees<T: PartialEq>(found: &Result<T, ReadError>, whole: &Result<T, ReadError>) -> bool {
            found.is_err() || found == whole
        }
        self.meta == whole.meta
            && agrees(&self.series, &whole.series)
            && self.selections.iter().zip(&whole.selections).all(|(found, whole)| agrees(found, whole))
            && self.lists.iter().zip(&whole.lists).all(|(found, whole)| agrees(found, whole))
    }
}

fn any_series() -> impl Strategy<Value = Series> {
    let bytes = proptest::collection::vec(0_u8..4, 0..4);
    let chunk =
        (1_i64..1000, 0_i64..1000, 1_u32..500, bytes.clone(), proptest::collection::vec(any::<u8>(), 0..60));
    let labels = proptest::collection::btree_map("[abc]|ü", "v[0-9]{1,2}|x|ü.?", 0..4);
    let one = (labels, proptest::collection::vec(chunk, 0..5));
    (proptest::collection::vec(one, 1..60), -5000_i64..5000).prop_map(|(series, start_ms)| {
        let mut found = std::collections::BTreeMap::new();
        for (labels, chunks) in series {
            let labels = LabelSet::from_pairs(labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap();
            let mut next_ms = start_ms;
            let chunks: Vec<Chunk> = chunks
                .into_iter()
                .map(|(gap_ms, span_ms, sample_count, timestamps, values)| {
                    let min_ms = next_ms + gap_ms;
                    next_ms = min_ms + span_ms;
                    Chunk { min_ms, max_ms: next_ms, sample_count, timestamps, values }
                })
                .collect();
            found.insert(labels, chunks);
        }
        found.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_is_read(
        series in any_series(),
        is_streaming: bool,
        start_ms in -6000_i64..6000,
        span_ms in 0_i64..6000,
    ) {
        let directory = tempfile::tempdir().unwrap();
        if series.iter().all(|(_, chunks)| chunks.is_empty()) {
            let mut writer = BlockWriter::new(&disk(), identity());
            add_all(&mut writer, &series);
            prop_assert!(matches!(writer.finish(directory.path()), Err(BlockWriteError::Empty)));
            prop_assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
            return Ok(());
        }
        let meta = write(directory.path(), &series, is_streaming);
        let block = open(directory.path()).unwrap();
        prop_assert_eq!(block.meta(), &meta);
        let chunks = || series.iter().flat_map(|(_, chunks)| chunks);
        prop_assert_eq!(Some(meta.min_ms), chunks().map(|chunk| chunk.min_ms).min());
        prop_assert_eq!(Some(meta.max_ms), chunks().map(|chunk| chunk.max_ms).max());
        prop_assert_eq!(meta.sample_count, chunks().map(|chunk| u64::from(chunk.sample_count)).sum::<u64>());
        prop_assert_eq!(meta.chunk_count, chunks().count() as u64);
        prop_assert_eq!(&read_all(&block).unwrap(), &series);

        let range = TimeRange::new(start_ms, start_ms + span_ms);
        for (id, (labels, chunks)) in series.iter().enumerate() {
            let inside: Vec<Chunk> = chunks
                .iter()
                .filter(|chunk| !range.is_empty() && range.overlaps_span(chunk.min_ms, chunk.max_ms))
                .cloned()
                .collect();
            prop_assert_eq!(read_series(&block, id as u32, range).unwrap(), (labels.clone(), inside));
        }
        prop_assert!(block.labels(meta.series_count).is_err());
        prop_assert!(block.chunks(meta.series_count, TimeRange::ALL, &mut Vec::new()).is_err());
    }

    #[test]
    fn chunks_share_a_column_exactly_if_it_is_equal(series in any_series()) {
        let directory = tempfile::tempdir().unwrap();
        prop_assume!(series.iter().any(|(_, chunks)| !chunks.is_empty()));
        write(directory.path(), &series, false);
        let block = open(directory.path()).unwrap();
        let mut views = Vec::new();
        (0..block.meta().series_count).for_each(|id| block.chunks(id, TimeRange::ALL, &mut views).unwrap());
        let column = |view: &ChunkView| {
            (view.min_ms, view.max_ms, view.sample_count, block.timestamps(view).unwrap().to_vec())
        };
        for left in &views {
            for right in &views {
                prop_assert_eq!(left.timestamps_id == right.timestamps_id, column(left) == column(right));
            }
        }
    }
}

fn small_series() -> Series {
    (0..20_i64)
        .map(|number| {
            let value = format!("v{number:02}");
            let mut pairs = vec![("a", if number < 7 { "x" } else { "y" }), ("b", value.as_str())];
            if number % 3 == 0 {
                pairs.push(("c", "z"));
            }
            let chunks = (0..2)
                .map(|part| Chunk {
                    min_ms: part * 1000,
                    max_ms: part * 1000 + 900,
                    sample_count: 10,
                    timestamps: vec![part as u8; 5],
                    values: vec![number as u8; 9],
                })
                .collect();
            (LabelSet::from_pairs(pairs).unwrap(), chunks)
        })
        .collect()
}

#[test]
fn every_flipped_byte_is_told_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &small_series(), false);
    let path = directory.path().join("0000000000000abc.mtb");
    let bytes = std::fs::read(&path).unwrap();
    let whole = Answers::of(&open(directory.path()).unwrap());
    assert_eq!(whole.series.as_ref().unwrap(), &small_series());
    for position in 0..bytes.len() {
        for flip in [0x01, 0x80] {
            let mut damaged = bytes.clone();
            damaged[position] ^= flip;
            // A file that may be mapped is never changed in place, not even here.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &damaged).unwrap();
            if let Ok(block) = open(directory.path()) {
                assert!(Answers::of(&block).is_true_to(&whole), "byte {position} of {}", bytes.len());
            }
        }
    }
}

/// Makes all checksums of a small block fit its bytes again.
fn forge_checksums(bytes: &mut Vec<u8>, footer_offset: usize, entries: &[SectionEntry]) {
    let range = |entry: &SectionEntry| entry.offset as usize..(entry.offset + entry.length) as usize;
    let mut entries = entries.to_vec();
    let page = crate::coding::crc32c(&bytes[range(&entries[Section::Chunks.position()])]);
    let pages = range(&entries[Section::Pages.position()]);
    bytes[pages].copy_from_slice(&page.to_le_bytes());
    for entry in entries.iter_mut().skip(1) {
        entry.checksum = crate::coding::crc32c(&bytes[range(entry)]);
    }
    let header = crate::coding::crc32c(&bytes[..HEADER_BYTES - 4]).to_le_bytes();
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&header);
    bytes.truncate(footer_offset);
    bytes.extend(encode_footer(&entries, footer_offset as u64));
}

#[test]
fn damage_behind_fitting_checksums_never_panics() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &small_series(), false);
    let path = directory.path().join("0000000000000abc.mtb");
    let bytes = std::fs::read(&path).unwrap();
    let (footer_offset, entries) = decode_footer(&bytes).unwrap();
    let mut refused_count = 0;
    for position in 4..bytes.len() - TAIL_BYTES {
        for flip in [0x01, 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= flip;
            forge_checksums(&mut damaged, footer_offset, &entries);
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &damaged).unwrap();
            match open(directory.path()) {
                Ok(block) => drop(Answers::of(&block)),
                Err(_) => refused_count += 1,
            }
        }
    }
    assert!(refused_count > 100, "structure is checked, not only checksums: {refused_count}");
}

#[test]
fn damage_names_path_section_and_offset() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &small_series(), false);
    let path = directory.path().join("0000000000000abc.mtb");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[70] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = read_all(&open(directory.path()).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "corrupt block {}: section CHUNKS at byte 64 of the file: checksum of the page differs",
            path.display()
        )
    );
}

#[test]
fn a_block_cut_or_grown_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &small_series(), false);
    let path = directory.path().join("0000000000000abc.mtb");
    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(open(directory.path()).is_err(), "cut at {length}");
    }
    std::fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
    assert!(matches!(open(directory.path()), Err(BlockOpenError::Length { .. })));
}

#[test]
fn other_files_and_versions_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("0000000000000abc.mtb");
    assert!(matches!(open(directory.path()), Err(BlockOpenError::Io { .. })));
    std::fs::write(&path, [7; 500]).unwrap();
    assert!(matches!(open(directory.path()), Err(BlockOpenError::NotABlock { .. })));
    std::fs::remove_file(&path).unwrap();
    write(directory.path(), &small_series(), false);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4] = 9;
    let checksum = crate::coding::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&checksum);
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(directory.path()), Err(BlockOpenError::Version { found: 9, .. })));
}

#[test]
fn chunks_larger_than_pages_are_read_and_only_their_pages_checked() {
    let series: Series = (0..3_u8)
        .map(|number| {
            let label = number.to_string();
            let chunk = Chunk {
                min_ms: 0,
                max_ms: 10,
                sample_count: 5,
                timestamps: vec![1],
                values: (0..PAGE_BYTES * 2).map(|position| (position as u8).wrapping_mul(number)).collect(),
            };
            (LabelSet::from_pairs([("a", label.as_str())]).unwrap(), vec![chunk])
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    for is_streaming in [false, true] {
        write(directory.path(), &series, is_streaming);
        assert_eq!(read_all(&open(directory.path()).unwrap()).unwrap(), series);
    }
    let path = directory.path().join("0000000000000abc.mtb");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[64 + PAGE_BYTES * 5] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let block = open(directory.path()).unwrap();
    assert_eq!(read_series(&block, 0, TimeRange::ALL).unwrap(), series[0]);
    assert!(matches!(read_series(&block, 2, TimeRange::ALL), Err(ReadError::CorruptBlock { .. })));
}

#[test]
fn an_abandoned_block_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = BlockWriter::streaming(&disk(), identity(), directory.path()).unwrap();
    add_all(&mut writer, &small_series());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    drop(writer);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_span_that_does_not_fit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut series = small_series();
    series[3].1[1].max_ms = i64::from(u32::MAX) + 1;
    let mut writer = BlockWriter::new(&disk(), identity());
    add_all(&mut writer, &series);
    assert!(matches!(writer.finish(directory.path()), Err(BlockWriteError::SpanTooLong { .. })));
}

#[test]
fn a_block_is_read_from_many_threads_and_after_its_file_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &small_series(), false);
    let block = open(directory.path()).unwrap();
    std::fs::remove_file(block.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(read_all(&block).unwrap(), small_series()));
        }
    });
}

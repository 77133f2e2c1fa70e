//! A door for `benches/index.rs` into the private rooms `index` and `block`. Not for anything else.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::layout::block_file_name;
use super::reader::BlockReader;
use super::writer::{BlockIdentity, BlockWriter, ChunkInput};
use crate::fs::FileSystem;
use crate::fs::disk::Disk;
use crate::index::memory::MemoryIndex;
use crate::model::{LabelSet, Matcher, TenantId, TimeRange};

/// The same series in the index of the head and in a block.
#[derive(Debug)]
pub struct IndexDoor {
    memory: MemoryIndex,
    block: BlockReader,
    path: PathBuf,
}

fn disk() -> Arc<dyn FileSystem> {
    Arc::new(Disk)
}

const FAILED: &str = "the bench's own block is whole";

#[expect(clippy::expect_used, reason = "a bench has nobody to report an error to")]
impl IndexDoor {
    /// Indexes `series` in the order given, and writes them sorted into a block with `chunk_count` chunks each.
    /// Every 60 neighbours share their timestamps.
    pub fn new(series: &[LabelSet], chunk_count: usize, directory: &Path) -> Self {
        let identity = BlockIdentity { id: 1, tenant: TenantId::anonymous() };
        let mut sorted = series.to_vec();
        sorted.sort();
        let mut writer = BlockWriter::streaming(&disk(), identity, directory).expect(FAILED);
        for (position, labels) in sorted.iter().enumerate() {
            let timestamps: Vec<[u8; 10]> = (0..chunk_count)
                .map(|part| {
                    [
                        (part % 251) as u8,
                        (position / 60) as u8,
                        (position / 15_360) as u8,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                        0,
                    ]
                })
                .collect();
            let chunks: Vec<ChunkInput<'_>> = timestamps
                .iter()
                .enumerate()
                .map(|(part, timestamps)| ChunkInput {
                    min_ms: part as i64 * 7_200_000,
                    max_ms: part as i64 * 7_200_000 + 7_185_000,
                    sample_count: 480,
                    timestamps,
                    values: &[7; 400],
                })
                .collect();
            writer.add_series(labels, &chunks);
        }
        writer.finish(directory).expect(FAILED);
        let path = directory.join(block_file_name(1));
        let block = BlockReader::open(&Disk, &path).expect(FAILED);
        Self { memory: Self::memory(series), block, path }
    }

    fn memory(series: &[LabelSet]) -> MemoryIndex {
        let mut memory = MemoryIndex::default();
        for labels in series {
            memory.find_or_insert(labels);
        }
        memory
    }

    /// Indexes `series` as the head does; returns how many there are.
    pub fn insert_all(series: &[LabelSet]) -> usize {
        Self::memory(series).series_count()
    }

    /// How many series of the head match.
    pub fn select_in_memory(&self, matchers: &[Matcher]) -> u64 {
        self.memory.select(matchers).len()
    }

    /// How many series of the block match.
    pub fn select_in_block(&self, matchers: &[Matcher]) -> u64 {
        self.block.select(matchers).expect(FAILED).len()
    }

    /// Opens the block anew; returns its series.
    pub fn open(&self) -> u32 {
        BlockReader::open(&Disk, &self.path).expect(FAILED).meta().series_count
    }

    /// Reads the label sets of the matching series; returns their bytes.
    pub fn read_labels(&self, matchers: &[Matcher]) -> usize {
        let series = self.block.select(matchers).expect(FAILED);
        series.iter().map(|id| self.block.labels(id).expect(FAILED).encoded().len()).sum()
    }

    /// Reads the chunk entries of the matching series; returns how many there are.
    pub fn read_chunks(&self, matchers: &[Matcher]) -> usize {
        let series = self.block.select(matchers).expect(FAILED);
        let mut chunks = Vec::new();
        let mut count = 0;
        for id in series {
            chunks.clear();
            self.block.chunks(id, TimeRange::ALL, &mut chunks).expect(FAILED);
            count += chunks.len();
        }
        count
    }

    /// How many values label `name` has in the matching series of the block.
    pub fn label_values(&self, name: &str, matchers: &[Matcher]) -> usize {
        let series = self.block.select(matchers).expect(FAILED);
        self.block.label_values(name, Some(&series)).expect(FAILED).len()
    }

    /// Name and length of every section of the block.
    pub fn section_bytes(&self) -> Vec<(&'static str, u64)> {
        self.block.section_bytes().collect()
    }
}

//! The head: the newest samples, in memory, readable at once.
//!
//! [`SeriesTable`] knows which series a tenant has (identity and index).
//! [`Generation`] holds samples by series reference and the table that the references are of; a flush freezes the
//! active generation, writes it to blocks and drops it, so a query that still holds it reads on undisturbed.
//! Generations share a table until [`Collector`] finds that too many of its series are dead: the next generation
//! then begins with a table of the live ones.
//! Not here: durability (see `wal`), when to flush (see `engine`).

mod collect;
mod exemplars;
mod flush;
mod generation;
mod histograms;
mod keys;
mod late;
mod mixed;
mod replay;
mod series;
mod stream;
mod table;

pub(crate) use collect::Collector;
pub(crate) use flush::{FlushError, write_blocks};
pub(crate) use generation::{Generation, SampleRuns};
pub(crate) use histograms::{HISTOGRAM_CHUNK_SAMPLE_COUNT, HistogramRows, seal_histograms};
pub(crate) use late::sort_late;
pub(crate) use mixed::MixedSamples;
pub(crate) use replay::{HeadReplay, ReplayedTenant};
pub(crate) use series::{Codec, HeadPieces, SealedChunk, decode_micro};
pub(crate) use stream::decode_stream;
pub(crate) use table::{Resolution, SeriesTable};

/// Samples of a full chunk: the middle ground between size (longer is smaller) and the cost of short ranges.
pub(crate) const CHUNK_SAMPLE_COUNT: usize = 480;
/// Locks that share the series of one generation.
const SHARD_COUNT: usize = 16;
/// So many series are read ahead together: about as many as a core waits for at a time.
const TOUCH_COUNT: usize = 16;

/// Takes what was read ahead, so that the compiler does not leave the reading out.
#[inline]
fn read_ahead<T: Default + std::ops::BitXor<Output = T>>(touched: impl Iterator<Item = T>) {
    std::hint::black_box(touched.fold(T::default(), T::bitxor));
}

//! The id bytes of chunks: which encoding, and its few bits of parameters.
//!
//! Not here: what follows the id byte (each encoding's file).
//! Format: `docs/format/chunk.md`.

/// Most samples one chunk may hold.
pub const SAMPLE_COUNT_MAX: usize = 8192;

/// Bits 0-1 of a value chunk's id: how integers follow each other, or [`CONSTANT`].
pub(super) const TRANSFORM_MASK: u8 = 0b0011;
/// In the place of a transform: one value for all samples.
pub(super) const CONSTANT: u8 = 0b0011;
/// Bit 2: a greatest common divisor follows.
pub(super) const HAS_DIVISOR: u8 = 0b0100;
/// Bit 3: a list of exceptions follows. With [`CONSTANT`], bits 2 and 3 mean other encodings.
pub(super) const HAS_EXCEPTIONS: u8 = 0b1000;
/// The bits of an id that belong to an integer column.
pub(super) const INTEGER_ID_BITS: u8 = TRANSFORM_MASK | HAS_DIVISOR;
/// Bits 4-7: the decimal exponent 0 to 14, or [`FLOAT_BITS`].
pub(super) const EXPONENT_SHIFT: u32 = 4;
/// In the place of an exponent: integers are the order-preserving bits of the floats.
pub(super) const FLOAT_BITS: u8 = 15;

/// In the place of transform and divisor: a paged column under a prefix code. Bit 3 says as ever whether exceptions follow.
pub(super) const PAGED: u8 = CONSTANT | HAS_DIVISOR;
/// Value chunk of native histograms: [`CONSTANT`] with [`HAS_EXCEPTIONS`], exponent 0.
pub(super) const HISTOGRAM: u8 = CONSTANT | HAS_EXCEPTIONS;
/// Start times of a chunk of floats, then that chunk: [`CONSTANT`] with [`HAS_EXCEPTIONS`], exponent 1.
pub(super) const STARTS: u8 = 1 << EXPONENT_SHIFT | HISTOGRAM;
/// Bit 0 of a histogram chunk's flags: counts are integers.
pub(super) const HISTOGRAM_IS_INTEGER: u8 = 0b01;
/// Most samples times columns of a histogram chunk: bounds what its decoder allocates.
pub(super) const HISTOGRAM_CELL_COUNT_MAX: usize = 1 << 20;

/// Timestamp chunk: first timestamp and step, then what bits 0 and 1 announce.
pub(super) const TIMESTAMPS_GRID: u8 = 0x00;
/// Bit 0 of a grid: a column of skipped grid points follows.
pub(super) const GRID_HAS_SKIPS: u8 = 0b01;
/// Bit 1 of a grid: a column of distances from the grid follows.
pub(super) const GRID_HAS_RESIDUALS: u8 = 0b10;
/// Timestamp chunk: one column of integers; bits 0-2 as in a value chunk.
pub(super) const TIMESTAMPS_INTEGERS: u8 = 0x10;

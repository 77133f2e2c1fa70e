//! Numbers as a prefix code: small ones are symbols of their own, of larger ones the magnitude is, with bits behind it.
//!
//! A number becomes a *token*: up to 63 the number itself; above, its binary order of magnitude and the two bits after
//! the leading one, the bits below those being kept apart, raw. Tokens have canonical prefix codes of at most
//! [`CODE_BITS_MAX`] bits, in four interleaved streams: token `i` is in stream `i % 4`, so that a processor decodes
//! four at a time. Format: `docs/format/chunk.md`.

use super::error::ChunkError;
use crate::coding::{Cursor, put_uvarint};

/// Longest code.
pub(super) const CODE_BITS_MAX: u32 = 11;
const TABLE_SIZE: usize = 1 << CODE_BITS_MAX;
/// Streams of a run.
const STREAM_COUNT: usize = 4;
/// Numbers below this are tokens of their own.
const DIRECT_COUNT: u64 = 64;
const DIRECT_BITS: u32 = DIRECT_COUNT.trailing_zeros();
/// Bits after the leading one that are part of a token.
const FRACTION_BITS: u32 = 2;
/// Numbers of so many bits and more are not coded: their raw bits and seven bits of misalignment fill one load.
const NUMBER_BITS_MAX: u32 = 58;
/// How many tokens there are.
const TOKEN_COUNT: usize =
    DIRECT_COUNT as usize + (((NUMBER_BITS_MAX - DIRECT_BITS) as usize) << FRACTION_BITS);
/// A load reads so many bytes.
const LOAD_BYTES: usize = 8;
/// Tokens of a stream that one load gives.
const TOKENS_PER_LOAD: usize = 4;
/// Tokens decoded together.
const GROUP: usize = STREAM_COUNT * TOKENS_PER_LOAD;

/// Nibbles of the list of code lengths from here on are runs of unused tokens.
const RUN_NIBBLE: u8 = 12;

/// The token of a number, and how many raw bits follow; none if the number is too large.
#[inline]
fn token_of(number: u64) -> Option<(usize, u32)> {
    if number < DIRECT_COUNT {
        return Some((number as usize, 0));
    }
    let log = number.ilog2();
    if log >= NUMBER_BITS_MAX {
        return None;
    }
    let raw_bits = log - FRACTION_BITS;
    let fraction = (number >> raw_bits) as usize & ((1 << FRACTION_BITS) - 1);
    let token = DIRECT_COUNT as usize + (((log - DIRECT_BITS) as usize) << FRACTION_BITS) + fraction;
    Some((token, raw_bits))
}

/// By token: its smallest number, and how many raw bits are added to that.
static NUMBERS: [(u64, u32); TOKEN_COUNT] = {
    let mut numbers = [(0, 0); TOKEN_COUNT];
    let mut token = 0;
    while token < TOKEN_COUNT {
        numbers[token] = if token < DIRECT_COUNT as usize {
            (token as u64, 0)
        } else {
            let above = token - DIRECT_COUNT as usize;
            let raw_bits = DIRECT_BITS - FRACTION_BITS + (above >> FRACTION_BITS) as u32;
            let leading = (1 << FRACTION_BITS) | (above & ((1 << FRACTION_BITS) - 1));
            ((leading as u64) << raw_bits, raw_bits)
        };
        token += 1;
    }
    numbers
};

/// A prefix code for a set of numbers; the writing side.
#[derive(Debug)]
pub(super) struct CodeWriter {
    lengths: [u8; TOKEN_COUNT],
    codes: [u16; TOKEN_COUNT],
}

impl CodeWriter {
    /// Makes the code for `numbers`; `None` if one is too large.
    pub(super) fn new(numbers: impl Iterator<Item = u64>) -> Option<Self> {
        let mut counts = [0_u32; TOKEN_COUNT];
        for number in numbers {
            counts[token_of(number)?.0] += 1;
        }
        let lengths = code_lengths(&counts);
        Some(Self { lengths, codes: canonical_codes(&lengths) })
    }

    /// Appends the list of code lengths.
    pub(super) fn write_table(&self, out: &mut Vec<u8>) {
        let used = self.lengths.iter().rposition(|&length| length > 0).map_or(0, |last| last + 1);
        let mut nibbles = Vec::with_capacity(used);
        let mut at = 0;
        while at < used {
            let zeros = self.lengths[at..used].iter().take_while(|&&length| length == 0).count();
            // Runs of 4, 8, 16 and 32.
            match (0..4).rev().find(|step| zeros >= 4 << step) {
                Some(step) => {
                    nibbles.push(RUN_NIBBLE + step as u8);
                    at += 4 << step;
                }
                None => {
                    nibbles.push(self.lengths[at]);
                    at += 1;
                }
            }
        }
        put_uvarint(out, nibbles.len() as u64);
        out.extend(nibbles.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4)));
    }

    /// Appends a run of numbers, all among those the code was made for.
    pub(super) fn write_run(&self, numbers: impl Iterator<Item = u64> + Clone, out: &mut Vec<u8>) {
        let mut streams: [BitWriter; STREAM_COUNT] = Default::default();
        let mut raw = BitWriter::default();
        for (index, number) in numbers.enumerate() {
            let Some((token, raw_bits)) = token_of(number) else { continue };
            streams[index % STREAM_COUNT].put(u64::from(self.codes[token]), u32::from(self.lengths[token]));
            raw.put(number & ((1 << raw_bits) - 1), raw_bits);
        }
        let streams = streams.map(BitWriter::finish);
        streams.iter().for_each(|stream| put_uvarint(out, stream.len() as u64));
        streams.iter().for_each(|stream| out.extend_from_slice(stream));
        out.extend_from_slice(&raw.finish());
    }
}

/// Bits, lowest first.
#[derive(Debug, Default)]
struct BitWriter {
    bytes: Vec<u8>,
    word: u64,
    bit_count: u32,
}

impl BitWriter {
    /// Appends the `count` (at most 56) low bits; the others are zero.
    fn put(&mut self, bits: u64, count: u32) {
        self.word |= bits << self.bit_count;
        self.bit_count += count;
        while self.bit_count >= 8 {
            self.bytes.push(self.word as u8);
            self.word >>= 8;
            self.bit_count -= 8;
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.bit_count > 0 {
            self.bytes.push(self.word as u8);
        }
        self.bytes
    }
}

/// Lengths of the codes that make the counted tokens shortest in sum, none above [`CODE_BITS_MAX`]; 0 = no code.
fn code_lengths(counts: &[u32; TOKEN_COUNT]) -> [u8; TOKEN_COUNT] {
    let mut counts = *counts;
    loop {
        let lengths = unlimited_code_lengths(&counts);
        if lengths.iter().all(|&length| u32::from(length) <= CODE_BITS_MAX) {
            return lengths;
        }
        // Flatter counts have shorter longest codes; at last all are equal, and there are fewer than 2^11 tokens.
        counts.iter_mut().filter(|count| **count > 0).for_each(|count| *count = count.div_ceil(2));
    }
}

fn unlimited_code_lengths(counts: &[u32; TOKEN_COUNT]) -> [u8; TOKEN_COUNT] {
    let mut lengths = [0; TOKEN_COUNT];
    let mut leaves: Vec<(u32, usize)> =
        (0..TOKEN_COUNT).filter(|&token| counts[token] > 0).map(|token| (counts[token], token)).collect();
    leaves.sort_unstable();
    if let [(_, token)] = leaves[..] {
        lengths[token] = 1;
        return lengths;
    }
    // Nodes in the order in which they are made: leaves first, then pairs, each list ascending by count.
    let leaf_count = leaves.len();
    let mut node_counts: Vec<u64> = leaves.iter().map(|(count, _)| u64::from(*count)).collect();
    let mut parents = vec![0_usize; 2 * leaf_count];
    let (mut next_leaf, mut next_pair) = (0, leaf_count);
    for node in leaf_count..(2 * leaf_count).saturating_sub(1) {
        let mut take = || {
            let takes_leaf = next_leaf < leaf_count
                && (next_pair >= node || node_counts[next_leaf] <= node_counts[next_pair]);
            let taken = if takes_leaf { &mut next_leaf } else { &mut next_pair };
            *taken += 1;
            *taken - 1
        };
        let (one, other) = (take(), take());
        node_counts.push(node_counts[one] + node_counts[other]);
        (parents[one], parents[other]) = (node, node);
    }
    let mut depths = vec![0_u8; 2 * leaf_count];
    for node in (0..(2 * leaf_count).saturating_sub(2)).rev() {
        depths[node] = depths[parents[node]].saturating_add(1);
    }
    for ((_, token), depth) in leaves.iter().zip(depths) {
        lengths[*token] = depth;
    }
    lengths
}

/// Codes by length, then by token, their first bit the lowest.
fn canonical_codes(lengths: &[u8; TOKEN_COUNT]) -> [u16; TOKEN_COUNT] {
    let mut counts = [0_u16; 1 << LENGTH_BITS];
    lengths.iter().for_each(|&length| counts[usize::from(length) % counts.len()] += 1);
    let mut next = [0_u16; 1 << LENGTH_BITS];
    for length in 2..next.len() {
        next[length] = (next[length - 1] + counts[length - 1]) << 1;
    }
    let mut codes = [0; TOKEN_COUNT];
    for (code, &length) in codes.iter_mut().zip(lengths).filter(|(_, length)| **length > 0) {
        let length = usize::from(length) % next.len();
        *code = next[length].reverse_bits() >> (16 - length);
        next[length] = next[length].wrapping_add(1);
    }
    codes
}

/// Decodes runs; keeps its memory.
#[derive(Debug)]
pub(super) struct CodeReader {
    /// By the next bits of a stream: token and length of its code, `token << 4 | length`.
    table: Box<[u16; TABLE_SIZE]>,
    /// Whether tokens above the direct ones occur.
    has_raw_bits: bool,
    padded: Vec<u8>,
    tokens: Vec<u16>,
    numbers: Vec<u64>,
}

impl Default for CodeReader {
    fn default() -> Self {
        Self {
            table: Box::new([0; TABLE_SIZE]),
            has_raw_bits: false,
            padded: Vec::new(),
            tokens: Vec::new(),
            numbers: Vec::new(),
        }
    }
}

const LENGTH_BITS: u32 = 4;
const LENGTH_MASK: u16 = (1 << LENGTH_BITS) - 1;

impl CodeReader {
    /// Reads the list of code lengths.
    ///
    /// # Errors
    /// [`ChunkError`] if it is no complete prefix code.
    pub(super) fn read_table(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ChunkError> {
        let nibble_count = cursor.uvarint()?;
        if nibble_count == 0 || nibble_count > TOKEN_COUNT as u64 {
            return Err(cursor.error("impossible number of code lengths").into());
        }
        let bytes = cursor.take((nibble_count as usize).div_ceil(2))?;
        let nibbles = bytes.iter().flat_map(|byte| [byte & 0x0f, byte >> 4]).take(nibble_count as usize);
        let mut lengths = [0; TOKEN_COUNT];
        let mut token = 0;
        for nibble in nibbles {
            if nibble >= RUN_NIBBLE {
                token += 4 << (nibble - RUN_NIBBLE);
                continue;
            }
            match lengths.get_mut(token) {
                Some(length) => *length = nibble,
                None => return Err(cursor.error("code of a token that does not exist").into()),
            }
            token += 1;
        }
        self.fill_table(&lengths).ok_or_else(|| cursor.error("code lengths are no prefix code").into())
    }

    fn fill_table(&mut self, lengths: &[u8; TOKEN_COUNT]) -> Option<()> {
        let mut counts = [0_usize; CODE_BITS_MAX as usize + 1];
        let mut last = 0;
        for (token, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            *counts.get_mut(usize::from(length))? += 1;
            last = token;
        }
        self.has_raw_bits = last >= DIRECT_COUNT as usize;
        let entry = |token: usize, length: u8| (token as u16) << LENGTH_BITS | u16::from(length);
        if counts.iter().sum::<usize>() == 1 {
            self.table.fill(entry(last, *lengths.get(last)?));
            return Some(());
        }
        let filled: usize = counts
            .iter()
            .enumerate()
            .skip(1)
            .map(|(length, count)| count << (CODE_BITS_MAX as usize - length))
            .sum();
        if filled != TABLE_SIZE {
            return None;
        }
        // Tokens by length of their codes, by counting.
        let mut starts = [0_usize; CODE_BITS_MAX as usize + 2];
        for length in 1..=CODE_BITS_MAX as usize {
            starts[length + 1] = starts[length] + counts[length];
        }
        let mut sorted = [0_u16; TOKEN_COUNT];
        let mut next = starts;
        for (token, &length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
            let at = &mut next[usize::from(length)];
            sorted[*at % TOKEN_COUNT] = token as u16;
            *at += 1;
        }
        let codes = canonical_codes(lengths);
        // Codes of a length repeat after as many slots as there are numbers of that length.
        for length in 1..=CODE_BITS_MAX as usize {
            let half = 1 << (length - 1);
            self.table.copy_within(..half, half);
            for &token in &sorted[starts[length]..starts[length + 1]] {
                let token = usize::from(token);
                self.table[usize::from(codes[token]) % TABLE_SIZE] = entry(token, length as u8);
            }
        }
        Some(())
    }

    /// Decodes a run of `count` numbers that fills `bytes`.
    ///
    /// # Errors
    /// [`ChunkError`] if the bytes are no such run.
    pub(super) fn read_run(
        &mut self,
        bytes: &[u8],
        offset: usize,
        count: usize,
    ) -> Result<&[u64], ChunkError> {
        let damaged = ChunkError::PrefixCode { offset };
        let mut cursor = Cursor::new(bytes);
        let mut ends = [0_usize; STREAM_COUNT];
        for end in &mut ends {
            *end = cursor.count(1).map_err(|_| damaged)?;
        }
        let mut start = cursor.offset();
        let mut positions = [0_usize; STREAM_COUNT];
        for (position, end) in positions.iter_mut().zip(&mut ends) {
            *position = start * 8;
            start = start.saturating_add(*end);
            *end = start;
        }
        if start > bytes.len() {
            return Err(damaged);
        }
        self.padded.clear();
        self.padded.extend_from_slice(bytes);
        self.padded.resize(bytes.len() + LOAD_BYTES, 0);
        self.tokens.resize(count.next_multiple_of(GROUP), 0);
        self.read_tokens(&mut positions, count);
        if positions.iter().zip(ends).any(|(position, end)| position.div_ceil(8) != end) {
            return Err(damaged);
        }
        let used_bits = self.make_numbers(start * 8, count);
        if used_bits.div_ceil(8) != bytes.len() {
            return Err(damaged);
        }
        Ok(&self.numbers)
    }

    /// PERF (bench `codec`): four streams side by side, as each token waits for the one before it in its stream.
    fn read_tokens(&mut self, positions: &mut [usize; STREAM_COUNT], count: usize) {
        let (source, table) = (self.padded.as_slice(), &self.table);
        let mut groups = self.tokens.chunks_exact_mut(GROUP);
        let [mut a, mut b, mut c, mut d] = *positions;
        for group in groups.by_ref().take(count / GROUP) {
            let mut words = [load(source, a), load(source, b), load(source, c), load(source, d)];
            let mut lengths = [0_usize; STREAM_COUNT];
            for four in group.chunks_exact_mut(STREAM_COUNT) {
                for ((slot, word), length) in four.iter_mut().zip(&mut words).zip(&mut lengths) {
                    let entry = table[*word as usize % TABLE_SIZE];
                    *slot = entry >> LENGTH_BITS;
                    *word >>= entry & LENGTH_MASK;
                    *length += usize::from(entry & LENGTH_MASK);
                }
            }
            a += lengths[0];
            b += lengths[1];
            c += lengths[2];
            d += lengths[3];
        }
        *positions = [a, b, c, d];
        let rest = self.tokens.iter_mut().take(count).enumerate().skip(count - count % GROUP);
        for (index, slot) in rest {
            let position = &mut positions[index % STREAM_COUNT];
            let entry = table[load(source, *position) as usize % TABLE_SIZE];
            *slot = entry >> LENGTH_BITS;
            *position += usize::from(entry & LENGTH_MASK);
        }
    }

    /// Makes numbers of the tokens; returns the position behind the raw bits.
    fn make_numbers(&mut self, start: usize, count: usize) -> usize {
        self.numbers.resize(count, 0);
        let pairs = self.numbers.iter_mut().zip(&self.tokens);
        if !self.has_raw_bits {
            pairs.for_each(|(number, token)| *number = u64::from(*token));
            return start;
        }
        let source = self.padded.as_slice();
        let mut position = start;
        for (number, token) in pairs {
            // Mostly all tokens are direct but a few jumps, or hardly any is.
            if u64::from(*token) < DIRECT_COUNT {
                *number = u64::from(*token);
                continue;
            }
            let (base, raw_bits) = NUMBERS.get(usize::from(*token)).copied().unwrap_or_default();
            let raw = load(source, position) & ((1 << raw_bits) - 1);
            *number = base + raw;
            position += raw_bits as usize;
        }
        position
    }
}

/// The bits from `position` on, at least 57; zeros behind the end.
#[inline(always)]
fn load(source: &[u8], position: usize) -> u64 {
    let bytes = source.get(position / 8..).and_then(|rest| rest.first_chunk::<LOAD_BYTES>());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes)) >> (position % 8)
}

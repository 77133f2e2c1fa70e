//! The newest samples of one series as bytes, one or two for most samples.
//!
//! Samples come one at a time and in order; each appends an operation that says what changed. When there are enough of
//! them they are decoded and encoded as a chunk. Lives in memory only: no version, no checksum.
//!
//! First sample: time 8, value bits 8. Then per sample a header; its lowest two bits say what follows:
//!
//! | bits 0-1 | meaning | bits 2-7 |
//! |---|---|---|
//! | 0 | as before, and at the same distance | how many times more |
//! | 1 | whole number, some more or less | 2: distance changes; 3-7: zigzag difference, 31 = varint follows |
//! | 2 | other bits | 2: distance changes; 3-5: bytes less one; 6-7: half of the low zero bytes |
//! | 3 | as before, at another distance | zigzag change of the distance, 63 = varint follows |
//!
//! A change of the distance is a zigzag varint after the header, before the value.
//!
//! Kind 3 without a change is the mark of start times. Behind the first sample it says that there are some: 8 bytes
//! follow, the start time of the newest sample. Later it says that the start time changes with the next sample: a
//! varint follows, what it was until now, less the time of the last sample. So the newest one is always at the same
//! place, and a series whose start time never changes takes 9 bytes for it.

use crate::coding::{CodingError, Cursor, put_uvarint, unzigzag, zigzag};
use crate::model::{StartTimes, UNKNOWN_START_MS};

/// Bytes that a stream should not exceed.
pub(crate) const STREAM_BYTES_MAX: usize = 128;
/// Bytes that one more sample may take.
pub(crate) const STREAM_STEP_BYTES_MAX: usize = 21;
/// Bytes that a change of the start time may take beside.
const START_STEP_BYTES_MAX: usize = 11;
/// Memory of a stream of a series that hardly changes.
const SMALL_BYTES: usize = 32;

const REPEAT: u8 = 0;
const WHOLE: u8 = 1;
const BITS: u8 = 2;
const SAME: u8 = 3;
const KIND_BITS: u8 = 0b11;
const HAS_DISTANCE: u8 = 0b100;
/// Header of a repeat that cannot count one more.
const REPEAT_FULL: u8 = 0b1111_1100;
/// One more in the count of a repeat.
const REPEAT_ONE: u8 = 0b100;
/// In bits 3-7: the difference follows.
const WHOLE_ESCAPE: u64 = 31;
/// Header of start times: [`SAME`] without a change.
const START: u8 = SAME;
/// Bytes of the first sample, behind which the newest start time stands, if there is one.
const FIRST_BYTES: usize = 16;
/// The newest start time with its header.
const START_BYTES: usize = 9;
/// In bits 2-7: the change follows.
const SAME_ESCAPE: u64 = 63;
/// Whole numbers beyond are not exact in a float.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Ascending samples as bytes.
#[derive(Debug)]
pub(crate) struct SampleStream {
    bytes: Vec<u8>,
    last_value: f64,
    /// Distance of the last two samples.
    distance_ms: u32,
    sample_count: u16,
    /// Whether the last byte is a repeat that may count one more.
    is_repeating: bool,
    has_starts: bool,
}

impl Default for SampleStream {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            last_value: 0.0,
            distance_ms: 0,
            sample_count: 0,
            is_repeating: false,
            has_starts: false,
        }
    }
}

/// The difference of two whole numbers, if they are.
fn whole_difference(from: f64, to: f64) -> Option<i64> {
    let (whole_from, whole_to) = (from as i64, to as i64);
    let is_whole =
        |float: f64, whole: i64| float.abs() < WHOLE_MAX && (whole as f64).to_bits() == float.to_bits();
    (is_whole(from, whole_from) && is_whole(to, whole_to)).then(|| whole_to - whole_from)
}

impl SampleStream {
    /// How many samples there are.
    pub(crate) fn sample_count(&self) -> usize {
        usize::from(self.sample_count)
    }

    /// The last value, if there is one.
    pub(crate) fn last_value(&self) -> Option<f64> {
        (self.sample_count > 0).then_some(self.last_value)
    }

    /// The start time of the last sample.
    pub(crate) fn last_start_ms(&self) -> i64 {
        let newest = self.bytes.get(FIRST_BYTES + 1..FIRST_BYTES + START_BYTES).filter(|_| self.has_starts);
        newest.map_or(UNKNOWN_START_MS, |bytes| Cursor::new(bytes).i64().unwrap_or(UNKNOWN_START_MS))
    }

    /// The samples as bytes, for [`decode_stream`].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Memory of the bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets all samples, but keeps their memory for the next ones.
    pub(crate) fn restart(&mut self) {
        self.bytes.clear();
        self.distance_ms = 0;
        self.sample_count = 0;
        self.is_repeating = false;
        self.has_starts = false;
    }

    /// PERF: two sizes only. Streams of a million series that grow through all sizes of the allocator at different
    /// times leave holes in each of them.
    fn make_room(&mut self, step_bytes: usize) {
        let needed = self.bytes.len() + step_bytes;
        if needed > self.bytes.capacity() {
            let capacity = if needed <= SMALL_BYTES { SMALL_BYTES } else { STREAM_BYTES_MAX.max(needed) };
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }

    /// Notes that the next sample, and those after it, have the start time `start_ms`; the last one is at `last_ms`.
    fn change_start(&mut self, last_ms: i64, start_ms: i64) {
        let known_ms = self.last_start_ms();
        if known_ms != start_ms {
            self.make_room(START_BYTES + START_STEP_BYTES_MAX);
            self.set_newest_start(start_ms);
            self.bytes.push(START);
            put_uvarint(&mut self.bytes, zigzag(known_ms.wrapping_sub(last_ms)));
            self.is_repeating = false;
        }
    }

    fn set_newest_start(&mut self, start_ms: i64) {
        if !self.has_starts {
            self.has_starts = true;
            self.make_room(START_BYTES);
            self.bytes.splice(FIRST_BYTES..FIRST_BYTES, [START; START_BYTES]);
        }
        if let Some(newest) = self.bytes.get_mut(FIRST_BYTES + 1..FIRST_BYTES + START_BYTES) {
            newest.copy_from_slice(&start_ms.to_le_bytes());
        }
    }

    /// Appends a sample `distance_ms` after the last one; the first sample says its time alone.
    #[inline]
    pub(crate) fn push(&mut self, time_ms: i64, distance_ms: u32, value: f64, start_ms: i64) {
        let is_first = self.sample_count == 0;
        if !is_first && (start_ms != UNKNOWN_START_MS || self.has_starts) {
            self.change_start(time_ms.wrapping_sub(i64::from(distance_ms)), start_ms);
        }
        self.push_sample(time_ms, distance_ms, value);
        if is_first && start_ms != UNKNOWN_START_MS {
            self.set_newest_start(start_ms);
        }
    }

    #[inline]
    fn push_sample(&mut self, time_ms: i64, distance_ms: u32, value: f64) {
        let is_first = self.sample_count == 0;
        self.sample_count += 1;
        if is_first {
            self.make_room(16);
            self.bytes.extend_from_slice(&time_ms.to_le_bytes());
            self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
            self.last_value = value;
            return;
        }
        let change_ms = i64::from(distance_ms) - i64::from(self.distance_ms);
        let is_same = value.to_bits() == self.last_value.to_bits();
        if is_same && change_ms == 0 {
            match self.bytes.last_mut() {
                Some(header) if self.is_repeating && *header < REPEAT_FULL => *header += REPEAT_ONE,
                _ => {
                    self.make_room(1);
                    self.bytes.push(REPEAT);
                }
            }
            self.is_repeating = true;
            return;
        }
        self.is_repeating = false;
        self.distance_ms = distance_ms;
        self.make_room(STREAM_STEP_BYTES_MAX);
        let change = zigzag(change_ms);
        if is_same {
            self.bytes.push(SAME | (change.min(SAME_ESCAPE) as u8) << 2);
            if change >= SAME_ESCAPE {
                put_uvarint(&mut self.bytes, change);
            }
            return;
        }
        let distance_bit = if change_ms == 0 { 0 } else { HAS_DISTANCE };
        if let Some(difference) = whole_difference(self.last_value, value) {
            let difference = zigzag(difference);
            self.bytes.push(WHOLE | distance_bit | (difference.min(WHOLE_ESCAPE) as u8) << 3);
            self.put_distance(change);
            if difference >= WHOLE_ESCAPE {
                put_uvarint(&mut self.bytes, difference);
            }
        } else {
            let bits = value.to_bits() ^ self.last_value.to_bits();
            let zero_pairs = (bits.trailing_zeros() / 16).min(3);
            let bits = bits >> (zero_pairs * 16);
            let byte_count = 8 - bits.leading_zeros() / 8;
            self.bytes.push(BITS | distance_bit | (byte_count as u8 - 1) << 3 | (zero_pairs as u8) << 6);
            self.put_distance(change);
            self.bytes.extend_from_slice(&bits.to_le_bytes()[..byte_count as usize]);
        }
        self.last_value = value;
    }

    fn put_distance(&mut self, change: u64) {
        if change != 0 {
            put_uvarint(&mut self.bytes, change);
        }
    }
}

/// Decodes the samples of a stream, appending to all columns.
///
/// # Errors
/// [`CodingError`] if the bytes are not those of a [`SampleStream`].
pub(crate) fn decode_stream(
    bytes: &[u8],
    timestamps_ms: &mut Vec<i64>,
    values: &mut Vec<f64>,
    starts: &mut StartTimes,
) -> Result<(), CodingError> {
    let mut cursor = Cursor::new(bytes);
    if cursor.is_at_end() {
        return Ok(());
    }
    let mut time_ms = cursor.i64()?;
    let mut value = f64::from_bits(cursor.u64()?);
    let mut distance_ms = 0_i64;
    let mut run_position = values.len();
    timestamps_ms.push(time_ms);
    values.push(value);
    let has_starts = bytes.get(FIRST_BYTES) == Some(&START);
    let newest_start_ms = if has_starts {
        cursor.u8()?;
        cursor.i64()?
    } else {
        UNKNOWN_START_MS
    };
    while !cursor.is_at_end() {
        let header = cursor.u8()?;
        if header == START {
            starts.push(run_position, time_ms.wrapping_add(unzigzag(cursor.uvarint()?)));
            run_position = values.len();
            continue;
        }
        let mut count = 1;
        match header & KIND_BITS {
            REPEAT => count = usize::from(header >> 2) + 1,
            SAME => {
                let change = match u64::from(header >> 2) {
                    SAME_ESCAPE => cursor.uvarint()?,
                    change => change,
                };
                distance_ms = distance_ms.wrapping_add(unzigzag(change));
            }
            kind => {
                if header & HAS_DISTANCE != 0 {
                    distance_ms = distance_ms.wrapping_add(unzigzag(cursor.uvarint()?));
                }
                if kind == WHOLE {
                    let difference = match u64::from(header >> 3) {
                        WHOLE_ESCAPE => cursor.uvarint()?,
                        difference => difference,
                    };
                    value = (value as i64).wrapping_add(unzigzag(difference)) as f64;
                } else {
                    let mut word = [0; 8];
                    let taken = cursor.take(usize::from(header >> 3 & 0b111) + 1)?;
                    word.iter_mut().zip(taken).for_each(|(to, from)| *to = *from);
                    let bits = u64::from_le_bytes(word) << (u32::from(header >> 6) * 16);
                    value = f64::from_bits(value.to_bits() ^ bits);
                }
            }
        }
        for _ in 0..count {
            time_ms = time_ms.wrapping_add(distance_ms);
            timestamps_ms.push(time_ms);
            values.push(value);
        }
    }
    starts.push(run_position, newest_start_ms);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            4 => (-40_i64..40).prop_map(|whole| whole as f64),
            2 => any::<i64>().prop_map(|whole| whole as f64),
            2 => (-1000_i64..1000).prop_map(|hundredths| hundredths as f64 / 100.0),
            2 => (0_u32..8).prop_map(|shift| f64::from_bits(1 << (shift * 9))),
            2 => any::<u64>().prop_map(f64::from_bits),
            1 => prop_oneof![Just(-0.0), Just(0.0), Just(f64::NAN), Just(f64::INFINITY), Just(WHOLE_MAX)],
        ]
    }

    fn any_distance() -> impl Strategy<Value = u32> {
        prop_oneof![6 => Just(15_000_u32), 2 => 14_990..15_010_u32, 1 => 1..u32::MAX, 1 => Just(u32::MAX)]
    }

    fn check(first_ms: i64, samples: &[(u32, f64, u8)], starts_ms: &[i64]) -> Result<usize, TestCaseError> {
        let mut stream = SampleStream::default();
        let (mut times, mut bits, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let mut time_ms = first_ms;
        for (distance_ms, value, repeats) in samples {
            for _ in 0..=*repeats {
                if !times.is_empty() {
                    time_ms += i64::from(*distance_ms);
                }
                let start_ms = starts_ms.get(times.len() / 3).copied().unwrap_or(UNKNOWN_START_MS);
                stream.push(time_ms, *distance_ms, *value, start_ms);
                prop_assert_eq!(stream.last_start_ms(), start_ms);
                starts.push(start_ms);
                times.push(time_ms);
                bits.push(value.to_bits());
            }
        }
        let (mut found_times, mut found_values, mut found_starts) =
            (Vec::new(), Vec::new(), StartTimes::new());
        decode_stream(stream.bytes(), &mut found_times, &mut found_values, &mut found_starts).unwrap();
        prop_assert_eq!(found_starts, starts.into_iter().collect::<StartTimes>());
        prop_assert_eq!(&found_times, &times);
        prop_assert_eq!(found_values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), bits);
        prop_assert_eq!(stream.sample_count(), times.len());
        Ok(stream.bytes().len())
    }

    proptest! {
        #[test]
        fn samples_come_back_bit_by_bit(
            first_ms in -1_i64 << 60..1 << 60,
            samples in proptest::collection::vec((any_distance(), any_value(), prop_oneof![3 => Just(0_u8), 1 => 0..150_u8]), 1..60),
            starts_ms in proptest::collection::vec(prop_oneof![3 => Just(0), 2 => Just(1_700_000_000_000), 1 => any::<i64>()], 0..30),
        ) {
            check(first_ms, &samples, &starts_ms)?;
        }

        #[test]
        fn damaged_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _outcome = decode_stream(&bytes, &mut Vec::new(), &mut Vec::new(), &mut StartTimes::new());
        }
    }

    #[test]
    fn what_hardly_changes_is_small() {
        let flat: Vec<(u32, f64, u8)> = vec![(15_000, 3.25, 239), (15_000, 3.25, 239)];
        assert!(check(0, &flat, &[]).unwrap() <= 16 + 4 + 480_usize.div_ceil(64), "an idle gauge");
        let counter: Vec<_> = (0..100).map(|index| (15_000, f64::from(index) * 7.0, 0)).collect();
        let bare = check(0, &counter, &[]).unwrap();
        assert!(bare <= 16 + 4 + 100, "a slow counter");
        let one_start = vec![1_700_000_000_000; 100];
        assert_eq!(check(0, &counter, &one_start).unwrap(), bare + START_BYTES, "with a start time");
        assert_eq!(size_of::<SampleStream>(), 40, "start times take no room where there are none");
    }
}

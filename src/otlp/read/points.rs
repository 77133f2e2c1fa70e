//! The data points of the five kinds, read from their bytes.
//!
//! Attributes and exemplars stay runs of fields, keys included. Lists of numbers go to a [`Scratch`] that is reused.

use crate::wire::{FIXED64, Key, LENGTH_DELIMITED, Reader, VARINT, WireError};

/// Most counts of one sign of an exponential histogram that are kept; a byte of the request may be one count, and no
/// sender has so many. What is above is read and not kept: the length tells that it was too much.
pub const BUCKET_COUNT_READ_MAX: usize = 1 << 16;

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Wire(WireError),
    Scattered,
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// Memory for lists of numbers, reused from point to point.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    counts: Vec<u64>,
    negative_counts: Vec<u64>,
    bounds: Vec<f64>,
    quantiles: Vec<(f64, f64)>,
}

/// A value as the sender had it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A double.
    Double(f64),
    /// A 64-bit integer.
    Int(i64),
}

/// `NumberDataPoint`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NumberPoint<'a> {
    /// Fields `attributes`.
    pub attributes: &'a [u8],
    /// When counting began, in nanoseconds since the Unix epoch; 0 = nobody said.
    pub start_ns: u64,
    /// When it was measured.
    pub time_ns: u64,
    /// The value, if there is one.
    pub value: Option<Number>,
    /// Fields `exemplars`.
    pub exemplars: &'a [u8],
    /// `DataPointFlags`.
    pub flags: u32,
}

/// `HistogramDataPoint`.
#[derive(Debug, Clone, Copy, Default)]
pub struct HistogramPoint<'a, 's> {
    /// Fields `attributes`.
    pub attributes: &'a [u8],
    /// When counting began, in nanoseconds since the Unix epoch; 0 = nobody said.
    pub start_ns: u64,
    /// When it was measured.
    pub time_ns: u64,
    /// Observations.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// Observations per bucket; one more than bounds, or none.
    pub bucket_counts: &'s [u64],
    /// Upper bounds of the buckets but the last.
    pub bounds: &'s [f64],
    /// Fields `exemplars`.
    pub exemplars: &'a [u8],
    /// `DataPointFlags`.
    pub flags: u32,
    /// Smallest observation.
    pub min: Option<f64>,
    /// Largest observation.
    pub max: Option<f64>,
}

/// The buckets of one sign of an exponential histogram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buckets<'s> {
    /// Whether the message was there at all.
    pub is_present: bool,
    /// Index of the first bucket: `i` holds what is above `2^(i * 2^-scale)` up to the next such bound.
    pub offset: i32,
    /// Observations per bucket; longer than [`BUCKET_COUNT_READ_MAX`] = too many, and cut.
    pub counts: &'s [u64],
}

/// `ExponentialHistogramDataPoint`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExponentialPoint<'a, 's> {
    /// Fields `attributes`.
    pub attributes: &'a [u8],
    /// When counting began, in nanoseconds since the Unix epoch; 0 = nobody said.
    pub start_ns: u64,
    /// When it was measured.
    pub time_ns: u64,
    /// Observations.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// How fine the buckets are.
    pub scale: i32,
    /// Observations in the zero bucket.
    pub zero_count: u64,
    /// Buckets above zero.
    pub positive: Buckets<'s>,
    /// Buckets below zero.
    pub negative: Buckets<'s>,
    /// `DataPointFlags`.
    pub flags: u32,
    /// Fields `exemplars`.
    pub exemplars: &'a [u8],
    /// Smallest observation.
    pub min: Option<f64>,
    /// Largest observation.
    pub max: Option<f64>,
    /// Width of the zero bucket; 0 = nobody said.
    pub zero_threshold: f64,
}

/// `SummaryDataPoint`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SummaryPoint<'a, 's> {
    /// Fields `attributes`.
    pub attributes: &'a [u8],
    /// When counting began, in nanoseconds since the Unix epoch; 0 = nobody said.
    pub start_ns: u64,
    /// When it was measured.
    pub time_ns: u64,
    /// Observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Quantile and its value.
    pub quantiles: &'s [(f64, f64)],
    /// `DataPointFlags`.
    pub flags: u32,
}

/// The key of a length-delimited field with a number below 16.
pub(super) const fn key_byte(field: u8) -> u8 {
    field << 3 | LENGTH_DELIMITED
}

/// Reads a run of messages with the same key that must be the only one.
#[inline]
fn only_run<'a>(run: &mut &'a [u8], reader: &mut Reader<'a>, start: usize, key: Key) -> Result<(), Stop> {
    key.expect(LENGTH_DELIMITED)?;
    if !run.is_empty() {
        return Err(Stop::Scattered);
    }
    *run = reader.run(start, key_byte(key.field as u8))?;
    Ok(())
}

#[inline]
fn fixed64(reader: &mut Reader<'_>, key: Key) -> Result<u64, WireError> {
    key.expect(FIXED64)?;
    reader.fixed64()
}

#[inline]
fn double(reader: &mut Reader<'_>, key: Key) -> Result<f64, WireError> {
    fixed64(reader, key).map(f64::from_bits)
}

#[inline]
fn uint32(reader: &mut Reader<'_>, key: Key) -> Result<u32, WireError> {
    key.expect(VARINT)?;
    Ok(reader.varint()? as u32)
}

#[inline]
fn sint32(reader: &mut Reader<'_>, key: Key) -> Result<i32, WireError> {
    let folded = uint32(reader, key)?;
    Ok((folded >> 1) as i32 ^ -((folded & 1) as i32))
}

/// Reads repeated 8-byte numbers, packed or one by one.
#[inline]
fn repeated_fixed64<T>(
    reader: &mut Reader<'_>,
    key: Key,
    numbers: &mut Vec<T>,
    of_bits: impl Fn(u64) -> T,
) -> Result<(), WireError> {
    if key.wire_type != LENGTH_DELIMITED {
        numbers.push(of_bits(fixed64(reader, key)?));
        return Ok(());
    }
    let (whole, rest) = reader.payload()?.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(WireError::Truncated);
    }
    numbers.extend(whole.iter().map(|bytes| of_bits(u64::from_le_bytes(*bytes))));
    Ok(())
}

/// Reads repeated varints, packed or one by one, and keeps at most one more than [`BUCKET_COUNT_READ_MAX`].
fn repeated_varint(reader: &mut Reader<'_>, key: Key, numbers: &mut Vec<u64>) -> Result<(), WireError> {
    let mut keep = |number| {
        if numbers.len() <= BUCKET_COUNT_READ_MAX {
            numbers.push(number);
        }
    };
    if key.wire_type != LENGTH_DELIMITED {
        key.expect(VARINT)?;
        keep(reader.varint()?);
        return Ok(());
    }
    let mut packed = Reader::new(reader.payload()?);
    while !packed.is_at_end() {
        keep(packed.varint()?);
    }
    Ok(())
}

impl<'a> NumberPoint<'a> {
    /// Reads into a point of defaults.
    #[inline]
    pub(super) fn read(&mut self, bytes: &'a [u8]) -> Result<(), Stop> {
        let mut reader = Reader::new(bytes);
        // PERF: as everybody sends them; the loop below takes what is left, in any order.
        if reader.take_key(2 << 3 | FIXED64) {
            self.start_ns = reader.fixed64()?;
        }
        if reader.take_key(3 << 3 | FIXED64) {
            self.time_ns = reader.fixed64()?;
        }
        if reader.take_key(4 << 3 | FIXED64) {
            self.value = Some(Number::Double(reader.double()?));
        }
        if reader.take_key(6 << 3 | FIXED64) {
            self.value = Some(Number::Int(reader.fixed64()? as i64));
        }
        let start = reader.position();
        if reader.take_key(key_byte(7)) {
            self.attributes = reader.run(start, key_byte(7))?;
        }
        loop {
            let start = reader.position();
            let Some(key) = reader.key()? else { return Ok(()) };
            match key.field {
                2 => self.start_ns = fixed64(&mut reader, key)?,
                3 => self.time_ns = fixed64(&mut reader, key)?,
                4 => self.value = Some(Number::Double(double(&mut reader, key)?)),
                5 => only_run(&mut self.exemplars, &mut reader, start, key)?,
                6 => self.value = Some(Number::Int(fixed64(&mut reader, key)? as i64)),
                7 => only_run(&mut self.attributes, &mut reader, start, key)?,
                8 => self.flags = uint32(&mut reader, key)?,
                _ => reader.skip(key)?,
            }
        }
    }
}

impl<'a, 's> HistogramPoint<'a, 's> {
    pub(super) fn read(bytes: &'a [u8], scratch: &'s mut Scratch) -> Result<Self, Stop> {
        scratch.counts.clear();
        scratch.bounds.clear();
        let mut point = HistogramPoint::default();
        let mut reader = Reader::new(bytes);
        loop {
            let start = reader.position();
            let Some(key) = reader.key()? else { break };
            match key.field {
                2 => point.start_ns = fixed64(&mut reader, key)?,
                3 => point.time_ns = fixed64(&mut reader, key)?,
                4 => point.count = fixed64(&mut reader, key)?,
                5 => point.sum = Some(double(&mut reader, key)?),
                6 => repeated_fixed64(&mut reader, key, &mut scratch.counts, |bits| bits)?,
                7 => repeated_fixed64(&mut reader, key, &mut scratch.bounds, f64::from_bits)?,
                8 => only_run(&mut point.exemplars, &mut reader, start, key)?,
                9 => only_run(&mut point.attributes, &mut reader, start, key)?,
                10 => point.flags = uint32(&mut reader, key)?,
                11 => point.min = Some(double(&mut reader, key)?),
                12 => point.max = Some(double(&mut reader, key)?),
                _ => reader.skip(key)?,
            }
        }
        Ok(HistogramPoint { bucket_counts: &scratch.counts, bounds: &scratch.bounds, ..point })
    }
}

impl<'a, 's> ExponentialPoint<'a, 's> {
    pub(super) fn read(bytes: &'a [u8], scratch: &'s mut Scratch) -> Result<Self, Stop> {
        scratch.counts.clear();
        scratch.negative_counts.clear();
        let mut point = ExponentialPoint::default();
        let (mut positive, mut negative) = (None, None);
        let mut reader = Reader::new(bytes);
        loop {
            let start = reader.position();
            let Some(key) = reader.key()? else { break };
            match key.field {
                1 => only_run(&mut point.attributes, &mut reader, start, key)?,
                2 => point.start_ns = fixed64(&mut reader, key)?,
                3 => point.time_ns = fixed64(&mut reader, key)?,
                4 => point.count = fixed64(&mut reader, key)?,
                5 => point.sum = Some(double(&mut reader, key)?),
                6 => point.scale = sint32(&mut reader, key)?,
                7 => point.zero_count = fixed64(&mut reader, key)?,
                8 => positive = read_buckets(positive, &mut reader, key, &mut scratch.counts)?,
                9 => negative = read_buckets(negative, &mut reader, key, &mut scratch.negative_counts)?,
                10 => point.flags = uint32(&mut reader, key)?,
                11 => only_run(&mut point.exemplars, &mut reader, start, key)?,
                12 => point.min = Some(double(&mut reader, key)?),
                13 => point.max = Some(double(&mut reader, key)?),
                14 => point.zero_threshold = double(&mut reader, key)?,
                _ => reader.skip(key)?,
            }
        }
        let buckets = |offset: Option<i32>, counts| Buckets {
            is_present: offset.is_some(),
            offset: offset.unwrap_or(0),
            counts,
        };
        Ok(ExponentialPoint {
            positive: buckets(positive, &scratch.counts),
            negative: buckets(negative, &scratch.negative_counts),
            ..point
        })
    }
}

/// Reads a `Buckets` message that must be the only one of its sign; returns its offset.
fn read_buckets(
    earlier: Option<i32>,
    reader: &mut Reader<'_>,
    key: Key,
    counts: &mut Vec<u64>,
) -> Result<Option<i32>, Stop> {
    key.expect(LENGTH_DELIMITED)?;
    if earlier.is_some() {
        return Err(Stop::Scattered);
    }
    let mut buckets = Reader::new(reader.payload()?);
    let mut offset = 0;
    while let Some(key) = buckets.key()? {
        match key.field {
            1 => offset = sint32(&mut buckets, key)?,
            2 => repeated_varint(&mut buckets, key, counts)?,
            _ => buckets.skip(key)?,
        }
    }
    Ok(Some(offset))
}

impl<'a, 's> SummaryPoint<'a, 's> {
    pub(super) fn read(bytes: &'a [u8], scratch: &'s mut Scratch) -> Result<Self, Stop> {
        scratch.quantiles.clear();
        let mut point = SummaryPoint::default();
        let mut reader = Reader::new(bytes);
        loop {
            let start = reader.position();
            let Some(key) = reader.key()? else { break };
            match key.field {
                2 => point.start_ns = fixed64(&mut reader, key)?,
                3 => point.time_ns = fixed64(&mut reader, key)?,
                4 => point.count = fixed64(&mut reader, key)?,
                5 => point.sum = double(&mut reader, key)?,
                6 => {
                    key.expect(LENGTH_DELIMITED)?;
                    scratch.quantiles.push(read_quantile(reader.payload()?)?);
                }
                7 => only_run(&mut point.attributes, &mut reader, start, key)?,
                8 => point.flags = uint32(&mut reader, key)?,
                _ => reader.skip(key)?,
            }
        }
        Ok(SummaryPoint { quantiles: &scratch.quantiles, ..point })
    }
}

fn read_quantile(bytes: &[u8]) -> Result<(f64, f64), WireError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    let mut reader = Reader::new(bytes);
    while let Some(key) = reader.key()? {
        match key.field {
            1 => quantile = double(&mut reader, key)?,
            2 => value = double(&mut reader, key)?,
            _ => reader.skip(key)?,
        }
    }
    Ok((quantile, value))
}

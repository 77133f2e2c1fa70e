//! Where the numbers of a metric are in its bytes. All else is what a sender repeats from one request to the next.
//!
//! Only metrics of plain number points have a layout: fields in the order in which everybody sends them, no exemplars,
//! no flags. Times and values are eight bytes wherever they are, so a metric of the same length whose other bytes are
//! equal has its numbers in the same places, and is as well-formed.

use std::ops::Range;

use super::points::key_byte;
use super::{DataKind, MetricHeader, Number, NumberPoint, offset_of, read_data, read_header};
use crate::wire::{FIXED64, Reader};

/// Offset of a number that is not there: behind every region.
const ABSENT: u16 = u16::MAX;

/// The layout of a `Metric` message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricLayout {
    /// Where the name is in the message.
    pub name: Range<u32>,
    /// Where the unit is.
    pub unit: Range<u32>,
    /// Where the fields `metadata` are, keys included.
    pub metadata: Range<u32>,
    /// Kind of its points: gauge or sum.
    pub kind: DataKind,
    /// `AggregationTemporality` as a number; 0 where there is none.
    pub temporality: i32,
    /// Whether a sum only grows.
    pub is_monotonic: bool,
    /// Its points, one behind the other.
    pub points: Vec<PointLayout>,
}

/// The layout of a point within its region: the bytes from the end of the region before (at first, the beginning of the
/// message) to the end of the point's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointLayout {
    /// Length of the region.
    pub region_bytes: u16,
    start_at: u16,
    time_at: u16,
    value_at: u16,
    /// The attributes are the rest of the region.
    attributes_at: u16,
    is_integer: bool,
}

impl MetricLayout {
    /// The layout of the message in `bytes`; `None` if it has none. The message was read before.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (mut header, mut data) = (MetricHeader::default(), &[][..]);
        read_header(bytes, &mut header, &mut data).ok()?;
        let kind = header.kind.filter(|kind| matches!(kind, DataKind::Gauge | DataKind::Sum))?;
        read_data(data, kind, &mut header).ok()?;
        let mut points = Vec::with_capacity(header.point_count);
        let mut region_start = 0;
        let mut reader = Reader::new(data);
        while let Some(key) = reader.key().ok()? {
            if key.field != 1 {
                reader.skip(key).ok()?;
                continue;
            }
            let point = reader.payload().ok()?;
            let at = offset_of(point, bytes)?;
            let layout = PointLayout::of(point, at - region_start)?;
            region_start = at + point.len();
            points.push(layout);
        }
        Some(Self {
            name: range_of(header.name, bytes)?,
            unit: range_of(header.unit, bytes)?,
            metadata: range_of(header.metadata, bytes)?,
            kind,
            temporality: header.temporality,
            is_monotonic: header.is_monotonic,
            points,
        })
    }
}

impl PointLayout {
    /// The layout of a point that begins at `at` of its region.
    fn of(point: &[u8], at: usize) -> Option<Self> {
        let offset = |position: usize| u16::try_from(at + position).ok().filter(|offset| *offset != ABSENT);
        let mut reader = Reader::new(point);
        let mut number = |field: u8| -> Option<Option<u16>> {
            if !reader.take_key(field << 3 | FIXED64) {
                return Some(None);
            }
            let position = reader.position();
            reader.fixed64().ok()?;
            Some(Some(offset(position)?))
        };
        let (start, time, double) = (number(2)?, number(3)?, number(4)?);
        let integer = if double.is_none() { number(6)? } else { None };
        let start_of_attributes = reader.position();
        if reader.take_key(key_byte(7)) {
            reader.run(start_of_attributes, key_byte(7)).ok()?;
        }
        // Anything else makes it a point that is not plain.
        reader.is_at_end().then_some(())?;
        Some(Self {
            region_bytes: offset(point.len())?,
            start_at: start.unwrap_or(ABSENT),
            time_at: time.unwrap_or(ABSENT),
            value_at: double.or(integer)?,
            attributes_at: offset(start_of_attributes)?,
            is_integer: integer.is_some(),
        })
    }

    /// Reads the point out of a region of this layout.
    #[inline]
    pub fn read<'a>(&self, region: &'a [u8]) -> NumberPoint<'a> {
        let bits = number_at(region, self.value_at).unwrap_or(0);
        NumberPoint {
            attributes: region.get(usize::from(self.attributes_at)..).unwrap_or_default(),
            start_ns: number_at(region, self.start_at).unwrap_or(0),
            time_ns: number_at(region, self.time_at).unwrap_or(0),
            value: Some(if self.is_integer {
                Number::Int(bits as i64)
            } else {
                Number::Double(f64::from_bits(bits))
            }),
            exemplars: &[],
            flags: 0,
        }
    }

    /// Overwrites the numbers in a region of this layout with zeros: what is left is what repeats.
    #[inline]
    pub fn blank(&self, region: &mut [u8]) {
        for at in [self.start_at, self.time_at, self.value_at] {
            if let Some(number) = region.get_mut(usize::from(at)..).and_then(<[u8]>::first_chunk_mut::<8>) {
                *number = [0; 8];
            }
        }
    }
}

#[inline]
fn number_at(region: &[u8], at: u16) -> Option<u64> {
    let bytes = region.get(usize::from(at)..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*bytes))
}

fn range_of(part: &[u8], whole: &[u8]) -> Option<Range<u32>> {
    if part.is_empty() {
        return Some(0..0);
    }
    let start = u32::try_from(offset_of(part, whole)?).ok()?;
    Some(start..start + u32::try_from(part.len()).ok()?)
}

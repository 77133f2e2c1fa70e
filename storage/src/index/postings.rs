//! The series of one label pair in the index of the head, small while they are few.

use roaring::RoaringBitmap;

use super::select::Union;
use crate::coding::{Cursor, put_uvarint};

/// How many ids are held without an allocation.
const FEW_COUNT_MAX: usize = 5;
/// How many ids are held as distances, a byte each for neighbours.
const PACKED_COUNT_MAX: u32 = 1024;

/// Ascending series ids that only grow at their end.
#[derive(Debug, Clone)]
pub(super) enum Postings {
    /// Most pairs of a busy system have few series.
    Few { count: u8, ids: [u32; FEW_COUNT_MAX] },
    /// Distances to the id before, as varints.
    Packed(Box<Packed>),
    /// Many.
    Many(Box<RoaringBitmap>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Packed {
    count: u32,
    last: u32,
    distances: Vec<u8>,
}

impl Packed {
    fn push(&mut self, id: u32) {
        put_uvarint(&mut self.distances, u64::from(id - self.last));
        self.last = id;
        self.count += 1;
    }

    fn ids(&self) -> impl Iterator<Item = u32> {
        let mut cursor = Cursor::new(&self.distances);
        let mut id = 0_u32;
        std::iter::from_fn(move || {
            // The bytes are our own: they end, but are never damaged.
            id = id.wrapping_add(cursor.uvarint().ok()? as u32);
            Some(id)
        })
    }
}

impl Default for Postings {
    fn default() -> Self {
        Self::Few { count: 0, ids: [0; FEW_COUNT_MAX] }
    }
}

impl Postings {
    /// Appends an id that is greater than all before.
    pub(super) fn push(&mut self, id: u32) {
        match self {
            Self::Many(bitmap) => append(bitmap, id),
            Self::Packed(packed) if packed.count < PACKED_COUNT_MAX => packed.push(id),
            Self::Packed(packed) => {
                let mut bitmap: RoaringBitmap = packed.ids().collect();
                append(&mut bitmap, id);
                *self = Self::Many(Box::new(bitmap));
            }
            Self::Few { count, ids } => {
                let used = usize::from(*count);
                if used < FEW_COUNT_MAX {
                    ids[used] = id;
                    *count += 1;
                } else {
                    let mut packed = Packed::default();
                    ids.iter().for_each(|id| packed.push(*id));
                    packed.push(id);
                    *self = Self::Packed(Box::new(packed));
                }
            }
        }
    }

    fn few(&self) -> &[u32] {
        match self {
            Self::Few { count, ids } => &ids[..usize::from(*count)],
            Self::Packed(_) | Self::Many(_) => &[],
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Few { count, .. } => u64::from(*count),
            Self::Packed(packed) => u64::from(packed.count),
            Self::Many(bitmap) => bitmap.len(),
        }
    }

    pub(super) fn touches(&self, within: &RoaringBitmap) -> bool {
        match self {
            Self::Few { .. } => self.few().iter().any(|id| within.contains(*id)),
            Self::Packed(packed) => packed.ids().any(|id| within.contains(id)),
            Self::Many(bitmap) => !bitmap.is_disjoint(within),
        }
    }

    pub(super) fn add_to(&self, union: &mut Union<'_>) {
        match self {
            Self::Few { .. } => self.few().iter().for_each(|id| union.push(*id)),
            Self::Packed(packed) => packed.ids().for_each(|id| union.push(id)),
            Self::Many(bitmap) => union.add(bitmap),
        }
    }

    pub(super) fn to_bitmap(&self) -> RoaringBitmap {
        match self {
            Self::Few { .. } => self.few().iter().copied().collect(),
            Self::Packed(packed) => RoaringBitmap::from_sorted_iter(packed.ids()).unwrap_or_default(),
            Self::Many(bitmap) => bitmap.as_ref().clone(),
        }
    }
}

/// Appends an id that is greater than all before.
pub(super) fn append(bitmap: &mut RoaringBitmap, id: u32) {
    // PERF: pushing looks for the largest id so far, in a full container from its end: 6 % of
    // the CPU of writing 60 samples each to 100,800 new series.
    bitmap.insert(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_at_every_size() {
        let mut postings = Postings::default();
        let mut expected = RoaringBitmap::new();
        assert!(postings.to_bitmap().is_empty());
        for index in 0..2000_u32 {
            let id = index * 7 + index / 100 * 70_000;
            postings.push(id);
            expected.insert(id);
            if index < 12 || index % 97 == 0 || (1020..1035).contains(&index) {
                assert_eq!(postings.to_bitmap(), expected);
                assert_eq!(postings.len(), expected.len());
                let mut union = Union::default();
                postings.add_to(&mut union);
                assert_eq!(union.finish(), expected);
                assert!(postings.touches(&RoaringBitmap::from_iter([id])));
                assert!(!postings.touches(&RoaringBitmap::from_iter([id + 1])));
            }
        }
        assert!(matches!(postings, Postings::Many(_)));
    }
}

//! From a sender's key to a series reference: the one map that every sample's way leads through.
//!
//! Open addressing with the slots themselves in one array, 20 bytes each, in order of their keys' low halves: a
//! look-up is one memory access, mostly, and growing is one pass. A full map grows by a quarter, so that it is never
//! far from full; a map that doubles is half empty when it is largest.

/// Slots of the first array.
const SLOT_COUNT_MIN: usize = 16;
/// Of eight slots so many may be taken.
const LOAD_EIGHTHS_MAX: usize = 6;
/// In the place of a reference: the slot is free.
const FREE: u32 = u32::MAX;

/// A key's four words and its reference; as 32-bit words, so that nothing is lost to alignment.
#[derive(Debug, Clone, Copy)]
struct Slot {
    key: [u32; 4],
    series_ref: u32,
}

const FREE_SLOT: Slot = Slot { key: [0; 4], series_ref: FREE };

fn words(key: u128) -> [u32; 4] {
    [key as u32, (key >> 32) as u32, (key >> 64) as u32, (key >> 96) as u32]
}

/// Keys, which are hashes already, with the series that they mean.
#[derive(Debug, Default)]
pub(crate) struct KeyMap {
    slots: Vec<Slot>,
    key_count: usize,
}

/// Where a key belongs in an array of `slot_count`: greater keys never before smaller ones.
fn home(key: &[u32; 4], slot_count: usize) -> usize {
    let low = u64::from(key[0]) | u64::from(key[1]) << 32;
    ((u128::from(low) * slot_count as u128) >> 64) as usize
}

impl KeyMap {
    /// Makes a map that has room for `key_count` keys. Keys that come in the order of another map must go into one of
    /// their final size: in a smaller one they would all crowd at its beginning.
    pub(crate) fn with_room(key_count: usize) -> Self {
        let slot_count = (key_count + 1) * 8 / LOAD_EIGHTHS_MAX + 1;
        Self { slots: vec![FREE_SLOT; slot_count.max(SLOT_COUNT_MIN)], key_count: 0 }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.key_count
    }

    /// Returns the reference of `key`.
    #[inline]
    pub(crate) fn get(&self, key: u128) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let key = words(key);
        let mut position = home(&key, self.slots.len());
        loop {
            let slot = &self.slots[position];
            if slot.series_ref == FREE {
                return None;
            }
            if slot.key == key {
                return Some(slot.series_ref);
            }
            position += 1;
            if position == self.slots.len() {
                position = 0;
            }
        }
    }

    /// Reads what a look-up of `key` begins with. Returns something of it, so that the reading is not left out.
    ///
    /// PERF: a look-up waits for memory and then for its branches; many of these wait for memory at the same time.
    #[inline]
    pub(crate) fn touch(&self, key: u128) -> u32 {
        let position = home(&words(key), self.slots.len());
        self.slots.get(position).map_or(FREE, |slot| slot.series_ref)
    }

    /// Sets the reference of `key`, which is not `u32::MAX`.
    pub(crate) fn insert(&mut self, key: u128, series_ref: u32) {
        debug_assert!(series_ref != FREE);
        if (self.key_count + 1) * 8 > self.slots.len() * LOAD_EIGHTHS_MAX {
            let slot_count = (self.slots.len() + self.slots.len() / 4).max(SLOT_COUNT_MIN);
            let old = std::mem::replace(&mut self.slots, vec![FREE_SLOT; slot_count]);
            self.key_count = 0;
            for slot in old.into_iter().filter(|slot| slot.series_ref != FREE) {
                self.place(slot);
            }
        }
        self.place(Slot { key: words(key), series_ref });
    }

    fn place(&mut self, new: Slot) {
        let mut position = home(&new.key, self.slots.len());
        loop {
            let slot = &mut self.slots[position];
            if slot.series_ref == FREE {
                *slot = new;
                self.key_count += 1;
                return;
            }
            if slot.key == new.key {
                slot.series_ref = new.series_ref;
                return;
            }
            position += 1;
            if position == self.slots.len() {
                position = 0;
            }
        }
    }

    /// Iterates over keys and references, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u128, u32)> {
        self.slots.iter().filter(|slot| slot.series_ref != FREE).map(|slot| {
            let key = slot.key.iter().rev().fold(0, |key, word| key << 32 | u128::from(*word));
            (key, slot.series_ref)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn any_key() -> impl Strategy<Value = u128> {
        // Keys at both ends of the array collide and wrap around.
        prop_oneof![
            any::<u128>(),
            0..4_u128,
            (0..40_u128).prop_map(|key| u128::MAX - key),
            any::<u8>().prop_map(u128::from)
        ]
    }

    #[test]
    fn a_map_with_room_does_not_grow() {
        for key_count in [0, 1, 11, 12, 13, 100, 1000] {
            let mut map = KeyMap::with_room(key_count);
            let slot_count = map.slots.len();
            (0..key_count as u32).for_each(|key| map.insert(u128::from(key) << 32, key));
            assert_eq!((map.len(), map.slots.len()), (key_count, slot_count));
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(entries in proptest::collection::vec((any_key(), 0..1000_u32), 0..300), absent in any_key()) {
            let mut map = KeyMap::default();
            let mut expected = HashMap::new();
            for (key, series_ref) in entries {
                map.insert(key, series_ref);
                expected.insert(key, series_ref);
                prop_assert_eq!(map.get(key), Some(series_ref));
            }
            map.touch(absent);
            prop_assert_eq!(map.len(), expected.len());
            prop_assert_eq!(map.get(absent), expected.get(&absent).copied());
            prop_assert_eq!(map.iter().collect::<HashMap<_, _>>(), expected);
        }
    }
}

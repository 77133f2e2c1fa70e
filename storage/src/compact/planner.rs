//! Which blocks to merge next: pure, from facts about the blocks of one tenant and one day.
//!
//! While a day is being written, neighbours of similar size are merged four at a time, so every byte is rewritten a
//! few times at most. When the day is over, or nothing was written for a while, all its blocks become one block of the
//! final level. What comes late to such a day waits until it is worth rewriting the day for.
//!
//! A plan is a run of blocks that are neighbours by precedence: between them no other block decides which of two
//! samples at one time wins.

use super::FINAL_LEVEL;

/// Fewest neighbours of similar size that are merged while a day is being written.
const TIER_COUNT_MIN: usize = 4;
/// Blocks are of similar size if the largest has at most so many times the bytes of the smallest.
const TIER_SIZE_RATIO: u64 = 4;
/// Blocks smaller than this count as of this size.
const TIER_BYTES_MIN: u64 = 1 << 20;
/// Most blocks of one plan: bounds the open merge.
pub(crate) const INPUT_COUNT_MAX: usize = 32;
/// A day of at most so many bytes is rewritten for any late block.
const SMALL_DAY_BYTES: u64 = 8 << 20;
/// Late blocks with this share (1 in so many) of the final block's bytes are merged at once.
const LATE_SHARE: u64 = 8;
/// So many late blocks are merged at once.
const LATE_COUNT_MAX: usize = 8;
/// A late block is merged after this time whatever its size.
const LATE_AGE_MS: i64 = 6 * 3_600_000;

/// What the planner knows of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockFacts {
    /// Sequence number.
    pub(crate) id: u64,
    /// Where sources overlap in time, the higher wins.
    pub(crate) precedence: u64,
    /// How often its samples were merged; [`FINAL_LEVEL`] if they are as they will stay.
    pub(crate) level: u8,
    /// Length of the file.
    pub(crate) file_bytes: u64,
    /// When it was first seen by this process.
    pub(crate) seen_ms: i64,
    /// Whether something was deleted from it.
    pub(crate) has_tombstones: bool,
}

/// What is done with the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DayState {
    /// It is being written.
    Open,
    /// It is over, or nothing was written for a while.
    Quiet,
    /// Somebody asked for the final form now.
    Forced,
}

/// What to merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Blocks by ascending precedence.
    pub(crate) inputs: Vec<u64>,
    /// The level of the output.
    pub(crate) level: u8,
}

/// Returns what to merge of the blocks of one day, if anything. `blocks` are all of the day, by ascending precedence;
/// together the inputs have at most `bytes_max`. `now_ms` is the clock.
pub(crate) fn choose(blocks: &[BlockFacts], state: DayState, bytes_max: u64, now_ms: i64) -> Option<Plan> {
    debug_assert!(blocks.is_sorted_by_key(|block| block.precedence));
    if state == DayState::Open {
        return tier(blocks, bytes_max);
    }
    let is_final = |block: &BlockFacts| block.level >= FINAL_LEVEL;
    let is_forced = state == DayState::Forced;
    if let [block] = blocks {
        let is_due = !is_final(block) || is_forced && block.has_tombstones;
        return (is_due && block.file_bytes <= bytes_max).then(|| plan(blocks, FINAL_LEVEL));
    }
    if blocks.len() > INPUT_COUNT_MAX {
        // Fewer at first, at the level of a day that is being written: the next plans finish it.
        return smallest_run(blocks, bytes_max).map(|run| plan(run, next_level(run)));
    }
    if total_bytes(blocks) > bytes_max {
        return tier(blocks, bytes_max);
    }
    let final_bytes = blocks.iter().filter(|block| is_final(block)).map(|block| block.file_bytes).max();
    let is_due = match final_bytes {
        None => !blocks.is_empty(),
        Some(final_bytes) => {
            let late_bytes = total_bytes(blocks).saturating_sub(final_bytes);
            is_forced
                || total_bytes(blocks) <= SMALL_DAY_BYTES
                || late_bytes.saturating_mul(LATE_SHARE) >= final_bytes
                || blocks.len() > LATE_COUNT_MAX
                || blocks.iter().any(|block| {
                    !is_final(block) && now_ms.saturating_sub(block.seen_ms) >= LATE_AGE_MS
                })
                // Two final blocks come of a day that was merged twice from parts: nothing more will come.
                || blocks.iter().all(is_final)
        }
    };
    is_due.then(|| plan(blocks, FINAL_LEVEL))
}

fn plan(run: &[BlockFacts], level: u8) -> Plan {
    Plan { inputs: run.iter().map(|block| block.id).collect(), level }
}

fn next_level(run: &[BlockFacts]) -> u8 {
    run.iter().map(|block| block.level.saturating_add(1).min(FINAL_LEVEL - 1)).max().unwrap_or(0)
}

fn total_bytes(blocks: &[BlockFacts]) -> u64 {
    blocks.iter().fold(0, |bytes, block| bytes.saturating_add(block.file_bytes))
}

/// The longest run of neighbours of similar size, the newest of equally long ones.
fn tier(blocks: &[BlockFacts], bytes_max: u64) -> Option<Plan> {
    let mut best: &[BlockFacts] = &[];
    for start in 0..blocks.len() {
        let (mut smallest, mut largest, mut bytes) = (u64::MAX, 0, 0_u64);
        let mut end = start;
        for block in blocks[start..].iter().take(INPUT_COUNT_MAX) {
            let size = block.file_bytes.max(TIER_BYTES_MIN);
            (smallest, largest) = (smallest.min(size), largest.max(size));
            bytes = bytes.saturating_add(block.file_bytes);
            if largest > smallest.saturating_mul(TIER_SIZE_RATIO)
                || bytes > bytes_max
                || block.level >= FINAL_LEVEL
            {
                break;
            }
            end += 1;
        }
        if end - start >= best.len() {
            best = &blocks[start..end];
        }
    }
    (best.len() >= TIER_COUNT_MIN).then(|| plan(best, next_level(best)))
}

/// The run of [`INPUT_COUNT_MAX`] neighbours with the fewest bytes, if they are not too many.
fn smallest_run(blocks: &[BlockFacts], bytes_max: u64) -> Option<&[BlockFacts]> {
    let runs = blocks.windows(INPUT_COUNT_MAX);
    runs.min_by_key(|run| total_bytes(run)).filter(|run| total_bytes(run) <= bytes_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn block(id: u64, level: u8, file_bytes: u64) -> BlockFacts {
        BlockFacts { id, precedence: id, level, file_bytes, seen_ms: NOW_MS, has_tombstones: false }
    }

    fn inputs(blocks: &[BlockFacts], state: DayState) -> Vec<u64> {
        choose(blocks, state, u64::MAX, NOW_MS).map_or_else(Vec::new, |plan| plan.inputs)
    }

    fn any_blocks() -> impl Strategy<Value = Vec<BlockFacts>> {
        let bytes = prop_oneof![1_u64..1 << 20, 1 << 20..1_u64 << 34];
        prop::collection::vec((0..=FINAL_LEVEL, bytes, any::<bool>(), 1..9_u64), 0..100).prop_map(|drafts| {
            let mut precedence = 0;
            let facts = drafts.into_iter().map(|(level, file_bytes, has_tombstones, step)| {
                precedence += step;
                // Ids grow with time, but a merged block has a newer id than its precedence says.
                let id = precedence * 1000 + step;
                BlockFacts { id, precedence, level, file_bytes, seen_ms: NOW_MS, has_tombstones }
            });
            facts.collect()
        })
    }

    /// Puts the output of a plan in the place of its inputs.
    fn apply(blocks: &mut Vec<BlockFacts>, plan: &Plan, id: u64) {
        let start = blocks.iter().position(|block| block.id == plan.inputs[0]).unwrap();
        let run: Vec<BlockFacts> = blocks.drain(start..start + plan.inputs.len()).collect();
        assert_eq!(run.iter().map(|block| block.id).collect::<Vec<_>>(), plan.inputs, "not neighbours");
        let merged = BlockFacts {
            id,
            precedence: run[run.len() - 1].precedence,
            level: plan.level,
            file_bytes: total_bytes(&run),
            seen_ms: NOW_MS,
            has_tombstones: false,
        };
        blocks.insert(start, merged);
    }

    proptest! {
        #[test]
        fn plans_come_to_an_end_and_leave_one_final_block(blocks in any_blocks(), is_forced in any::<bool>()) {
            let state = if is_forced { DayState::Forced } else { DayState::Quiet };
            let mut blocks = blocks;
            let limit = blocks.len() + 2;
            // Late blocks may wait; after their time everything is one block.
            let now_ms = NOW_MS + LATE_AGE_MS;
            for step in 0.. {
                prop_assert!(step <= limit, "no end: {blocks:?}");
                let Some(plan) = choose(&blocks, state, u64::MAX, now_ms) else { break };
                prop_assert!(!plan.inputs.is_empty() && plan.inputs.len() <= INPUT_COUNT_MAX);
                apply(&mut blocks, &plan, u64::MAX / 2 + step as u64);
            }
            prop_assert!(blocks.len() <= 1);
            prop_assert!(blocks.iter().all(|block| block.level == FINAL_LEVEL));
            prop_assert!(!is_forced || blocks.iter().all(|block| !block.has_tombstones));
        }

        #[test]
        fn an_open_day_comes_to_rest_with_no_long_run_of_equals(blocks in any_blocks()) {
            let mut blocks = blocks;
            let limit = blocks.len();
            for step in 0.. {
                prop_assert!(step <= limit, "no end: {blocks:?}");
                let Some(plan) = choose(&blocks, DayState::Open, u64::MAX, NOW_MS) else { break };
                prop_assert!(plan.inputs.len() >= TIER_COUNT_MIN && plan.level < FINAL_LEVEL);
                apply(&mut blocks, &plan, u64::MAX / 2 + step as u64);
            }
            let is_equal = |run: &[BlockFacts]| run.iter().all(|block| block.level < FINAL_LEVEL && block.file_bytes <= TIER_BYTES_MIN);
            prop_assert!(!blocks.windows(TIER_COUNT_MIN).any(is_equal), "{blocks:?}");
        }

        #[test]
        fn inputs_stay_within_the_bytes(blocks in any_blocks(), bytes_max in 0..1_u64 << 36, state in 0..3_u8) {
            let state = [DayState::Open, DayState::Quiet, DayState::Forced][usize::from(state)];
            if let Some(plan) = choose(&blocks, state, bytes_max, NOW_MS) {
                let run: Vec<BlockFacts> =
                    blocks.iter().filter(|block| plan.inputs.contains(&block.id)).cloned().collect();
                prop_assert!(total_bytes(&run) <= bytes_max);
            }
        }
    }

    #[test]
    fn four_neighbours_of_similar_size_are_merged_while_the_day_is_open() {
        let mut blocks: Vec<BlockFacts> = (1..=3).map(|id| block(id, 0, 10 << 20)).collect();
        assert_eq!(inputs(&blocks, DayState::Open), Vec::<u64>::new());
        blocks.push(block(4, 0, 30 << 20));
        assert_eq!(inputs(&blocks, DayState::Open), [1, 2, 3, 4]);
        // A block of another size between them keeps them apart.
        blocks[1].file_bytes = 1000 << 20;
        assert_eq!(inputs(&blocks, DayState::Open), Vec::<u64>::new());
    }

    #[test]
    fn a_tiny_late_block_waits_and_a_large_one_does_not() {
        let day = block(1, FINAL_LEVEL, 10 << 30);
        let tiny = block(2, 0, 1 << 20);
        assert_eq!(inputs(&[day.clone(), tiny.clone()], DayState::Quiet), Vec::<u64>::new());
        assert_eq!(inputs(&[day.clone(), block(2, 0, 2 << 30)], DayState::Quiet), [1, 2]);
        assert_eq!(inputs(&[day.clone(), tiny.clone()], DayState::Forced), [1, 2]);
        let waited = BlockFacts { seen_ms: NOW_MS - LATE_AGE_MS, ..tiny };
        assert_eq!(inputs(&[day, waited], DayState::Quiet), [1, 2]);
    }

    #[test]
    fn a_final_block_alone_is_left_alone_unless_something_was_deleted_and_somebody_asks() {
        let mut day = block(1, FINAL_LEVEL, 10 << 20);
        assert_eq!(inputs(&[day.clone()], DayState::Forced), Vec::<u64>::new());
        day.has_tombstones = true;
        assert_eq!(inputs(&[day.clone()], DayState::Quiet), Vec::<u64>::new());
        assert_eq!(inputs(&[day], DayState::Forced), [1]);
    }
}

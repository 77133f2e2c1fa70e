//! `and`, `or`, `unless`: which series stay at which steps.

use super::block::{Block, Operand, duplicate_labels};
use super::labels::{KeyIndex, KeyRule};
use crate::engine::EvalError;
use crate::kernel::{ABSENT, is_absent};
use crate::parse::ast::{Binary, BinaryOp, VectorMatching};

/// The rule by which series of both sides find each other.
pub(crate) fn match_rule(matching: &VectorMatching) -> KeyRule {
    if matching.is_on { KeyRule::only(&matching.labels) } else { KeyRule::without(&matching.labels) }
}

/// Per match group and step, whether any series has a value.
struct Presence {
    step_count: usize,
    present: Vec<bool>,
}

impl Presence {
    fn new(block: &Block, groups: &[usize], group_count: usize) -> Self {
        let step_count = block.step_count;
        let mut present = vec![false; group_count * step_count];
        for (index, group) in groups.iter().enumerate() {
            let flags = &mut present[group * step_count..(group + 1) * step_count];
            for (flag, value) in flags.iter_mut().zip(block.row(index)) {
                *flag |= !is_absent(*value);
            }
        }
        Self { step_count, present }
    }

    fn row(&self, group: usize) -> &[bool] {
        &self.present[group * self.step_count..(group + 1) * self.step_count]
    }
}

/// Removes values of `block` at steps where the presence of their group is not `wanted`.
fn filter(block: &mut Block, groups: &[usize], presence: &Presence, wanted: bool) {
    for (index, group) in groups.iter().enumerate() {
        let flags = presence.row(*group);
        for (value, flag) in block.row_mut(index).iter_mut().zip(flags) {
            if *flag != wanted {
                *value = ABSENT;
            }
        }
    }
    block.retain_present();
}

/// Applies a set operator.
pub(crate) fn apply(operation: &Binary, mut left: Block, mut right: Block) -> Result<Block, EvalError> {
    let mut keys = KeyIndex::new(match_rule(&operation.matching));
    let left_groups: Vec<usize> = left.labels.iter().map(|labels| keys.number(&labels.set).0).collect();
    let right_groups: Vec<usize> = right.labels.iter().map(|labels| keys.number(&labels.set).0).collect();
    match operation.op {
        BinaryOp::And => {
            filter(&mut left, &left_groups, &Presence::new(&right, &right_groups, keys.len()), true);
            Ok(left)
        }
        BinaryOp::Unless => {
            filter(&mut left, &left_groups, &Presence::new(&right, &right_groups, keys.len()), false);
            Ok(left)
        }
        _ => {
            filter(&mut right, &right_groups, &Presence::new(&left, &left_groups, keys.len()), false);
            concatenate(left, right)
        }
    }
}

/// The series of both sides; those with equal labels become one.
fn concatenate(mut left: Block, right: Block) -> Result<Block, EvalError> {
    if left.len() == 0 {
        return Ok(right);
    }
    left.append(right);
    if left.step_count == 1 && has_meeting_names(&left) { Ok(left) } else { merged(left) }
}

/// In an instant query series whose names are dropped later may look alike until then.
fn has_meeting_names(block: &Block) -> bool {
    block.labels.iter().any(|labels| labels.drop_name)
}

fn merged(mut block: Block) -> Result<Block, EvalError> {
    block.merge_duplicates().map_err(|_| duplicate_labels())?;
    Ok(block)
}

impl From<Block> for Operand {
    fn from(block: Block) -> Self {
        Self::Vector(block)
    }
}

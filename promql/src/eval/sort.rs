//! `sort`, `sort_desc`, `sort_by_label`, `sort_by_label_desc`: order matters in instant queries only.

use std::cmp::Ordering;

use super::block::Block;
use super::call::Call;
use crate::engine::EvalError;

/// Sorts the series of an instant query; in a range query it only warns.
pub(crate) fn sort(call: &Call<'_>) -> Result<Block, EvalError> {
    let mut block = call.vector(0)?;
    if matches!(call.function, "sort" | "sort_desc") {
        block.drop_histograms();
    }
    if call.grid.count != 1 {
        call.ctx.warn(
            call.expr.span,
            "sort is ineffective for range queries since results are always ordered by labels",
        );
        return Ok(block);
    }
    let names = (1..call.args.len()).map(|index| call.text(index)).collect::<Result<Vec<_>, _>>()?;
    let mut order: Vec<usize> = (0..block.len()).collect();
    let labels = |index: usize| &block.labels[index].set;
    match call.function {
        "sort" => order.sort_by(|left, right| nan_last(block.values[*left], block.values[*right], false)),
        "sort_desc" => order.sort_by(|left, right| nan_last(block.values[*left], block.values[*right], true)),
        function => {
            let is_descending = function == "sort_by_label_desc";
            order.sort_by(|left, right| {
                let by_names = names.iter().map(|name| {
                    let value = |index: usize| labels(index).get(name).unwrap_or("");
                    natural(value(*left), value(*right))
                });
                let ordering = by_names
                    .fold(Ordering::Equal, Ordering::then)
                    .then_with(|| labels(*left).cmp(labels(*right)));
                if is_descending { ordering.reverse() } else { ordering }
            });
        }
    }
    Ok(block.reordered(&order))
}

/// Orders numbers with NaN at the end in both directions.
pub(crate) fn nan_last(left: f64, right: f64, is_descending: bool) -> Ordering {
    match (left.is_nan(), right.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let ordering = left.partial_cmp(&right).unwrap_or(Ordering::Equal);
            if is_descending { ordering.reverse() } else { ordering }
        }
    }
}

/// Splits off the leading run of digits or of anything else.
fn next_chunk(text: &str) -> (&str, &str) {
    let Some(first) = text.chars().next() else { return ("", "") };
    let is_digit = first.is_ascii_digit();
    let end = text.find(|character: char| character.is_ascii_digit() != is_digit).unwrap_or(text.len());
    text.split_at(end)
}

/// Orders texts as people do: runs of digits as numbers, the rest by bytes.
fn natural(mut left: &str, mut right: &str) -> Ordering {
    while !left.is_empty() && !right.is_empty() {
        let (left_chunk, left_rest) = next_chunk(left);
        let (right_chunk, right_rest) = next_chunk(right);
        let ordering = match (left_chunk.parse::<u64>(), right_chunk.parse::<u64>()) {
            (Ok(left_number), Ok(right_number)) => left_number.cmp(&right_number),
            _ => left_chunk.cmp(right_chunk),
        };
        if ordering != Ordering::Equal {
            return ordering;
        }
        (left, right) = (left_rest, right_rest);
    }
    left.len().cmp(&right.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_texts_are_compared_as_numbers() {
        let mut texts = ["node10", "node2", "node1", "", "node"];
        texts.sort_by(|left, right| natural(left, right));
        assert_eq!(texts, ["", "node", "node1", "node2", "node10"]);
    }

    #[test]
    fn nan_is_last_in_both_directions() {
        let mut values = [f64::NAN, 1.0, 2.0];
        values.sort_by(|left, right| nan_last(*left, *right, true));
        assert_eq!(values[..2], [2.0, 1.0]);
    }
}

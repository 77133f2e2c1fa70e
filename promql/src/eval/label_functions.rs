//! `label_replace` and `label_join`: they change labels and look at no value.

use mytsdb_storage::model::{LabelSet, METRIC_NAME, go_regex_to_rust};
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;

use super::block::Block;
use super::call::Call;
use super::context::execution;
use super::labels::{LabelBudget, with_label};
use crate::engine::EvalError;

/// A label name that Prometheus accepts: any text, but some, and UTF-8.
fn label_name(call: &Call<'_>, index: usize, role: &str) -> Result<String, EvalError> {
    let bytes = call.bytes(index)?;
    match String::from_utf8(bytes) {
        Ok(name) if !name.is_empty() => Ok(name),
        Ok(name) => Err(execution(format!("invalid {role} label name in {}(): {name}", call.function))),
        Err(error) => {
            let name = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Err(execution(format!("invalid {role} label name in {}(): {name}", call.function)))
        }
    }
}

/// Gives every series the labels that `change` returns, and joins those that are equal then.
fn relabel(
    call: &Call<'_>,
    destination: &str,
    value_of: impl Fn(&LabelSet, &LabelBudget<'_>) -> Result<Option<String>, EvalError>,
) -> Result<Block, EvalError> {
    let mut block = call.vector(0)?;
    let mut budget = LabelBudget::new(call.ctx);
    for labels in &mut block.labels {
        if let Some(value) = value_of(&labels.set, &budget)? {
            labels.set = with_label(&labels.set, destination, &value);
            budget.add(&labels.set)?;
            if destination == METRIC_NAME {
                labels.drop_name = false;
            }
        }
    }
    block.hold(budget.finish()?);
    block.merge_duplicates()?;
    Ok(block)
}

/// `label_replace(v, dst, replacement, src, regex)`.
pub(crate) fn label_replace(call: &Call<'_>) -> Result<Block, EvalError> {
    let pattern = call.text(4)?;
    let regex = go_regex_to_rust(&pattern)
        .ok()
        .and_then(|translated| Regex::new(&format!("^(?s:{translated})$")).ok())
        .ok_or_else(|| execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    // Nested calls have theirs at the same time.
    let _reservation = call.ctx.reserve(regex.memory_usage(), String::new)?;
    let destination = label_name(call, 1, "destination")?;
    let replacement = call.text(2)?;
    let source = call.text(3)?;
    relabel(call, &destination, |labels, budget| {
        let value = labels.get(&source).unwrap_or("");
        let mut captures = regex.create_captures();
        regex.captures(value, &mut captures);
        if !captures.is_match() {
            return Ok(None);
        }
        let mut bytes = 0;
        expand(&replacement, value, &captures, |part| bytes += part.len());
        budget.check(bytes)?;
        let mut expanded = String::with_capacity(bytes);
        expand(&replacement, value, &captures, |part| expanded.push_str(part));
        Ok(Some(expanded))
    })
}

/// `label_join(v, dst, separator, src…)`.
pub(crate) fn label_join(call: &Call<'_>) -> Result<Block, EvalError> {
    let separator = call.text(2)?;
    let sources =
        (3..call.args.len()).map(|index| label_name(call, index, "source")).collect::<Result<Vec<_>, _>>()?;
    let destination = label_name(call, 1, "destination")?;
    relabel(call, &destination, |labels, budget| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
        budget.check(values.iter().map(|value| value.len() + separator.len()).sum())?;
        Ok(Some(values.join(&separator)))
    })
}

/// The name of a reference after `$`, and what follows it.
fn reference(template: &str) -> Option<(&str, &str)> {
    let (body, is_braced) = match template.strip_prefix('{') {
        Some(body) => (body, true),
        None => (template, false),
    };
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let end = body.find(|character| !is_name(character)).unwrap_or(body.len());
    let (name, rest) = body.split_at(end);
    if name.is_empty() {
        return None;
    }
    if is_braced { rest.strip_prefix('}').map(|rest| (name, rest)) } else { Some((name, rest)) }
}

/// The number that a name stands for, as Go reads it (`0`, `12`, not `01`).
fn group_number(name: &str) -> Option<usize> {
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if is_number { name.parse().ok() } else { None }
}

/// Replaces `$1`, `${1}`, `$name`, `${name}`, `$$` as Go's `Regexp.Expand` does; writes the result part by part.
fn expand<'a>(template: &'a str, text: &'a str, captures: &Captures, mut write: impl FnMut(&'a str)) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        write(before);
        if let Some(after) = after.strip_prefix('$') {
            write("$");
            rest = after;
            continue;
        }
        let Some((name, after)) = reference(after) else {
            write("$");
            rest = after;
            continue;
        };
        let span = match group_number(name) {
            Some(number) => captures.get_group(number),
            None => captures.get_group_by_name(name),
        };
        if let Some(part) = span.and_then(|span| text.get(span.range())) {
            write(part);
        }
        rest = after;
    }
    write(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, template: &str, expected: &str) {
        let regex = Regex::new(pattern).unwrap();
        let mut captures = regex.create_captures();
        regex.captures(text, &mut captures);
        let mut expanded = String::new();
        expand(template, text, &captures, |part| expanded.push_str(part));
        assert_eq!(expanded, expected, "{template}");
    }

    #[test]
    fn templates_are_expanded_as_go_does() {
        check("(.)(?P<word>.*)", "abc", "$1-${word}-$$", "a-bc-$");
        check("(.*)", "abc", "$1x", "");
        check("(.*)", "abc", "${1}x", "abcx");
        check("(.*)", "abc", "$ ${ $01 $9", "$ ${  ");
    }
}

//! Random matchers, with a second opinion on what they match.

use mytsdb_storage::model::{MatchOp, Matcher};

use super::random::Random;
use super::series;

/// What a value is compared with.
#[derive(Debug, Clone)]
enum Wanted {
    Exact(String),
    OneOf(Vec<String>),
    Prefix(String),
    Suffix(String),
    NonEmpty,
    Anything,
}

/// A matcher and its meaning, which no regular expression engine decides.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    name: &'static str,
    is_negated: bool,
    wanted: Wanted,
}

impl Condition {
    pub(super) fn random(random: &mut Random, newest_id: u32) -> Self {
        let name = *random.pick(&["__name__", "container", "pod", "zone", "absent", "ü"]);
        let value = |random: &mut Random| {
            if random.one_in(8) {
                return String::new();
            }
            let oldest_id = newest_id.saturating_sub(60);
            series::label(random.between(oldest_id.into(), newest_id.into()) as u32, name)
        };
        let wanted = match random.below(8) {
            0..3 => Wanted::Exact(value(random)),
            3 | 4 => Wanted::OneOf((0..=random.below(4)).map(|_| value(random)).collect()),
            5 => {
                let text = value(random);
                let length = text.chars().count() as u64;
                Wanted::Prefix(text.chars().take(random.below(length + 1) as usize).collect())
            }
            6 => {
                let text = value(random);
                let length = text.chars().count() as u64;
                Wanted::Suffix(text.chars().skip(random.below(length + 1) as usize).collect())
            }
            _ if random.one_in(2) => Wanted::NonEmpty,
            _ => Wanted::Anything,
        };
        Self { name, is_negated: random.one_in(3), wanted }
    }

    pub(super) fn matches(&self, id: u32) -> bool {
        let value = series::label(id, self.name);
        let is_wanted = match &self.wanted {
            Wanted::Exact(text) => value == *text,
            Wanted::OneOf(texts) => texts.contains(&value),
            Wanted::Prefix(text) => value.starts_with(text),
            Wanted::Suffix(text) => value.ends_with(text),
            Wanted::NonEmpty => !value.is_empty(),
            Wanted::Anything => true,
        };
        is_wanted != self.is_negated
    }

    pub(super) fn matcher(&self) -> Matcher {
        let regex = |pattern: String| {
            let op = if self.is_negated { MatchOp::NotRegex } else { MatchOp::Regex };
            Matcher::new(op, self.name, &pattern).unwrap()
        };
        match &self.wanted {
            Wanted::Exact(text) => {
                let op = if self.is_negated { MatchOp::NotEqual } else { MatchOp::Equal };
                Matcher::new(op, self.name, text).unwrap()
            }
            Wanted::OneOf(texts) => {
                regex(texts.iter().map(|text| escape(text)).collect::<Vec<_>>().join("|"))
            }
            Wanted::Prefix(text) => regex(escape(text) + ".*"),
            Wanted::Suffix(text) => regex(format!(".*{}", escape(text))),
            Wanted::NonEmpty => regex(".+".to_owned()),
            Wanted::Anything => regex(".*".to_owned()),
        }
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if r".+*?()|[]{}^$\".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

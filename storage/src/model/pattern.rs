//! What a regular expression on label values really asks for, found out once from its syntax tree.
//!
//! Most matchers of dashboards are no regular expressions at heart: `a|b|c` is a set, `api-.*` a prefix, `.+` means
//! "has the label". [`Pattern`] recognises these, so that an index looks values up instead of testing each, and so
//! that testing one value is a comparison. Everything else runs on `regex-automata`, with its literal prefix known.
//! Not here: negation and absent labels (see [`crate::model::Matcher`]).

use regex_automata::Input;
use regex_automata::meta::{BuildError, Regex};
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use super::go_regex::go_regex_to_rust;

/// Most bytes a compiled pattern may take.
const REGEX_SIZE_BYTES_MAX: usize = 16 << 20;
/// A pattern shorter than this may still stand for this many literals (`[0-9][0-9]`).
const LITERAL_COUNT_MIN: usize = 256;
/// Longest literal that is taken out of a pattern.
const LITERAL_BYTES_MAX: usize = 4096;
/// Up to this many literals comparing one by one is faster than searching.
const LINEAR_LITERAL_COUNT: usize = 8;

/// An anchored pattern, by what it needs to be evaluated. `.` matches every character, newlines too.
#[derive(Debug)]
pub(crate) enum Pattern {
    /// `.*`: every value, the empty one too.
    Everything,
    /// `.+`: every value but the empty one.
    NonEmpty,
    /// `a|b`: exactly these values, sorted and distinct; may hold the empty one.
    Literals(Box<[String]>),
    /// `text.*`
    StartsWith(String),
    /// `.*text`
    EndsWith(String),
    /// `.*text.*`
    Contains(String),
    /// Anything else.
    Regex {
        /// What every matching value starts with; may be empty.
        prefix: String,
        /// The compiled pattern, anchored at both ends.
        regex: Box<Regex>,
    },
}

impl Pattern {
    /// Parses and, only where needed, compiles `pattern`, which is read as Go reads it.
    ///
    /// # Errors
    /// What the regex engine says, as text.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let hir = regex_syntax::ParserBuilder::new()
            .dot_matches_new_line(true)
            .build()
            .parse(&go_regex_to_rust(pattern)?)
            .map_err(|error| error.to_string())?;
        let body = without_outer_anchors(&hir);
        if body.properties().look_set().is_empty() {
            let literal_count_max = LITERAL_COUNT_MIN.max(pattern.len());
            if let Some(simple) = affix(&body).or_else(|| literals(&body, literal_count_max)) {
                return Ok(simple);
            }
            let prefix = literal_prefix(&body);
            return compile(body).map(|regex| Self::Regex { prefix, regex });
        }
        compile(body).map(|regex| Self::Regex { prefix: String::new(), regex })
    }

    /// Returns whether the whole of `value` matches.
    #[inline]
    pub(crate) fn is_match(&self, value: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::NonEmpty => !value.is_empty(),
            Self::Literals(literals) if literals.len() <= LINEAR_LITERAL_COUNT => {
                literals.iter().any(|literal| literal == value)
            }
            Self::Literals(literals) => {
                literals.binary_search_by(|literal| literal.as_str().cmp(value)).is_ok()
            }
            Self::StartsWith(prefix) => value.starts_with(prefix.as_str()),
            Self::EndsWith(suffix) => value.ends_with(suffix.as_str()),
            Self::Contains(infix) => value.contains(infix.as_str()),
            Self::Regex { prefix, regex } => {
                // An empty prefix is not compared; see the note in `index::reader`.
                let may_match = prefix.is_empty() || value.starts_with(prefix.as_str());
                may_match && regex.is_match(Input::new(value))
            }
        }
    }

    /// Bytes that the pattern takes in memory, without what its evaluation takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Everything | Self::NonEmpty => 0,
            Self::Literals(literals) => {
                literals.iter().map(|literal| literal.len() + size_of::<String>()).sum()
            }
            Self::StartsWith(text) | Self::EndsWith(text) | Self::Contains(text) => text.len(),
            Self::Regex { prefix, regex } => prefix.len() + regex.memory_usage(),
        }
    }

    /// What every matching value starts with; `""` if nothing is known.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::StartsWith(prefix) | Self::Regex { prefix, .. } => prefix,
            _ => "",
        }
    }
}

fn compile(body: Hir) -> Result<Box<Regex>, String> {
    let anchored = Hir::concat(vec![Hir::look(Look::Start), body, Hir::look(Look::End)]);
    Regex::builder()
        .configure(Regex::config().nfa_size_limit(Some(REGEX_SIZE_BYTES_MAX)))
        .build_from_hir(&anchored)
        .map(Box::new)
        .map_err(|error: BuildError| error.to_string())
}

/// Takes off `^` and `$` at the rim, which change nothing in an anchored pattern.
fn without_outer_anchors(hir: &Hir) -> Hir {
    let HirKind::Concat(parts) = hir.kind() else {
        return match hir.kind() {
            HirKind::Look(Look::Start | Look::End) => Hir::empty(),
            _ => hir.clone(),
        };
    };
    let mut rest = parts.as_slice();
    while let [first, tail @ ..] = rest {
        if !matches!(first.kind(), HirKind::Look(Look::Start)) {
            break;
        }
        rest = tail;
    }
    while let [head @ .., last] = rest {
        if !matches!(last.kind(), HirKind::Look(Look::End)) {
            break;
        }
        rest = head;
    }
    Hir::concat(rest.to_vec())
}

/// Recognises `.*`, `.+`, `text.*`, `.*text` and `.*text.*`.
fn affix(body: &Hir) -> Option<Pattern> {
    let whole = [body.clone()];
    let parts = match body.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => whole.as_slice(),
    };
    match parts {
        [only] if is_any_repeated(only, 0) => Some(Pattern::Everything),
        [only] if is_any_repeated(only, 1) => Some(Pattern::NonEmpty),
        [text, rest] if is_any_repeated(rest, 0) => Some(Pattern::StartsWith(literal(text)?)),
        [rest, text] if is_any_repeated(rest, 0) => Some(Pattern::EndsWith(literal(text)?)),
        [before, text, after] if is_any_repeated(before, 0) && is_any_repeated(after, 0) => {
            Some(Pattern::Contains(literal(text)?))
        }
        _ => None,
    }
}

/// Returns whether `hir` is `.{min,}` with a dot that matches every character.
fn is_any_repeated(hir: &Hir, min: u32) -> bool {
    match hir.kind() {
        HirKind::Capture(capture) => is_any_repeated(&capture.sub, min),
        HirKind::Repetition(Repetition { min: found, max: None, sub, .. }) => {
            *found == min && is_any_character(sub)
        }
        _ => false,
    }
}

fn is_any_character(hir: &Hir) -> bool {
    let HirKind::Class(Class::Unicode(class)) = hir.kind() else {
        return false;
    };
    matches!(class.ranges(), [range] if range.start() == '\0' && range.end() == char::MAX)
}

fn literal(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Capture(capture) => literal(&capture.sub),
        HirKind::Literal(bytes) => String::from_utf8(bytes.0.to_vec()).ok(),
        _ => None,
    }
}

/// Lists the values that match, if there are few enough of them. `body` must be free of look-around.
fn literals(body: &Hir, count_max: usize) -> Option<Pattern> {
    let extractor = Extractor::new()
        .limit_class(LITERAL_COUNT_MIN)
        .limit_repeat(16)
        .limit_literal_len(LITERAL_BYTES_MAX)
        .limit_total(count_max)
        .clone();
    // The extractor takes quadratic time for an alternation, so its branches are asked one by one. What all branches
    // begin with was taken out of the alternation by the parser.
    let (start, branches) = match body.kind() {
        HirKind::Alternation(branches) => ("", branches.as_slice()),
        HirKind::Concat(parts) => match parts.as_slice() {
            [start, rest] => match (start.kind(), rest.kind()) {
                (HirKind::Literal(start), HirKind::Alternation(branches)) => {
                    (std::str::from_utf8(&start.0).ok()?, branches.as_slice())
                }
                _ => ("", std::slice::from_ref(body)),
            },
            _ => ("", std::slice::from_ref(body)),
        },
        HirKind::Capture(capture) => return literals(&capture.sub, count_max),
        _ => ("", std::slice::from_ref(body)),
    };
    let mut literals = Vec::new();
    for branch in branches {
        let found = extractor.extract(branch);
        if !found.is_exact() {
            return None;
        }
        for literal in found.literals()? {
            literals.push(format!("{start}{}", std::str::from_utf8(literal.as_bytes()).ok()?));
        }
        if literals.len() > count_max {
            return None;
        }
    }
    literals.sort_unstable();
    literals.dedup();
    Some(Pattern::Literals(literals.into()))
}

/// Returns what every match of `body` starts with. `body` must be free of look-around.
fn literal_prefix(body: &Hir) -> String {
    let found = Extractor::new().extract(body);
    let bytes = found.longest_common_prefix().unwrap_or_default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or(""),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn describe(pattern: &str) -> String {
        match Pattern::new(pattern).unwrap() {
            Pattern::Everything => "everything".into(),
            Pattern::NonEmpty => "non-empty".into(),
            Pattern::Literals(literals) => format!("literals {}", literals.join(",")),
            Pattern::StartsWith(text) => format!("starts with {text}"),
            Pattern::EndsWith(text) => format!("ends with {text}"),
            Pattern::Contains(text) => format!("contains {text}"),
            Pattern::Regex { prefix, .. } => format!("regex {prefix}"),
        }
    }

    #[test]
    fn common_patterns_are_recognised() {
        for (pattern, expected) in [
            (".*", "everything"),
            ("(.*)", "everything"),
            ("^.*$", "everything"),
            (".+", "non-empty"),
            ("", "literals "),
            ("^$", "literals "),
            ("api", "literals api"),
            ("b|a|b", "literals a,b"),
            ("(b|a)", "literals a,b"),
            ("^(?:a|b)$", "literals a,b"),
            ("a|", "literals ,a"),
            ("pod-[0-2]", "literals pod-0,pod-1,pod-2"),
            ("(?i)ab", "literals AB,Ab,aB,ab"),
            ("api-.*", "starts with api-"),
            ("api-(.*)", "starts with api-"),
            (".*-db", "ends with -db"),
            (".*api.*", "contains api"),
            ("api-.+", "regex api-"),
            ("api-[0-9]+", "regex api-"),
            ("ü[0-9]+", "regex ü"),
            ("[äö].+", "regex "),
            (".*a.*b.*", "regex "),
            ("(?-s).*", "regex "),
            ("a$|^b", "regex "),
            ("a\\b.*", "regex "),
        ] {
            assert_eq!(describe(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn a_set_of_thousands_stays_a_set() {
        let names: Vec<String> = (0..5000).map(|number| format!("pod-{number:05}")).collect();
        let pattern = Pattern::new(&names.join("|")).unwrap();
        assert!(matches!(&pattern, Pattern::Literals(literals) if literals.len() == 5000));
        assert!(pattern.is_match("pod-04999") && !pattern.is_match("pod-05000"));
    }

    #[test]
    fn unbalanced_groups_are_refused() {
        assert!(Pattern::new("a)(b").is_err());
    }

    proptest! {
        #[test]
        fn every_pattern_agrees_with_the_plain_engine(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "a", "b", "ab", ".*", ".+", ".", "|", "(a|b)", "(a|)", "[ab]", "a?", "a*", "b+", "ü", "^", "$",
                    "(?i:a)", "\\b", "a{2}", "[^a]",
                ]),
                0..6,
            ),
            values in proptest::collection::vec("[abAüé\n]{0,5}", 1..20),
        ) {
            let text = pieces.concat();
            let plain = Regex::new(&format!("^(?s:{})$", go_regex_to_rust(&text).unwrap()));
            let pattern = Pattern::new(&text);
            prop_assert_eq!(plain.is_ok(), pattern.is_ok());
            if let (Ok(plain), Ok(pattern)) = (plain, pattern) {
                for value in &values {
                    prop_assert_eq!(pattern.is_match(value), plain.is_match(value), "{:?} on {:?}", pattern, value);
                    prop_assert!(!pattern.is_match(value) || value.starts_with(pattern.prefix()));
                }
            }
        }
    }
}

//! Go's regular expressions for Rust's engine: same texts, same meaning.
//!
//! Input: a pattern in RE2 syntax as Go reads it. Output: a pattern that means the same to `regex-syntax`, or Go's words
//! for what is wrong with it. What both read alike passes through; whatever else is wrong is found when compiling.
//!
//! What differs: `\Q…\E`; octal escapes; `\d \s \w` and `\b` are ASCII in Go; `\<` and `\>` are letters there; `[`, `&&`,
//! `--` and `~~` are ordinary inside `[ ]`; a `{` that counts nothing is a letter; `x**` and the flags `x`, `u` and `R`
//! are errors.
//!
//! Source: Go `regexp/syntax/parse.go`.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::CharIndices;

/// Translates a pattern of Go's `regexp` for Rust's engines; groups keep their numbers and names.
///
/// # Errors
/// What Go refuses and Rust would take, in Go's words.
pub fn go_regex_to_rust(pattern: &str) -> Result<String, String> {
    let mut translator = Translator {
        pattern,
        rest: pattern.char_indices().peekable(),
        out: String::with_capacity(pattern.len() + 8),
        group_depth: 0,
        last_repetition: None,
    };
    translator.run()?;
    Ok(translator.out)
}

struct Translator<'p> {
    pattern: &'p str,
    rest: Peekable<CharIndices<'p>>,
    out: String,
    group_depth: usize,
    /// Start of the repetition operator just read, which must not be repeated itself.
    last_repetition: Option<usize>,
}

/// The members of Go's `\d`, `\s` and `\w`, as they stand inside brackets.
fn class_members(letter: char) -> Option<(&'static str, bool)> {
    Some(match letter {
        'd' | 'D' => ("0-9", letter == 'D'),
        's' | 'S' => (r"\t\n\f\r ", letter == 'S'),
        'w' | 'W' => ("0-9A-Za-z_", letter == 'W'),
        _ => return None,
    })
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some((start, character)) = self.rest.next() {
            let repeated = self.last_repetition.take();
            match character {
                '\\' => self.escape(start),
                '[' => self.class(),
                '(' => self.group(start)?,
                ')' => {
                    // The engine sees the pattern inside a group, where this might close that one.
                    let Some(depth) = self.group_depth.checked_sub(1) else {
                        return Err(format!("unexpected ): `{}`", self.pattern));
                    };
                    self.group_depth = depth;
                    self.out.push(')');
                }
                '*' | '+' | '?' => {
                    self.out.push(character);
                    self.repetition(start, repeated)?;
                }
                '{' => match self.count(start) {
                    Some(length) => {
                        self.out.push_str(&self.pattern[start..start + length]);
                        self.skip_to(start + length);
                        self.repetition(start, repeated)?;
                    }
                    None => self.out.push_str(r"\{"),
                },
                '}' => self.out.push_str(r"\}"),
                ']' => self.out.push_str(r"\]"),
                _ => self.out.push(character),
            }
        }
        Ok(())
    }

    fn position(&mut self) -> usize {
        self.rest.peek().map_or(self.pattern.len(), |(position, _)| *position)
    }

    fn skip_to(&mut self, end: usize) {
        while self.rest.next_if(|(position, _)| *position < end).is_some() {}
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.rest.peek().is_some_and(|(_, character)| *character == wanted)
    }

    /// Takes the `?` of a lazy repetition, and refuses to repeat a repetition.
    fn repetition(&mut self, start: usize, repeated: Option<usize>) -> Result<(), String> {
        if self.rest.next_if(|(_, character)| *character == '?').is_some() {
            self.out.push('?');
        }
        let end = self.position();
        if let Some(first) = repeated {
            return Err(format!("invalid nested repetition operator: `{}`", &self.pattern[first..end]));
        }
        self.last_repetition = Some(start);
        Ok(())
    }

    /// The length of `{n}`, `{n,}` or `{n,m}` at `start`; anything else is ordinary text.
    fn count(&self, start: usize) -> Option<usize> {
        let inside = &self.pattern[start + 1..];
        let end = inside.find('}')?;
        let (low, high) = inside[..end].split_once(',').unwrap_or((&inside[..end], ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (!low.is_empty() && are_digits(low) && are_digits(high)).then_some(end + 2)
    }

    fn group(&mut self, start: usize) -> Result<(), String> {
        self.group_depth += 1;
        self.out.push('(');
        if self.rest.next_if(|(_, character)| *character == '?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        for (position, character) in self.rest.by_ref() {
            self.out.push(character);
            match character {
                'i' | 'm' | 's' | 'U' | '-' => {}
                ':' => break,
                ')' => {
                    self.group_depth -= 1;
                    break;
                }
                // A name, or something that the engine refuses.
                'P' | '<' => break,
                _ => {
                    let end = position + character.len_utf8();
                    let shown = &self.pattern[start..end];
                    return Err(format!("invalid or unsupported Perl syntax: `{shown}`"));
                }
            }
        }
        Ok(())
    }

    fn escape(&mut self, start: usize) {
        let Some((_, letter)) = self.rest.next() else {
            self.out.push('\\');
            return;
        };
        if let Some((members, is_negated)) = class_members(letter) {
            let caret = if is_negated { "^" } else { "" };
            let _infallible = write!(self.out, "[{caret}{members}]");
            return;
        }
        match letter {
            'Q' => self.literal(start + 2),
            'b' => self.out.push_str(r"(?-u:\b)"),
            _ => self.escaped_char(letter),
        }
    }

    /// Writes the text up to `\E` or the end as it is.
    fn literal(&mut self, start: usize) {
        let inside = &self.pattern[start..];
        let length = inside.find(r"\E").unwrap_or(inside.len());
        for character in inside[..length].chars() {
            push_literal(&mut self.out, character);
        }
        self.skip_to(start + length + 2);
    }

    /// Writes an escape that means one character, inside or outside of brackets.
    fn escaped_char(&mut self, letter: char) {
        match letter {
            '0'..='7' => {
                let is_octal_next = self.rest.peek().is_some_and(|(_, next)| matches!(next, '0'..='7'));
                if letter != '0' && !is_octal_next {
                    // A back reference, which both refuse.
                    self.out.push('\\');
                    self.out.push(letter);
                    return;
                }
                let mut code = letter.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    if let Some((_, digit)) = self.rest.next_if(|(_, next)| matches!(next, '0'..='7')) {
                        code = code * 8 + digit.to_digit(8).unwrap_or(0);
                    }
                }
                let _infallible = write!(self.out, r"\x{{{code:x}}}");
            }
            // `\x{41}`, `\p{Greek}`: the braces are no count.
            'x' | 'p' | 'P' => {
                self.out.push('\\');
                self.out.push(letter);
                if self.next_is('{') {
                    for (_, character) in self.rest.by_ref() {
                        self.out.push(character);
                        if character == '}' {
                            break;
                        }
                    }
                }
            }
            _ if letter.is_ascii_alphanumeric() || !letter.is_ascii() => {
                self.out.push('\\');
                self.out.push(letter);
            }
            _ => push_literal(&mut self.out, letter),
        }
    }

    /// Translates the inside of brackets; the opening one is read.
    fn class(&mut self) {
        self.out.push('[');
        if self.rest.next_if(|(_, character)| *character == '^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        while let Some((start, character)) = self.rest.next() {
            if character == ']' && !is_first {
                self.out.push(']');
                return;
            }
            is_first = false;
            if character == '[' && self.named_class(start) {
                continue;
            }
            if character == '\\' && self.class_escape() {
                continue;
            }
            if character != '\\' {
                push_literal(&mut self.out, character);
            }
            self.range_end();
        }
    }

    /// Writes `[:alpha:]` if that is what stands at `start`.
    fn named_class(&mut self, start: usize) -> bool {
        let inside = &self.pattern[start..];
        let Some(length) = inside.strip_prefix("[:").and_then(|name| name.find(":]")) else { return false };
        let name = &inside[2..2 + length];
        if !name.trim_start_matches('^').bytes().all(|byte| byte.is_ascii_lowercase()) {
            return false;
        }
        self.out.push_str(&inside[..length + 4]);
        self.skip_to(start + length + 4);
        true
    }

    /// Writes what a backslash starts; true = a set of characters, which cannot start a range.
    fn class_escape(&mut self) -> bool {
        let Some((_, letter)) = self.rest.next() else {
            self.out.push('\\');
            return true;
        };
        match class_members(letter) {
            Some((members, false)) => self.out.push_str(members),
            Some((members, true)) => {
                let _infallible = write!(self.out, "[^{members}]");
            }
            None => self.escaped_char(letter),
        }
        class_members(letter).is_some() || matches!(letter, 'p' | 'P')
    }

    /// Writes `-` and the upper end if the character before starts a range.
    fn range_end(&mut self) {
        let position = self.position();
        let after = &self.pattern[position..];
        if !after.starts_with('-') || after.len() < 2 || after.starts_with("-]") {
            return;
        }
        self.rest.next();
        self.out.push('-');
        match self.rest.next() {
            Some((_, '\\')) => {
                if let Some((_, letter)) = self.rest.next() {
                    self.escaped_char(letter);
                }
            }
            Some((_, character)) => push_literal(&mut self.out, character),
            None => {}
        }
    }
}

/// Writes a character that means itself, inside or outside of brackets.
fn push_literal(out: &mut String, character: char) {
    if matches!(
        character,
        '\\' | '.'
            | '+'
            | '*'
            | '?'
            | '('
            | ')'
            | '|'
            | '['
            | ']'
            | '{'
            | '}'
            | '^'
            | '$'
            | '&'
            | '-'
            | '~'
            | '#'
    ) {
        out.push('\\');
    }
    out.push(character);
}

#[cfg(test)]
mod tests {
    use crate::model::{MatchOp, Matcher};

    fn matches(pattern: &str, value: &str) -> bool {
        match Matcher::new(MatchOp::Regex, "a", pattern) {
            Ok(matcher) => matcher.matches(value),
            Err(error) => panic!("{error}"),
        }
    }

    fn refused(pattern: &str) -> String {
        Matcher::new(MatchOp::Regex, "a", pattern)
            .map_or_else(|error| error.reason, |matcher| panic!("{matcher}"))
    }

    #[test]
    fn patterns_mean_what_they_mean_to_go() {
        for (pattern, yes, no) in [
            (r"\Qa.b*\E+", "a.b**", "axb"),
            (r"\Qa.b", "a.b", "axb"),
            (r"[[]", "[", "]"),
            (r"[[a]+", "[a", "b"),
            (r"[]a]+", "a]", "b"),
            (r"[^]a]", "b", "]"),
            (r"[a&&b]", "&", "c"),
            (r"[a~~b]", "~", "c"),
            (r"[+--]", ",", "."),
            (r"[a-c-]+", "b-", "d"),
            (r"[-a]+", "-a", "b"),
            (r"[[:alpha:]_]+", "a_B", "1"),
            (r"[[:^digit:]]", "a", "1"),
            (r"[a\d\-]+", "a1-", "b"),
            (r"[\Da]", "a", "1"),
            (r"[\x{41}-\x43]", "B", "D"),
            (r"[\101-\103]", "B", "D"),
            (r"\d+", "12", "٣"),
            (r"\w+", "a_1", "é"),
            (r"\s", "\t", "\u{b}"),
            (r"\S\D\W", "ab-", " b-"),
            (r"a\b.*", "a b", "ab"),
            (r"\<a\>", "<a>", "a"),
            (r"\_\-\/\ \,", "_-/ ,", "x"),
            (r"{job}", "{job}", "job"),
            (r"a{,2}", "a{,2}", "aa"),
            (r"a{2}", "aa", "a{2}"),
            (r"a{1,}b{0,1}", "aab", "b"),
            (r"a}", "a}", "a"),
            (r"\101\07", "A\u{7}", "1"),
            (r"(?i)abc", "ABC", "abd"),
            (r"(?P<x>a|b)(?:c)+?", "acc", "c"),
            (r"(?-s:.)", "a", "\n"),
            (r"\p{Greek}\pL", "αb", "ab"),
            (r"a*?b??", "aa", "c"),
            (r"(a|b)*", "abab", "c"),
            (r"é&&~--#", "é&&~--#", "e"),
            ("", "", "a"),
        ] {
            assert!(matches(pattern, yes), "{pattern} matches {yes}");
            assert!(!matches(pattern, no), "{pattern} does not match {no}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        assert_eq!(refused("a**"), "invalid nested repetition operator: `**`");
        assert_eq!(refused("a{2}{3}"), "invalid nested repetition operator: `{2}{3}`");
        assert_eq!(refused("a)(b"), "unexpected ): `a)(b`");
        assert_eq!(refused("(?x)a b"), "invalid or unsupported Perl syntax: `(?x`");
        for pattern in ["(", "[a", "*", "(?=a)", "\\", r"\1", "a{3,2}", "[b-a]", r"\y"] {
            assert!(!refused(pattern).is_empty(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_makes_the_translation_panic(pattern in "[a-eQEdDwsbxpPi0-9é&~,:<\\-\\[\\](){}?*+|^$\\\\]{0,16}") {
            let _either = Matcher::new(MatchOp::Regex, "a", &pattern);
        }

        #[test]
        fn quoted_texts_match_themselves(text in r"[^\\\pC]{0,12}") {
            proptest::prop_assert!(matches(&[r"\Q", &text, r"\E"].concat(), &text));
        }
    }
}

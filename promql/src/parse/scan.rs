//! Where numbers, durations and strings end.
//!
//! Input: the lexer at their first character. Output: the kind of token, with the lexer behind its last character.
//! Not here: their values (see `literal`).

use super::lexer::{Lexed, Lexer, TokenKind, is_alphanumeric};
use super::literal::quote;

impl Lexer<'_> {
    pub(super) fn number_or_duration(&mut self) -> Lexed<TokenKind> {
        self.position = self.start;
        if self.scan_number() {
            return Ok(TokenKind::Number);
        }
        if self.scan_rest_of_duration() {
            return Ok(TokenKind::Duration);
        }
        let shown = quote(&self.query.as_bytes()[self.start..self.position]);
        self.error(format!("bad number or duration syntax: {shown}"))
    }

    /// Reads what looks like a number; false = it is none, with the position where that showed.
    fn scan_number(&mut self) -> bool {
        let is_hex = self.accept("0") && self.accept("xX");
        if is_hex {
            self.accept("_");
        }
        let digits = if is_hex { "0123456789abcdefABCDEF" } else { "0123456789" };
        self.accept(".");
        self.accept(digits);
        let (mut has_dot, mut has_exponent) = (false, false);
        loop {
            match self.peek() {
                Some('.') => {
                    self.position += 1;
                    if has_dot || self.accept("_.") || is_hex {
                        return false;
                    }
                    has_dot = true;
                }
                // In a hexadecimal number `e` is a digit.
                Some('e' | 'E') if !is_hex => {
                    self.position += 1;
                    if has_exponent {
                        return false;
                    }
                    has_exponent = true;
                    self.accept("+-");
                    if self.accept("._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                Some('_') => {
                    self.position += 1;
                    if self.accept("._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                Some(character) if digits.contains(character) => self.position += 1,
                _ => break,
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    fn scan_rest_of_duration(&mut self) -> bool {
        if !self.accept("smhdwy") {
            return false;
        }
        // `ms`; nonsense such as `hs` shows when the duration is parsed.
        self.accept("s");
        while self.peek().is_some_and(|character| character.is_ascii_digit()) {
            self.skip_while(|character| character.is_ascii_digit());
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        match self.peek() {
            Some(character) if is_alphanumeric(character) => {
                self.position += 1;
                false
            }
            _ => true,
        }
    }

    pub(super) fn raw_string(&mut self) -> Lexed<TokenKind> {
        match self.query[self.position..].find('`') {
            Some(length) => {
                self.position += length + 1;
                Ok(TokenKind::String)
            }
            None => self.error("unterminated raw string".to_owned()),
        }
    }

    pub(super) fn quoted_string(&mut self, mark: char) -> Lexed<TokenKind> {
        loop {
            match self.bump() {
                None | Some('\n') => return self.error("unterminated quoted string".to_owned()),
                Some('\\') => self.escape(mark)?,
                Some(character) if character == mark => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, mark: char) -> Lexed<()> {
        let (count, base, max) = match self.bump() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(character) if character == mark => return Ok(()),
            Some('0'..='7') => {
                self.position -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, 0x10_FFFF),
            Some('U') => (8, 16, 0x10_FFFF),
            None => return self.error("escape sequence not terminated".to_owned()),
            Some(other) => {
                return self.error(format!("unknown escape sequence {}", describe_char(other)));
            }
        };
        let mut value: u32 = 0;
        for _ in 0..count {
            let Some(character) = self.bump() else {
                return self.error("escape sequence not terminated".to_owned());
            };
            let Some(digit) = character.to_digit(base) else {
                let shown = describe_char(character);
                return self.error(format!("illegal character {shown} in escape sequence"));
            };
            value = value.wrapping_mul(base).wrapping_add(digit);
        }
        if value > max || (0xD800..0xE000).contains(&value) {
            return self.error("escape sequence is an invalid Unicode code point".to_owned());
        }
        Ok(())
    }
}

/// Go's `%#U` of a rune: `U+0051 'Q'`.
fn describe_char(character: char) -> String {
    if character.is_control() {
        format!("U+{:04X}", u32::from(character))
    } else {
        format!("U+{:04X} '{character}'", u32::from(character))
    }
}

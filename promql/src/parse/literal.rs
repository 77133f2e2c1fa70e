//! What the texts of tokens mean: numbers, durations, strings; and how they are written back.
//!
//! Input: the text of one token. Output: its value, or Go's words for what is wrong with it.
//! Not here: where a token starts and ends (see `lexer`).
//!
//! Source: Go `strconv`, Prometheus `util/strutil/quote.go`, `common/model/time.go`.

use std::fmt::Write;

/// Most seconds that fit Prometheus' durations, which count nanoseconds in 63 bits.
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// The units of durations, greatest first, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a number: decimal, hexadecimal, octal (leading zero), `Inf`, `NaN`; `_` between digits.
pub(super) fn parse_number(text: &str) -> Result<f64, String> {
    if let Some(value) = parse_integer(text) {
        return Ok(value as f64);
    }
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Ok(f64::NAN);
    }
    let failed = |reason: &str| {
        Err(format!("error parsing number: strconv.ParseFloat: parsing {}: {reason}", quote(text.as_bytes())))
    };
    let plain: String = text.chars().filter(|character| *character != '_').collect();
    if !are_underscores_between_digits(text, false) || plain.starts_with("0x") || plain.starts_with("0X") {
        return failed("invalid syntax");
    }
    match plain.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => failed("value out of range"),
        Err(_) => failed("invalid syntax"),
    }
}

fn parse_integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let plain = digits.replace('_', "");
        return if are_underscores_between_digits(digits, true) {
            i64::from_str_radix(&plain, 16).ok()
        } else {
            None
        };
    }
    if !are_underscores_between_digits(text, false) {
        return None;
    }
    let plain = text.replace('_', "");
    if !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let radix = if plain.len() > 1 && plain.starts_with('0') { 8 } else { 10 };
    i64::from_str_radix(&plain, radix).ok()
}

fn are_underscores_between_digits(text: &str, is_after_prefix: bool) -> bool {
    let bytes = text.as_bytes();
    (0..bytes.len()).filter(|index| bytes[*index] == b'_').all(|index| {
        let before = if index == 0 { is_after_prefix } else { bytes[index - 1].is_ascii_hexdigit() };
        before && bytes.get(index + 1).is_some_and(u8::is_ascii_hexdigit)
    })
}

/// Reads a duration such as `1h30m` into milliseconds.
pub(super) fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let invalid = || format!("not a valid duration string: {}", quote(text.as_bytes()));
    let mut rest = text;
    let mut next_unit = 0;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digit_count = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, tail) = rest.split_at(digit_count);
        let unit_length = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(unit_length);
        let index = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(|| {
            let (unit, text) = (quote(unit.as_bytes()), quote(text.as_bytes()));
            format!("unknown unit {unit} in duration {text}")
        })?;
        // Units stand in descending order, each at most once.
        if digits.is_empty() || index < next_unit {
            return Err(invalid());
        }
        let unit_ms = UNITS[index].1;
        next_unit = index + 1;
        rest = tail;
        total_ms = digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(unit_ms))
            .and_then(|part_ms| total_ms.checked_add(part_ms))
            .filter(|total_ms| *total_ms <= (i64::MAX / 1_000_000) as u64)
            .ok_or_else(|| "duration out of range".to_owned())?;
    }
    Ok(total_ms as i64)
}

/// Whether Prometheus can hold so many seconds in a duration.
pub(super) fn is_duration_in_range(seconds: f64) -> bool {
    seconds.abs() <= DURATION_SECONDS_MAX
}

/// Seconds as whole milliseconds: rounded to nanoseconds, cut to milliseconds, as Prometheus does.
pub(super) fn seconds_to_ms(seconds: f64) -> i64 {
    ((seconds * 1e9).round() / 1e6).trunc() as i64
}

/// Writes milliseconds as Prometheus does: `1h30m`, `0s`, `-5m`.
pub(super) fn write_duration(out: &mut impl Write, duration_ms: i64) -> std::fmt::Result {
    if duration_ms == 0 {
        return out.write_str("0s");
    }
    if duration_ms < 0 {
        out.write_char('-')?;
    }
    let mut rest_ms = duration_ms.unsigned_abs();
    for (name, unit_ms) in UNITS {
        // Years and weeks are written only when nothing smaller remains.
        let must_be_exact = matches!(name, "y" | "w");
        if must_be_exact && !rest_ms.is_multiple_of(unit_ms) {
            continue;
        }
        let count = rest_ms / unit_ms;
        if count > 0 {
            write!(out, "{count}{name}")?;
            rest_ms -= count * unit_ms;
        }
    }
    Ok(())
}

/// Writes a number as Go's `%v` with format `f` and least digits: `0.5`, `+Inf`, `NaN`.
pub(super) fn write_number(out: &mut impl Write, value: f64) -> std::fmt::Result {
    if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(out, "{value}")
    }
}

/// The bytes that a string token means; the lexer has checked its escapes.
pub(super) fn unquote(token: &str) -> Vec<u8> {
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    if token.starts_with('`') {
        return inner.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            unescape(&mut characters, &mut out);
        } else {
            push_char(&mut out, character);
        }
    }
    out
}

fn unescape(characters: &mut std::str::Chars<'_>, out: &mut Vec<u8>) {
    let read = |characters: &mut std::str::Chars<'_>, first: u32, count: usize, base: u32| {
        characters.by_ref().take(count).fold(first, |value, digit| {
            value.wrapping_mul(base).wrapping_add(digit.to_digit(base).unwrap_or(0))
        })
    };
    match characters.next() {
        Some('a') => out.push(0x07),
        Some('b') => out.push(0x08),
        Some('f') => out.push(0x0C),
        Some('n') => out.push(b'\n'),
        Some('r') => out.push(b'\r'),
        Some('t') => out.push(b'\t'),
        Some('v') => out.push(0x0B),
        // `\x` and octal escapes are bytes, `\u` and `\U` are characters.
        Some('x') => out.push(read(characters, 0, 2, 16) as u8),
        Some(digit @ '0'..='7') => {
            let first = digit.to_digit(8).unwrap_or(0);
            out.push(read(characters, first, 2, 8) as u8);
        }
        Some(kind @ ('u' | 'U')) => {
            let code = read(characters, 0, if kind == 'u' { 4 } else { 8 }, 16);
            push_char(out, char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Some(other) => push_char(out, other),
        None => {}
    }
}

fn push_char(out: &mut Vec<u8>, character: char) {
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Go's `%q`: in double quotes, with escapes for what cannot be printed.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            quote_char_into(&mut out, character);
        }
        for byte in chunk.invalid() {
            let _infallible = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn quote_char_into(out: &mut String, character: char) {
    let code = u32::from(character);
    let escaped = match character {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{07}' => "\\a",
        '\u{08}' => "\\b",
        '\u{0C}' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{0B}' => "\\v",
        _ => "",
    };
    let _infallible = if !escaped.is_empty() {
        out.write_str(escaped)
    } else if code < 0x20 || code == 0x7F {
        write!(out, "\\x{code:02x}")
    } else if is_printable(character) {
        out.write_char(character)
    } else if code <= 0xFFFF {
        write!(out, "\\u{code:04x}")
    } else {
        write!(out, "\\U{code:08x}")
    };
}

fn is_printable(character: char) -> bool {
    // Rust's notion of printable, which is Go's except for marks that combine with the character before.
    character == '\'' || character.is_alphanumeric() || character.escape_debug().next() != Some('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            ("1_000", 1000.0),
            ("0x1F", 31.0),
            ("0x_1f", 31.0),
            ("0755", 493.0),
            ("08", 8.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1_0.5e1_0", 10.5e10),
            ("InF", f64::INFINITY),
            ("123456789012345678901234567890", 123456789012345678901234567890.0),
        ] {
            assert_eq!(parse_number(text), Ok(value), "{text}");
        }
        assert!(parse_number("nan").is_ok_and(f64::is_nan));
        assert_eq!(
            parse_number("1e400").unwrap_err(),
            "error parsing number: strconv.ParseFloat: parsing \"1e400\": value out of range"
        );
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, duration_ms) in [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1y", 31_536_000_000),
            ("1w2d", 777_600_000),
            ("1s5ms", 1_005),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(duration_ms), "{text}");
        }
        assert_eq!(parse_duration_ms("5y1hs").unwrap_err(), "unknown unit \"hs\" in duration \"5y1hs\"");
        for text in ["5m1h", "1d1w", "4s4s"] {
            assert_eq!(
                parse_duration_ms(text).unwrap_err(),
                format!("not a valid duration string: \"{text}\"")
            );
        }
        assert_eq!(parse_duration_ms("293y").unwrap_err(), "duration out of range");
        let written = |duration_ms| {
            let mut out = String::new();
            write_duration(&mut out, duration_ms).unwrap();
            out
        };
        assert_eq!(written(5_400_000), "1h30m");
        assert_eq!(written(-1_001), "-1s1ms");
        assert_eq!(written(0), "0s");
        assert_eq!(written(777_600_000), "9d");
        assert_eq!(written(604_800_000), "1w");
    }

    #[test]
    fn strings_are_bytes() {
        assert_eq!(unquote(r#""a\xc5z\101é""#), b"a\xc5zA\xc3\xa9");
        assert_eq!(unquote("`a\\n`"), b"a\\n");
        assert_eq!(unquote(r#"'\'"\n'"#), b"'\"\n");
        assert_eq!(quote(b"a\xc5z\n\"\x00'\xc3\xa9"), "\"a\\xc5z\\n\\\"\\x00'é\"");
    }
}

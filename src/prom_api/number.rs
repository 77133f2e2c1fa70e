//! Numbers as Prometheus' JSON writes them, straight into the response.
//!
//! Shortest digits that read back as the same number; what differs from Rust is where the exponent begins.

/// Appends a sample value: plain, but with an exponent below 1e-6 and from 1e21 on (`1e-07`, `1e+21`).
///
/// # Source
/// Prometheus `util/jsonutil/marshal.go::MarshalFloat`.
#[inline]
pub fn push_value(out: &mut Vec<u8>, value: f64) {
    push_float(out, value, true);
}

/// Appends a scalar or a number in a text: plain at any size (Go's `'f', -1`).
#[inline]
pub fn push_plain(out: &mut Vec<u8>, value: f64) {
    push_float(out, value, false);
}

/// Appends a number as the text format has it (Go's `'g', -1`): with an exponent below 1e-4 and from 1e6 on.
pub(super) fn push_general(out: &mut String, value: f64) {
    if !value.is_finite() {
        out.push_str(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        });
        return;
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        out.push_str(&format!("{value}"));
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.push_str(&format!("{mantissa}e{sign}{:02}", exponent.abs()));
    }
}

/// Integers up to here are exact in `f64`.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

#[inline]
fn push_float(out: &mut Vec<u8>, value: f64, may_have_exponent: bool) {
    // PERF: most samples are integers; see bench `rim`, `encode`.
    if value.abs() < INTEGER_MAX
        && (value as i64) as f64 == value
        && !(value == 0.0 && value.is_sign_negative())
    {
        push_integer(out, value as i64);
    } else if value.is_finite() {
        push_fraction(out, value, may_have_exponent);
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value > 0.0 {
        out.extend_from_slice(b"+Inf");
    } else {
        out.extend_from_slice(b"-Inf");
    }
}

#[inline]
pub(super) fn push_integer(out: &mut Vec<u8>, value: i64) {
    push_short(out, itoa::Buffer::new().format(value).as_bytes());
}

/// Longest text that [`push_short`] copies without a call.
const SHORT_TEXT_BYTES_MAX: usize = 32;

/// Appends a short text.
///
/// PERF (bench `rim`, `encode`): copies of a length known when compiling are a few moves; a call for each of the five
/// pieces of a point was a third of the time of a large answer.
#[inline]
fn push_short(out: &mut Vec<u8>, text: &[u8]) {
    let end = out.len() + text.len();
    let mut padded = [0; SHORT_TEXT_BYTES_MAX];
    match text {
        [_, .., _] if (16..=SHORT_TEXT_BYTES_MAX).contains(&text.len()) => copy_ends::<16>(text, &mut padded),
        [_, .., _] if (8..16).contains(&text.len()) => copy_ends::<8>(text, &mut padded),
        [_, .., _] if (4..8).contains(&text.len()) => copy_ends::<4>(text, &mut padded),
        [_, .., _] if text.len() < 4 => copy_ends::<2>(text, &mut padded),
        [byte] => padded[0] = *byte,
        _ => return out.extend_from_slice(text),
    }
    out.extend_from_slice(&padded);
    out.truncate(end);
}

/// Copies a text of `N` to `2 * N` bytes as its first and its last `N`.
#[inline(always)]
fn copy_ends<const N: usize>(text: &[u8], padded: &mut [u8; SHORT_TEXT_BYTES_MAX]) {
    let last = text.len() - N;
    padded[..N].copy_from_slice(&text[..N]);
    padded[last..last + N].copy_from_slice(&text[last..]);
}

#[inline]
fn push_fraction(out: &mut Vec<u8>, value: f64, may_have_exponent: bool) {
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value).as_bytes();
    // Within these bounds there is never an exponent.
    if (1e-4..1e15).contains(&value.abs()) {
        return push_short(out, text.strip_suffix(b".0").unwrap_or(text));
    }
    let Some(exponent_at) = text.iter().rposition(|byte| *byte == b'e') else {
        out.extend_from_slice(text.strip_suffix(b".0").unwrap_or(text));
        return;
    };
    let (mantissa, exponent) = (&text[..exponent_at], parse_exponent(&text[exponent_at + 1..]));
    if may_have_exponent && (value.abs() < 1e-6 || value.abs() >= 1e21) {
        push_with_exponent(out, mantissa, exponent);
    } else {
        push_without_exponent(out, mantissa, exponent);
    }
}

/// Reads what `zmij` writes after the `e`: a sign and digits.
fn parse_exponent(text: &[u8]) -> i32 {
    let (is_negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix(b"+").unwrap_or(text)),
    };
    let exponent = digits.iter().fold(0, |sum, digit| sum * 10 + i32::from(digit - b'0'));
    if is_negative { -exponent } else { exponent }
}

/// `d.ddde+XX`, the exponent with at least two digits.
fn push_with_exponent(out: &mut Vec<u8>, mantissa: &[u8], exponent: i32) {
    out.extend_from_slice(mantissa.strip_suffix(b".0").unwrap_or(mantissa));
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.abs() < 10 {
        out.push(b'0');
    }
    push_integer(out, i64::from(exponent.abs()));
}

/// All digits with zeros around them.
fn push_without_exponent(out: &mut Vec<u8>, mantissa: &[u8], exponent: i32) {
    let mantissa = match mantissa.strip_prefix(b"-") {
        Some(mantissa) => {
            out.push(b'-');
            mantissa
        }
        None => mantissa,
    };
    let digits = || mantissa.iter().copied().filter(|byte| *byte != b'.');
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend(digits());
        return;
    }
    let digit_count = digits().count();
    let integer_digit_count = exponent as usize + 1;
    out.extend(digits().take(integer_digit_count));
    out.extend(std::iter::repeat_n(b'0', integer_digit_count.saturating_sub(digit_count)));
    if digit_count > integer_digit_count {
        out.push(b'.');
        out.extend(digits().skip(integer_digit_count));
    }
}

/// Appends a time as seconds with no or three decimals.
///
/// # Source
/// Prometheus `util/jsonutil/marshal.go::MarshalTimestamp`.
#[inline]
pub fn push_timestamp(out: &mut Vec<u8>, timestamp_ms: i64) {
    if timestamp_ms < 0 {
        out.push(b'-');
    }
    let absolute_ms = timestamp_ms.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(absolute_ms / 1000).as_bytes());
    let fraction = (absolute_ms % 1000) as u32;
    if fraction != 0 {
        let digit = |power: u32| b'0' + (fraction / power % 10) as u8;
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// Value, what Go's MarshalFloat writes, what Go's `'f', -1` writes.
    const GO: [(f64, &str, &str); 30] = [
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (1.0, "1", "1"),
        (-1.0, "-1", "-1"),
        (0.1, "0.1", "0.1"),
        (123.456, "123.456", "123.456"),
        (-2.5, "-2.5", "-2.5"),
        (1e-5, "0.00001", "0.00001"),
        (1.5e-5, "0.000015", "0.000015"),
        (1e-6, "0.000001", "0.000001"),
        (1.25e-6, "0.00000125", "0.00000125"),
        (1e-7, "1e-07", "0.0000001"),
        (-1.5e-7, "-1.5e-07", "-0.00000015"),
        (9.99e-7, "9.99e-07", "0.000000999"),
        (5e-324, "5e-324", ""),
        (f64::from_bits(4_828_897_230_512_383_954), "692753699822842.2", "692753699822842.2"),
        (1e15, "1000000000000000", "1000000000000000"),
        (9_007_199_254_740_993.0, "9007199254740992", "9007199254740992"),
        (1e16, "10000000000000000", "10000000000000000"),
        (12_345_678_901_234_567_000.0, "12345678901234567000", "12345678901234567000"),
        (1.5e20, "150000000000000000000", "150000000000000000000"),
        (999_999_999_999_999_900_000.0, "999999999999999900000", "999999999999999900000"),
        (1e21, "1e+21", "1000000000000000000000"),
        (-1.25e21, "-1.25e+21", "-1250000000000000000000"),
        (1e100, "1e+100", ""),
        (f64::MAX, "1.7976931348623157e+308", ""),
        (f64::INFINITY, "+Inf", "+Inf"),
        (f64::NEG_INFINITY, "-Inf", "-Inf"),
        (f64::NAN, "NaN", "NaN"),
        (0.30000000000000004, "0.30000000000000004", "0.30000000000000004"),
    ];

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, expected, plain) in GO {
            assert_eq!(text(|out| push_value(out, value)), expected);
            if !plain.is_empty() {
                assert_eq!(text(|out| push_plain(out, value)), plain);
            }
        }
    }

    #[test]
    fn times_have_no_or_three_decimals() {
        for (timestamp_ms, expected) in [
            (0, "0"),
            (1_435_781_451_781, "1435781451.781"),
            (1_435_781_430_000, "1435781430"),
            (1_500, "1.500"),
            (1_050, "1.050"),
            (1, "0.001"),
            (-1, "-0.001"),
            (-1_500, "-1.500"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(text(|out| push_timestamp(out, timestamp_ms)), expected);
        }
    }

    proptest! {
        #[test]
        fn ordinary_fractions_are_written_as_rust_writes_them(digits in 1_i64..1_000_000_000_000_000, exponent in 0_i32..18) {
            let value = digits as f64 / 10_f64.powi(exponent);
            prop_assert_eq!(text(|out| push_plain(out, value)), format!("{value}"));
            prop_assert_eq!(text(|out| push_plain(out, -value)), format!("{}", -value));
        }

        #[test]
        fn every_number_reads_back_as_itself(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for written in [text(|out| push_value(out, value)), text(|out| push_plain(out, value))] {
                prop_assert_eq!(written.parse::<f64>().unwrap().to_bits(), bits);
            }
            // Rust's `Display` never writes an exponent and writes the fewest digits, as Go's 'f', -1; half-way between
            // two such texts it may take the other one.
            prop_assert_eq!(text(|out| push_plain(out, value)).len(), format!("{value}").len());
        }
    }
}

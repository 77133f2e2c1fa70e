//! Durations and sizes as people write them: `1h30m`, `15d`, `32MiB`.
//!
//! Used by the configuration and by the parameters of the Prometheus API. Not here: durations inside PromQL.

/// Parses a Prometheus duration (`1h30m`, `15s`, `0`) into milliseconds.
///
/// # Errors
/// Prometheus' text for durations that are none.
///
/// # Source
/// Prometheus `common/model/time.go::ParseDuration`: every unit at most once, from the largest to the smallest.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let invalid = || format!("not a valid duration string: {text:?}");
    let mut rest = text;
    let mut unit_index = 0;
    let mut total_ms = 0_i64;
    while !rest.is_empty() {
        let digits_end = rest.bytes().position(|byte| !byte.is_ascii_digit()).ok_or_else(invalid)?;
        let (digits, after) = rest.split_at(digits_end);
        let unit_end = after.bytes().position(|byte| byte.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let found = UNITS.iter().skip(unit_index).position(|(name, _)| *name == unit).ok_or_else(invalid)?;
        let unit_ms = UNITS[unit_index + found].1;
        let count: i64 = digits.parse().map_err(|_| invalid())?;
        total_ms = count
            .checked_mul(unit_ms)
            .and_then(|part_ms| total_ms.checked_add(part_ms))
            .ok_or_else(|| "duration out of range".to_owned())?;
        unit_index += found + 1;
        rest = next;
    }
    Ok(total_ms)
}

/// Parses a number of bytes: `1048576`, `512KiB`, `32MiB`, `1GiB` (also `KB`, `MB`, `GB` of 1000).
///
/// # Errors
/// What is allowed.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, usize); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let invalid = || "allowed is a number of bytes such as 1048576, 512KiB, 32MiB, 1GiB".to_owned();
    let digits_end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit {
        "" => 1,
        unit => {
            UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).ok_or_else(invalid)?
        }
    };
    let count: usize = digits.parse().map_err(|_| invalid())?;
    count.checked_mul(factor).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_prometheus() {
        for (text, expected_ms) in [
            ("0", 0),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("15d", 1_296_000_000),
            ("1y2w3d4h5m6s7ms", 31_536_000_000 + 1_209_600_000 + 259_200_000 + 14_400_000 + 306_007),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(expected_ms), "{text}");
        }
        for text in ["", "5", "m", "5m5m", "5s1m", "-5m", "1.5h", "5M", "99999999999y", "5mü"] {
            assert!(parse_duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(parse_bytes("32MiB"), Ok(32 << 20));
        assert_eq!(parse_bytes("1000"), Ok(1000));
        assert_eq!(parse_bytes("2KB"), Ok(2000));
        for text in ["", "MiB", "1 MiB", "1TiBB", "-1", "99999999999999999999"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }
}

//! Durations, numbers, metrics and value items of test scripts.

use mytsdb_storage::model::{LabelSet, METRIC_NAME, stale_nan};

use super::{Point, histogram};

/// A Prometheus duration such as `1h30m`, possibly signed, or `0`.
pub(crate) fn duration_ms(text: &str) -> Result<i64, String> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    let mut total = 0;
    let bad = || format!("not a duration: {text:?}");
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let count: i64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_ms = match &rest[..unit_end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            "y" => 365 * 86_400_000,
            _ => return Err(bad()),
        };
        total += count * unit_ms;
        rest = &rest[unit_end..];
    }
    if text.is_empty() { Err(bad()) } else { Ok(sign * total) }
}

/// A number: octal or decimal integer, float, or duration in seconds.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let is_octal = unsigned.len() > 1
        && unsigned.starts_with('0')
        && unsigned.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if is_octal && let Ok(value) = i64::from_str_radix(unsigned, 8) {
        return Ok(if text.starts_with('-') { -(value as f64) } else { value as f64 });
    }
    let plain = text.replace('_', "");
    if let Ok(value) = plain.parse() {
        return Ok(value);
    }
    duration_ms(text).map(|milliseconds| milliseconds as f64 / 1000.0)
}

/// A Go string in double or back quotes at the start of `text`, and what follows.
pub(crate) fn quoted(text: &str) -> Result<(String, &str), String> {
    let bad = || format!("not a quoted string: {text}");
    if let Some(rest) = text.strip_prefix('`') {
        let (inside, rest) = rest.split_once('`').ok_or_else(bad)?;
        return Ok((inside.to_owned(), rest));
    }
    let quote = text.chars().next().filter(|c| *c == '"' || *c == '\'').ok_or_else(bad)?;
    let mut value = Vec::new();
    let mut chars = text[1..].char_indices();
    let mut utf8 = [0; 4];
    while let Some((index, character)) = chars.next() {
        if character == quote {
            let rest = &text[1 + index + 1..];
            return Ok((String::from_utf8_lossy(&value).into_owned(), rest));
        }
        if character != '\\' {
            value.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            continue;
        }
        let (_, escape) = chars.next().ok_or_else(bad)?;
        let mut code = |count: usize, radix: u32, first: Option<char>| {
            let digits: String =
                first.into_iter().chain(chars.by_ref().map(|(_, c)| c).take(count)).collect();
            u32::from_str_radix(&digits, radix).map_err(|_| bad())
        };
        match escape {
            'n' => value.push(b'\n'),
            't' => value.push(b'\t'),
            'r' => value.push(b'\r'),
            'a' => value.push(7),
            'b' => value.push(8),
            'v' => value.push(11),
            'f' => value.push(12),
            'x' => value.push(code(2, 16, None)? as u8),
            'u' | 'U' => {
                let point = code(if escape == 'u' { 4 } else { 8 }, 16, None)?;
                let character = char::from_u32(point).ok_or_else(bad)?;
                value.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
            }
            first @ '0'..='7' => value.push(code(2, 8, Some(first))? as u8),
            other => value.extend_from_slice(other.encode_utf8(&mut utf8).as_bytes()),
        }
    }
    Err(bad())
}

fn identifier(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':' || c == '.';
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

/// `name{labels}` at the start of a line, and what follows.
pub(crate) fn metric(line: &str) -> Result<(LabelSet, &str), String> {
    let (name, mut rest) = identifier(line);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((METRIC_NAME.to_owned(), name.to_owned()));
    }
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside.trim_start();
        while !rest.starts_with('}') {
            let (label, after) = if rest.starts_with(['"', '\'', '`']) {
                quoted(rest)?
            } else {
                let (label, after) = identifier(rest);
                (label.to_owned(), after)
            };
            let after = after.trim_start();
            if let Some(after) = after.strip_prefix('=') {
                let (value, after) = quoted(after.trim_start())?;
                pairs.push((label, value));
                rest = after.trim_start();
            } else {
                pairs.push((METRIC_NAME.to_owned(), label));
                rest = after;
            }
            if let Some(after) = rest.strip_prefix(',') {
                rest = after.trim_start();
            } else if !rest.starts_with('}') {
                return Err(format!("bad labels: {line}"));
            }
        }
        rest = &rest[1..];
    }
    let labels = LabelSet::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .map_err(|error| format!("{line}: {error}"))?;
    if rest.starts_with("@st") { Ok((labels, rest)) } else { Ok((labels, rest.trim_start())) }
}

/// Splits off `xN`, if it is there.
fn repeat(item: &str) -> Result<(&str, Option<usize>), String> {
    // Words such as `max` do not occur; the last `x` is the sign.
    match item.rsplit_once('x') {
        None => Ok((item, None)),
        Some((value, count)) => {
            count.parse().map(|count| (value, Some(count))).map_err(|_| format!("bad repeat: {item}"))
        }
    }
}

/// Splits `A+B` or `A-B` behind the first number.
fn progression(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    (1..bytes.len())
        .find(|index| matches!(bytes[*index], b'+' | b'-') && !matches!(bytes[*index - 1], b'e' | b'E'))
        .map(|index| text.split_at(index))
}

/// The value items of a series line, expanded.
pub(crate) fn points(text: &str) -> Result<Vec<Point>, String> {
    let mut points = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if rest.starts_with("{{") {
            rest = histogram_item(rest, &mut points)?;
            continue;
        }
        let end = rest.find([' ', '\t']).unwrap_or(rest.len());
        item(&rest[..end], &mut points)?;
        rest = rest[end..].trim_start();
    }
    Ok(points)
}

/// The items of a line of start times, expanded: milliseconds relative to the time of each point.
pub(crate) fn start_times(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts = Vec::new();
    for item in text.split_whitespace() {
        let (value, times) = repeat(item)?;
        if value == "_" {
            starts.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
            continue;
        }
        let (first_ms, step_ms) = match progression(value) {
            Some((first, step)) => (signed_duration_ms(first)?, signed_duration_ms(step)?),
            None => (signed_duration_ms(value)?, 0),
        };
        starts.extend((0..=times.unwrap_or(0)).map(|index| Some(first_ms + step_ms * index as i64)));
    }
    Ok(starts)
}

fn signed_duration_ms(text: &str) -> Result<i64, String> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned == "0" { Ok(0) } else { Ok(sign * duration_ms(unsigned)?) }
}

#[test]
fn start_times_are_expanded() {
    let found = start_times("_ 1ms -30s-1mx2 _x2 0 -0msx1").unwrap();
    let expected =
        [None, Some(1), Some(-30_000), Some(-90_000), Some(-150_000), None, None, Some(0), Some(0), Some(0)];
    assert_eq!(found, expected);
}

fn histogram_item<'a>(text: &'a str, points: &mut Vec<Point>) -> Result<&'a str, String> {
    let bad = || format!("bad histogram: {text}");
    let (base, mut rest) = text.strip_prefix("{{").and_then(|text| text.split_once("}}")).ok_or_else(bad)?;
    let base = histogram::literal(base)?;
    let mut increment = None;
    let is_sum = rest.starts_with('+');
    if let Some(after) = rest.strip_prefix("+{{").or_else(|| rest.strip_prefix("-{{")) {
        let (inside, after) = after.split_once("}}").ok_or_else(bad)?;
        increment = Some((histogram::literal(inside)?, is_sum));
        rest = after;
    }
    let mut count = 1;
    if let Some(after) = rest.strip_prefix('x') {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        count = after[..end].parse::<usize>().map_err(|_| bad())? + 1;
        rest = &after[end..];
    }
    let series = histogram::series(base, increment, count)?;
    points.extend(series.into_iter().map(|point| Point::Histogram(Box::new(point))));
    Ok(rest.trim_start())
}

fn item(item: &str, points: &mut Vec<Point>) -> Result<(), String> {
    let (value, times) = repeat(item)?;
    if value == "_" {
        points.extend(std::iter::repeat_n(Point::Gap, times.unwrap_or(1)));
        return Ok(());
    }
    if value == "stale" {
        points.extend(std::iter::repeat_n(Point::Float(stale_nan()), times.map_or(1, |times| times + 1)));
        return Ok(());
    }
    let Some(times) = times else {
        points.push(Point::Float(number(value)?));
        return Ok(());
    };
    let (first, step) = match progression(value) {
        Some((first, step)) => (number(first)?, number(step)?),
        None => (number(value)?, 0.0),
    };
    let is_constant = progression(value).is_none();
    let mut current = first;
    for _ in 0..=times {
        points.push(Point::Float(current));
        // Repeated addition: its rounding is part of the expectation.
        if !is_constant {
            current += step;
        }
    }
    Ok(())
}

#[test]
fn items_are_expanded() {
    let floats = |text: &str| -> Vec<Option<f64>> {
        let value = |point: Point| if let Point::Float(value) = point { Some(value) } else { None };
        points(text).unwrap().into_iter().map(value).collect()
    };
    assert_eq!(floats("1 _ 2x1 _x2"), [Some(1.0), None, Some(2.0), Some(2.0), None, None]);
    assert_eq!(floats("1-2x2"), [Some(1.0), Some(-1.0), Some(-3.0)]);
    assert_eq!(floats("-1e-3+1x1"), [Some(-1e-3), Some(1.0 - 1e-3)]);
    assert_eq!(points("{{sum:1 count:2}}x1 3").unwrap().len(), 3);
}

//! Units of OpenTelemetry (UCUM) in Prometheus' words.
//!
//! Pure functions. Source: prometheus/otlptranslator `unit_namer.go`; where it differs from the specification (`TiBy`,
//! `KBy`, `/m`) this follows Prometheus, so that users can move over.

/// The words for the main part and for what stands behind the first `/` (with `per_`); empty if there is none.
///
/// A part with a brace is an annotation and has no word. Characters are as given: see [`clean`].
pub(super) fn suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').map_or((unit, None), |(main, per)| (main, Some(per)));
    let is_word = |part: &&str| !part.is_empty() && !part.contains(['{', '}']);
    let main = Some(main.trim()).filter(is_word).map_or("", main_unit).to_owned();
    let per = per.map(str::trim).filter(is_word).map_or("", per_unit);
    let per = if per.is_empty() { String::new() } else { format!("per_{per}") };
    (main, per)
}

/// Replaces what may not stand in a metric's name; runs become one `_`, one at the front goes.
pub(super) fn clean(unit: &str) -> String {
    let mut out = String::with_capacity(unit.len());
    for c in unit.chars() {
        if super::naming::is_metric_character(c) {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    out.strip_prefix('_').map(str::to_owned).unwrap_or(out)
}

fn main_unit(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_unit(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

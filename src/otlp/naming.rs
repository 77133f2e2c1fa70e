//! Names of metrics and labels as Prometheus makes them from OpenTelemetry's: `UnderscoreEscapingWithSuffixes`.
//!
//! Pure functions. Source: prometheus/otlptranslator and the compatibility section of the OpenTelemetry
//! specification; where the two differ (`TiBy`, `KBy`, `/m`) this follows Prometheus, so that users can move over.

/// What decides about the suffix of a metric's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A monotonic sum: `_total`.
    Counter,
    /// A gauge: `_ratio` if its unit is `1`.
    Gauge,
    /// Everything else: only the unit.
    Other,
}

/// Why a name cannot be translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The metric's name has no letter or digit.
    #[error("metric name {given:?} has no letter or digit")]
    Metric {
        /// The name given.
        given: String,
    },
    /// The attribute's key has no letter or digit.
    #[error("attribute key {given:?} has no letter or digit")]
    Label {
        /// The key given.
        given: String,
    },
}

/// Returns the name of a metric: words joined by `_`, then unit, then `_total` or `_ratio`.
///
/// # Errors
/// [`NameError::Metric`].
pub fn metric_name(name: &str, unit: &str, kind: NameKind) -> Result<String, NameError> {
    let mut tokens: Vec<&str> = name.split(|c| !is_metric_character(c)).filter(|t| !t.is_empty()).collect();
    if tokens.is_empty() {
        return Err(NameError::Metric { given: name.to_owned() });
    }
    let (main, per) = unit_suffixes(unit);
    if !main.is_empty() && !tokens.contains(&main.as_str()) {
        tokens.push(&main);
    }
    if !per.is_empty() && !tokens.contains(&per.as_str()) {
        tokens.push(&per);
    }
    let suffix = match kind {
        NameKind::Counter => Some("total"),
        NameKind::Gauge if unit.trim() == "1" => Some("ratio"),
        NameKind::Gauge | NameKind::Other => None,
    };
    if let Some(suffix) = suffix {
        tokens.retain(|token| *token != suffix);
        tokens.push(suffix);
    }
    let mut joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        joined.insert(0, '_');
    }
    Ok(joined)
}

/// Returns the unit in Prometheus' words, such as `seconds` or `bytes_per_second`; empty if there is none.
pub fn unit_name(unit: &str) -> String {
    let (main, per) = unit_suffixes(unit);
    match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        _ => main + &per,
    }
}

/// Returns the label name for an attribute key.
///
/// # Errors
/// [`NameError::Label`].
pub fn label_name(key: &str) -> Result<String, NameError> {
    let mut name: String =
        key.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if name.chars().all(|c| c == '_') {
        return Err(NameError::Label { given: key.to_owned() });
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "key_");
    } else if name.starts_with('_') && !name.starts_with("__") {
        name.insert_str(0, "key");
    }
    Ok(name)
}

fn is_metric_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// The suffix of the unit's main part, and `per_…` for what stands behind the first `/`.
fn unit_suffixes(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').map_or((unit, None), |(main, per)| (main, Some(per)));
    let is_word = |part: &&str| !part.is_empty() && !part.contains(['{', '}']);
    let main = Some(main.trim()).filter(is_word).map_or(String::new(), |part| clean(main_unit(part)));
    let per = per.map(str::trim).filter(is_word).map_or(String::new(), |part| clean(per_unit(part)));
    let per = if per.is_empty() { per } else { format!("per_{per}") };
    (main, per)
}

/// Keeps what may stand in a name; runs of anything else become one `_`.
fn clean(unit: &str) -> String {
    unit.split(|c| !is_metric_character(c)).filter(|t| !t.is_empty()).collect::<Vec<_>>().join("_")
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

#[cfg(test)]
mod tests {
    use super::NameKind::{Counter, Gauge, Other};
    use super::*;

    #[test]
    fn metric_names_are_those_of_prometheus() {
        for (name, unit, kind, expected) in [
            ("http.server.request.duration", "s", Other, "http_server_request_duration_seconds"),
            ("http.server.requests", "1", Counter, "http_server_requests_total"),
            ("http.requests", "{request}", Counter, "http_requests_total"),
            ("system.filesystem.usage", "By", Gauge, "system_filesystem_usage_bytes"),
            ("system.cpu.utilization", "1", Gauge, "system_cpu_utilization_ratio"),
            ("hw.battery.ratio.level", "1", Gauge, "hw_battery_level_ratio"),
            ("hw.battery.level", "1", Other, "hw_battery_level"),
            ("system.io", "foo/bar", Other, "system_io_foo_per_bar"),
            ("broken.metric.speed.km", "km/h", Gauge, "broken_metric_speed_km_per_hour"),
            ("astro.light.speed_limit", "m/s", Gauge, "astro_light_speed_limit_meters_per_second"),
            ("packets", "{packet}/s", Gauge, "packets_per_second"),
            ("io", "By/{op}", Gauge, "io_bytes"),
            ("rate", "1/s", Gauge, "rate_per_second"),
            ("per.minute", "By/min", Gauge, "per_minute_bytes_per_min"),
            ("disk.seconds.used", "s", Gauge, "disk_seconds_used"),
            ("total.requests.total", "", Counter, "requests_total"),
            ("storage", "TiBy", Gauge, "storage_tibibytes"),
            ("storage", "KBy", Gauge, "storage_kilobytes"),
            ("heat", "Cel", Gauge, "heat_celsius"),
            ("use", "%", Gauge, "use_percent"),
            ("a__b..c", "", Gauge, "a_b_c"),
            ("1st.metric", "", Gauge, "_1st_metric"),
            ("job:rate:sum", "", Gauge, "job:rate:sum"),
            ("temperature", "m²·x", Gauge, "temperature_m_x"),
            ("größe", "", Gauge, "gr_e"),
        ] {
            assert_eq!(metric_name(name, unit, kind).unwrap(), expected, "{name} {unit} {kind:?}");
        }
        for name in ["", "___", "…"] {
            assert_eq!(metric_name(name, "s", Gauge), Err(NameError::Metric { given: name.to_owned() }));
        }
    }

    #[test]
    fn label_names_are_those_of_prometheus() {
        for (key, expected) in [
            ("http.method", "http_method"),
            ("already_fine", "already_fine"),
            ("a..b", "a__b"),
            ("9lives", "key_9lives"),
            ("_private", "key_private"),
            (".dot", "key_dot"),
            ("__reserved", "__reserved"),
            ("with:colon", "with_colon"),
            ("straße", "stra_e"),
        ] {
            assert_eq!(label_name(key).unwrap(), expected, "{key}");
        }
        for key in ["", "_", "..."] {
            assert_eq!(label_name(key), Err(NameError::Label { given: key.to_owned() }));
        }
    }

    #[test]
    fn units_are_spelled_out() {
        for (unit, expected) in
            [("s", "seconds"), ("By/s", "bytes_per_second"), ("1", ""), ("{call}", ""), ("1/s", "per_second")]
        {
            assert_eq!(unit_name(unit), expected, "{unit}");
        }
    }
}

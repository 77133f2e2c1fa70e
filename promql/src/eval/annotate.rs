//! Numbers and texts in messages, written as Go writes them, and the remarks that several functions make.

use std::fmt::Write as _;

use super::context::Context;
use crate::parse::ast::Span;

/// Remarks about the histograms of one series, at one place of the query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remarks<'a> {
    pub(crate) ctx: &'a Context<'a>,
    /// What the remarks point to.
    pub(crate) span: Span,
    /// Name of the series' metric.
    pub(crate) name: &'a str,
}

impl Remarks<'_> {
    fn name(&self) -> String {
        quote(self.name.as_bytes())
    }

    /// Floats and histograms in one window.
    pub(crate) fn mixed_kinds(&self) {
        let text = format!("encountered a mix of histograms and floats for metric name {}", self.name());
        self.ctx.warn(self.span, text);
    }

    /// Exponential buckets and custom bounds together.
    pub(crate) fn mixed_schemas(&self) {
        let text = format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
            self.name()
        );
        self.ctx.warn(self.span, text);
    }

    /// A gauge where a counter is wanted.
    pub(crate) fn not_a_counter(&self) {
        self.ctx.warn(self.span, format!("this native histogram metric is not a counter: {}", self.name()));
    }

    /// A counter where a gauge is wanted.
    pub(crate) fn not_a_gauge(&self) {
        self.ctx.warn(self.span, format!("this native histogram metric is not a gauge: {}", self.name()));
    }

    /// Custom bounds differ. `operation`: `addition`, `subtraction`, `aggregation`.
    pub(crate) fn reconciled(&self, operation: &str) {
        self.ctx.info(self.span, format!("mismatched custom buckets were reconciled during {operation}"));
    }

    /// Some say that the counter was reset, some that it was not.
    pub(crate) fn conflicting_resets(&self, operation: &str) {
        self.ctx.warn(self.span, format!("conflicting counter resets during histogram {operation}"));
    }

    /// A sample began in the middle of what the sample before it counted.
    pub(crate) fn overlapping_starts(&self) {
        let text = "sample has start time that overlaps with previous sample timestamp for metric";
        self.ctx.warn(self.span, format!("{text} {}", self.name()));
    }

    /// A function of numbers found histograms among them.
    pub(crate) fn ignored_in_range(&self) {
        let text = format!(
            "ignored histograms in a range containing both floats and histograms for metric name {}",
            self.name()
        );
        self.ctx.info(self.span, text);
    }
}

/// The info about histograms that an aggregation of numbers passes over.
pub(crate) fn ignored_in_aggregation(aggregation: &str) -> String {
    format!("ignored histogram in {aggregation} aggregation")
}

/// A float as Go's `%g` prints it.
pub(crate) fn format_g(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// A float as Go's `%.2g` prints it.
pub(crate) fn format_two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return format_g(value);
    }
    let scientific = format!("{value:.1e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..2).contains(&exponent) {
        let decimals = (1 - exponent).max(0) as usize;
        return trimmed(&format!("{value:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

/// A float as a label value: Go's `'f', -1`, never with an exponent.
pub(crate) fn format_plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        format!("{value}")
    }
}

/// A float as OpenMetrics writes it in labels: always with a point or an exponent.
pub(crate) fn format_open_metrics(value: f64) -> String {
    let mut text = format_g(value);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

/// Bytes in double quotes as Go's `strconv.Quote` writes them.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\x07' => quoted.push_str("\\a"),
                '\x08' => quoted.push_str("\\b"),
                '\x0b' => quoted.push_str("\\v"),
                '\x0c' => quoted.push_str("\\f"),
                control if control.is_ascii_control() => {
                    let _infallible = write!(quoted, "\\x{:02x}", u32::from(control));
                }
                other => quoted.push(other),
            }
        }
        for byte in chunk.invalid() {
            let _infallible = write!(quoted, "\\x{byte:02x}");
        }
    }
    quoted.push('"');
    quoted
}

/// ` for metric name "x"`, or nothing.
pub(crate) fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {}", quote(name.as_bytes())) }
}

/// The warning about a quantile outside of `[0, 1]`.
pub(crate) fn invalid_quantile(q: f64) -> String {
    format!("quantile value should be between 0 and 1, got {}", format_g(q))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        let printed =
            [0.0, 1.0, -1.1, 1e-5, 1e-4, 999_999.0, 1_048_576.0, 1.5e300, f64::INFINITY].map(format_g);
        assert_eq!(
            printed,
            ["0", "1", "-1.1", "1e-05", "0.0001", "999999", "1.048576e+06", "1.5e+300", "+Inf"]
        );
        assert_eq!([0.123, 12.3, 1234.0, 1.0].map(format_two_digits), ["0.12", "12", "1.2e+03", "1"]);
        assert_eq!([1.0, 0.5, 1e-9].map(format_open_metrics), ["1.0", "0.5", "1e-09"]);
        assert_eq!(format_plain(1e22), "10000000000000000000000");
    }

    #[test]
    fn bytes_are_quoted_as_go_quotes_them() {
        assert_eq!(quote(b"a\xc5z\"\n"), r#""a\xc5z\"\n""#);
    }
}

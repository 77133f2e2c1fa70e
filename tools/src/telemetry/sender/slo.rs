//! Objectives that a run must meet: `p99<50ms`, `rate>=90000`, `loss_ppm<=0`.
//!
//! Input: the text of `--slo`, and the run's measured indicators. Output: which objectives were met, with the values.

use std::fmt;
use std::str::FromStr;

/// What is measured, its unit, and what it means; the list of `--help` and of errors.
pub const INDICATORS: [(&str, Unit, &str); 13] = [
    ("p50", Unit::Milliseconds, "median latency of a request, from when it was due"),
    ("p90", Unit::Milliseconds, "latency that 90 % of the requests did not exceed"),
    ("p99", Unit::Milliseconds, "latency that 99 % of the requests did not exceed"),
    ("p999", Unit::Milliseconds, "latency that 99.9 % of the requests did not exceed"),
    ("max", Unit::Milliseconds, "longest latency of a request"),
    ("rate", Unit::Number, "accepted events a second"),
    ("bytes_rate", Unit::Number, "bytes of accepted requests a second, before compression"),
    ("rejected_ppm", Unit::Number, "events that the server refused in partial success, of a million sent"),
    ("failed_ppm", Unit::Number, "events of requests that failed for good, of a million sent"),
    ("retried_ppm", Unit::Number, "events that were sent again, of a million sent"),
    (
        "loss_ppm",
        Unit::Number,
        "acknowledged points that the server does not have, of a million (needs --verify)",
    ),
    (
        "duplicate_ppm",
        Unit::Number,
        "points that the server has more than once, of a million (needs --verify)",
    ),
    ("queryable_p99", Unit::Milliseconds, "time from acknowledged to visible, 99 % (needs --verify)"),
];

/// What the limit of an indicator is given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A duration: `50ms`, `1.5s`, `200us`.
    Milliseconds,
    /// A plain number.
    Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// One objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    /// One of [`INDICATORS`].
    indicator: &'static str,
    comparison: Comparison,
    /// In milliseconds or as a number, as the indicator has it.
    limit: f64,
    text: String,
}

/// An objective and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The objective as written.
    pub text: String,
    /// What was measured, in milliseconds or as a number; `None`: nothing, and the objective is missed.
    pub value: Option<f64>,
    /// Whether it was met.
    pub is_met: bool,
}

impl Slo {
    /// Returns the objective `indicator <= 0`.
    pub fn none_of(indicator: &'static str) -> Self {
        Self { indicator, comparison: Comparison::AtMost, limit: 0.0, text: format!("{indicator}<=0") }
    }

    /// Returns what must be measured.
    pub fn indicator(&self) -> &'static str {
        self.indicator
    }

    /// Compares with what was measured.
    pub fn judge(&self, value: Option<f64>) -> Verdict {
        let is_met = value.is_some_and(|value| match self.comparison {
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
        });
        Verdict { text: self.text.clone(), value, is_met }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.is_met { "met" } else { "missed" };
        match self.value {
            Some(value) => write!(formatter, "slo {verb}: {} (measured {value:.3})", self.text),
            None => write!(formatter, "slo {verb}: {} (nothing was measured)", self.text),
        }
    }
}

impl FromStr for Slo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['<', '>']).ok_or_else(|| format!("{text:?} has no <, <=, > or >="))?;
        let (name, rest) = text.split_at(at);
        let (comparison, limit) = if let Some(limit) = rest.strip_prefix("<=") {
            (Comparison::AtMost, limit)
        } else if let Some(limit) = rest.strip_prefix(">=") {
            (Comparison::AtLeast, limit)
        } else if let Some(limit) = rest.strip_prefix('<') {
            (Comparison::Below, limit)
        } else {
            (Comparison::Above, &rest[1..])
        };
        let (indicator, unit, _) =
            INDICATORS.iter().find(|(known, ..)| *known == name.trim()).ok_or_else(|| {
                let known: Vec<_> = INDICATORS.iter().map(|(known, ..)| *known).collect();
                format!("{:?} is no indicator; allowed are {}", name.trim(), known.join(", "))
            })?;
        let limit = match unit {
            Unit::Milliseconds => milliseconds(limit.trim()),
            Unit::Number => limit.trim().parse().ok(),
        };
        let limit = limit.filter(|limit: &f64| limit.is_finite()).ok_or_else(|| match unit {
            Unit::Milliseconds => {
                format!("the limit of {indicator} is a duration such as 50ms, 1.5s or 200us")
            }
            Unit::Number => format!("the limit of {indicator} is a number"),
        })?;
        Ok(Self { indicator, comparison, limit, text: text.trim().to_owned() })
    }
}

fn milliseconds(text: &str) -> Option<f64> {
    let digits = text.find(|letter: char| letter.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        _ => return None,
    };
    number.trim().parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_met(text: &str, value: f64) -> bool {
        text.parse::<Slo>().unwrap().judge(Some(value)).is_met
    }

    #[test]
    fn objectives_compare_in_their_unit() {
        assert!(is_met("p99<50ms", 49.9) && !is_met("p99<50ms", 50.0));
        assert!(is_met("p999 <= 1.5s", 1_500.0) && !is_met("p999<=1.5s", 1_501.0));
        assert!(is_met("p50<=200us", 0.2) && !is_met("p50<=200us", 0.21));
        assert!(is_met("rate>=90000", 90_000.0) && !is_met("rate>=90000", 89_999.0));
        assert!(is_met("rate>1e6", 1_000_001.0) && !is_met("rate>1e6", 1e6));
        assert!(is_met("loss_ppm<=0", 0.0) && !is_met("loss_ppm<=0", 0.1));
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        let verdict = Slo::none_of("loss_ppm").judge(None);
        assert!(!verdict.is_met);
        assert_eq!(verdict.to_string(), "slo missed: loss_ppm<=0 (nothing was measured)");
    }

    #[test]
    fn a_verdict_says_which_and_how_much() {
        let verdict = "p99<50ms".parse::<Slo>().unwrap().judge(Some(61.5));
        assert_eq!(verdict.to_string(), "slo missed: p99<50ms (measured 61.500)");
    }

    #[test]
    fn what_is_no_objective_is_refused_with_what_is_allowed() {
        for (text, part) in [
            ("p99", "no <, <=, > or >="),
            ("p98<1ms", "allowed are p50, p90, p99, p999, max, rate"),
            ("p99<50", "50ms, 1.5s or 200us"),
            ("p99<50h", "50ms, 1.5s or 200us"),
            ("rate>=fast", "is a number"),
            ("rate>=inf", "is a number"),
            ("loss_ppm<=", "is a number"),
        ] {
            let error = text.parse::<Slo>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

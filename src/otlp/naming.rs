//! Names of metrics and labels as Prometheus makes them from OpenTelemetry's, in its four translation strategies.
//!
//! Pure functions. Source: prometheus/otlptranslator and the compatibility section of the OpenTelemetry
//! specification; where the two differ this follows Prometheus, so that users can move over. One thing is stricter: a
//! name without any letter or digit is an error also where Prometheus would make one of unit and type alone.

use serde::Deserialize;

use super::units::{clean, suffixes};

/// How names are translated; the words of the configuration are Prometheus'.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum TranslationStrategy {
    /// Anything but letters, digits, `:` and `_` becomes `_`; unit and type are appended.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// The same, and nothing is appended.
    UnderscoreEscapingWithoutSuffixes,
    /// Characters stay; unit and type are appended.
    #[serde(rename = "NoUTF8EscapingWithSuffixes")]
    NoUtf8EscapingWithSuffixes,
    /// Names stay.
    NoTranslation,
}

/// Makes names as one tenant wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Namer {
    /// How names are translated.
    pub strategy: TranslationStrategy,
    /// Whether `key` is put before a label that begins with one `_`.
    pub label_underscore_sanitization: bool,
    /// Whether runs of `_` in labels stay.
    pub label_preserve_multiple_underscores: bool,
}

impl Default for Namer {
    fn default() -> Self {
        Self {
            strategy: TranslationStrategy::default(),
            label_underscore_sanitization: true,
            label_preserve_multiple_underscores: true,
        }
    }
}

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

impl Namer {
    /// Returns the name of a metric.
    ///
    /// # Errors
    /// [`NameError::Metric`].
    pub fn metric_name(&self, name: &str, unit: &str, kind: NameKind) -> Result<String, NameError> {
        let translated = match self.strategy {
            TranslationStrategy::UnderscoreEscapingWithSuffixes => escaped_with_suffixes(name, unit, kind),
            TranslationStrategy::UnderscoreEscapingWithoutSuffixes => escaped(name),
            TranslationStrategy::NoUtf8EscapingWithSuffixes if !name.is_empty() => {
                Some(with_suffixes(name, unit, kind))
            }
            TranslationStrategy::NoTranslation if !name.is_empty() => Some(name.to_owned()),
            TranslationStrategy::NoUtf8EscapingWithSuffixes | TranslationStrategy::NoTranslation => None,
        };
        translated.ok_or_else(|| NameError::Metric { given: name.to_owned() })
    }

    /// Returns the label name for an attribute key.
    ///
    /// # Errors
    /// [`NameError::Label`].
    pub fn label_name(&self, key: &str) -> Result<String, NameError> {
        let name = match self.strategy {
            TranslationStrategy::NoUtf8EscapingWithSuffixes | TranslationStrategy::NoTranslation => {
                key.to_owned()
            }
            _ => self.escaped_label(key),
        };
        if name.chars().all(|c| c == '_') {
            return Err(NameError::Label { given: key.to_owned() });
        }
        Ok(name)
    }

    fn escaped_label(&self, key: &str) -> String {
        let mut name = if self.label_preserve_multiple_underscores {
            key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        } else {
            collapsed_label(key)
        };
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert_str(0, "key_");
        } else if self.label_underscore_sanitization && name.starts_with('_') && !name.starts_with("__") {
            name.insert_str(0, "key");
        }
        name
    }
}

/// Returns the unit in Prometheus' words, such as `seconds` or `bytes_per_second`; empty if there is none.
pub fn unit_name(unit: &str) -> String {
    let (main, per) = suffixes(unit);
    let (main, per) = (clean(&main), clean(&per));
    let joined = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        _ => main + &per,
    };
    joined.strip_suffix('_').map(str::to_owned).unwrap_or(joined)
}

pub(super) fn is_metric_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn has_word(name: &str) -> bool {
    name.contains(is_metric_character)
}

fn with_digit_escaped(mut name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Words joined by `_`, then unit, then `_total` or `_ratio`.
fn escaped_with_suffixes(name: &str, unit: &str, kind: NameKind) -> Option<String> {
    if !has_word(name) {
        return None;
    }
    let mut tokens: Vec<&str> = name.split(|c| !is_metric_character(c)).filter(|t| !t.is_empty()).collect();
    let (main, per) = suffixes(unit);
    let (main, per) = (clean(&main), clean(&per));
    let has_main = !main.is_empty() && !tokens.contains(&main.as_str());
    let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    let has_per = !per.is_empty() && !tokens.contains(&per);
    if has_main {
        // A unit may end in a character that became `_`; before another word that one is enough.
        let bare = main.strip_suffix('_').filter(|_| has_per).unwrap_or(&main);
        tokens.extend((!bare.is_empty()).then_some(bare));
    }
    if has_per {
        tokens.push(per);
    }
    let suffix = match kind {
        NameKind::Counter => Some("total"),
        NameKind::Gauge if unit == "1" => Some("ratio"),
        NameKind::Gauge | NameKind::Other => None,
    };
    if let Some(suffix) = suffix {
        tokens.retain(|token| *token != suffix);
        tokens.push(suffix);
    }
    Some(with_digit_escaped(tokens.join("_")))
}

/// Runs of what may not stand in a name become one `_`; those at the ends go.
fn escaped(name: &str) -> Option<String> {
    let is_allowed = |c: char| is_metric_character(c) || c == '_';
    let tokens: Vec<&str> = name.split(|c| !is_allowed(c)).filter(|t| !t.is_empty()).collect();
    let joined = with_digit_escaped(tokens.join("_"));
    (has_word(&joined) || (!joined.is_empty() && joined == name)).then_some(joined)
}

/// The name as it is, with unit, then `_total` or `_ratio`; what it ends in already is not repeated.
fn with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let (main, per) = suffixes(unit);
    let ending = match kind {
        NameKind::Counter => "total",
        NameKind::Gauge if unit == "1" => "ratio",
        NameKind::Gauge | NameKind::Other => "",
    };
    let mut stem = without_suffix(without_suffix(name, ending), &per).to_owned();
    if !main.is_empty() && !stem.ends_with(&main) {
        stem = stem + "_" + &main;
    }
    for suffix in [per.as_str(), ending].into_iter().filter(|suffix| !suffix.is_empty()) {
        stem = stem + "_" + suffix;
    }
    stem
}

/// Takes off a suffix and the character before it, whatever that is, unless nothing would be left.
///
/// Prometheus takes off a byte there, which may leave half a character; then this takes off nothing.
fn without_suffix<'a>(name: &'a str, suffix: &str) -> &'a str {
    if suffix.is_empty() || !name.ends_with(suffix) || name.len() <= suffix.len() + 1 {
        return name;
    }
    name.get(..name.len() - suffix.len() - 1).unwrap_or(name)
}

/// Runs of anything but letters and digits become one `_`, except around a reserved name (`__name__`).
fn collapsed_label(key: &str) -> String {
    let reserved =
        key.strip_prefix("__").and_then(|rest| rest.strip_suffix("__")).filter(|name| !name.is_empty());
    let mut out = String::with_capacity(key.len());
    for c in reserved.unwrap_or(key).chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    if reserved.is_some() { format!("__{out}__") } else { out }
}

#[cfg(test)]
#[path = "naming_test.rs"]
mod tests;

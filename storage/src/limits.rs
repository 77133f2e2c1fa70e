//! What one tenant may do: each limit with its unit and default.
//!
//! Not here: enforcing them (see `head::table` for series and labels, `engine` for times, rates, sizes and retention;
//! bytes in flight are counted where they are received).

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::RejectReason;
use crate::model::{LabelSet, METRIC_NAME, TenantId};

/// What becomes of a new series that has a label whose name or value is too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LongLabels {
    /// The series is refused.
    #[default]
    Reject,
    /// The text is cut and ends with a hash of the whole, so that distinct texts stay distinct.
    Truncate,
    /// The label is left out; series that differ in nothing else become one. A metric name is never left out.
    DropLabel,
}

/// Most samples over time: a bucket that holds `burst` samples and is filled at `samples_per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Samples a second in the long run.
    pub samples_per_second: u64,
    /// Samples that may come at once.
    pub burst: u64,
}

/// Limits of one tenant. Where a limit is exceeded the refusal names it and the value that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantLimits {
    /// Most series in the head; new ones are refused above it, known ones are not affected. `usize::MAX` = no limit.
    pub active_series_max: usize,
    /// Most labels of a series, the metric name included.
    pub labels_per_series_max: usize,
    /// Longest label name in bytes.
    pub label_name_bytes_max: usize,
    /// Longest label value in bytes, the metric name included.
    pub label_value_bytes_max: usize,
    /// How long samples are kept; `None` = for ever.
    pub retention_ms: Option<i64>,
    /// Most bytes of block files; the oldest blocks go first. `None` = no limit.
    pub retention_bytes: Option<u64>,
    /// How far ahead of the clock a sample may be.
    pub ahead_ms: i64,
    /// Most samples over time; `None` = no limit.
    pub rate: Option<RateLimit>,
    /// Most bytes of writes in flight; `usize::MAX` = as many as the server takes.
    pub inflight_bytes_max: usize,
    /// What becomes of labels that are too long.
    pub long_labels: LongLabels,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            active_series_max: 5_000_000,
            labels_per_series_max: 64,
            label_name_bytes_max: 256,
            label_value_bytes_max: 4096,
            retention_ms: Some(15 * 24 * 3_600_000),
            retention_bytes: None,
            ahead_ms: 10 * 60_000,
            rate: None,
            inflight_bytes_max: usize::MAX,
            long_labels: LongLabels::Reject,
        }
    }
}

/// Limits by tenant, where they differ from the default.
pub type TenantLimitsByTenant = HashMap<TenantId, TenantLimits>;

/// The limits of all tenants at one time; swapped whole.
#[derive(Debug, Default)]
pub(crate) struct LimitsBook {
    defaults: Arc<TenantLimits>,
    by_tenant: HashMap<TenantId, Arc<TenantLimits>>,
}

impl LimitsBook {
    pub(crate) fn new(defaults: TenantLimits, by_tenant: TenantLimitsByTenant) -> Self {
        let by_tenant = by_tenant.into_iter().map(|(tenant, limits)| (tenant, Arc::new(limits))).collect();
        Self { defaults: Arc::new(defaults), by_tenant }
    }

    pub(crate) fn of(&self, tenant: &TenantId) -> Arc<TenantLimits> {
        Arc::clone(self.by_tenant.get(tenant).unwrap_or(&self.defaults))
    }
}

/// How many labels the policy for long ones has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LongLabelCounts {
    /// Labels whose name or value was cut.
    pub truncated: usize,
    /// Labels that were left out.
    pub dropped: usize,
}

impl LongLabelCounts {
    pub(crate) fn add(&mut self, other: Self) {
        self.truncated += other.truncated;
        self.dropped += other.dropped;
    }
}

/// A cut text ends with `_` and the hash of the whole in hexadecimal digits.
const HASH_SUFFIX_BYTES: usize = 17;

/// Cuts `text` to `bytes_max`, which is at least [`HASH_SUFFIX_BYTES`].
fn truncated(text: &str, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max - HASH_SUFFIX_BYTES);
    format!("{}_{:016x}", &text[..end], xxh3_64(text.as_bytes()))
}

impl TenantLimits {
    /// Makes the labels of a new series what they may be, by the policy for long labels.
    ///
    /// # Errors
    /// The limit that they exceed and by what.
    pub(crate) fn admit_labels(&self, labels: LabelSet) -> Result<(LabelSet, LongLabelCounts), RejectReason> {
        let is_long = |name: &str, value: &str| {
            name.len() > self.label_name_bytes_max || value.len() > self.label_value_bytes_max
        };
        let has_long = self.long_labels != LongLabels::Reject && labels.iter().any(|(n, v)| is_long(n, v));
        if !has_long {
            self.check_labels(&labels)?;
            return Ok((labels, LongLabelCounts::default()));
        }
        let mut counts = LongLabelCounts::default();
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in labels.iter() {
            match self.long_labels {
                _ if !is_long(name, value) => pairs.push((name.into(), value.into())),
                LongLabels::DropLabel if name != METRIC_NAME => counts.dropped += 1,
                LongLabels::Truncate => {
                    counts.truncated += 1;
                    let name = shortened(name, self.label_name_bytes_max);
                    pairs.push((name, shortened(value, self.label_value_bytes_max)));
                }
                LongLabels::Reject | LongLabels::DropLabel => pairs.push((name.into(), value.into())),
            }
        }
        let admitted = LabelSet::from_pairs(pairs.iter().map(|(name, value)| (&**name, &**value)))
            .map_err(|error| RejectReason::InvalidLabels(error.to_string()))?;
        if admitted.is_empty() {
            return Err(RejectReason::InvalidLabels("all labels are too long and left out".to_owned()));
        }
        self.check_labels(&admitted)?;
        Ok((admitted, counts))
    }

    /// Checks the labels of a new series.
    ///
    /// # Errors
    /// The limit that they exceed and by what.
    pub(crate) fn check_labels(&self, labels: &LabelSet) -> Result<(), RejectReason> {
        let mut label_count = 0;
        for (name, value) in labels.iter() {
            label_count += 1;
            if name.len() > self.label_name_bytes_max {
                return Err(RejectReason::LabelNameTooLong {
                    name: excerpt(name),
                    given_bytes: name.len(),
                    limit_bytes: self.label_name_bytes_max,
                });
            }
            if value.len() > self.label_value_bytes_max {
                return Err(RejectReason::LabelValueTooLong {
                    name: name.to_owned(),
                    given_bytes: value.len(),
                    limit_bytes: self.label_value_bytes_max,
                });
            }
        }
        if label_count > self.labels_per_series_max {
            return Err(RejectReason::TooManyLabels {
                metric: excerpt(labels.metric_name()),
                given: label_count,
                limit: self.labels_per_series_max,
            });
        }
        Ok(())
    }
}

/// Cuts a text that is too long; a limit without room for the hash leaves it as it is, to be refused.
fn shortened(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max || bytes_max < HASH_SUFFIX_BYTES {
        return text.into();
    }
    truncated(text, bytes_max).into()
}

/// The beginning of a text that may be as long as a sender likes.
fn excerpt(text: &str) -> String {
    const LENGTH_MAX: usize = 64;
    if text.len() <= LENGTH_MAX {
        return text.to_owned();
    }
    text.chars().take(LENGTH_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], limits: &TenantLimits) -> Result<(), RejectReason> {
        limits.check_labels(&LabelSet::from_pairs(pairs.iter().copied()).unwrap())
    }

    #[test]
    fn each_limit_holds_at_its_value_and_refuses_one_above() {
        let limits = TenantLimits {
            labels_per_series_max: 2,
            label_name_bytes_max: 8,
            label_value_bytes_max: 4,
            ..TenantLimits::default()
        };
        assert_eq!(check(&[("__name__", "abcd"), ("b", "c")], &limits), Ok(()));
        let refusals = [
            check(&[("__name__", "up"), ("b", "c"), ("d", "e")], &limits),
            check(&[("ninebytes", "x")], &limits),
            check(&[("__name__", "abcde")], &limits),
        ];
        let texts = refusals.map(|refusal| refusal.unwrap_err().to_string());
        assert_eq!(texts[0], "series up has 3 labels, the limit is 2");
        assert_eq!(texts[1], "label name ninebytes has 9 bytes, the limit is 8");
        assert_eq!(texts[2], "value of label __name__ has 5 bytes, the limit is 4");
    }

    fn admit(
        policy: LongLabels,
        pairs: &[(&str, &str)],
    ) -> Result<(Vec<(String, String)>, LongLabelCounts), String> {
        let limits = TenantLimits {
            label_name_bytes_max: 20,
            label_value_bytes_max: 24,
            long_labels: policy,
            ..TenantLimits::default()
        };
        let (labels, counts) = limits
            .admit_labels(LabelSet::from_pairs(pairs.iter().copied()).unwrap())
            .map_err(|reason| reason.to_string())?;
        let pairs = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok((pairs, counts))
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_stay_distinct() {
        let long = "ä".repeat(20);
        let other = format!("{long}x");
        let metric = ("__name__", "up");
        let (one, counts) = admit(LongLabels::Truncate, &[metric, ("a", &long), ("b", &other)]).unwrap();
        assert_eq!(counts, LongLabelCounts { truncated: 2, dropped: 0 });
        // 24 bytes leave 7 before the hash: three characters of two bytes.
        assert!(one[1].1.starts_with("äää_") && one[1].1.len() == 23, "{one:?}");
        assert!(one[2].1.starts_with("äää_") && one[1].1 != one[2].1, "{one:?}");
        let (again, _) = admit(LongLabels::Truncate, &[metric, ("a", &long)]).unwrap();
        assert_eq!(again[1], one[1], "a cut text is the same whenever it is cut");
        let name = "n".repeat(30);
        let (named, _) = admit(LongLabels::Truncate, &[metric, (&name, "short")]).unwrap();
        assert!(
            named[1].0.starts_with("nnn_") && named[1].0.len() == 20 && named[1].1 == "short",
            "{named:?}"
        );
    }

    #[test]
    fn long_labels_are_left_out_except_the_metric_name() {
        let long = "x".repeat(25);
        let (kept, counts) =
            admit(LongLabels::DropLabel, &[("__name__", "up"), ("a", &long), ("b", "1")]).unwrap();
        assert_eq!(kept, [("__name__".to_owned(), "up".to_owned()), ("b".to_owned(), "1".to_owned())]);
        assert_eq!(counts, LongLabelCounts { truncated: 0, dropped: 1 });
        let refused = admit(LongLabels::DropLabel, &[("__name__", &long)]).unwrap_err();
        assert_eq!(refused, "value of label __name__ has 25 bytes, the limit is 24");
        assert!(admit(LongLabels::DropLabel, &[("a", &long)]).unwrap_err().contains("left out"));
        assert!(admit(LongLabels::Reject, &[("__name__", "up"), ("a", &long)]).is_err());
    }
}

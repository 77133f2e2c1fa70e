//! What one tenant may do: each limit with its unit and default.
//!
//! Not here: enforcing them (see `head::table` for series and labels, `engine` for times, sizes and retention).

use hashbrown::HashMap;

use crate::batch::RejectReason;
use crate::model::{LabelSet, TenantId};

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
        }
    }
}

/// Limits by tenant, where they differ from the default.
pub type TenantLimitsByTenant = HashMap<TenantId, TenantLimits>;

impl TenantLimits {
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
}

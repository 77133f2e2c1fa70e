//! The last points that were refused, per tenant, for people who look for them.
//!
//! Input: what the protocols refused. Output: the newest entries of one tenant, at
//! `/api/v1/status/rejected_points`. Bounded: entries per tenant, tenants, length of texts, entries per batch.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use mytsdb_storage::model::TenantId;
use mytsdb_storage::{LabelSource, Rejection};

/// Entries that are kept of a tenant.
const ENTRY_COUNT_MAX: usize = 256;
/// Tenants of which entries are kept; beyond it the one that was quiet for longest is forgotten.
const TENANT_COUNT_MAX: usize = 128;
/// Entries that one batch adds: a batch may hold a million bad points.
pub const BATCH_ENTRY_COUNT_MAX: usize = 16;
/// Longest text of an entry, in bytes.
const TEXT_BYTES_MAX: usize = 300;

/// Points that were refused together: of one series for one reason, or of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedPoints {
    /// When.
    pub time_ms: i64,
    /// Over which protocol, in the words of the metrics.
    pub protocol: &'static str,
    /// A short fixed word.
    pub reason: &'static str,
    /// The metric's name; empty if it is not known.
    pub metric: String,
    /// What was wrong, with the limit and the value that was given.
    pub message: String,
    /// How many points.
    pub point_count: usize,
}

/// The last refused points of all tenants.
#[derive(Debug, Default)]
pub struct RejectionLog {
    by_tenant: Mutex<HashMap<TenantId, VecDeque<RejectedPoints>>>,
}

impl RejectionLog {
    /// Keeps the first of what the storage refused of a batch; `labels` are those of the batch.
    pub fn add_batch<'r>(
        &self,
        tenant: &TenantId,
        (protocol, time_ms): (&'static str, i64),
        rejections: impl IntoIterator<Item = &'r Rejection>,
        labels: &dyn LabelSource,
    ) {
        for rejection in rejections.into_iter().take(BATCH_ENTRY_COUNT_MAX) {
            let labels = labels.labels(rejection.series_index);
            let metric = labels.map(|labels| labels.metric_name().to_owned()).unwrap_or_default();
            let entry = RejectedPoints {
                time_ms,
                protocol,
                reason: rejection.reason.label(),
                metric,
                message: rejection.reason.to_string(),
                point_count: rejection.sample_count,
            };
            self.add(tenant, entry);
        }
    }

    /// Keeps one entry.
    pub fn add(&self, tenant: &TenantId, mut entry: RejectedPoints) {
        for text in [&mut entry.metric, &mut entry.message] {
            if text.len() > TEXT_BYTES_MAX {
                text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
                text.push('…');
            }
        }
        let mut by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        if by_tenant.len() >= TENANT_COUNT_MAX && !by_tenant.contains_key(tenant) {
            let newest = |entries: &VecDeque<RejectedPoints>| entries.back().map(|entry| entry.time_ms);
            let quietest = by_tenant.iter().min_by_key(|(_, entries)| newest(entries));
            if let Some(quietest) = quietest.map(|(tenant, _)| tenant.clone()) {
                by_tenant.remove(&quietest);
            }
        }
        let entries = by_tenant.entry(tenant.clone()).or_default();
        if entries.len() >= ENTRY_COUNT_MAX {
            entries.pop_front();
        }
        entries.push_back(entry);
    }

    /// The last `count_max` entries of a tenant, newest first.
    pub fn last(&self, tenant: &TenantId, count_max: usize) -> Vec<RejectedPoints> {
        let by_tenant = self.by_tenant.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = by_tenant.get(tenant).into_iter().flat_map(|entries| entries.iter().rev());
        entries.take(count_max).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use mytsdb_storage::RejectReason;
    use mytsdb_storage::model::LabelSet;

    use super::*;

    fn entry(time_ms: i64) -> RejectedPoints {
        let (metric, message) = ("up".to_owned(), "ü".repeat(200));
        RejectedPoints { time_ms, protocol: "otlp", reason: "too_old", metric, message, point_count: 1 }
    }

    #[test]
    fn a_tenant_sees_its_own_newest_entries_first_and_old_ones_are_forgotten() {
        let log = RejectionLog::default();
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        log.add(&b, entry(0));
        (0..ENTRY_COUNT_MAX as i64 + 10).for_each(|time_ms| log.add(&a, entry(time_ms)));
        let times = |tenant, count| log.last(tenant, count).iter().map(|e| e.time_ms).collect::<Vec<_>>();
        assert_eq!(times(&a, 2), [ENTRY_COUNT_MAX as i64 + 9, ENTRY_COUNT_MAX as i64 + 8]);
        assert_eq!(times(&a, usize::MAX).len(), ENTRY_COUNT_MAX);
        assert_eq!(times(&b, 9), [0]);
        assert_eq!(log.last(&b, 1)[0].message, "ü".repeat(150) + "…");
    }

    #[test]
    fn the_quietest_tenant_is_forgotten_first() {
        let log = RejectionLog::default();
        let tenant = |index: usize| TenantId::new(&format!("t{index}")).unwrap();
        (0..TENANT_COUNT_MAX).for_each(|index| log.add(&tenant(index), entry(100 - index as i64)));
        log.add(&tenant(1000), entry(200));
        assert!(log.last(&tenant(TENANT_COUNT_MAX - 1), 1).is_empty());
        assert_eq!((log.last(&tenant(0), 1).len(), log.last(&tenant(1000), 1).len()), (1, 1));
    }

    #[test]
    fn a_batch_leaves_a_few_entries_with_the_names_of_its_metrics() {
        let log = RejectionLog::default();
        let labels = vec![LabelSet::from_pairs([("__name__", "up")]).unwrap()];
        let reason = RejectReason::TooOld { given_ms: 1, limit_ms: 2 };
        let bad = Rejection { series_index: 0, sample_count: 3, reason };
        let unnamed = Rejection { series_index: 7, ..bad.clone() };
        let mut rejections = vec![bad; 1000];
        rejections.insert(0, unnamed);
        log.add_batch(&TenantId::anonymous(), ("flight", 5), &rejections, &labels);
        let last = log.last(&TenantId::anonymous(), usize::MAX);
        assert_eq!(last.len(), BATCH_ENTRY_COUNT_MAX);
        assert_eq!((last[0].metric.as_str(), last[0].point_count, last[0].reason), ("up", 3, "too_old"));
        assert_eq!(last[BATCH_ENTRY_COUNT_MAX - 1].metric, "");
    }
}

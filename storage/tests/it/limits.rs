//! What a tenant may do, and what becomes of series that nobody writes to any more.

use mytsdb_storage::model::{LabelSet, TenantId, TimeRange};
use mytsdb_storage::{
    RateLimit, RejectReason, Storage, StorageOptions, TenantLimits, WriteBatch, WriteError,
};

use crate::fixture::{Fixture, NOW_MS};

const ALL: TimeRange = TimeRange { start_ms: 0, end_ms: i64::MAX };
const HOUR_MS: i64 = 3_600_000;

#[test]
fn new_series_above_the_limit_are_refused_and_known_ones_go_on() {
    let mut fixture = Fixture::new();
    let small = TenantId::new("small").unwrap();
    let limits = TenantLimits { active_series_max: 2, ..TenantLimits::default() };
    fixture.options_mut().tenant_limits.insert(small.clone(), limits);
    fixture.reopen();
    assert_eq!(fixture.storage().limits(&small).active_series_max, 2);
    fixture.write_as(&small, &[(1, vec![(NOW_MS - 9, 1.0)])]);
    let runs = [(2, vec![(NOW_MS - 8, 2.0)]), (3, vec![(NOW_MS - 8, 3.0), (NOW_MS - 7, 3.0)])];
    let report = fixture.write_as(&small, &runs);
    assert_eq!((report.accepted_sample_count, report.rejected_sample_count()), (1, 2));
    assert_eq!(report.rejections[0].series_index, 1);
    assert_eq!(report.rejections[0].reason, RejectReason::SeriesLimit { given: 2, limit: 2 });
    let report = fixture.write_as(&small, &[(3, vec![(NOW_MS, 3.0)]), (1, vec![(NOW_MS, 1.0)])]);
    assert_eq!((report.accepted_sample_count, report.rejected_sample_count()), (1, 1));
    // Others have their own limit.
    let report =
        fixture.write(&[(1, vec![(NOW_MS, 1.0)]), (2, vec![(NOW_MS, 1.0)]), (3, vec![(NOW_MS, 1.0)])]);
    assert_eq!(report.rejected_sample_count(), 0);
    let ids: Vec<u32> = fixture.read_as(&small, &[], ALL).iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn limits_that_change_hold_for_the_next_write_of_every_tenant() {
    let fixture = Fixture::new();
    let small = TenantId::new("small").unwrap();
    fixture.write_as(&small, &[(1, vec![(NOW_MS, 1.0)])]);
    let two = TenantLimits { active_series_max: 1, ..TenantLimits::default() };
    fixture.storage().set_limits(TenantLimits::default(), [(small.clone(), two)].into_iter().collect());
    assert_eq!(fixture.storage().limits(&small).active_series_max, 1);
    assert_eq!(fixture.write_as(&small, &[(2, vec![(NOW_MS, 1.0)])]).rejected_sample_count(), 1);
    assert_eq!(fixture.write(&[(1, vec![(NOW_MS, 1.0)]), (2, vec![(NOW_MS, 1.0)])]).rejections, []);
    fixture.storage().set_limits(TenantLimits::default(), Default::default());
    assert_eq!(fixture.write_as(&small, &[(2, vec![(NOW_MS, 1.0)])]).rejections, []);
}

#[test]
fn a_tenant_that_writes_too_fast_is_told_when_to_come_back() {
    let fixture = Fixture::new();
    let rate = Some(RateLimit { samples_per_second: 10, burst: 3 });
    fixture.storage().set_limits(TenantLimits { rate, ..TenantLimits::default() }, Default::default());
    let samples: Vec<(i64, f64)> = (0..3).map(|index| (NOW_MS + index, 1.0)).collect();
    fixture.write(&[(1, samples)]);
    let labels = vec![LabelSet::from_pairs([("__name__", "up")]).unwrap()];
    let batch = WriteBatch {
        keys: &[fixture.storage().series_key(b"up")],
        sample_ends: &[2],
        timestamps_ms: &[NOW_MS, NOW_MS + 1],
        values: &[1.0, 2.0],
        starts: &[],
        histograms: &[],
        exemplars: &[],
        labels: &labels,
        metadata: &[],
    };
    let error = fixture.storage().write(&TenantId::anonymous(), &batch, NOW_MS).unwrap_err();
    assert!(
        matches!(error, WriteError::RateLimited { given: 2, samples_per_second: 10, retry_after_ms: 200 }),
        "{error}"
    );
    assert!(error.is_retryable());
    let report = fixture.storage().write(&TenantId::anonymous(), &batch, NOW_MS + 200).unwrap();
    assert_eq!(report.accepted_sample_count, 2);
}

#[test]
fn series_that_nobody_writes_to_leave_the_head_and_come_back_with_their_samples() {
    const DEAD_COUNT: u32 = 10_100;
    let mut fixture = Fixture::new();
    let at = |time_ms: i64, ids: std::ops::Range<u32>| -> Vec<(u32, Vec<(i64, f64)>)> {
        ids.map(|id| (id, vec![(time_ms, f64::from(id))])).collect()
    };
    fixture.write(&at(NOW_MS - 50, 0..DEAD_COUNT + 5));
    let before = fixture.storage().reader(&TenantId::anonymous());
    fixture.storage().flush(NOW_MS).unwrap();
    fixture.write(&at(NOW_MS - 40, DEAD_COUNT..DEAD_COUNT + 5));
    fixture.storage().flush(NOW_MS + 1).unwrap();
    assert_eq!(
        fixture.storage().stats().head_series_count,
        DEAD_COUNT as usize + 5,
        "a second flush soon after the first lets go of nothing"
    );
    fixture.write(&at(NOW_MS - 30, DEAD_COUNT..DEAD_COUNT + 5));
    let meanwhile = fixture.storage().reader(&TenantId::anonymous());
    fixture.storage().flush(NOW_MS + HOUR_MS).unwrap();
    assert_eq!(fixture.storage().stats().head_series_count, 5);
    // Snapshots over the old table read on.
    assert_eq!(before.select(&[], ALL).unwrap().len(), DEAD_COUNT as usize + 5);
    assert_eq!(meanwhile.select(&[], ALL).unwrap().len(), DEAD_COUNT as usize + 5);
    // References are new: samples still go to the series that they name.
    fixture.write(&at(NOW_MS - 20, DEAD_COUNT - 1..DEAD_COUNT + 1));
    assert_eq!(fixture.storage().stats().head_series_count, 6);
    let check = |fixture: &Fixture| {
        let found = fixture.read(ALL);
        assert_eq!(found.len(), DEAD_COUNT as usize + 5);
        for (id, samples) in found {
            let times: Vec<i64> = samples.iter().map(|(time_ms, _)| *time_ms - NOW_MS).collect();
            assert!(samples.iter().all(|(_, bits)| *bits == f64::from(id).to_bits()), "series {id}");
            let expected: &[i64] = match id {
                id if id < DEAD_COUNT - 1 => &[-50],
                id if id == DEAD_COUNT - 1 => &[-50, -20],
                id if id == DEAD_COUNT => &[-50, -40, -30, -20],
                _ => &[-50, -40, -30],
            };
            assert_eq!(times, expected, "series {id}");
        }
    };
    check(&fixture);
    fixture.reopen();
    check(&fixture);
}

#[test]
fn a_head_without_writes_lets_go_of_its_series() {
    let fixture = Fixture::new();
    fixture.write(&[(1, vec![(NOW_MS, 1.0)])]);
    fixture.storage().flush(NOW_MS).unwrap();
    let storage: &Storage = fixture.storage();
    storage.maintain(NOW_MS + 1).unwrap();
    assert_eq!(storage.stats().head_series_count, 1);
    let head_age_ms_max = StorageOptions::new("").head_age_ms_max;
    storage.maintain(NOW_MS + head_age_ms_max + 1).unwrap();
    assert_eq!(storage.stats().head_series_count, 0);
    fixture.write(&[(1, vec![(NOW_MS + 1, 2.0)])]);
    assert_eq!(fixture.read(ALL)[0].1.len(), 2);
}

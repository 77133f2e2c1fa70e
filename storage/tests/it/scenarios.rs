//! One scenario a test: the promises of the engine's doors.

use mytsdb_storage::model::{LabelSet, MatchOp, Matcher, MetricKind, MetricMetadata, TenantId, TimeRange};
use mytsdb_storage::read::SampleColumns;
use mytsdb_storage::{
    LabelSource, OpenError, RejectReason, SeriesHint, Storage, StorageOptions, WriteBatch, WriteError,
};

use crate::fixture::{Fixture, NOW_MS, labels_of};

const ALL: TimeRange = TimeRange { start_ms: 0, end_ms: i64::MAX };

fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
    samples.iter().map(|(time_ms, value)| (*time_ms, value.to_bits())).collect()
}

#[test]
fn an_identical_repeat_is_stored_once_and_a_later_value_wins() {
    let mut fixture = Fixture::new();
    let samples = vec![(NOW_MS - 2, 1.0), (NOW_MS - 1, 2.0)];
    fixture.write(&[(1, samples.clone())]);
    fixture.write(&[(1, samples)]);
    assert_eq!(fixture.read(ALL), [(1, bits(&[(NOW_MS - 2, 1.0), (NOW_MS - 1, 2.0)]))]);
    fixture.storage().flush(NOW_MS).unwrap();
    fixture.write(&[(1, vec![(NOW_MS - 2, 7.0)])]);
    let corrected = [(1, bits(&[(NOW_MS - 2, 7.0), (NOW_MS - 1, 2.0)]))];
    assert_eq!(fixture.read(ALL), corrected);
    fixture.storage().flush(NOW_MS).unwrap();
    assert_eq!(fixture.read(ALL), corrected);
    fixture.reopen();
    assert_eq!(fixture.read(ALL), corrected);
}

/// That equal names mean equal times is checked by every read of the fixture.
#[test]
fn series_with_the_same_times_are_read_with_the_same_name_for_them() {
    let fixture = Fixture::new();
    let samples = |count: i64| (0..count).map(|second| (NOW_MS - 60_000 + 1000 * second, 1.0)).collect();
    fixture.write(&[(1, samples(60)), (2, samples(60)), (3, samples(40))]);
    fixture.storage().flush(NOW_MS).unwrap();
    // In the head as well: no column of a block has these times.
    fixture.write(&[(2, vec![(NOW_MS - 10_500, 1.0)])]);
    let set = fixture.storage().reader(&TenantId::anonymous()).select(&[], ALL).unwrap();
    let mut columns = SampleColumns::default();
    let mut names = |index: usize, range: TimeRange| {
        set.read(index, range, &mut columns).unwrap();
        columns.times_id()
    };
    let early = TimeRange::new(0, NOW_MS - 30_000);
    assert!(names(0, ALL).is_some());
    assert_eq!(names(1, ALL), None);
    assert!(names(0, early).is_some());
    assert_eq!(names(0, early), names(1, early));
    assert_ne!(names(0, ALL), names(0, early));
    assert_ne!(names(0, ALL), names(2, ALL));
}

#[test]
fn the_last_value_wins_when_an_earlier_one_comes_again() {
    let mut fixture = Fixture::new();
    for value in [1.0, 2.0, 1.0] {
        fixture.write(&[(1, vec![(NOW_MS, value)])]);
    }
    for _ in 0..2 {
        assert_eq!(fixture.read(ALL), [(1, bits(&[(NOW_MS, 1.0)]))]);
        fixture.reopen();
    }
}

#[test]
fn the_last_run_of_a_batch_wins_whatever_its_length() {
    let run =
        |count: i64, value: f64| (0..count).map(|index| (NOW_MS - index, value)).rev().collect::<Vec<_>>();
    for (first, second) in [(150, 3), (3, 150), (150, 150), (3, 3)] {
        let mut fixture = Fixture::new();
        fixture.write(&[(1, run(first, 1.0)), (2, run(200, 3.0)), (1, run(second, 2.0))]);
        let mut expected = run(first.max(second), 1.0);
        let from = expected.len() - second as usize;
        expected[from..].iter_mut().for_each(|(_, value)| *value = 2.0);
        for _ in 0..2 {
            assert_eq!(fixture.read(ALL), [(1, bits(&expected)), (2, bits(&run(200, 3.0)))]);
            fixture.reopen();
        }
    }
}

#[test]
fn samples_outside_the_window_are_refused_one_by_one_with_the_limit() {
    let fixture = Fixture::new();
    let day_ms = 86_400_000;
    let report = fixture.write(&[
        (1, vec![(NOW_MS - 16 * day_ms, 1.0), (NOW_MS, 2.0)]),
        (2, vec![(NOW_MS + day_ms, 3.0)]),
        (3, vec![(NOW_MS, 4.0)]),
    ]);
    assert_eq!(report.accepted_sample_count, 2);
    assert_eq!(report.rejected_sample_count(), 2);
    let limit_ms = NOW_MS - 15 * day_ms;
    assert_eq!(
        report.rejections[0].reason,
        RejectReason::TooOld { given_ms: NOW_MS - 16 * day_ms, limit_ms }
    );
    assert_eq!(
        report.rejections[1].reason,
        RejectReason::TooFarAhead { given_ms: NOW_MS + day_ms, limit_ms: NOW_MS + 600_000 }
    );
    assert_eq!(fixture.read(ALL), [(1, bits(&[(NOW_MS, 2.0)])), (3, bits(&[(NOW_MS, 4.0)]))]);
}

#[test]
fn blocks_beyond_retention_go_and_the_rest_stays() {
    let mut fixture = Fixture::new();
    let day_ms = 86_400_000;
    fixture.write(&[(1, vec![(NOW_MS - 14 * day_ms, 1.0), (NOW_MS, 2.0)])]);
    fixture.storage().flush(NOW_MS).unwrap();
    assert_eq!(fixture.storage().stats().block_count, 2);
    fixture.storage().maintain(NOW_MS).unwrap();
    assert_eq!(fixture.storage().stats().block_count, 2);
    fixture.storage().maintain(NOW_MS + 2 * day_ms).unwrap();
    assert_eq!(fixture.read(ALL), [(1, bits(&[(NOW_MS, 2.0)]))]);
    fixture.reopen();
    assert_eq!(fixture.read(ALL), [(1, bits(&[(NOW_MS, 2.0)]))]);
}

#[test]
fn a_reader_sees_its_snapshot_through_a_flush() {
    let fixture = Fixture::new();
    let samples: Vec<(i64, f64)> = (0..1000).map(|i| (NOW_MS - 1_000_000 + i * 1000, i as f64)).collect();
    fixture.write(&[(1, samples.clone())]);
    let snapshot = fixture.storage().reader(&TenantId::anonymous());
    fixture.storage().flush(NOW_MS).unwrap();
    let set = snapshot.select(&[], ALL).unwrap();
    let mut columns = mytsdb_storage::read::SampleColumns::default();
    set.read(0, ALL, &mut columns).unwrap();
    assert_eq!(columns.values, samples.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    assert_eq!(fixture.read(ALL), [(1, bits(&samples))]);
}

#[test]
fn special_values_survive_head_block_and_restart_bit_by_bit() {
    let mut fixture = Fixture::new();
    let special = [
        f64::NAN,
        f64::from_bits(0x7ff0_0000_0000_0002),
        f64::from_bits(0xfff8_0000_dead_beef),
        -0.0,
        0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE / 8.0,
        f64::MAX,
        0.1 + 0.2,
    ];
    let samples: Vec<(i64, f64)> =
        (0..500).map(|i| (NOW_MS - 500_000 + i as i64 * 1000, special[i % special.len()])).collect();
    for chunk in samples.chunks(37) {
        fixture.write(&[(1, chunk.to_vec())]);
    }
    fixture.write(&[(2, samples.clone())]);
    let expected = [(1, bits(&samples)), (2, bits(&samples))];
    assert_eq!(fixture.read(ALL), expected);
    fixture.reopen();
    assert_eq!(fixture.read(ALL), expected);
    fixture.storage().flush(NOW_MS).unwrap();
    assert_eq!(fixture.read(ALL), expected);
}

#[test]
fn tenants_do_not_see_each_other() {
    let mut fixture = Fixture::new();
    let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
    fixture.write_as(&a, &[(1, vec![(NOW_MS, 1.0)])]);
    fixture.write_as(&b, &[(2, vec![(NOW_MS, 2.0)])]);
    for _ in 0..3 {
        assert_eq!(fixture.read_as(&a, &[], ALL), [(1, bits(&[(NOW_MS, 1.0)]))]);
        assert_eq!(fixture.read_as(&b, &[], ALL), [(2, bits(&[(NOW_MS, 2.0)]))]);
        assert!(fixture.read(ALL).is_empty());
        fixture.storage().flush(NOW_MS).unwrap();
        fixture.reopen();
    }
    assert_eq!(fixture.storage().tenant_ids(), [a, b]);
}

#[test]
fn matchers_and_label_queries_agree_between_head_and_block() {
    let fixture = Fixture::new();
    for id in 0..20 {
        fixture.write(&[(id, vec![(NOW_MS - i64::from(id) * 1000, 1.0)])]);
    }
    let matchers = [Matcher::new(MatchOp::Regex, "id", "0001.|00003").unwrap()];
    let snapshot = || fixture.storage().reader(&TenantId::anonymous());
    let ask = || {
        (
            fixture.read_as(&TenantId::anonymous(), &matchers, ALL),
            snapshot().label_values("id", &matchers, ALL).unwrap(),
            snapshot().label_names(&[], ALL).unwrap(),
            snapshot().label_values("id", &[], TimeRange::from_inclusive(NOW_MS - 1000, NOW_MS)).unwrap(),
        )
    };
    let in_head = ask();
    assert_eq!(in_head.0.len(), 11);
    assert_eq!(in_head.2, ["__name__", "id", "job"]);
    assert_eq!(in_head.3, ["00000", "00001"]);
    fixture.storage().flush(NOW_MS).unwrap();
    let in_block = ask();
    assert_eq!((in_block.0, in_block.1, in_block.2), (in_head.0, in_head.1, in_head.2));
}

#[test]
fn metadata_is_bounded_over_many_epochs() {
    let mut fixture = Fixture::new();
    let fact = |metric: &str, help: String| MetricMetadata {
        metric: metric.to_owned(),
        kind: MetricKind::Counter,
        unit: "seconds".to_owned(),
        help,
    };
    for round in 0..5_usize {
        let names = ["a".to_owned(), format!("m{round}"), "x".repeat(2_000)];
        let facts: Vec<_> = names.iter().map(|name| fact(name, format!("{round}").repeat(5_000))).collect();
        let batch = WriteBatch {
            keys: &[],
            sample_ends: &[],
            timestamps_ms: &[],
            values: &[],
            starts: &[],
            labels: &Vec::<LabelSet>::new(),
            histograms: &[],
            exemplars: &[],
            metadata: &facts,
        };
        let report = fixture.storage().write(&TenantId::anonymous(), &batch, NOW_MS).unwrap();
        assert_eq!(report.refused_metadata_count, 1, "the name of 2000 bytes");
        fixture.write(&[(1, vec![(NOW_MS + round as i64, 1.0)])]);
        fixture.storage().flush(NOW_MS).unwrap();
        if round % 2 == 1 {
            fixture.reopen();
        }
        let known = fixture.storage().reader(&TenantId::anonymous()).metadata();
        let names: Vec<&str> = known.iter().map(|fact| fact.metric.as_str()).collect();
        assert_eq!(names, ["a", "m0", "m1", "m2", "m3", "m4"][..round + 2]);
        assert_eq!(known[0].help, format!("{round}").repeat(1_024));
        // Every epoch begins with all of it and nothing else.
        assert!(fixture.storage().stats().wal_bytes < 8 * 1_200, "{:?}", fixture.storage().stats());
    }
}

#[test]
fn metadata_survives_flush_and_restart() {
    let mut fixture = Fixture::new();
    let fact = |help: &str| MetricMetadata {
        metric: "up".to_owned(),
        kind: MetricKind::Gauge,
        unit: String::new(),
        help: help.to_owned(),
    };
    let write = |fixture: &Fixture, facts: &[MetricMetadata]| {
        let batch = WriteBatch {
            keys: &[],
            sample_ends: &[],
            timestamps_ms: &[],
            values: &[],
            starts: &[],
            labels: &Vec::<LabelSet>::new(),
            histograms: &[],
            exemplars: &[],
            metadata: facts,
        };
        fixture.storage().write(&TenantId::anonymous(), &batch, NOW_MS).unwrap();
    };
    write(&fixture, &[fact("old")]);
    write(&fixture, &[fact("new")]);
    for _ in 0..3 {
        assert_eq!(fixture.storage().reader(&TenantId::anonymous()).metadata(), [fact("new")]);
        fixture.storage().flush(NOW_MS).unwrap();
        fixture.reopen();
    }
}

#[test]
fn series_with_bad_labels_are_refused_and_their_neighbours_kept() {
    struct Labels;
    impl mytsdb_storage::LabelSource for Labels {
        fn labels(&self, series_index: usize) -> Result<LabelSet, String> {
            match series_index {
                0 => Err("label name is empty".to_owned()),
                1 => Ok(LabelSet::empty()),
                _ => Ok(labels_of(7)),
            }
        }
    }
    let fixture = Fixture::new();
    let batch = WriteBatch {
        keys: &[1, 2, 3],
        sample_ends: &[2, 3, 4],
        timestamps_ms: &[NOW_MS - 1, NOW_MS, NOW_MS, NOW_MS],
        values: &[1.0, 2.0, 3.0, 4.0],
        starts: &[],
        labels: &Labels,
        histograms: &[],
        exemplars: &[],
        metadata: &[],
    };
    let report = fixture.storage().write(&TenantId::anonymous(), &batch, NOW_MS).unwrap();
    assert_eq!((report.accepted_sample_count, report.rejected_sample_count()), (1, 3));
    assert_eq!(report.rejections[0].reason.to_string(), "invalid labels: label name is empty");
    assert_eq!(fixture.read(ALL), [(7, bits(&[(NOW_MS, 4.0)]))]);
}

#[test]
fn a_batch_that_does_not_fit_together_is_refused_whole() {
    let fixture = Fixture::new();
    let labels = vec![labels_of(1)];
    let batch = WriteBatch {
        keys: &[1],
        sample_ends: &[3],
        timestamps_ms: &[NOW_MS],
        values: &[1.0],
        starts: &[],
        labels: &labels,
        histograms: &[],
        exemplars: &[],
        metadata: &[],
    };
    let outcome = fixture.storage().write(&TenantId::anonymous(), &batch, NOW_MS);
    assert!(matches!(outcome, Err(WriteError::Shape(_))), "{outcome:?}");
}

#[test]
fn a_data_directory_belongs_to_one_storage() {
    let fixture = Fixture::new();
    let second = Storage::open(StorageOptions::new(fixture.directory.path()), NOW_MS);
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
}

#[test]
fn writes_and_reads_go_on_while_heads_are_flushed() {
    let fixture = Fixture::new();
    let batches = 60;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2_u32)
            .map(|id| {
                let fixture = &fixture;
                scope.spawn(move || {
                    for batch in 0..batches {
                        let start_ms = NOW_MS - 1_000_000 + batch * 1000;
                        let samples = (0..50).map(|i| (start_ms + i, i as f64)).collect();
                        fixture.write(&[(id, samples)]);
                        // Everything acknowledged so far is visible, exactly once.
                        let seen = fixture.read(ALL);
                        let own = seen.iter().find(|(found, _)| *found == id).unwrap();
                        assert_eq!(own.1.len() as i64, (batch + 1) * 50);
                    }
                })
            })
            .collect();
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            fixture.storage().flush(NOW_MS).unwrap();
        }
    });
    let counts: Vec<usize> = fixture.read(ALL).iter().map(|(_, samples)| samples.len()).collect();
    assert_eq!(counts, [50 * batches as usize; 2]);
}

/// A key's hint stands for the key: the search is left out. In another table it means nothing.
#[test]
fn a_hint_is_taken_in_the_table_that_gave_it_and_nowhere_else() {
    struct Hinted(Vec<SeriesHint>);
    impl LabelSource for Hinted {
        fn labels(&self, _series_index: usize) -> Result<LabelSet, String> {
            Err("nobody knows".to_owned())
        }
        fn hints(&self) -> &[SeriesHint] {
            &self.0
        }
    }
    let mut fixture = Fixture::new();
    let write = |fixture: &Fixture, tenant: &TenantId, hints: Vec<SeriesHint>| {
        let batch = WriteBatch {
            keys: &[fixture.storage().series_key(b"a key that was never seen")],
            sample_ends: &[1],
            timestamps_ms: &[NOW_MS],
            values: &[2.0],
            starts: &[],
            labels: &Hinted(hints),
            histograms: &[],
            exemplars: &[],
            metadata: &[],
        };
        fixture.storage().write(tenant, &batch, NOW_MS)
    };
    let (one, other) = (TenantId::anonymous(), TenantId::new("other").unwrap());
    let report = fixture.write(&[(1, vec![(NOW_MS - 1, 1.0)])]);
    let hint = report.series.hint(0);
    assert_eq!((report.series.hint(1), SeriesHint::from_bits(hint.to_bits())), (SeriesHint::NONE, hint));
    let report = write(&fixture, &one, vec![hint]).unwrap();
    assert_eq!((report.accepted_sample_count, report.series.hint(0)), (1, hint));
    let expected = [(1, bits(&[(NOW_MS - 1, 1.0), (NOW_MS, 2.0)]))];
    assert_eq!(fixture.read(ALL), expected);
    // A flush begins an epoch in which the series must be named again.
    fixture.storage().flush(NOW_MS).unwrap();
    assert_eq!(write(&fixture, &other, vec![hint]).unwrap().accepted_sample_count, 0);
    assert_eq!(write(&fixture, &one, vec![SeriesHint::NONE]).unwrap().accepted_sample_count, 0);
    fixture.reopen();
    let report = write(&fixture, &one, vec![hint]).unwrap();
    assert_eq!((report.accepted_sample_count, report.series.hint(0)), (0, SeriesHint::NONE));
    assert_eq!(fixture.read(ALL), expected);
    let error = write(&fixture, &one, vec![hint; 2]).unwrap_err();
    assert!(matches!(&error, WriteError::Shape(text) if text == "2 hints for 1 keys"), "{error}");
}

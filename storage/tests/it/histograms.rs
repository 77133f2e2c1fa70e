//! Native histograms and exemplars through the public doors: against a model, over flushes and restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use mytsdb_storage::model::{
    BucketSpan, Exemplar, Histogram, HistogramLayout, LabelSet, MatchOp, Matcher, TenantId, TimeRange,
    stale_nan,
};
use mytsdb_storage::read::{ReadError, SampleColumns};
use mytsdb_storage::{ExemplarSample, HistogramSample, RejectReason, WriteBatch, WriteReport};
use proptest::prelude::*;

use crate::fixture::{Fixture, NOW_MS, labels_of};

const ALL: TimeRange = TimeRange::ALL;
const MIDNIGHT_MS: i64 = NOW_MS - NOW_MS % 86_400_000;

/// One sample as the model knows it.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Float(u64),
    Histogram(Histogram),
}

fn histogram(number: u32, bucket_count: u32, is_integer: bool) -> Histogram {
    let unit = if is_integer { 1.0 } else { 0.5 };
    Histogram {
        layout: Arc::new(HistogramLayout {
            schema: 2,
            is_integer,
            zero_threshold: 0.001,
            positive_spans: vec![BucketSpan { offset: -3, length: bucket_count }],
            negative_spans: vec![BucketSpan { offset: 4, length: 1 }],
            custom_bounds: Vec::new(),
        }),
        start_ms: number.is_multiple_of(3).then_some(MIDNIGHT_MS),
        count: f64::from(number * 10 + bucket_count) + 1.0,
        sum: f64::from(number) * 0.25,
        zero_count: unit,
        positive_counts: vec![unit; bucket_count as usize],
        negative_counts: vec![0.0],
        ..Histogram::default()
    }
}

fn write(
    fixture: &Fixture,
    floats: &[(u32, i64, f64)],
    histograms: &[(u32, i64, Histogram)],
    exemplars: &[(u32, Exemplar)],
) -> WriteReport {
    let ids = floats.iter().map(|(id, ..)| *id).chain(histograms.iter().map(|(id, ..)| *id));
    let mut ids: Vec<u32> = ids.chain(exemplars.iter().map(|(id, _)| *id)).collect();
    ids.sort_unstable();
    ids.dedup();
    let index = |id: u32| ids.binary_search(&id).unwrap();
    let labels: Vec<LabelSet> = ids.iter().map(|id| labels_of(*id)).collect();
    let storage = fixture.storage();
    let keys: Vec<u128> = labels.iter().map(|set| storage.series_key(set.encoded().as_bytes())).collect();
    let (mut timestamps_ms, mut values, mut sample_ends) = (Vec::new(), Vec::new(), Vec::new());
    for id in &ids {
        for (_, time_ms, value) in floats.iter().filter(|(of, ..)| of == id) {
            timestamps_ms.push(*time_ms);
            values.push(*value);
        }
        sample_ends.push(values.len());
    }
    let histograms: Vec<HistogramSample> = histograms
        .iter()
        .map(|(id, time_ms, histogram)| HistogramSample {
            series_index: index(*id),
            time_ms: *time_ms,
            histogram: histogram.clone(),
        })
        .collect();
    let exemplars: Vec<ExemplarSample> = exemplars
        .iter()
        .map(|(id, exemplar)| ExemplarSample { series_index: index(*id), exemplar: exemplar.clone() })
        .collect();
    let batch = WriteBatch {
        keys: &keys,
        sample_ends: &sample_ends,
        timestamps_ms: &timestamps_ms,
        values: &values,
        starts: &[],
        histograms: &histograms,
        exemplars: &exemplars,
        labels: &labels,
        metadata: &[],
    };
    storage.write(&TenantId::anonymous(), &batch, NOW_MS).unwrap()
}

fn read(fixture: &Fixture, range: TimeRange) -> BTreeMap<u32, BTreeMap<i64, Cell>> {
    let set = fixture.storage().reader(&TenantId::anonymous()).select(&[], range).unwrap();
    let mut columns = SampleColumns::default();
    let mut found = BTreeMap::new();
    for index in 0..set.len() {
        set.read(index, range, &mut columns).unwrap();
        assert!(columns.timestamps_ms.is_sorted_by(|left, right| left < right));
        assert!(columns.histograms.is_sorted_by(|left, right| left.0 < right.0));
        assert!(columns.len() <= set.estimated_sample_count(index, range));
        assert!(columns.len() <= set.series_sample_count_max());
        let floats = columns.timestamps_ms.iter().zip(&columns.values);
        let mut cells: Vec<(i64, Cell)> =
            floats.map(|(time_ms, value)| (*time_ms, Cell::Float(value.to_bits()))).collect();
        for (position, histogram) in &columns.histograms {
            assert!(columns.values[*position as usize].is_nan());
            cells[*position as usize].1 = Cell::Histogram((**histogram).clone());
        }
        if !cells.is_empty() {
            let id = set.labels(index).get("id").unwrap().parse().unwrap();
            found.insert(id, cells.into_iter().collect());
        }
    }
    found
}

#[derive(Debug, Clone)]
enum Step {
    Write { id: u32, start: i64, step_ms: i64, count: usize, buckets: u32, is_histogram: bool },
    Flush,
    Compact,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    // Around midnight, in steps that meet each other.
    let write = (0..3_u32, -80..80_i64, 1..4_i64, 1..150_usize, 1..4_u32, any::<bool>()).prop_map(
        |(id, start, step, count, buckets, is_histogram)| Step::Write {
            id,
            start: MIDNIGHT_MS + start * 5_000,
            step_ms: step * 5_000,
            count,
            buckets,
            is_histogram,
        },
    );
    prop_oneof![10 => write, 3 => Just(Step::Flush), 1 => Just(Step::Compact), 1 => Just(Step::Reopen)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn reads_agree_with_a_model(steps in proptest::collection::vec(any_step(), 1..25)) {
        let mut fixture = Fixture::new();
        let mut model: BTreeMap<u32, BTreeMap<i64, Cell>> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write { id, start, step_ms, count, buckets, is_histogram } => {
                    let times = (0..count as i64).map(|index| start + index * step_ms);
                    let series = model.entry(id).or_default();
                    if is_histogram {
                        let row = |time_ms: i64| histogram(number as u32 + (time_ms % 7) as u32, buckets, number.is_multiple_of(2));
                        let rows: Vec<_> = times.map(|time_ms| (id, time_ms, row(time_ms))).collect();
                        let report = write(&fixture, &[], &rows, &[]);
                        prop_assert_eq!((report.accepted_sample_count, report.accepted_histogram_count), (count, count));
                        series.extend(rows.into_iter().map(|(_, time_ms, row)| (time_ms, Cell::Histogram(row))));
                    } else {
                        let rows: Vec<_> = times.map(|time_ms| (id, time_ms, number as f64)).collect();
                        write(&fixture, &rows, &[], &[]);
                        for (_, time_ms, value) in rows {
                            let cell = series.entry(time_ms).or_insert(Cell::Float(0));
                            if matches!(cell, Cell::Float(_)) {
                                *cell = Cell::Float(value.to_bits());
                            }
                        }
                    }
                }
                Step::Flush => fixture.storage().flush(NOW_MS).unwrap(),
                Step::Compact => fixture.storage().compact_all(NOW_MS).unwrap(),
                Step::Reopen => fixture.reopen(),
            }
        }
        prop_assert_eq!(&read(&fixture, ALL), &model);
        let range = TimeRange::new(MIDNIGHT_MS - 100_000, MIDNIGHT_MS + 150_000);
        let mut inside = model.clone();
        inside.values_mut().for_each(|series| series.retain(|time_ms, _| range.contains(*time_ms)));
        inside.retain(|_, series| !series.is_empty());
        prop_assert_eq!(&read(&fixture, range), &inside);
        fixture.storage().flush(NOW_MS).unwrap();
        prop_assert_eq!(&read(&fixture, ALL), &model);
        fixture.storage().compact_all(NOW_MS).unwrap();
        prop_assert_eq!(&read(&fixture, ALL), &model);
        fixture.reopen();
        prop_assert_eq!(&read(&fixture, ALL), &model);
        prop_assert_eq!(&read(&fixture, range), &inside);
        fixture.check();
    }
}

#[test]
fn histograms_are_refused_one_by_one() {
    let fixture = Fixture::new();
    let mut impossible = histogram(1, 2, true);
    impossible.positive_counts.pop();
    let ahead_ms = NOW_MS + 3_600_000;
    let rows = [
        (1, NOW_MS, histogram(1, 2, true)),
        (1, NOW_MS + 1, impossible.clone()),
        (1, NOW_MS + 2, impossible),
        (2, ahead_ms, histogram(2, 2, true)),
        (2, NOW_MS + 3, histogram(3, 1, false)),
    ];
    let report = write(&fixture, &[(2, NOW_MS, 7.0)], &rows, &[]);
    assert_eq!((report.accepted_sample_count, report.accepted_histogram_count), (3, 2));
    let [first, second] = &report.rejections[..] else { panic!("{:?}", report.rejections) };
    assert_eq!((first.series_index, first.sample_count), (0, 2));
    let RejectReason::InvalidHistogram(reason) = &first.reason else { panic!("{:?}", first.reason) };
    assert_eq!(reason, "positive spans hold 2 buckets, there are 1 counts");
    assert!(matches!(second.reason, RejectReason::TooFarAhead { given_ms, .. } if given_ms == ahead_ms));
    assert_eq!(report.rejected_sample_count(), 3);
    assert_eq!(read(&fixture, ALL).values().map(BTreeMap::len).sum::<usize>(), 3);
}

#[test]
fn a_stale_marker_ends_a_series_of_histograms() {
    let mut fixture = Fixture::new();
    let marker = Histogram { sum: stale_nan(), count: f64::NAN, ..histogram(1, 2, true) };
    write(&fixture, &[], &[(1, NOW_MS, histogram(1, 2, true)), (1, NOW_MS + 1, marker)], &[]);
    for _ in 0..2 {
        let series = &read(&fixture, ALL)[&1];
        let Cell::Histogram(last) = &series[&(NOW_MS + 1)] else { panic!("{series:?}") };
        assert!(last.is_stale());
        assert_eq!(*last, Histogram::stale());
        fixture.storage().flush(NOW_MS).unwrap();
        fixture.reopen();
    }
}

fn exemplar(time_ms: i64, trace: &str) -> Exemplar {
    Exemplar { labels: LabelSet::from_pairs([("trace_id", trace)]).unwrap(), value: 0.5, time_ms }
}

fn exemplars(fixture: &Fixture, matchers: &[Matcher], range: TimeRange) -> Vec<(u32, Vec<Exemplar>)> {
    let found = fixture.storage().reader(&TenantId::anonymous()).exemplars(matchers, range, 1_000).unwrap();
    found.into_iter().map(|(labels, found)| (labels.get("id").unwrap().parse().unwrap(), found)).collect()
}

#[test]
fn exemplars_survive_flush_and_restart() {
    let mut fixture = Fixture::new();
    let samples = [(1, MIDNIGHT_MS - 1, 1.0), (1, MIDNIGHT_MS + 1, 2.0), (2, MIDNIGHT_MS + 1, 1.0)];
    let given = [
        (1, exemplar(MIDNIGHT_MS - 5, "a")),
        (1, exemplar(MIDNIGHT_MS + 5, "b")),
        // No sample of the series lies in this day.
        (2, exemplar(MIDNIGHT_MS - 5, "c")),
        (1, exemplar(MIDNIGHT_MS + 5, "b")),
    ];
    let report = write(&fixture, &samples, &[], &given);
    assert_eq!((report.accepted_exemplar_count, report.exemplar_rejections.len()), (4, 0));
    assert_eq!(fixture.storage().stats().head_exemplar_count, 3);
    let expected = [
        (1, vec![exemplar(MIDNIGHT_MS - 5, "a"), exemplar(MIDNIGHT_MS + 5, "b")]),
        (2, vec![exemplar(MIDNIGHT_MS - 5, "c")]),
    ];
    for round in 0..4 {
        assert_eq!(exemplars(&fixture, &[], ALL), expected, "round {round}");
        let one = Matcher::new(MatchOp::Equal, "id", "00001").unwrap();
        let before_midnight = TimeRange::new(0, MIDNIGHT_MS);
        let found = exemplars(&fixture, &[one], before_midnight);
        assert_eq!(found, [(1, vec![exemplar(MIDNIGHT_MS - 5, "a")])], "round {round}");
        if round == 1 {
            fixture.storage().flush(NOW_MS).unwrap();
            assert_eq!(fixture.storage().stats().head_exemplar_count, 0);
            // Once more, now in the head as well.
            write(&fixture, &samples[..1], &[], &given[..1]);
        } else if round == 2 {
            fixture.storage().compact_all(NOW_MS).unwrap();
        } else {
            fixture.reopen();
        }
    }
    let too_many = fixture.storage().reader(&TenantId::anonymous()).exemplars(&[], ALL, 2);
    assert_eq!(too_many.unwrap_err(), ReadError::TooManyExemplars { limit: 2 });
}

#[test]
fn exemplars_are_refused_one_by_one() {
    let fixture = Fixture::new();
    let long = "x".repeat(2_000);
    let given =
        [(1, exemplar(NOW_MS, "a")), (1, exemplar(NOW_MS, &long)), (1, exemplar(NOW_MS + 3_600_000, "b"))];
    let report = write(&fixture, &[(1, NOW_MS, 1.0)], &[], &given);
    assert_eq!(report.accepted_exemplar_count, 1);
    assert_eq!(report.rejections, []);
    let reasons: Vec<&str> =
        report.exemplar_rejections.iter().map(|refused| refused.reason.label()).collect();
    assert_eq!(reasons, ["invalid_exemplar", "too_far_ahead"]);
    assert_eq!(exemplars(&fixture, &[], ALL), [(1, vec![exemplar(NOW_MS, "a")])]);
}

#[test]
fn deletes_reach_histograms_and_exemplars() {
    let fixture = Fixture::new();
    let rows: Vec<_> = (0..10).map(|time| (1, NOW_MS + time, histogram(time as u32, 2, true))).collect();
    let given: Vec<_> = (0..10).map(|time| (1, exemplar(NOW_MS + time, "a"))).collect();
    write(&fixture, &[(1, NOW_MS + 10, 1.0)], &rows, &given);
    let deleted = TimeRange::new(NOW_MS + 3, NOW_MS + 8);
    fixture
        .storage()
        .delete_series(&TenantId::anonymous(), &[vec![Matcher::equal("id", "00001")]], deleted, NOW_MS)
        .unwrap();
    let series = &read(&fixture, ALL)[&1];
    assert_eq!(series.keys().map(|time_ms| time_ms - NOW_MS).collect::<Vec<_>>(), [0, 1, 2, 8, 9, 10]);
    assert_eq!(series[&(NOW_MS + 8)], Cell::Histogram(histogram(8, 2, true)));
    assert_eq!(series[&(NOW_MS + 10)], Cell::Float(1.0_f64.to_bits()));
    let left: Vec<i64> =
        exemplars(&fixture, &[], ALL)[0].1.iter().map(|found| found.time_ms - NOW_MS).collect();
    assert_eq!(left, [0, 1, 2, 8, 9]);
}

//! Arithmetic, resets, quantiles and trimming, by example and by property.

use std::sync::Arc;

use mytsdb_storage::model::{BucketSpan, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramLayout, ResetHint};
use proptest::prelude::*;

use super::trim::Kept;
use super::*;

fn span(offset: i32, counts: &[f64]) -> Vec<BucketSpan> {
    if counts.is_empty() { vec![] } else { vec![BucketSpan { offset, length: counts.len() as u32 }] }
}

/// Buckets from `offset` on; count and sum as if each observation were 1.
fn exponential(
    schema: i8,
    zero: (f64, f64),
    positive: (i32, &[f64]),
    negative: (i32, &[f64]),
) -> FloatHistogram {
    let layout = HistogramLayout {
        schema,
        zero_threshold: zero.0,
        positive_spans: span(positive.0, positive.1),
        negative_spans: span(negative.0, negative.1),
        ..HistogramLayout::default()
    };
    let count = zero.1 + positive.1.iter().sum::<f64>() + negative.1.iter().sum::<f64>();
    FloatHistogram::from_stored(&Histogram {
        layout: Arc::new(layout),
        count,
        sum: count,
        zero_count: zero.1,
        positive_counts: positive.1.to_vec(),
        negative_counts: negative.1.to_vec(),
        ..Histogram::default()
    })
}

fn custom(bounds: &[f64], counts: &[f64]) -> FloatHistogram {
    let layout = HistogramLayout {
        schema: CUSTOM_BOUNDS_SCHEMA,
        positive_spans: span(0, counts),
        custom_bounds: bounds.to_vec(),
        ..HistogramLayout::default()
    };
    let count = counts.iter().sum();
    FloatHistogram::from_stored(&Histogram {
        layout: Arc::new(layout),
        count,
        sum: count,
        positive_counts: counts.to_vec(),
        ..Histogram::default()
    })
}

fn positive(histogram: &FloatHistogram) -> Vec<(i32, f64)> {
    histogram.positive_buckets().collect()
}

fn in_buckets(histogram: &FloatHistogram) -> f64 {
    let buckets = histogram.positive_buckets().chain(histogram.negative_buckets());
    buckets.map(|(_, count)| count).sum::<f64>() + histogram.zero_count
}

#[test]
fn text_is_that_of_prometheus() {
    let histogram = exponential(0, (0.001, 2.0), (0, &[1.0, 0.0, 4.0]), (1, &[2.0]));
    assert_eq!(histogram.to_string(), "{count:9, sum:9, [-2,-1):2, [-0.001,0.001]:2, (0.5,1]:1, (2,4]:4}");
    assert_eq!(
        custom(&[5.0, 10.0], &[1.0, 2.0, 3.0]).to_string(),
        "{count:6, sum:6, [-Inf,5]:1, (5,10]:2, (10,+Inf]:3}"
    );
}

#[test]
fn spans_become_indexes() {
    let layout = HistogramLayout {
        positive_spans: vec![BucketSpan { offset: -2, length: 2 }, BucketSpan { offset: 3, length: 1 }],
        ..HistogramLayout::default()
    };
    let stored =
        Histogram { layout: Arc::new(layout), positive_counts: vec![1.0, 2.0, 3.0], ..Histogram::default() };
    assert_eq!(positive(&FloatHistogram::from_stored(&stored)), [(-2, 1.0), (-1, 2.0), (3, 3.0)]);
}

#[test]
fn the_finer_of_two_is_reduced() {
    let mut coarse = exponential(0, (0.0, 0.0), (1, &[1.0, 1.0]), (0, &[]));
    let fine = exponential(1, (0.0, 0.0), (1, &[1.0, 2.0, 4.0, 8.0]), (0, &[]));
    coarse.add(&fine).unwrap();
    assert_eq!((coarse.schema, positive(&coarse)), (0, vec![(1, 4.0), (2, 13.0)]));
}

#[test]
fn the_narrower_zero_bucket_is_widened_to_a_bound() {
    // 0.6 lies inside of the bucket (0.5, 1], which holds something: the zero bucket must reach to 1.
    let mut narrow = exponential(0, (0.001, 1.0), (0, &[2.0, 4.0]), (0, &[]));
    let wide = exponential(0, (0.6, 8.0), (1, &[16.0]), (0, &[]));
    narrow.add(&wide).unwrap();
    assert_eq!((narrow.zero_threshold, narrow.zero_count), (1.0, 11.0));
    assert_eq!(positive(&narrow), [(1, 20.0)]);
}

#[test]
fn different_custom_bounds_leave_the_common_ones() {
    let mut left = custom(&[1.0, 5.0, 10.0], &[1.0, 2.0, 4.0, 8.0]);
    let combined = left.add(&custom(&[5.0, 7.0, 10.0], &[1.0, 1.0, 1.0, 1.0])).unwrap();
    assert!(combined.has_reconciled_bounds);
    assert_eq!(left.custom_bounds(), [5.0, 10.0]);
    assert_eq!(positive(&left), [(0, 4.0), (1, 6.0), (2, 9.0)]);
}

#[test]
fn exponential_and_custom_buckets_do_not_mix() {
    let mut left = custom(&[1.0], &[1.0, 1.0]);
    let before = left.clone();
    assert_eq!(left.add(&exponential(0, (0.0, 0.0), (0, &[1.0]), (0, &[]))), Err(IncompatibleSchemas));
    assert_eq!(left, before, "nothing is changed by a failed addition");
}

#[test]
fn hints_of_sums_follow_prometheus() {
    use ResetHint::{Gauge, NotReset, Reset, Unknown};
    let sum = |left: ResetHint, right: ResetHint| {
        let mut result = FloatHistogram::default().with_hint(left);
        let combined = result.add(&FloatHistogram::default().with_hint(right)).unwrap();
        (result.reset_hint, combined.has_reset_conflict)
    };
    assert_eq!(sum(NotReset, NotReset), (NotReset, false));
    assert_eq!(sum(NotReset, Unknown), (Unknown, false));
    assert_eq!(sum(Reset, Gauge), (Gauge, false));
    assert_eq!(sum(Reset, NotReset), (Unknown, true));
}

#[test]
fn resets_are_found_in_counts_buckets_and_layouts() {
    let before = exponential(1, (0.001, 1.0), (1, &[1.0, 2.0]), (0, &[]));
    let is_reset = |after: FloatHistogram| after.is_reset_after(&before);
    assert!(!is_reset(before.clone()));
    assert!(!is_reset(exponential(1, (0.001, 1.0), (1, &[1.0, 2.0, 3.0]), (0, &[]))), "more buckets");
    assert!(!is_reset(exponential(0, (0.001, 1.0), (1, &[3.0]), (0, &[]))), "coarser buckets");
    assert!(is_reset(exponential(2, (0.001, 1.0), (1, &[1.0, 2.0, 3.0]), (0, &[]))), "finer buckets");
    assert!(is_reset(exponential(1, (0.001, 1.0), (1, &[0.0, 9.0]), (0, &[]))), "a bucket fell");
    assert!(is_reset(exponential(1, (0.001, 1.0), (2, &[9.0]), (0, &[]))), "a bucket is gone");
    assert!(is_reset(exponential(1, (0.0, 1.0), (1, &[1.0, 9.0]), (0, &[]))), "narrower zero bucket");
    assert!(is_reset(before.clone().with_hint(ResetHint::Reset)));
    let fewer = exponential(1, (0.001, 0.0), (1, &[1.0]), (0, &[]));
    assert!(!is_reset(fewer.with_hint(ResetHint::NotReset)), "the hint decides");
}

#[test]
fn quantiles_interpolate_by_kind_of_bucket() {
    let exponential = exponential(0, (0.0, 0.0), (1, &[4.0]), (0, &[]));
    let (median, remark) = exponential.quantile(0.5);
    assert!((median - std::f64::consts::SQRT_2).abs() < 1e-15 && remark.is_none(), "{median}");
    assert_eq!(custom(&[0.0, 10.0], &[0.0, 4.0]).quantile(0.5), (5.0, None));
    assert!(FloatHistogram::default().quantile(0.5).0.is_nan());
    assert_eq!(exponential.quantile(-1.0).0, f64::NEG_INFINITY);
    assert_eq!(exponential.quantile(1.1).0, f64::INFINITY);
}

#[test]
fn nan_observations_are_remarked() {
    let mut histogram = exponential(0, (0.0, 0.0), (1, &[4.0]), (0, &[]));
    histogram.sum = f64::NAN;
    histogram.count = 8.0;
    assert_eq!(histogram.quantile(0.9).1, Some(NanRemark::ResultIsNan));
    assert_eq!(histogram.quantile(0.1).1, Some(NanRemark::SkewsHigher));
    assert_eq!(histogram.fraction(0.0, 9.0), (0.5, Some(NanRemark::ExcludedFromFractions)));
}

#[test]
fn means_of_histograms_whose_sum_overflows_are_finite() {
    let mut large = exponential(0, (0.0, 0.0), (1, &[1.0]), (0, &[]));
    large.multiply(f64::MAX);
    let mean = HistogramSum::mean([&large, &large].into_iter(), |_| {}).unwrap().unwrap();
    assert_eq!(mean, large);
}

#[test]
fn sums_are_compensated_bucket_by_bucket() {
    let part = |count: f64| exponential(0, (0.5, count), (1, &[count]), (1, &[-count]));
    let mut sum = HistogramSum::new(part(5.0));
    for count in [1e100, 10.0, -1e100] {
        sum.add(&part(count)).unwrap();
    }
    let result = sum.finish();
    assert_eq!((result.zero_count, positive(&result)), (15.0, vec![(1, 15.0)]));
}

fn counts(range: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec((0_u32..50).prop_map(f64::from), range)
}

prop_compose! {
    fn any_exponential()(
        schema in -2_i8..4,
        threshold in prop::sample::select(vec![0.0, 0.01, 0.7, 3.0]),
        zero in 0_u32..20,
        positive_offset in -6_i32..6,
        positive in counts(0..8),
        negative_offset in -6_i32..6,
        negative in counts(0..8),
    ) -> FloatHistogram {
        let zero = (threshold, f64::from(zero));
        let mut histogram =
            exponential(schema, zero, (positive_offset, &positive), (negative_offset, &negative));
        // What lies in the zero bucket is counted there and nowhere else.
        let is_outside = |index: i32, _: f64, _: f64| {
            super::bounds::exponential_bound(i64::from(index) - 1, schema) >= threshold
        };
        histogram.positive.retain(None, is_outside);
        histogram.negative.retain(None, is_outside);
        histogram.count = in_buckets(&histogram);
        histogram.sum = histogram.count;
        histogram
    }
}

proptest! {
    #[test]
    fn adding_and_subtracting_gives_back_what_was_there(left in any_exponential(), right in any_exponential()) {
        let mut sum = left.clone();
        sum.add(&right).unwrap();
        prop_assert_eq!(sum.count, left.count + right.count);
        prop_assert_eq!(in_buckets(&sum), in_buckets(&left) + in_buckets(&right), "no observation is lost");
        sum.subtract(&right).unwrap();
        sum.compact();
        // The schema and the zero bucket are those of both, so compare with what `left` is over these.
        let mut expected = left.clone();
        let mut nothing = right.clone();
        nothing.multiply(0.0);
        nothing.count = 0.0;
        nothing.zero_threshold = sum.zero_threshold;
        expected.add(&nothing).unwrap();
        expected.compact();
        prop_assert_eq!(sum.count, left.count);
        prop_assert_eq!(sum.schema, expected.schema);
        prop_assert_eq!(in_buckets(&sum), in_buckets(&left));
    }

    #[test]
    fn addition_does_not_depend_on_the_order(left in any_exponential(), right in any_exponential()) {
        let (mut one, mut other) = (left.clone(), right.clone());
        one.add(&right).unwrap();
        other.add(&left).unwrap();
        one.compact();
        other.compact();
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_coarser_schema_keeps_every_observation(histogram in any_exponential(), steps in 0_i8..3) {
        let coarser = histogram.reduced_to((histogram.schema - steps).max(-4));
        prop_assert_eq!(in_buckets(&coarser), in_buckets(&histogram));
        for q in [0.0, 0.3, 0.9] {
            // The quantile lies in the bucket that holds the finer one's bucket, so not further away than that.
            let (fine, coarse) = (histogram.quantile(q).0, coarser.quantile(q).0);
            prop_assert_eq!(fine.is_nan(), coarse.is_nan());
        }
    }

    #[test]
    fn quantiles_ascend(histogram in any_exponential(), mut q in proptest::collection::vec(0.0_f64..=1.0, 2..6)) {
        // Below and above 0.5 the ranks are counted from different ends, which may differ by rounding only.
        q.sort_by(f64::total_cmp);
        let values: Vec<f64> = q.iter().map(|q| histogram.quantile(*q).0).collect();
        for pair in values.windows(2).filter(|pair| !pair[0].is_nan()) {
            prop_assert!(pair[0] <= pair[1] + 1e-9 * pair[1].abs().max(1.0), "{:?} of {}", values, histogram);
        }
    }

    #[test]
    fn fractions_of_everything_are_one(histogram in any_exponential()) {
        let (all, _) = histogram.fraction(f64::NEG_INFINITY, f64::INFINITY);
        if histogram.count > 0.0 {
            prop_assert!((all - 1.0).abs() < 1e-12, "{all}");
        }
    }

    #[test]
    fn both_sides_of_a_value_hold_everything(histogram in any_exponential(), value in -40.0_f64..40.0) {
        let below = histogram.trimmed(value, Kept::Below);
        let above = histogram.trimmed(value, Kept::Above);
        let total = in_buckets(&below) + in_buckets(&above);
        // The zero bucket may overlap with others, so nothing is said about each bucket.
        prop_assert!((total - in_buckets(&histogram)).abs() < 1e-9 * total.max(1.0), "{below} and {above} of {histogram}");
    }

    #[test]
    fn a_counter_that_only_grows_is_not_reset(before in any_exponential(), added in any_exponential()) {
        let mut after = before.clone();
        after.add(&added).unwrap();
        prop_assert!(!after.is_reset_after(&before), "{before} then {after}");
        if after.schema == before.schema && after.zero_threshold == before.zero_threshold && added.count > 0.0 {
            prop_assert!(before.is_reset_after(&after));
        }
    }

    #[test]
    fn sums_in_parts_are_sums(histograms in proptest::collection::vec(any_exponential(), 2..6), at in 1_usize..5) {
        // How far a zero bucket is widened depends on the order of schemas and widths; nothing else does.
        let alike = |histogram: &&FloatHistogram| {
            histogram.schema == histograms[0].schema
                && histogram.zero_threshold == histograms[0].zero_threshold
        };
        let mut histograms: Vec<FloatHistogram> = histograms.iter().filter(alike).cloned().collect();
        histograms.push(histograms[0].clone());
        let at = at.min(histograms.len() - 1);
        let sum = |histograms: &[FloatHistogram]| {
            let mut sum = HistogramSum::new(histograms[0].clone());
            for histogram in &histograms[1..] {
                sum.add(histogram).unwrap();
            }
            sum
        };
        let mut parts = sum(&histograms[..at]);
        parts.merge(&sum(&histograms[at..])).unwrap();
        let (mut left, mut right) = (parts.finish(), sum(&histograms).finish());
        left.compact();
        right.compact();
        prop_assert_eq!(left, right);
    }

    #[test]
    fn custom_bounds_that_differ_lose_no_observation(
        left in proptest::collection::btree_set(-20_i32..20, 0..6),
        right in proptest::collection::btree_set(-20_i32..20, 0..6),
    ) {
        let histogram = |bounds: &std::collections::BTreeSet<i32>| {
            let bounds: Vec<f64> = bounds.iter().map(|bound| f64::from(*bound)).collect();
            let counts: Vec<f64> = (0..=bounds.len()).map(|index| index as f64 + 1.0).collect();
            custom(&bounds, &counts)
        };
        let mut sum = histogram(&left);
        sum.add(&histogram(&right)).unwrap();
        prop_assert_eq!(in_buckets(&sum), sum.count);
        let common: Vec<f64> = left.intersection(&right).map(|bound| f64::from(*bound)).collect();
        prop_assert_eq!(sum.custom_bounds(), common);
    }
}

//! What is known about a tenant's metrics: bounded, sorted by metric name, each once. Pure.
//!
//! All of it is in memory and written again at the start of every WAL epoch: hence the limits.

use crate::model::MetricMetadata;

/// Most metrics of one tenant with metadata; facts about further ones are refused.
pub(super) const METADATA_METRIC_COUNT_MAX: usize = 50_000;
/// Longest help text in bytes; a longer one is cut.
pub(super) const METADATA_HELP_BYTES_MAX: usize = 1_024;
/// Longest unit in bytes; a longer one is cut.
pub(super) const METADATA_UNIT_BYTES_MAX: usize = 128;
/// Longest metric name in bytes; facts about a longer one are refused.
pub(super) const METADATA_METRIC_BYTES_MAX: usize = 1_024;

/// What is left of facts that somebody sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Admitted {
    /// New or changed facts, cut to the limits.
    pub(super) fresh: Vec<MetricMetadata>,
    /// Facts for which there is no room.
    pub(super) refused_count: usize,
}

/// Compares `given` facts with the `known` ones.
pub(super) fn admit(known: &[MetricMetadata], given: &[MetricMetadata]) -> Admitted {
    let mut admitted = Admitted::default();
    let mut free_count = METADATA_METRIC_COUNT_MAX.saturating_sub(known.len());
    for fact in given {
        let fact = cut(fact);
        match known.binary_search_by(|other| other.metric.cmp(&fact.metric)) {
            Ok(position) if known[position] == fact => {}
            Ok(_) => admitted.fresh.push(fact),
            Err(_) if fact.metric.is_empty() || fact.metric.len() > METADATA_METRIC_BYTES_MAX => {
                admitted.refused_count += 1;
            }
            Err(_) if free_count == 0 => admitted.refused_count += 1,
            Err(_) => {
                free_count -= 1;
                admitted.fresh.push(fact);
            }
        }
    }
    admitted
}

/// Puts `fresh` facts into the `known` ones; of several about one metric the last stays.
pub(super) fn merged(known: &[MetricMetadata], fresh: Vec<MetricMetadata>) -> Vec<MetricMetadata> {
    let mut all = known.to_vec();
    all.extend(fresh);
    // Stable: later facts stand behind earlier ones of the same metric.
    all.sort_by(|left, right| left.metric.cmp(&right.metric));
    all.dedup_by(|later, earlier| {
        let is_same = later.metric == earlier.metric;
        if is_same {
            std::mem::swap(later, earlier);
        }
        is_same
    });
    all
}

fn cut(fact: &MetricMetadata) -> MetricMetadata {
    let head = |text: &str, limit: usize| text[..text.floor_char_boundary(limit)].to_owned();
    MetricMetadata {
        metric: fact.metric.clone(),
        kind: fact.kind,
        unit: head(&fact.unit, METADATA_UNIT_BYTES_MAX),
        help: head(&fact.help, METADATA_HELP_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricKind;

    fn fact(metric: &str, help: &str) -> MetricMetadata {
        MetricMetadata {
            metric: metric.to_owned(),
            kind: MetricKind::Gauge,
            unit: String::new(),
            help: help.to_owned(),
        }
    }

    #[test]
    fn only_what_is_new_or_changed_is_fresh_and_the_last_fact_stays() {
        let known = merged(&[], vec![fact("b", "1"), fact("a", "1"), fact("b", "2")]);
        assert_eq!(known, [fact("a", "1"), fact("b", "2")]);
        let admitted = admit(&known, &[fact("b", "2"), fact("a", "3"), fact("c", "1"), fact("", "x")]);
        assert_eq!(admitted, Admitted { fresh: vec![fact("a", "3"), fact("c", "1")], refused_count: 1 });
        assert_eq!(merged(&known, admitted.fresh), [fact("a", "3"), fact("b", "2"), fact("c", "1")]);
    }

    #[test]
    fn long_texts_are_cut_and_a_repeat_of_them_is_not_fresh() {
        let long = fact("a", &"ä".repeat(METADATA_HELP_BYTES_MAX));
        let admitted = admit(&[], std::slice::from_ref(&long));
        assert_eq!(admitted.fresh[0].help.len(), METADATA_HELP_BYTES_MAX);
        assert_eq!(admit(&admitted.fresh, &[long]), Admitted::default());
    }

    #[test]
    fn the_number_of_metrics_is_limited_and_known_ones_may_change() {
        let name = |number: usize| format!("m{number:06}");
        let given: Vec<_> =
            (0..METADATA_METRIC_COUNT_MAX + 3).map(|number| fact(&name(number), "")).collect();
        let admitted = admit(&[], &given);
        assert_eq!((admitted.fresh.len(), admitted.refused_count), (METADATA_METRIC_COUNT_MAX, 3));
        let known = merged(&[], admitted.fresh);
        let changed = admit(&known, &[fact(&name(7), "new"), fact("z", "")]);
        assert_eq!((changed.fresh.len(), changed.refused_count), (1, 1));
    }
}

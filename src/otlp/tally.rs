//! Counts points by reason and metric, with words for the first of each.

/// Most pairs of reason and metric that are told apart; points of further metrics are counted under their reason alone.
const ENTRY_COUNT_MAX: usize = 100;
/// Longest name of a metric in characters, as shown.
const NAME_LENGTH_MAX: usize = 120;

/// How many, for one reason and one metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Short fixed word.
    pub reason: &'static str,
    /// Name of the metric as sent, shortened; `None` = several metrics, empty = none.
    pub metric: Option<String>,
    /// How many points (or exemplars).
    pub count: usize,
    /// What was the matter with the first.
    pub message: String,
}

/// Counts by reason and metric.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    entries: Vec<Entry>,
    total: usize,
}

impl Tally {
    /// Counts points; the message is only asked for once per reason and metric.
    pub fn add(
        &mut self,
        reason: &'static str,
        metric: &str,
        count: usize,
        message: impl FnOnce() -> String,
    ) {
        if count == 0 {
            return;
        }
        self.total += count;
        let end = metric.char_indices().nth(NAME_LENGTH_MAX).map_or(metric.len(), |(at, _)| at);
        let shown = metric.get(..end).unwrap_or_default();
        let is_same = |entry: &&mut Entry| {
            entry.reason == reason && entry.metric.as_deref().is_none_or(|metric| metric == shown)
        };
        if let Some(entry) = self.entries.iter_mut().rev().find(is_same) {
            entry.count += count;
            return;
        }
        let metric = (self.entries.len() < ENTRY_COUNT_MAX).then(|| shown.to_owned());
        self.entries.push(Entry { reason, metric, count, message: message() });
    }

    /// How many points, all reasons together.
    pub fn total(&self) -> usize {
        self.total
    }

    /// The entries, in the order in which they came up.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries in words: `reason × count in "metric" (message)`, the most frequent first.
    pub fn text(&self, entry_count_max: usize) -> String {
        let mut sorted: Vec<&Entry> = self.entries.iter().collect();
        sorted.sort_by_key(|entry| std::cmp::Reverse(entry.count));
        let mut parts: Vec<String> = sorted.iter().take(entry_count_max).map(|entry| entry.text()).collect();
        let rest = sorted.get(entry_count_max..).unwrap_or_default();
        if !rest.is_empty() {
            let count: usize = rest.iter().map(|entry| entry.count).sum();
            parts.push(format!("{count} more for {} other reasons or metrics", rest.len()));
        }
        parts.join("; ")
    }
}

impl Entry {
    fn text(&self) -> String {
        let Self { reason, metric, count, message } = self;
        match metric {
            Some(metric) if metric.is_empty() => format!("{count} {reason} ({message})"),
            Some(metric) => format!("{count} {reason} in metric {metric:?} ({message})"),
            None => format!("{count} {reason} in several metrics ({message})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_counted_by_reason_and_metric_and_the_most_frequent_come_first() {
        let mut tally = Tally::default();
        tally.add("no_value", "a", 1, || "first".to_owned());
        tally.add("too_old", "a", 1, || "old".to_owned());
        tally.add("no_value", "a", 2, || unreachable!("asked once per reason and metric"));
        tally.add("no_value", "b", 1, || "other".to_owned());
        tally.add("none", "a", 0, || unreachable!("nothing to count"));
        assert_eq!(tally.total(), 5);
        let expected = r#"3 no_value in metric "a" (first); 1 too_old in metric "a" (old); 1 more for 1 other reasons or metrics"#;
        assert_eq!(tally.text(2), expected);
    }

    #[test]
    fn beyond_the_limit_metrics_are_not_told_apart_but_counted() {
        let mut tally = Tally::default();
        for index in 0..5_000 {
            tally.add("no_value", &format!("m{index}"), 1, || "first".to_owned());
        }
        assert_eq!(tally.total(), 5_000);
        assert_eq!(tally.entries().len(), ENTRY_COUNT_MAX + 1);
        assert_eq!(tally.entries().iter().map(|entry| entry.count).sum::<usize>(), 5_000);
    }
}

//! What both versions of remote write say about metrics.
//!
//! Source: Prometheus `prompb/types.proto`, `prompb/io/prometheus/write/v2/types.proto`.

use mytsdb_storage::model::MetricKind;

/// The kinds as both versions number them.
pub(super) fn metric_kind(code: u64) -> MetricKind {
    // What is above 32 bits is dropped, as every reader of the format does.
    match code as u32 {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

/// The name of the metric that a series of floats belongs to: classic histograms and summaries have several.
pub(super) fn family_name(mut series_name: String, kind: MetricKind) -> String {
    let suffixes: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count"],
        _ => &[],
    };
    let length = suffixes.iter().find_map(|suffix| series_name.strip_suffix(suffix)).map(str::len);
    // A metric may be called `_sum`.
    if let Some(length) = length.filter(|length| *length > 0) {
        series_name.truncate(length);
    }
    series_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_a_family_are_called_like_it() {
        for (series_name, kind, family) in [
            ("x_bucket", MetricKind::Histogram, "x"),
            ("x_sum", MetricKind::GaugeHistogram, "x"),
            ("x_count", MetricKind::Summary, "x"),
            ("x_bucket", MetricKind::Summary, "x_bucket"),
            ("x_count", MetricKind::Counter, "x_count"),
            ("x", MetricKind::Histogram, "x"),
            ("_sum", MetricKind::Summary, "_sum"),
        ] {
            assert_eq!(family_name(series_name.to_owned(), kind), family, "{series_name}");
        }
    }
}

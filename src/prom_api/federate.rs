//! `/federate`: the newest sample of every series that selectors find, for another Prometheus to scrape.
//!
//! Text, or protobuf for those who accept it. Families are untyped, as in Prometheus; series whose newest sample is a
//! native histogram are left out. Source: Prometheus `web/federate.go`.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mytsdb_promql::parse_selector;
use mytsdb_storage::Snapshot;
use mytsdb_storage::model::{LabelSet, METRIC_NAME, Matcher, TimeRange, is_stale};
use mytsdb_storage::read::{ReadError, SampleColumns};
use prost::Message;

use super::call::Call;
use super::number::push_general;
use crate::http::HttpState;

/// Prometheus adds this label, empty, so that the scraper does not put its own in its place.
const INSTANCE: &str = "instance";

/// What the client wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Text { is_utf8_allowed: bool },
    Protobuf,
}

impl Format {
    fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let mut media = accept.split(',').map(str::trim);
        let is_protobuf = |media: &str| {
            media.starts_with("application/vnd.google.protobuf")
                && media.contains("proto=io.prometheus.client.MetricFamily")
                && media.contains("encoding=delimited")
        };
        match media.find(|media| is_protobuf(media) || media.starts_with("text/plain")) {
            Some(media) if is_protobuf(media) => Self::Protobuf,
            media => {
                let is_utf8_allowed = media.is_some_and(|media| media.contains("escaping=allow-utf-8"));
                Self::Text { is_utf8_allowed }
            }
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Text { is_utf8_allowed: true } => {
                "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"
            }
            Self::Text { is_utf8_allowed: false } => {
                "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
            }
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }
}

/// The newest sample of one series.
#[derive(Debug, Clone, PartialEq)]
struct Newest {
    labels: LabelSet,
    time_ms: i64,
    value: f64,
}

pub(super) fn router() -> Router<Arc<HttpState>> {
    Router::new().route("/federate", get(federate))
}

async fn federate(headers: HeaderMap, call: Call) -> Response {
    let mut sets = Vec::new();
    for text in call.params.all("match[]") {
        match parse_selector(&text, &call.core.parse_options) {
            Ok(matchers) => sets.push(matchers),
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        }
    }
    let format = Format::of(&headers);
    let now_ms = call.core.now_ms();
    let window = TimeRange::from_inclusive(now_ms - call.core.engine.options().lookback_ms + 1, now_ms);
    let body = call.read(move |snapshot| {
        let newest = newest(snapshot, &sets, window)?;
        Ok(match format {
            Format::Text { is_utf8_allowed } => to_text(&newest, is_utf8_allowed).into_bytes(),
            Format::Protobuf => to_protobuf(&newest),
        })
    });
    match body.await {
        Ok(body) => ([(header::CONTENT_TYPE, format.content_type())], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Each series once, sorted by metric name and then labels.
fn newest(snapshot: &Snapshot, sets: &[Vec<Matcher>], window: TimeRange) -> Result<Vec<Newest>, ReadError> {
    let mut found = Vec::new();
    let mut columns = SampleColumns::default();
    for matchers in sets {
        let set = snapshot.select(matchers, window)?;
        for index in 0..set.len() {
            set.read(index, window, &mut columns)?;
            let (Some(time_ms), Some(value)) = (columns.timestamps_ms.last(), columns.values.last()) else {
                continue;
            };
            let last_index = columns.values.len() - 1;
            let is_histogram =
                columns.histograms.last().is_some_and(|(position, _)| *position as usize == last_index);
            let labels = set.labels(index);
            if !is_histogram && !is_stale(*value) && !labels.metric_name().is_empty() {
                found.push(Newest { labels: labels.clone(), time_ms: *time_ms, value: *value });
            }
        }
    }
    found.sort_by(|left, right| {
        let key = |newest: &Newest| newest.labels.metric_name().to_owned();
        key(left).cmp(&key(right)).then_with(|| left.labels.cmp(&right.labels))
    });
    found.dedup_by(|left, right| left.labels == right.labels);
    Ok(found)
}

/// The labels of a sample without its name, `instance` among them.
fn shown_labels(labels: &LabelSet) -> Vec<(&str, &str)> {
    let mut shown: Vec<(&str, &str)> = labels.iter().filter(|(name, _)| *name != METRIC_NAME).collect();
    if labels.get(INSTANCE).is_none() {
        shown.push((INSTANCE, ""));
    }
    shown
}

fn to_text(newest: &[Newest], is_utf8_allowed: bool) -> String {
    let mut text = String::new();
    let mut last_name = "";
    for sample in newest {
        let name = sample.labels.metric_name();
        let shown_name = if is_utf8_allowed { name.to_owned() } else { escape_name(name, true) };
        let is_quoted = shown_name != escape_name(&shown_name, true);
        let quoted_name = if is_quoted { quoted(&shown_name) } else { shown_name };
        if name != last_name {
            let _infallible = writeln!(text, "# TYPE {quoted_name} untyped");
            last_name = name;
        }
        if !is_quoted {
            text.push_str(&quoted_name);
        }
        text.push('{');
        if is_quoted {
            text.push_str(&quoted_name);
            text.push(',');
        }
        for (index, (label, value)) in shown_labels(&sample.labels).into_iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            let plain = escape_name(label, false);
            let label = if is_utf8_allowed && plain != label { quoted(label) } else { plain };
            let _infallible = write!(text, "{label}={}", quoted(value));
        }
        text.push_str("} ");
        push_general(&mut text, sample.value);
        let _infallible = writeln!(text, " {}", sample.time_ms);
    }
    text
}

/// A name with `_` for every character that old readers do not know.
fn escape_name(name: &str, may_have_colons: bool) -> String {
    let is_plain = |index: usize, character: char| {
        character.is_ascii_alphabetic()
            || character == '_'
            || (may_have_colons && character == ':')
            || (index > 0 && character.is_ascii_digit())
    };
    name.chars()
        .enumerate()
        .map(|(index, character)| if is_plain(index, character) { character } else { '_' })
        .collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\""))
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Untyped>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, optional, tag = "2")]
    value: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Untyped {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

/// The number of UNTYPED in `MetricType`.
const UNTYPED: i32 = 3;

fn to_protobuf(newest: &[Newest]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in newest.chunk_by(|left, right| left.labels.metric_name() == right.labels.metric_name()) {
        let name = family.first().map(|first| first.labels.metric_name().to_owned()).unwrap_or_default();
        let pair = |(name, value): (&str, &str)| LabelPair {
            name: Some(name.to_owned()),
            value: Some(value.to_owned()),
        };
        let metrics = family.iter().map(|sample| Metric {
            labels: shown_labels(&sample.labels).into_iter().map(pair).collect(),
            untyped: Some(Untyped { value: Some(sample.value) }),
            timestamp_ms: Some(sample.time_ms),
        });
        let family = MetricFamily { name, kind: Some(UNTYPED), metrics: metrics.collect() };
        out.extend_from_slice(&family.encode_length_delimited_to_vec());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(pairs: &[(&str, &str)], value: f64) -> Newest {
        Newest { labels: LabelSet::from_pairs(pairs.iter().copied()).unwrap(), time_ms: 1500, value }
    }

    #[test]
    fn families_are_written_as_untyped_text() {
        let newest = [
            sample(&[("__name__", "a"), ("b", "x\"\\\ny")], 1e6),
            sample(&[("__name__", "a"), ("instance", "i")], f64::NAN),
            sample(&[("__name__", "http.code"), ("a.b", "c")], 0.25),
        ];
        assert_eq!(
            to_text(&newest, false),
            "# TYPE a untyped\na{b=\"x\\\"\\\\\\ny\",instance=\"\"} 1e+06 1500\n\
             a{instance=\"i\"} NaN 1500\n\
             # TYPE http_code untyped\nhttp_code{a_b=\"c\",instance=\"\"} 0.25 1500\n"
        );
        let text = to_text(&newest[2..], true);
        let expected =
            "# TYPE \"http.code\" untyped\n{\"http.code\",\"a.b\"=\"c\",instance=\"\"} 0.25 1500\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_format_is_the_first_that_is_accepted() {
        let format = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            Format::of(&headers)
        };
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7";
        assert_eq!(format(&format!("{protobuf},text/plain;q=0.3")), Format::Protobuf);
        assert_eq!(
            format("text/plain;version=1.0.0;escaping=allow-utf-8"),
            Format::Text { is_utf8_allowed: true }
        );
        assert_eq!(format("*/*"), Format::Text { is_utf8_allowed: false });
        let family =
            MetricFamily::decode_length_delimited(&to_protobuf(&[sample(&[("__name__", "a")], 2.0)])[..]);
        assert_eq!(family.unwrap().metrics[0].untyped, Some(Untyped { value: Some(2.0) }));
    }
}

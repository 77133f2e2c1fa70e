//! The JSON of a query result, written from columns piece by piece.
//!
//! Input: a [`Value`] and the rendered remarks. Output: chunks of bytes, each as large as asked for, so that a large
//! result never stands in memory as text. Not here: evaluation (see `evaluate`).

use std::ops::Range;

use mytsdb_promql::{FloatHistogram, MatrixSeries, Value};
use mytsdb_storage::model::LabelSet;
use rayon::prelude::*;

use super::number::{push_plain, push_timestamp, push_value};

/// Numbers of points that are worth more than one thread, and whose text may stand in memory.
const PARALLEL_POINT_COUNT: Range<usize> = 4_096..32_768;
/// Bytes of a point with its time and a long value.
const POINT_BYTES: usize = 36;

/// A result that is being written.
#[derive(Debug)]
pub struct ResultJson {
    value: Value,
    /// What follows the result: statistics, warnings, infos.
    tail: Vec<u8>,
    place: Place,
    times: TimeTexts,
}

/// What is to be written next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Series { series_index: usize, point_index: usize },
    Done,
}

/// Remarks and figures that go with a result.
#[derive(Debug, Clone, Default)]
pub struct Remarks {
    /// Warnings, rendered.
    pub warnings: Vec<String>,
    /// Infos, rendered.
    pub infos: Vec<String>,
    /// JSON of `stats`, if asked for.
    pub stats: Option<String>,
}

/// Points that take as long to write as one histogram, about.
const POINTS_PER_HISTOGRAM: usize = 32;

/// How many points a series is worth when work is divided.
fn cost(series: &MatrixSeries) -> usize {
    series.values.len() + series.histograms.len() * POINTS_PER_HISTOGRAM
}

impl ResultJson {
    /// Starts at the beginning.
    pub fn new(value: Value, remarks: &Remarks) -> Self {
        let mut tail = Vec::new();
        if let Some(stats) = &remarks.stats {
            tail.extend_from_slice(b",\"stats\":");
            tail.extend_from_slice(stats.as_bytes());
        }
        tail.push(b'}');
        push_texts(&mut tail, b",\"warnings\":[", &remarks.warnings);
        push_texts(&mut tail, b",\"infos\":[", &remarks.infos);
        tail.push(b'}');
        Self { value, tail, place: Place::Head, times: TimeTexts::default() }
    }

    /// Writes a matrix of middling size at once, its series side by side on the threads of the caller's pool; nothing
    /// for other results, which [`ResultJson::fill`] writes.
    pub fn write_in_parallel(&mut self, thread_count: usize) -> Option<Vec<Vec<u8>>> {
        let Value::Matrix(series) = &self.value else { return None };
        let point_count: usize = series.iter().map(cost).sum();
        if self.place != Place::Head || !PARALLEL_POINT_COUNT.contains(&point_count) {
            return None;
        }
        let part_points = point_count.div_ceil(thread_count.max(1));
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let (mut start, mut points) = (0, 0);
        for (series_index, one) in series.iter().enumerate() {
            points += cost(one);
            if points >= part_points || series_index + 1 == series.len() {
                ranges.push(start..series_index + 1);
                (start, points) = (series_index + 1, 0);
            }
        }
        let write = |range: Range<usize>| {
            let mut out = Vec::with_capacity(point_count.div_ceil(ranges.len()) * POINT_BYTES);
            if range.start == 0 {
                push_head(&mut out, &self.value);
            }
            let mut times = TimeTexts::default();
            for series_index in range {
                let one = &series[series_index];
                push_series_head(&mut out, series_index, &one.labels);
                push_series(&mut out, &mut times, one, 0, usize::MAX);
            }
            out
        };
        let mut parts: Vec<Vec<u8>> = ranges.par_iter().cloned().map(write).collect();
        if let Some(last) = parts.last_mut() {
            last.push(b']');
            last.append(&mut self.tail);
        }
        self.place = Place::Done;
        Some(parts)
    }

    /// Appends the next bytes until `out` has at least `bytes_enough` or the end is reached.
    ///
    /// Returns whether more is to come.
    pub fn fill(&mut self, out: &mut Vec<u8>, bytes_enough: usize) -> bool {
        if self.place == Place::Head {
            push_head(out, &self.value);
            self.place = Place::Series { series_index: 0, point_index: 0 };
        }
        while let Place::Series { series_index, point_index } = self.place {
            if out.len() >= bytes_enough {
                return true;
            }
            self.place = match &self.value {
                Value::Scalar { timestamp_ms, value } => {
                    push_scalar(out, *timestamp_ms, *value);
                    Place::Done
                }
                Value::String { timestamp_ms, text } => {
                    push_string_value(out, *timestamp_ms, text);
                    Place::Done
                }
                Value::Vector(samples) => match samples.get(series_index) {
                    Some(sample) => {
                        push_series_head(out, series_index, &sample.labels);
                        match &sample.histogram {
                            None => {
                                out.extend_from_slice(b"\"value\":");
                                push_point(out, sample.timestamp_ms, sample.value);
                            }
                            Some(histogram) => {
                                out.extend_from_slice(b"\"histogram\":");
                                push_histogram_point(out, sample.timestamp_ms, histogram);
                            }
                        }
                        out.push(b'}');
                        Place::Series { series_index: series_index + 1, point_index: 0 }
                    }
                    None => Place::Done,
                },
                Value::Matrix(series) => match series.get(series_index) {
                    Some(series) => {
                        if point_index == 0 {
                            push_series_head(out, series_index, &series.labels);
                        }
                        match push_series(out, &mut self.times, series, point_index, bytes_enough) {
                            Some(point_index) => Place::Series { series_index, point_index },
                            None => Place::Series { series_index: series_index + 1, point_index: 0 },
                        }
                    }
                    None => Place::Done,
                },
            };
            if self.place == Place::Done {
                if matches!(self.value, Value::Vector(_) | Value::Matrix(_)) {
                    out.push(b']');
                }
                out.append(&mut self.tail);
            }
        }
        false
    }
}

fn push_head(out: &mut Vec<u8>, value: &Value) {
    let (result_type, opening) = match value {
        Value::Scalar { .. } => ("scalar", ""),
        Value::String { .. } => ("string", ""),
        Value::Vector(_) => ("vector", "["),
        Value::Matrix(_) => ("matrix", "["),
    };
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"resultType\":\"");
    out.extend_from_slice(result_type.as_bytes());
    out.extend_from_slice(b"\",\"result\":");
    out.extend_from_slice(opening.as_bytes());
}

fn push_series_head(out: &mut Vec<u8>, series_index: usize, labels: &LabelSet) {
    if series_index > 0 {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"metric\":{");
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_text(out, name);
        out.push(b':');
        push_text(out, value);
    }
    out.extend_from_slice(b"},");
}

/// The beginnings of points, `,[<time>,"`, by time: the series of a result mostly have the same times.
#[derive(Debug, Default)]
struct TimeTexts {
    /// Ascending by time.
    known: Vec<TimeText>,
    /// Where the next time is probably found.
    next: usize,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct TimeText {
    timestamp_ms: i64,
    length: usize,
    bytes: [u8; 32],
}

impl TimeText {
    /// Uses the memory of `buffer`.
    fn new(timestamp_ms: i64, buffer: &mut Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(b",[");
        push_timestamp(buffer, timestamp_ms);
        buffer.extend_from_slice(b",\"");
        // Of 19 digits, sign and point there are 26 bytes at most.
        let length = buffer.len().min(32);
        let mut bytes = [0; 32];
        bytes[..length].copy_from_slice(&buffer[..length]);
        Self { timestamp_ms, length, bytes }
    }
}

/// Most times whose texts are kept: as many as a range query may have steps.
const TIME_TEXT_COUNT_MAX: usize = 11_001;

impl TimeTexts {
    /// The text for a time; times of one series are asked for in ascending order.
    #[inline]
    fn of(&mut self, timestamp_ms: i64) -> TimeText {
        if let Some(text) = self.known.get(self.next)
            && text.timestamp_ms == timestamp_ms
        {
            self.next += 1;
            return *text;
        }
        self.find(timestamp_ms)
    }

    #[cold]
    fn find(&mut self, timestamp_ms: i64) -> TimeText {
        // PERF: the first series of a result, and it alone, goes beyond what is known at every point.
        let is_beyond = self.known.last().is_none_or(|last| last.timestamp_ms < timestamp_ms);
        let position = if is_beyond {
            self.known.len()
        } else {
            self.known.partition_point(|text| text.timestamp_ms < timestamp_ms)
        };
        self.next = position + 1;
        match self.known.get(position) {
            Some(text) if text.timestamp_ms == timestamp_ms => *text,
            Some(_) => TimeText::new(timestamp_ms, &mut self.buffer),
            None => {
                let text = TimeText::new(timestamp_ms, &mut self.buffer);
                if self.known.len() < TIME_TEXT_COUNT_MAX {
                    self.known.push(text);
                }
                text
            }
        }
    }
}

/// Appends points until `out` is long enough (at least one); returns how many.
fn push_points(
    out: &mut Vec<u8>,
    times: &mut TimeTexts,
    timestamps_ms: &[i64],
    values: &[f64],
    is_first: bool,
    bytes_enough: usize,
) -> usize {
    let mut written = 0;
    for (timestamp_ms, value) in timestamps_ms.iter().zip(values) {
        if written > 0 && out.len() >= bytes_enough {
            break;
        }
        let time = times.of(*timestamp_ms);
        let start = out.len();
        // PERF: a copy of known length; what is too much is cut off again.
        out.extend_from_slice(&time.bytes);
        out.truncate(start + time.length);
        if is_first && written == 0 {
            out.remove(start);
        }
        push_value(out, *value);
        out.extend_from_slice(b"\"]");
        written += 1;
    }
    written
}

/// Appends points from `first` on until `out` is long enough (at least one), numbers before histograms, and closes the
/// series behind the last one. Returns the point to go on with.
fn push_series(
    out: &mut Vec<u8>,
    times: &mut TimeTexts,
    series: &MatrixSeries,
    first: usize,
    bytes_enough: usize,
) -> Option<usize> {
    let float_count = series.values.len();
    if first == 0 && (float_count > 0 || series.histograms.is_empty()) {
        out.extend_from_slice(b"\"values\":[");
    }
    let mut next = first;
    if first < float_count {
        let (timestamps_ms, values) = (&series.timestamps_ms[first..], &series.values[first..]);
        next += push_points(out, times, timestamps_ms, values, first == 0, bytes_enough);
        if next < float_count {
            return Some(next);
        }
    }
    for (index, (timestamp_ms, histogram)) in series.histograms.iter().enumerate().skip(next - float_count) {
        if float_count + index > first && out.len() >= bytes_enough {
            return Some(float_count + index);
        }
        out.extend_from_slice(match index {
            0 if float_count > 0 => b"],\"histograms\":[".as_slice(),
            0 => b"\"histograms\":[",
            _ => b",",
        });
        push_histogram_point(out, *timestamp_ms, histogram);
    }
    out.extend_from_slice(b"]}");
    None
}

fn push_point(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    out.push(b'[');
    push_timestamp(out, timestamp_ms);
    out.extend_from_slice(b",\"");
    push_value(out, value);
    out.extend_from_slice(b"\"]");
}

/// `[time,{"count":"…","sum":"…","buckets":[[rule,"lower","upper","count"],…]}]`; empty buckets are left out.
fn push_histogram_point(out: &mut Vec<u8>, timestamp_ms: i64, histogram: &FloatHistogram) {
    out.push(b'[');
    push_timestamp(out, timestamp_ms);
    out.extend_from_slice(b",{\"count\":\"");
    push_value(out, histogram.count);
    out.extend_from_slice(b"\",\"sum\":\"");
    push_value(out, histogram.sum);
    out.push(b'"');
    let mut has_buckets = false;
    for bucket in histogram.buckets().iter().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if has_buckets { b"," } else { b",\"buckets\":[" });
        has_buckets = true;
        let rule = match (bucket.is_lower_inclusive, bucket.is_upper_inclusive) {
            (false, true) => b'0',
            (true, false) => b'1',
            (false, false) => b'2',
            (true, true) => b'3',
        };
        out.extend_from_slice(&[b'[', rule]);
        for number in [bucket.lower, bucket.upper, bucket.count] {
            out.extend_from_slice(b",\"");
            push_value(out, number);
            out.push(b'"');
        }
        out.push(b']');
    }
    if has_buckets {
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}

/// Scalars go through Go's own JSON encoder: the time is a plain number of seconds.
fn push_scalar(out: &mut Vec<u8>, timestamp_ms: i64, value: f64) {
    out.push(b'[');
    push_plain(out, timestamp_ms as f64 / 1000.0);
    out.extend_from_slice(b",\"");
    push_plain(out, value);
    out.extend_from_slice(b"\"]");
}

fn push_string_value(out: &mut Vec<u8>, timestamp_ms: i64, text: &str) {
    out.push(b'[');
    push_plain(out, timestamp_ms as f64 / 1000.0);
    out.push(b',');
    push_text(out, text);
    out.push(b']');
}

fn push_texts(out: &mut Vec<u8>, key: &[u8], texts: &[String]) {
    if texts.is_empty() {
        return;
    }
    out.extend_from_slice(key);
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_text(out, text);
    }
    out.push(b']');
}

/// Appends a JSON string.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut clean_from = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"\\u00",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[clean_from..index]);
        out.extend_from_slice(escape);
        if escape.len() == 4 {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        clean_from = index + 1;
    }
    out.extend_from_slice(&text.as_bytes()[clean_from..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use mytsdb_promql::VectorSample;
    use mytsdb_storage::model::{BucketSpan, Histogram, HistogramLayout};

    fn labels(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    /// The text, written in chunks of `bytes_enough`.
    fn written(value: &Value, remarks: &Remarks, bytes_enough: usize) -> String {
        let mut json = ResultJson::new(value.clone(), remarks);
        let mut all = Vec::new();
        loop {
            let mut chunk = Vec::new();
            let has_more = json.fill(&mut chunk, bytes_enough);
            all.extend_from_slice(&chunk);
            if !has_more {
                return String::from_utf8(all).unwrap();
            }
        }
    }

    fn check(value: &Value, remarks: &Remarks, expected: &str) {
        for bytes_enough in [1, 7, 64, usize::MAX] {
            assert_eq!(written(value, remarks, bytes_enough), expected);
        }
    }

    #[test]
    fn a_matrix_is_the_same_in_chunks_of_any_size() {
        let series = |name: &str, timestamps_ms: &[i64], values: &[f64]| MatrixSeries {
            labels: labels(&[("__name__", name), ("q", "a\"\\\n\u{1}ü")]),
            timestamps_ms: timestamps_ms.to_vec(),
            values: values.to_vec(),
            histograms: Vec::new(),
        };
        let value =
            Value::Matrix(vec![series("a", &[1000, 2500], &[1.0, f64::NAN]), series("b", &[1000], &[1e21])]);
        check(
            &value,
            &Remarks::default(),
            concat!(
                r#"{"status":"success","data":{"resultType":"matrix","result":["#,
                r#"{"metric":{"__name__":"a","q":"a\"\\\n\u0001ü"},"values":[[1,"1"],[2.500,"NaN"]]},"#,
                r#"{"metric":{"__name__":"b","q":"a\"\\\n\u0001ü"},"values":[[1,"1e+21"]]}]}}"#
            ),
        );
    }

    #[test]
    fn a_matrix_is_the_same_from_several_threads() {
        let series = |index: usize| MatrixSeries {
            labels: labels(&[("index", &index.to_string())]),
            // Not all series have all times, and some have others.
            timestamps_ms: (0..1000)
                .filter(|time| time % (index as i64 + 1) != 1)
                .map(|time| time * 500)
                .collect(),
            values: (0..1000)
                .filter(|time| time % (index as i64 + 1) != 1)
                .map(|time| time as f64 / 7.0)
                .collect(),
            histograms: if index == 3 { vec![(1000, histogram()), (2500, histogram())] } else { Vec::new() },
        };
        let value = Value::Matrix((0..9).map(series).collect());
        let remarks = Remarks { warnings: vec!["w".to_owned()], ..Remarks::default() };
        let expected = written(&value, &remarks, usize::MAX);
        for thread_count in [1, 2, 3, 100] {
            let parts = ResultJson::new(value.clone(), &remarks).write_in_parallel(thread_count).unwrap();
            assert_eq!(parts.len(), thread_count.min(9));
            assert_eq!(String::from_utf8(parts.concat()).unwrap(), expected);
        }
        assert_eq!(ResultJson::new(Value::Matrix(Vec::new()), &remarks).write_in_parallel(2), None);
    }

    #[test]
    fn vectors_scalars_strings_and_remarks_have_prometheus_shape() {
        let sample = VectorSample { labels: labels(&[]), timestamp_ms: 4000, value: 2.0, histogram: None };
        let remarks = Remarks {
            warnings: vec!["w1".to_owned(), "w2".to_owned()],
            infos: vec!["i".to_owned()],
            stats: Some("{}".to_owned()),
        };
        check(
            &Value::Vector(vec![sample]),
            &remarks,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4,"2"]}],"stats":{}},"warnings":["w1","w2"],"infos":["i"]}"#,
        );
        check(
            &Value::Vector(Vec::new()),
            &Remarks::default(),
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        );
        check(
            &Value::Scalar { timestamp_ms: 1500, value: 1e21 },
            &Remarks::default(),
            r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"1000000000000000000000"]}}"#,
        );
        check(
            &Value::String { timestamp_ms: 0, text: "x\"".to_owned() },
            &Remarks::default(),
            r#"{"status":"success","data":{"resultType":"string","result":[0,"x\""]}}"#,
        );
    }

    fn histogram() -> Arc<FloatHistogram> {
        let layout = HistogramLayout {
            schema: 0,
            zero_threshold: 0.001,
            positive_spans: vec![BucketSpan { offset: 0, length: 3 }],
            negative_spans: vec![BucketSpan { offset: 1, length: 1 }],
            ..HistogramLayout::default()
        };
        Arc::new(FloatHistogram::from_stored(&Histogram {
            layout: Arc::new(layout),
            count: 20.5,
            sum: 10.0,
            zero_count: 2.0,
            positive_counts: vec![1.0, 0.0, 4.0],
            negative_counts: vec![2.5],
            ..Histogram::default()
        }))
    }

    const HISTOGRAM: &str = concat!(
        r#"{"count":"20.5","sum":"10","buckets":[[1,"-2","-1","2.5"],[3,"-0.001","0.001","2"],"#,
        r#"[0,"0.5","1","1"],[0,"2","4","4"]]}"#
    );

    #[test]
    fn histograms_have_prometheus_shape() {
        let sample = |histogram: Arc<FloatHistogram>| VectorSample {
            labels: labels(&[]),
            timestamp_ms: 1500,
            value: f64::NAN,
            histogram: Some(histogram),
        };
        let expected = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"histogram":[1.500,{HISTOGRAM}]}},{{"metric":{{}},"histogram":[1.500,{{"count":"0","sum":"0"}}]}}]}}}}"#
        );
        let samples = vec![sample(histogram()), sample(Arc::default())];
        check(&Value::Vector(samples), &Remarks::default(), &expected);
    }

    #[test]
    fn a_matrix_has_numbers_and_histograms_apart() {
        let series = |values: &[f64], histogram_times_ms: &[i64]| MatrixSeries {
            labels: labels(&[]),
            timestamps_ms: (0..values.len() as i64).map(|index| index * 1000).collect(),
            values: values.to_vec(),
            histograms: histogram_times_ms.iter().map(|time_ms| (*time_ms, histogram())).collect(),
        };
        let value = Value::Matrix(vec![series(&[1.0, 2.0], &[2000]), series(&[], &[0, 1000])]);
        let expected = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[0,"1"],[1,"2"]],"histograms":[[2,{HISTOGRAM}]]}},{{"metric":{{}},"histograms":[[0,{HISTOGRAM}],[1,{HISTOGRAM}]]}}]}}}}"#
        );
        check(&value, &Remarks::default(), &expected);
    }
}

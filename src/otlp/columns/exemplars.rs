//! Exemplars: the trace behind an observation, kept beside the series that counted it.
//!
//! Labels: `trace_id` and `span_id` in hex first, then the filtered attributes if all together are at most 128
//! characters, as OpenMetrics allows. Exemplars are decoded with prost: there are few of them.

use mytsdb_storage::ExemplarSample;
use mytsdb_storage::model::{Exemplar, LabelSet};
use opentelemetry_proto::tonic::metrics::v1::Exemplar as ProtoExemplar;
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value;
use prost::Message as _;

use super::REQUEST_EXEMPLAR_COUNT_MAX;
use super::builder::{Builder, time_ms};
use crate::otlp::labels;
use crate::otlp::naming::Namer;
use crate::otlp::read::payloads;

/// Most characters of all labels together.
const LABEL_CHARS_MAX: usize = 128;

impl Builder<'_, '_> {
    /// Adds the exemplars of a point; `series_of` tells the series for an exemplar's value.
    ///
    /// One that cannot be kept costs nothing but itself and is told as a warning.
    pub(super) fn take_exemplars(&mut self, run: &[u8], point_ms: i64, series_of: impl Fn(f64) -> usize) {
        let namer = self.options().namer;
        for payload in payloads(run) {
            if self.out.exemplars.len() >= REQUEST_EXEMPLAR_COUNT_MAX {
                self.refuse_exemplar("too_many_exemplars", || {
                    format!("the request has more than {REQUEST_EXEMPLAR_COUNT_MAX} exemplars")
                });
                return;
            }
            let decoded = payload.map_err(|error| error.to_string()).and_then(|bytes| {
                let exemplar = ProtoExemplar::decode(bytes).map_err(|error| error.to_string())?;
                translated(namer, &exemplar, point_ms)
            });
            match decoded {
                Ok((exemplar, is_shortened)) => {
                    if is_shortened {
                        self.lose("exemplar_attributes", || {
                            format!("labels of an exemplar have more than {LABEL_CHARS_MAX} characters: its attributes are left out")
                        });
                    }
                    let series_index = series_of(exemplar.value);
                    self.out.exemplars.push(ExemplarSample { series_index, exemplar });
                }
                Err(why) => self.refuse_exemplar("invalid_exemplar", || why),
            }
        }
    }

    #[cold]
    fn refuse_exemplar(&mut self, reason: &'static str, message: impl FnOnce() -> String) {
        let name = self.metric_name();
        self.out.refused_exemplars.add(reason, name, 1, message);
    }
}

/// The exemplar in the storage's words, and whether its attributes had to be left out.
fn translated(namer: Namer, exemplar: &ProtoExemplar, point_ms: i64) -> Result<(Exemplar, bool), String> {
    let value = match exemplar.value {
        Some(Value::AsDouble(value)) => value,
        Some(Value::AsInt(value)) => value as f64,
        None => return Err("the exemplar has no value".to_owned()),
    };
    let time_ms = match exemplar.time_unix_nano {
        0 => point_ms,
        time_ns => time_ms(time_ns),
    };
    let trace = [("trace_id", hex(&exemplar.trace_id)), ("span_id", hex(&exemplar.span_id))];
    let mut labels = labels::translated(namer, exemplar.filtered_attributes.iter())?;
    for (name, _) in &trace {
        labels.remove(*name);
    }
    let length = |name: &str, value: &str| name.chars().count() + value.chars().count();
    let of_trace = trace.iter().filter(|(_, id)| !id.is_empty());
    let trace_chars: usize = of_trace.clone().map(|(name, id)| length(name, id)).sum();
    let attribute_chars: usize = labels.iter().map(|(name, value)| length(name, value)).sum();
    let is_shortened = !labels.is_empty() && trace_chars + attribute_chars > LABEL_CHARS_MAX;
    if is_shortened {
        labels.clear();
    }
    let of_attributes = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs = of_trace.map(|(name, id)| (*name, id.as_str())).chain(of_attributes);
    let labels = LabelSet::from_pairs(pairs).map_err(|error| error.to_string())?;
    Ok((Exemplar { labels, value, time_ms }, is_shortened))
}

/// Bytes as lower-case hex.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

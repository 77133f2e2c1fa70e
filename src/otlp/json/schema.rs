//! The messages of OTLP as far as this server reads them: JSON name, number and kind of each field.
//!
//! Everything of metrics; of spans and log records what is counted. Source: opentelemetry-proto 1.10, `*.proto`.

/// A message.
#[derive(Debug)]
pub(in crate::otlp) struct Message {
    /// Its name, for errors.
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name in JSON.
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) is_repeated: bool,
    pub(super) kind: Kind,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Message(&'static Message),
    Text,
    /// Bytes that JSON has in base64.
    Base64,
    /// Bytes that JSON has in hex: ids of traces and spans.
    Hex,
    Bool,
    /// Names and numbers.
    Enum(&'static [(&'static str, i32)]),
    Int64,
    UInt32,
    UInt64,
    SInt32,

    Fixed64,
    SFixed64,
    Double,
}

/// Wire types of protobuf.
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LENGTH_DELIMITED: u8 = 2;

impl Kind {
    pub(super) fn wire_type(self) -> u8 {
        match self {
            Self::Message(_) | Self::Text | Self::Base64 | Self::Hex => LENGTH_DELIMITED,
            Self::Bool | Self::Enum(_) | Self::Int64 | Self::UInt32 | Self::UInt64 | Self::SInt32 => VARINT,
            Self::Fixed64 | Self::SFixed64 | Self::Double => FIXED64,
        }
    }

    /// Whether a repeated field of the kind has one key for all its values.
    pub(super) fn is_packable(self) -> bool {
        self.wire_type() != LENGTH_DELIMITED
    }

    /// What a value may be, for errors.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Message(_) => "an object",
            Self::Text => "a text",
            Self::Base64 => "bytes in base64",
            Self::Hex => "bytes in hex",
            Self::Bool => "true or false",
            Self::Enum(_) => "a number (or name) of the enum",
            Self::Int64 | Self::SFixed64 => "a signed 64-bit integer (or its text)",
            Self::UInt32 => "an unsigned 32-bit integer",
            Self::UInt64 | Self::Fixed64 => "an unsigned 64-bit integer (or its text)",
            Self::SInt32 => "a signed 32-bit integer",
            Self::Double => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
        }
    }
}

const fn one(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, is_repeated: false, kind }
}

const fn many(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, is_repeated: true, kind }
}

macro_rules! message {
    ($visibility:vis $constant:ident, $name:literal, [$($field:expr),+ $(,)?]) => {
        $visibility static $constant: Message = Message { name: $name, fields: &[$($field),+] };
    };
}

use Kind::{
    Base64, Bool, Double, Enum, Fixed64, Hex, Int64, Message as Of, SFixed64, SInt32, Text, UInt32, UInt64,
};

message!(pub(in crate::otlp) METRICS, "ExportMetricsServiceRequest", [many("resourceMetrics", 1, Of(&RESOURCE_METRICS))]);
message!(pub(in crate::otlp) TRACES, "ExportTraceServiceRequest", [many("resourceSpans", 1, Of(&RESOURCE_SPANS))]);
message!(pub(in crate::otlp) LOGS, "ExportLogsServiceRequest", [many("resourceLogs", 1, Of(&RESOURCE_LOGS))]);

message!(
    RESOURCE,
    "Resource",
    [many("attributes", 1, Of(&KEY_VALUE)), one("droppedAttributesCount", 2, UInt32)]
);
message!(
    SCOPE,
    "InstrumentationScope",
    [
        one("name", 1, Text),
        one("version", 2, Text),
        many("attributes", 3, Of(&KEY_VALUE)),
        one("droppedAttributesCount", 4, UInt32),
    ]
);
message!(KEY_VALUE, "KeyValue", [one("key", 1, Text), one("value", 2, Of(&ANY_VALUE))]);
message!(
    ANY_VALUE,
    "AnyValue",
    [
        one("stringValue", 1, Text),
        one("boolValue", 2, Bool),
        one("intValue", 3, Int64),
        one("doubleValue", 4, Double),
        one("arrayValue", 5, Of(&ARRAY_VALUE)),
        one("kvlistValue", 6, Of(&KEY_VALUE_LIST)),
        one("bytesValue", 7, Base64),
    ]
);
message!(ARRAY_VALUE, "ArrayValue", [many("values", 1, Of(&ANY_VALUE))]);
message!(KEY_VALUE_LIST, "KeyValueList", [many("values", 1, Of(&KEY_VALUE))]);

message!(
    RESOURCE_METRICS,
    "ResourceMetrics",
    [
        one("resource", 1, Of(&RESOURCE)),
        many("scopeMetrics", 2, Of(&SCOPE_METRICS)),
        one("schemaUrl", 3, Text)
    ]
);
message!(
    SCOPE_METRICS,
    "ScopeMetrics",
    [one("scope", 1, Of(&SCOPE)), many("metrics", 2, Of(&METRIC)), one("schemaUrl", 3, Text)]
);
message!(
    METRIC,
    "Metric",
    [
        one("name", 1, Text),
        one("description", 2, Text),
        one("unit", 3, Text),
        one("gauge", 5, Of(&GAUGE)),
        one("sum", 7, Of(&SUM)),
        one("histogram", 9, Of(&HISTOGRAM)),
        one("exponentialHistogram", 10, Of(&EXPONENTIAL_HISTOGRAM)),
        one("summary", 11, Of(&SUMMARY)),
        many("metadata", 12, Of(&KEY_VALUE)),
    ]
);

const TEMPORALITY: Kind = Enum(&[
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
]);

message!(GAUGE, "Gauge", [many("dataPoints", 1, Of(&NUMBER_POINT))]);
message!(
    SUM,
    "Sum",
    [
        many("dataPoints", 1, Of(&NUMBER_POINT)),
        one("aggregationTemporality", 2, TEMPORALITY),
        one("isMonotonic", 3, Bool),
    ]
);
message!(
    HISTOGRAM,
    "Histogram",
    [many("dataPoints", 1, Of(&HISTOGRAM_POINT)), one("aggregationTemporality", 2, TEMPORALITY)]
);
message!(
    EXPONENTIAL_HISTOGRAM,
    "ExponentialHistogram",
    [many("dataPoints", 1, Of(&EXPONENTIAL_POINT)), one("aggregationTemporality", 2, TEMPORALITY)]
);
message!(SUMMARY, "Summary", [many("dataPoints", 1, Of(&SUMMARY_POINT))]);
message!(
    NUMBER_POINT,
    "NumberDataPoint",
    [
        many("attributes", 7, Of(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("asDouble", 4, Double),
        one("asInt", 6, SFixed64),
        many("exemplars", 5, Of(&EXEMPLAR)),
        one("flags", 8, UInt32),
    ]
);
message!(
    HISTOGRAM_POINT,
    "HistogramDataPoint",
    [
        many("attributes", 9, Of(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("bucketCounts", 6, Fixed64),
        many("explicitBounds", 7, Double),
        many("exemplars", 8, Of(&EXEMPLAR)),
        one("flags", 10, UInt32),
        one("min", 11, Double),
        one("max", 12, Double),
    ]
);
message!(
    EXPONENTIAL_POINT,
    "ExponentialHistogramDataPoint",
    [
        many("attributes", 1, Of(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        one("scale", 6, SInt32),
        one("zeroCount", 7, Fixed64),
        one("positive", 8, Of(&BUCKETS)),
        one("negative", 9, Of(&BUCKETS)),
        one("flags", 10, UInt32),
        many("exemplars", 11, Of(&EXEMPLAR)),
        one("min", 12, Double),
        one("max", 13, Double),
        one("zeroThreshold", 14, Double),
    ]
);
message!(BUCKETS, "Buckets", [one("offset", 1, SInt32), many("bucketCounts", 2, UInt64)]);
message!(
    SUMMARY_POINT,
    "SummaryDataPoint",
    [
        many("attributes", 7, Of(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("quantileValues", 6, Of(&QUANTILE)),
        one("flags", 8, UInt32),
    ]
);
message!(QUANTILE, "ValueAtQuantile", [one("quantile", 1, Double), one("value", 2, Double)]);
message!(
    EXEMPLAR,
    "Exemplar",
    [
        many("filteredAttributes", 7, Of(&KEY_VALUE)),
        one("timeUnixNano", 2, Fixed64),
        one("asDouble", 3, Double),
        one("asInt", 6, SFixed64),
        one("spanId", 4, Hex),
        one("traceId", 5, Hex),
    ]
);

message!(
    RESOURCE_SPANS,
    "ResourceSpans",
    [one("resource", 1, Of(&RESOURCE)), many("scopeSpans", 2, Of(&SCOPE_SPANS))]
);
message!(SCOPE_SPANS, "ScopeSpans", [many("spans", 2, Of(&SPAN))]);
message!(
    SPAN,
    "Span",
    [
        one("traceId", 1, Hex),
        one("spanId", 2, Hex),
        one("name", 5, Text),
        one("kind", 6, SPAN_KIND),
        one("startTimeUnixNano", 7, Fixed64),
        one("endTimeUnixNano", 8, Fixed64),
        one("status", 15, Of(&STATUS)),
    ]
);
const SPAN_KIND: Kind = Enum(&[
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
]);
message!(STATUS, "Status", [one("code", 3, STATUS_CODE)]);
const STATUS_CODE: Kind = Enum(&[("STATUS_CODE_UNSET", 0), ("STATUS_CODE_OK", 1), ("STATUS_CODE_ERROR", 2)]);

message!(
    RESOURCE_LOGS,
    "ResourceLogs",
    [one("resource", 1, Of(&RESOURCE)), many("scopeLogs", 2, Of(&SCOPE_LOGS))]
);
message!(SCOPE_LOGS, "ScopeLogs", [many("logRecords", 2, Of(&LOG_RECORD))]);
message!(
    LOG_RECORD,
    "LogRecord",
    [
        one("timeUnixNano", 1, Fixed64),
        one("observedTimeUnixNano", 11, Fixed64),
        one("severityNumber", 2, SEVERITY),
        one("severityText", 3, Text),
        one("traceId", 9, Hex),
        one("spanId", 10, Hex),
    ]
);
const SEVERITY: Kind = Enum(&[
    ("SEVERITY_NUMBER_UNSPECIFIED", 0),
    ("SEVERITY_NUMBER_TRACE", 1),
    ("SEVERITY_NUMBER_TRACE2", 2),
    ("SEVERITY_NUMBER_TRACE3", 3),
    ("SEVERITY_NUMBER_TRACE4", 4),
    ("SEVERITY_NUMBER_DEBUG", 5),
    ("SEVERITY_NUMBER_DEBUG2", 6),
    ("SEVERITY_NUMBER_DEBUG3", 7),
    ("SEVERITY_NUMBER_DEBUG4", 8),
    ("SEVERITY_NUMBER_INFO", 9),
    ("SEVERITY_NUMBER_INFO2", 10),
    ("SEVERITY_NUMBER_INFO3", 11),
    ("SEVERITY_NUMBER_INFO4", 12),
    ("SEVERITY_NUMBER_WARN", 13),
    ("SEVERITY_NUMBER_WARN2", 14),
    ("SEVERITY_NUMBER_WARN3", 15),
    ("SEVERITY_NUMBER_WARN4", 16),
    ("SEVERITY_NUMBER_ERROR", 17),
    ("SEVERITY_NUMBER_ERROR2", 18),
    ("SEVERITY_NUMBER_ERROR3", 19),
    ("SEVERITY_NUMBER_ERROR4", 20),
    ("SEVERITY_NUMBER_FATAL", 21),
    ("SEVERITY_NUMBER_FATAL2", 22),
    ("SEVERITY_NUMBER_FATAL3", 23),
    ("SEVERITY_NUMBER_FATAL4", 24),
]);

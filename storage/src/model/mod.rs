//! The one vocabulary of the engine: label sets, matchers, histograms, exemplars, metadata, tenants, time ranges.
//!
//! Time is `i64` milliseconds since the Unix epoch; ranges are half-open `[start_ms, end_ms)`.
//! Not here: anything of a protocol or of PromQL.

mod exemplar;
mod go_regex;
pub(crate) mod histogram;
mod label_set;
mod matcher;
mod metadata;
pub(crate) mod pattern;
mod series_key;
mod stale;
mod start_times;
mod tenant;
mod time_range;

pub use exemplar::{EXEMPLAR_LABEL_CHARS_MAX, Exemplar};
pub use go_regex::go_regex_to_rust;
pub use histogram::{
    BUCKET_COUNT_MAX, BucketSpan, CUSTOM_BOUNDS_SCHEMA, Histogram, HistogramError, HistogramLayout,
    INTEGER_COUNT_MAX, ResetHint, SCHEMA_MAX, SCHEMA_MIN, SPAN_COUNT_MAX,
};
pub(crate) use label_set::split_label;
pub use label_set::{LabelSet, LabelSetBuilder, LabelSetError, Labels, METRIC_NAME};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{MetricKind, MetricMetadata};
pub use series_key::SeriesKeys;
pub use stale::{STALE_NAN_BITS, is_stale, stale_nan};
pub use start_times::{StartRun, StartSlice, StartTimes, UNKNOWN_START_MS};
pub use tenant::{TenantId, TenantIdError};
pub use time_range::TimeRange;

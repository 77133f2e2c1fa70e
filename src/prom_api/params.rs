//! Parameters of a call: form body before URL, and Prometheus' ways to write times, durations and limits.

use std::time::Duration;

use axum::RequestExt as _;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{Method, header};
use mytsdb_storage::model::TimeRange;

use super::error::ApiError;
use crate::units::parse_duration_ms;

/// Prometheus' words for the oldest and the newest time there is.
const MIN_TIME_TEXT: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// Times are kept this far from the ends of `i64`, so that offsets and ranges can be added to them.
const TIME_MS_MAX: i64 = i64::MAX / 4;

/// The parameters of one call.
#[derive(Debug, Clone, Default)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads the form body, if there is one, and the URL.
    pub(super) async fn of(request: Request, wait: Duration) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let is_form = content_type
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let mut pairs = Vec::new();
        if is_form && matches!(*request.method(), Method::POST | Method::PUT) {
            // Before the body is gathered, which may be large.
            if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
                && !matches!(encoding.as_bytes(), b"" | b"identity")
            {
                return Err(ApiError::bad_data(format!(
                    "content encoding {encoding:?} is not supported; allowed is none"
                )));
            }
            let body = tokio::time::timeout(wait, request.extract::<Bytes, _>())
                .await
                .map_err(|_| ApiError::bad_data(format!("body was not received within {wait:?}")))?
                .map_err(|error| ApiError::bad_data(format!("error parsing form values: {error}")))?;
            pairs.extend(form_urlencoded::parse(&body).into_owned());
        }
        pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        Ok(Self { pairs })
    }

    /// The first value of `name`; `None` if absent or empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
            .filter(|v| !v.is_empty())
    }

    /// All values of `name`.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        self.pairs.iter().filter(|(found, _)| found == name).map(|(_, value)| value.clone()).collect()
    }

    /// A time in milliseconds, if it is there.
    pub(super) fn time_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(parse_time_ms)
            .transpose()
            .map_err(|reason| ApiError::parameter(name, format!("invalid time value for '{name}': {reason}")))
    }

    /// A time that must be there.
    pub(super) fn required_time_ms(&self, name: &str) -> Result<i64, ApiError> {
        match self.get(name) {
            Some(text) => parse_time_ms(text).map_err(|reason| ApiError::parameter(name, reason)),
            None => Err(ApiError::parameter(name, "cannot parse \"\" to a valid timestamp")),
        }
    }

    /// `start` and `end`, both inclusive, both optional.
    pub(super) fn time_range(&self) -> Result<TimeRange, ApiError> {
        let start_ms = self.time_ms("start")?.unwrap_or(-TIME_MS_MAX);
        let end_ms = self.time_ms("end")?.unwrap_or(TIME_MS_MAX);
        Ok(TimeRange::from_inclusive(start_ms, end_ms))
    }

    /// A duration in milliseconds, if it is there.
    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(parse_duration_param_ms)
            .transpose()
            .map_err(|reason| ApiError::parameter(name, reason))
    }

    /// `limit`: absent and 0 mean none.
    pub(super) fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        let limit: i64 = text.parse().map_err(|_| {
            ApiError::parameter("limit", format!("strconv.Atoi: parsing {text:?}: invalid syntax"))
        })?;
        match usize::try_from(limit) {
            Ok(0) => Ok(None),
            Ok(limit) => Ok(Some(limit)),
            Err(_) => Err(ApiError::parameter("limit", "limit must be non-negative")),
        }
    }
}

/// Parses Unix seconds (rounded to milliseconds) or RFC 3339.
pub(crate) fn parse_time_ms(text: &str) -> Result<i64, String> {
    let invalid = || format!("cannot parse {text:?} to a valid timestamp");
    if let Ok(seconds) = text.parse::<f64>() {
        let time_ms = (seconds * 1000.0).round();
        return match time_ms.abs() <= TIME_MS_MAX as f64 {
            true => Ok(time_ms as i64),
            false => Err(invalid()),
        };
    }
    match text {
        MIN_TIME_TEXT => Ok(-TIME_MS_MAX),
        MAX_TIME_TEXT => Ok(TIME_MS_MAX),
        text => chrono::DateTime::parse_from_rfc3339(text)
            .map(|time| time.timestamp_millis())
            .map_err(|_| invalid()),
    }
}

/// Parses seconds or a Prometheus duration.
pub(super) fn parse_duration_param_ms(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        // Prometheus counts nanoseconds in 64 bits.
        return match (seconds * 1e9).abs() <= i64::MAX as f64 {
            true => Ok((seconds * 1000.0).round() as i64),
            false => Err(format!("cannot parse {text:?} to a valid duration. It overflows int64")),
        };
    }
    parse_duration_ms(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, expected_ms) in [
            ("0", 0),
            ("1435781451.781", 1_435_781_451_781),
            ("-1.5", -1500),
            ("1e3", 1_000_000),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781),
            (MIN_TIME_TEXT, -TIME_MS_MAX),
            (MAX_TIME_TEXT, TIME_MS_MAX),
        ] {
            assert_eq!(parse_time_ms(text), Ok(expected_ms), "{text}");
        }
        for text in ["", "now", "NaN", "Inf", "1e300", "2015-07-01", "30s"] {
            assert_eq!(parse_time_ms(text), Err(format!("cannot parse {text:?} to a valid timestamp")));
        }
    }

    #[test]
    fn durations_are_seconds_or_prometheus_durations() {
        for (text, expected_ms) in [("15", 15_000), ("0.5", 500), ("-1", -1000), ("5m", 300_000)] {
            assert_eq!(parse_duration_param_ms(text), Ok(expected_ms), "{text}");
        }
        assert!(parse_duration_param_ms("1e300").unwrap_err().ends_with("It overflows int64"));
        assert_eq!(
            parse_duration_param_ms("five"),
            Err("cannot parse \"five\" to a valid duration".to_owned())
        );
    }
}

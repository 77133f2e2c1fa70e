//! `/api/v1/labels` and `/api/v1/label/{name}/values`: names and values among the series that selectors find.

use axum::extract::Path;
use axum::response::Response;

use super::call::Call;
use super::error::ApiError;
use super::response::limited_list;
use super::selectors::{parse_selectors, union};

pub(super) async fn labels(call: Call) -> Result<Response, ApiError> {
    let limit = call.params.limit()?;
    let range = call.params.time_range()?;
    let sets = parse_selectors(&call.params.all("match[]"), &call.core.parse_options, "")?;
    call.read(move |snapshot| {
        let names =
            union(snapshot, &sets, range, |snapshot, matchers, range| snapshot.label_names(matchers, range))?;
        limited_list(&names, limit)
    })
    .await
}

pub(super) async fn label_values(Path(name): Path<String>, call: Call) -> Result<Response, ApiError> {
    let name = unescape_name(&name);
    if name.is_empty() {
        return Err(ApiError::bad_data("invalid label name: \"\""));
    }
    let limit = call.params.limit()?;
    let range = call.params.time_range()?;
    let sets = parse_selectors(&call.params.all("match[]"), &call.core.parse_options, "")?;
    call.read(move |snapshot| {
        let values = union(snapshot, &sets, range, |snapshot, matchers, range| {
            snapshot.label_values(&name, matchers, range)
        })?;
        limited_list(&values, limit)
    })
    .await
}

/// Takes Prometheus' "values" escaping back: `U__` in front, `__` is `_`, `_2e_` is the character U+2E.
/// What is no such escape stays as it is.
///
/// # Source
/// Prometheus `common/model/metric.go::UnescapeName`.
fn unescape_name(name: &str) -> String {
    match name.strip_prefix("U__") {
        Some(escaped) => unescape(escaped).unwrap_or_else(|| name.to_owned()),
        None => name.to_owned(),
    }
}

fn unescape(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((plain, after)) = rest.split_once('_') {
        name.push_str(plain);
        let (code, next) = after.split_once('_')?;
        match code {
            "" => name.push('_'),
            code if code.len() > 6 => return None,
            code => name.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?),
        }
        rest = next;
    }
    name.push_str(rest);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_taken_back() {
        for (escaped, expected) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U___2e_", "."),
            ("U___1f600_", "\u{1f600}"),
            ("U__a_", "U__a_"),
            ("U__a_zz_", "U__a_zz_"),
            ("U__a_d800_", "U__a_d800_"),
        ] {
            assert_eq!(unescape_name(escaped), expected, "{escaped}");
        }
    }
}

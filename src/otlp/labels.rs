//! The labels of a series from resource, scope, metric and point, in the order of Prometheus' OTLP endpoint.
//!
//! Order: point attributes; promoted resource attributes where the label is still free; `job` and `instance`; scope;
//! `__name__`, `le`, `quantile`. Later ones overwrite. Called only for series that are new to the storage.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mytsdb_storage::model::{LabelSet, METRIC_NAME};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use serde_json::json;

use super::OtlpOptions;
use super::naming::Namer;

/// Resource attributes that make `job` and `instance`.
const IDENTIFYING: [&str; 3] = ["service.namespace", "service.name", "service.instance.id"];

/// Labels under construction.
pub(super) type Labels = BTreeMap<String, String>;

/// Which resource and scope a series belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    /// Attributes of the resource.
    pub(super) resource: &'a [KeyValue],
    /// The scope, if the request names one.
    pub(super) scope: Option<&'a InstrumentationScope>,
    /// Schema URL of the scope.
    pub(super) scope_schema_url: &'a str,
}

/// The label that tells apart the series of one histogram or summary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Bound {
    /// Upper bound of a bucket: `le`.
    Le(f64),
    /// A quantile.
    Quantile(f64),
}

/// Labels of a series with samples.
pub(super) fn series_labels(
    options: &OtlpOptions,
    source: &Source<'_>,
    attributes: &[KeyValue],
    metric_name: &str,
    bound: Option<Bound>,
) -> Result<LabelSet, String> {
    let mut labels = translated(options.namer, attributes.iter())?;
    promote(&mut labels, options, source.resource)?;
    set_identity(&mut labels, source.resource);
    if options.promote_scope_metadata {
        set_scope(&mut labels, options.namer, source)?;
    }
    labels.insert(METRIC_NAME.to_owned(), metric_name.to_owned());
    match bound {
        Some(Bound::Le(bound)) => labels.insert("le".to_owned(), number_text(bound)),
        Some(Bound::Quantile(quantile)) => labels.insert("quantile".to_owned(), number_text(quantile)),
        None => None,
    };
    finish(&labels)
}

/// Labels of `target_info`.
pub(super) fn target_info_labels(options: &OtlpOptions, resource: &[KeyValue]) -> Result<LabelSet, String> {
    let is_shown = |attribute: &&KeyValue| {
        options.keep_identifying_resource_attributes || !IDENTIFYING.contains(&attribute.key.as_str())
    };
    let mut labels = translated(options.namer, resource.iter().filter(is_shown))?;
    set_identity(&mut labels, resource);
    labels.insert(METRIC_NAME.to_owned(), "target_info".to_owned());
    finish(&labels)
}

/// Returns whether the resource has a `target_info`: something to say, and somebody to say it of.
pub(super) fn has_target_info(resource: &[KeyValue]) -> bool {
    let has_facts = resource.iter().any(|attribute| !IDENTIFYING.contains(&attribute.key.as_str()));
    let mut identity = Labels::new();
    set_identity(&mut identity, resource);
    has_facts && !identity.is_empty()
}

fn finish(labels: &Labels) -> Result<LabelSet, String> {
    LabelSet::from_pairs(labels.iter().map(|(name, text)| (name.as_str(), text.as_str())))
        .map_err(|error| error.to_string())
}

/// Attributes as labels; keys that become the same name have their values joined in the order of the keys.
pub(super) fn translated<'a>(
    namer: Namer,
    attributes: impl Iterator<Item = &'a KeyValue>,
) -> Result<Labels, String> {
    let mut sorted: Vec<&KeyValue> = attributes.filter(|attribute| attribute.key != METRIC_NAME).collect();
    sorted.sort_by(|left, right| left.key.cmp(&right.key));
    let mut labels = Labels::new();
    for attribute in sorted {
        let name = namer.label_name(&attribute.key).map_err(|error| error.to_string())?;
        let text = text_of(attribute.value.as_ref());
        match labels.entry(name) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(text);
            }
            std::collections::btree_map::Entry::Occupied(mut taken) => {
                let joined = taken.get_mut();
                joined.push(';');
                joined.push_str(&text);
            }
        }
    }
    Ok(labels)
}

/// Fills labels that are still free with the resource attributes that the options promote; the first of several that
/// become one name wins.
fn promote(labels: &mut Labels, options: &OtlpOptions, resource: &[KeyValue]) -> Result<(), String> {
    for attribute in resource.iter().filter(|attribute| options.is_promoted(&attribute.key)) {
        let text = text_of(attribute.value.as_ref());
        if !text.is_empty() {
            let name = options.namer.label_name(&attribute.key).map_err(|error| error.to_string())?;
            labels.entry(name).or_insert(text);
        }
    }
    Ok(())
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    attributes.iter().find(|attribute| attribute.key == key).map(|found| text_of(found.value.as_ref()))
}

fn set_identity(labels: &mut Labels, resource: &[KeyValue]) {
    let [namespace, name, instance] =
        IDENTIFYING.map(|key| attribute(resource, key).filter(|text| !text.is_empty()));
    let job = match (namespace, name) {
        (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
        (None, name) => name,
        (Some(_), None) => None,
    };
    if let Some(job) = job {
        labels.insert("job".to_owned(), job);
    }
    if let Some(instance) = instance {
        labels.insert("instance".to_owned(), instance);
    }
}

fn set_scope(labels: &mut Labels, namer: Namer, source: &Source<'_>) -> Result<(), String> {
    let Some(scope) = source.scope else { return Ok(()) };
    for attribute in &scope.attributes {
        if matches!(attribute.key.as_str(), "name" | "version" | "schema_url") {
            continue;
        }
        let key = format!("otel_scope_{}", attribute.key);
        let name = namer.label_name(&key).map_err(|error| error.to_string())?;
        labels.insert(name, text_of(attribute.value.as_ref()));
    }
    labels.insert("otel_scope_name".to_owned(), scope.name.clone());
    labels.insert("otel_scope_version".to_owned(), scope.version.clone());
    labels.insert("otel_scope_schema_url".to_owned(), source.scope_schema_url.to_owned());
    Ok(())
}

/// A bound or quantile in its shortest decimal form: `0.005`, `10`, `+Inf`.
pub(super) fn number_text(number: f64) -> String {
    if number == f64::INFINITY { "+Inf".to_owned() } else { number.to_string() }
}

/// The text of an attribute's value: strings as they are, numbers and booleans in their usual form, bytes as base64,
/// arrays and maps as JSON.
fn text_of(value: Option<&AnyValue>) -> String {
    match value.and_then(|any| any.value.as_ref()) {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => double_text(*number),
        Some(Value::BytesValue(bytes)) => base64(bytes),
        Some(nested) => json_of(nested).to_string(),
    }
}

fn double_text(number: f64) -> String {
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) && number.is_finite() {
        let text = format!("{number:e}");
        // JSON as Go writes it has a sign in the exponent.
        return if magnitude >= 1e21 { text.replace('e', "e+") } else { text };
    }
    number.to_string()
}

fn json_of(value: &Value) -> serde_json::Value {
    let of_any = |any: &AnyValue| any.value.as_ref().map_or(serde_json::Value::Null, json_of);
    match value {
        Value::StringValue(text) => json!(text),
        Value::BoolValue(flag) => json!(flag),
        Value::IntValue(number) => json!(number),
        Value::DoubleValue(number) => json!(number),
        Value::BytesValue(bytes) => json!(base64(bytes)),
        Value::ArrayValue(array) => array.values.iter().map(of_any).collect(),
        Value::KvlistValue(list) => {
            let pair = |one: &KeyValue| {
                (one.key.clone(), one.value.as_ref().map_or(serde_json::Value::Null, of_any))
            };
            serde_json::Value::Object(list.values.iter().map(pair).collect())
        }
        // An index into a table that metrics requests do not have.
        Value::StringValueStrindex(_) => serde_json::Value::Null,
    }
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let sextet = (bits >> (18 - 6 * position)) & 63;
            let letter = if position <= group.len() { char::from(ALPHABET[sextet as usize]) } else { '=' };
            let _infallible = text.write_char(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};

    use super::*;
    use crate::otlp::naming::TranslationStrategy;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
    }

    fn text(key: &str, text: &str) -> KeyValue {
        pair(key, Value::StringValue(text.to_owned()))
    }

    fn labels(resource: &[KeyValue], attributes: &[KeyValue], options: &OtlpOptions) -> String {
        let source = Source { resource, scope: None, scope_schema_url: "" };
        series_labels(options, &source, attributes, "m", None).unwrap().to_string()
    }

    #[test]
    fn values_have_the_text_of_the_specification() {
        let array = ArrayValue { values: vec![any(Value::IntValue(1)), any(Value::StringValue("a".into()))] };
        let list = KeyValueList { values: vec![pair("k", Value::BoolValue(false))] };
        for (value, expected) in [
            (Value::StringValue("x".into()), "x"),
            (Value::BoolValue(true), "true"),
            (Value::IntValue(-5), "-5"),
            (Value::DoubleValue(1.5), "1.5"),
            (Value::DoubleValue(1e21), "1e+21"),
            (Value::DoubleValue(1e-7), "1e-7"),
            (Value::DoubleValue(3.0), "3"),
            (Value::BytesValue(b"hello".to_vec()), "aGVsbG8="),
            (Value::BytesValue(b"any carnal".to_vec()), "YW55IGNhcm5hbA=="),
            (Value::ArrayValue(array), r#"[1,"a"]"#),
            (Value::KvlistValue(list), r#"{"k":false}"#),
        ] {
            assert_eq!(text_of(Some(&any(value))), expected);
        }
    }

    #[test]
    fn keys_that_collide_have_their_values_joined_in_order_of_the_keys() {
        let attributes = [text("a_b", "2"), text("a.b", "1"), text("__name__", "ignored")];
        assert_eq!(labels(&[], &attributes, &OtlpOptions::default()), r#"{__name__="m", a_b="1;2"}"#);
    }

    #[test]
    fn job_and_instance_come_from_the_resource_and_overwrite_attributes() {
        let options = OtlpOptions::default();
        let resource = [
            text("service.name", "api"),
            text("service.namespace", "shop"),
            text("service.instance.id", "i1"),
        ];
        let expected = r#"{__name__="m", instance="i1", job="shop/api"}"#;
        assert_eq!(labels(&resource, &[text("job", "mine")], &options), expected);
        let bare = [text("service.name", "api"), text("service.namespace", "")];
        assert_eq!(labels(&bare, &[], &options), r#"{__name__="m", job="api"}"#);
        assert_eq!(labels(&[text("service.namespace", "shop")], &[], &options), r#"{__name__="m"}"#);
    }

    #[test]
    fn promoted_resource_attributes_fill_only_free_labels() {
        let options = OtlpOptions {
            promote_resource_attributes: vec!["k8s.pod.name".to_owned(), "zone".to_owned()],
            ..OtlpOptions::default()
        };
        let resource = [text("k8s.pod.name", "p1"), text("zone", "z1")];
        let expected = r#"{__name__="m", k8s_pod_name="p1", zone="mine"}"#;
        assert_eq!(labels(&resource, &[text("zone", "mine")], &options), expected);
    }

    #[test]
    fn all_resource_attributes_but_some_can_be_promoted_and_names_follow_the_strategy() {
        let namer = Namer { strategy: TranslationStrategy::NoTranslation, ..Namer::default() };
        let options = OtlpOptions {
            promote_all_resource_attributes: true,
            ignore_resource_attributes: vec!["zone".to_owned()],
            namer,
            ..OtlpOptions::default()
        };
        let resource =
            [text("k8s.pod.name", "p1"), text("zone", "z1"), text("service.name", "api"), text("e", "")];
        let expected = r#"{__name__="m", a.b="x", job="api", k8s.pod.name="p1", service.name="api"}"#;
        assert_eq!(labels(&resource, &[text("a.b", "x")], &options), expected);
    }

    #[test]
    fn scope_labels_are_there_when_asked_for() {
        let scope = InstrumentationScope {
            name: "lib".to_owned(),
            version: "1".to_owned(),
            attributes: vec![text("a.b", "x"), text("name", "dropped")],
            ..InstrumentationScope::default()
        };
        let source = Source { resource: &[], scope: Some(&scope), scope_schema_url: "" };
        let options = OtlpOptions { promote_scope_metadata: true, ..OtlpOptions::default() };
        let labels = series_labels(&options, &source, &[], "m", Some(Bound::Le(0.5))).unwrap();
        let expected =
            r#"{__name__="m", le="0.5", otel_scope_a_b="x", otel_scope_name="lib", otel_scope_version="1"}"#;
        assert_eq!(labels.to_string(), expected);
    }

    #[test]
    fn target_info_needs_a_fact_and_an_identity() {
        let name = text("service.name", "api");
        let fact = text("host.name", "h");
        assert!(!has_target_info(std::slice::from_ref(&name)));
        assert!(!has_target_info(std::slice::from_ref(&fact)));
        let resource = [name, fact];
        assert!(has_target_info(&resource));
        let labels = target_info_labels(&OtlpOptions::default(), &resource).unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="target_info", host_name="h", job="api"}"#);
    }

    #[test]
    fn bounds_are_written_in_their_shortest_form() {
        for (number, expected) in [(10.0, "10"), (0.005, "0.005"), (1e6, "1000000"), (f64::INFINITY, "+Inf")]
        {
            assert_eq!(number_text(number), expected);
        }
    }
}

//! Settings of OTLP ingest: the `otlp:` section of the configuration file, for everybody and per tenant.
//!
//! Input: the section as YAML gave it. Output: [`OtlpSettings`], checked as a whole. Keys and defaults are those of
//! Prometheus, with some of our own: `delta_temporality`, `traces`, `logs`, `traces_cardinality_limit`, `tenants`.
//! Not here: reading the file (see `config`).

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use hashbrown::HashMap;
use mytsdb_storage::model::TenantId;
use serde::Deserialize;
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use super::naming::{Namer, TranslationStrategy};

/// Most series of span metrics per tenant, if the configuration says nothing.
const TRACES_CARDINALITY_LIMIT: usize = 10_000;

/// What is done with points of delta temporality.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaTemporality {
    /// They are stored as they are, with their start times; their series have the label `__temporality__="delta"`.
    #[default]
    Keep,
    /// They are refused, point by point.
    Reject,
}

/// Settings and limits of OTLP ingest for one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OtlpOptions {
    /// Largest request in bytes, as received and after decompression.
    pub message_bytes_max: usize,
    /// Requests of up to this many bytes are translated where they arrive, larger ones on a blocking thread.
    pub inline_bytes_max: usize,
    /// Half of it is the distance between samples of `target_info`.
    pub lookback_ms: i64,
    /// Resource attributes that become labels of every series of the resource.
    pub promote_resource_attributes: Vec<String>,
    /// Whether all of them do.
    pub promote_all_resource_attributes: bool,
    /// All but these.
    pub ignore_resource_attributes: Vec<String>,
    /// Whether `target_info` also has the attributes that make `job` and `instance`.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms with explicit buckets become native histograms with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Whether name, version, schema URL and attributes of the scope become labels `otel_scope_…`.
    pub promote_scope_metadata: bool,
    /// How names are made.
    pub namer: Namer,
    /// What is done with points of delta temporality.
    pub delta_temporality: DeltaTemporality,
    /// Whether kind and unit of the metric become labels `__type__` and `__unit__`.
    pub type_and_unit_labels: bool,
    /// Whether spans are counted.
    pub has_traces: bool,
    /// Whether log records are counted.
    pub has_logs: bool,
    /// Most series of span metrics; spans beyond it are counted together.
    pub traces_cardinality_limit: usize,
}

impl Default for OtlpOptions {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            // Some thousand points, a millisecond or two: less than moving them to another core's caches costs.
            inline_bytes_max: 1 << 20,
            lookback_ms: 5 * 60_000,
            promote_resource_attributes: Vec::new(),
            promote_all_resource_attributes: false,
            ignore_resource_attributes: Vec::new(),
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            namer: Namer::default(),
            delta_temporality: DeltaTemporality::default(),
            type_and_unit_labels: false,
            has_traces: true,
            has_logs: true,
            traces_cardinality_limit: TRACES_CARDINALITY_LIMIT,
        }
    }
}

impl OtlpOptions {
    /// A number that is another one under other options: what was remembered under these must not be used then.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether a resource attribute becomes a label of every series of the resource.
    pub(super) fn is_promoted(&self, key: &str) -> bool {
        if self.promote_all_resource_attributes {
            return !self.ignore_resource_attributes.iter().any(|ignored| ignored == key);
        }
        self.promote_resource_attributes.iter().any(|promoted| promoted == key)
    }
}

/// What is wrong with the `otlp:` section.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SectionError {
    /// It has an unknown key, or a value of the wrong kind; the text names both and what is allowed.
    #[error("{place}: {reason}")]
    Shape {
        /// `otlp`, or `otlp.tenants.NAME`.
        place: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Two settings exclude each other.
    #[error("{place}: {first} cannot be set together with {second}")]
    Exclusive {
        /// `otlp`, or `otlp.tenants.NAME`.
        place: String,
        /// One key.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A setting makes sense only with another.
    #[error("{place}: {key} can only be set together with {needed}")]
    Needs {
        /// `otlp`, or `otlp.tenants.NAME`.
        place: String,
        /// The key.
        key: &'static str,
        /// What is missing.
        needed: &'static str,
    },
    /// A list of attributes has an empty entry, or one twice.
    #[error("{place}: {key} has {entry:?} twice or empty; allowed are distinct attribute keys")]
    Attribute {
        /// `otlp`, or `otlp.tenants.NAME`.
        place: String,
        /// The key.
        key: &'static str,
        /// The entry.
        entry: String,
    },
}

/// The keys of the section, all optional: what a tenant does not set it has from the section itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    promote_resource_attributes: Option<Vec<String>>,
    promote_all_resource_attributes: Option<bool>,
    ignore_resource_attributes: Option<Vec<String>>,
    translation_strategy: Option<TranslationStrategy>,
    keep_identifying_resource_attributes: Option<bool>,
    convert_histograms_to_nhcb: Option<bool>,
    promote_scope_metadata: Option<bool>,
    label_name_underscore_sanitization: Option<bool>,
    label_name_preserve_multiple_underscores: Option<bool>,
    delta_temporality: Option<DeltaTemporality>,
    traces: Option<bool>,
    logs: Option<bool>,
    traces_cardinality_limit: Option<usize>,
}

impl Keys {
    fn apply(self, base: &OtlpOptions, place: &str) -> Result<OtlpOptions, SectionError> {
        let mut options = base.clone();
        // A tenant that says what to promote means that instead of what the section says, in either form.
        if self.promote_resource_attributes.is_some() && self.promote_all_resource_attributes.is_none() {
            options.promote_all_resource_attributes = false;
            options.ignore_resource_attributes = Vec::new();
        }
        if self.promote_all_resource_attributes == Some(true) && self.promote_resource_attributes.is_none() {
            options.promote_resource_attributes = Vec::new();
        }
        if self.promote_all_resource_attributes == Some(false) {
            options.ignore_resource_attributes = Vec::new();
        }
        let set = |slot: &mut bool, value: Option<bool>| *slot = value.unwrap_or(*slot);
        set(&mut options.promote_all_resource_attributes, self.promote_all_resource_attributes);
        set(&mut options.keep_identifying_resource_attributes, self.keep_identifying_resource_attributes);
        set(&mut options.convert_histograms_to_nhcb, self.convert_histograms_to_nhcb);
        set(&mut options.promote_scope_metadata, self.promote_scope_metadata);
        set(&mut options.namer.label_underscore_sanitization, self.label_name_underscore_sanitization);
        let preserve = self.label_name_preserve_multiple_underscores;
        set(&mut options.namer.label_preserve_multiple_underscores, preserve);
        set(&mut options.has_traces, self.traces);
        set(&mut options.has_logs, self.logs);
        options.namer.strategy = self.translation_strategy.unwrap_or(options.namer.strategy);
        options.delta_temporality = self.delta_temporality.unwrap_or(options.delta_temporality);
        options.traces_cardinality_limit =
            self.traces_cardinality_limit.unwrap_or(options.traces_cardinality_limit);
        if let Some(list) = self.promote_resource_attributes {
            options.promote_resource_attributes = list;
        }
        if let Some(list) = self.ignore_resource_attributes {
            options.ignore_resource_attributes = list;
        }
        check(&options, place)?;
        Ok(options)
    }
}

fn check(options: &OtlpOptions, place: &str) -> Result<(), SectionError> {
    const ALL: &str = "promote_all_resource_attributes";
    const LIST: &str = "promote_resource_attributes";
    const IGNORED: &str = "ignore_resource_attributes";
    let place = || place.to_owned();
    if options.promote_all_resource_attributes && !options.promote_resource_attributes.is_empty() {
        return Err(SectionError::Exclusive { place: place(), first: ALL, second: LIST });
    }
    if !options.promote_all_resource_attributes && !options.ignore_resource_attributes.is_empty() {
        let needed = "promote_all_resource_attributes: true";
        return Err(SectionError::Needs { place: place(), key: IGNORED, needed });
    }
    for (key, list) in
        [(LIST, &options.promote_resource_attributes), (IGNORED, &options.ignore_resource_attributes)]
    {
        for (index, entry) in list.iter().enumerate() {
            if entry.is_empty() || list[..index].contains(entry) {
                return Err(SectionError::Attribute { place: place(), key, entry: entry.clone() });
            }
        }
    }
    Ok(())
}

/// The options of every tenant.
#[derive(Debug, Clone, Default)]
pub struct OtlpSettings {
    everybody: Arc<OtlpOptions>,
    tenants: HashMap<TenantId, Arc<OtlpOptions>>,
}

impl OtlpSettings {
    /// The same options for everybody.
    pub fn new(options: OtlpOptions) -> Self {
        Self { everybody: Arc::new(options), tenants: HashMap::new() }
    }

    /// The options of a tenant.
    pub fn of(&self, tenant: &TenantId) -> &Arc<OtlpOptions> {
        self.tenants.get(tenant).unwrap_or(&self.everybody)
    }

    /// Largest message; a flag sets it for everybody.
    pub(super) fn message_bytes_max(&self) -> usize {
        self.everybody.message_bytes_max
    }

    /// Reads the section. `base` has what is not set in it.
    ///
    /// # Errors
    /// [`SectionError`] naming the place, the key and what is allowed.
    pub fn from_section(section: &Value, base: &OtlpOptions) -> Result<Self, SectionError> {
        let place = "otlp";
        let mut keys = as_map(section, place)?;
        let tenants = keys.remove("tenants").unwrap_or(Value::Null);
        let everybody = read_keys(keys, place)?.apply(base, place)?;
        let mut settings = Self::new(everybody);
        for (name, section) in as_map(&tenants, "otlp.tenants")? {
            let place = format!("otlp.tenants.{name}");
            let tenant = TenantId::new(&name)
                .map_err(|error| SectionError::Shape { place: place.clone(), reason: error.to_string() })?;
            let options = read_keys(as_map(&section, &place)?, &place)?.apply(&settings.everybody, &place)?;
            settings.tenants.insert(tenant, Arc::new(options));
        }
        Ok(settings)
    }
}

/// A map; nothing at all is an empty one.
fn as_map(value: &Value, place: &str) -> Result<Map<String, Value>, SectionError> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map.clone()),
        other => {
            let reason = format!("{other} is no map of settings");
            Err(SectionError::Shape { place: place.to_owned(), reason })
        }
    }
}

fn read_keys(map: Map<String, Value>, place: &str) -> Result<Keys, SectionError> {
    // One key at a time, so that the error of a value can name its key.
    let mut seen = Map::new();
    for (key, value) in map {
        let one = Map::from_iter([(key.clone(), value.clone())]);
        serde_json::from_value::<Keys>(Value::Object(one)).map_err(|error| {
            let reason = match error.to_string() {
                reason if reason.contains("unknown field") => reason,
                reason => format!("{key}: {reason}"),
            };
            SectionError::Shape { place: place.to_owned(), reason }
        })?;
        seen.insert(key, value);
    }
    serde_json::from_value(Value::Object(seen))
        .map_err(|error| SectionError::Shape { place: place.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(section: &Value) -> Result<OtlpSettings, String> {
        OtlpSettings::from_section(section, &OtlpOptions::default()).map_err(|error| error.to_string())
    }

    fn options(section: &Value, tenant: &str) -> OtlpOptions {
        settings(section).unwrap().of(&TenantId::new(tenant).unwrap()).as_ref().clone()
    }

    #[test]
    fn an_empty_section_has_the_defaults() {
        for section in [json!(null), json!({}), json!({"promote_resource_attributes": null, "tenants": null})]
        {
            assert_eq!(options(&section, "a"), OtlpOptions::default());
        }
    }

    #[test]
    fn tenants_have_what_they_do_not_set_from_the_section() {
        let section = json!({
            "translation_strategy": "NoUTF8EscapingWithSuffixes",
            "promote_resource_attributes": ["a", "b"],
            "delta_temporality": "reject",
            "label_name_underscore_sanitization": false,
            "tenants": {
                "all": {"promote_all_resource_attributes": true, "ignore_resource_attributes": ["x"], "traces": false},
                "none": {"promote_resource_attributes": [], "translation_strategy": "NoTranslation"},
                "same": null,
            }
        });
        let everybody = options(&section, "else");
        assert_eq!(everybody.namer.strategy, TranslationStrategy::NoUtf8EscapingWithSuffixes);
        assert_eq!(everybody.promote_resource_attributes, ["a", "b"]);
        assert!(everybody.is_promoted("a") && !everybody.is_promoted("x"));
        assert_eq!(options(&section, "same"), everybody);
        let all = options(&section, "all");
        assert!(all.is_promoted("a") && !all.is_promoted("x") && !all.has_traces && all.has_logs);
        assert_eq!(all.delta_temporality, DeltaTemporality::Reject);
        let none = options(&section, "none");
        assert!(!none.is_promoted("a") && !none.namer.label_underscore_sanitization);
        assert_eq!(none.namer.strategy, TranslationStrategy::NoTranslation);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (section, parts) in [
            (json!({"promote": true}), &["otlp: ", "promote", "promote_resource_attributes"][..]),
            (json!({"translation_strategy": "Snake"}), &["translation_strategy", "Snake", "NoTranslation"]),
            (json!({"traces": "yes"}), &["otlp: traces", "boolean"]),
            (json!({"delta_temporality": "sum"}), &["delta_temporality", "sum", "keep", "reject"]),
            (json!([1]), &["otlp: [1]"]),
            (
                json!({"promote_all_resource_attributes": true, "promote_resource_attributes": ["a"]}),
                &["promote_all_resource_attributes cannot be set together with promote_resource_attributes"],
            ),
            (
                json!({"ignore_resource_attributes": ["a"]}),
                &["ignore_resource_attributes can only be set together with promote_all_resource_attributes"],
            ),
            (json!({"promote_resource_attributes": ["a", "a"]}), &["promote_resource_attributes", "\"a\""]),
            (json!({"promote_resource_attributes": [""]}), &["promote_resource_attributes", "\"\""]),
            (json!({"tenants": {"t": {"logs": 1}}}), &["otlp.tenants.t: logs", "boolean"]),
            (json!({"tenants": {"t": {"tenants": {}}}}), &["otlp.tenants.t: ", "tenants"]),
            (json!({"tenants": {"../x": {}}}), &["otlp.tenants.../x"]),
        ] {
            let message = settings(&section).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
    }

    #[test]
    fn other_options_have_another_fingerprint() {
        let base = OtlpOptions::default();
        assert_eq!(base.fingerprint(), OtlpOptions::default().fingerprint());
        let namer = Namer { strategy: TranslationStrategy::NoTranslation, ..Namer::default() };
        for other in [
            OtlpOptions { namer, ..base.clone() },
            OtlpOptions { promote_scope_metadata: true, ..base.clone() },
            OtlpOptions { promote_resource_attributes: vec!["a".to_owned()], ..base.clone() },
            OtlpOptions { ignore_resource_attributes: vec!["a".to_owned()], ..base.clone() },
        ] {
            assert_ne!(base.fingerprint(), other.fingerprint(), "{other:?}");
        }
    }
}

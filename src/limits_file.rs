//! What each tenant may do: the flags, and over them the file of `--limits-file`.
//!
//! ```yaml
//! defaults:                        # of tenants that are not listed; over the flags of the same names
//!   limit-active-series: 1000000
//! tenants:
//!   team-a:                        # over the defaults
//!     limit-samples-per-second: 50000
//!     retention: 30d
//! ```
//!
//! Input: the text of the file and the flags. Output: the limits of all tenants, or what is wrong with the text.
//! Not here: reading the file again when it changes (see `reload`), what the limits mean (see `mytsdb_storage`).

use std::collections::BTreeMap;

use mytsdb_storage::model::TenantId;
use mytsdb_storage::{LongLabels, RateLimit, TenantLimits, TenantLimitsByTenant};
use serde::Deserialize;
use serde_json::Value;

use crate::config::{body_bytes, concurrency, duration_ms};
use crate::units::parse_bytes;

/// A burst that is not set is so many seconds of the rate.
const BURST_SECONDS: u64 = 10;

/// The limits of a tenant as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSettings {
    /// All limits but the rate.
    pub limits: TenantLimits,
    /// Samples a second; 0 = no limit.
    pub samples_per_second: u64,
    /// Samples at once; 0 = ten seconds of the rate.
    pub samples_burst: u64,
}

/// The limits of all tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllLimits {
    /// Of tenants that are not listed.
    pub defaults: TenantLimits,
    /// Of those that are.
    pub by_tenant: TenantLimitsByTenant,
}

/// Sets one limit from its text.
type Setter = fn(&mut TenantSettings, &str) -> Result<(), String>;

/// Every key of the file, which is the name of a flag.
const SETTERS: [(&str, Setter); 10] = [
    ("limit-active-series", |settings, text| {
        settings.limits.active_series_max = or_unlimited(count(text)?);
        Ok(())
    }),
    ("limit-labels-per-series", |settings, text| {
        settings.limits.labels_per_series_max = concurrency(text)?;
        Ok(())
    }),
    ("limit-label-name-bytes", |settings, text| {
        settings.limits.label_name_bytes_max = body_bytes(text)?;
        Ok(())
    }),
    ("limit-label-value-bytes", |settings, text| {
        settings.limits.label_value_bytes_max = body_bytes(text)?;
        Ok(())
    }),
    ("limit-long-labels", |settings, text| {
        settings.limits.long_labels = long_labels(text)?;
        Ok(())
    }),
    ("limit-ahead", |settings, text| {
        settings.limits.ahead_ms = duration_ms(text)?;
        Ok(())
    }),
    ("limit-samples-per-second", |settings, text| {
        settings.samples_per_second = count(text)? as u64;
        Ok(())
    }),
    ("limit-samples-burst", |settings, text| {
        settings.samples_burst = count(text)? as u64;
        Ok(())
    }),
    ("limit-inflight-bytes", |settings, text| {
        settings.limits.inflight_bytes_max = or_unlimited(parse_bytes(text)?);
        Ok(())
    }),
    ("retention", |settings, text| {
        settings.limits.retention_ms = Some(duration_ms(text)?).filter(|retention_ms| *retention_ms > 0);
        Ok(())
    }),
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    defaults: Option<BTreeMap<String, Value>>,
    tenants: Option<BTreeMap<String, Option<BTreeMap<String, Value>>>>,
}

impl TenantSettings {
    /// The limits as the storage wants them.
    pub fn limits(&self) -> TenantLimits {
        let burst = match self.samples_burst {
            0 => self.samples_per_second.saturating_mul(BURST_SECONDS),
            burst => burst,
        };
        let rate = RateLimit { samples_per_second: self.samples_per_second, burst };
        TenantLimits { rate: (self.samples_per_second > 0).then_some(rate), ..self.limits.clone() }
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let allowed = || SETTERS.map(|(name, _)| name).join(", ");
        let (_, set) = SETTERS
            .iter()
            .find(|(name, _)| *name == key)
            .ok_or_else(|| format!("{key:?} is no limit; allowed are {}", allowed()))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(format!("{key:?} must be a text or a number")),
        };
        set(self, &text).map_err(|reason| format!("{key}: {text:?}: {reason}"))
    }

    /// These settings with those of a section of the file over them.
    fn with(&self, section: Option<&BTreeMap<String, Value>>) -> Result<Self, String> {
        let mut settings = self.clone();
        for (key, value) in section.into_iter().flatten() {
            settings.set(key, value)?;
        }
        Ok(settings)
    }
}

impl AllLimits {
    /// The limits without a file.
    pub fn of_flags(flags: &TenantSettings) -> Self {
        Self { defaults: flags.limits(), by_tenant: TenantLimitsByTenant::default() }
    }

    /// Puts the text of a file over the flags.
    ///
    /// # Errors
    /// The tenant, the key, its value and what is allowed.
    pub fn parse(text: &str, flags: &TenantSettings) -> Result<Self, String> {
        let file: File = match text.trim() {
            "" => File::default(),
            text => serde_saphyr::from_str(text).map_err(|error| error.to_string())?,
        };
        let defaults = flags.with(file.defaults.as_ref()).map_err(|reason| format!("defaults: {reason}"))?;
        let mut by_tenant = TenantLimitsByTenant::default();
        for (name, section) in file.tenants.unwrap_or_default() {
            let failed = |reason: String| format!("tenants: {name}: {reason}");
            let tenant = TenantId::new(&name).map_err(|error| failed(error.to_string()))?;
            let settings = defaults.with(section.as_ref()).map_err(failed)?;
            by_tenant.insert(tenant, settings.limits());
        }
        Ok(Self { defaults: defaults.limits(), by_tenant })
    }
}

/// The policy for labels that are too long.
pub(crate) fn long_labels(text: &str) -> Result<LongLabels, String> {
    match text {
        "reject" => Ok(LongLabels::Reject),
        "truncate" => Ok(LongLabels::Truncate),
        "drop-label" => Ok(LongLabels::DropLabel),
        _ => Err("allowed are reject, truncate, drop-label".to_owned()),
    }
}

/// A number of things; 0 is allowed and means no limit.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    text.parse::<u32>()
        .map(|count| count as usize)
        .map_err(|_| format!("allowed is a number from 0 (no limit) to {}", u32::MAX))
}

pub(crate) fn or_unlimited(count: usize) -> usize {
    if count == 0 { usize::MAX } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> TenantSettings {
        TenantSettings { limits: TenantLimits::default(), samples_per_second: 0, samples_burst: 0 }
    }

    #[test]
    fn a_tenant_stands_over_the_defaults_and_they_over_the_flags() {
        let text = "
defaults:
  limit-active-series: 100
  limit-samples-per-second: 1000
tenants:
  team-a:
    limit-active-series: 0
    retention: 30d
    limit-samples-burst: 5000
    limit-long-labels: truncate
    limit-inflight-bytes: 8MiB
    limit-ahead: 1h
  team-b:
";
        let all = AllLimits::parse(text, &flags()).unwrap();
        let rate = Some(RateLimit { samples_per_second: 1000, burst: 10_000 });
        let defaults = TenantLimits { active_series_max: 100, rate, ..TenantLimits::default() };
        assert_eq!(all.defaults, defaults);
        assert_eq!(all.by_tenant[&TenantId::new("team-b").unwrap()], defaults);
        let team_a = TenantLimits {
            active_series_max: usize::MAX,
            retention_ms: Some(30 * 86_400_000),
            rate: Some(RateLimit { samples_per_second: 1000, burst: 5000 }),
            long_labels: LongLabels::Truncate,
            inflight_bytes_max: 8 << 20,
            ahead_ms: 3_600_000,
            ..TenantLimits::default()
        };
        assert_eq!(all.by_tenant[&TenantId::new("team-a").unwrap()], team_a);
        assert_eq!(AllLimits::parse("", &flags()).unwrap(), AllLimits::of_flags(&flags()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_what_is_allowed() {
        for (text, parts) in [
            ("default: {}", &["default", "tenants"][..]),
            ("defaults: {limit-series: 1}", &["defaults", "limit-series", "limit-active-series"]),
            ("tenants: {a: {retention: soon}}", &["tenants: a: retention", "soon", "15d"]),
            ("tenants: {a: {limit-long-labels: cut}}", &["cut", "truncate"]),
            ("tenants: {a: {limit-active-series: -1}}", &["-1", "from 0"]),
            ("tenants: {a: {limit-active-series: [1]}}", &["must be a text or a number"]),
            ("tenants: {../etc: {}}", &["tenants: ../etc", "letters, digits"]),
            ("[1, 2", &[]),
        ] {
            let message = AllLimits::parse(text, &flags()).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{part:?} is not in {message:?}");
            }
        }
    }
}

//! `--enable-feature`: Prometheus' names for what is off by default, and what each of them does here.

/// What is switched on. Experimental PromQL functions are always on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// `promql-delayed-name-removal`: `__name__` is dropped at the very end instead of at each node.
    pub delayed_name_removal: bool,
    /// `use-start-timestamps`: rates use the start timestamps of samples.
    pub use_start_timestamps: bool,
    /// `type-and-unit-labels`: metadata of OTLP and remote write 2.0 become the labels `__type__` and `__unit__`, and
    /// `rate` looks at `__type__` instead of the name. PromQL drops both labels with `__name__`, whether on or off.
    pub type_and_unit_labels: bool,
}

/// A name and what it switches on.
type Switch = (&'static str, fn(&mut Features));

/// Names with a switch.
const SWITCHES: [Switch; 3] = [
    ("promql-delayed-name-removal", |features| features.delayed_name_removal = true),
    ("use-start-timestamps", |features| features.use_start_timestamps = true),
    ("type-and-unit-labels", |features| features.type_and_unit_labels = true),
];

/// Names of what is always on here.
const ALWAYS_ON: [&str; 11] = [
    "promql-experimental-functions",
    "promql-duration-expr",
    "promql-extended-range-selectors",
    "promql-binop-fill-modifiers",
    "promql-at-modifier",
    "promql-negative-offset",
    "native-histograms",
    "exemplar-storage",
    "metadata-wal-records",
    "remote-write-receiver",
    "otlp-write-receiver",
];

impl Features {
    /// Reads names separated by commas.
    ///
    /// # Errors
    /// The name that is none, and the names that are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut features = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match SWITCHES.iter().find(|(known, _)| *known == name) {
                Some((_, switch_on)) => switch_on(&mut features),
                None if ALWAYS_ON.contains(&name) => {}
                None => {
                    let known: Vec<&str> = SWITCHES.iter().map(|(name, _)| *name).chain(ALWAYS_ON).collect();
                    return Err(format!("{name:?} is no feature; allowed are {}", known.join(", ")));
                }
            }
        }
        Ok(features)
    }

    /// What `/api/v1/features` shows: categories of features that are on or off.
    pub fn shown(&self) -> [(&'static str, Vec<(&'static str, bool)>); 3] {
        let promql = vec![
            ("anchored", true),
            ("at_modifier", true),
            ("bool", true),
            ("by", true),
            ("delayed_name_removal", self.delayed_name_removal),
            ("duration_expr", true),
            ("fill", true),
            ("fill_left", true),
            ("fill_right", true),
            ("group_left", true),
            ("group_right", true),
            ("ignoring", true),
            ("negative_offset", true),
            ("offset", true),
            ("on", true),
            ("per_query_lookback_delta", true),
            ("smoothed", true),
            ("subqueries", true),
            ("type_and_unit_labels", self.type_and_unit_labels),
            ("use_start_timestamps", self.use_start_timestamps),
            ("without", true),
        ];
        let api = vec![
            ("exclude_alerts", true),
            ("label_values_match", true),
            ("lifecycle", true),
            ("query_stats", true),
            ("query_warnings", true),
            ("remote_read", true),
            ("remote_write_receiver", true),
            ("time_range_labels", true),
            ("time_range_series", true),
        ];
        let tsdb =
            vec![("delayed_compaction", false), ("exemplar_storage", true), ("native_histograms", true)];
        [("api", api), ("promql", promql), ("tsdb", tsdb)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_switch_features_on_and_others_are_refused() {
        assert_eq!(Features::parse(""), Ok(Features::default()));
        let features = Features::parse(
            "promql-delayed-name-removal, promql-experimental-functions,use-start-timestamps,type-and-unit-labels",
        );
        let expected =
            Features { delayed_name_removal: true, use_start_timestamps: true, type_and_unit_labels: true };
        assert_eq!(features, Ok(expected));
        let error = Features::parse("agent").unwrap_err();
        assert!(error.starts_with("\"agent\" is no feature; allowed are promql-"), "{error}");
    }
}

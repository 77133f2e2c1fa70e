//! Tables of names, with the cases of prometheus/otlptranslator as facts.

use super::NameKind::{Counter, Gauge, Other};
use super::TranslationStrategy::{
    NoTranslation, NoUtf8EscapingWithSuffixes, UnderscoreEscapingWithSuffixes,
    UnderscoreEscapingWithoutSuffixes,
};
use super::*;

fn namer(strategy: TranslationStrategy) -> Namer {
    Namer { strategy, ..Namer::default() }
}

fn check_metrics(strategy: TranslationStrategy, cases: &[(&str, &str, NameKind, &str)]) {
    for (name, unit, kind, expected) in cases {
        let given = namer(strategy).metric_name(name, unit, *kind);
        assert_eq!(given.as_deref(), Ok(*expected), "{name} {unit} {kind:?} {strategy:?}");
    }
}

#[test]
fn escaped_metric_names_with_suffixes() {
    check_metrics(
        UnderscoreEscapingWithSuffixes,
        &[
            ("http.server.request.duration", "s", Other, "http_server_request_duration_seconds"),
            ("http.server.requests", "1", Counter, "http_server_requests_total"),
            ("http.requests", "{request}", Counter, "http_requests_total"),
            ("system.filesystem.usage", "By", Gauge, "system_filesystem_usage_bytes"),
            ("system.cpu.utilization", "1", Gauge, "system_cpu_utilization_ratio"),
            ("hw.battery.ratio.level", "1", Gauge, "hw_battery_level_ratio"),
            ("hw.battery.level", "1", Other, "hw_battery_level"),
            ("system.io", "foo/bar", Other, "system_io_foo_per_bar"),
            ("broken.metric.speed.km", "km/h", Gauge, "broken_metric_speed_km_per_hour"),
            ("astro.light.speed_limit", "m/s", Gauge, "astro_light_speed_limit_meters_per_second"),
            ("packets", "{packet}/s", Gauge, "packets_per_second"),
            ("io", "By/{op}", Gauge, "io_bytes"),
            ("rate", "1/s", Gauge, "rate_per_second"),
            ("per.minute", "By/min", Gauge, "per_minute_bytes_per_min"),
            ("disk.seconds.used", "s", Gauge, "disk_seconds_used"),
            ("total.requests.total", "", Counter, "requests_total"),
            ("storage", "TiBy", Gauge, "storage_tibibytes"),
            ("storage", "KBy", Gauge, "storage_kilobytes"),
            ("heat", "Cel", Gauge, "heat_celsius"),
            ("use", "%", Gauge, "use_percent"),
            ("a__b..c", "", Gauge, "a_b_c"),
            ("1st.metric", "", Gauge, "_1st_metric"),
            ("job:rate:sum", "", Gauge, "job:rate:sum"),
            ("temperature", "m²·x", Gauge, "temperature_m_x"),
            ("größe", "", Gauge, "gr_e"),
            (
                "metric__with__multiple",
                "unit__multiple__underscores",
                Gauge,
                "metric_with_multiple_unit_multiple_underscores",
            ),
            ("custom_metric", "unit@with#special/chars", Gauge, "custom_metric_unit_with_special_per_chars"),
            ("requests", "1/s", Counter, "requests_per_second_total"),
            // A unit that ends in something else keeps its underscore, unless a word follows.
            ("m", "unit)", Gauge, "m_unit_"),
            ("m", "unit)/s", Gauge, "m_unit_per_second"),
            ("m", "s/%", Gauge, "m_seconds"),
            ("level", " 1", Gauge, "level"),
        ],
    );
}

#[test]
fn escaped_metric_names_without_suffixes() {
    check_metrics(
        UnderscoreEscapingWithoutSuffixes,
        &[
            ("simple_metric", "s", Counter, "simple_metric"),
            ("metric@with#special$chars", "By", Gauge, "metric_with_special_chars"),
            ("123metric", "", Gauge, "_123metric"),
            ("metric@@##$$name", "", Gauge, "metric_name"),
            ("a__b..c", "1", Gauge, "a__b_c"),
            (".a.", "", Other, "a"),
            ("__", "", Other, "__"),
        ],
    );
}

#[test]
fn metric_names_as_they_are_with_suffixes() {
    check_metrics(
        NoUtf8EscapingWithSuffixes,
        &[
            ("requêsts", "", Counter, "requêsts_total"),
            ("cpu_usagé", "1", Gauge, "cpu_usagé_ratio"),
            ("respønse_time", "ms", Gauge, "respønse_time_milliseconds"),
            ("requêsts", "1/s", Gauge, "requêsts_per_second"),
            ("requêsts", "1/s", Counter, "requêsts_per_second_total"),
            ("@#$%", "", Counter, "@#$%_total"),
            ("requests_total", "", Counter, "requests_total"),
            ("cpu_usage_ratio", "1", Gauge, "cpu_usage_ratio"),
            ("response_time_seconds", "s", Gauge, "response_time_seconds"),
            ("cpu_seconds_total", "s", Counter, "cpu_seconds_total"),
            ("http.server.duration", "s", Other, "http.server.duration_seconds"),
            ("foo.total", "s", Counter, "foo_seconds_total"),
            ("speed.per_second", "m/s", Gauge, "speed_meters_per_second"),
            ("io", "By/{op}", Gauge, "io_bytes"),
            ("total", "", Counter, "total_total"),
            ("étotal", "", Counter, "étotal_total"),
        ],
    );
}

#[test]
fn metric_names_without_translation() {
    check_metrics(
        NoTranslation,
        &[
            ("métric.with.dots", "s", Counter, "métric.with.dots"),
            ("9 lives", "1", Gauge, "9 lives"),
            ("@#$%", "", Other, "@#$%"),
        ],
    );
}

#[test]
fn metric_names_that_say_nothing_are_refused() {
    for (strategy, names) in [
        (UnderscoreEscapingWithSuffixes, &["", "___", "…", "@#$%"][..]),
        (UnderscoreEscapingWithoutSuffixes, &["", "…", "@#$%", "_…_"]),
        (NoUtf8EscapingWithSuffixes, &[""]),
        (NoTranslation, &[""]),
    ] {
        for name in names {
            let refused = namer(strategy).metric_name(name, "s", Gauge);
            assert_eq!(refused, Err(NameError::Metric { given: (*name).to_owned() }), "{strategy:?}");
        }
    }
}

/// Columns: key; then with runs of underscores collapsed, and kept; each without and with `key` before an underscore.
/// An empty name is an error.
const LABELS: [(&str, [&str; 4]); 18] = [
    ("label:with:colons", ["label_with_colons"; 4]),
    ("LabelWithCapitalLetters", ["LabelWithCapitalLetters"; 4]),
    ("label!with&special$chars)", ["label_with_special_chars_"; 4]),
    (
        "label_with_foreign_characters_字符",
        [
            "label_with_foreign_characters_",
            "label_with_foreign_characters_",
            "label_with_foreign_characters___",
            "label_with_foreign_characters___",
        ],
    ),
    ("label.with.dots", ["label_with_dots"; 4]),
    (".foo", ["_foo", "key_foo", "_foo", "key_foo"]),
    ("123label", ["key_123label"; 4]),
    ("_label", ["_label", "key_label", "_label", "key_label"]),
    ("__label", ["_label", "key_label", "__label", "__label"]),
    ("ようこそ", ["", "key_", "", ""]),
    ("a__b", ["a_b", "a_b", "a__b", "a__b"]),
    ("a.b__c&&d", ["a_b_c_d", "a_b_c_d", "a_b__c__d", "a_b__c__d"]),
    (
        "__reserved__label__name__",
        [
            "__reserved_label_name__",
            "__reserved_label_name__",
            "__reserved__label__name__",
            "__reserved__label__name__",
        ],
    ),
    ("trailing___", ["trailing_", "trailing_", "trailing___", "trailing___"]),
    ("", [""; 4]),
    ("__", ["", "key_", "", ""]),
    ("_", ["", "key_", "", "key_"]),
    ("straße", ["stra_e"; 4]),
];

#[test]
fn label_names_are_those_of_prometheus() {
    for strategy in [UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes] {
        for (key, expected) in LABELS {
            for (index, expected) in expected.into_iter().enumerate() {
                let namer = Namer {
                    strategy,
                    label_underscore_sanitization: index % 2 == 1,
                    label_preserve_multiple_underscores: index / 2 == 1,
                };
                let given = namer.label_name(key).unwrap_or_default();
                assert_eq!(given, expected, "{key:?} {namer:?}");
            }
        }
    }
}

#[test]
fn label_names_stay_where_nothing_is_escaped() {
    for strategy in [NoUtf8EscapingWithSuffixes, NoTranslation] {
        for (key, _) in LABELS.iter().filter(|(key, _)| !["", "_", "__"].contains(key)) {
            assert_eq!(namer(strategy).label_name(key).as_deref(), Ok(*key));
        }
        for key in ["", "_", "__"] {
            assert_eq!(namer(strategy).label_name(key), Err(NameError::Label { given: key.to_owned() }));
        }
    }
}

#[test]
fn units_are_spelled_out() {
    for (unit, expected) in [
        ("s", "seconds"),
        ("By/s", "bytes_per_second"),
        ("1", ""),
        ("{call}", ""),
        ("1/s", "per_second"),
        ("unit__multiple__underscores", "unit_multiple_underscores"),
        ("unit@with#special/chars", "unit_with_special_per_chars"),
        ("unit)", "unit"),
    ] {
        assert_eq!(unit_name(unit), expected, "{unit}");
    }
}

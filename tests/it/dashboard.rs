//! The seed's dashboard over a seeded server: every answer equals what the generator's own model says.
//!
//! The expected values come from plain loops over the generator's model, without any code of PromQL or storage.
//! `MYTSDB_DASHBOARD_DAYS` says how long the seeded span is.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Parser;
use mytsdb_tools::k8s::expected::{DashboardQuery, ExpectedSeries, StepRange, dashboard};
use mytsdb_tools::k8s::options::SeedOptions;
use mytsdb_tools::k8s::progress::Progress;
use mytsdb_tools::k8s::seed::{Dataset, seed};

use crate::support::{TestServer, now_ms};

const STEP_MS: i64 = 60_000;

fn days() -> String {
    std::env::var("MYTSDB_DASHBOARD_DAYS").unwrap_or_else(|_| "1".to_owned())
}

fn seeded(server: &TestServer) -> Dataset {
    let flags =
        ["seed".to_owned(), format!("--days={}", days()), format!("--endpoint={}", server.arrow_endpoint())];
    let options = SeedOptions::parse_from(flags);
    let dataset = Dataset::new(&options, now_ms()).unwrap();
    let progress = Arc::new(Progress::silent());
    let report = server.block_on(seed(&options, &dataset, &progress)).unwrap();
    assert_eq!(report.verified_count, Some(dataset.sample_count()));
    dataset
}

/// Asks for a range over HTTP: series by labels, times in milliseconds.
fn answer(server: &TestServer, query: &str, range: StepRange) -> BTreeMap<String, Vec<(i64, f64)>> {
    let seconds = |ms: i64| ms as f64 / 1e3;
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("query", query)
        .append_pair("start", &seconds(range.start_ms).to_string())
        .append_pair("end", &seconds(range.end_ms).to_string())
        .append_pair("step", &seconds(range.step_ms).to_string())
        .finish();
    let response = server.post_form("/api/v1/query_range", &form);
    assert_eq!(response.status, 200, "{query}: {}", response.text());
    let json = response.json();
    let mut found = BTreeMap::new();
    for series in json["data"]["result"].as_array().unwrap() {
        let labels: BTreeMap<String, String> = serde_json::from_value(series["metric"].clone()).unwrap();
        let points = series["values"].as_array().unwrap().iter();
        let samples = points.map(|point| {
            let time_ms = (point[0].as_f64().unwrap() * 1e3).round() as i64;
            (time_ms, point[1].as_str().unwrap().parse().unwrap())
        });
        found.insert(format!("{labels:?}"), samples.collect());
    }
    found
}

fn assert_agree(query: &str, answer: &BTreeMap<String, Vec<(i64, f64)>>, expected: &[ExpectedSeries]) {
    assert!(!expected.is_empty(), "{query}: the model expects nothing");
    let expected: BTreeMap<String, &Vec<(i64, f64)>> =
        expected.iter().map(|series| (format!("{:?}", series.labels), &series.samples)).collect();
    assert_eq!(answer.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{query}");
    for (labels, wanted) in expected {
        let given = &answer[&labels];
        let times = |samples: &[(i64, f64)]| samples.iter().map(|(time_ms, _)| *time_ms).collect::<Vec<_>>();
        assert_eq!(times(given), times(wanted), "{query} {labels}");
        for ((time_ms, given), (_, wanted)) in given.iter().zip(wanted) {
            let scale = given.abs().max(wanted.abs()).max(1e-9);
            let is_close = (given - wanted).abs() <= 1e-9 * scale || (given.is_nan() && wanted.is_nan());
            assert!(is_close, "{query} {labels} at {time_ms}: {given} instead of {wanted}");
        }
    }
}

#[test]
fn the_dashboard_shows_what_the_model_says() {
    let server = TestServer::start(&["--enable-admin-api"]);
    let dataset = seeded(&server);
    let clock = &dataset.clock;
    let last_ms = clock.time_ms(clock.step_count - 1);
    // From before the first sample to after the last one, so that both edges are seen.
    let range = StepRange { start_ms: clock.start_ms - 600_000, end_ms: last_ms + 600_000, step_ms: STEP_MS };
    let expected: Vec<_> = DashboardQuery::ALL
        .iter()
        .map(|query| (query.promql(), dashboard(*query, &dataset, range)))
        .collect();
    for (query, expected) in &expected {
        assert_agree(query, &answer(&server, query, range), expected);
    }
    assert_eq!(server.post_form("/api/v1/admin/tsdb/flush", "").status, 204);
    for (query, expected) in &expected {
        assert_agree(query, &answer(&server, query, range), expected);
    }
}

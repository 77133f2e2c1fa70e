//! Compares what the server holds with the ledgers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ledger::{Ledger, SERIES_PER_WRITER};
use super::process::ServerProcess;
use crate::support::client::{call, escape};

/// Asks for everything and checks it against all ledgers: nothing is lost.
pub(super) fn all(server: &ServerProcess, ledgers: &[Arc<Ledger>], when: &str) {
    assert_eq!(lost(server, ledgers, when), 0, "{when}: acknowledged samples are lost");
}

/// Asks for everything and checks it against all ledgers; returns how many acknowledged samples are not there.
pub(super) fn lost(server: &ServerProcess, ledgers: &[Arc<Ledger>], when: &str) -> u64 {
    let mut lost_count = 0;
    for ledger in ledgers {
        let mut found = BTreeMap::new();
        for series in 0..SERIES_PER_WRITER {
            let selector = format!("crash_samples{{writer=\"{}\",series=\"{series}\"}}", ledger.writer);
            read_series(server, ledger, &selector, &mut found, when);
        }
        for number in ledger.acknowledged().into_iter().flatten() {
            if !found.contains_key(&number) {
                if lost_count == 0 {
                    eprintln!("{when}: acknowledged sample {number} of {} is lost", ledger.writer);
                }
                lost_count += 1;
            }
        }
    }
    lost_count
}

/// Reads one series into `found`; every sample in it must have been sent, and be there once.
fn read_series(
    server: &ServerProcess,
    ledger: &Ledger,
    selector: &str,
    found: &mut BTreeMap<u64, f64>,
    when: &str,
) {
    let mut series_count = 0;
    let mut sample_count = 0;
    for series in query(server, ledger, &format!("{selector}[1d]")) {
        series_count += 1;
        let mut before_ms = i64::MIN;
        for point in series["values"].as_array().unwrap() {
            let timestamp_ms = (point[0].as_f64().unwrap() * 1_000.0).round() as i64;
            let value: f64 = point[1].as_str().unwrap().parse().unwrap();
            let number = ledger.number_at(timestamp_ms).unwrap_or_else(|| {
                panic!("{when}: {selector} has a sample at {timestamp_ms} that nobody sent")
            });
            assert_eq!(value, ledger.sample(number).value, "{when}: {selector} sample {number}");
            assert!(timestamp_ms > before_ms, "{when}: {selector} has two samples at {timestamp_ms}");
            before_ms = timestamp_ms;
            sample_count += 1;
            let is_new = found.insert(number, value).is_none();
            assert!(is_new, "{when}: sample {number} of {} is in two series", ledger.writer);
        }
    }
    assert!(series_count <= 1, "{when}: {selector} is {series_count} series");
    let counted = query(server, ledger, &format!("count_over_time({selector}[1d])"));
    let counted = counted.first().map_or("0", |series| series["value"][1].as_str().unwrap());
    assert_eq!(counted, sample_count.to_string(), "{when}: {selector} counted by the server");
}

fn query(server: &ServerProcess, ledger: &Ledger, promql: &str) -> Vec<serde_json::Value> {
    let time_s = ledger.base_ms / 1_000 + 86_399;
    let path = format!("/api/v1/query?time={time_s}&query={}", escape(promql));
    let response = call(server.addresses.http, "GET", &path, &[], b"");
    assert_eq!(response.status, 200, "{promql}: {}", response.text());
    response.json()["data"]["result"].as_array().unwrap().clone()
}

//! The GPU API: lists, telemetry, mistakes, tenants, limits, pages of other origins.

use serde_json::{Value, json};

use crate::support::client::{call, escape};
use crate::support::{TestServer, now_ms};

const FLAGS: [&str; 1] = ["--gateway-port=any"];

/// Writes two GPUs of two hosts: one sample now, and for one of them three older ones.
fn write_gpus(server: &TestServer, now_ms: i64, headers: &[(&str, &str)]) {
    let old = ["a", "b"].map(|host| (host, format!("GPU-{host}")));
    let [(host_a, uuid_a), (host_b, uuid_b)] = &old;
    let first =
        [("Hostname", *host_a), ("UUID", uuid_a), ("device", "nvidia0"), ("gpu", "0"), ("modelName", "H100")];
    let with_name = |name: &'static str| {
        let mut labels = first.to_vec();
        labels.push(("__name__", name));
        labels
    };
    let times = [60_000, 40_000, 20_000, 0].map(|ago_ms| now_ms - ago_ms);
    let utilization: Vec<(f64, i64)> = times.iter().enumerate().map(|(i, time)| (i as f64, *time)).collect();
    let temperature = [(30.5, times[0]), (31.5, times[3])];
    let second = [
        ("UUID", uuid_b.as_str()),
        ("__name__", "DCGM_FI_DEV_GPU_UTIL"),
        ("gpu", "7"),
        ("hostname", *host_b),
    ];
    let other = [("__name__", "node_load1"), ("UUID", "GPU-none")];
    let response = server.write_as(
        &[
            (&with_name("DCGM_FI_DEV_GPU_UTIL"), &utilization),
            (&with_name("DCGM_FI_DEV_GPU_TEMP"), &temperature),
            (&second, &[(9.0, now_ms - 600_000)]),
            (&other, &[(1.0, now_ms)]),
        ],
        headers,
    );
    assert_eq!(response.status, 204, "{}", response.text());
}

fn data(server: &TestServer, path: &str) -> Value {
    let response = server.gateway_get(path);
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    let json = response.json();
    assert_eq!(json["success"], true);
    assert_eq!(json["count"].as_u64().unwrap() as usize, json["data"].as_array().unwrap().len());
    json["data"].clone()
}

fn column(rows: &Value, name: &str) -> Vec<Value> {
    rows.as_array().unwrap().iter().map(|row| row[name].clone()).collect()
}

#[test]
fn gpus_are_listed_with_host_model_device_and_status() {
    let server = TestServer::start(&FLAGS);
    assert_eq!(data(&server, "/api/v1/gpus"), json!([]));
    write_gpus(&server, now_ms(), &[]);
    let expected_a = json!({
        "id": "GPU-a", "uuid": "GPU-a", "hostname": "a", "name": "H100", "device": "nvidia0", "gpu": "0",
        "status": "active",
    });
    let expected_b = json!({
        "id": "GPU-b", "uuid": "GPU-b", "hostname": "b", "name": "", "device": "nvidia7", "gpu": "7",
        "status": "inactive",
    });
    assert_eq!(data(&server, "/api/v1/gpus"), json!([expected_a, expected_b]));
    assert_eq!(data(&server, "/api/v1/gpus?hostname=b"), json!([expected_b]));
    assert_eq!(data(&server, "/api/v1/gpus?hostname=c"), json!([]));
    assert_eq!(server.gateway_get("/health").text(), "OK");
}

#[test]
fn telemetry_is_ordered_filtered_and_limited() {
    let server = TestServer::start(&FLAGS);
    let now_ms = now_ms();
    write_gpus(&server, now_ms, &[]);
    let all = data(&server, "/api/v1/gpus/GPU-a/telemetry");
    assert_eq!(column(&all, "value"), [30.5, 0.0, 1.0, 2.0, 31.5, 3.0].map(Value::from));
    let times = column(&all, "timestamp");
    assert!(times.is_sorted_by(|left, right| left.as_str() <= right.as_str()), "{times:?}");
    // Both ends are inside; the id may be a host and a device.
    let seconds = |ago_ms: i64| (now_ms - ago_ms) as f64 / 1e3;
    let range = format!("start_time={}&end_time={}", seconds(40_000), seconds(20_000));
    for id in ["GPU-a", "a:nvidia0", "a:0"] {
        let rows = data(&server, &format!("/api/v1/gpus/{}/telemetry?{range}", escape(id)));
        assert_eq!(column(&rows, "value"), [1.0, 2.0].map(Value::from), "{id}");
    }
    let recent = data(&server, "/api/v1/gpus/GPU-a/telemetry?start_time=now-30s&end_time=now%2B1m");
    assert_eq!(column(&recent, "value"), [2.0, 31.5, 3.0].map(Value::from));
    let rfc3339 = times[4].as_str().unwrap();
    let rows = data(&server, &format!("/api/v1/gpus/GPU-a/telemetry?start_time={}", escape(rfc3339)));
    assert_eq!(column(&rows, "value"), [31.5, 3.0].map(Value::from));
    // A metric by its name or by its column; the limit.
    for metric in ["DCGM_FI_DEV_GPU_TEMP", "temperature"] {
        let rows = data(&server, &format!("/api/v1/gpus/GPU-a/telemetry?metric={metric}"));
        assert_eq!(column(&rows, "metric"), ["DCGM_FI_DEV_GPU_TEMP"; 2].map(Value::from));
    }
    let limited = server.gateway_get("/api/v1/gpus/GPU-a/telemetry?limit=2").json();
    assert_eq!(
        (&limited["has_more"], &limited["count"], &limited["gpu"]["hostname"]),
        (&json!(true), &json!(2), &json!("a"))
    );
    assert_eq!(column(&limited["data"], "value"), [30.5, 0.0].map(Value::from));
    let pivot = data(&server, "/api/v1/gpus/GPU-a/telemetry?format=pivot");
    let rows = pivot.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[3], json!({"timestamp": times[5], "gpu_utilization": 3.0, "temperature": 31.5}));
}

#[test]
fn mistakes_are_named() {
    let server = TestServer::start(&FLAGS);
    write_gpus(&server, now_ms(), &[]);
    for (path, status, part) in [
        ("/api/v1/gpus/GPU-none/telemetry", 404, "GPU-none"),
        ("/api/v1/gpus/a:nvidia9/telemetry", 404, "a:nvidia9"),
        ("/api/v1/gpus/GPU-a", 404, "/openapi.json"),
        ("/api/v1/gpus/GPU-a/telemetry?start_time=yesterday", 400, "RFC 3339"),
        ("/api/v1/gpus/GPU-a/telemetry?end_time=now-x", 400, "end_time"),
        ("/api/v1/gpus/GPU-a/telemetry?start_time=now&end_time=now-5m", 400, "before start_time"),
        ("/api/v1/gpus/GPU-a/telemetry?limit=0", 400, "from 1 to 10000"),
        ("/api/v1/gpus/GPU-a/telemetry?limit=99999", 400, "from 1 to 10000"),
        ("/api/v1/gpus/GPU-a/telemetry?format=xml", 400, "raw and pivot"),
    ] {
        let response = server.gateway_get(path);
        let json = response.json();
        assert_eq!((response.status, &json["success"]), (status, &json!(false)), "{path}: {json}");
        assert!(json["error"].as_str().unwrap().contains(part), "{path}: {json}");
    }
}

#[test]
fn tenants_see_their_own_gpus_only() {
    let server = TestServer::start(&FLAGS);
    write_gpus(&server, now_ms(), &[("x-scope-orgid", "team-a")]);
    let count = |tenant: &str| {
        let response = call(server.gateway_addr(), "GET", "/api/v1/gpus", &[("x-scope-orgid", tenant)], b"");
        response.json()["count"].clone()
    };
    assert_eq!((count("team-a"), count("team-b")), (json!(2), json!(0)));
    let path = "/api/v1/gpus/GPU-a/telemetry";
    let status =
        |tenant: &str| call(server.gateway_addr(), "GET", path, &[("x-scope-orgid", tenant)], b"").status;
    assert_eq!((status("team-a"), status("team-b"), status("../x")), (200, 404, 400));
}

#[test]
fn calls_obey_the_limits_of_queries_and_accounts_hold_for_this_port_too() {
    let server = TestServer::start(&["--gateway-port=any", "--query-max-tenant-bytes=100B"]);
    write_gpus(&server, now_ms(), &[]);
    for path in ["/api/v1/gpus", "/api/v1/gpus/GPU-a/telemetry"] {
        let response = server.gateway_get(path);
        assert_eq!(response.status, 422, "{}", response.text());
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    // The SHA-256 of "secret".
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    std::fs::write(&file, format!("bearer_tokens:\n  - sha256: {hash}\n    tenants: [team-a]\n")).unwrap();
    let server = TestServer::start(&["--gateway-port=any", &format!("--web-config={}", file.display())]);
    let status =
        |headers: &[(&str, &str)]| call(server.gateway_addr(), "GET", "/api/v1/gpus", headers, b"").status;
    let token = ("authorization", "Bearer secret");
    assert_eq!((status(&[]), status(&[token]), status(&[token, ("x-scope-orgid", "b")])), (401, 200, 403));
}

#[test]
fn pages_of_other_origins_may_read() {
    let server = TestServer::start(&FLAGS);
    for method in ["GET", "OPTIONS"] {
        let headers = [("origin", "https://example.org")];
        let response = call(server.gateway_addr(), method, "/api/v1/gpus", &headers, b"");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"), "{method}");
        assert!(response.status < 300);
    }
    assert_eq!(call(server.gateway_addr(), "POST", "/api/v1/gpus", &[], b"").status, 405);
}

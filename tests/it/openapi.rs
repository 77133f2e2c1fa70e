//! `/api/v1/openapi.yaml` describes exactly what is routed on the HTTP port, `/openapi.json` what is on the GPU API's.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::TestServer;
use crate::support::client::call;

/// The methods of each described path.
fn described(server: &TestServer) -> Vec<(String, Vec<String>)> {
    let response = server.get("/api/v1/openapi.yaml");
    assert_eq!(response.header("content-type"), Some("application/yaml"));
    let mut paths: Vec<(String, Vec<String>)> = Vec::new();
    // The document has two spaces before a path and four before a method; YAML itself is a unit test.
    for line in response.text().lines() {
        if let Some(path) = line.strip_prefix("  \"").and_then(|rest| rest.strip_suffix("\":")) {
            paths.push((path.to_owned(), Vec::new()));
        } else if let Some(method) = line.strip_prefix("    ").and_then(|rest| rest.strip_suffix(':'))
            && let Some((_, methods)) = paths.last_mut()
            && ["get", "post", "put", "delete"].contains(&method)
        {
            methods.push(method.to_uppercase());
        }
    }
    paths
}

/// Every path literal below `src/` that is a route; `skipped` is a folder that is not looked into.
fn routed(below: &str, skipped: &str) -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeSet::new();
    let mut pending = vec![source.join(below)];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                pending.extend((path != source.join(skipped)).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                // `.route(` and tables of routes; rustfmt may break the line after the parenthesis.
                for part in text.split(".route(").skip(1).chain(text.split("\n        (").skip(1)) {
                    if let Some(literal) = part.trim_start().strip_prefix("\"/") {
                        found.insert(format!("/{}", literal.split('"').next().unwrap()));
                    }
                }
            }
        }
    }
    found
}

#[test]
fn the_description_names_every_route_and_nothing_else() {
    let server = TestServer::start(&[]);
    let described = described(&server);
    let names: BTreeSet<String> = described.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(names, routed("", "gateway"));
    for (path, methods) in described {
        let path = path.replace("{name}", "job").replace("{id}", "0");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            // The stream of notifications never ends.
            if path.ends_with("/live") {
                continue;
            }
            let status = call(server.addr(), method, &path, &[], b"").status;
            let is_routed = status != 405;
            assert_eq!(is_routed, methods.iter().any(|known| known == method), "{method} {path}: {status}");
        }
    }
}

#[test]
fn the_description_of_the_gpu_api_names_its_routes_and_nothing_else() {
    let server = TestServer::start(&["--gateway-port=any"]);
    let document = server.gateway_get("/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    let names: BTreeSet<String> = paths.keys().cloned().collect();
    assert_eq!(names, routed("gateway", ""));
    for path in names {
        let path = path.replace("{id}", "nobody");
        assert_ne!(server.gateway_get(&path).status, 405, "{path}");
        assert_eq!(call(server.gateway_addr(), "DELETE", &path, &[], b"").status, 405, "{path}");
    }
    let yaml = server.gateway_get("/openapi.yaml");
    assert_eq!(yaml.header("content-type"), Some("application/yaml"));
}

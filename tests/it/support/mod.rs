//! A server in a directory of its own, a small HTTP client, and remote write requests.

pub(crate) mod client;
pub(crate) mod otlp;
pub(crate) mod request;
pub(crate) mod request_v2;

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use mytsdb::{Config, Running, Server};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use self::client::{Response, call};
use self::request::Series;

/// A running server; dropping it takes it down.
pub(crate) struct TestServer {
    runtime: Runtime,
    running: Option<Running>,
    directory: TempDir,
}

/// The flags that every test needs: any free port, on this machine only.
pub(crate) fn config(directory: &TempDir, flags: &[&str]) -> Config {
    let data_dir = directory.path().join("data");
    let fixed = [
        "mytsdb",
        "--http-host=127.0.0.1",
        "--http-port=0",
        "--arrow-port=0",
        "--address=127.0.0.1:0",
        "--otlp-http-address=127.0.0.1:0",
    ];
    let args = fixed.iter().chain(flags).map(std::ffi::OsString::from);
    Config::from_args(args.chain([format!("--data-dir={}", data_dir.display()).into()])).unwrap()
}

impl TestServer {
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), flags)
    }

    pub(crate) fn start_in(directory: TempDir, flags: &[&str]) -> Self {
        let runtime = mytsdb::runtime().unwrap();
        let running = runtime.block_on(Server::start(config(&directory, flags))).unwrap();
        Self { runtime, running: Some(running), directory }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.as_ref().unwrap().addrs.http
    }

    /// Where OTLP/HTTP listens.
    pub(crate) fn otlp_addr(&self) -> SocketAddr {
        self.running.as_ref().unwrap().addrs.otlp_http
    }

    /// Where the GPU API listens; the server needs `--gateway-port=any`.
    pub(crate) fn gateway_addr(&self) -> SocketAddr {
        self.running.as_ref().unwrap().addrs.gateway.unwrap()
    }

    /// Asks the GPU API.
    pub(crate) fn gateway_get(&self, path: &str) -> Response {
        call(self.gateway_addr(), "GET", path, &[], b"")
    }

    /// Where OTLP/gRPC listens, as clients want it.
    pub(crate) fn otlp_grpc_endpoint(&self) -> String {
        format!("http://{}", self.running.as_ref().unwrap().addrs.otlp_grpc)
    }

    /// Where Arrow Flight listens, as clients want it.
    pub(crate) fn arrow_endpoint(&self) -> String {
        format!("http://{}", self.running.as_ref().unwrap().addrs.arrow)
    }

    /// Where OTLP/gRPC listens, as clients want it.
    pub(crate) fn otlp_endpoint(&self) -> String {
        format!("http://{}", self.running.as_ref().unwrap().addrs.otlp_grpc)
    }

    /// The server behind the protocols.
    pub(crate) fn core(&self) -> &std::sync::Arc<mytsdb::core::Core> {
        self.running.as_ref().unwrap().core()
    }

    /// Runs a client on the server's runtime.
    pub(crate) fn block_on<T>(&self, client: impl Future<Output = T>) -> T {
        self.runtime.block_on(client)
    }

    /// Comes back when a client has asked the server to end.
    pub(crate) fn quit_asked(&self) -> impl Future<Output = ()> + Send + 'static {
        self.running.as_ref().unwrap().quit_asked()
    }

    /// Takes the server down and gives its directory back.
    pub(crate) fn stop(mut self) -> TempDir {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.shutdown()).unwrap();
        std::mem::replace(&mut self.directory, TempDir::new().unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        call(self.addr(), "GET", path, &[], b"")
    }

    pub(crate) fn post_form(&self, path: &str, form: &str) -> Response {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        call(self.addr(), "POST", path, &headers, form.as_bytes())
    }

    /// Sends series as a remote write request.
    pub(crate) fn write(&self, series: &[Series<'_>]) -> Response {
        self.write_as(series, &[])
    }

    pub(crate) fn write_as(&self, series: &[Series<'_>], headers: &[(&str, &str)]) -> Response {
        let body = request::compressed(&request::write_request(series));
        call(self.addr(), "POST", "/api/v1/write", headers, &body)
    }

    /// The `data` of a success.
    pub(crate) fn data(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        let json = response.json();
        assert_eq!(json["status"], "success");
        json["data"].clone()
    }

    /// The only value of an instant query.
    pub(crate) fn value(&self, promql: &str) -> f64 {
        let result = self.data(&format!("/api/v1/query?query={}", client::escape(promql)))["result"].clone();
        let [series] = result.as_array().unwrap().as_slice() else { panic!("{promql}: {result}") };
        series["value"][1].as_str().unwrap().parse().unwrap()
    }

    /// Checks an error's status, type and text.
    pub(crate) fn check_error(&self, path: &str, status: u16, error_type: &str, error: &str) {
        let response = self.get(path);
        let expected = serde_json::json!({"status": "error", "errorType": error_type, "error": error});
        assert_eq!((response.status, response.json()), (status, expected), "{path}");
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let outcome = self.runtime.block_on(running.shutdown());
            if !std::thread::panicking() {
                outcome.unwrap();
            }
        }
    }
}

/// The clock, as samples far from it may be refused.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

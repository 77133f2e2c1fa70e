//! A server for the tests of the gRPC protocols.

use mytsdb::{Config, Running, Server};

/// A running server and its data.
pub(crate) struct TestServer {
    pub(crate) running: Running,
    _dir: tempfile::TempDir,
}

/// Starts a server on free ports.
pub(crate) async fn start() -> TestServer {
    start_with(&[]).await
}

/// Starts a server on free ports, with these flags beside.
pub(crate) async fn start_with(flags: &[&str]) -> TestServer {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().display().to_string();
    let args = [
        "mytsdb",
        "--http-host=127.0.0.1",
        "--http-port=0",
        "--arrow-port=0",
        "--address=127.0.0.1:0",
        "--otlp-http-address=127.0.0.1:0",
    ];
    let args = args
        .into_iter()
        .chain(flags.iter().copied())
        .map(str::to_owned)
        .chain([format!("--data-dir={data_dir}")]);
    let running = Server::start(Config::from_args(args).unwrap()).await.unwrap();
    TestServer { running, _dir: dir }
}

/// The clock of tests.
pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

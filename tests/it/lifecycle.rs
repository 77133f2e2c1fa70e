//! Starting, going down, starting again.

use std::io::Write;
use std::net::TcpListener;

use mytsdb::{Server, StartError};
use tempfile::TempDir;

use crate::support::client::{connect, receive};
use crate::support::{TestServer, config, now_ms};

#[test]
fn the_bound_addresses_are_written_once_the_server_is_ready() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("addresses.json");
    let server = TestServer::start(&[&format!("--addresses-file={}", path.display())]);
    let addresses: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(addresses["http"], server.addr().to_string());
    for protocol in ["http", "arrow", "otlp_grpc", "otlp_http"] {
        let addr = addresses[protocol].as_str().unwrap().parse().unwrap();
        drop(connect(addr));
    }
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = TempDir::new().unwrap();
    let config = config(&directory, &[&format!("--http-port={port}")]);
    let runtime = mytsdb::runtime().unwrap();
    let error = runtime.block_on(Server::start(config)).unwrap_err();
    assert!(
        matches!(&error, StartError::Bind { protocol: "http", addr, .. } if addr.port() == port),
        "{error}"
    );
}

#[test]
fn a_request_that_has_begun_is_finished_when_the_server_goes_down() {
    let server = TestServer::start(&[]);
    let addr = server.addr();
    let mut stream = connect(addr);
    // The server has read the head and waits for the body when `100 Continue` arrives.
    let head = "POST /api/v1/labels HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 7\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut continued = [0; 25];
    std::io::Read::read_exact(&mut stream, &mut continued).unwrap();
    assert_eq!(&continued, b"HTTP/1.1 100 Continue\r\n\r\n");
    let stopping = std::thread::spawn(move || server.stop());
    stream.write_all(b"limit=1").unwrap();
    let response = receive(&mut stream);
    assert_eq!((response.status, response.json()["status"].as_str()), (200, Some("success")));
    stopping.join().unwrap();
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn a_client_that_never_finishes_does_not_keep_the_server_up() {
    let server = TestServer::start(&["--shutdown-timeout=0"]);
    let mut stream = connect(server.addr());
    stream.write_all(b"POST /api/v1/write HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\n").unwrap();
    server.stop();
}

#[test]
fn the_server_starts_again_in_the_same_directory() {
    let server = TestServer::start(&[]);
    assert_eq!(server.write(&[(&[("__name__", "up")], &[(1.0, now_ms())])]).status, 204);
    let directory = server.stop();
    let server = TestServer::start_in(directory, &[]);
    assert_eq!(server.get("/-/ready").status, 200);
    assert_eq!(server.data("/api/v1/label/__name__/values"), serde_json::json!(["up"]));
}

//! The real binary as a process of its own, on any free ports.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// A server that is not ready by then fails the test.
const READY_WAIT: Duration = Duration::from_secs(60);
/// Between two looks for the addresses file.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// What the server writes once it is ready.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) arrow: SocketAddr,
    pub(super) otlp_grpc: SocketAddr,
}

/// A running process; dropping it kills it.
#[derive(Debug)]
pub(super) struct ServerProcess {
    child: Child,
    pub(super) addresses: Addresses,
}

impl ServerProcess {
    /// Starts the binary with its data below `directory` and comes back when it is ready.
    pub(super) fn start(directory: &Path) -> Self {
        Self::start_with(directory, &directory.join("data"), &[])
    }

    /// Starts the binary with its log below `directory`, its data in `data_dir`, and more flags.
    pub(super) fn start_with(directory: &Path, data_dir: &Path, flags: &[&str]) -> Self {
        let addresses_path = directory.join("addresses.json");
        let _absent_at_first = std::fs::remove_file(&addresses_path);
        let log_path = directory.join("log");
        let log = File::options().create(true).append(true).open(&log_path).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_mytsdb"))
            .args(["--http-host=127.0.0.1", "--http-port=0", "--arrow-port=0", "--address=127.0.0.1:0"])
            .args(["--otlp-http-address=127.0.0.1:0", "--enable-admin-api", "--log-level=warn"])
            .args(flags)
            .arg(format!("--data-dir={}", data_dir.display()))
            .arg(format!("--addresses-file={}", addresses_path.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self::wait_until_ready(child, &addresses_path, &log_path)
    }

    fn wait_until_ready(mut child: Child, addresses_path: &Path, log_path: &PathBuf) -> Self {
        let started = Instant::now();
        loop {
            // The file appears whole, by renaming.
            if let Ok(json) = std::fs::read(addresses_path) {
                let addresses = serde_json::from_slice(&json).unwrap();
                return Self { child, addresses };
            }
            let ended = child.try_wait().unwrap();
            if ended.is_some() || started.elapsed() > READY_WAIT {
                let _already_dead = child.kill();
                let log = std::fs::read_to_string(log_path).unwrap_or_default();
                panic!("the server did not become ready (exit: {ended:?}); its log:\n{log}");
            }
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    /// Sends a signal by its name.
    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    pub(super) fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the server ended by itself: {ended:?}");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _already_dead = self.child.kill();
        let _already_waited = self.child.wait();
    }
}

/// Runs `mytsdb check` on a directory that no server uses.
pub(super) fn check(directory: &Path) {
    let outcome = Command::new(env!("CARGO_BIN_EXE_mytsdb")).arg("check").arg(directory).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
    assert!(outcome.status.success(), "mytsdb check {}: {text}{errors}", directory.display());
}

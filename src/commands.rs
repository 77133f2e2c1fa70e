//! What the binary does besides serving: `mytsdb check` and `mytsdb restore`, on data that no server uses, and
//! `mytsdb health`, which asks a server of this machine whether it is ready.
//!
//! Input: the command line. Output: findings as lines, and an exit code. Not here: verifying and restoring themselves
//! (see `mytsdb_storage::check`).

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use mytsdb_storage::{CheckReport, RestoreError, Severity, check, restore};

/// Exit code: everything is whole.
const WHOLE: u8 = 0;
/// Exit code: something is damaged.
const DAMAGED: u8 = 1;
/// Exit code: nothing was done, for a mistake in the command line or a failure to read or write.
const FAILED: u8 = 2;
/// Exit code of `health`: the server is not ready, or does not answer. The one that means so to whoever runs images.
const NOT_READY: u8 = 1;
/// Bytes of the answer that are read: its first line is what matters.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The commands as they are written.
#[derive(Debug, Parser)]
#[command(name = "mytsdb", bin_name = "mytsdb")]
enum Command {
    /// Verifies a data directory or a snapshot that no server uses: every checksum, index, chunk and record
    #[command(after_help = "Exit code: 0 whole, 1 damaged, 2 not verified")]
    Check {
        /// Directory to verify
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Verifies a snapshot and makes a durable copy of it, as the data directory of a server
    #[command(after_help = "Exit code: 0 restored, 1 the snapshot is damaged, 2 not restored")]
    Restore {
        /// Directory of the snapshot
        #[arg(value_name = "SNAPSHOT_DIR")]
        snapshot: PathBuf,
        /// Directory that becomes the data directory; empty or not there yet
        #[arg(value_name = "DATA_DIR")]
        data_dir: PathBuf,
        /// Give files a second name instead of copying them; both directories must be on one file system
        #[arg(long)]
        link: bool,
    },
    /// Asks a server of this machine whether it is ready, as the health check of the image does
    #[command(
        after_help = "Exit code: 0 ready, 1 not ready or no answer. Servers with TLS or accounts are not asked by it."
    )]
    Health {
        /// Port of the server's HTTP API
        #[arg(long, env = "MYTSDB_HTTP_PORT", value_name = "PORT", default_value_t = 9090)]
        http_port: u16,
        /// Seconds until the answer must be there
        #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
        timeout: u64,
    },
}

/// Runs the command that the command line (first the program's name) asks for, and returns the exit code. `None` if it
/// asks for none, so that a server is to be started.
pub fn run(args: &[OsString], out: &mut impl Write, err: &mut impl Write) -> Option<u8> {
    let names = ["check", "restore", "health"];
    if !args.get(1).is_some_and(|name| names.iter().any(|known| name == known)) {
        return None;
    }
    let outcome = match Command::try_parse_from(args) {
        Ok(Command::Check { directory }) => match check(&directory) {
            Ok(report) => tell(&report, out).map(|()| if report.is_whole() { WHOLE } else { DAMAGED }),
            Err(error) => writeln!(err, "error: {error}").map(|()| FAILED),
        },
        Ok(Command::Restore { snapshot, data_dir, link }) => match restore(&snapshot, &data_dir, link) {
            Ok(report) => tell(&report.snapshot, out)
                .and_then(|()| {
                    let (count, bytes, to) = (report.file_count, report.file_bytes, data_dir.display());
                    writeln!(out, "restored {count} files ({bytes} bytes) to {to}")
                })
                .map(|()| WHOLE),
            Err(RestoreError::Damaged { report }) => tell(&report, out)
                .and_then(|()| writeln!(err, "error: the snapshot is damaged, nothing was restored"))
                .map(|()| DAMAGED),
            Err(error) => writeln!(err, "error: {error}").map(|()| FAILED),
        },
        Ok(Command::Health { http_port, timeout }) => {
            let server = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), http_port);
            match ask_ready(server, Duration::from_secs(timeout)) {
                Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => writeln!(out, "ready").map(|()| WHOLE),
                Ok(answer) => {
                    let status = answer.lines().next().unwrap_or_default();
                    writeln!(err, "error: {server} is not ready: {status:?}").map(|()| NOT_READY)
                }
                Err(error) => writeln!(err, "error: {server} does not answer: {error}").map(|()| NOT_READY),
            }
        }
        // Help goes to the standard output and is no mistake.
        Err(error) if !error.use_stderr() => write!(out, "{error}").map(|()| WHOLE),
        Err(error) => write!(err, "{error}").map(|()| FAILED),
    };
    // Nobody reads the lines any more: what they would say is not known to anybody.
    Some(outcome.unwrap_or(FAILED))
}

/// The head of what `server` answers to `GET /-/ready`.
fn ask_ready(server: SocketAddr, timeout: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Writes a line per finding, and a summary.
fn tell(report: &CheckReport, out: &mut impl Write) -> std::io::Result<()> {
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Damage => "damage",
            Severity::Note => "note  ",
        };
        writeln!(out, "{severity} {}: {}", finding.path.display(), finding.text)?;
    }
    writeln!(
        out,
        "checked {} blocks ({} series, {} chunks, {} samples, {} bytes), {} tombstone files, \
         {} WAL segments ({} records, {} bytes): {} damaged, {} notes",
        report.block_count,
        report.series_count,
        report.chunk_count,
        report.sample_count,
        report.block_bytes,
        report.tombstone_file_count,
        report.wal_segment_count,
        report.wal_record_count,
        report.wal_bytes,
        report.finding_count(Severity::Damage),
        report.finding_count(Severity::Note),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn call(args: &[&str]) -> (Option<u8>, String, String) {
        let args: Vec<OsString> =
            std::iter::once("mytsdb").chain(args.iter().copied()).map(Into::into).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&args, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_commands_are_consistent() {
        Command::command().debug_assert();
    }

    #[test]
    fn what_is_no_command_starts_a_server() {
        for args in [&[][..], &["--data-dir=x"], &["--log-level", "check"]] {
            assert_eq!(call(args).0, None, "{args:?}");
        }
    }

    #[test]
    fn a_mistake_is_told_and_nothing_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let empty = directory.path().to_str().unwrap();
        let missing = directory.path().join("missing");
        let target = directory.path().join("new");
        for (args, part) in [
            (vec!["check"], "DIR"),
            (vec!["check", empty], "is no data directory"),
            (vec!["check", missing.to_str().unwrap()], "cannot list"),
            (vec!["restore", empty], "DATA_DIR"),
            (vec!["restore", empty, target.to_str().unwrap()], "is no data directory"),
            (vec!["check", empty, "--fix"], "--fix"),
        ] {
            let (code, out, err) = call(&args);
            assert_eq!((code, out.as_str()), (Some(FAILED), ""), "{args:?}");
            assert!(err.contains(part), "{part:?} is not in {err:?}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let (code, out, err) = call(&["health", "--timeout=0"]);
        assert_eq!((code, out.as_str()), (Some(FAILED), ""));
        assert!(err.contains("--timeout"), "{err}");
        let (code, out, _) = call(&["check", "--help"]);
        assert!(code == Some(WHOLE) && out.contains("Exit code"), "{out}");
    }

    /// Answers one request with `answer`, and returns what `health` said about it.
    fn health_of(answer: &'static str) -> (Option<u8>, String, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let told = call(&["health", &format!("--http-port={port}")]);
        assert!(server.join().unwrap().starts_with("GET /-/ready HTTP/1.1\r\n"));
        told
    }

    #[test]
    fn health_says_what_the_server_answers() {
        let (code, out, err) = health_of("HTTP/1.1 200 OK\r\n\r\nReady");
        assert_eq!((code, out.as_str(), err.as_str()), (Some(WHOLE), "ready\n", ""));
        let (code, out, err) = health_of("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!((code, out.as_str()), (Some(NOT_READY), ""));
        assert!(err.contains("503"), "{err}");
        // What is no HTTP, as from a server with TLS.
        assert_eq!(health_of("\u{15}\u{3}\u{3}").0, Some(NOT_READY));
    }

    #[test]
    fn health_says_that_nobody_answers() {
        // The listener is gone when the port is asked.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (code, _, err) = call(&["health", &format!("--http-port={port}")]);
        assert_eq!(code, Some(NOT_READY));
        assert!(err.contains("does not answer"), "{err}");
    }
}

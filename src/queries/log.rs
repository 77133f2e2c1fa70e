//! The query log: one line of JSON per query that ended, in the shape of Prometheus' `query_log_file`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use tracing::error;

use super::Description;

/// What the log says about one query.
#[derive(Debug)]
pub(super) struct Logged<'a> {
    /// What it was.
    pub(super) description: &'a Description,
    /// Why it failed, if it did.
    pub(super) error: Option<&'a str>,
    /// The object that `stats` of the API has.
    pub(super) stats: Option<Value>,
}

/// A file of lines.
#[derive(Debug)]
pub struct QueryLog {
    path: PathBuf,
    file: Mutex<File>,
    /// Whether the last line could not be written; said once, not per line.
    has_failed: AtomicBool,
}

impl QueryLog {
    /// Opens the file for appending; it is created if absent.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = Mutex::new(open(path)?);
        Ok(Self { path: path.to_owned(), file, has_failed: AtomicBool::new(false) })
    }

    /// Opens the file again by its name, as is needed after it was moved away.
    ///
    /// # Errors
    /// What the system says; the old file is written to then.
    pub fn reopen(&self) -> io::Result<()> {
        let file = open(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    /// Appends a line. Call it where blocking is allowed.
    pub(super) fn write(&self, logged: &Logged<'_>, now_ms: i64) {
        let mut line = line(logged, now_ms).to_string();
        line.push('\n');
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        let has_failed = written.is_err();
        if let Err(error) = written
            && !self.has_failed.load(Ordering::Relaxed)
        {
            error!(%error, path = %self.path.display(), "cannot write the query log");
        }
        self.has_failed.store(has_failed, Ordering::Relaxed);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn line(logged: &Logged<'_>, now_ms: i64) -> Value {
    let Description { tenant, query, times_ms: (start_ms, end_ms, step_ms), client, method, path } =
        logged.description;
    let mut line = json!({
        "time": rfc3339(now_ms),
        "level": "INFO",
        "msg": "promql query logged",
        "params": {
            "query": query,
            "start": rfc3339(*start_ms),
            "end": rfc3339(*end_ms),
            "step": step_ms / 1000,
        },
        "httpRequest": { "clientIP": client.as_deref().unwrap_or_default(), "method": method, "path": path },
        "tenant": tenant.as_str(),
    });
    if let Some(error) = logged.error {
        line["error"] = error.into();
    }
    if let Some(stats) = &logged.stats {
        line["stats"] = stats.clone();
    }
    line
}

/// The time as Prometheus writes it: UTC with milliseconds.
pub fn rfc3339(time_ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(time_ms)
        .map_or_else(String::new, |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mytsdb_storage::model::TenantId;

    #[test]
    fn a_line_has_prometheus_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("query.log");
        let log = QueryLog::open(&path).unwrap();
        let description = Description {
            tenant: TenantId::anonymous(),
            query: "up \"\n".to_owned(),
            times_ms: (0, 15_000, 15_000),
            client: Some("127.0.0.1".to_owned()),
            method: "POST".to_owned(),
            path: "/api/v1/query_range",
        };
        log.write(&Logged { description: &description, error: None, stats: Some(json!({})) }, 1_500);
        let moved = folder.path().join("moved.log");
        std::fs::rename(&path, &moved).unwrap();
        log.reopen().unwrap();
        log.write(&Logged { description: &description, error: Some("no"), stats: None }, 2_500);
        let read = |path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
        let params = json!({
            "query": "up \"\n",
            "start": "1970-01-01T00:00:00.000Z",
            "end": "1970-01-01T00:00:15.000Z",
            "step": 15,
        });
        let first = read(&moved);
        assert_eq!(first["params"], params);
        assert_eq!(first["time"], "1970-01-01T00:00:01.500Z");
        assert_eq!(first["stats"], json!({}));
        assert_eq!(first["httpRequest"]["clientIP"], "127.0.0.1");
        assert_eq!(read(&path)["error"], "no");
    }
}

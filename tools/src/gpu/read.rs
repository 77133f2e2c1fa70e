//! Reads a CSV file into a [`Recording`]; bad rows are left out and counted by reason.
//!
//! Reasons: `csv` (quotes or bytes are broken), `fields` (their number), `time`, `metric`, `labels`, `identity` (no GPU),
//! `value` (no number), `blank` (DCGM's "there is none"). Empty cells of wide files are no samples, and nothing is wrong
//! with them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use clap::ValueEnum;
use csv::StringRecord;

use super::columns::{Columns, ColumnsError, Target};
use super::labels_raw;
use super::metric::{is_blank, is_blank_text, known};
use super::recording::{Gpu, Labels, Recording, Row, Series};

/// Most rows of a file: they lie in memory.
pub const ROW_COUNT_MAX: usize = 20_000_000;
/// The port of dcgm-exporter, for files that do not say which instance a row is of.
const INSTANCE_PORT: &str = "9400";

/// Which label gets the host: dcgm-exporter has renamed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostnameLabel {
    /// As dcgm-exporter did until May 2026.
    #[value(name = "Hostname")]
    Old,
    /// As it does since.
    #[value(name = "hostname")]
    New,
    /// Both, for dashboards of both times.
    #[value(name = "both")]
    Both,
}

/// How a file is read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// What columns mean, beyond their names.
    pub mapped: Vec<(String, Target)>,
    /// Which label gets the host.
    pub hostname_label: HostnameLabel,
    /// The label `job` of rows that have none.
    pub job: String,
}

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no first line, or it is no CSV.
    #[error("{path} has no header: {reason}")]
    Header {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The columns mean nothing.
    #[error("{path}: {source}")]
    Columns {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ColumnsError,
    },
    /// More rows than fit in memory.
    #[error("{path} has more than {limit} samples")]
    TooManyRows {
        /// The file.
        path: PathBuf,
        /// Most rows.
        limit: usize,
    },
    /// There is nothing to play.
    #[error("{path} has no row that can be sent; left out: {skipped}")]
    NothingLeft {
        /// The file.
        path: PathBuf,
        /// What was left out, as JSON.
        skipped: String,
    },
}

/// Reads a file.
///
/// # Errors
/// [`FileError`]; bad rows are none, they are counted.
pub fn read_file(path: &Path, options: &ReadOptions) -> Result<Recording, FileError> {
    let io = |source| FileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.is_dir() {
        return Err(io(std::io::ErrorKind::IsADirectory.into()));
    }
    read(path, BufReader::new(file), options)
}

/// Reads what is in `source`; `path` is for messages.
///
/// # Errors
/// As [`read_file`].
pub fn read(path: &Path, source: impl Read, options: &ReadOptions) -> Result<Recording, FileError> {
    let mut digesting = Digesting { source, digest: FNV_OFFSET };
    let mut recording = {
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(&mut digesting);
        let headers = reader.headers().map_err(|error| failed_header(path, error))?;
        let header: Vec<String> =
            headers.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
        if header.iter().all(String::is_empty) {
            return Err(FileError::Header { path: path.to_owned(), reason: "the file is empty".to_owned() });
        }
        let columns = Columns::new(&header, &options.mapped)
            .map_err(|source| FileError::Columns { path: path.to_owned(), source })?;
        let mut builder = Builder::new(columns, options);
        let mut record = StringRecord::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(true) => builder.add(&record),
                Ok(false) => break,
                Err(error) => match error.kind() {
                    csv::ErrorKind::Io(_) => return Err(failed(path, error)),
                    _ => builder.recording.skip("csv", error.position().map_or(0, csv::Position::line)),
                },
            }
            if builder.recording.rows.len() > ROW_COUNT_MAX {
                return Err(FileError::TooManyRows { path: path.to_owned(), limit: ROW_COUNT_MAX });
            }
        }
        builder.recording
    };
    recording.digest = digesting.digest;
    if recording.rows.is_empty() {
        let skipped = serde_json::to_string(&recording.skipped).unwrap_or_default();
        return Err(FileError::NothingLeft { path: path.to_owned(), skipped });
    }
    recording.finish();
    Ok(recording)
}

fn failed(path: &Path, error: csv::Error) -> FileError {
    FileError::Io { path: path.to_owned(), source: error.into() }
}

fn failed_header(path: &Path, error: csv::Error) -> FileError {
    match error.kind() {
        csv::ErrorKind::Io(_) => failed(path, error),
        _ => FileError::Header { path: path.to_owned(), reason: error.to_string() },
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Computes a digest (FNV-1a) of what passes.
struct Digesting<R> {
    source: R,
    digest: u64,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.source.read(buffer)?;
        let seen = buffer.get(..length).unwrap_or_default();
        self.digest =
            seen.iter().fold(self.digest, |state, byte| (state ^ u64::from(*byte)).wrapping_mul(FNV_PRIME));
        Ok(length)
    }
}

/// What a row says before it is known which samples it has.
#[derive(Debug, Default)]
struct Cells<'a> {
    time_ms: i64,
    metric: &'a str,
    value: &'a str,
    host: &'a str,
    /// From columns; a label body wins over them.
    columns: Vec<(&'a str, &'a str)>,
    body: Labels,
    samples: Vec<(&'a str, &'a str)>,
}

/// Builds a recording row by row.
struct Builder<'a> {
    columns: Columns,
    options: &'a ReadOptions,
    recording: Recording,
    series_of: HashMap<(String, Labels), u32>,
    gpu_of: HashMap<String, usize>,
}

impl<'a> Builder<'a> {
    fn new(columns: Columns, options: &'a ReadOptions) -> Self {
        let recording = Recording { has_times: columns.has_times(), ..Recording::default() };
        Self { columns, options, recording, series_of: HashMap::new(), gpu_of: HashMap::new() }
    }

    fn add(&mut self, record: &StringRecord) {
        let line = record.position().map_or(0, csv::Position::line);
        // The targets are looked at while the recording changes.
        let columns = std::mem::replace(&mut self.columns, Columns { targets: Vec::new() });
        if let Err(reason) = self.add_row(&columns, record, line) {
            self.recording.skip(reason, line);
        }
        self.columns = columns;
    }

    fn add_row(&mut self, columns: &Columns, record: &StringRecord, line: u64) -> Result<(), &'static str> {
        let cells = cells(columns, record)?;
        if !cells.samples.is_empty() {
            let labels = self.labels(&cells)?;
            for (metric, text) in &cells.samples {
                match number(text) {
                    Ok(Some(value)) => self.push(metric, labels.clone(), cells.time_ms, value)?,
                    Ok(None) => {}
                    Err(reason) => self.recording.skip(reason, line),
                }
            }
            return Ok(());
        }
        if columns.targets.iter().any(|target| matches!(target, Target::Sample(_))) {
            return Ok(());
        }
        let in_body = cells.body.iter().find(|(name, _)| name == "__name__").map_or("", |(_, name)| name);
        let metric = if cells.metric.is_empty() { in_body } else { cells.metric }.to_owned();
        if !is_metric_name(&metric) {
            return Err("metric");
        }
        let value = number(cells.value)?.ok_or("value")?;
        let labels = self.labels(&cells)?;
        self.push(&metric, labels, cells.time_ms, value)
    }

    /// The labels of a row: those of the body, gaps filled from columns, the host as it is wanted, job and instance.
    fn labels(&self, cells: &Cells<'_>) -> Result<Labels, &'static str> {
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        labels.extend(cells.body.iter().filter(|(name, _)| name != "__name__").cloned());
        for (name, value) in &cells.columns {
            labels.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
        }
        let in_body = labels.remove("Hostname").into_iter().chain(labels.remove("hostname")).next();
        let host = in_body.unwrap_or_else(|| cells.host.to_owned());
        // Small files have one number per GPU and no UUID: then the number is the identity.
        if let (false, Some(gpu)) = (labels.contains_key("UUID"), labels.get("gpu").cloned()) {
            let uuid = if host.is_empty() { gpu } else { format!("{host}:{gpu}") };
            labels.insert("UUID".to_owned(), uuid);
        }
        if !labels.contains_key("UUID") {
            return Err("identity");
        }
        if !host.is_empty() {
            let names: &[&str] = match self.options.hostname_label {
                HostnameLabel::Old => &["Hostname"],
                HostnameLabel::New => &["hostname"],
                HostnameLabel::Both => &["Hostname", "hostname"],
            };
            labels.extend(names.iter().map(|name| ((*name).to_owned(), host.clone())));
        }
        labels.entry("job".to_owned()).or_insert_with(|| self.options.job.clone());
        if !labels.contains_key("instance") {
            let instance =
                if host.is_empty() { "replay".to_owned() } else { format!("{host}:{INSTANCE_PORT}") };
            labels.insert("instance".to_owned(), instance);
        }
        Ok(labels.into_iter().collect())
    }

    fn push(&mut self, metric: &str, labels: Labels, time_ms: i64, value: f64) -> Result<(), &'static str> {
        let key = (metric.to_owned(), labels);
        let series = match self.series_of.get(&key) {
            Some(series) => *series,
            None => {
                let series = u32::try_from(self.recording.series.len()).map_err(|_| "labels")?;
                let uuid = key.1.iter().find(|(name, _)| name == "UUID").map_or("", |(_, uuid)| uuid);
                let gpu = self.gpu(uuid.to_owned());
                self.recording.series.push(Series {
                    metric: key.0.clone(),
                    labels: key.1.clone(),
                    gpu,
                    known: known(metric),
                    first_value: value,
                    last_value: value,
                });
                self.series_of.insert(key, series);
                series
            }
        };
        self.recording.rows.push(Row { series, time_ms, value });
        Ok(())
    }

    fn gpu(&mut self, key: String) -> usize {
        let gpus = &mut self.recording.gpus;
        *self.gpu_of.entry(key).or_insert_with_key(|key| {
            gpus.push(Gpu { key: key.clone(), ..Gpu::default() });
            gpus.len() - 1
        })
    }
}

/// Sorts the fields of a row by what they mean.
fn cells<'r>(columns: &'r Columns, record: &'r StringRecord) -> Result<Cells<'r>, &'static str> {
    if record.len() != columns.targets.len() {
        return Err("fields");
    }
    let mut cells = Cells::default();
    for (target, text) in columns.targets.iter().zip(record) {
        let text = text.trim();
        match target {
            Target::Timestamp => cells.time_ms = time_ms(text).ok_or("time")?,
            Target::Metric => cells.metric = text,
            Target::Value => cells.value = text,
            Target::LabelsRaw => cells.body = labels_raw::parse(text).map_err(|_| "labels")?,
            Target::Host => cells.host = text,
            Target::Label(name) if !text.is_empty() => cells.columns.push((name, text)),
            Target::Sample(metric) => cells.samples.push((metric, text)),
            Target::Label(_) | Target::Nothing => {}
        }
    }
    Ok(cells)
}

/// RFC 3339 (or with a space in the middle), or seconds since the Unix epoch.
fn time_ms(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<f64>() {
        let time_ms = (seconds * 1e3).round();
        return (time_ms.abs() < 1e15).then_some(time_ms as i64);
    }
    string_to_timestamp_nanos(text).ok().map(|time_ns| time_ns.div_euclid(1_000_000))
}

/// A value; `None` if the cell is empty.
fn number(text: &str) -> Result<Option<f64>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    if is_blank_text(text) {
        return Err("blank");
    }
    match text.parse::<f64>() {
        Ok(value) if is_blank(value) => Err("blank"),
        Ok(value) if value.is_finite() => Ok(Some(value)),
        _ => Err("value"),
    }
}

fn is_metric_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_' || letter == ':';
    name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

#[cfg(test)]
#[path = "read_test.rs"]
mod tests;

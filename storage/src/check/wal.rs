//! The log against itself: whole records, samples of series that it names, chunks that decode.

use std::io;
use std::path::Path;

use hashbrown::{HashMap, HashSet};

use super::{CheckError, CheckReport, Findings, io_error};
use crate::chunk::ChunkDecoder;
use crate::fs::{FileSystem, list_or_empty};
use crate::wal::{ChunkRecord, InspectedSegment, Record, inspect};

/// What the records so far have named.
#[derive(Default)]
struct Named {
    tenants: HashSet<u32>,
    series: HashMap<u32, HashSet<u32>>,
    decoder: ChunkDecoder,
    timestamps_ms: Vec<i64>,
    problems: Vec<(std::path::PathBuf, String)>,
}

/// Verifies the log; segments below `floor` do not count.
///
/// # Errors
/// [`CheckError::Io`].
pub(super) fn check(fs: &dyn FileSystem, wal_dir: &Path, floor: u64) -> Result<CheckReport, CheckError> {
    let mut report = CheckReport::default();
    let mut named = Named::default();
    let visited = inspect(fs, wal_dir, floor, |path, tenant, record| named.record(path, tenant, &record));
    let segments = match visited {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(report),
        outcome => outcome.map_err(io_error("read the WAL in", wal_dir))?,
    };
    let newest = segments.last().map(|segment| segment.sequence);
    for segment in segments {
        report.wal_segment_count += 1;
        report.wal_record_count += segment.record_count;
        report.wal_bytes += segment.file_bytes;
        let mut findings = Findings::of(&segment.path);
        end_of(&segment, Some(segment.sequence) == newest, floor, &mut findings);
        for (_, text) in named.problems.iter().filter(|(path, _)| *path == segment.path) {
            findings.damage(text.as_str());
        }
        report.findings.extend(findings.into_vec());
    }
    for entry in list_or_empty(fs, wal_dir).map_err(io_error("list", wal_dir))? {
        if entry.path.extension().is_some_and(|ending| ending == "corrupt") {
            let mut findings = Findings::of(&entry.path);
            findings.note("was kept aside behind a damaged segment; its samples are not served");
            report.findings.extend(findings.into_vec());
        }
    }
    Ok(report)
}

/// Tells how a segment ends.
fn end_of(segment: &InspectedSegment, is_newest: bool, floor: u64, findings: &mut Findings) {
    if segment.sequence < floor {
        findings.note("is not needed any more; the next start removes it");
        return;
    }
    let Some(damage) = segment.damage else { return };
    let lost_bytes = segment.file_bytes.saturating_sub(segment.valid_bytes);
    let at = segment.valid_bytes;
    if segment.has_records_behind {
        findings.damage(format!("record at byte {at} is damaged ({damage}); whole records lie behind it"));
    } else if is_newest {
        findings.note(format!(
            "{lost_bytes} bytes from byte {at} on are a torn write; the next start cuts them off"
        ));
    } else {
        findings.damage(format!("ends at byte {at} ({damage}), although there are later segments"));
    }
}

impl Named {
    fn record(&mut self, path: &Path, tenant: u32, record: &Record<'_>) {
        if let Record::Tenant(_) = record {
            self.tenants.insert(tenant);
            return;
        }
        if !self.tenants.contains(&tenant) {
            self.problem(path, format!("a record is of tenant {tenant}, which the log does not name before"));
            return;
        }
        match record {
            Record::Tenant(_) | Record::Metadata(_) => {}
            Record::Series(series) => {
                self.series.entry(tenant).or_default().extend(series.iter().map(|series| series.series_ref));
            }
            Record::Exemplars(exemplars) => {
                exemplars.iter().for_each(|(series_ref, _)| self.check_named(path, tenant, *series_ref));
            }
            Record::Samples(view) => {
                view.series_refs.iter().for_each(|series_ref| self.check_named(path, tenant, *series_ref));
            }
            Record::Chunks(chunks) => {
                for chunk in chunks {
                    self.check_named(path, tenant, chunk.series_ref);
                    if let Err(text) = self.check_chunk(chunk) {
                        self.problem(path, format!("a chunk of series {}: {text}", chunk.series_ref));
                    }
                }
            }
        }
    }

    fn check_named(&mut self, path: &Path, tenant: u32, series_ref: u32) {
        if !self.series.get(&tenant).is_some_and(|series| series.contains(&series_ref)) {
            self.problem(
                path,
                format!("samples are of series {series_ref}, which the log does not name before"),
            );
        }
    }

    fn check_chunk(&mut self, chunk: &ChunkRecord<'_>) -> Result<(), String> {
        let count = chunk.sample_count as usize;
        self.timestamps_ms.clear();
        self.decoder
            .decode_timestamps(chunk.timestamps, count, &mut self.timestamps_ms)
            .map_err(|error| error.to_string())?;
        if self.timestamps_ms.first() != Some(&chunk.min_ms)
            || self.timestamps_ms.last() != Some(&chunk.max_ms)
        {
            return Err("its times are not those announced".to_owned());
        }
        super::block::decode_any(&mut self.decoder, chunk.values, count).map_err(|error| error.to_string())
    }

    fn problem(&mut self, path: &Path, text: String) {
        self.problems.push((path.to_owned(), text));
    }
}

//! Where blocks lie: `<data>/tenants/<tenant>/blocks/<YYYY-MM-DD>/<id as 16 hex digits>.mtb`, and beside them what was
//! deleted from them: `<id>.<generation as 8 hex digits>.tomb`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::ManifestState;
use crate::fs::temporary::TEMPORARY_ENDING;
use crate::fs::{Entry, FileSystem, list_or_empty, remove_durably};
use crate::model::{TenantId, TimeRange};

const DAY_MS: i64 = 86_400_000;
/// Ending of block files.
const BLOCK_ENDING: &str = "mtb";
/// Ending of tombstone files.
const TOMBSTONE_ENDING: &str = "tomb";

/// A UTC day, counted from 1970-01-01. Shown as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Day(i64);

impl Day {
    /// The day that holds a time in milliseconds since the Unix epoch.
    pub(crate) fn of_ms(time_ms: i64) -> Self {
        Self(time_ms.div_euclid(DAY_MS))
    }

    /// The day with this number.
    pub(crate) fn from_number(number: i64) -> Self {
        Self(number)
    }

    /// Days since 1970-01-01.
    pub(crate) fn number(self) -> i64 {
        self.0
    }

    /// The times of the day.
    pub(crate) fn range(self) -> TimeRange {
        let start_ms = self.0.saturating_mul(DAY_MS);
        TimeRange::new(start_ms, start_ms.saturating_add(DAY_MS))
    }

    /// The day after this.
    pub(crate) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The first millisecond of the day.
    pub(crate) fn start_ms(self) -> i64 {
        self.0.saturating_mul(DAY_MS)
    }

    /// Year, month and day of the month in the Gregorian calendar.
    ///
    /// # Source
    /// Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
    fn civil(self) -> (i64, i64, i64) {
        let shifted = self.0.saturating_add(719_468);
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        (year_of_era + era * 400 + i64::from(month <= 2), month, day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(formatter, "{year:04}-{month:02}-{day:02}")
    }
}

/// One block of the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlockRef {
    /// The owner.
    pub(crate) tenant: TenantId,
    /// The day of its directory.
    pub(crate) day: Day,
    /// Sequence number, unique in the data directory.
    pub(crate) id: u64,
}

impl BlockRef {
    /// The directory that holds the block.
    pub(crate) fn directory(&self, data_dir: &Path) -> PathBuf {
        tenants(data_dir).join(self.tenant.as_str()).join("blocks").join(self.day.to_string())
    }

    /// The block's file.
    pub(crate) fn path(&self, data_dir: &Path) -> PathBuf {
        self.directory(data_dir).join(block_file_name(self.id))
    }

    /// The file of a generation of the block's tombstones.
    pub(crate) fn tombstone_path(&self, data_dir: &Path, generation: u64) -> PathBuf {
        self.directory(data_dir).join(format!("{:016x}.{generation:08x}.{TOMBSTONE_ENDING}", self.id))
    }
}

/// The name of a block's file.
pub(crate) fn block_file_name(id: u64) -> String {
    format!("{id:016x}.{BLOCK_ENDING}")
}

fn tenants(data_dir: &Path) -> PathBuf {
    data_dir.join("tenants")
}

/// Where snapshots lie, each a data directory of its own.
pub(crate) fn snapshots(data_dir: &Path) -> PathBuf {
    data_dir.join("snapshots")
}

/// Deletes what a crash has left: unfinished files, and blocks and tombstones that `listed` does not name. Returns the
/// deleted paths.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn remove_unlisted(
    fs: &dyn FileSystem,
    data_dir: &Path,
    listed: &ManifestState,
) -> io::Result<Vec<PathBuf>> {
    let kept = listed.files(data_dir);
    let mut removed = block_files(fs, data_dir)?;
    removed.retain(|path| is_own_file(path) && !kept.contains(path));
    for directory in [data_dir, &data_dir.join("wal")] {
        for entry in list_or_empty(fs, directory)? {
            if !entry.is_directory && has_ending(&entry.path, TEMPORARY_ENDING) {
                removed.push(entry.path);
            }
        }
    }
    removed.iter().try_for_each(|path| remove_durably(fs, path))?;
    Ok(removed)
}

/// Lists the files under `<data>/tenants`: blocks and tombstones, finished or not, and what else lies there.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn block_files(fs: &dyn FileSystem, data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![tenants(data_dir)];
    while let Some(directory) = directories.pop() {
        for Entry { path, is_directory } in list_or_empty(fs, &directory)? {
            if is_directory { directories.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// Returns whether a path has an ending that only the storage gives to files under `<data>/tenants`.
pub(crate) fn is_own_file(path: &Path) -> bool {
    [BLOCK_ENDING, TOMBSTONE_ENDING, TEMPORARY_ENDING].into_iter().any(|ending| has_ending(path, ending))
}

/// Returns whether any block lies in the data directory.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn has_blocks(fs: &dyn FileSystem, data_dir: &Path) -> io::Result<bool> {
    Ok(block_files(fs, data_dir)?.iter().any(|path| has_ending(path, BLOCK_ENDING)))
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found == ending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::disk::Disk;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn days_are_written_as_calendar_dates() {
        for (time_ms, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400_000, "2000-02-29"),
            (1_709_251_199_999, "2024-02-29"),
            (1_709_251_200_000, "2024-03-01"),
            (4_107_542_400_000, "2100-03-01"),
        ] {
            assert_eq!(Day::of_ms(time_ms).to_string(), expected);
        }
        assert_eq!(Day::of_ms(Day::from_number(20_000).start_ms()).number(), 20_000);
        for extreme in [i64::MIN, i64::MAX] {
            assert!(!Day::of_ms(extreme).to_string().is_empty());
        }
    }

    #[test]
    fn blocks_lie_under_tenant_and_day() {
        let block = BlockRef { tenant: TenantId::new("team-a").unwrap(), day: Day::of_ms(0), id: 0x1f };
        assert_eq!(
            block.path(Path::new("data")),
            Path::new("data/tenants/team-a/blocks/1970-01-01/000000000000001f.mtb")
        );
    }

    #[test]
    fn only_unlisted_blocks_and_unfinished_files_are_removed() {
        let data = tempfile::tempdir().unwrap();
        let block = |id| BlockRef { tenant: TenantId::new("x.tmp").unwrap(), day: Day::of_ms(0), id };
        let (kept, lost) = (block(1), block(2));
        std::fs::create_dir_all(kept.directory(data.path())).unwrap();
        let unfinished = kept.path(data.path()).with_extension("mtb.tmp");
        let manifest = data.path().join("MANIFEST.tmp");
        let foreign = kept.directory(data.path()).join("notes.txt");
        let tombstones = |generation| kept.tombstone_path(data.path(), generation);
        let left = [kept.path(data.path()), tombstones(3), foreign];
        let mut lost = vec![lost.path(data.path()), tombstones(2), tombstones(4), unfinished, manifest];
        for path in left.iter().chain(&lost) {
            std::fs::write(path, b"x").unwrap();
        }
        let listed = ManifestState {
            blocks: BTreeSet::from([kept.clone()]),
            tombstones: BTreeMap::from([(kept.clone(), 3)]),
            ..ManifestState::default()
        };
        let mut removed = remove_unlisted(&Disk, data.path(), &listed).unwrap();
        removed.sort();
        lost.sort();
        assert_eq!(removed, lost);
        assert!(left.iter().all(|path| path.exists()) && !lost.iter().any(|path| path.exists()));
    }
}

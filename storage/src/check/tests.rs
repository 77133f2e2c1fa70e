//! The verifier finds what was broken on purpose, and restoring is complete or not at all.

use super::*;
use crate::batch::WriteBatch;
use crate::block::manifest::Manifest;
use crate::block::writer::{BlockIdentity, BlockWriter, ChunkInput};
use crate::chunk::ChunkEncoder;
use crate::engine::{Storage, StorageOptions};
use crate::fs::faulty::{Call, Fault, FaultyFs};
use crate::fs::memory::MemoryFs;
use crate::model::{LabelSet, Matcher, TenantId, TimeRange};
use crate::read::SampleColumns;

const NOW_MS: i64 = 1_700_000_000_000;
const DATA: &str = "/data";

fn open(fs: &MemoryFs, data_dir: &str) -> Storage {
    Storage::open_on(Arc::new(fs.clone()), StorageOptions::new(data_dir), NOW_MS).unwrap()
}

/// Writes a few samples a minute apart, up to the time given.
fn write(storage: &Storage, host: &str, last_ms: i64, sample_count: usize) {
    let labels = vec![LabelSet::from_pairs([("__name__", "up"), ("host", host), ("job", "x")]).unwrap()];
    let keys = [storage.series_key(host.as_bytes())];
    let timestamps_ms: Vec<i64> =
        (0..sample_count as i64).rev().map(|minute| last_ms - minute * 60_000).collect();
    let values: Vec<f64> = timestamps_ms.iter().map(|time_ms| (time_ms % 977) as f64 / 8.0).collect();
    let batch = WriteBatch {
        keys: &keys,
        sample_ends: &[sample_count],
        timestamps_ms: &timestamps_ms,
        values: &values,
        starts: &[],
        labels: &labels,
        metadata: &[],
        histograms: &[],
        exemplars: &[],
    };
    storage.write(&TenantId::anonymous(), &batch, NOW_MS).unwrap();
}

/// Two days in blocks with a delete, and something in the WAL.
fn filled() -> MemoryFs {
    let fs = MemoryFs::default();
    let storage = open(&fs, DATA);
    for host in ["a", "b", "c"] {
        write(&storage, host, NOW_MS, 30);
        write(&storage, host, NOW_MS - 86_400_000, 30);
    }
    let deleted = vec![Matcher::new(crate::model::MatchOp::Equal, "host", "b").unwrap()];
    let range = TimeRange::from_inclusive(NOW_MS - 600_000, NOW_MS);
    storage.delete_series(&TenantId::anonymous(), &[deleted], range, NOW_MS).unwrap();
    write(&storage, "d", NOW_MS, 20);
    write(&storage, "e", NOW_MS, 20);
    drop(storage);
    fs
}

type Answers = Vec<(LabelSet, Vec<i64>, Vec<u64>)>;

fn answers(storage: &Storage) -> Answers {
    let set = storage.reader(&TenantId::anonymous()).select(&[], TimeRange::ALL).unwrap();
    let mut columns = SampleColumns::default();
    (0..set.len())
        .map(|index| {
            set.read(index, TimeRange::ALL, &mut columns).unwrap();
            let bits = columns.values.iter().map(|value| value.to_bits()).collect();
            (set.labels(index).clone(), columns.timestamps_ms.clone(), bits)
        })
        .collect()
}

fn run(fs: &MemoryFs) -> Result<CheckReport, CheckError> {
    check_on(&(Arc::new(fs.clone()) as Arc<dyn FileSystem>), Path::new(DATA))
}

fn path_of(fs: &MemoryFs, part: &str) -> PathBuf {
    fs.files().into_iter().map(|(path, _)| path).find(|path| path.to_string_lossy().contains(part)).unwrap()
}

#[test]
fn a_whole_directory_has_no_findings_and_is_counted() {
    let fs = filled();
    let report = run(&fs).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!((report.block_count, report.series_count), (2, 6));
    assert_eq!((report.sample_count, report.tombstone_file_count), (180, 1));
    assert!(report.wal_record_count > 2 && report.chunk_count >= 6);
    let storage = open(&fs, DATA);
    storage.snapshot("s", NOW_MS, false).unwrap();
    let fs: Arc<dyn FileSystem> = Arc::new(fs);
    let report = check_on(&fs, Path::new("/data/snapshots/s")).unwrap();
    assert_eq!((report.findings.len(), report.sample_count, report.block_count), (0, 220, 3));
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_changes_nothing() {
    let fs = filled();
    let expected = answers(&open(&fs.fork(), DATA));
    let mut unnoticed = 0;
    for (path, length) in fs.files() {
        let bytes = fs.read(&path).unwrap();
        for position in 0..length {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << (position % 8);
            let copy = fs.fork();
            copy.put(&path, damaged);
            let report = run(&copy).unwrap();
            if report.findings.is_empty() {
                unnoticed += 1;
                assert_eq!(answers(&open(&copy, DATA)), expected, "byte {position} of {}", path.display());
            } else if report.is_whole() {
                // Only the end of the MANIFEST or of the log may look like a torn write.
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                assert!(
                    name == "MANIFEST" || name.ends_with(".wal"),
                    "byte {position} of {}",
                    path.display()
                );
            }
        }
    }
    // Reserved bytes, and the padding between the sections of blocks.
    assert!(unnoticed < 1500, "{unnoticed} flips were not noticed");
}

#[test]
fn missing_files_are_damage_and_strangers_are_notes() {
    let fs = filled();
    for part in [".mtb", ".tomb"] {
        let copy = fs.fork();
        let path = path_of(&copy, part);
        copy.remove(&path).unwrap();
        let report = run(&copy).unwrap();
        assert!(!report.is_whole() && report.findings[0].path == path, "{report:?}");
        assert!(report.findings[0].text.contains("not there"), "{report:?}");
    }
    for name in ["00000000000000ff.mtb", "0000000000000001.00000009.tomb", "x.mtb.tmp"] {
        let copy = fs.fork();
        let path = path_of(&copy, ".mtb").with_file_name(name);
        copy.put(&path, vec![1]);
        let report = run(&copy).unwrap();
        assert!(report.is_whole() && report.findings[0].path == path, "{report:?}");
        drop(open(&copy, DATA));
        assert_eq!(run(&copy).unwrap().findings, []);
    }
    fs.remove(Path::new("/data/MANIFEST")).unwrap();
    assert!(!run(&fs).unwrap().is_whole());
}

#[test]
fn a_torn_write_at_the_end_is_a_note_and_one_in_the_middle_is_damage() {
    let fs = filled();
    let path = path_of(&fs, ".wal");
    let bytes = fs.read(&path).unwrap();
    let torn = fs.fork();
    torn.put(&path, bytes[..bytes.len() - 3].to_vec());
    let report = run(&torn).unwrap();
    assert!(report.is_whole() && report.findings.len() == 1, "{report:?}");
    let hit = fs.fork();
    let mut damaged = bytes.clone();
    damaged[40] ^= 1;
    hit.put(&path, damaged);
    assert!(!run(&hit).unwrap().is_whole());
}

#[test]
fn what_is_no_data_directory_is_refused_and_left_alone() {
    let fs = MemoryFs::default();
    fs.create_directories(Path::new(DATA)).unwrap();
    assert!(matches!(run(&fs), Err(CheckError::NotADataDirectory { .. })));
    let missing = check_on(&(Arc::new(fs.clone()) as Arc<dyn FileSystem>), Path::new("/nowhere"));
    assert!(matches!(missing, Err(CheckError::Io { .. })));
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(StorageOptions::new(directory.path()), NOW_MS).unwrap();
    assert!(matches!(check(directory.path()), Err(CheckError::Locked { .. })));
    drop(storage);
    assert_eq!(check(directory.path()).unwrap().findings, []);
}

/// A data directory with one block of one series, whose chunk announces what `change` makes of it.
fn lying(change: impl Fn(&mut ChunkInput<'_>)) -> CheckReport {
    let memory = MemoryFs::default();
    let fs: Arc<dyn FileSystem> = Arc::new(memory.clone());
    fs.create_directories(Path::new(DATA)).unwrap();
    let block =
        BlockRef { tenant: TenantId::anonymous(), day: crate::block::layout::Day::of_ms(NOW_MS), id: 1 };
    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
    let mut encoder = ChunkEncoder::new();
    encoder.encode_timestamps(&[NOW_MS - 7, NOW_MS - 5, NOW_MS], &mut timestamps);
    encoder.encode_values(&[1.5, 2.25, 1e300], &mut values);
    let mut chunk = ChunkInput {
        min_ms: NOW_MS - 7,
        max_ms: NOW_MS,
        sample_count: 3,
        timestamps: &timestamps,
        values: &values,
    };
    change(&mut chunk);
    let directory = block.directory(Path::new(DATA));
    let mut writer = BlockWriter::new(&fs, BlockIdentity { id: 1, tenant: TenantId::anonymous() });
    writer.add_series(&LabelSet::from_pairs([("a", "b")]).unwrap(), &[chunk]);
    writer.finish(&directory).unwrap();
    let state = ManifestState { blocks: [block].into(), next_id: 2, ..ManifestState::default() };
    Manifest::create_in(&fs, Path::new(DATA), state).unwrap();
    run(&memory).unwrap()
}

#[test]
fn a_block_with_right_checksums_and_wrong_contents_is_damage() {
    assert_eq!(lying(|_| ()).findings, []);
    let text =
        |report: CheckReport| report.findings.into_iter().map(|finding| finding.text).collect::<String>();
    assert!(text(lying(|chunk| chunk.sample_count = 2)).contains("times of series 0"));
    assert!(text(lying(|chunk| chunk.min_ms -= 1)).contains("not those announced"));
    assert!(text(lying(|chunk| chunk.max_ms += 1)).contains("not those announced"));
    assert!(text(lying(|chunk| chunk.values = &[0xff, 1, 2])).contains("values of series 0"));
}

#[test]
fn a_restored_directory_answers_as_the_one_before_and_fails_closed() {
    let memory = filled();
    let storage = open(&memory, DATA);
    let expected = answers(&storage);
    storage.snapshot("s", NOW_MS, false).unwrap();
    drop(storage);
    let snapshot = Path::new("/data/snapshots/s");
    for is_linked in [false, true] {
        let mut failures = 0;
        loop {
            let copy = memory.fork();
            let faulty = FaultyFs::new(Arc::new(copy.clone()));
            let kind = io::ErrorKind::StorageFull;
            faulty.inject(Fault { calls: Call::ALL.to_vec(), after: failures, times: 1, kind });
            let fs: Arc<dyn FileSystem> = Arc::new(faulty.clone());
            let outcome = restore::restore_on(&fs, snapshot, Path::new("/new"), is_linked);
            let is_through = faulty.injected().is_empty();
            faulty.heal();
            let has_manifest = copy.files().iter().any(|(path, _)| path == Path::new("/new/MANIFEST"));
            match outcome {
                Ok(report) => {
                    assert_eq!(report.snapshot.block_count, 3);
                    assert!(has_manifest && report.file_count == 5, "{report:?}");
                    assert_eq!(answers(&open(&copy, "/new")), expected);
                    let again = restore::restore_on(&fs, snapshot, Path::new("/new"), is_linked);
                    assert!(matches!(again, Err(RestoreError::NotEmpty { .. })));
                    if is_through {
                        break;
                    }
                }
                // The MANIFEST may be whole when only the sync of its name failed.
                Err(error) => assert!(!has_manifest || error.to_string().contains("MANIFEST"), "{error}"),
            }
            failures += 1;
        }
        assert!(failures > 40, "{failures} calls failed");
    }
    let block = path_of(&memory, "snapshots/s/tenants");
    memory.put(&block, vec![1; 100]);
    let fs: Arc<dyn FileSystem> = Arc::new(memory.clone());
    let damaged = restore::restore_on(&fs, snapshot, Path::new("/new"), false);
    assert!(matches!(damaged, Err(RestoreError::Damaged { .. })), "{damaged:?}");
    assert!(!memory.files().iter().any(|(path, _)| path.starts_with("/new")));
}

//! Files: written and read back, cut, damaged, foreign.

use std::ffi::OsString;
use std::path::Path;

use super::*;
use crate::k8s::model::rng::Rng;
use crate::telemetry::generator::options::{GeneratorOptions, KEYS};
use crate::telemetry::generator::{generate, template};
use crate::telemetry::replay::{Replay, ReplayOptions};
use crate::telemetry::settings::parse;

fn options(folder: &Path, flags: &[&str]) -> GeneratorOptions {
    let small = [
        "telemetry-generator",
        "--services=2",
        "--metrics-targets=2",
        "--metrics-names=20",
        "--metrics-series-per-name=2",
        "--traces-count=3",
        "--logs-count=5",
        "--output",
    ];
    let arguments = small.iter().map(OsString::from).chain([folder.into()]);
    parse(arguments.chain(flags.iter().map(OsString::from)), &KEYS).unwrap()
}

#[test]
fn equal_settings_give_equal_files_that_come_back_as_written() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    generate(&options(one.path(), &[])).unwrap();
    generate(&options(other.path(), &[])).unwrap();
    for signal in Signal::ALL {
        let read = |folder: &Path| std::fs::read(folder.join(signal.file_name())).unwrap();
        assert_eq!(read(one.path()), read(other.path()), "{signal:?}");
        let written = template(&options(one.path(), &[]), signal).unwrap();
        assert_eq!(file::read(one.path(), signal).unwrap(), Some(written));
    }
    generate(&options(other.path(), &["--seed=2", "--traces-enabled=false"])).unwrap();
    let read = |folder: &Path| std::fs::read(folder.join(Signal::Metrics.file_name())).unwrap();
    assert_ne!(read(one.path()), read(other.path()));
    assert_eq!(file::read(other.path(), Signal::Traces).unwrap(), None, "no longer generated");
}

#[test]
fn damage_of_any_byte_and_every_cut_is_named() {
    let folder = tempfile::tempdir().unwrap();
    generate(&options(folder.path(), &[])).unwrap();
    let seed = 21;
    let mut rng = Rng::new(seed);
    for signal in Signal::ALL {
        let path = folder.path().join(signal.file_name());
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..200 {
            let at = (rng.bits() % whole.len() as u64) as usize;
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (rng.bits() % 8);
            assert!(format::decode(&path, &damaged, signal).is_err(), "byte {at}, seed {seed}");
            assert!(format::decode(&path, &whole[..at], signal).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn a_file_with_a_right_checksum_and_wrong_contents_is_refused_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    generate(&options(folder.path(), &[])).unwrap();
    let seed = 22;
    let mut rng = Rng::new(seed);
    let mut refused = 0;
    for signal in Signal::ALL {
        let path = folder.path().join(signal.file_name());
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..300 {
            let mut damaged = whole.clone();
            let at = 24 + (rng.bits() % (whole.len() as u64 - 24)) as usize;
            damaged[at] = rng.bits() as u8;
            let checksum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &damaged[24..]) as u32;
            damaged[20..24].copy_from_slice(&checksum.to_le_bytes());
            match format::decode(&path, &damaged, signal) {
                Err(_) => refused += 1,
                Ok(template) => {
                    let options = ReplayOptions::new("pod", 1_000_000_000);
                    let mut replay = Replay::new(&[template], &options).unwrap();
                    for step in 1..4 {
                        assert!(replay.next(step * 1_000_000_000_000).is_some(), "byte {at}, seed {seed}");
                    }
                }
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn foreign_files_and_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Replay::open(folder.path(), ReplayOptions::new("pod", 0)).unwrap_err();
    assert!(matches!(open(), TemplateError::NoTemplates { .. }));
    let path = folder.path().join(Signal::Metrics.file_name());
    for (bytes, part) in [
        (&b""[..], "is no template"),
        (b"PK\x03\x04 and so on", "is no template: it begins with [50, 4b"),
        (b"MYTSDBTL\x09\x00\x00\x00", "has version 9 of the format, this program reads 1"),
        (b"MYTSDBTL\x01\x00\x02\x00", "is of signal 2, not of Metrics"),
        (b"MYTSDBTL\x01", "bytes are missing"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = open().to_string();
        assert!(error.contains(part) && error.contains("metrics.template"), "{error}");
    }
    let missing = folder.path().join("missing");
    let error = Replay::open(&missing, ReplayOptions::new("pod", 0)).unwrap_err();
    assert!(matches!(error, TemplateError::Io { .. }), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = generate(&options(&file.join("below"), &[])).unwrap_err().to_string();
    assert!(error.contains("below"), "{error}");
}

//! The seeds of the fuzz targets: they are made here, and all that is in `fuzz/corpus` goes through the doors.
//!
//! `MYTSDB_FUZZ_SEEDS=write cargo test -p mytsdb-storage corpus` writes them anew after a format has changed.

use std::path::{Path, PathBuf};

use super::doors;
use super::samples::{self, Size};
use crate::chunk::ChunkEncoder;

type Door = fn(&[u8]);

/// All doors by the name of their fuzz target.
const DOORS: [(&str, Door); 5] = [
    ("wal", doors::wal),
    ("block", doors::block),
    ("manifest", doors::manifest),
    ("tombstones", doors::tombstones),
    ("histograms", doors::histograms),
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// Small whole files, each raw and with checksums made to fit.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let sizes = [
        Size { series_count: 1, sample_count: 3 },
        Size { series_count: 5, sample_count: 12 },
        Size { series_count: 17, sample_count: 24 },
        Size { series_count: 2, sample_count: 300 },
    ];
    let mut seeds = Vec::new();
    for count in [1, 9, 100] {
        let rows: Vec<_> = (0..count).map(samples::histogram).collect();
        let mut bytes = u16::to_le_bytes(count as u16).to_vec();
        ChunkEncoder::new().encode_histograms(&rows, &mut bytes);
        seeds.push(("histograms", bytes));
    }
    for size in sizes {
        let written = samples::directory(size, false);
        let flushed = samples::directory(size, true);
        let deleted = samples::deleted(size);
        for (target, fs, ending) in [
            ("wal", &written, ".wal"),
            ("block", &flushed, ".mtb"),
            ("manifest", &deleted, "MANIFEST"),
            ("tombstones", &deleted, ".tomb"),
        ] {
            let (_, bytes) = samples::longest_file(fs, ending).unwrap();
            for mode in [0, 1] {
                seeds.push((target, [&[mode][..], &bytes].concat()));
            }
        }
    }
    seeds
}

#[test]
fn seeds_and_corpus_go_through_the_doors() {
    let seeds = seeds();
    for (target, door) in DOORS {
        for (number, (_, seed)) in seeds.iter().filter(|(of, _)| *of == target).enumerate() {
            door(seed);
            if std::env::var_os("MYTSDB_FUZZ_SEEDS").is_some() {
                let directory = corpus().join(target);
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(directory.join(format!("seed-{number}")), seed).unwrap();
            }
        }
        let entries: Vec<_> = std::fs::read_dir(corpus().join(target)).unwrap().collect();
        for entry in entries {
            let path = entry.unwrap().path();
            let outcome = std::panic::catch_unwind(|| door(&std::fs::read(&path).unwrap()));
            assert!(outcome.is_ok(), "{target}: {}", path.display());
        }
    }
}

#[test]
fn forging_changes_nothing_in_a_whole_file() {
    for (target, seed) in seeds() {
        let bytes = seed[1..].to_vec();
        let forged = match target {
            "wal" => super::forge::wal(bytes.clone()),
            "block" => super::forge::block(bytes.clone()),
            "manifest" => super::forge::manifest(bytes.clone()),
            "tombstones" => super::forge::checksum_at_end(bytes.clone()),
            _ => continue,
        };
        assert!(forged == bytes, "{target}");
    }
}

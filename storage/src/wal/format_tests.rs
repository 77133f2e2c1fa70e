//! The bytes of the WAL: what is built is read back, what is damaged is found.

use super::format::*;
use crate::coding::{CodingError, Cursor};
use crate::model::{Exemplar, LabelSet, StartSlice, StartTimes};
use proptest::prelude::*;

fn sample_builder() -> RecordBuilder {
    let labels = LabelSet::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
    let mut builder = RecordBuilder::default();
    builder.tenant(3, "team");
    builder.series(3, [(7, &labels), (9, &LabelSet::empty())].into_iter());
    let runs = [(7, &[1_i64, 2, -5][..]), (3, &[i64::MAX][..])];
    let values = [0.5, f64::NAN, -0.0, 1.0];
    builder.samples(3, 2, runs.into_iter(), &values, StartSlice::UNKNOWN);
    let chunk = ChunkRecord {
        series_ref: 7,
        min_ms: -4,
        max_ms: 90,
        sample_count: 2,
        timestamps: b"times",
        values: b"vals",
    };
    builder.chunks(3, [chunk, ChunkRecord { series_ref: 8, values: b"other", ..chunk }].into_iter());
    builder.exemplars(3, &exemplars());
    let starts: StartTimes = [0, i64::MIN, i64::MIN, 5].into_iter().collect();
    builder.samples(3, 2, runs.into_iter(), &values, starts.up_to(4));
    builder
}

fn exemplars() -> [(u32, Exemplar); 2] {
    let labels = LabelSet::from_pairs([("trace_id", "0af7")]).unwrap();
    [
        (7, Exemplar { labels, value: f64::NEG_INFINITY, time_ms: i64::MIN }),
        (9, Exemplar { labels: LabelSet::empty(), value: -0.0, time_ms: 5 }),
    ]
}

fn decode_all(bytes: &[u8]) -> (usize, Result<(), CodingError>) {
    let mut cursor = Cursor::new(bytes);
    let mut count = 0;
    loop {
        match next_frame(&mut cursor) {
            Ok(None) => return (count, Ok(())),
            Ok(Some(body)) => match Record::decode(body) {
                Ok(_) => count += 1,
                Err(error) => return (count, Err(error)),
            },
            Err(error) => return (count, Err(error)),
        }
    }
}

#[test]
fn records_come_back_as_they_were() {
    let builder = sample_builder();
    let mut cursor = Cursor::new(builder.bytes());
    let mut records = Vec::new();
    while let Some(body) = next_frame(&mut cursor).unwrap() {
        records.push(Record::decode(body).unwrap());
    }
    assert_eq!(records.len(), 6);
    assert_eq!(records[0], (3, Record::Tenant("team")));
    let (3, Record::Samples(view)) = &records[2] else { panic!("{:?}", records[2]) };
    assert_eq!(view.series_refs, [7, 3]);
    assert_eq!(view.sample_ends, [3, 4]);
    assert_eq!(view.timestamps_ms, [1, 2, -5, i64::MAX]);
    assert_eq!(view.values[2].to_bits(), (-0.0_f64).to_bits());
    let (3, Record::Chunks(chunks)) = &records[3] else { panic!("{:?}", records[3]) };
    assert_eq!(chunks[1].timestamps, b"times");
    assert_eq!((chunks[1].min_ms, chunks[1].max_ms, chunks[1].values), (-4, 90, &b"other"[..]));
    assert_eq!(records[4], (3, Record::Exemplars(exemplars().to_vec())));
    assert!(view.starts.is_empty());
    let (3, Record::Samples(started)) = &records[5] else { panic!("{:?}", records[5]) };
    assert_eq!(started.starts, [0, i64::MIN, i64::MIN, 5].into_iter().collect::<StartTimes>());
    assert_eq!((&started.sample_ends, &started.timestamps_ms), (&view.sample_ends, &view.timestamps_ms));
}

#[test]
fn every_cut_gives_the_longest_valid_prefix() {
    let builder = sample_builder();
    let mut ends = vec![0];
    let mut cursor = Cursor::new(builder.bytes());
    while next_frame(&mut cursor).unwrap().is_some() {
        ends.push(cursor.offset());
    }
    for cut in 0..=builder.bytes().len() {
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(decode_all(&builder.bytes()[..cut]).0, whole, "cut at {cut}");
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let builder = sample_builder();
    for index in 0..builder.bytes().len() * 8 {
        let mut bytes = builder.bytes().to_vec();
        bytes[index / 8] ^= 1 << (index % 8);
        let (count, outcome) = decode_all(&bytes);
        assert!(count < 6 || outcome.is_err(), "bit {index}");
    }
}

proptest! {
    #[test]
    fn foreign_bodies_never_panic(body: Vec<u8>, record_type in 0_u8..9) {
        let mut framed = vec![record_type, 0, 0, 0, 0];
        framed.extend_from_slice(&body);
        let _outcome = Record::decode(&framed);
    }
}

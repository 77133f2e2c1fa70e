//! Both indexes against brute force, and the encoded one against damage.

use std::collections::BTreeSet;

use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::format::{GROUP_BYTES, Group, SERIES_PER_GROUP};
use super::memory::MemoryIndex;
use super::reader::{IndexBytes, IndexDirectory, IndexView};
use super::writer::{IndexSections, IndexWriter};
use crate::model::{LabelSet, MatchOp, Matcher};

/// An encoded index that owns its bytes.
struct Encoded {
    sections: IndexSections,
    groups: Vec<u8>,
    directory: IndexDirectory,
    series_count: u32,
}

fn bytes<'a>(sections: &'a IndexSections, groups: &'a [u8]) -> IndexBytes<'a> {
    IndexBytes { groups, labels: &sections.labels, sets: &sections.sets, postings: &sections.postings }
}

impl Encoded {
    fn new(sets: &[LabelSet]) -> Self {
        let mut writer = IndexWriter::default();
        sets.iter().for_each(|set| writer.add(set));
        let sections = writer.finish().unwrap();
        let mut groups = Vec::new();
        for offset in &sections.set_offsets {
            Group { sets_offset: *offset, chunks_offset: 0, data_offset: 0 }.put(&mut groups);
        }
        assert_eq!(groups.len(), sets.len().div_ceil(SERIES_PER_GROUP) * GROUP_BYTES);
        let directory =
            IndexDirectory::parse(&sections.names, &sections.shapes, bytes(&sections, &groups)).unwrap();
        Self { sections, groups, directory, series_count: sets.len() as u32 }
    }

    fn view(&self) -> IndexView<'_> {
        IndexView {
            directory: &self.directory,
            bytes: bytes(&self.sections, &self.groups),
            series_count: self.series_count,
        }
    }
}

fn memory(sets: &[LabelSet]) -> MemoryIndex {
    let mut index = MemoryIndex::default();
    for (id, set) in sets.iter().enumerate() {
        assert_eq!(index.find(set), None);
        assert_eq!(index.find_or_insert(set), id as u32);
        assert_eq!(index.find_or_insert(set), id as u32);
        assert_eq!(index.find(set), Some(id as u32));
    }
    index
}

fn brute_force(sets: &[LabelSet], matchers: &[Matcher]) -> RoaringBitmap {
    (0..sets.len() as u32)
        .filter(|id| matchers.iter().all(|m| m.matches(sets[*id as usize].get(m.name()).unwrap_or(""))))
        .collect()
}

fn brute_force_values(sets: &[LabelSet], name: &str, within: Option<&RoaringBitmap>) -> Vec<String> {
    let values: BTreeSet<String> = (0..sets.len())
        .filter(|id| within.is_none_or(|within| within.contains(*id as u32)))
        .filter_map(|id| sets[id].get(name).map(str::to_owned))
        .collect();
    values.into_iter().collect()
}

fn brute_force_names(sets: &[LabelSet], within: Option<&RoaringBitmap>) -> Vec<String> {
    let names: BTreeSet<String> = (0..sets.len())
        .filter(|id| within.is_none_or(|within| within.contains(*id as u32)))
        .flat_map(|id| sets[id].iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
        .collect();
    names.into_iter().collect()
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "(a|b|api|db|ü)(-[0-9]{1,2})?",
        2 => "pod-[0-9a-f]{2}",
        1 => ".{1,4}",
    ]
}

fn any_sets() -> impl Strategy<Value = Vec<LabelSet>> {
    let labels = proptest::collection::btree_map("(a|b|c|d|ü|__name__)", any_value(), 0..5);
    proptest::collection::btree_set(labels, 0..120).prop_map(|maps| {
        let mut sets: Vec<LabelSet> = maps
            .iter()
            .map(|map| LabelSet::from_pairs(map.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap())
            .collect();
        sets.sort();
        sets
    })
}

fn any_matcher() -> impl Strategy<Value = Matcher> {
    let regexes = vec![
        ".*",
        ".+",
        "",
        "a|b",
        "a|",
        "api-.*",
        "api-.+",
        ".*-1",
        ".*p.*",
        "(a|b)-[0-9]",
        "pod-[0-9]+",
        "[^a]*",
        "pod-.*|a",
        "ü.*",
        "x",
        "(?i)API.*",
        ".",
        "a.?|ü-1|missing",
        "^api$",
        "a$|b",
    ];
    let name = "(a|b|c|ü|__name__|missing)";
    prop_oneof![
        (name, prop_oneof![any_value(), Just(String::new())], any::<bool>()).prop_map(
            |(name, value, negate)| {
                Matcher::new(if negate { MatchOp::NotEqual } else { MatchOp::Equal }, &name, &value).unwrap()
            }
        ),
        (name, proptest::sample::select(regexes), any::<bool>()).prop_map(|(name, value, negate)| {
            Matcher::new(if negate { MatchOp::NotRegex } else { MatchOp::Regex }, &name, value).unwrap()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn both_indexes_select_what_brute_force_selects(
        sets in any_sets(),
        matchers in proptest::collection::vec(any_matcher(), 0..4),
    ) {
        let expected = brute_force(&sets, &matchers);
        prop_assert_eq!(memory(&sets).select(&matchers), expected.clone(), "memory {:?}", matchers);
        prop_assert_eq!(Encoded::new(&sets).view().select(&matchers).unwrap(), expected, "encoded {:?}", matchers);
    }

    #[test]
    fn both_indexes_list_names_and_values(
        sets in any_sets(),
        within in proptest::option::of(proptest::collection::btree_set(0_u32..130, 0..20)),
    ) {
        let within: Option<RoaringBitmap> = within.map(|ids| ids.into_iter().collect());
        let within = within.as_ref();
        let (memory, encoded) = (memory(&sets), Encoded::new(&sets));
        // The encoded index promises nothing for ids that it does not have.
        let inside = within.map(|ids| ids.iter().filter(|id| (*id as usize) < sets.len()).collect::<RoaringBitmap>());
        let names = brute_force_names(&sets, within);
        prop_assert_eq!(memory.label_names(within), names.clone());
        prop_assert_eq!(encoded.view().label_names(inside.as_ref()).unwrap(), names);
        for name in ["a", "b", "ü", "__name__", "missing"] {
            let values = brute_force_values(&sets, name, within);
            prop_assert_eq!(memory.label_values(name, within), values.clone());
            prop_assert_eq!(encoded.view().label_values(name, inside.as_ref()).unwrap(), values);
        }
        for (name, value, count) in memory.postings_sizes() {
            prop_assert_eq!(count, brute_force(&sets, &[Matcher::equal(name, value)]).len());
        }
        prop_assert_eq!(memory.series_count(), sets.len());
    }

    #[test]
    fn label_sets_come_back(sets in any_sets()) {
        let encoded = Encoded::new(&sets);
        for (id, set) in sets.iter().enumerate() {
            prop_assert_eq!(&encoded.view().labels(id as u32).unwrap(), set);
        }
        prop_assert!(encoded.view().labels(sets.len() as u32).is_err());
        let ids: Vec<u32> = (0..sets.len() as u32).rev().collect();
        let mut expected = sets;
        expected.reverse();
        let memory = memory(&expected);
        let mut backwards = expected.clone();
        backwards.reverse();
        prop_assert_eq!(memory.labels(&ids), backwards);
        let key = memory.order_key(&ids);
        for (left, left_id) in ids.iter().enumerate() {
            for (right, right_id) in ids.iter().enumerate() {
                let order = expected[*left_id as usize].cmp(&expected[*right_id as usize]);
                prop_assert_eq!(key.compare(left, right), order);
            }
        }
    }

    #[test]
    fn damaged_sections_never_panic(
        sets in any_sets(),
        matchers in proptest::collection::vec(any_matcher(), 0..3),
        damages in proptest::collection::vec((0_usize..6, any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let Encoded { mut sections, mut groups, series_count, .. } = Encoded::new(&sets);
        for (section, position, byte) in damages {
            let bytes = match section {
                0 => &mut sections.names,
                1 => &mut sections.labels,
                2 => &mut sections.shapes,
                3 => &mut sections.sets,
                4 => &mut sections.postings,
                _ => &mut groups,
            };
            if !bytes.is_empty() {
                let position = position.index(bytes.len());
                bytes[position] = byte;
            }
        }
        let parsed = IndexDirectory::parse(&sections.names, &sections.shapes, bytes(&sections, &groups));
        if let Ok(directory) = parsed {
            let view = IndexView { directory: &directory, bytes: bytes(&sections, &groups), series_count };
            let _outcome = view.select(&matchers);
            let _outcome = view.label_names(Some(&RoaringBitmap::from_iter([0, 1])));
            for name in ["a", "b"] {
                let _outcome = view.label_values(name, None);
                let _outcome = view.label_values(name, Some(&RoaringBitmap::from_iter([0, 1])));
            }
            for id in 0..series_count {
                let _outcome = view.labels(id);
            }
        }
    }
}

#[test]
fn a_large_dictionary_is_searched_and_scanned() {
    let sets: Vec<LabelSet> = (0..3000)
        .map(|number| {
            let (pod, zone) = (format!("pod-{number:04}"), (number % 50).to_string());
            LabelSet::from_pairs([("__name__", "up"), ("pod", &pod), ("zone", &zone)]).unwrap()
        })
        .collect();
    let encoded = Encoded::new(&sets);
    assert_eq!(encoded.view().labels(2345).unwrap(), sets[2345]);
    let memory = memory(&sets);
    for ids in [vec![7, 2999, 8], (0..2000).collect()] {
        let within: RoaringBitmap = ids.into_iter().collect();
        let expected = brute_force_values(&sets, "pod", Some(&within));
        assert_eq!(encoded.view().label_values("pod", Some(&within)).unwrap(), expected);
        assert_eq!(memory.label_values("pod", Some(&within)), expected);
    }
    for (op, value) in [
        (MatchOp::Equal, "pod-1234"),
        (MatchOp::Equal, "pod-9999"),
        (MatchOp::Equal, "a"),
        (MatchOp::Regex, "pod-12.*"),
        (MatchOp::Regex, "pod-12[0-9]4"),
        (MatchOp::Regex, "pod-(1|22).*"),
        (MatchOp::NotRegex, ".*7"),
        (MatchOp::Regex, "pod-0001|pod-2999|pod-3000"),
    ] {
        // The second leaves so few series that their values are tested instead of the dictionary's.
        for other in [Matcher::equal("__name__", "up"), Matcher::equal("zone", "7")] {
            let matchers = [Matcher::new(op, "pod", value).unwrap(), other];
            let expected = brute_force(&sets, &matchers);
            assert_eq!(encoded.view().select(&matchers).unwrap(), expected, "{matchers:?}");
            assert_eq!(memory.select(&matchers), expected, "{matchers:?}");
        }
    }
}

#[test]
fn label_sets_with_more_labels_than_the_mask_has_bits_come_back() {
    let sets: Vec<LabelSet> = (0..40)
        .map(|number| {
            let pairs: Vec<(String, String)> = (0..90)
                .map(|label| {
                    (format!("l{label:02}"), if label % 7 == 0 { number.to_string() } else { "x".into() })
                })
                .collect();
            LabelSet::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))).unwrap()
        })
        .collect();
    let encoded = Encoded::new(&sets);
    for (id, set) in sets.iter().enumerate() {
        assert_eq!(&encoded.view().labels(id as u32).unwrap(), set);
    }
}

#[test]
fn values_that_have_no_room_in_a_table_are_read_one_by_one() {
    let sets: Vec<LabelSet> = (0..300)
        .map(|number| {
            let long = format!("{}-{number:04}", "x".repeat(9_000));
            LabelSet::from_pairs([("long", long.as_str()), ("short", "a")]).unwrap()
        })
        .collect();
    let encoded = Encoded::new(&sets);
    for (id, set) in sets.iter().enumerate() {
        assert_eq!(&encoded.view().labels(id as u32).unwrap(), set);
    }
}

//! The values of the data set behave like those of a cluster.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall fail where it is")]

use std::collections::BTreeMap;

use clap::Parser;
use mytsdb_tools::k8s::expected::group_values;
use mytsdb_tools::k8s::metrics::{GroupKind, Labels};
use mytsdb_tools::k8s::model::{BUCKET_BOUNDS, CPU_MODES, Run};
use mytsdb_tools::k8s::options::SeedOptions;
use mytsdb_tools::k8s::plan::{Group, model, profile};
use mytsdb_tools::k8s::seed::Dataset;

const END_MS: i64 = 1_760_000_010_000;

fn dataset(flags: &[&str]) -> Dataset {
    Dataset::new(&SeedOptions::parse_from(["x"].iter().chain(flags)), END_MS).unwrap()
}

fn label<'a>(labels: &'a Labels, wanted: &str) -> &'a str {
    labels.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
}

fn is_counter(labels: &Labels) -> bool {
    let name = label(labels, "__name__");
    ["_total", "_bucket", "_sum", "_count"].iter().any(|suffix| name.ends_with(suffix))
}

/// The container that a group's counters belong to, if they start again with it.
fn restarting_container(kind: GroupKind) -> Option<usize> {
    match kind {
        GroupKind::Cpu(index)
        | GroupKind::Memory(index)
        | GroupKind::Network(index)
        | GroupKind::Filesystem(index)
        | GroupKind::Http(index, _)
        | GroupKind::State(index)
        | GroupKind::Runtime(index)
        | GroupKind::Events(index, _) => Some(index),
        _ => None,
    }
}

fn groups_with_values(dataset: &Dataset) -> impl Iterator<Item = (&Group, Vec<Vec<f64>>)> {
    dataset.plan.groups.iter().map(|group| (group, group_values(dataset, group)))
}

#[test]
fn counters_only_grow_except_at_restarts() {
    let dataset = dataset(&["--services", "2"]);
    let mut reset_count = 0;
    for (group, columns) in groups_with_values(&dataset) {
        let restarts = restarting_container(group.kind)
            .map(|index| profile(&dataset.topology, index, &dataset.clock).restarts)
            .map(|restarts| restarts.steps().to_vec())
            .unwrap_or_default();
        for (labels, values) in group.labels.iter().zip(&columns).filter(|(labels, _)| is_counter(labels)) {
            for (step, pair) in values.windows(2).enumerate() {
                let restarts_here = restarts.contains(&(step as u64 + 1));
                assert!(pair[1] >= pair[0] || restarts_here, "{labels:?} falls at step {}", step + 1);
                reset_count += usize::from(pair[1] < pair[0]);
            }
        }
    }
    assert!(reset_count > 30, "{reset_count}");
}

#[test]
fn all_counters_of_a_container_restart_together_and_the_restart_counter_grows() {
    let dataset = dataset(&[]);
    let mut restart_count = 0;
    for (group, columns) in groups_with_values(&dataset) {
        match group.kind {
            GroupKind::ContainerStatus(index) => {
                let restarts = profile(&dataset.topology, index, &dataset.clock).restarts;
                let counter = &columns[0];
                let grown = (1..counter.len()).filter(|step| counter[*step] > counter[step - 1]);
                let grown: Vec<u64> = grown.map(|step| step as u64).collect();
                assert_eq!(grown, restarts.steps());
                restart_count += grown.len();
            }
            GroupKind::Cpu(index) | GroupKind::Network(index) => {
                for step in profile(&dataset.topology, index, &dataset.clock).restarts.steps() {
                    let step = *step as usize;
                    for column in &columns[..2] {
                        let usual = column[step - 1] / step as f64;
                        assert!(column[step] < usual * 20.0 + 1e5, "{:?} step {step}", group.kind);
                    }
                }
            }
            _ => {}
        }
    }
    assert!(restart_count >= 3, "{restart_count}");
}

#[test]
fn buckets_are_cumulative_and_add_up_to_count_and_codes() {
    let dataset = dataset(&["--services", "1"]);
    let last_bucket = BUCKET_BOUNDS.len();
    let mut checked = 0;
    for (group, columns) in groups_with_values(&dataset) {
        let GroupKind::Http(..) = group.kind else { continue };
        assert_eq!(label(&group.labels[last_bucket], "le"), "+Inf");
        for step in 0..columns[0].len() {
            for bucket in 1..=last_bucket {
                assert!(columns[bucket - 1][step] <= columns[bucket][step]);
            }
            let count = columns[last_bucket + 2][step];
            assert_eq!(columns[last_bucket][step], count);
            assert_eq!(columns[last_bucket + 3..].iter().map(|codes| codes[step]).sum::<f64>(), count);
            let sum = columns[last_bucket + 1][step];
            assert!(sum >= 0.0 && sum <= count * 16.0);
        }
        checked += 1;
    }
    assert_eq!(checked, 16);
}

#[test]
fn the_modes_of_a_processor_add_up_to_elapsed_time() {
    let dataset = dataset(&["--services", "1"]);
    for (group, columns) in groups_with_values(&dataset) {
        let GroupKind::NodeCpu(..) = group.kind else { continue };
        assert_eq!(columns.len(), CPU_MODES.len());
        let elapsed = |step: usize| columns.iter().map(|column| column[step]).sum::<f64>();
        for step in 1..columns[0].len() {
            assert!((elapsed(step) - elapsed(step - 1) - 15.0).abs() < 1e-6, "step {step}");
        }
    }
}

#[test]
fn each_pod_is_in_exactly_one_phase() {
    let dataset = dataset(&[]);
    let mut pending_count = 0.0;
    for (group, columns) in groups_with_values(&dataset) {
        let GroupKind::PodStatus(_) = group.kind else { continue };
        for step in 0..columns[0].len() {
            let phases = columns[..5].iter().map(|column| column[step]);
            assert_eq!(phases.sum::<f64>(), 1.0);
            pending_count += columns[0][step];
        }
    }
    assert!(pending_count > 0.0);
}

#[test]
fn memory_and_disk_are_whole_pages_and_processor_time_whole_nanoseconds() {
    let dataset = dataset(&["--services", "1"]);
    for (group, columns) in groups_with_values(&dataset) {
        match group.kind {
            GroupKind::Memory(_) => {
                for column in &columns[..5] {
                    assert!(column.iter().all(|value| value % 4096.0 == 0.0));
                }
                let changes = columns[0].windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert!(changes > columns[0].len() / 10, "working sets walk");
                assert!(changes < columns[0].len() / 2, "working sets have plateaus");
            }
            GroupKind::Cpu(_) => {
                for value in columns.iter().take(3).flatten() {
                    assert_eq!((value * 1e9).round() / 1e9, *value);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn load_follows_the_day() {
    let dataset = dataset(&[]);
    let mut ratios = BTreeMap::new();
    for (group, columns) in groups_with_values(&dataset) {
        let GroupKind::Network(index) = group.kind else { continue };
        let container = &dataset.topology.containers[index];
        if container.position == 0 {
            let grown = |first: usize, last: usize| (columns[1][last] - columns[1][first]).max(1.0);
            let restarts = profile(&dataset.topology, index, &dataset.clock).restarts;
            if restarts.steps().is_empty() {
                ratios.insert(index, grown(2_000, 3_000) / grown(4_700, 5_700));
            }
        }
    }
    assert!(!ratios.is_empty());
    assert!(ratios.values().all(|ratio| *ratio > 1.2), "{ratios:?}");
}

#[test]
fn the_way_steps_are_cut_into_runs_does_not_matter() {
    let dataset = dataset(&["--services", "1", "--days", "0.1"]);
    for group in &dataset.plan.groups {
        let whole = group_values(&dataset, group);
        let mut model = model(&dataset.topology, &dataset.clock, group.kind);
        let mut first_step = 0;
        for step_count in [1, 7, 480, 88].map(|count: usize| count.min(576)) {
            let mut values = vec![f64::NAN; model.series_count() * step_count];
            model.fill(&Run { clock: &dataset.clock, first_step, step_count }, &mut values);
            for (column, run) in whole.iter().zip(values.chunks_exact(step_count)) {
                let first = first_step as usize;
                assert_eq!(&column[first..first + step_count], run, "{:?}", group.kind);
            }
            first_step += step_count as u64;
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_values_and_another_seed_others() {
    let flags = ["--services", "1", "--days", "0.05"];
    let values = |seed: &str| -> Vec<Vec<f64>> {
        let dataset = dataset(&[&flags[..], &["--seed", seed]].concat());
        dataset.plan.groups.iter().flat_map(|group| group_values(&dataset, group)).collect()
    };
    assert_eq!(values("4"), values("4"));
    assert_ne!(values("4"), values("5"));
}

//! `kill -9` while three protocols write: no acknowledged sample is lost, none is doubled, none is invented.
//!
//! Each cycle starts the real binary on the same directory, checks everything that was ever acknowledged, writes over
//! Flight, remote write and OTLP at once, in most cycles while heads are flushed, blocks compacted or snapshots taken,
//! with WAL segments so small that they rotate all the time, and kills it after a random number of acknowledgements.
//! Snapshots that were answered for must be whole. `MYTSDB_CRASH_CYCLES` says how many cycles, `MYTSDB_CRASH_SEED` repeats
//! a run's choices (not its interleaving).

mod check;
mod ledger;
mod power_cut;
mod process;
mod writers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tokio::task::JoinSet;

use self::ledger::{Acknowledgements, Ledger, Random};
use self::process::ServerProcess;

const CYCLES: u64 = 50;
/// Most acknowledgements before the kill.
const ACKNOWLEDGEMENTS_MAX: u64 = 120;
/// Snapshots of a cycle that are verified, the last ones.
const CHECKED_SNAPSHOTS_MAX: usize = 2;
/// Writers notice the kill as a broken connection; one that does not is a failure.
const WRITERS_END_WAIT: Duration = Duration::from_secs(60);

#[test]
fn kill_minus_nine_loses_and_doubles_no_acknowledged_sample() {
    let cycles = environment("MYTSDB_CRASH_CYCLES").unwrap_or(CYCLES);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = environment("MYTSDB_CRASH_SEED").unwrap_or(now.subsec_nanos().into());
    println!("MYTSDB_CRASH_SEED={seed}, {cycles} cycles");
    let mut random = Random::new(seed);
    let directory = TempDir::new().unwrap();
    let base_ms = now.as_millis() as i64 - 12 * 3_600_000;
    let ledgers: Vec<Arc<Ledger>> = ["flight-0", "flight-1", "remote-0", "remote-1", "otlp-0", "otlp-1"]
        .into_iter()
        .map(|writer| Arc::new(Ledger::new(writer, base_ms)))
        .collect();
    let runtime = mytsdb::runtime().unwrap();
    let data_dir = directory.path().join("data");
    let mut during: BTreeMap<Upkeep, u64> = BTreeMap::new();
    let mut snapshot_count = 0;
    for cycle in 0..cycles {
        let segment_size = format!("--wal-segment-size={}", 1 << (10 + random.below(16)));
        let server = ServerProcess::start_with(directory.path(), &data_dir, &[&segment_size]);
        // Everything is compared at the end; on the way one writer's, for speed.
        let writer = &ledgers[random.below(ledgers.len() as u64) as usize];
        check::all(&server, std::slice::from_ref(writer), &format!("before cycle {cycle}"));
        let upkeep = Upkeep::ALL[random.below(Upkeep::ALL.len() as u64) as usize];
        let acknowledgement_count = 1 + random.below(ACKNOWLEDGEMENTS_MAX);
        let killed = write_and_kill(server, &ledgers, &mut random, acknowledgement_count, upkeep);
        for name in runtime.block_on(killed) {
            process::check(&data_dir.join("snapshots").join(&name));
            snapshot_count += 1;
        }
        *during.entry(upkeep).or_default() += 1;
        // Unanswered snapshots may be there, too; what they hold must not fill the disk.
        let _there_may_be_none = std::fs::remove_dir_all(data_dir.join("snapshots"));
    }
    let server = ServerProcess::start(directory.path());
    check::all(&server, &ledgers, "at the end");
    for ledger in &ledgers {
        assert!(ledger.acknowledged_count() > 0, "{} never got through", ledger.writer);
    }
    server.kill();
    process::check(&data_dir);
    let acknowledged_count: u64 = ledgers.iter().map(|ledger| ledger.acknowledged_count()).sum();
    println!(
        "{acknowledged_count} acknowledged samples survived {cycles} kills ({during:?}); \
         {snapshot_count} snapshots are whole"
    );
}

/// What goes on beside the writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Upkeep {
    Nothing,
    Flush,
    Compact,
    Snapshot,
}

impl Upkeep {
    const ALL: [Self; 4] = [Self::Nothing, Self::Flush, Self::Compact, Self::Snapshot];
}

/// Returns the names of the snapshots that were answered for.
async fn write_and_kill(
    server: ServerProcess,
    ledgers: &[Arc<Ledger>],
    random: &mut Random,
    acknowledgement_count: u64,
    upkeep: Upkeep,
) -> Vec<String> {
    let acknowledgements = Arc::new(Acknowledgements::default());
    let mut tasks = JoinSet::new();
    for ledger in ledgers {
        let random = Random::new(random.bits());
        tasks.spawn(writers::write(
            server.addresses,
            Arc::clone(ledger),
            Arc::clone(&acknowledgements),
            random,
        ));
    }
    let http = server.addresses.http;
    let snapshots = Arc::new(Mutex::new(Vec::new()));
    match upkeep {
        Upkeep::Nothing => {}
        Upkeep::Flush => drop(tasks.spawn(writers::flush(http))),
        Upkeep::Compact => drop(tasks.spawn(writers::compact(http))),
        Upkeep::Snapshot => drop(tasks.spawn(writers::snapshot(http, Arc::clone(&snapshots)))),
    }
    acknowledgements.wait_for(acknowledgement_count).await;
    server.kill();
    let all_ended = async {
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    };
    let ended = tokio::time::timeout(WRITERS_END_WAIT, all_ended).await;
    assert!(ended.is_ok(), "a writer did not notice the kill within {WRITERS_END_WAIT:?}");
    let mut snapshots = snapshots.lock().unwrap();
    let checked = snapshots.len().saturating_sub(CHECKED_SNAPSHOTS_MAX);
    snapshots.split_off(checked)
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

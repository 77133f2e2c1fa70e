//! `kill -9` while three protocols write: no acknowledged sample is lost, none is doubled, none is invented.
//!
//! Each cycle starts the real binary on the same directory, checks everything that was ever acknowledged, writes over
//! Flight, remote write and OTLP at once (in about half of the cycles while the head is being flushed), and kills it
//! after a random number of acknowledgements. `MYTSDB_CRASH_CYCLES` says how many cycles, `MYTSDB_CRASH_SEED`
//! repeats a run's choices (not its interleaving).

mod check;
mod ledger;
mod process;
mod writers;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tokio::task::JoinSet;

use self::ledger::{Acknowledgements, Ledger, Random};
use self::process::ServerProcess;

const CYCLES: u64 = 20;
/// Most acknowledgements before the kill.
const ACKNOWLEDGEMENTS_MAX: u64 = 120;
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
    for cycle in 0..cycles {
        let server = ServerProcess::start(directory.path());
        check::all(&server, &ledgers, &format!("before cycle {cycle}"));
        let is_flushing = random.below(2) == 0;
        let acknowledgement_count = 1 + random.below(ACKNOWLEDGEMENTS_MAX);
        runtime.block_on(write_and_kill(server, &ledgers, &mut random, acknowledgement_count, is_flushing));
    }
    let server = ServerProcess::start(directory.path());
    check::all(&server, &ledgers, "at the end");
    for ledger in &ledgers {
        assert!(ledger.acknowledged_count() > 0, "{} never got through", ledger.writer);
    }
    let acknowledged_count: u64 = ledgers.iter().map(|ledger| ledger.acknowledged_count()).sum();
    println!("{acknowledged_count} acknowledged samples survived {cycles} kills");
}

async fn write_and_kill(
    server: ServerProcess,
    ledgers: &[Arc<Ledger>],
    random: &mut Random,
    acknowledgement_count: u64,
    is_flushing: bool,
) {
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
    if is_flushing {
        tasks.spawn(writers::flush(server.addresses.http));
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
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

//! Torture: random operations against the engine and a map at once; every answer is compared sample by sample.
//!
//! A run is a row of *lives*: a life is one data directory, [`LIFE_OPERATIONS`] operations, its own seed and its own
//! shape (tenants, churn, limits). `MYTSDB_TORTURE_SEED` repeats a run; a life that failed prints its own seed, and
//! with that seed it is the first life of the run. `MYTSDB_TORTURE_OPERATIONS` says how many operations in all.

mod checks;
mod deletes;
mod histograms;
mod model;
mod query;
mod random;
mod series;
mod upkeep;
mod world;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use self::random::Random;
use self::world::World;

/// Operations of a run, unless the environment says otherwise.
const OPERATIONS: u64 = 10_000;
/// Operations of a life: enough for the data to outlive retention several times.
const LIFE_OPERATIONS: u64 = 5_000;

#[test]
fn random_operations_agree_with_a_map() {
    let operations = environment("MYTSDB_TORTURE_OPERATIONS").unwrap_or(OPERATIONS).max(1);
    let seed = environment("MYTSDB_TORTURE_SEED").unwrap_or_else(random::from_the_system);
    println!("MYTSDB_TORTURE_SEED={seed} MYTSDB_TORTURE_OPERATIONS={operations}");
    let life_count = operations.div_ceil(LIFE_OPERATIONS);
    let next_life = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(life_count as usize);
    let tallies: Vec<world::Tally> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut tally = world::Tally::default();
                    loop {
                        let number = next_life.fetch_add(1, Ordering::Relaxed);
                        if number >= life_count {
                            return tally;
                        }
                        let left = operations - number * LIFE_OPERATIONS;
                        tally.add(&live(life_seed(seed, number), left.min(LIFE_OPERATIONS)));
                    }
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut tally = world::Tally::default();
    tallies.iter().for_each(|other| tally.add(other));
    println!("{life_count} lives agreed: {tally}");
}

/// The first life has the run's seed, so that a failed life can be repeated alone.
fn life_seed(seed: u64, number: u64) -> u64 {
    if number == 0 { seed } else { Random::new(seed ^ number.rotate_left(32)).bits() }
}

/// Lives one life; a failure prints how to repeat it and what came before.
fn live(seed: u64, operations: u64) -> world::Tally {
    let mut world = World::new(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..operations {
            world.step();
        }
        world.finish();
    }));
    if let Err(panic) = outcome {
        eprintln!(
            "torture failed at operation {} of the life with MYTSDB_TORTURE_SEED={seed} \
             MYTSDB_TORTURE_OPERATIONS={operations}\n{}",
            world.operation_number(),
            world.describe()
        );
        resume_unwind(panic);
    }
    world.tally()
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

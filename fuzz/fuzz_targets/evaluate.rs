//! PromQL over a few stored series: an error or an answer, in bounded time and memory, and never a panic.
//!
//! The first bytes of the input choose the times of the query, the rest is its text.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use mytsdb_promql::{CancelReason, Cancellation, Engine, EngineOptions, EvalError, ParseOptions, parse};
use mytsdb_storage::model::{LabelSet, TenantId};
use mytsdb_storage::{Snapshot, Storage, StorageOptions, WriteBatch};

const TIMEOUT: Duration = Duration::from_millis(500);
/// An evaluation that runs so much longer than it may does not look at its cancellation.
const SLACK: Duration = Duration::from_secs(10);

struct Stored {
    snapshot: Snapshot,
    engine: Engine,
    _storage: Storage,
}

fn stored() -> &'static Stored {
    static STORED: OnceLock<Stored> = OnceLock::new();
    STORED.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("mytsdb-fuzz-{}", std::process::id()));
        let mut options = StorageOptions::new(&folder);
        options.limits.retention_ms = None;
        let storage = Storage::open(options, 0).unwrap();
        let specials = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e308, f64::from_bits(0x7ff0_0000_0000_0002)];
        let (mut labels, mut times, mut values, mut ends) = (vec![], vec![], vec![], vec![]);
        for name in ["a", "b", "a_total", "h_bucket"] {
            for number in 0..4_u8 {
                let (i, le) = (number.to_string(), ["0.1", "1", "+Inf", "x"][usize::from(number)]);
                labels.push(LabelSet::from_pairs([("__name__", name), ("i", i.as_str()), ("le", le)]).unwrap());
                for sample in 0..60_u32 {
                    times.push(i64::from(sample) * 10_000 + i64::from(number) * i64::from(sample % 3));
                    let special = (sample % 7 == 3 && number == 2).then(|| specials[sample as usize % specials.len()]);
                    values.push(special.unwrap_or(f64::from(sample * u32::from(number + 1) % 41)));
                }
                ends.push(times.len());
            }
        }
        let keys: Vec<u128> = labels.iter().map(|set| storage.series_key(set.encoded().as_bytes())).collect();
        let batch = WriteBatch {
            keys: &keys,
            sample_ends: &ends,
            timestamps_ms: &times,
            values: &values,
            starts: &[],
            labels: &labels,
            histograms: &[],
            exemplars: &[],
            metadata: &[],
        };
        storage.write(&TenantId::anonymous(), &batch, 1_000_000).unwrap();
        let options = EngineOptions { query_bytes_max: 16 << 20, thread_count: 1, ..EngineOptions::default() };
        let snapshot = storage.reader(&TenantId::anonymous());
        // The head is in memory; what is on disk is not needed again.
        let _ = std::fs::remove_dir_all(&folder);
        Stored { snapshot, engine: Engine::new(options), _storage: storage }
    })
}

/// Cancels one evaluation after the timeout, without a thread for each.
fn watched() -> Arc<std::sync::Mutex<Option<(Instant, Cancellation)>>> {
    static WATCHED: OnceLock<Arc<std::sync::Mutex<Option<(Instant, Cancellation)>>>> = OnceLock::new();
    Arc::clone(WATCHED.get_or_init(|| {
        let slot = Arc::new(std::sync::Mutex::new(None::<(Instant, Cancellation)>));
        let watched = Arc::clone(&slot);
        std::thread::spawn(move || loop {
            std::thread::sleep(TIMEOUT / 10);
            if let Some((began, cancellation)) = &*watched.lock().unwrap()
                && began.elapsed() > TIMEOUT
            {
                cancellation.cancel(CancelReason::TimedOut);
            }
        });
        slot
    }))
}

fuzz_target!(|input: (u8, &str)| {
    let (times, text) = input;
    let Ok(tree) = parse(text, &ParseOptions::default()) else { return };
    let Stored { snapshot, engine, .. } = stored();
    let cancellation = Cancellation::default();
    let slot = watched();
    let began = Instant::now();
    *slot.lock().unwrap() = Some((began, cancellation.clone()));
    let outcome = match times {
        0..128 => engine.instant(snapshot, &tree, i64::from(times) * 7_000, &cancellation),
        _ => {
            let step_ms = [1, 999, 10_000, 60_000][usize::from(times % 4)];
            let start_ms = i64::from(times - 128) * 5_000;
            engine.range(snapshot, &tree, start_ms, start_ms + step_ms * i64::from(times), step_ms, &cancellation)
        }
    };
    slot.lock().unwrap().take();
    assert!(began.elapsed() < TIMEOUT + SLACK, "{text:?} ran for {:?}", began.elapsed());
    match outcome {
        Ok(output) => assert!(output.stats.peak_bytes <= 16 << 20, "{text:?}"),
        Err(EvalError::TooManyBytes { needed, limit, .. }) => assert!(needed > limit, "{text:?}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

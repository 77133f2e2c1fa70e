//! Which rows belong to this pod, and which of them to which worker. Pure.
//!
//! A GPU belongs to one pod and one worker, whatever the order of the file: so its series stay in order.

use std::str::FromStr;

use super::recording::Recording;
use crate::k8s::model::rng::hash;

/// Seeds of the two hashes, so that the workers of a pod do not get uneven shares.
const SHARD_SEED: u64 = 1;
const WORKER_SEED: u64 = 2;

/// A part of the GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part; below `count`.
    pub ordinal: u64,
    /// How many parts there are.
    pub count: u64,
}

/// A shard as it is written: `0/3`, or `auto/3` for the number at the end of the host's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardText {
    /// `None` = the number at the end of the host's name.
    ordinal: Option<u64>,
    count: u64,
}

impl FromStr for ShardText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no shard; write ORDINAL/COUNT such as 0/3, or auto/3");
        let (ordinal, count) = text.split_once('/').ok_or_else(wrong)?;
        let count: u64 = count.parse().ok().filter(|count| (1..=10_000).contains(count)).ok_or_else(wrong)?;
        let ordinal = match ordinal {
            "auto" => None,
            number => Some(number.parse().ok().filter(|ordinal| *ordinal < count).ok_or_else(wrong)?),
        };
        Ok(Self { ordinal, count })
    }
}

impl ShardText {
    /// The shard of a host; a StatefulSet calls its pods `name-0`, `name-1`, ….
    ///
    /// # Errors
    /// What is wrong with the host's name.
    pub fn of_host(self, host: &str) -> Result<Shard, String> {
        let wrong = || {
            let count = self.count;
            format!(
                "the host is called {host:?}; --shard auto/{count} needs a name that ends in - and a number below {count}"
            )
        };
        let number = || host.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        let ordinal =
            self.ordinal.or_else(number).filter(|ordinal| *ordinal < self.count).ok_or_else(wrong)?;
        Ok(Shard { ordinal, count: self.count })
    }
}

/// The rows of each worker of `shard`, in order, as positions in the recording.
pub fn shares(recording: &Recording, shard: Shard, worker_count: usize) -> Vec<Vec<u32>> {
    let worker_count = worker_count.max(1);
    let worker_of: Vec<Option<usize>> = recording
        .gpus
        .iter()
        .map(|gpu| {
            let parts: Vec<u64> = gpu.key.bytes().map(u64::from).collect();
            let is_mine = hash(SHARD_SEED, &parts) % shard.count.max(1) == shard.ordinal;
            is_mine.then(|| (hash(WORKER_SEED, &parts) % worker_count as u64) as usize)
        })
        .collect();
    let mut shares = vec![Vec::new(); worker_count];
    for (position, row) in recording.rows.iter().enumerate() {
        let series = recording.series.get(row.series as usize);
        let worker = series.and_then(|series| worker_of.get(series.gpu).copied().flatten());
        if let Some(share) = worker.and_then(|worker| shares.get_mut(worker)) {
            // `read` has a limit far below.
            share.push(position as u32);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::recording::{Gpu, Row, Series};

    #[test]
    fn every_row_has_one_worker_of_one_pod_and_a_gpu_stays_together() {
        let gpu_count = 247;
        let mut recording = Recording::default();
        for gpu in 0..gpu_count {
            recording.gpus.push(Gpu { key: format!("GPU-{gpu}"), ..Gpu::default() });
            recording.series.push(Series {
                metric: "DCGM_FI_DEV_GPU_UTIL".to_owned(),
                labels: Vec::new(),
                gpu,
                known: crate::gpu::metric::known(""),
                first_value: 0.0,
                last_value: 0.0,
            });
        }
        for round in 0..2 {
            let rows = (0..gpu_count).map(|gpu| Row { series: gpu as u32, time_ms: round, value: 0.0 });
            recording.rows.extend(rows);
        }
        let mut seen = Vec::new();
        for ordinal in 0..3 {
            for share in shares(&recording, Shard { ordinal, count: 3 }, 2) {
                // A sixth each, about, and both rows of each GPU.
                assert!((40..130).contains(&share.len()) && share.len() % 2 == 0, "{}", share.len());
                assert!(share.is_sorted());
                seen.extend(share);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..2 * gpu_count as u32).collect::<Vec<_>>());
    }

    #[test]
    fn shards_are_numbers_or_come_from_the_host() {
        let shard = |text: &str, host: &str| text.parse::<ShardText>().and_then(|text| text.of_host(host));
        assert_eq!(shard("1/3", "x"), Ok(Shard { ordinal: 1, count: 3 }));
        assert_eq!(shard("auto/3", "gpu-replay-2"), Ok(Shard { ordinal: 2, count: 3 }));
        for (text, host) in
            [("3/3", "x"), ("1", "x"), ("a/3", "x"), ("0/0", "x"), ("auto/2", "r-2"), ("auto/2", "r")]
        {
            assert!(shard(text, host).is_err(), "{text} {host}");
        }
    }
}

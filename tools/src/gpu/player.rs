//! Plays the rows of one worker: which row is next, with which time and value.
//!
//! Not here: the rate (see [`super::run`]), sending. The clock is handed in.
//!
//! Invariants: the times of a series only grow, in every mode; a row of mode `shift` is not before its time.

use std::collections::HashMap;
use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::evolve::Evolution;
use super::recording::Recording;

/// Which time a sample gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TimeMode {
    /// That of sending it.
    Now,
    /// That of the file.
    Original,
    /// That of the file, moved so that the recording ends when the replay begins.
    Shift,
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Loops that are over.
    #[serde(rename = "loop")]
    pub loop_index: u64,
    /// Rows of the next one that are over.
    pub row: usize,
}

/// A sample to be sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Position in [`Recording::series`].
    pub series: u32,
    /// Milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The value.
    pub value: f64,
}

/// What all workers play.
#[derive(Debug, Clone)]
pub struct Score {
    /// The file.
    pub recording: Arc<Recording>,
    /// Which times samples get.
    pub time: TimeMode,
    /// What is added to times of mode `shift`.
    pub offset_ms: i64,
    /// Loops to play; `None` = for ever.
    pub loop_count: Option<u64>,
    /// How values move.
    pub evolution: Evolution,
}

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A row, as soon as it is wanted.
    Ready,
    /// A row, but not before this time.
    NotBefore(i64),
    /// Nothing.
    Over,
}

/// Plays the rows of one worker.
#[derive(Debug)]
pub struct Player {
    score: Score,
    rows: Vec<u32>,
    position: Position,
    loop_ms: i64,
    /// The last time of each series, in mode `now`.
    last_ms: HashMap<u32, i64>,
}

impl Player {
    /// Begins at `position`.
    pub fn new(score: Score, rows: Vec<u32>, position: Position) -> Self {
        let loop_ms = score.recording.loop_ms();
        Self { score, rows, position, loop_ms, last_ms: HashMap::new() }
    }

    /// How far it is: what [`Player::take`] gave is behind it.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What is next.
    pub fn next(&self) -> Next {
        let is_over = self.score.loop_count.is_some_and(|count| self.position.loop_index >= count);
        let row =
            self.rows.get(self.position.row).and_then(|row| self.score.recording.rows.get(*row as usize));
        match (row, self.score.time) {
            _ if is_over => Next::Over,
            (None, _) => Next::Over,
            (Some(row), TimeMode::Shift) => Next::NotBefore(self.shifted_ms(row.time_ms)),
            _ => Next::Ready,
        }
    }

    fn shifted_ms(&self, time_ms: i64) -> i64 {
        time_ms + self.score.offset_ms + self.loop_ms * self.position.loop_index as i64
    }

    /// Takes at most `count` rows whose time has come.
    pub fn take(&mut self, count: usize, now_ms: i64) -> Vec<Sample> {
        let recording = Arc::clone(&self.score.recording);
        let mut samples = Vec::new();
        while samples.len() < count {
            let is_due = match self.next() {
                Next::Over => false,
                Next::Ready => true,
                Next::NotBefore(time_ms) => time_ms <= now_ms,
            };
            let row = self.rows.get(self.position.row).and_then(|row| recording.rows.get(*row as usize));
            let (true, Some(row)) = (is_due, row) else { break };
            let time_ms = match self.score.time {
                TimeMode::Original => row.time_ms,
                TimeMode::Shift => self.shifted_ms(row.time_ms),
                TimeMode::Now => {
                    let last_ms = self.last_ms.entry(row.series).or_insert(i64::MIN);
                    *last_ms = now_ms.max(last_ms.saturating_add(1));
                    *last_ms
                }
            };
            let value = self.score.evolution.value(&recording, row, self.position.loop_index);
            samples.push(Sample { series: row.series, time_ms, value });
            self.position.row += 1;
            if self.position.row == self.rows.len() {
                self.position = Position { loop_index: self.position.loop_index + 1, row: 0 };
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::evolve::Evolve;
    use crate::gpu::recording::Row;

    fn player(time: TimeMode, loop_count: Option<u64>) -> Player {
        let rows = [(0, 1_000), (1, 1_000), (0, 3_000)];
        let rows = rows.map(|(series, time_ms)| Row { series, time_ms, value: f64::from(series) });
        let recording = Recording { rows: rows.to_vec(), has_times: true, ..Recording::default() };
        let evolution = Evolution { evolve: Evolve::Hold, seed: 1, loop_seconds: 1.0 };
        let recording = Arc::new(recording);
        let score = Score { recording, time, offset_ms: 10_000, loop_count, evolution };
        Player::new(score, vec![0, 1, 2], Position::default())
    }

    fn times(samples: &[Sample]) -> Vec<i64> {
        samples.iter().map(|sample| sample.time_ms).collect()
    }

    #[test]
    fn times_of_a_series_only_grow_in_mode_now() {
        let mut player = player(TimeMode::Now, Some(2));
        assert_eq!(times(&player.take(4, 50_000)), [50_000, 50_000, 50_001, 50_002]);
        assert_eq!(times(&player.take(9, 49_000)), [50_001, 50_003]);
        assert_eq!((player.next(), player.position()), (Next::Over, Position { loop_index: 2, row: 0 }));
    }

    #[test]
    fn original_times_are_those_of_the_file() {
        let mut player = player(TimeMode::Original, Some(1));
        assert_eq!(times(&player.take(9, 0)), [1_000, 1_000, 3_000]);
    }

    #[test]
    fn shifted_rows_keep_their_distances_and_wait_for_their_time() {
        let mut player = player(TimeMode::Shift, None);
        assert_eq!(times(&player.take(9, 13_000)), [11_000, 11_000, 13_000]);
        // The next loop begins one usual distance after the last row.
        assert_eq!(player.next(), Next::NotBefore(15_000));
        assert!(player.take(9, 14_999).is_empty());
        assert_eq!(times(&player.take(9, 16_000)), [15_000, 15_000]);
        assert_eq!(player.position(), Position { loop_index: 1, row: 2 });
    }

    #[test]
    fn a_worker_without_rows_has_nothing_to_do() {
        let mut player = Player { rows: Vec::new(), ..player(TimeMode::Now, None) };
        assert_eq!((player.next(), player.take(1, 0)), (Next::Over, Vec::new()));
    }
}

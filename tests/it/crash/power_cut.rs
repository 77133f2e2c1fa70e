//! The power goes while the server writes to a real file system: no acknowledged sample is lost.
//!
//! The data lie on ext4 in an image file. At a random moment the server is stopped in its tracks and the image copied:
//! the copy has what ext4 wrote to the disk and nothing of the page cache, as a disk after a power cut. It is mounted
//! (which replays ext4's journal), a server is started on it, and everything acknowledged before must be there.
//!
//! Needs root, loop devices and mkfs.ext4, else it says so and does nothing. Everything happens in a mount and
//! process namespace of its own: whatever ends the test, mounts, loop devices and servers end with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::check;
use super::environment;
use super::ledger::{Acknowledgements, Ledger, Random};
use super::process::ServerProcess;
use super::writers;

const CUTS: u64 = 20;
/// Most acknowledgements between two cuts.
const ACKNOWLEDGEMENTS_MAX: u64 = 60;
const IMAGE_BYTES: u64 = 256 << 20;
/// Set inside the namespaces.
const INSIDE: &str = "MYTSDB_POWER_CUT_INSIDE";

#[test]
fn a_power_cut_loses_no_acknowledged_sample() {
    if inside("crash::power_cut::a_power_cut_loses_no_acknowledged_sample") {
        let cuts = environment("MYTSDB_POWER_CUTS").unwrap_or(CUTS);
        let (acknowledged_count, lost_count) = cut_power(Cuts { count: cuts, is_control: false });
        assert_eq!(lost_count, 0);
        eprintln!("{acknowledged_count} acknowledged samples survived {cuts} power cuts");
    }
}

/// The control: were nothing ever synced, this test would notice. The kernel writes now and then by itself, so one cut
/// alone may lose nothing.
#[test]
fn a_power_cut_without_syncing_loses_samples() {
    if inside("crash::power_cut::a_power_cut_without_syncing_loses_samples") {
        let (acknowledged_count, lost_count) = cut_power(Cuts { count: CUTS, is_control: true });
        eprintln!(
            "without syncing {lost_count} of {acknowledged_count} acknowledged samples were lost, as was to be"
        );
        assert!(lost_count > 0, "a copy of the image holds what was never synced");
    }
}

/// Returns whether this is the run inside the namespaces; outside it starts that run and waits for it.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if let Err(reason) = prerequisites() {
        eprintln!("skipped: {reason}");
        return false;
    }
    let outcome = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
    eprintln!("{text}{errors}");
    assert!(outcome.status.success(), "inside the namespaces: {}\n{text}\n{errors}", outcome.status);
    assert!(text.contains("1 passed"), "the test did not run inside the namespaces: {text}");
    false
}

/// Tries in a namespace whether an image can be made and mounted.
fn prerequisites() -> Result<(), String> {
    let directory = TempDir::new().unwrap();
    let script = "set -e; truncate -s 16M image; mkfs.ext4 -q -F image; mkdir point; mount -o loop image point; umount point";
    let outcome = Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--propagation",
            "private",
            "--",
            "sh",
            "-c",
            script,
        ])
        .current_dir(directory.path())
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    let reason = String::from_utf8_lossy(&outcome.stderr).trim().replace('\n', "; ");
    if outcome.status.success() { Ok(()) } else { Err(format!("no ext4 on a loop device here: {reason}")) }
}

/// How the power is cut.
#[derive(Clone, Copy)]
struct Cuts {
    /// How often, at most.
    count: u64,
    /// Nothing is synced: not by the WAL, and no flush does it. The first loss is the last cut.
    is_control: bool,
}

/// Cuts the power; returns how many samples were acknowledged and how many of them were lost.
fn cut_power(cuts: Cuts) -> (u64, u64) {
    let wal_sync = if cuts.is_control { "none" } else { "group" };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = environment("MYTSDB_CRASH_SEED").unwrap_or(now.subsec_nanos().into());
    eprintln!("MYTSDB_CRASH_SEED={seed}, at most {} power cuts, --wal-sync={wal_sync}", cuts.count);
    let mut random = Random::new(seed);
    let directory = TempDir::new().unwrap();
    let disk = Volume::create(directory.path());
    let base_ms = now.as_millis() as i64 - 12 * 3_600_000;
    let ledgers: Vec<Arc<Ledger>> = ["flight-0", "flight-1", "remote-0", "remote-1", "otlp-0", "otlp-1"]
        .into_iter()
        .map(|writer| Arc::new(Ledger::new(writer, base_ms)))
        .collect();
    let scratch = directory.path().join("server");
    std::fs::create_dir(&scratch).unwrap();
    let sync = format!("--wal-sync={wal_sync}");
    let server = ServerProcess::start_with(&scratch, &disk.point.join("data"), &[&sync]);
    let runtime = mytsdb::runtime().unwrap();
    let acknowledgements = Arc::new(Acknowledgements::default());
    let mut tasks = JoinSet::new();
    for ledger in &ledgers {
        let random = Random::new(random.bits());
        let (ledger, acknowledgements) = (Arc::clone(ledger), Arc::clone(&acknowledgements));
        tasks.spawn_on(writers::write(server.addresses, ledger, acknowledgements, random), runtime.handle());
    }
    let mut wanted = 0;
    let (mut acknowledged_count, mut lost_count) = (0, 0);
    for cut in 0..cuts.count {
        if cuts.is_control && lost_count > 0 {
            break;
        }
        let flushing = (random.below(2) == 0 && !cuts.is_control)
            .then(|| tasks.spawn_on(writers::flush(server.addresses.http), runtime.handle()));
        wanted = acknowledgements.count().max(wanted) + 1 + random.below(ACKNOWLEDGEMENTS_MAX);
        runtime.block_on(acknowledgements.wait_for(wanted));
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        // What is acknowledged here was so before the power goes.
        let frozen: Vec<Arc<Ledger>> = ledgers.iter().map(|ledger| Arc::new(ledger.frozen())).collect();
        server.signal("STOP");
        let copy = disk.copy(directory.path());
        frozen.iter().zip(&ledgers).for_each(|(frozen, ledger)| frozen.extend_to(ledger));
        let when = format!("after power cut {cut}");
        let survivor = ServerProcess::start_with(&copy.directory, &copy.volume.point.join("data"), &[]);
        lost_count += check::lost(&survivor, &frozen, &when);
        survivor.kill();
        acknowledged_count = frozen.iter().map(|ledger| ledger.acknowledged_count()).sum();
        drop(copy);
        server.signal("CONT");
        if let Some(flushing) = flushing {
            flushing.abort();
        }
    }
    server.kill();
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    (acknowledged_count, lost_count)
}

/// An ext4 image and where it is mounted; unmounted when dropped.
struct Volume {
    image: PathBuf,
    point: PathBuf,
}

/// A copy of an image and the server's other files.
struct Copy {
    volume: Volume,
    directory: PathBuf,
}

impl Volume {
    fn create(directory: &Path) -> Self {
        let image = directory.join("disk.img");
        std::fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        Self::mount(image, directory.join("disk"))
    }

    fn mount(image: PathBuf, point: PathBuf) -> Self {
        std::fs::create_dir_all(&point).unwrap();
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point));
        Self { image, point }
    }

    /// Copies the image as it is, and mounts the copy. Nobody may be writing but the kernel; if that did, once more.
    fn copy(&self, directory: &Path) -> Copy {
        let directory = directory.join("copy");
        std::fs::create_dir_all(&directory).unwrap();
        let image = directory.join("snap.img");
        let changed = || std::fs::metadata(&self.image).unwrap().modified().unwrap();
        loop {
            let before = changed();
            run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(&image));
            if changed() == before {
                break;
            }
        }
        Copy { volume: Self::mount(image, directory.join("disk")), directory }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let outcome = Command::new("umount").arg(&self.point).output();
        if !outcome.is_ok_and(|outcome| outcome.status.success()) {
            let _goes_with_the_namespace = Command::new("umount").arg("-l").arg(&self.point).output();
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _replaced_next_time = std::fs::remove_file(&self.volume.image);
    }
}

fn run(command: &mut Command) {
    let outcome = command.output().unwrap();
    assert!(outcome.status.success(), "{command:?}: {}", String::from_utf8_lossy(&outcome.stderr));
}

//! Opening: lock, MANIFEST, blocks, WAL replay.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};
use rayon::prelude::*;
use tracing::{error, info, warn};

use super::counters::Counters;
use super::maintain::Maintenance;
use super::snapshot::remove_unfinished;
use super::tenant::Tenant;
use super::{Storage, StorageOptions};
use crate::block::layout::{BlockRef, remove_unlisted};
use crate::block::manifest::{Manifest, ManifestError, ManifestState};
use crate::block::reader::BlockReader;
use crate::block::tombstones::Tombstones;
use crate::block::view::BlockView;
use crate::damage::{DamageList, DamagedFile};
use crate::error::with_sources;
use crate::fs::FileSystem;
use crate::fs::disk::Disk;
use crate::fs::lock::LockError;
use crate::fs::space::DiskWatch;
use crate::head::{HeadReplay, ReplayedTenant};
use crate::limits::LimitsBook;
use crate::model::{SeriesKeys, TenantId};
use crate::wal::{ReplayError, WalOptions, WalWriter, delete_segments_below, list_aside, replay};

/// Why the engine does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An operation on a file failed.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory cannot be had for this process alone.
    #[error("cannot lock the data directory: {reason}")]
    Locked {
        /// Why.
        reason: String,
    },
    /// The MANIFEST, without which nobody knows which blocks count, cannot be read.
    #[error("cannot read the MANIFEST: {reason}")]
    Manifest {
        /// Why.
        reason: String,
    },
}

impl From<LockError> for OpenError {
    fn from(error: LockError) -> Self {
        Self::Locked { reason: with_sources(&error) }
    }
}

impl From<ManifestError> for OpenError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest { reason: with_sources(&error) }
    }
}

impl From<ReplayError> for OpenError {
    fn from(error: ReplayError) -> Self {
        let ReplayError::Io { operation, path, source } = error;
        Self::Io { operation, path, source }
    }
}

fn io_error<'p>(operation: &'static str, path: &'p Path) -> impl Fn(io::Error) -> OpenError + 'p {
    move |source| OpenError::Io { operation, path: path.to_owned(), source }
}

impl Storage {
    /// Opens (or creates) the data directory and replays the WAL. `now_ms` is the clock.
    ///
    /// # Errors
    /// [`OpenError`]. A damaged block is no error: it is left where it is, named in the log, and not served.
    pub fn open(options: StorageOptions, now_ms: i64) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(Disk), options, now_ms)
    }

    /// [`Storage::open`] on any file system.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub(crate) fn open_on(
        fs: Arc<dyn FileSystem>,
        options: StorageOptions,
        now_ms: i64,
    ) -> Result<Self, OpenError> {
        let data_dir = options.data_dir.as_path();
        let wal_dir = data_dir.join("wal");
        fs.create_directories(&wal_dir).map_err(io_error("create", &wal_dir))?;
        let lock = fs.lock(data_dir)?;
        let (manifest, listed) = Manifest::open(&fs, data_dir)?;
        let removed = remove_unlisted(fs.as_ref(), data_dir, &listed);
        for path in removed.map_err(io_error("clean", data_dir))? {
            warn!(path = %path.display(), "removed a file that no commit names");
        }
        for path in remove_unfinished(fs.as_ref(), data_dir).map_err(io_error("clean", data_dir))? {
            warn!(path = %path.display(), "removed a snapshot that was not finished");
        }
        let damage = Arc::new(DamageList::default());
        for path in list_aside(fs.as_ref(), &wal_dir).map_err(io_error("list", &wal_dir))? {
            damage.add(wal_damage(path, "kept aside by an earlier start".to_owned()));
        }
        let mut blocks = open_blocks(fs.as_ref(), data_dir, &listed, &damage);
        delete_segments_below(fs.as_ref(), &wal_dir, listed.wal_floor)
            .map_err(io_error("clean", &wal_dir))?;
        let progress = &options.replay_progress;
        let (head, outcome) = HeadReplay::run(|head| {
            replay(&fs, &wal_dir, listed.wal_floor, progress, |tenant, record| head.apply(tenant, record))
        });
        let outcome = outcome?;
        progress.finish();
        let head_meter = Arc::clone(head.meter());
        if head.orphan_sample_count > 0 {
            error!(
                sample_count = head.orphan_sample_count,
                "WAL has samples of series that it does not name"
            );
        }
        for (path, problem) in outcome.aside {
            damage.add(wal_damage(path, problem));
        }
        let disk = Arc::new(DiskWatch::new(&fs, data_dir, options.disk_reserve_bytes));
        disk.check();
        let limits = LimitsBook::new(options.limits.clone(), options.tenant_limits.clone());
        let tenants = restore_tenants(&limits, &mut blocks, head);
        let wal_options = WalOptions {
            sync: options.wal_sync,
            segment_bytes_max: options.wal_segment_bytes_max,
            disk: Arc::clone(&disk),
        };
        let wal = WalWriter::open(&fs, &wal_dir, outcome.next_sequence, outcome.valid_bytes, wal_options)
            .map_err(io_error("open the WAL in", &wal_dir))?;
        info!(
            block_count = listed.blocks.len(),
            wal_record_count = outcome.record_count,
            wal_bytes = outcome.valid_bytes,
            dropped_wal_bytes = outcome.dropped_bytes,
            "storage is open"
        );
        let storage = Self {
            fs,
            limits: ArcSwap::from_pointee(limits),
            keys: SeriesKeys::from_seed(random_seed()),
            epoch: RwLock::new(1),
            wal: Arc::new(wal),
            tenants: RwLock::new(tenants),
            maintenance: Mutex::new(Maintenance {
                manifest,
                next_block_id: listed.next_id,
                pending_wal_floor: None,
                is_relog_due: false,
                failed_full_ms: None,
                unflushed_since_ms: None,
            }),
            compaction: Mutex::default(),
            is_closing: AtomicBool::new(false),
            counters: Counters::default(),
            snapshots: Mutex::default(),
            newest_ms: AtomicI64::new(i64::MIN),
            head_meter,
            wal_dir,
            disk,
            damage,
            options,
            _lock: lock,
        };
        storage.restore_newest(now_ms);
        Ok(storage)
    }

    /// Finds the newest sample again; one far ahead of the clock does not count.
    fn restore_newest(&self, now_ms: i64) {
        for tenant in self.all_tenants() {
            let limit_ms = now_ms.saturating_add(tenant.limits().ahead_ms);
            let snapshot = tenant.snapshot();
            let in_blocks = snapshot.blocks.iter().map(|block| block.meta().max_ms);
            let in_head = snapshot.generations.iter().filter_map(|generation| generation.stats().span_ms);
            for newest_ms in in_blocks.chain(in_head.map(|(_, max_ms)| max_ms)).filter(|ms| *ms <= limit_ms) {
                self.newest_ms.fetch_max(newest_ms, Ordering::Relaxed);
            }
        }
    }
}

fn wal_damage(path: PathBuf, reason: String) -> DamagedFile {
    DamagedFile { path, reason, tenant: None, range: None }
}

/// A seed nobody outside can guess, so that nobody can make two series collide on purpose.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

fn restore_tenants(
    limits: &LimitsBook,
    blocks: &mut HashMap<TenantId, Vec<BlockView>>,
    head: HeadReplay,
) -> HashMap<TenantId, Arc<Tenant>> {
    let meter = Arc::clone(head.meter());
    let mut replayed = head.tenants;
    let mut names: Vec<TenantId> = blocks.keys().chain(replayed.keys()).cloned().collect();
    names.sort();
    names.dedup();
    let mut tenants = HashMap::new();
    for (number, name) in names.into_iter().enumerate() {
        let head = replayed.remove(&name).unwrap_or_else(|| ReplayedTenant::new(Arc::clone(&meter)));
        let blocks = blocks.remove(&name).unwrap_or_default();
        let tenant = Tenant::restored(name.clone(), number as u32, limits.of(&name), head, blocks);
        tenants.insert(name, Arc::new(tenant));
    }
    tenants
}

/// Opens all listed blocks in parallel; damaged ones are named in the log and left out.
fn open_blocks(
    fs: &dyn FileSystem,
    data_dir: &Path,
    listed: &ManifestState,
    damage: &Arc<DamageList>,
) -> HashMap<TenantId, Vec<BlockView>> {
    let opened: Vec<Option<(TenantId, BlockView)>> = listed
        .blocks
        .par_iter()
        .map(|block| {
            let tombstone_generation = listed.tombstones.get(block).copied();
            match open_block(fs, data_dir, block, tombstone_generation, damage) {
                Ok(view) => Some((block.tenant.clone(), view)),
                Err(problem) => {
                    let reason = with_sources(problem.as_ref());
                    error!(tenant = %block.tenant, block = block.id, reason, "block is quarantined");
                    damage.add(DamagedFile {
                        path: block.path(data_dir),
                        reason,
                        tenant: Some(block.tenant.clone()),
                        range: Some(block.day.range()),
                    });
                    None
                }
            }
        })
        .collect();
    let mut by_tenant: HashMap<TenantId, Vec<BlockView>> = HashMap::new();
    for (tenant, view) in opened.into_iter().flatten() {
        by_tenant.entry(tenant).or_default().push(view);
    }
    by_tenant
}

/// Opens a block with its tombstones. Without them it would answer with what was deleted, so they are part of it.
fn open_block(
    fs: &dyn FileSystem,
    data_dir: &Path,
    block: &BlockRef,
    tombstone_generation: Option<u64>,
    damage: &Arc<DamageList>,
) -> Result<BlockView, Box<dyn std::error::Error + Send + Sync>> {
    let reader = Arc::new(BlockReader::open_reporting(fs, &block.path(data_dir), damage)?);
    let tombstones = match tombstone_generation {
        None => None,
        Some(generation) => {
            let path = block.tombstone_path(data_dir, generation);
            Some(Arc::new(Tombstones::read(fs, &path, block.id, generation)?))
        }
    };
    Ok(BlockView { reader, tombstones })
}

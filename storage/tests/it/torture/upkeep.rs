//! What goes on behind the doors: compaction, cleaning up after deletes, snapshots.

use mytsdb_storage::{CompactScope, Storage, StorageOptions, check, restore};

use super::world::World;

impl World {
    /// One step of compaction, or all there is; the answers stay the same.
    pub(super) fn compact(&mut self, tenant: usize) {
        match self.random.below(4) {
            0 => {
                self.note("compact all", String::new());
                self.storage().compact_all(self.now_ms).unwrap();
            }
            1 => {
                self.note("compact what is due", String::new());
                self.storage().compact_one(self.now_ms, CompactScope::Due).unwrap();
            }
            _ => {
                self.note("compact once", String::new());
                self.storage().compact_one(self.now_ms, CompactScope::Everything).unwrap();
            }
        }
        self.query(tenant);
    }

    /// Rewrites the blocks of which something was deleted.
    pub(super) fn clean_tombstones(&mut self, tenant: usize) {
        self.note("clean tombstones", format!("tenant {tenant}"));
        let id = self.tenants[tenant].id.clone();
        self.storage().clean_tombstones(&id).unwrap();
        self.query(tenant);
    }

    /// Takes a snapshot, verifies it, restores it elsewhere and compares everything in there.
    pub(super) fn snapshot(&mut self) {
        let is_linked = self.random.one_in(2);
        self.note("snapshot", format!("restored with linked files: {is_linked}"));
        let name = format!("torture-{}", self.operation_number());
        let info = self.storage().snapshot(&name, self.now_ms, false).unwrap();
        let report = check(&info.path).unwrap();
        assert!(report.is_whole(), "{report:?}");
        let elsewhere = self.path().join("restored");
        restore(&info.path, &elsewhere, is_linked).unwrap();
        let options = StorageOptions { data_dir: elsewhere.clone(), ..self.options.clone() };
        let restored = Storage::open(options, self.now_ms).unwrap();
        self.compare_all(&restored);
        drop(restored);
        std::fs::remove_dir_all(&elsewhere).unwrap();
        std::fs::remove_dir_all(&info.path).unwrap();
    }
}

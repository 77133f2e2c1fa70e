//! What the server remembers between requests, so that it need not be decoded or written again and again.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use hashbrown::{HashMap, HashSet};
use mytsdb_storage::ResolvedSeries;
use mytsdb_storage::model::SeriesKeys;

use super::columns::Columns;
use super::templates::{Learned, Templates};

/// Entries remembered; beyond them the memory starts afresh.
const ENTRY_COUNT_MAX: usize = 100_000;

/// What is known, by digest.
#[derive(Debug, Default)]
pub struct Facts {
    metadata: HashSet<u128>,
    target_info: HashMap<u128, bool>,
    /// Metrics that came before.
    pub(super) templates: Templates,
}

impl Facts {
    /// Whether the storage has the metadata with this digest.
    pub(super) fn has_metadata(&self, digest: u128) -> bool {
        self.metadata.contains(&digest)
    }

    /// Whether the resource with this digest has a `target_info`, if it was seen before.
    pub(super) fn target_info(&self, digest: u128) -> Option<bool> {
        self.target_info.get(&digest).copied()
    }
}

/// Remembers metadata that the storage has, what was found out about resources, and metrics that may come again.
#[derive(Debug, Default)]
pub struct KnownMetadata {
    facts: RwLock<Facts>,
}

impl KnownMetadata {
    /// What is known now.
    pub fn facts(&self) -> RwLockReadGuard<'_, Facts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a request brought that is stored now, in these series; `keys` are those that its columns were made
    /// with.
    pub fn learn(&self, columns: &Columns<'_>, resolved: &ResolvedSeries, keys: &SeriesKeys) {
        let (metadata, target_info) = (&columns.metadata_digests, &columns.target_info);
        let is_worn = {
            let templates = &self.facts().templates;
            for repeated in &columns.repeated {
                templates.set_hints(repeated, &columns.keys, resolved);
            }
            templates.count(columns.template_use)
        };
        let series = (columns.keys.as_slice(), resolved);
        let mut scratch = Vec::new();
        let candidates = columns.candidates.iter();
        let learned: Vec<Learned> = candidates
            .filter_map(|candidate| Learned::new(candidate, series, (keys, &mut scratch)))
            .collect();
        if metadata.is_empty() && target_info.is_empty() && learned.is_empty() && !is_worn {
            return;
        }
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        if facts.metadata.len() + metadata.len() > ENTRY_COUNT_MAX {
            facts.metadata.clear();
        }
        if facts.target_info.len() + target_info.len() > ENTRY_COUNT_MAX {
            facts.target_info.clear();
        }
        if is_worn {
            facts.templates.clear();
        }
        facts.metadata.extend(metadata.iter().copied());
        facts.target_info.extend(target_info.iter().copied());
        learned.into_iter().for_each(|one| facts.templates.insert(one));
    }
}

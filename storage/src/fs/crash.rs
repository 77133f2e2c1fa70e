//! The disks that a power cut may leave, from the log of a [`MemoryFs`].
//!
//! What was synced is there. Of what was not, any part may be: each write kept, lost, torn or scattered by sectors, each
//! change of a name kept or lost. A lost write before a kept one leaves zeros.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::memory::{Event, FileId, MemoryFs};
use super::parent;

/// Granularity at which a disk writes.
const SECTOR_BYTES: usize = 512;

/// Random numbers for tests (SplitMix64), the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// What becomes of that which was not synced.
#[derive(Debug, Clone)]
pub(crate) enum Unsynced {
    /// All of it is lost.
    Lost,
    /// All of it is there.
    Kept,
    /// Any part of it is there.
    Random(Random),
}

/// A disk while its history is played: what is durable, and what is not yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, FileId>,
    pending_names: Vec<Event>,
    files: HashMap<FileId, Arc<Vec<u8>>>,
    pending_bytes: HashMap<FileId, Vec<Event>>,
}

impl Disk {
    /// Plays one event.
    pub(crate) fn play(&mut self, event: &Event) {
        match event {
            Event::Directory(path) => {
                self.directories.insert(path.clone());
            }
            Event::Write(id, ..) | Event::SetLength(id, _) => {
                self.pending_bytes.entry(*id).or_default().push(event.clone());
            }
            Event::SyncFile(id) => {
                let bytes = Arc::make_mut(self.files.entry(*id).or_default());
                for event in self.pending_bytes.remove(id).unwrap_or_default() {
                    apply_bytes(bytes, &event);
                }
            }
            Event::Create(..) | Event::Rename(..) | Event::Link(..) | Event::Remove(..) => {
                self.pending_names.push(event.clone());
            }
            Event::SyncDirectory(directory) => {
                let is_here = |event: &mut Event| directory_of(event) == directory;
                let due: Vec<Event> = self.pending_names.extract_if(.., is_here).collect();
                due.iter().for_each(|event| apply_name(&mut self.names, event));
            }
            Event::Mark(_) => {}
        }
    }

    /// How many writes and changes of names are not durable.
    pub(crate) fn pending_count(&self) -> usize {
        self.pending_names.len() + self.pending_bytes.values().map(Vec::len).sum::<usize>()
    }

    /// The disk that a power cut leaves now.
    pub(crate) fn image(&self, mut unsynced: Unsynced) -> MemoryFs {
        let mut names = self.names.clone();
        for event in &self.pending_names {
            if is_kept(&mut unsynced) {
                apply_name(&mut names, event);
            }
        }
        // In order, so that a seed gives one image.
        let ids: BTreeSet<FileId> = names.values().copied().collect();
        let mut files = HashMap::new();
        for id in ids {
            let mut bytes = self.files.get(&id).cloned().unwrap_or_default();
            for event in self.pending_bytes.get(&id).into_iter().flatten() {
                surviving(&mut unsynced, event)
                    .iter()
                    .for_each(|event| apply_bytes(Arc::make_mut(&mut bytes), event));
            }
            files.insert(id, bytes);
        }
        MemoryFs::with(self.directories.clone(), names, files)
    }
}

/// The directory whose entries an event changes; nothing is moved between directories here.
fn directory_of(event: &Event) -> &std::path::Path {
    match event {
        Event::Create(path, _) | Event::Rename(_, path) | Event::Link(_, path) | Event::Remove(path) => {
            parent(path)
        }
        _ => panic!("{event:?} changes no name"),
    }
}

fn is_kept(unsynced: &mut Unsynced) -> bool {
    match unsynced {
        Unsynced::Lost => false,
        Unsynced::Kept => true,
        Unsynced::Random(random) => random.below(2) == 0,
    }
}

/// What is left of a change to a file's bytes.
fn surviving(unsynced: &mut Unsynced, event: &Event) -> Vec<Event> {
    let Unsynced::Random(random) = unsynced else {
        return if is_kept(unsynced) { vec![event.clone()] } else { Vec::new() };
    };
    match (random.below(4), event) {
        (0, _) => Vec::new(),
        (1, Event::Write(id, offset, bytes)) => {
            let torn_at = random.below(bytes.len() + 1);
            vec![Event::Write(*id, *offset, bytes[..torn_at].to_vec())]
        }
        (2, Event::Write(id, offset, bytes)) => {
            // Sectors as the disk cuts them, not the write.
            let first = SECTOR_BYTES - *offset as usize % SECTOR_BYTES;
            let mut sectors = Vec::new();
            let mut start = 0;
            while start < bytes.len() {
                let end = (if start == 0 { first } else { start + SECTOR_BYTES }).min(bytes.len());
                if random.below(2) == 0 {
                    sectors.push(Event::Write(*id, *offset + start as u64, bytes[start..end].to_vec()));
                }
                start = end;
            }
            sectors
        }
        _ => vec![event.clone()],
    }
}

fn apply_bytes(file: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write(_, offset, bytes) => {
            let end = *offset as usize + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[*offset as usize..end].copy_from_slice(bytes);
        }
        Event::SetLength(_, length_bytes) => file.resize(*length_bytes as usize, 0),
        _ => panic!("{event:?} changes no bytes"),
    }
}

/// Changes a name; a change that builds on a lost one is lost, too.
fn apply_name(names: &mut BTreeMap<PathBuf, FileId>, event: &Event) {
    match event {
        Event::Create(path, id) => {
            names.insert(path.clone(), *id);
        }
        Event::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
        Event::Link(from, to) => {
            if let Some(id) = names.get(from).copied() {
                names.insert(to.clone(), id);
            }
        }
        Event::Remove(path) => {
            names.remove(path);
        }
        _ => panic!("{event:?} changes no name"),
    }
}

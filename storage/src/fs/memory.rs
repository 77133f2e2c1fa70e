//! A file system in memory, which can be full, and which writes down what is done to it.
//!
//! The log of [`MemoryFs::record`] is what [`super::crash`] builds the disks from that a power cut may leave.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::lock::{DirectoryLock, LockError};
use super::mapped::MappedFile;
use super::space::Space;
use super::{Entry, Existing, FileSystem, WritableFile, parent};

/// Number of a file, whatever its names are.
pub(crate) type FileId = u64;

/// One thing that was done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A directory was created, durably.
    Directory(PathBuf),
    /// An empty file got a name.
    Create(PathBuf, FileId),
    /// Bytes were written at an offset.
    Write(FileId, u64, Vec<u8>),
    /// A file was cut off or lengthened.
    SetLength(FileId, u64),
    /// The bytes of a file were made durable.
    SyncFile(FileId),
    /// A name was changed.
    Rename(PathBuf, PathBuf),
    /// A file got another name.
    Link(PathBuf, PathBuf),
    /// A name was removed.
    Remove(PathBuf),
    /// The names of a directory were made durable.
    SyncDirectory(PathBuf),
    /// A test's remark, such as the number of an acknowledgement.
    Mark(u64),
}

/// A file system in memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryFs {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, FileId>,
    files: HashMap<FileId, Arc<Vec<u8>>>,
    next_id: FileId,
    capacity_bytes: Option<u64>,
    log: Option<Vec<Event>>,
}

#[derive(Debug)]
struct MemoryFile {
    state: Arc<Mutex<State>>,
    id: FileId,
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{} does not exist", path.display()))
}

impl State {
    fn log(&mut self, event: impl FnOnce() -> Event) {
        if let Some(log) = &mut self.log {
            log.push(event());
        }
    }

    fn find(&self, path: &Path) -> io::Result<FileId> {
        self.names.get(path).copied().ok_or_else(|| missing(path))
    }

    fn is_directory(&self, path: &Path) -> bool {
        path == Path::new(".") || path == Path::new("/") || self.directories.contains(path)
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        if self.is_directory(parent(path)) { Ok(()) } else { Err(missing(parent(path))) }
    }

    fn used_bytes(&self) -> u64 {
        let named: BTreeSet<FileId> = self.names.values().copied().collect();
        named.iter().filter_map(|id| self.files.get(id)).map(|bytes| bytes.len() as u64).sum()
    }

    /// How many bytes a file may grow by.
    fn free_bytes(&self) -> u64 {
        self.capacity_bytes
            .map_or(u64::MAX, |capacity_bytes| capacity_bytes.saturating_sub(self.used_bytes()))
    }

    /// Writes as much as there is room for.
    fn write(&mut self, id: FileId, bytes: &[u8], offset: u64) -> io::Result<()> {
        let free_bytes = self.free_bytes();
        let file = Arc::make_mut(self.files.entry(id).or_default());
        let start = offset as usize;
        let room = free_bytes.saturating_add(file.len() as u64).saturating_sub(offset);
        let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if file.len() < start + taken {
            file.resize(start + taken, 0);
        }
        file[start..start + taken].copy_from_slice(&bytes[..taken]);
        self.log(|| Event::Write(id, offset, bytes[..taken].to_vec()));
        if taken < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// As creating one, durable at once.
    fn rename_directory(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.directories.contains(to) || self.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let renamed =
            |path: PathBuf| path.strip_prefix(from).map(|rest| to.join(rest)).unwrap_or(path.clone());
        self.directories = std::mem::take(&mut self.directories).into_iter().map(renamed).collect();
        let names = std::mem::take(&mut self.names).into_iter();
        self.names = names.map(|(path, id)| (renamed(path), id)).collect();
        self.log(|| Event::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn set_length(&mut self, id: FileId, length_bytes: u64) -> io::Result<()> {
        let held_bytes = self.files.get(&id).map_or(0, |bytes| bytes.len() as u64);
        if length_bytes.saturating_sub(held_bytes) > self.free_bytes() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Arc::make_mut(self.files.entry(id).or_default()).resize(length_bytes as usize, 0);
        self.log(|| Event::SetLength(id, length_bytes));
        Ok(())
    }
}

impl MemoryFs {
    /// Limits the bytes of all files.
    pub(crate) fn set_capacity(&self, capacity_bytes: Option<u64>) {
        self.state.lock().capacity_bytes = capacity_bytes;
    }

    /// Begins to write down what is done, from a state that counts as durable.
    pub(crate) fn record(&self) {
        let mut state = self.state.lock();
        let mut log: Vec<Event> = state.directories.iter().cloned().map(Event::Directory).collect();
        for (path, id) in &state.names {
            log.push(Event::Create(path.clone(), *id));
            log.push(Event::Write(*id, 0, state.files[id].to_vec()));
            log.push(Event::SyncFile(*id));
        }
        log.extend(state.directories.iter().cloned().map(Event::SyncDirectory));
        state.log = Some(log);
    }

    /// Writes down a remark, if anything is written down.
    pub(crate) fn mark(&self, number: u64) {
        self.state.lock().log(|| Event::Mark(number));
    }

    /// What was done since [`MemoryFs::record`].
    pub(crate) fn recorded(&self) -> Vec<Event> {
        self.state.lock().log.clone().unwrap_or_default()
    }

    /// A file system with these directories, names and files.
    pub(super) fn with(
        directories: BTreeSet<PathBuf>,
        names: BTreeMap<PathBuf, FileId>,
        files: HashMap<FileId, Arc<Vec<u8>>>,
    ) -> Self {
        let next_id = files.keys().max().map_or(0, |id| id + 1);
        let state = State { directories, names, files, next_id, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A copy on which nothing has happened yet.
    pub(crate) fn fork(&self) -> Self {
        let state = State { log: None, ..self.state.lock().clone() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Puts a file there, replacing what has that name.
    pub(crate) fn put(&self, path: &Path, bytes: impl Into<Arc<Vec<u8>>>) {
        let mut state = self.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.names.insert(path.to_owned(), id);
        state.files.insert(id, bytes.into());
    }

    /// All files with their bytes.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Arc<Vec<u8>>)> {
        let state = self.state.lock();
        state.names.iter().map(|(path, id)| (path.clone(), Arc::clone(&state.files[id]))).collect()
    }

    /// All files with their lengths.
    pub(crate) fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state.lock();
        state.names.iter().map(|(path, id)| (path.clone(), state.files[id].len())).collect()
    }
}

impl FileSystem for MemoryFs {
    fn create_directories(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut wanted = Vec::new();
        let mut path = directory;
        while !path.as_os_str().is_empty() && !state.is_directory(path) {
            wanted.push(path.to_owned());
            path = parent(path);
        }
        for path in wanted.into_iter().rev() {
            state.log(|| Event::Directory(path.clone()));
            state.directories.insert(path);
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state.lock();
        if !state.is_directory(directory) {
            return Err(missing(directory));
        }
        let below = |path: &&PathBuf| path.parent() == Some(directory);
        let directories = state.directories.iter().filter(below).map(|path| (path, true));
        let files = state.names.keys().filter(below).map(|path| (path, false));
        let entry = |(path, is_directory): (&PathBuf, bool)| Entry { path: path.clone(), is_directory };
        Ok(directories.chain(files).map(entry).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        Ok(state.files[&state.find(path)?].to_vec())
    }

    fn length_bytes(&self, path: &Path) -> io::Result<u64> {
        let state = self.state.lock();
        Ok(state.files[&state.find(path)?].len() as u64)
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn WritableFile>> {
        let mut state = self.state.lock();
        state.check_parent(path)?;
        let id = match (state.names.get(path).copied(), existing) {
            (Some(_), Existing::Refuse) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(id), Existing::Replace) => {
                state.set_length(id, 0)?;
                id
            }
            (None, _) => {
                if state.free_bytes() == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let id = state.next_id;
                state.next_id += 1;
                state.names.insert(path.to_owned(), id);
                state.files.insert(id, Arc::default());
                state.log(|| Event::Create(path.to_owned(), id));
                id
            }
        };
        Ok(Box::new(MemoryFile { state: Arc::clone(&self.state), id }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn WritableFile>> {
        let id = self.state.lock().find(path)?;
        Ok(Box::new(MemoryFile { state: Arc::clone(&self.state), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_parent(to)?;
        if state.directories.contains(from) {
            return state.rename_directory(from, to);
        }
        let id = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        state.log(|| Event::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.check_parent(to)?;
        let id = state.find(from)?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.names.insert(to.to_owned(), id);
        state.log(|| Event::Link(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.names.remove(path).ok_or_else(|| missing(path))?;
        state.log(|| Event::Remove(path.to_owned()));
        Ok(())
    }

    /// As creating one, durable at once.
    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let is_inside = |path: &PathBuf| path.parent() == Some(directory);
        if state.directories.iter().chain(state.names.keys()).any(is_inside) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if state.directories.remove(directory) { Ok(()) } else { Err(missing(directory)) }
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.is_directory(directory) {
            return Err(missing(directory));
        }
        state.log(|| Event::SyncDirectory(directory.to_owned()));
        Ok(())
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        let state = self.state.lock();
        Ok(MappedFile::of_bytes(Arc::clone(&state.files[&state.find(path)?])))
    }

    fn space(&self, _directory: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        Ok(Space { total_bytes: state.capacity_bytes.unwrap_or(u64::MAX), free_bytes: state.free_bytes() })
    }

    fn lock(&self, _directory: &Path) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::of_memory())
    }
}

impl WritableFile for MemoryFile {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.state.lock().write(self.id, bytes, offset)
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.state.lock().set_length(self.id, length_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let id = self.id;
        state.log(|| Event::SyncFile(id));
        Ok(())
    }
}

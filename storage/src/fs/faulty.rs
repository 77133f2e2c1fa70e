//! A file system whose calls fail when a test says so.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::lock::{DirectoryLock, LockError};
use super::mapped::{Guard, MappedFile};
use super::space::Space;
use super::{Entry, Existing, FileSystem, WritableFile};

/// The calls that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    CreateDirectories,
    List,
    Read,
    Length,
    Create,
    Open,
    Rename,
    Link,
    Remove,
    SyncDirectory,
    Map,
    Populate,
    Write,
    SetLength,
    SyncFile,
    Space,
}

impl Call {
    /// All of them.
    pub(crate) const ALL: [Self; 16] = [
        Self::CreateDirectories,
        Self::List,
        Self::Read,
        Self::Length,
        Self::Create,
        Self::Open,
        Self::Rename,
        Self::Link,
        Self::Remove,
        Self::SyncDirectory,
        Self::Map,
        Self::Populate,
        Self::Write,
        Self::SetLength,
        Self::SyncFile,
        Self::Space,
    ];
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// Which call fails, and how.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Calls that count.
    pub(crate) calls: Vec<Call>,
    /// How many of them go well before one fails.
    pub(crate) after: usize,
    /// How many fail then.
    pub(crate) times: usize,
    /// With what.
    pub(crate) kind: io::ErrorKind,
}

#[derive(Debug, Default)]
struct Plan {
    faults: Mutex<Vec<Fault>>,
    injected: Mutex<Vec<String>>,
}

impl Plan {
    /// Lets the call through, or fails it.
    fn pass(&self, call: Call, what: &dyn fmt::Display) -> io::Result<()> {
        for fault in self.faults.lock().iter_mut().filter(|fault| fault.calls.contains(&call)) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                let text = format!("injected failure of {call} {what}");
                self.injected.lock().push(text.clone());
                return Err(io::Error::new(fault.kind, text));
            }
        }
        Ok(())
    }
}

/// Passes all calls on to another file system, except those that shall fail.
#[derive(Debug, Clone)]
pub(crate) struct FaultyFs {
    inner: Arc<dyn FileSystem>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn WritableFile>,
    path: String,
    plan: Arc<Plan>,
}

impl FaultyFs {
    /// Wraps a file system; nothing fails yet.
    pub(crate) fn new(inner: Arc<dyn FileSystem>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// Adds a fault.
    pub(crate) fn inject(&self, fault: Fault) {
        self.plan.faults.lock().push(fault);
    }

    /// Forgets all faults.
    pub(crate) fn heal(&self) {
        self.plan.faults.lock().clear();
    }

    /// What has failed so far.
    pub(crate) fn injected(&self) -> Vec<String> {
        self.plan.injected.lock().clone()
    }

    fn file(&self, path: &Path, inner: Box<dyn WritableFile>) -> Box<dyn WritableFile> {
        Box::new(FaultyFile { inner, path: path.display().to_string(), plan: Arc::clone(&self.plan) })
    }
}

impl FileSystem for FaultyFs {
    fn create_directories(&self, directory: &Path) -> io::Result<()> {
        self.plan.pass(Call::CreateDirectories, &directory.display())?;
        self.inner.create_directories(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.plan.pass(Call::List, &directory.display())?;
        self.inner.list(directory)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.plan.pass(Call::Read, &path.display())?;
        self.inner.read(path)
    }

    fn length_bytes(&self, path: &Path) -> io::Result<u64> {
        self.plan.pass(Call::Length, &path.display())?;
        self.inner.length_bytes(path)
    }

    fn create(&self, path: &Path, existing: Existing) -> io::Result<Box<dyn WritableFile>> {
        self.plan.pass(Call::Create, &path.display())?;
        Ok(self.file(path, self.inner.create(path, existing)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn WritableFile>> {
        self.plan.pass(Call::Open, &path.display())?;
        Ok(self.file(path, self.inner.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.pass(Call::Rename, &from.display())?;
        self.inner.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.pass(Call::Link, &from.display())?;
        self.inner.hard_link(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plan.pass(Call::Remove, &path.display())?;
        self.inner.remove(path)
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        self.plan.pass(Call::Remove, &directory.display())?;
        self.inner.remove_directory(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.plan.pass(Call::SyncDirectory, &directory.display())?;
        self.inner.sync_directory(directory)
    }

    fn map(&self, path: &Path) -> io::Result<MappedFile> {
        self.plan.pass(Call::Map, &path.display())?;
        let mut map = self.inner.map(path)?;
        let (plan, path) = (Arc::clone(&self.plan), path.display().to_string());
        map.guard = Some(Guard(Box::new(move || plan.pass(Call::Populate, &path))));
        Ok(map)
    }

    fn space(&self, directory: &Path) -> io::Result<Space> {
        self.plan.pass(Call::Space, &directory.display())?;
        self.inner.space(directory)
    }

    fn lock(&self, directory: &Path) -> Result<DirectoryLock, LockError> {
        self.inner.lock(directory)
    }
}

impl WritableFile for FaultyFile {
    /// A write that fails leaves its first half.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.plan.pass(Call::Write, &self.path) {
            self.inner.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        self.inner.write_all_at(bytes, offset)
    }

    fn set_length(&self, length_bytes: u64) -> io::Result<()> {
        self.plan.pass(Call::SetLength, &self.path)?;
        self.inner.set_length(length_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.plan.pass(Call::SyncFile, &self.path)?;
        self.inner.sync_data()
    }
}

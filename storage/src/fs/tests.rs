//! All file systems behave alike.

use std::path::Path;
use std::sync::Arc;

use super::disk::Disk;
use super::faulty::{Call, Fault, FaultyFs};
use super::memory::MemoryFs;
use super::temporary::TemporaryFile;
use super::*;

/// Runs `check` in an empty directory of every file system.
fn on_each(check: impl Fn(&Arc<dyn FileSystem>, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    check(&(Arc::new(Disk) as Arc<dyn FileSystem>), directory.path());
    let memory: Arc<dyn FileSystem> = Arc::new(MemoryFs::default());
    memory.create_directories(Path::new("/data")).unwrap();
    check(&memory, Path::new("/data"));
    let faulty: Arc<dyn FileSystem> = Arc::new(FaultyFs::new(Arc::new(MemoryFs::default())));
    faulty.create_directories(Path::new("/data")).unwrap();
    check(&faulty, Path::new("/data"));
}

#[test]
fn a_file_appears_only_when_persisted() {
    on_each(|fs, directory| {
        let target = directory.join("a/b/file.mtb");
        let above = parent(&target);
        fs.create_directories(above).unwrap();
        drop(TemporaryFile::create(fs, &target).unwrap());
        assert_eq!(fs.list(above).unwrap(), []);

        let mut file = TemporaryFile::create(fs, &target).unwrap();
        file.write_all(b"....").unwrap();
        file.write_all_at(b"one ", 0).unwrap();
        file.write_all(b"two").unwrap();
        assert_eq!(fs.read(&target).unwrap_err().kind(), io::ErrorKind::NotFound);
        let open = file.persist().unwrap();
        assert_eq!(fs.read(&target).unwrap(), b"one two");
        open.write_all_at(b"three", 4).unwrap();
        assert_eq!(
            (fs.read(&target).unwrap(), fs.length_bytes(&target).unwrap()),
            (b"one three".to_vec(), 9)
        );
        assert_eq!(fs.list(above).unwrap(), [Entry { path: target.clone(), is_directory: false }]);
    });
}

#[test]
fn mappings_outlive_the_file() {
    on_each(|fs, directory| {
        let target = directory.join("file");
        fs.create(&target, Existing::Refuse).unwrap().write_all_at(&[7; 10_000], 0).unwrap();
        let map = fs.map(&target).unwrap();
        map.populate(5_000, 5_000).unwrap();
        remove_durably(fs.as_ref(), &target).unwrap();
        remove_durably(fs.as_ref(), &target).unwrap();
        assert!(map.bytes().iter().all(|byte| *byte == 7) && map.bytes().len() == 10_000);
        fs.create(&target, Existing::Refuse).unwrap();
        assert!(fs.map(&target).unwrap().bytes().is_empty());
    });
}

#[test]
fn names_are_given_changed_and_taken_away() {
    on_each(|fs, directory| {
        let (a, b, c) = (directory.join("a"), directory.join("b"), directory.join("c"));
        let file = fs.create(&a, Existing::Refuse).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        assert_eq!(fs.create(&a, Existing::Refuse).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs.hard_link(&a, &b).unwrap();
        assert_eq!(fs.hard_link(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs.rename(&a, &c).unwrap();
        file.set_length(5).unwrap();
        assert_eq!(fs.read(&b).unwrap(), b"abc\0\0");
        file.set_length(1).unwrap();
        assert_eq!(fs.read(&c).unwrap(), b"a");
        fs.create(&b, Existing::Replace).unwrap();
        assert_eq!(fs.length_bytes(&c).unwrap(), 0);
        for path in [&a, &directory.join("none/x")] {
            assert_eq!(fs.open(path).unwrap_err().kind(), io::ErrorKind::NotFound);
            assert_eq!(fs.remove(path).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        let nowhere = directory.join("none");
        assert_eq!(fs.list(&nowhere).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(list_or_empty(fs.as_ref(), &nowhere).unwrap(), []);
        assert!(fs.create(&nowhere.join("x"), Existing::Replace).is_err());
    });
}

#[test]
fn a_full_memory_takes_what_fits_and_recovers() {
    let fs = MemoryFs::default();
    fs.create_directories(Path::new("/d")).unwrap();
    fs.set_capacity(Some(100));
    let (a, b) = (Path::new("/d/a"), Path::new("/d/b"));
    let file = fs.create(a, Existing::Refuse).unwrap();
    file.write_all_at(&[1; 60], 0).unwrap();
    assert_eq!(file.write_all_at(&[2; 60], 60).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs.length_bytes(a).unwrap(), 100);
    file.write_all_at(&[3; 100], 0).unwrap();
    assert_eq!(fs.create(b, Existing::Refuse).unwrap_err().kind(), io::ErrorKind::StorageFull);
    fs.remove(a).unwrap();
    fs.create(b, Existing::Refuse).unwrap().write_all_at(&[0; 100], 0).unwrap();
}

#[test]
fn the_chosen_call_fails_and_says_which() {
    let faulty = FaultyFs::new(Arc::new(MemoryFs::default()));
    let directory = Path::new("/d");
    faulty.create_directories(directory).unwrap();
    let kind = io::ErrorKind::StorageFull;
    faulty.inject(Fault { calls: vec![Call::Write, Call::SyncFile], after: 1, times: 2, kind });
    let file = faulty.create(&directory.join("a"), Existing::Refuse).unwrap();
    file.write_all_at(b"1234", 0).unwrap();
    assert_eq!(file.sync_data().unwrap_err().kind(), kind);
    assert!(file.write_all_at(b"5678", 4).unwrap_err().to_string().contains("Write /d/a"));
    assert_eq!(faulty.read(&directory.join("a")).unwrap(), b"123456");
    file.sync_data().unwrap();
    assert_eq!(faulty.injected().len(), 2);
    faulty.inject(Fault { calls: Call::ALL.to_vec(), after: 0, times: usize::MAX, kind });
    assert!(faulty.list(directory).is_err());
    faulty.heal();
    assert!(faulty.map(&directory.join("a")).unwrap().populate(0, 1).is_ok());
}

#[test]
fn a_directory_is_renamed_and_removed_with_all_that_is_inside() {
    on_each(|fs, directory| {
        let (from, to) = (directory.join("x.tmp"), directory.join("x"));
        fs.create_directories(&from.join("a/b")).unwrap();
        for name in ["one", "a/two", "a/b/three"] {
            fs.create(&from.join(name), Existing::Refuse).unwrap().write_all_at(b"123", 0).unwrap();
        }
        fs.rename(&from, &to).unwrap();
        assert_eq!(fs.list(&from).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(fs.read(&to.join("a/b/three")).unwrap(), b"123");
        assert!(fs.remove_directory(&to).is_err());
        remove_tree(fs.as_ref(), &to).unwrap();
        remove_tree(fs.as_ref(), &to).unwrap();
        assert_eq!(fs.list(directory).unwrap(), []);
    });
}

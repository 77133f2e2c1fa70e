//! Where lines go: the standard output, or a file that is moved away when it is large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file with rotation.
#[derive(Debug)]
pub struct RotatedFile {
    path: PathBuf,
    rotate_bytes: u64,
    keep: u32,
    file: File,
    size_bytes: u64,
}

impl RotatedFile {
    /// Opens `path` to append. `rotate_bytes` 0 = it is never moved away.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, rotate_bytes: u64, keep: u32) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), rotate_bytes, keep, file, size_bytes })
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    /// Moves `FILE` to `FILE.1`, that to `FILE.2` and so on; the last one is lost.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.size_bytes = 0;
        Ok(())
    }
}

/// Takes whole lines only, so that no line is in two files.
impl Write for RotatedFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let is_full = self.size_bytes > 0 && self.size_bytes + lines.len() as u64 > self.rotate_bytes;
        if self.rotate_bytes > 0 && is_full {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.size_bytes += lines.len() as u64;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_moved_away_and_the_oldest_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let mut file = RotatedFile::open(&path, 8, 2).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n", "five\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (text("app.log"), text("app.log.1"), text("app.log.2")),
            ("five\n".into(), "four\n".into(), "three\n".into())
        );
        assert!(!folder.path().join("app.log.3").exists());
        // What is there is appended to.
        RotatedFile::open(&path, 0, 2).unwrap().write_all(b"six\n").unwrap();
        assert_eq!(text("app.log"), "five\nsix\n");
    }
}

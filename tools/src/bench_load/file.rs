//! The file of encoded requests: per request a header of three little-endian `u32` (shard, samples, bytes), then
//! the snappy-compressed body.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, ensure};

const HEADER_BYTES: usize = 12;

/// Where one request lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Requests of one shard must arrive in order.
    pub shard: u32,
    /// Samples in the request.
    pub sample_count: u32,
    /// Where the body starts.
    pub offset: u64,
    /// Length of the body.
    pub length_bytes: u32,
}

/// Writes requests.
#[derive(Debug)]
pub struct RequestWriter {
    out: BufWriter<File>,
    /// Bytes written, headers included.
    pub written_bytes: u64,
}

impl RequestWriter {
    /// Creates (or empties) the file.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { out: BufWriter::with_capacity(1 << 20, file), written_bytes: 0 })
    }

    /// Appends one request.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&mut self, shard: u32, sample_count: u32, body: &[u8]) -> anyhow::Result<()> {
        for number in [shard, sample_count, u32::try_from(body.len())?] {
            self.out.write_all(&number.to_le_bytes())?;
        }
        self.out.write_all(body)?;
        self.written_bytes += (HEADER_BYTES + body.len()) as u64;
        Ok(())
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn close(mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Reads the headers of all requests.
///
/// # Errors
/// If the file cannot be read or ends inside a request.
pub fn read_entries(file: &File) -> anyhow::Result<Vec<Entry>> {
    let file_bytes = file.metadata()?.len();
    let mut entries = Vec::new();
    let mut offset = 0;
    while offset < file_bytes {
        let mut header = [[0; 4]; 3];
        file.read_exact_at(header.as_flattened_mut(), offset).context("the file ends inside a header")?;
        let [shard, sample_count, length_bytes] = header.map(u32::from_le_bytes);
        offset += HEADER_BYTES as u64;
        entries.push(Entry { shard, sample_count, offset, length_bytes });
        offset += u64::from(length_bytes);
        ensure!(offset <= file_bytes, "the file ends inside a request");
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::{Entry, RequestWriter, read_entries};

    #[test]
    fn entries_come_back_as_written_and_a_cut_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("requests");
        let mut writer = RequestWriter::create(&path).unwrap();
        writer.append(1, 2, b"abc").unwrap();
        writer.append(0, 5, b"defgh").unwrap();
        writer.close().unwrap();
        let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
        let expected = [
            Entry { shard: 1, sample_count: 2, offset: 12, length_bytes: 3 },
            Entry { shard: 0, sample_count: 5, offset: 27, length_bytes: 5 },
        ];
        assert_eq!(read_entries(&file).unwrap(), expected);
        file.set_len(30).unwrap();
        assert!(read_entries(&file).is_err());
    }
}

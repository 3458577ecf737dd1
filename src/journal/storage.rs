//! Where a journal lies: a file in production, a disk that fails and forgets in tests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes by offset, and one barrier. Nothing is assumed of the order in which writes between two
/// [`Storage::sync`] calls become durable.
pub trait Storage: Send + Sync {
    /// For messages: the path.
    fn name(&self) -> String;
    /// The size in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Is there nothing?
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buffer` from `offset`, or fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, or fails with an unknown part written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes every write that returned before this call durable.
    fn sync(&self) -> io::Result<()>;
    /// A write or sync failed: leaves a sign for the next process that this storage is not to be
    /// written any more. Best effort, as the storage has failed.
    fn mark_failed(&self) {}
}

/// A file.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    path: PathBuf,
}

impl FileStorage {
    /// A file that is open; `path` is for messages.
    pub fn new(file: File, path: &Path) -> Self {
        Self {
            file,
            path: path.to_owned(),
        }
    }

    /// Opens an existing file for reading only.
    pub fn open_to_read(path: &Path) -> io::Result<Self> {
        Ok(Self::new(File::open(path)?, path))
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Storage for FileStorage {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn mark_failed(&self) {
        // An error adds nothing to the one that leads here.
        let _ = File::create(failure_mark(&self.path));
    }
}

/// The file whose existence says that a write to the journal beside it failed. It need not survive power
/// loss, as the page cache that it warns of does not either.
pub(super) fn failure_mark(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(".failed");
    PathBuf::from(name)
}

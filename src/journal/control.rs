//! The control page: one mapped page in /run by which the writer tells readers how far the journal is
//! published, and which journal that is.
//!
//! The tail is one word, `generation << 32 | offset / 8`, published by one store after each append: it
//! can never be seen half. The fields that name the journal change together and seldom, under a sequence
//! that is odd meanwhile. Recovery needs nothing of it: after a reboot the page is gone and no loss.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;

use super::Lsn;
use super::error::JournalError;
use super::format::Superblock;
use super::map::{ReadMap, WordMap};

const PAGE_BYTES: u64 = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"DMAPICTL");
const VERSION: u64 = 1;

const MAGIC_WORD: usize = 0;
const VERSION_WORD: usize = 1;
/// Odd while the words up to the path change.
const SEQUENCE_WORD: usize = 2;
const WORKER_WORD: usize = 3;
const IDENTITY_WORD: usize = 4;
const INCARNATION_WORD: usize = 5;
const FILE_BYTES_WORD: usize = 6;
const PATH_BYTES_WORD: usize = 7;
/// Changes with every append, without the sequence.
const TAIL_WORD: usize = 8;
/// Stored before the tail, so it is never behind it.
const TAIL_LSN_WORD: usize = 9;
const PATH_WORD: usize = 16;
const PATH_BYTES_MAX: usize = 2048;

const _: () = assert!(PATH_WORD * 8 + PATH_BYTES_MAX <= PAGE_BYTES as usize);

/// How far a log is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Low half of the generation of the log.
    pub(super) generation: u32,
    /// Where in the file the next record will be.
    pub(super) offset: u64,
}

impl Tail {
    fn pack(self) -> u64 {
        assert!(self.offset.is_multiple_of(8));
        let units = u32::try_from(self.offset / 8).expect("sizes are limited to 1 GiB each");
        u64::from(self.generation) << 32 | u64::from(units)
    }

    fn unpack(word: u64) -> Self {
        Self {
            generation: (word >> 32) as u32,
            offset: (word & u64::from(u32::MAX)) * 8,
        }
    }
}

/// The page of the one writer. The exclusive flock on the journal makes it the only one.
pub struct Control {
    map: WordMap,
    name: String,
}

impl Control {
    /// Opens the page for its only writer, and makes it if it is not there. The same file is used by
    /// one worker after the other, so that readers that have it mapped go on.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let name = path.display().to_string();
        let io = |error| JournalError::io(&name, "open the control page", error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        if bytes < PAGE_BYTES {
            // Written, not only sized: a store into a hole of a full tmpfs would be a SIGBUS.
            file.write_all_at(&[0; PAGE_BYTES as usize], 0)
                .map_err(io)?;
        }
        let map = WordMap::of(&file, PAGE_BYTES).map_err(io)?;
        let control = Self { map, name };
        let (magic, version) = (control.map.load(MAGIC_WORD), control.map.load(VERSION_WORD));
        if (magic, version) != (0, 0) && (magic, version) != (MAGIC, VERSION) {
            return Err(control.foreign());
        }
        Ok(control)
    }

    fn foreign(&self) -> JournalError {
        JournalError::Foreign {
            name: self.name.clone(),
            found: "it is no control page of this version".to_owned(),
        }
    }

    /// Names the journal that is published from here on.
    pub(super) fn name_journal(
        &self,
        path: &Path,
        superblock: &Superblock,
        tail: Tail,
        lsn: Lsn,
    ) -> Result<(), JournalError> {
        let path = path.as_os_str().as_bytes();
        if path.len() > PATH_BYTES_MAX {
            let error = io::ErrorKind::InvalidFilename.into();
            return Err(JournalError::io(
                &self.name,
                "publish a journal with so long a path",
                error,
            ));
        }
        // A writer that died in here left it odd.
        let sequence = self.map.load(SEQUENCE_WORD) | 1;
        self.map.store(SEQUENCE_WORD, sequence);
        // Nothing below may be seen before the odd sequence.
        fence(Ordering::Release);
        self.map.store(WORKER_WORD, self.map.load(WORKER_WORD) + 1);
        self.map.store(IDENTITY_WORD, superblock.identity);
        self.map.store(INCARNATION_WORD, superblock.incarnation);
        let file_bytes = superblock.sizes.file_bytes();
        self.map.store(FILE_BYTES_WORD, file_bytes);
        self.map.store(PATH_BYTES_WORD, path.len() as u64);
        for (index, chunk) in path.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.map.store(PATH_WORD + index, u64::from_ne_bytes(word));
        }
        self.publish(tail, lsn);
        self.map.store(VERSION_WORD, VERSION);
        self.map.store(MAGIC_WORD, MAGIC);
        self.map.store(SEQUENCE_WORD, sequence + 1);
        Ok(())
    }

    /// Publishes everything before `tail`.
    pub(super) fn publish(&self, tail: Tail, lsn: Lsn) {
        self.map.store(TAIL_LSN_WORD, lsn.0);
        self.map.store(TAIL_WORD, tail.pack());
    }

    /// Counts the workers that published here: a change tells that the worker was restarted.
    pub fn worker_generation(&self) -> u64 {
        self.map.load(WORKER_WORD)
    }
}

/// Which journal is published, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) identity: u64,
    pub(super) file_bytes: u64,
    pub(super) path: PathBuf,
    pub(super) tail: Tail,
}

/// The page as readers see it.
pub struct Published {
    map: ReadMap,
    name: String,
}

impl Published {
    /// Opens the page of a node.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let name = path.display().to_string();
        let file =
            OpenOptions::new()
                .read(true)
                .open(path)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => JournalError::Missing { name: name.clone() },
                    _ => JournalError::io(&name, "open the control page", error),
                })?;
        let map = ReadMap::of(file, PAGE_BYTES).map_err(|error| match error.kind() {
            // Its writer has made the file and not yet the page.
            io::ErrorKind::UnexpectedEof => JournalError::Unsettled { name: name.clone() },
            _ => JournalError::io(&name, "map the control page", error),
        })?;
        Ok(Self { map, name })
    }

    /// Counts the workers that published here: a change tells that the worker was restarted.
    pub fn worker_generation(&self) -> u64 {
        self.map.load(WORKER_WORD)
    }

    /// The last published record.
    pub fn lsn(&self) -> Lsn {
        Lsn(self.map.load(TAIL_LSN_WORD))
    }

    /// The page's path.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn tail(&self) -> Tail {
        Tail::unpack(self.map.load(TAIL_WORD))
    }

    /// All fields, of one moment.
    pub(super) fn snapshot(&self) -> Result<Snapshot, JournalError> {
        /// The writer needs a microsecond; one that is dead needs forever.
        const ATTEMPTS: u32 = 1000;
        if !self.map.fits().is_ok_and(|fits| fits) {
            return Err(JournalError::damaged(
                &self.name,
                "the control page was shortened",
            ));
        }
        for _ in 0..ATTEMPTS {
            let sequence = self.map.load(SEQUENCE_WORD);
            if sequence.is_multiple_of(2) && sequence > 0 {
                self.check_version()?;
                let snapshot = self.fields();
                if self.map.load(SEQUENCE_WORD) == sequence {
                    return Ok(snapshot);
                }
            }
            std::thread::yield_now();
        }
        Err(JournalError::Unsettled {
            name: self.name.clone(),
        })
    }

    fn check_version(&self) -> Result<(), JournalError> {
        let (magic, version) = (self.map.load(MAGIC_WORD), self.map.load(VERSION_WORD));
        if (magic, version) == (MAGIC, VERSION) {
            return Ok(());
        }
        Err(JournalError::Foreign {
            name: self.name.clone(),
            found: format!("it is no control page of version {VERSION}"),
        })
    }

    fn fields(&self) -> Snapshot {
        let path_bytes = (self.map.load(PATH_BYTES_WORD) as usize).min(PATH_BYTES_MAX);
        let mut path: Vec<u8> = (0..path_bytes.div_ceil(8))
            .flat_map(|index| self.map.load(PATH_WORD + index).to_ne_bytes())
            .collect();
        path.truncate(path_bytes);
        Snapshot {
            identity: self.map.load(IDENTITY_WORD),
            file_bytes: self.map.load(FILE_BYTES_WORD),
            path: PathBuf::from(std::ffi::OsString::from_vec(path)),
            tail: self.tail(),
        }
    }
}

//! Reads a journal that may be damaged, or be written meanwhile, and tells everything it finds.
//!
//! Unlike recovery it goes on after what recovery would refuse. A file that is being written changes
//! while it is read: superblocks, log and superblocks again are read until they belong together, and a
//! bad place is believed when it is still there at a second look.

use std::path::Path;

use super::Lsn;
use super::error::JournalError;
use super::format::{FoundSuperblock, Superblock};
use super::record::{Expected, Header, Reject, Verified};
use super::recover::{Beyond, LogBytes};
use super::recover::{choose, open_to_read, read_checkpoint, read_superblocks};
use super::recover::{refuse_loss, tail_words};
use super::storage::Storage;

/// Everything that a file tells.
#[derive(Debug)]
pub struct Inspection {
    /// The path.
    pub name: String,
    /// Its size.
    pub file_bytes: u64,
    /// Both superblocks.
    pub superblocks: [FoundSuperblock; 2],
    /// What follows from them; an error where nothing does.
    pub log: Result<Log, JournalError>,
}

impl Inspection {
    fn is_good(&self) -> bool {
        let log = self.log.as_ref();
        log.is_ok_and(|log| log.checkpoint.is_ok() && log.judge(&self.name).is_ok())
    }
}

/// What follows from the superblock that counts.
#[derive(Debug)]
pub struct Log {
    /// The superblock that counts.
    pub superblock: Superblock,
    /// The state before the log (`None`: the empty one).
    pub checkpoint: Result<Option<Vec<u8>>, JournalError>,
    /// The records that count, with their bodies.
    pub records: Vec<(Verified, Vec<u8>)>,
    /// Where the log ends, and what a record there would have to be.
    pub end: Expected,
    /// Why it ends there.
    pub reject: Reject,
    /// Whole records after the end, with where they lie. They do not count.
    pub later: Vec<(u64, Header)>,
}

impl Log {
    /// Reads everything; an error only where the storage gives one.
    pub(super) fn read(
        storage: &dyn Storage,
        superblock: Superblock,
    ) -> Result<Self, JournalError> {
        let checkpoint = read_checkpoint(storage, &superblock);
        let mut bytes = vec![0; superblock.sizes.log_bytes as usize];
        storage
            .read_at(&mut bytes, superblock.sizes.log_offset())
            .map_err(|error| JournalError::io(&storage.name(), "read the log", error))?;
        let log = LogBytes {
            bytes: &bytes,
            offset: superblock.sizes.log_offset(),
        };
        let mut records = Vec::new();
        let mut end = superblock.start();
        let reject = loop {
            match log.next(&end) {
                Ok((verified, body)) => {
                    records.push((verified, body.to_vec()));
                    end = verified.next;
                }
                Err(reject) => break reject,
            }
        };
        Ok(Self {
            later: log.later(&end),
            superblock,
            checkpoint,
            records,
            end,
            reject,
        })
    }

    /// The last record.
    pub fn lsn(&self) -> Lsn {
        Lsn(self.end.lsn.0 - 1)
    }

    /// How the log ended, in words.
    pub fn end_words(&self) -> String {
        tail_words(&self.end, self.reject, &Beyond::of(&self.later, &self.end))
    }

    /// Would recovery accept it?
    pub fn judge(&self, name: &str) -> Result<(), JournalError> {
        let beyond = Beyond::of(&self.later, &self.end);
        refuse_loss(name, &self.end, self.reject, &beyond)
    }
}

/// Reads a file.
pub fn inspect(path: &Path) -> Result<Inspection, JournalError> {
    /// A checkpoint takes longer than a look, and seldom are there two in a row.
    const LOOKS_MAX: u32 = 10;
    let storage = open_to_read(path)?;
    let mut look = look(&storage)?;
    for _ in 1..LOOKS_MAX {
        if look.is_good() {
            break;
        }
        let again = self::look(&storage)?;
        let place = |look: &Inspection| look.log.as_ref().ok().map(|log| log.end);
        let same = look.superblocks == again.superblocks && place(&look) == place(&again);
        look = again;
        if same {
            break;
        }
    }
    Ok(look)
}

fn look(storage: &dyn Storage) -> Result<Inspection, JournalError> {
    let name = storage.name();
    let io = |error| JournalError::io(&name, "read", error);
    let file_bytes = storage.len().map_err(io)?;
    let superblocks = read_superblocks(storage).map_err(io)?;
    let log = match choose(&name, &superblocks, file_bytes) {
        Ok(superblock) => Ok(Log::read(storage, superblock)?),
        Err(error) => Err(error),
    };
    Ok(Inspection {
        name,
        file_bytes,
        superblocks,
        log,
    })
}

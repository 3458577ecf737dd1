//! Readers of a journal that is being written, by its mapping and the control page.
//!
//! A reader takes only what is published, and verifies each record like recovery does: the writer may
//! overwrite the log of an older generation at any moment, and the checksum (which covers identity,
//! offset and generation) tells whether that happened. Then it starts over at the newer generation.

use std::fs::File;
use std::io;
use std::path::Path;

use super::Lsn;
use super::control::{Published, Snapshot, Tail};
use super::error::JournalError;
use super::format::{
    AREAS_OFFSET, FoundSuperblock, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSETS, Superblock,
};
use super::map::ReadMap;
use super::record::Expected;
use super::recover::LogBytes;

/// What a [`Follower`] found since its last call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// Set: forget what you have and begin with this state (`None` inside: the empty one).
    pub restarted: Option<Option<Vec<u8>>>,
    /// The bodies that follow, in order, each verified.
    pub entries: Vec<(Lsn, Vec<u8>)>,
    /// The last record seen, now or earlier.
    pub lsn: Lsn,
}

/// Follows the journal that a control page publishes, over log restarts and new incarnations.
pub struct Follower {
    control: Published,
    journal: Option<Mapped>,
    /// What the next record will be; `None`: the follower has no state yet.
    next: Option<Expected>,
}

struct Mapped {
    map: ReadMap,
    identity: u64,
    name: String,
}

/// The writer was faster: look again.
struct Overtaken;

/// More often than a reader can be overtaken in a row: between two restarts of the log lie megabytes.
const ATTEMPTS: u32 = 1000;

impl Follower {
    /// Follows the journal that the page names.
    pub fn open(control: &Path) -> Result<Self, JournalError> {
        Ok(Self {
            control: Published::open(control)?,
            journal: None,
            next: None,
        })
    }

    /// Counts the workers that published here: a change tells that the worker was restarted.
    pub fn worker_generation(&self) -> u64 {
        self.control.worker_generation()
    }

    /// The last record seen.
    pub fn lsn(&self) -> Lsn {
        self.next.map_or(Lsn(0), |next| Lsn(next.lsn.0 - 1))
    }

    /// Everything published since the last call. Never goes backwards, never shows half a record.
    /// An error leaves the follower where it was.
    pub fn catch_up(&mut self) -> Result<CaughtUp, JournalError> {
        for _ in 0..ATTEMPTS {
            let snapshot = self.control.snapshot()?;
            if self.follow_to(&snapshot)?.is_err() {
                continue;
            }
            let journal = self.journal.as_ref().expect("mapped by follow_to");
            if let Ok((found, next)) = journal.read(self.next, snapshot.tail)? {
                self.next = Some(next);
                return Ok(found);
            }
            std::thread::yield_now();
        }
        Err(JournalError::Unsettled {
            name: self.control.name().to_owned(),
        })
    }

    /// Maps the journal that the page names, if it is another one than before.
    fn follow_to(&mut self, snapshot: &Snapshot) -> Result<Result<(), Overtaken>, JournalError> {
        let known = self.journal.as_ref();
        if known.is_some_and(|journal| journal.identity == snapshot.identity) {
            return Ok(Ok(()));
        }
        let name = snapshot.path.display().to_string();
        let map =
            File::open(&snapshot.path).and_then(|file| ReadMap::of(file, snapshot.file_bytes));
        let map = match map {
            Ok(map) => map,
            // Removed by a new incarnation, which the page names by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.control.snapshot()?.identity != snapshot.identity {
                    return Ok(Err(Overtaken));
                }
                return Err(JournalError::Missing { name });
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(JournalError::damaged(&name, "it was shortened"));
            }
            Err(error) => return Err(JournalError::io(&name, "map", error)),
        };
        self.journal = Some(Mapped {
            map,
            identity: snapshot.identity,
            name,
        });
        Ok(Ok(()))
    }
}

impl Mapped {
    /// What lies between `from` and the published tail. Goes on without the checkpoint where it can.
    fn read(
        &self,
        from: Option<Expected>,
        tail: Tail,
    ) -> Result<Result<(CaughtUp, Expected), Overtaken>, JournalError> {
        if !self.map.fits().is_ok_and(|fits| fits) {
            return Err(JournalError::damaged(&self.name, "it was shortened"));
        }
        // What the page says is as good as who wrote it: nothing outside of the mapping is touched.
        if !self.map.reaches(AREAS_OFFSET) || !self.map.reaches(tail.offset) {
            return Err(JournalError::damaged(
                &self.name,
                format!("published up to offset {}, after its end", tail.offset),
            ));
        }
        let mut found = CaughtUp::default();
        let same_log =
            |next: &Expected| next.identity == self.identity && next.generation == tail.generation;
        let start = match from {
            Some(next) if same_log(&next) => next,
            _ => {
                let Some(superblock) = self.superblock(tail.generation) else {
                    return Ok(Err(Overtaken));
                };
                let start = superblock.start();
                // A reader that has seen the whole log before needs no checkpoint of it.
                let seen_all = from.is_some_and(|next| {
                    next.identity == self.identity
                        && (next.lsn, next.chain) == (start.lsn, start.chain)
                });
                if !seen_all {
                    let Some(state) = self.checkpoint(&superblock) else {
                        return Ok(Err(Overtaken));
                    };
                    found.restarted = Some(state);
                }
                start
            }
        };
        if tail.offset < start.offset {
            return Err(JournalError::damaged(
                &self.name,
                format!(
                    "published up to offset {} after {}",
                    tail.offset, start.offset
                ),
            ));
        }
        let next = match self.records(start, tail, &mut found) {
            Ok(next) => next,
            Err(Overtaken) => return Ok(Err(Overtaken)),
        };
        // Another journal may be the first of a new life, with an emptied state directory.
        if from.is_some_and(|from| from.identity == self.identity && next.lsn < from.lsn) {
            return Err(JournalError::damaged(
                &self.name,
                format!("published only up to record {}", next.lsn.0 - 1),
            ));
        }
        found.lsn = Lsn(next.lsn.0 - 1);
        Ok(Ok((found, next)))
    }

    fn records(
        &self,
        start: Expected,
        tail: Tail,
        found: &mut CaughtUp,
    ) -> Result<Expected, Overtaken> {
        let mut bytes = vec![0; (tail.offset - start.offset) as usize];
        self.map.copy_out(start.offset, &mut bytes);
        let log = LogBytes {
            bytes: &bytes,
            offset: start.offset,
        };
        let mut next = start;
        while next.offset < tail.offset {
            let (verified, body) = log.next(&next).map_err(|_| Overtaken)?;
            found.entries.push((verified.header.lsn, body.to_vec()));
            next = verified.next;
        }
        Ok(next)
    }

    /// The superblock with which the log of this generation begins, while it is there.
    fn superblock(&self, generation: u32) -> Option<Superblock> {
        SUPERBLOCK_OFFSETS.iter().find_map(|offset| {
            let mut bytes = [0; SUPERBLOCK_BYTES];
            self.map.copy_out(*offset, &mut bytes);
            match Superblock::decode(&bytes) {
                FoundSuperblock::Valid(superblock)
                    if superblock.generation as u32 == generation
                        && superblock.identity == self.identity
                        && self.map.reaches(superblock.sizes.file_bytes()) =>
                {
                    Some(superblock)
                }
                _ => None,
            }
        })
    }

    /// The state of a superblock; the outer `None`: overwritten meanwhile.
    fn checkpoint(&self, superblock: &Superblock) -> Option<Option<Vec<u8>>> {
        if superblock.checkpoint_bytes == 0 {
            return Some(None);
        }
        let mut state = vec![0; superblock.checkpoint_bytes as usize];
        let offset = superblock.sizes.area_offset(superblock.checkpoint_area);
        self.map.copy_out(offset, &mut state);
        (crc32c::crc32c(&state) == superblock.checkpoint_crc).then_some(Some(state))
    }
}

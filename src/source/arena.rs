//! The arena: what outlives a worker. A memfd that supervisor and worker map, with the descriptors that
//! must stay open and every event that was read from the kernel and not answered.
//!
//! The kernel copies events straight into an inbox here, so the death of the worker between read(2) and
//! anything else loses none. An event moves to a slot before it is processed; a slot is freed after the
//! answer and before its descriptor is closed. So a slot that is not free names an open descriptor (or,
//! after the loss of the whole descriptor table, a number the kernel still waits for).
//!
//! ```text
//! page 0   header: magic, version, slots, next serial, workers started
//! page 1   kept descriptors, KEPT_MAX times {role, fd, key, key2}
//! page 9   inboxes, INBOXES times 1 KiB: raw events
//! page 11  notes: raw notifications, NOTES_BYTES
//! page 13  slots, 128 bytes each
//! ```

mod inbox;
mod kept;
mod slot;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

pub use self::inbox::RawEvent;
pub use self::kept::{Kept, Role};
pub use self::slot::{Slot, SlotState};
pub(super) use self::slot::{answer_of_word, kind_of_word, word_of_answer};
use crate::sys::shared_memory::{SharedMemory, memfd};

const MAGIC: u64 = u64::from_ne_bytes(*b"dmapiARN");
/// Grows when the layout changes. A newer program takes up only its own version.
pub const VERSION: u64 = 1;

const WORD: usize = 8;
const PAGE_WORDS: usize = 4096 / WORD;

const H_MAGIC: usize = 0;
const H_VERSION: usize = 1;
const H_SLOTS: usize = 2;
const H_SERIAL: usize = 3;
const H_WORKERS: usize = 4;
const H_NOTES_DONE: usize = 5;
const H_PID_NEXT: usize = 6;
const H_PIDS: usize = 8;
/// Process ids of the last workers: their own changes of attributes are no news.
const PIDS: usize = 16;

const KEPT: usize = PAGE_WORDS;
/// Descriptors that can be kept: two for each file system and a few of the daemon.
pub const KEPT_MAX: usize = 1024;
const KEPT_WORDS: usize = 4;

const INBOX: usize = KEPT + KEPT_MAX * KEPT_WORDS;
/// Threads that can read events at once.
pub const INBOXES: usize = 8;
const INBOX_WORDS: usize = 128;
/// Bytes of an inbox, and the most that one read(2) may bring.
pub const INBOX_BYTES: usize = INBOX_WORDS * WORD;

const NOTES: usize = INBOX + INBOXES * INBOX_WORDS;
const NOTES_WORDS: usize = 1024;
/// The most that one read(2) of notifications may bring; one has two names and three handles at most.
pub const NOTES_BYTES: usize = NOTES_WORDS * WORD;

const SLOT: usize = NOTES + NOTES_WORDS;
const SLOT_WORDS: usize = 16;
/// Slots of an ordinary daemon: each is one blocked process with one open descriptor.
pub const SLOTS_DEFAULT: usize = 16384;

/// Bytes of an event without records: the smallest that the kernel gives.
pub const EVENT_BYTES_MIN: usize = 24;
/// Bytes of an event with a range: the largest that a group of ours gets.
pub const EVENT_BYTES_MAX: usize = 48;

const _: () = assert!((KEPT_MAX * KEPT_WORDS * WORD).is_multiple_of(4096));

/// The arena, mapped. Its descriptor is kept open with it.
#[derive(Debug)]
pub struct Arena {
    memory: SharedMemory,
    fd: OwnedFd,
    slots: usize,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Arena {
    /// A new, empty arena.
    pub fn create(slots: usize) -> io::Result<Self> {
        let bytes = (SLOT + slots * SLOT_WORDS) * WORD;
        let fd = memfd(c"dmapi-arena", bytes as u64)?;
        let memory = SharedMemory::map(fd.as_fd())?;
        memory.set(H_VERSION, VERSION);
        memory.set(H_SLOTS, slots as u64);
        memory.set(H_SERIAL, 1);
        memory.set(H_MAGIC, MAGIC);
        Ok(Self { memory, fd, slots })
    }

    /// An arena that an earlier process made.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let memory = SharedMemory::map(fd.as_fd())?;
        if memory.words() < SLOT || memory.get(H_MAGIC) != MAGIC {
            return Err(invalid("the descriptor is no arena of dmapid"));
        }
        if memory.get(H_VERSION) != VERSION {
            return Err(invalid("the arena has another version than this program"));
        }
        let slots = memory.get(H_SLOTS) as usize;
        if slots != (memory.words() - SLOT) / SLOT_WORDS {
            return Err(invalid("the arena's size does not fit its slots"));
        }
        Ok(Self { memory, fd, slots })
    }

    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// How many slots it has.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Counts workers: the number of this one, from 1.
    pub fn worker_started(&self) -> u64 {
        self.memory.word(H_WORKERS).fetch_add(1, Ordering::AcqRel) + 1
    }

    /// This process is the worker now.
    pub fn note_worker(&self, pid: u32) {
        if !self.is_worker(pid) {
            let place = self.memory.word(H_PID_NEXT).fetch_add(1, Ordering::AcqRel);
            self.memory
                .set(H_PIDS + place as usize % PIDS, u64::from(pid));
        }
    }

    /// Is this the process of a worker, now or not long ago?
    pub fn is_worker(&self, pid: u32) -> bool {
        pid != 0 && (0..PIDS).any(|index| self.memory.get(H_PIDS + index) == u64::from(pid))
    }
}

#[cfg(test)]
mod tests;

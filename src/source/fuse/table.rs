//! What outlives a worker: the open files of one FUSE mount, and the requests that wait for an answer.
//!
//! A memfd that every worker maps. The kernel sends a request again that nobody answered, so the bytes of
//! requests are not here; what is here is what they had led to. Rows are written before what they tell of
//! is done, and freed after the kernel was told that it is over.
//!
//! ```text
//! page 0   header: magic, version, what INIT agreed on
//! page 1   open files, 10 words each
//! then     open or ended objects, 10 words each
//! then     requests, 10 words each
//! ```

mod files;
mod objects;
mod requests;

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use self::files::F_FD;
pub use self::files::{OpenFile, Way};
pub use self::objects::Object;
use self::objects::{O_BACKING_FD, O_ENDED_FD};
pub use self::requests::{Pending, is_ours};
use crate::sys::process;
use crate::sys::shared_memory::{SharedMemory, memfd};

const MAGIC: u64 = u64::from_ne_bytes(*b"dmapiFUS");
/// Grows when the layout changes. A newer program takes up only its own version.
const VERSION: u64 = 1;

const WORD: usize = 8;
const HEADER_WORDS: usize = 4096 / WORD;
const ROW_WORDS: usize = 10;
/// Files and directories that can be open at once.
pub const FILES: usize = 32768;
/// Objects that have a backing file registered, or were removed while in use.
pub const OBJECTS: usize = 32768;
/// Requests that can wait at once, or be on their way.
pub const REQUESTS: usize = 16384;

const H_MAGIC: usize = 0;
const H_VERSION: usize = 1;
const H_INIT_MINOR: usize = 2;
const H_INIT_FLAGS: usize = 3;
const H_BACKING_LAST: usize = 4;

const FILE: usize = HEADER_WORDS;
const OBJECT: usize = FILE + FILES * ROW_WORDS;
const REQUEST: usize = OBJECT + OBJECTS * ROW_WORDS;
const WORDS: usize = REQUEST + REQUESTS * ROW_WORDS;

const FREE: u64 = 0;
const USED: u64 = 1;

/// In the place of a descriptor that was lost with all processes that had it. No process has this number.
pub const FD_LOST: RawFd = RawFd::MAX;

/// See the module.
#[derive(Debug)]
pub struct Table {
    memory: SharedMemory,
    /// Never closed by accident: the next worker needs it.
    fd: ManuallyDrop<OwnedFd>,
    free_files: Mutex<Vec<usize>>,
    free_objects: Mutex<Vec<usize>>,
    free_requests: Mutex<Vec<usize>>,
}

fn plus(fd: Option<RawFd>) -> u64 {
    fd.map_or(0, |fd| fd as u64 + 1)
}

fn minus(word: u64) -> Option<RawFd> {
    Some(word.checked_sub(1)? as RawFd)
}

impl Table {
    /// A new, empty table.
    pub fn create() -> io::Result<Self> {
        let fd = memfd(c"dmapi-fuse", (WORDS * WORD) as u64)?;
        let memory = SharedMemory::map(fd.as_fd())?;
        memory.set(H_VERSION, VERSION);
        memory.set(H_MAGIC, MAGIC);
        Ok(Self::with_free_lists(memory, fd))
    }

    /// The table of an earlier worker.
    pub fn open(fd: OwnedFd) -> io::Result<Self> {
        let memory = SharedMemory::map(fd.as_fd())?;
        let is_ours = memory.words() == WORDS
            && memory.get(H_MAGIC) == MAGIC
            && memory.get(H_VERSION) == VERSION;
        if !is_ours {
            let what = "the table of a FUSE mount has another version than this program";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self::with_free_lists(memory, fd))
    }

    fn with_free_lists(memory: SharedMemory, fd: OwnedFd) -> Self {
        let free = |first: usize, count: usize| {
            (0..count)
                .rev()
                .filter(|row| memory.get(first + row * ROW_WORDS) == FREE)
                .collect::<Vec<_>>()
        };
        let (files, objects, requests) = (
            free(FILE, FILES),
            free(OBJECT, OBJECTS),
            free(REQUEST, REQUESTS),
        );
        Self {
            memory,
            fd: ManuallyDrop::new(fd),
            free_files: Mutex::new(files),
            free_objects: Mutex::new(objects),
            free_requests: Mutex::new(requests),
        }
    }

    /// The number of its own descriptor.
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn take(free: &Mutex<Vec<usize>>) -> Option<usize> {
        free.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(free: &Mutex<Vec<usize>>, row: usize) {
        free.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(row);
    }

    // ---- what INIT agreed on

    /// The minor version and the flags that both sides have; `None`: INIT was not answered yet.
    pub fn agreed(&self) -> Option<(u32, u64)> {
        let minor = self.memory.get(H_INIT_MINOR);
        (minor != 0).then(|| (minor as u32, self.memory.get(H_INIT_FLAGS)))
    }

    /// Notes what INIT agreed on.
    pub fn agree(&self, minor: u32, flags: u64) {
        self.memory.set(H_INIT_FLAGS, flags);
        self.memory.set(H_INIT_MINOR, u64::from(minor));
    }

    /// The kernel has given out this number for a backing file.
    pub fn note_backing(&self, id: i32) {
        self.memory.set(H_BACKING_LAST, id as u64);
    }

    /// The number that was given out last.
    pub fn last_backing(&self) -> i32 {
        self.memory.get(H_BACKING_LAST) as i32
    }

    /// Every descriptor that must stay open when the worker dies.
    pub fn numbers(&self) -> Vec<RawFd> {
        let of_files = self.files().filter_map(|file| file.fd);
        let of_objects = self
            .objects()
            .flat_map(|object| [object.backing.map(|(_, fd)| fd), object.ended])
            .flatten();
        let all = of_files.chain(of_objects);
        all.filter(|fd| *fd != FD_LOST).collect()
    }

    /// All processes that had the descriptors are dead: the numbers mean nothing, or something else.
    fn lose_descriptors(&self) {
        for file in self.files().filter(|file| file.fd.is_some()) {
            let word = FILE + file.row * ROW_WORDS;
            self.memory.set(word + F_FD, plus(Some(FD_LOST)));
        }
        for object in self.objects() {
            let word = OBJECT + object.row * ROW_WORDS;
            if object.backing.is_some() {
                self.memory.set(word + O_BACKING_FD, plus(Some(FD_LOST)));
            }
            self.memory.set(word + O_ENDED_FD, plus(None));
        }
    }
}

/// The descriptors of the table that is behind a kept descriptor; none if it is no table.
pub fn numbers(kept: RawFd) -> Vec<RawFd> {
    process::with_borrowed(kept, |fd| fd.try_clone_to_owned())
        .and_then(Table::open)
        .map_or_else(
            |_| Vec::new(),
            |table| {
                let numbers = table.numbers();
                drop(ManuallyDrop::into_inner(table.fd));
                numbers
            },
        )
}

/// The table is here and the descriptors that it names are lost: see [`FD_LOST`].
pub fn descriptors_lost(kept: RawFd) {
    let table = process::with_borrowed(kept, |fd| fd.try_clone_to_owned()).and_then(Table::open);
    if let Ok(table) = table {
        table.lose_descriptors();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::Serial;
    use crate::model::{Answer, EventType};

    fn file(node: u64, fd: RawFd) -> OpenFile {
        OpenFile {
            row: 0,
            uses: 0,
            unique: 10 + node,
            node,
            fd: Some(fd),
            flags: 2,
            way: Way::Cached,
            ctime: (-1, 5),
        }
    }

    #[test]
    fn the_next_worker_finds_what_was_open() {
        let table = Table::create().expect("memfd");
        let one = table.add_file(file(7, 30)).expect("room");
        let two = table.add_file(file(8, 31)).expect("room");
        table.remove_file(&one);
        let row = table.add_object(8, 99).expect("room");
        table.set_backing(row, Some((0, 32)));
        table.set_ended(row, Some(33), true);
        let next = Table::open(table.fd.try_clone().expect("dup")).expect("table");
        assert_eq!(next.file(one.fh()), None);
        assert_eq!(next.file(0), None);
        assert_eq!(next.file(two.fh()), Some(two));
        assert_eq!(next.file_of_request(18), Some(two));
        assert_eq!(next.numbers(), vec![31, 32, 33]);
        assert_eq!(numbers(next.number()), vec![31, 32, 33]);
        let again = next.add_file(file(9, 34)).expect("room");
        assert_eq!((again.row, next.file(one.fh())), (one.row, None));
        let object = next.objects().next().expect("an object");
        assert_eq!(object.backing, Some((0, 32)));
        assert!(object.listed && object.is_ended);
    }

    #[test]
    fn a_request_is_found_by_its_serial_until_it_is_over() {
        let table = Table::create().expect("memfd");
        let row = table.add_request(5, 77, 1).expect("room");
        assert_eq!(table.request(row).expect("there").serial, None);
        let serial = table.set_queued(row, 1, EventType::Read, 3);
        table.set_intended(row, Answer::Abort(16));
        let pending = table.request_of(serial).expect("queued");
        assert_eq!(pending.intended, Some(Answer::Abort(16)));
        assert_eq!(pending.kind, Some(EventType::Read));
        let again = table.set_queued(row, 2, EventType::Write, 0);
        assert_eq!(table.request_of(serial), None);
        assert_eq!(table.request_of(again).expect("queued").intended, None);
        table.remove_request(row);
        assert_eq!(table.request_of(again), None);
        assert!(is_ours(serial) && !is_ours(Serial(1 << 40)));
    }

    #[test]
    fn a_number_that_was_lost_is_nobodys() {
        let table = Table::create().expect("memfd");
        let one = table.add_file(file(7, 30)).expect("room");
        let row = table.add_object(8, 99).expect("room");
        table.set_backing(row, Some((4, 32)));
        table.set_ended(row, Some(33), true);
        descriptors_lost(table.number());
        assert!(table.numbers().is_empty());
        assert_eq!(table.file(one.fh()).expect("still open").fd, Some(FD_LOST));
        let object = table.object(row).expect("still there");
        // The kernel still has the backing file.
        assert_eq!(object.backing, Some((4, FD_LOST)));
        assert!(object.ended.is_none() && object.is_ended);
        assert!(process::take_inherited(FD_LOST).is_none());
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let fd = memfd(c"dmapi-test", 4096).expect("memfd");
        assert!(Table::open(fd).is_err());
        let other = memfd(c"dmapi-test", 4096).expect("memfd");
        assert!(numbers(other.as_raw_fd()).is_empty());
    }
}

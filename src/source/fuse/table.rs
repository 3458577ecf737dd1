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

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use crate::model::ids::Serial;
use crate::model::{Answer, EventType};
use crate::source::arena::{answer_of_word, kind_of_word, word_of_answer};
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

const F_STATE: usize = 0;
const F_UNIQUE: usize = 1;
const F_NODE: usize = 2;
const F_FD: usize = 3;
const F_FLAGS: usize = 4;
const F_WAY: usize = 5;
const F_CTIME: usize = 6;
const F_CTIME_NS: usize = 7;
const F_USES: usize = 8;

/// Rows in the number of an open file; above them is how often the row was used, so that a request which comes
/// again for a file that is closed meanwhile does not name another.
const FH_ROW_BITS: u32 = 20;
const _: () = assert!(FILES < 1 << FH_ROW_BITS);

const O_STATE: usize = 0;
const O_NODE: usize = 1;
const O_GENERATION: usize = 2;
const O_BACKING: usize = 3;
const O_BACKING_FD: usize = 4;
const O_ENDED_FD: usize = 5;
const O_FLAGS: usize = 6;

/// DESTROY is in the object's own list.
const FLAG_LISTED: u64 = 1;
/// The last name is gone.
const FLAG_ENDED: u64 = 2;
/// The engine was told so.
const FLAG_DESTROYED: u64 = 4;

const R_STATE: usize = 0;
const R_UNIQUE: usize = 1;
const R_SERIAL: usize = 2;
const R_KIND: usize = 3;
const R_INTENDED: usize = 4;
const R_AUX: usize = 5;
const R_SINCE: usize = 6;
const R_PID: usize = 7;
const R_CHANGES: usize = 8;

/// In the place of a descriptor that was lost with all processes that had it. No process has this number.
pub const FD_LOST: RawFd = RawFd::MAX;

const REQUEST_DOING: u64 = 1;
const REQUEST_QUEUED: u64 = 2;

/// Bit that serials of this source have, so that they are no other source's.
const SERIAL_BIT: u64 = 1 << 62;
const SERIAL_ROW_BITS: u32 = 16;
const _: () = assert!(REQUESTS <= 1 << SERIAL_ROW_BITS);

/// How a file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel reads and writes the backing file itself.
    Passthrough,
    /// Through the kernel's cache of the mount; we read and write.
    Cached,
    /// A directory.
    Directory,
}

/// An open file or directory. Its number in the kernel is [`OpenFile::fh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Its place.
    pub row: usize,
    /// How often its place was used.
    pub uses: u64,
    /// The request that opened it.
    pub unique: u64,
    /// Its node.
    pub node: u64,
    /// Our descriptor of a directory; `None`: the one of the object is used.
    pub fd: Option<RawFd>,
    /// Flags of the user's open.
    pub flags: u32,
    /// How it is open.
    pub way: Way,
    /// ctime of the backing file when it was opened to be written past us.
    pub ctime: (i64, u32),
}

impl OpenFile {
    /// What the kernel calls it.
    pub fn fh(&self) -> u64 {
        self.uses << FH_ROW_BITS | (self.row as u64 + 1)
    }
}

/// An object with something that must outlive the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its place.
    pub row: usize,
    /// Its node.
    pub node: u64,
    /// Its generation.
    pub generation: u32,
    /// Its backing file as the kernel knows it, and our descriptor of that.
    pub backing: Option<(i32, RawFd)>,
    /// A descriptor that keeps an object without names.
    pub ended: Option<RawFd>,
    /// The last name is gone.
    pub is_ended: bool,
    /// DESTROY was in its own list.
    pub listed: bool,
    /// DESTROY was told.
    pub is_destroyed: bool,
}

/// A request that has led to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its place.
    pub row: usize,
    /// Its number.
    pub unique: u64,
    /// The event that was queued for it; `None`: it is being carried out.
    pub serial: Option<Serial>,
    /// The kind of that event.
    pub kind: Option<EventType>,
    /// The answer that was recorded.
    pub intended: Option<Answer>,
    /// What the operation noted.
    pub aux: u64,
    /// Punch counter of the file when the event was queued.
    pub changes: u32,
    /// When it began, CLOCK_REALTIME ms.
    pub since_ms: u64,
    /// The thread that waits.
    pub pid: u32,
}

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

    // ---- open files

    /// Enters an open file; the table has its descriptor from now on. `None`: too many are open.
    pub fn add_file(&self, file: OpenFile) -> Option<OpenFile> {
        let row = Self::take(&self.free_files)?;
        let word = FILE + row * ROW_WORDS;
        let set = |field: usize, value: u64| self.memory.set(word + field, value);
        set(F_UNIQUE, file.unique);
        set(F_NODE, file.node);
        let uses = self.memory.get(word + F_USES) + 1;
        set(F_USES, uses);
        set(F_FD, plus(file.fd));
        set(F_FLAGS, u64::from(file.flags));
        set(F_WAY, file.way as u64);
        set(F_CTIME, file.ctime.0 as u64);
        set(F_CTIME_NS, u64::from(file.ctime.1));
        set(F_STATE, USED);
        Some(OpenFile { row, uses, ..file })
    }

    /// The open file that the kernel calls so.
    pub fn file(&self, fh: u64) -> Option<OpenFile> {
        let place = fh & ((1 << FH_ROW_BITS) - 1);
        let row = usize::try_from(place.checked_sub(1)?).ok()?;
        let file = (row < FILES).then(|| self.file_in(row)).flatten()?;
        (file.fh() == fh).then_some(file)
    }

    fn file_in(&self, row: usize) -> Option<OpenFile> {
        let word = FILE + row * ROW_WORDS;
        let get = |field: usize| self.memory.get(word + field);
        (get(F_STATE) == USED).then(|| OpenFile {
            row,
            uses: get(F_USES),
            unique: get(F_UNIQUE),
            node: get(F_NODE),
            fd: minus(get(F_FD)),
            flags: get(F_FLAGS) as u32,
            way: match get(F_WAY) {
                0 => Way::Passthrough,
                1 => Way::Cached,
                _ => Way::Directory,
            },
            ctime: (get(F_CTIME) as i64, get(F_CTIME_NS) as u32),
        })
    }

    /// All open files.
    pub fn files(&self) -> impl Iterator<Item = OpenFile> {
        (0..FILES).filter_map(|row| self.file_in(row))
    }

    /// The open file that a request made; for one that comes again.
    pub fn file_of_request(&self, unique: u64) -> Option<OpenFile> {
        self.files().find(|file| file.unique == unique)
    }

    /// Forgets an open file. To be done before its descriptor is closed, which is the caller's.
    pub fn remove_file(&self, file: &OpenFile) {
        self.memory.set(FILE + file.row * ROW_WORDS + F_STATE, FREE);
        Self::give(&self.free_files, file.row);
    }

    // ---- objects

    /// Enters an object. `None`: there is no room.
    pub fn add_object(&self, node: u64, generation: u32) -> Option<usize> {
        let row = Self::take(&self.free_objects)?;
        let word = OBJECT + row * ROW_WORDS;
        for field in [O_BACKING, O_BACKING_FD, O_ENDED_FD, O_FLAGS] {
            self.memory.set(word + field, 0);
        }
        self.memory.set(word + O_NODE, node);
        self.memory.set(word + O_GENERATION, u64::from(generation));
        self.memory.set(word + O_STATE, USED);
        Some(row)
    }

    /// What is in a row; `None` if it is free.
    pub fn object(&self, row: usize) -> Option<Object> {
        let word = OBJECT + row * ROW_WORDS;
        let get = |field: usize| self.memory.get(word + field);
        (get(O_STATE) == USED).then(|| Object {
            row,
            node: get(O_NODE),
            generation: get(O_GENERATION) as u32,
            backing: minus(get(O_BACKING_FD)).map(|fd| (get(O_BACKING) as i32, fd)),
            ended: minus(get(O_ENDED_FD)),
            is_ended: get(O_FLAGS) & FLAG_ENDED != 0,
            listed: get(O_FLAGS) & FLAG_LISTED != 0,
            is_destroyed: get(O_FLAGS) & FLAG_DESTROYED != 0,
        })
    }

    /// All objects.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        (0..OBJECTS).filter_map(|row| self.object(row))
    }

    /// Notes the backing file of an object, or that it has none.
    pub fn set_backing(&self, row: usize, backing: Option<(i32, RawFd)>) {
        let word = OBJECT + row * ROW_WORDS;
        if let Some((id, _)) = backing {
            self.memory.set(word + O_BACKING, id as u64);
        }
        let fd = backing.map(|(_, fd)| fd);
        self.memory.set(word + O_BACKING_FD, plus(fd));
    }

    /// The object has no name any more; `fd` keeps it, `listed`: DESTROY is in its own list.
    pub fn set_ended(&self, row: usize, fd: Option<RawFd>, listed: bool) {
        let word = OBJECT + row * ROW_WORDS;
        let flags = FLAG_ENDED | if listed { FLAG_LISTED } else { 0 };
        self.memory.set(word + O_ENDED_FD, plus(fd));
        self.memory.set(word + O_FLAGS, flags);
    }

    /// DESTROY was told of it.
    pub fn set_destroyed(&self, row: usize) {
        let word = OBJECT + row * ROW_WORDS + O_FLAGS;
        self.memory
            .set(word, self.memory.get(word) | FLAG_DESTROYED);
    }

    /// The object has a name after all. The descriptor that kept it is the caller's from now on.
    pub fn clear_ended(&self, row: usize) -> Option<RawFd> {
        let word = OBJECT + row * ROW_WORDS;
        let fd = minus(self.memory.get(word + O_ENDED_FD));
        self.memory.set(word + O_ENDED_FD, 0);
        self.memory.set(word + O_FLAGS, 0);
        fd
    }

    /// Forgets an object. Its descriptors are the caller's from now on.
    pub fn remove_object(&self, row: usize) {
        self.memory.set(OBJECT + row * ROW_WORDS + O_STATE, FREE);
        Self::give(&self.free_objects, row);
    }

    // ---- requests

    /// Enters a request that is about to be carried out, or for which an event is about to be queued.
    pub fn add_request(&self, unique: u64, pid: u32, now_ms: u64) -> Option<usize> {
        let row = Self::take(&self.free_requests)?;
        let word = REQUEST + row * ROW_WORDS;
        for field in [R_SERIAL, R_KIND, R_INTENDED, R_AUX, R_CHANGES] {
            self.memory.set(word + field, 0);
        }
        self.memory.set(word + R_UNIQUE, unique);
        self.memory.set(word + R_PID, u64::from(pid));
        self.memory.set(word + R_SINCE, now_ms);
        self.memory.set(word + R_STATE, REQUEST_DOING);
        Some(row)
    }

    /// What is in a row; `None` if it is free.
    pub fn request(&self, row: usize) -> Option<Pending> {
        let word = REQUEST + row * ROW_WORDS;
        let get = |field: usize| self.memory.get(word + field);
        let state = get(R_STATE);
        (state != FREE).then(|| Pending {
            row,
            unique: get(R_UNIQUE),
            serial: (state == REQUEST_QUEUED).then(|| Serial(get(R_SERIAL))),
            kind: kind_of_word(get(R_KIND)),
            intended: answer_of_word(get(R_INTENDED)),
            aux: get(R_AUX),
            changes: get(R_CHANGES) as u32,
            since_ms: get(R_SINCE),
            pid: get(R_PID) as u32,
        })
    }

    /// All requests that have led to something.
    pub fn requests(&self) -> impl Iterator<Item = Pending> {
        (0..REQUESTS).filter_map(|row| self.request(row))
    }

    /// An event is about to be queued for it, under a new serial: the `count`th of all mounts.
    pub fn set_queued(&self, row: usize, count: u64, kind: EventType, changes: u32) -> Serial {
        let serial = Serial(SERIAL_BIT | count << SERIAL_ROW_BITS | row as u64);
        let word = REQUEST + row * ROW_WORDS;
        self.memory.set(word + R_INTENDED, 0);
        self.memory.set(word + R_CHANGES, u64::from(changes));
        self.memory.set(word + R_KIND, kind as u64 + 1);
        self.memory.set(word + R_SERIAL, serial.0);
        self.memory.set(word + R_STATE, REQUEST_QUEUED);
        serial
    }

    /// The operation is about to be done; `aux` helps to see later whether it was.
    pub fn set_doing(&self, row: usize, aux: u64) {
        let word = REQUEST + row * ROW_WORDS;
        self.memory.set(word + R_AUX, aux);
        self.memory.set(word + R_STATE, REQUEST_DOING);
    }

    /// The request whose event has that serial.
    pub fn request_of(&self, serial: Serial) -> Option<Pending> {
        if !is_ours(serial) {
            return None;
        }
        let row = (serial.0 & ((1 << SERIAL_ROW_BITS) - 1)) as usize;
        (row < REQUESTS)
            .then(|| self.request(row))
            .flatten()
            .filter(|pending| pending.serial == Some(serial))
    }

    /// Notes the answer that is about to be recorded.
    pub fn set_intended(&self, row: usize, answer: Answer) {
        let word = REQUEST + row * ROW_WORDS;
        self.memory.set(word + R_INTENDED, word_of_answer(answer));
    }

    /// The kernel has its answer.
    pub fn remove_request(&self, row: usize) {
        self.memory.set(REQUEST + row * ROW_WORDS + R_STATE, FREE);
        Self::give(&self.free_requests, row);
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

/// Was the serial given by this source?
pub fn is_ours(serial: Serial) -> bool {
    serial.0 & SERIAL_BIT != 0
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

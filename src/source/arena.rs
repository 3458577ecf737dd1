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

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;

use crate::model::handle::{FsId, Handle};
use crate::model::ids::Serial;
use crate::model::{Answer, EventType};
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

const INFO_TYPE_RANGE: u64 = 6;
/// Being written: its writer died if a new worker sees it.
const ROLE_BUSY: u64 = u64::MAX;

/// What a kept descriptor is for. The daemon may add its own from `OTHERS` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Role(pub u32);

#[allow(missing_docs)]
impl Role {
    /// The arena itself.
    pub const ARENA: Self = Self(1);
    /// fanotify group of the permission events.
    pub const GROUP: Self = Self(2);
    /// fanotify group of the notifications.
    pub const NOTIFICATIONS: Self = Self(3);
    /// The tree of a private mount; key: file system.
    pub const PRIVATE_TREE: Self = Self(5);
    /// The root directory on a private mount; key: file system.
    pub const PRIVATE_ROOT: Self = Self(6);
    /// `/dev/fuse` of a file system; key: file system.
    pub const FUSE: Self = Self(7);
    /// The table of a FUSE mount; key: file system.
    pub const FUSE_TABLE: Self = Self(9);
    /// The tree of the private mount behind a FUSE mount; key: file system.
    pub const FUSE_TREE: Self = Self(10);
    /// The backing directory on that private mount; key: file system, more: `st_dev` of the FUSE mount.
    pub const FUSE_ROOT: Self = Self(11);
    /// The writing end of a pipe (`sys::life`): it is kept wherever the others are.
    pub const LIFE: Self = Self(12);
    /// The listening control socket.
    pub const LISTENER: Self = Self(8);
    /// From here on the daemon's own.
    pub const OTHERS: Self = Self(64);
}

/// One descriptor that must stay open from worker to worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What for.
    pub role: Role,
    /// Its number.
    pub fd: RawFd,
    /// Which one of that role (a file system id, or 0).
    pub key: u64,
    /// A second word for the owner of the role.
    pub more: u64,
}

/// An event as the kernel gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// The event's descriptor; the answer names this number.
    pub fd: RawFd,
    /// Thread that waits (0: in another pid namespace).
    pub tid: u32,
    /// `FAN_PRE_ACCESS`, `FAN_OPEN_PERM`.
    pub mask: u64,
    /// Offset and count, rounded to pages.
    pub range: Option<(u64, u64)>,
}

/// Where a slot's event is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum SlotState {
    /// No event.
    Free = 0,
    /// Read, and being looked at by a thread of the source.
    Fresh = 1,
    /// Held by the source until a change of the file is done.
    Held = 2,
    /// Given to the engine (or about to be).
    Queued = 3,
    /// One thread is answering it.
    Answering = 4,
}

/// An unanswered event with what was found out about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its place.
    pub index: usize,
    /// Where it is on its way.
    pub state: SlotState,
    /// The descriptor was lost with the process that had it: the number only names the event.
    pub stale: bool,
    /// Its name towards the engine.
    pub serial: Serial,
    /// What the kernel said.
    pub event: RawEvent,
    /// The process that waits, once known (0: not).
    pub pid: u32,
    /// The file, once known.
    pub file: Option<Handle>,
    /// What was queued for it.
    pub kind: Option<EventType>,
    /// Punch counter of the file when it was queued.
    pub punches: u64,
    /// The answer that is being recorded.
    pub intended: Option<Answer>,
    /// When it was read, CLOCK_REALTIME ms.
    pub since_ms: u64,
    /// Hash of the waiting thread's system call line, 0 if unknown.
    pub call: u64,
}

const S_STATE: usize = 0;
const S_SERIAL: usize = 1;
const S_FD: usize = 2;
const S_TID: usize = 3;
const S_MASK: usize = 4;
const S_OFFSET: usize = 5;
const S_COUNT: usize = 6;
const S_FLAGS: usize = 7;
const S_FS: usize = 8;
const S_INODE: usize = 9;
const S_GENERATION: usize = 10;
const S_KIND: usize = 11;
const S_PUNCHES: usize = 12;
const S_INTENDED: usize = 13;
const S_SINCE: usize = 14;
const S_CALL: usize = 15;

const FLAG_RANGE: u64 = 1;
const FLAG_STALE: u64 = 2;

const _: () = assert!(S_CALL < SLOT_WORDS);
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

    // ---- kept descriptors

    fn kept_word(index: usize) -> usize {
        KEPT + index * KEPT_WORDS
    }

    /// Enters a descriptor in the kept list: the supervisor leaves it open when a worker dies.
    pub fn keep(&self, kept: Kept) -> io::Result<()> {
        for index in 0..KEPT_MAX {
            let word = Self::kept_word(index);
            let free = self.memory.word(word).compare_exchange(
                0,
                ROLE_BUSY,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if free.is_ok() {
                self.memory.set(word + 1, kept.fd as u64);
                self.memory.set(word + 2, kept.key);
                self.memory.set(word + 3, kept.more);
                self.memory.set(word, u64::from(kept.role.0));
                return Ok(());
            }
        }
        Err(io::Error::from_raw_os_error(libc::ENFILE))
    }

    /// Changes the second word of a kept descriptor.
    pub fn set_more(&self, fd: RawFd, more: u64) {
        for index in 0..KEPT_MAX {
            let word = Self::kept_word(index);
            let role = self.memory.get(word);
            if role != 0 && role != ROLE_BUSY && self.memory.get(word + 1) as RawFd == fd {
                self.memory.set(word + 3, more);
            }
        }
    }

    /// Takes a descriptor out of the list. To be done before it is closed.
    pub fn unkeep(&self, fd: RawFd) {
        for index in 0..KEPT_MAX {
            let word = Self::kept_word(index);
            let role = self.memory.get(word);
            if role != 0 && role != ROLE_BUSY && self.memory.get(word + 1) as RawFd == fd {
                self.memory.set(word, 0);
            }
        }
    }

    /// The kept list. Entries whose writer died half way are not in it.
    pub fn kept(&self) -> Vec<Kept> {
        (0..KEPT_MAX)
            .filter_map(|index| {
                let word = Self::kept_word(index);
                let role = self.memory.get(word);
                (role != 0 && role != ROLE_BUSY).then(|| Kept {
                    role: Role(role as u32),
                    fd: self.memory.get(word + 1) as RawFd,
                    key: self.memory.get(word + 2),
                    more: self.memory.get(word + 3),
                })
            })
            .collect()
    }

    /// The first kept descriptor of a role.
    pub fn kept_fd(&self, role: Role) -> Option<RawFd> {
        self.kept()
            .iter()
            .find(|kept| kept.role == role)
            .map(|kept| kept.fd)
    }

    /// Forgets all kept descriptors: for a process that has none of them (systemd gave it copies).
    pub fn forget_kept(&self) {
        for index in 0..KEPT_MAX {
            self.memory.set(Self::kept_word(index), 0);
        }
    }

    /// Every descriptor that must stay open when a worker died: the kept list and the descriptors of
    /// unanswered events. To be called while no worker runs.
    pub fn must_stay_open(&self) -> Vec<RawFd> {
        let mut numbers: Vec<RawFd> = self.kept().iter().map(|kept| kept.fd).collect();
        numbers.extend(self.event_numbers());
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// The numbers of the descriptors of all unanswered events, sorted.
    pub fn event_numbers(&self) -> Vec<RawFd> {
        let in_slots = self.occupied().map(|slot| slot.event.fd);
        let in_inboxes = (0..INBOXES).flat_map(|inbox| self.inbox(inbox));
        let mut numbers: Vec<RawFd> = in_slots
            .chain(in_inboxes.map(|event| event.fd))
            .filter(|fd| *fd >= 0)
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    // ---- inboxes

    fn inbox_word(inbox: usize) -> usize {
        assert!(inbox < INBOXES);
        INBOX + inbox * INBOX_WORDS
    }

    /// Reads at most `bytes` bytes of events into an empty inbox.
    pub fn fill(&self, group: BorrowedFd<'_>, inbox: usize, bytes: usize) -> io::Result<usize> {
        let word = Self::inbox_word(inbox);
        debug_assert_eq!(self.memory.get(word), 0, "the inbox was not emptied");
        self.memory.fill(group, word, bytes.min(INBOX_BYTES))
    }

    /// The events of an inbox.
    pub fn inbox(&self, inbox: usize) -> Vec<RawEvent> {
        let first = Self::inbox_word(inbox);
        let end = first + INBOX_WORDS;
        let mut events = Vec::new();
        let mut at = first;
        while at + 3 <= end {
            let head = self.memory.get(at);
            let words = (head as u32 as usize) / WORD;
            if words < 3 || at + words > end {
                break;
            }
            events.push(self.raw_event(at, words));
            at += words;
        }
        events
    }

    fn raw_event(&self, at: usize, words: usize) -> RawEvent {
        let head_words = (self.memory.get(at) >> 48) as usize / WORD;
        let who = self.memory.get(at + 2);
        let mut range = None;
        let mut record = at + head_words.max(3);
        while record < at + words {
            let info = self.memory.get(record);
            let info_words = ((info >> 16) as u16 as usize) / WORD;
            if info_words == 0 {
                break;
            }
            if info & 0xff == INFO_TYPE_RANGE && info_words >= 3 && record + 3 <= at + words {
                range = Some((self.memory.get(record + 1), self.memory.get(record + 2)));
            }
            record += info_words;
        }
        RawEvent {
            fd: who as u32 as RawFd,
            tid: (who >> 32) as u32,
            mask: self.memory.get(at + 1),
            range,
        }
    }

    /// Empties an inbox. Only after all its events are in slots, and before any of them is answered:
    /// the number of an answered event may come back as something else.
    pub fn empty_inbox(&self, inbox: usize) {
        let first = Self::inbox_word(inbox);
        for word in (first..first + INBOX_WORDS).rev() {
            self.memory.set(word, 0);
        }
    }

    // ---- notifications

    /// Reads notifications into the empty place for them.
    pub fn fill_notes(&self, group: BorrowedFd<'_>) -> io::Result<usize> {
        debug_assert_eq!(self.memory.get(NOTES), 0, "the notes were not emptied");
        self.memory.set(H_NOTES_DONE, 0);
        self.memory.fill(group, NOTES, NOTES_BYTES)
    }

    /// The bytes of the notifications, and how many of them were passed on before.
    pub fn notes(&self) -> (Vec<u8>, usize) {
        let bytes = (0..NOTES_WORDS)
            .flat_map(|word| self.memory.get(NOTES + word).to_ne_bytes())
            .collect();
        (bytes, self.memory.get(H_NOTES_DONE) as usize)
    }

    /// One more notification was passed on.
    pub fn note_done(&self) {
        self.memory
            .word(H_NOTES_DONE)
            .fetch_add(1, Ordering::AcqRel);
    }

    /// All notifications were passed on.
    pub fn empty_notes(&self) {
        for word in (NOTES..NOTES + NOTES_WORDS).rev() {
            self.memory.set(word, 0);
        }
    }

    // ---- slots

    fn slot_word(&self, index: usize) -> usize {
        assert!(index < self.slots);
        SLOT + index * SLOT_WORDS
    }

    /// A number that no other event of this arena's sources has.
    pub fn next_count(&self) -> u64 {
        self.memory.word(H_SERIAL).fetch_add(1, Ordering::AcqRel)
    }

    fn next_serial(&self, index: usize) -> Serial {
        let count = self.next_count();
        Serial(count << SERIAL_SLOT_BITS | index as u64)
    }

    /// The slot that a serial was given for.
    pub fn slot_of(&self, serial: Serial) -> Option<Slot> {
        let index = (serial.0 & SERIAL_SLOT_MASK) as usize;
        if index >= self.slots {
            return None;
        }
        self.slot(index).filter(|slot| slot.serial == serial)
    }

    /// Puts an event in a free slot, as `Fresh`.
    pub fn put(&self, index: usize, event: RawEvent, now_ms: u64) -> Serial {
        let word = self.slot_word(index);
        let memory = &self.memory;
        assert_eq!(memory.get(word + S_STATE), SlotState::Free as u64);
        let serial = self.next_serial(index);
        memory.set(word + S_SERIAL, serial.0);
        memory.set(word + S_FD, event.fd as u32 as u64);
        memory.set(word + S_TID, u64::from(event.tid));
        memory.set(word + S_MASK, event.mask);
        let (offset, count) = event.range.unwrap_or((0, 0));
        memory.set(word + S_OFFSET, offset);
        memory.set(word + S_COUNT, count);
        memory.set(
            word + S_FLAGS,
            if event.range.is_some() { FLAG_RANGE } else { 0 },
        );
        for field in [S_FS, S_KIND, S_PUNCHES, S_INTENDED, S_CALL] {
            memory.set(word + field, 0);
        }
        memory.set(word + S_SINCE, now_ms);
        memory.set(word + S_STATE, SlotState::Fresh as u64);
        serial
    }

    /// What is in a slot; `None` if it is free.
    pub fn slot(&self, index: usize) -> Option<Slot> {
        let word = self.slot_word(index);
        let get = |field: usize| self.memory.get(word + field);
        let state = match get(S_STATE) {
            0 => return None,
            1 => SlotState::Fresh,
            2 => SlotState::Held,
            3 => SlotState::Queued,
            _ => SlotState::Answering,
        };
        Some(Slot {
            index,
            state,
            stale: get(S_FLAGS) & FLAG_STALE != 0,
            serial: Serial(get(S_SERIAL)),
            event: RawEvent {
                fd: get(S_FD) as u32 as RawFd,
                tid: get(S_TID) as u32,
                mask: get(S_MASK),
                range: (get(S_FLAGS) & FLAG_RANGE != 0).then(|| (get(S_OFFSET), get(S_COUNT))),
            },
            pid: (get(S_TID) >> 32) as u32,
            file: (get(S_FS) != 0).then(|| Handle::Object {
                fs: FsId(get(S_FS)),
                inode: get(S_INODE),
                generation: get(S_GENERATION) as u32,
            }),
            kind: kind_of_word(get(S_KIND)),
            punches: get(S_PUNCHES),
            intended: answer_of_word(get(S_INTENDED)),
            since_ms: get(S_SINCE),
            call: get(S_CALL),
        })
    }

    /// All slots that are not free.
    pub fn occupied(&self) -> impl Iterator<Item = Slot> {
        (0..self.slots).filter_map(|index| self.slot(index))
    }

    /// Changes the state if it is still `from`. Who wins owns the next step.
    pub fn step(&self, index: usize, from: SlotState, to: SlotState) -> bool {
        self.memory
            .word(self.slot_word(index) + S_STATE)
            .compare_exchange(from as u64, to as u64, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Notes the file of an event.
    pub fn set_file(&self, index: usize, file: Handle) {
        let Handle::Object {
            fs,
            inode,
            generation,
        } = file
        else {
            return;
        };
        let word = self.slot_word(index);
        self.memory.set(word + S_INODE, inode);
        self.memory.set(word + S_GENERATION, u64::from(generation));
        self.memory.set(word + S_FS, fs.0);
    }

    /// Notes the waiting thread's process and system call.
    pub fn set_caller(&self, index: usize, pid: u32, call: u64) {
        let word = self.slot_word(index);
        let tid = self.memory.get(word + S_TID) & u64::from(u32::MAX);
        self.memory.set(word + S_TID, tid | u64::from(pid) << 32);
        self.memory.set(word + S_CALL, call);
    }

    fn set_stale(&self, index: usize) {
        self.memory
            .word(self.slot_word(index) + S_FLAGS)
            .fetch_or(FLAG_STALE, Ordering::AcqRel);
    }

    /// Puts events that were read and not yet put in slots there. An event that is in a slot already (the
    /// last worker died between the two) is known by its descriptor. Only while no thread reads.
    pub fn take_up_inboxes(&self, now_ms: u64) {
        let taken: Vec<_> = self.occupied().map(|slot| slot.event.fd).collect();
        let mut free = (0..self.slots).filter(|index| self.slot(*index).is_none());
        for inbox in 0..INBOXES {
            for event in self.inbox(inbox) {
                if taken.contains(&event.fd) {
                    continue;
                }
                // An inbox is filled only while so many slots are free.
                if let Some(index) = free.next() {
                    self.put(index, event, now_ms);
                }
            }
            self.empty_inbox(inbox);
        }
    }

    /// For a process that has the group and the arena, but not the descriptors of the events (systemd kept
    /// copies of the former): what is left of each event is its number, which the kernel waits for.
    ///
    /// Before this and before the first read of events all [`Arena::event_numbers`] must be occupied, or
    /// a new event gets the number of an old one and its answer releases the wrong process.
    pub fn descriptors_lost(&self, now_ms: u64) {
        self.take_up_inboxes(now_ms);
        for slot in self.occupied() {
            self.set_stale(slot.index);
        }
    }

    /// Sets the state of a slot that no other thread can see (at the start of a worker).
    pub fn set_state(&self, index: usize, state: SlotState) {
        self.memory
            .set(self.slot_word(index) + S_STATE, state as u64);
    }

    /// Notes what is queued for it. An event that is looked at again gets a new serial: the engine is
    /// through with the old one.
    pub fn set_queued(&self, index: usize, kind: EventType, punches: u64) -> Serial {
        let word = self.slot_word(index);
        let mut serial = Serial(self.memory.get(word + S_SERIAL));
        if self.memory.get(word + S_KIND) != 0 {
            serial = self.next_serial(index);
            self.memory.set(word + S_SERIAL, serial.0);
        }
        self.memory.set(word + S_INTENDED, 0);
        self.memory.set(word + S_PUNCHES, punches);
        self.memory.set(word + S_KIND, kind as u64 + 1);
        serial
    }

    /// Notes the answer that is about to be recorded.
    pub fn set_intended(&self, index: usize, answer: Option<Answer>) {
        let value = answer.map_or(0, word_of_answer);
        self.memory.set(self.slot_word(index) + S_INTENDED, value);
    }

    /// Frees a slot. After the answer, before its descriptor is closed.
    pub fn free(&self, index: usize) {
        self.memory
            .set(self.slot_word(index) + S_STATE, SlotState::Free as u64);
    }
}

const SERIAL_SLOT_BITS: u32 = 20;
const SERIAL_SLOT_MASK: u64 = (1 << SERIAL_SLOT_BITS) - 1;
const _: () = assert!(SLOTS_DEFAULT as u64 <= SERIAL_SLOT_MASK);

pub(super) fn kind_of_word(word: u64) -> Option<EventType> {
    let number = word.checked_sub(1)?;
    EventType::ALL
        .into_iter()
        .find(|kind| *kind as u64 == number)
}

pub(super) fn word_of_answer(answer: Answer) -> u64 {
    match answer {
        Answer::Continue => 1,
        Answer::DontCare => 2,
        Answer::Abort(errno) => 3 | u64::from(errno as u32) << 32,
    }
}

pub(super) fn answer_of_word(word: u64) -> Option<Answer> {
    match word & 0xff {
        1 => Some(Answer::Continue),
        2 => Some(Answer::DontCare),
        3 => Some(Answer::Abort((word >> 32) as i32)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

//! Events that are not answered.

use std::os::fd::RawFd;
use std::sync::atomic::Ordering;

use super::{Arena, H_SERIAL, INBOXES, RawEvent, SLOT, SLOT_WORDS, SLOTS_DEFAULT};
use crate::model::handle::{FsId, Handle};
use crate::model::ids::Serial;
use crate::model::{Answer, EventType};

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

const SERIAL_SLOT_BITS: u32 = 20;
const SERIAL_SLOT_MASK: u64 = (1 << SERIAL_SLOT_BITS) - 1;
const _: () = assert!(SLOTS_DEFAULT as u64 <= SERIAL_SLOT_MASK);

pub(in crate::source) fn kind_of_word(word: u64) -> Option<EventType> {
    let number = word.checked_sub(1)?;
    EventType::ALL
        .into_iter()
        .find(|kind| *kind as u64 == number)
}

pub(in crate::source) fn word_of_answer(answer: Answer) -> u64 {
    match answer {
        Answer::Continue => 1,
        Answer::DontCare => 2,
        Answer::Abort(errno) => 3 | u64::from(errno as u32) << 32,
    }
}

pub(in crate::source) fn answer_of_word(word: u64) -> Option<Answer> {
    match word & 0xff {
        1 => Some(Answer::Continue),
        2 => Some(Answer::DontCare),
        3 => Some(Answer::Abort((word >> 32) as i32)),
        _ => None,
    }
}

impl Arena {
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

//! Requests that have led to something.

use super::{FREE, REQUEST, REQUESTS, ROW_WORDS, Table};
use crate::model::ids::Serial;
use crate::model::{Answer, EventType};
use crate::source::arena::{answer_of_word, kind_of_word, word_of_answer};

const R_STATE: usize = 0;
const R_UNIQUE: usize = 1;
const R_SERIAL: usize = 2;
const R_KIND: usize = 3;
const R_INTENDED: usize = 4;
const R_AUX: usize = 5;
const R_SINCE: usize = 6;
const R_PID: usize = 7;
const R_CHANGES: usize = 8;

const REQUEST_DOING: u64 = 1;
const REQUEST_QUEUED: u64 = 2;

/// Bit that serials of this source have, so that they are no other source's.
const SERIAL_BIT: u64 = 1 << 62;
const SERIAL_ROW_BITS: u32 = 16;
const _: () = assert!(REQUESTS <= 1 << SERIAL_ROW_BITS);

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

impl Table {
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
}

/// Was the serial given by this source?
pub fn is_ours(serial: Serial) -> bool {
    serial.0 & SERIAL_BIT != 0
}

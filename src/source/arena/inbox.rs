//! Events and notifications on their way from the kernel.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::Ordering;

use super::{
    Arena, H_NOTES_DONE, INBOX, INBOX_BYTES, INBOX_WORDS, INBOXES, NOTES, NOTES_BYTES, NOTES_WORDS,
    WORD,
};

const INFO_TYPE_RANGE: u64 = 6;

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

impl Arena {
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
}

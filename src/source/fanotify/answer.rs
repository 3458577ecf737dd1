//! Answers to events that the engine has.

use std::os::fd::AsFd;

use super::reader::Verdict;
use super::{Fanotify, lock};
use crate::model::Answer;
use crate::model::event::EventType;
use crate::model::handle::Handle;
use crate::model::ids::Serial;
use crate::source::arena::{Slot, SlotState};
use crate::source::call::{self, FileId};
use crate::sys::fanotify::{EventFd, Response, can_deny_with};

impl Fanotify {
    /// Makes this thread the one that answers. All who answer go through here, so the slot cannot be
    /// used for another event between the look and the step.
    pub(super) fn claim(&self, serial: Serial) -> Option<Slot> {
        self.claim_if(serial, |_| true)
    }

    /// The same, if it is so. What is in the slot of a queued event is stable only in here.
    pub(super) fn claim_if(&self, serial: Serial, so: impl FnOnce(&Slot) -> bool) -> Option<Slot> {
        let _one = lock(&self.claim);
        let slot = self.arena.slot_of(serial)?;
        let claimed = slot.state == SlotState::Queued
            && so(&slot)
            && self
                .arena
                .step(slot.index, SlotState::Queued, SlotState::Answering);
        claimed.then_some(slot)
    }

    pub(super) fn note_intended(&self, serial: Serial, answer: Answer) {
        let _one = lock(&self.claim);
        if let Some(slot) = self.arena.slot_of(serial) {
            self.arena.set_intended(slot.index, Some(answer));
        }
    }

    pub(super) fn give_answer(&self, serial: Serial, answer: Answer) {
        let Some(slot) = self.claim(serial) else {
            return;
        };
        match answer {
            Answer::Abort(errno) => self.finish(&slot, Response::Deny(deniable(errno))),
            Answer::Continue | Answer::DontCare => self.go_on(&slot),
        }
    }

    /// The operation goes on, unless the file was punched meanwhile: then it is looked at again.
    fn go_on(&self, slot: &Slot) {
        let looked = match self.look_at(slot) {
            Ok(looked) => looked,
            Err(Verdict::Held) => return,
            Err(_) => return self.finish(slot, Response::Deny(libc::EIO)),
        };
        let Some(Handle::Object { fs, inode, .. }) = slot.file else {
            return self.finish(slot, Response::Deny(libc::EIO));
        };
        if slot.kind == Some(EventType::Debut) {
            return self.go_on_after_debut(slot, &looked);
        }
        let served = self.served(fs);
        // The mark comes before the answer and while the event's descriptor is open: no migration can
        // begin in between. After the answer it would hide the reads of the next migration.
        match self.settle(&looked, inode, served.as_deref()) {
            Ok(Some(state)) if u64::from(state.changes) != slot.punches => {
                self.arena.set_state(slot.index, SlotState::Held);
                self.look_again(vec![slot.index]);
            }
            Ok(_) => self.finish(slot, Response::Allow),
            Err(error) => {
                tracing::error!(%error, file = ?slot.file, "an access was refused");
                self.finish(slot, Response::Deny(libc::EIO));
            }
        }
    }

    /// `dm_pending`: a non-blocking originator gets EAGAIN.
    pub(super) fn release_nonblocking(&self, serial: Serial) -> bool {
        let Some(slot) = self.claim_if(serial, is_nonblocking) else {
            return false;
        };
        self.finish(&slot, Response::Deny(libc::EAGAIN));
        true
    }

    pub(super) fn list_blocked(&self) -> Vec<(Serial, u32, u64)> {
        self.arena
            .occupied()
            .filter(|slot| matches!(slot.state, SlotState::Queued | SlotState::Held))
            .map(|slot| {
                let who = if slot.pid != 0 {
                    slot.pid
                } else {
                    slot.event.tid
                };
                (slot.serial, who, slot.since_ms)
            })
            .collect()
    }
}

/// Does the event come from a non-blocking open file, or from an open that is to be one?
fn is_nonblocking(slot: &Slot) -> bool {
    if slot.stale {
        return false;
    }
    let event = EventFd::of(slot.event.fd);
    let Ok(stat) = nix::sys::stat::fstat(event.as_fd()) else {
        return false;
    };
    let file = FileId {
        device: stat.st_dev,
        inode: stat.st_ino,
        size: stat.st_size as u64,
    };
    let call = call::call_of(slot.event.tid);
    call.hash == slot.call && call::is_nonblocking(slot.event.tid, call, file)
}

/// The kernel hands only some errnos on; EIO stands for the others.
fn deniable(errno: i32) -> i32 {
    if can_deny_with(errno) {
        errno
    } else {
        libc::EIO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos_that_the_kernel_refuses_become_eio() {
        for errno in [1, 5, 16, 26, 11, 28, 122] {
            assert_eq!(deniable(errno), errno);
        }
        for errno in [2, 4, 13, 110, 116] {
            assert_eq!(deniable(errno), libc::EIO);
        }
    }
}

//! The start of a worker: what the last one left unanswered.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Fanotify, lock};
use crate::model::ids::Serial;
use crate::model::{DmError, OpenFor};
use crate::source::EventSink;
use crate::source::arena::{Slot, SlotState};
use crate::sys::clock::realtime_ms;
use crate::sys::fanotify::EventFd;

/// Descriptors that are left for everything that is not an event.
const OTHER_DESCRIPTORS: u64 = 2048;
/// Fewer operations that can wait at once are worth a warning.
const USABLE_SLOTS_MIN: usize = 4096;

impl Fanotify {
    pub(super) fn begin(self: Arc<Self>, sink: Arc<dyn EventSink>) -> Result<(), DmError> {
        if self.sink.set(Arc::clone(&sink)).is_err() {
            return Err(DmError::Exists);
        }
        self.arena.note_worker(std::process::id());
        self.arena.take_up_inboxes(realtime_ms());
        self.fill_pool();
        for served in self.all_served() {
            self.renew_list(served.mount.fs);
        }
        let again = self.take_up_slots(sink.as_ref());
        self.pass_on_notes();
        for inbox in 0..self.config.readers {
            let name = format!("events-{inbox}");
            self.spawn(&name, move |source| source.read_events(inbox));
        }
        self.spawn("events-again", |source| source.process_again());
        self.spawn("events-kernel", |source| source.watch_kernel());
        self.spawn("events-killed", |source| source.watch_processes());
        for index in again {
            // The receiver lives as long as self.
            let _ = self.again.0.send(index);
        }
        Ok(())
    }

    /// Slots are used only as far as there are descriptors for their events: a read of events that finds
    /// none refuses the access.
    fn fill_pool(&self) {
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
            .map_or(1024, |(soft, _)| soft);
        let room = limit.saturating_sub(OTHER_DESCRIPTORS).max(limit / 2);
        let usable = (self.arena.slots() as u64).min(room) as usize;
        if usable < self.arena.slots().min(USABLE_SLOTS_MIN) {
            tracing::warn!(
                limit,
                usable,
                "fewer operations can wait at once than planned: raise the limit of open files"
            );
        }
        let free = (0..usable)
            .rev()
            .filter(|index| self.arena.slot(*index).is_none())
            .collect();
        self.pool.fill(free);
    }

    /// Returns the slots that are to be looked at anew.
    fn take_up_slots(&self, sink: &dyn EventSink) -> Vec<usize> {
        let left: Vec<Slot> = self.arena.occupied().collect();
        let mut again = Vec::new();
        for slot in left {
            // A mark that the last worker put for an answer that it never gave would hide the file.
            self.heed_file_of(&slot);
            if sink.knows(slot.serial) {
                self.arena.set_state(slot.index, SlotState::Queued);
                self.take_up_debut(&slot);
                continue;
            }
            match slot.intended {
                // The engine recorded it: the event is no longer known there.
                Some(answer) => {
                    self.arena.set_state(slot.index, SlotState::Queued);
                    self.give_answer(slot.serial, answer);
                }
                None => {
                    self.arena.set_state(slot.index, SlotState::Fresh);
                    again.push(slot.index);
                }
            }
        }
        again
    }

    fn heed_file_of(&self, slot: &Slot) {
        if !slot.stale {
            return self.heed(EventFd::of(slot.event.fd).as_fd());
        }
        let Some(handle) = slot.file else {
            return;
        };
        let opened = handle
            .fs()
            .and_then(|fs| self.served(fs))
            .map(|served| served.mount.open(handle, OpenFor::Read));
        if let Some(Ok(file)) = opened {
            self.heed(file.as_fd());
        }
    }

    /// The serial of the event that this thread waits in, for tests and `dmctl explain`.
    pub fn serial_of_thread(&self, tid: u32) -> Option<Serial> {
        let _one = lock(&self.claim);
        self.arena
            .occupied()
            .find(|slot| slot.event.tid == tid)
            .map(|slot| slot.serial)
    }
}

//! What happens outside: mounts change, blocked processes are killed.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Fanotify, lock};
use crate::model::ids::Serial;
use crate::source::arena::{Slot, SlotState};
use crate::source::call;
use crate::sys::fanotify::Response;

/// How soon the death of a blocked process is noticed, ms.
const LOOK_EVERY_MS: u16 = 1000;

impl Fanotify {
    /// The life of the thread that reads notifications and notices unmounts.
    pub(super) fn watch_kernel(&self) {
        // Becomes "exceptional" whenever a mount of this namespace comes or goes.
        let mounts = File::open("/proc/self/mountinfo").inspect_err(|error| {
            tracing::error!(%error, "unmounts will not be noticed: /proc is needed");
        });
        self.look_for_unmounted();
        while !self.is_stopping() {
            let mut fds = vec![
                PollFd::new(self.notifications.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            ];
            if let Ok(mounts) = &mounts {
                fds.push(PollFd::new(mounts.as_fd(), PollFlags::POLLPRI));
            }
            if poll(&mut fds, PollTimeout::NONE).is_err() {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            let ready = |index: usize| {
                fds.get(index)
                    .and_then(PollFd::revents)
                    .is_some_and(|events| !events.is_empty())
            };
            if self.is_stopping() {
                return;
            }
            if ready(0) {
                self.read_notes();
            }
            if ready(2) {
                self.look_for_unmounted();
            }
        }
    }

    /// The life of the thread that looks after blocked processes.
    pub(super) fn watch_processes(&self) {
        while !self.is_stopping() {
            let mut wake = [PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
            // An error is a signal: the look comes early.
            let _ = poll(&mut wake, PollTimeout::from(LOOK_EVERY_MS));
            if !self.is_stopping() {
                self.withdraw_dead();
            }
        }
    }

    fn withdraw_dead(&self) {
        // Slots change while they are looked at, so this finds suspects only.
        let suspects: Vec<Slot> = self
            .arena
            .occupied()
            .filter(|slot| matches!(slot.state, SlotState::Queued | SlotState::Held))
            .filter(|slot| !call::still_waits(slot.event.tid, slot.call))
            .collect();
        for slot in suspects {
            match slot.state {
                SlotState::Queued => self.withdraw(slot.serial),
                _ => self.drop_orphan(slot.index),
            }
        }
    }

    fn withdraw(&self, serial: Serial) {
        let gone = |slot: &Slot| !call::still_waits(slot.event.tid, slot.call);
        let Some(slot) = self.claim_if(serial, gone) else {
            return;
        };
        tracing::info!(
            pid = slot.pid,
            serial = serial.0,
            "a blocked process was killed"
        );
        // Nobody is there to be told; if we are wrong, an error is better than zeros.
        self.finish(&slot, Response::Deny(libc::EIO));
        if let Some(sink) = self.sink() {
            sink.withdraw(serial);
        }
    }

    fn drop_orphan(&self, index: usize) {
        let slot = {
            let mut orphans = lock(&self.orphans);
            // The others are held for a punch, which ends soon.
            if !orphans.contains(&index) {
                return;
            }
            // Nobody else changes the slot of an orphan while the list is locked.
            let Some(slot) = self.arena.slot(index) else {
                return;
            };
            if call::still_waits(slot.event.tid, slot.call)
                || !self
                    .arena
                    .step(index, SlotState::Held, SlotState::Answering)
            {
                return;
            }
            orphans.retain(|one| *one != index);
            slot
        };
        self.finish(&slot, Response::Deny(libc::EIO));
    }
}

//! What event sources bring.

use std::sync::PoisonError;
use std::time::Duration;

use super::Engine;
use super::core::Core;
use super::outbox::Outbox;
use crate::fs::side;
use crate::model::ids::Serial;
use crate::model::machine::{Fate, NewEvent};
use crate::model::{Answer, DmError, EventBody, EventSet, EventType, FsId, Handle, Origin};
use crate::source::EventSink;
use crate::sys::clock;

/// An answer makes room and wakes who waits; this is for the case that it came in between.
const ROOM_LOOK_AGAIN: Duration = Duration::from_secs(1);
const EIO: i32 = 5;

/// The entry among the copies of an object's attributes that says: its own list has DESTROY. No
/// attribute can have this name, since its first byte is 0.
pub const DESTROY_LISTED: [u8; 8] = *b"\0destroy";

impl EventSink for Engine {
    fn list(&self, fs: FsId) -> EventSet {
        let core = self.lock();
        core.model
            .file_system(fs)
            .map_or(EventSet(0), |row| row.list)
    }

    fn queue(&self, fs: FsId, kind: EventType, body: EventBody, serial: Option<Serial>, pid: u32) {
        let new = NewEvent {
            fs,
            kind,
            body,
            origin: serial.map_or(Origin::Nobody, Origin::Source),
            pid,
            made_ms: clock::realtime_ms(),
        };
        self.bring(new);
    }

    fn withdraw(&self, serial: Serial) {
        self.with(|core, out| {
            let reserved = &core.reserved;
            let plan = core
                .model
                .plan_withdraw(serial, &|sequence| reserved.contains_key(&sequence));
            if let Some(plan) = plan
                && let Err(error) = core.commit(plan.records, None, out)
            {
                tracing::error!(%error, serial = serial.0, "an event could not be withdrawn");
            }
            out.room = true;
        });
    }

    fn knows(&self, serial: Serial) -> bool {
        self.lock().model.knows(serial)
    }

    fn unmounted(&self, fs: FsId) {
        let mounting = self.lock().mounting.get(&fs).copied();
        if let Some(id) = mounting {
            // It never came to its place: who was mounting it is dead.
            return self.cancel_mount(id, fs);
        }
        let is_unexpected = self.lock().is_unexpected_unmount(fs);
        if is_unexpected {
            self.unmount_done(fs, 0, false);
        }
    }

    fn view_gone(&self, fs: FsId, device: u64) {
        self.end_view(fs, device);
    }

    fn wants_new_objects(&self, fs: FsId) -> bool {
        self.inherits_anything(fs)
    }

    fn created(&self, parent: Handle, child: Handle, mode: u32) {
        self.inherit(parent, child, mode);
    }

    fn destroyed(&self, handle: Handle, listed: bool) {
        let Some(fs) = handle.fs() else { return };
        let copies = side::read(&self.config.state, handle).unwrap_or_else(|error| {
            tracing::error!(%error, ?handle, "the kept attributes of a destroyed object are lost");
            Vec::new()
        });
        let (listed, name) = {
            let core = self.lock();
            let on_fs = core
                .model
                .file_system(fs)
                .is_ok_and(|row| row.list.has(EventType::Destroy));
            let kept = copies.iter().any(|(name, _)| *name == DESTROY_LISTED);
            (listed || on_fs || kept, core.model.return_on_destroy(fs))
        };
        if listed {
            let copy = name.and_then(|name| copies.iter().find(|(has, _)| *has == name).cloned());
            let body = EventBody::Destroy { handle, copy };
            self.queue(fs, EventType::Destroy, body, None, 0);
        }
        if !copies.is_empty()
            && let Err(error) = side::remove(&self.config.state, handle)
        {
            tracing::warn!(%error, ?handle, "kept attributes of a destroyed object stay");
        }
    }
}

impl Engine {
    /// Queues an event; waits while there is no room.
    pub(super) fn bring(&self, new: NewEvent) {
        let mut core = self.lock();
        loop {
            let mut out = Outbox::default();
            if core.bring(&new, &mut out) {
                drop(core);
                return self.send_out(out);
            }
            let (again, _) = self
                .room
                .wait_timeout(core, ROOM_LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner);
            core = again;
        }
    }
}

impl Core {
    /// `false`: no room now.
    fn bring(&mut self, new: &NewEvent, out: &mut Outbox) -> bool {
        let plan = match self.model.plan_event(new.clone()) {
            Ok(plan) => plan,
            Err(error) => {
                // The file system is not served (any more). An operation that went on could read zeros.
                tracing::error!(%error, fs = new.fs.0, event = new.kind.name(), "an event has no place");
                if let Origin::Source(serial) = new.origin {
                    out.answers.push((serial, Answer::Abort(EIO)));
                }
                return true;
            }
        };
        match plan.value {
            Fate::Dropped => {
                *self.unwanted.entry((new.fs, new.kind)).or_default() += 1;
                true
            }
            Fate::Proceeds | Fate::Known { .. } => true,
            Fate::Queued { .. } | Fate::Waits { .. } => {
                self.model.has_room()
                    && self.commit(plan.records, None, out) != Err(DmError::NoSpace)
            }
        }
    }
}

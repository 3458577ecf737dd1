//! What a change sends out, gathered in the mutex and sent after it.

use std::sync::Arc;

use super::{Asked, Engine, Outlet};
use crate::model::ids::Serial;
use crate::model::{Answer, FsId, Handle};
use crate::proto::Back;

/// See the module.
#[derive(Default)]
pub struct Outbox {
    /// Replies to requests that waited.
    pub replies: Vec<(Arc<dyn Outlet>, Back)>,
    /// Blocked operations that go on.
    pub answers: Vec<(Serial, Answer)>,
    /// Objects that a client has written.
    pub written: Vec<Handle>,
    /// File systems whose source looks at lists and dispositions again.
    pub interests: Vec<FsId>,
    /// Requests that got the right that they waited for.
    pub granted: Vec<Asked>,
    /// File systems that are served no more.
    pub dropped: Vec<FsId>,
    /// File systems that were unmounted by a process that died over it, and whether it forced that.
    pub unmounted: Vec<(FsId, bool)>,
    /// Connections to end.
    pub close: Vec<Arc<dyn Outlet>>,
    /// There is more room for events.
    pub room: bool,
}

impl Engine {
    pub(super) fn send_out(&self, out: Outbox) {
        // Users first: they wait for nothing else.
        for (serial, answer) in out.answers {
            self.source.answer(serial, answer);
        }
        for handle in out.written {
            self.source.touched(handle, true);
        }
        for fs in out.interests {
            self.source.list_changed(fs);
        }
        for (outlet, back) in out.replies {
            outlet.send(&back, None);
        }
        for outlet in out.close {
            outlet.close();
        }
        if out.room {
            self.room.notify_all();
        }
        let dropped = !out.dropped.is_empty();
        for fs in out.dropped {
            self.source.detach(fs);
        }
        if dropped {
            self.managed_changed();
        }
        for (fs, forced) in out.unmounted {
            self.unmount_done(fs, 0, forced);
        }
        for asked in out.granted {
            self.go_on(asked);
        }
    }

    /// Carries out a request that waited, on a thread of its own: that of its connection is listening
    /// to its client.
    fn go_on(&self, asked: Asked) {
        let (conn, number) = (asked.conn, asked.id.number);
        let Some(engine) = self.own() else {
            return; // The engine is being dropped, in a test.
        };
        let started = std::thread::Builder::new()
            .name("granted".into())
            .spawn(move || engine.carry_out(asked));
        if let Err(error) = started {
            tracing::error!(%error, "no thread for a request that got its right");
            self.reply(conn, number, Err(crate::model::DmError::NoMemory), None);
        }
    }
}

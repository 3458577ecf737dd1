//! Requests that wait for the answer to an event.

mod callers;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::connection::Connection;
use super::node::Node;
use super::serve::{Owed, Task};
use super::table::Pending;
use super::wire::Op;
use crate::model::ids::Serial;
use crate::model::{Answer, EventBody, EventType, NamespaceBody};
use crate::source::call;
use crate::sys::clock::realtime_ms;

/// What waits, by serial and by the kernel's number.
#[derive(Debug, Default)]
pub struct Held {
    all: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    tasks: HashMap<Serial, Task<'static>>,
    serials: HashMap<u64, Serial>,
    /// Those whose event is just being queued: they can be answered, but not be withdrawn yet.
    fresh: HashSet<Serial>,
    /// Rows of an earlier worker whose requests the kernel has not sent again yet.
    left: HashSet<usize>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, serial: Serial, task: Task<'static>) {
        let mut lists = self.lock();
        lists.serials.insert(task.request.unique, serial);
        lists.tasks.insert(serial, task);
    }

    /// As [`Self::put`], before the event is queued.
    fn put_fresh(&self, serial: Serial, task: Task<'static>) {
        self.lock().fresh.insert(serial);
        self.put(serial, task);
    }

    /// The event is queued.
    fn is_queued(&self, serial: Serial) {
        self.lock().fresh.remove(&serial);
    }

    fn take(&self, serial: Serial) -> Option<Task<'static>> {
        self.take_if(serial, |_| true)
    }

    fn take_if(&self, serial: Serial, so: impl FnOnce(&Task<'_>) -> bool) -> Option<Task<'static>> {
        let mut lists = self.lock();
        if !so(lists.tasks.get(&serial)?) {
            return None;
        }
        let task = lists.tasks.remove(&serial)?;
        lists.serials.remove(&task.request.unique);
        Some(task)
    }

    /// These rows are of an earlier worker.
    pub fn note_left(&self, rows: impl Iterator<Item = usize>) {
        self.lock().left.extend(rows);
    }

    /// Makes the caller the one who goes on with such a row.
    fn take_left(&self, row: usize) -> bool {
        self.lock().left.remove(&row)
    }
}

impl Connection {
    /// Queues the event; the request goes on when it is answered.
    pub(super) fn hold(&self, task: Task<'static>, owed: Owed) {
        // The kernel may have cut one call into several requests, and sent them all.
        if let Some(task) = self.same_calls.join(task, owed.call) {
            self.hold_first(task, owed);
        }
    }

    fn hold_first(&self, mut task: Task<'static>, owed: Owed) {
        let unique = task.request.unique;
        // Of the thread, if its process cannot be told (it is in another namespace).
        let pid = match call::process_of(task.request.pid) {
            0 => task.request.pid,
            process => process,
        };
        let row = task
            .row
            .or_else(|| self.table.add_request(unique, pid, realtime_ms()));
        let Some(row) = row else {
            tracing::error!("too many requests wait for answers; one was refused");
            return self.finish_all(task, libc::ENOMEM);
        };
        task.row = Some(row);
        task.note_changes(owed.kind, owed.changes);
        let serial = self
            .table
            .set_queued(row, self.next_count(), owed.kind, owed.changes);
        // There to be answered before anybody knows of it.
        self.note_held(&task, 1);
        self.held.put_fresh(serial, task);
        self.sink()
            .queue(self.fs(), owed.kind, owed.body, Some(serial), pid);
        self.held.is_queued(serial);
    }

    /// The event was queued by an earlier worker. Its answer may be here already.
    fn wait_for_answer(&self, serial: Serial, row: usize, task: Task<'static>) {
        self.note_held(&task, 1);
        self.held.put(serial, task);
        let Some(pending) = self.table.request_of(serial) else {
            return;
        };
        if let (kind, Some(answer)) = (pending.kind, pending.intended)
            && pending.row == row
            && !self.sink().knows(serial)
            && let Some(task) = self.held.take(serial)
        {
            self.go_on(task, kind, answer);
        }
    }

    /// The nodes that a held request keeps from being migrated.
    fn note_held(&self, task: &Task<'_>, change: i32) {
        let other = match task.request.op {
            Op::CopyFileRange { node_out, .. } => Some(node_out),
            _ => None,
        };
        for id in std::iter::once(task.request.node).chain(other) {
            if let Some(node) = self.nodes.get(id) {
                let mut inner = node.lock();
                inner.held = inner.held.saturating_add_signed(change);
            }
        }
    }

    /// The engine answers. Never waits and never calls the sink: the request is served by another thread.
    pub(super) fn answered(&self, serial: Serial, answer: Answer) {
        let Some(pending) = self.table.request_of(serial) else {
            return;
        };
        // Noted first: a request that is not here yet (it is about to wait, or the kernel will send it again)
        // finds it.
        self.table.set_intended(pending.row, answer);
        if let Some(task) = self.held.take(serial) {
            self.go_on(task, pending.kind, answer);
        }
    }

    fn go_on(&self, mut task: Task<'static>, kind: Option<EventType>, answer: Answer) {
        self.note_held(&task, -1);
        let changes = kind.and_then(|kind| task.changes_of(kind));
        if let (Some(call), Some(changes), Answer::Continue) = (task.leads, changes, answer) {
            // For those of its requests that come after the next line.
            self.answered_calls.note(call, changes);
        }
        let others = self.same_calls.leave(&mut task);
        for mut task in std::iter::once(task).chain(others) {
            if let Some(kind) = kind {
                task.note_changes(kind, changes.unwrap_or(0));
                task.heed(kind, answer);
            }
            self.again(task);
        }
    }

    /// Ends a request, and the others of its call.
    fn finish_all(&self, mut task: Task<'static>, errno: i32) {
        let others = self.same_calls.leave(&mut task);
        std::iter::once(task)
            .chain(others)
            .for_each(|task| self.finish(&task, Err(errno)));
    }

    /// The engine is about to record the answer.
    pub(super) fn intend(&self, serial: Serial, answer: Answer) {
        if let Some(pending) = self.table.request_of(serial) {
            self.table.set_intended(pending.row, answer);
        }
    }

    /// `dm_pending`: a non-blocking originator gets EAGAIN.
    pub(super) fn release_nonblocking(&self, serial: Serial) -> bool {
        let Some(task) = self.held.take_if(serial, is_nonblocking) else {
            return false;
        };
        self.note_held(&task, -1);
        self.finish_all(task, libc::EAGAIN);
        true
    }

    /// Ends a request that waits: nobody is there any more to have the answer.
    pub(super) fn end_held(&self, serial: Serial, errno: i32) -> bool {
        let Some(task) = self.held.take(serial) else {
            return false;
        };
        self.note_held(&task, -1);
        self.finish_all(task, errno);
        self.sink().withdraw(serial);
        true
    }

    /// Operations that wait: (serial, thread, since).
    pub(super) fn blocked(&self) -> Vec<(Serial, u32, u64)> {
        self.table
            .requests()
            .filter_map(|pending| Some((pending.serial?, pending.pid, pending.since_ms)))
            .collect()
    }

    /// A request that an earlier worker had read: takes up what it had led to. `None`: it waits again.
    pub(super) fn take_up(&self, mut task: Task<'static>) -> Option<Task<'static>> {
        let unique = task.request.unique;
        let found = self.table.requests().find(|row| row.unique == unique);
        // Taken by who watches: its process seemed to be gone.
        let Some(pending) = found.filter(|pending| self.held.take_left(pending.row)) else {
            return Some(task);
        };
        task.row = Some(pending.row);
        task.aux = pending.aux;
        if let Some(kind) = pending.kind {
            task.note_changes(kind, pending.changes);
            task.call = call::call_now(task.request.pid);
        }
        let Pending { serial, kind, .. } = pending;
        match (serial, pending.intended) {
            (None, _) => task.was_begun = true,
            (Some(serial), None) if self.sink().knows(serial) => {
                self.wait_for_answer(serial, pending.row, task);
                return None;
            }
            (Some(_), Some(answer)) => {
                if let Some(kind) = kind {
                    task.heed(kind, answer);
                }
            }
            // The event was never recorded.
            (Some(_), None) => {}
        }
        Some(task)
    }

    /// Does the lack of space have to be told before the user hears of it?
    pub(super) fn asks_for_space(&self, task: &Task<'_>) -> bool {
        let kind = EventType::NoSpace;
        let is_over = task.aborted.is_some_and(|(aborted, _)| aborted == kind);
        !is_over && self.list().has(kind)
    }

    /// The event for it. Each further failure asks again.
    pub(super) fn no_space(&self, task: &Task<'_>) -> Owed {
        let object = self.nodes.get(task.request.node);
        Owed {
            kind: EventType::NoSpace,
            body: EventBody::Namespace(NamespaceBody {
                handle2: object.map(|node: std::sync::Arc<Node>| node.handle),
                ..NamespaceBody::about(crate::model::Handle::Fs(self.fs()))
            }),
            changes: 0,
            call: None,
        }
    }
}

/// Is the user's file non-blocking?
fn is_nonblocking(task: &Task<'_>) -> bool {
    let flags = match &task.request.op {
        Op::Read { flags, .. } | Op::Write { flags, .. } | Op::Open { flags, .. } => *flags,
        _ => 0,
    };
    flags & libc::O_NONBLOCK as u32 != 0
}

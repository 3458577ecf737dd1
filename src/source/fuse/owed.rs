//! Which data event a request owes, and whether it was made already.
//!
//! The kernel cuts a system call into requests, and asks for whole pages. An event names what the caller asked for, as
//! far as that can be told, and is made once for each call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::connection::Connection;
use super::node::Node;
use super::same::CallId;
use super::serve::{Owed, Stop, Task};
use crate::fs::{ObjectState, stat};
use crate::model::file::READ_FLAGS;
use crate::model::{EventBody, EventType};
use crate::source::call::{self, Call, FileId};
use crate::source::judge::{self, Access, Operation, WRITE, Wanted};

/// Callers whose answered event is remembered.
const CALLERS_MAX: usize = 1024;

/// Calls whose event was answered with CONTINUE while the regions stayed, by thread; and the punch counter then.
#[derive(Debug, Default)]
pub struct Answered {
    calls: Mutex<HashMap<u32, (CallId, u32)>>,
}

impl Answered {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, (CallId, u32)>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was answered with CONTINUE at that punch counter.
    pub fn note(&self, call: CallId, changes: u32) {
        let mut calls = self.lock();
        if calls.len() >= CALLERS_MAX && !calls.contains_key(&call.thread) {
            calls.clear();
        }
        calls.insert(call.thread, (call, changes));
    }

    fn has(&self, call: CallId, changes: u32) -> bool {
        self.lock().get(&call.thread) == Some(&(call, changes))
    }
}

/// The file that a request is about, as far as an event needs it.
pub(super) struct Guarded<'a> {
    pub node: &'a Arc<Node>,
    pub state: &'a ObjectState,
    /// Bytes.
    pub size: u64,
}

impl Guarded<'_> {
    /// Does a byte of the range lie in a region for reading?
    pub fn reads(&self, offset: u64, length: u64) -> bool {
        offset < self.size && self.meets(READ_FLAGS, offset, length)
    }

    /// The same, also behind the end.
    pub fn is_for_reading(&self, offset: u64, length: u64) -> bool {
        self.meets(READ_FLAGS, offset, length)
    }

    fn meets(&self, flags: u32, offset: u64, length: u64) -> bool {
        let mut regions = self.state.regions.iter();
        regions.any(|region| region.flags & flags != 0 && judge::meets(region, offset, length))
    }
}

impl Connection {
    /// The state with the regions that count.
    pub(super) fn under_list(&self, state: &Arc<ObjectState>) -> Arc<ObjectState> {
        let list = self.list();
        match judge::data_flags(list) {
            0 => Arc::clone(state),
            _ => Arc::new(judge::under_list(ObjectState::clone(state), list)),
        }
    }

    /// A READ of these bytes, which lie in a region at least in part.
    pub(super) fn ask_to_read(
        &self,
        task: &mut Task<'_>,
        file: &Guarded<'_>,
        offset: u64,
        length: u64,
    ) -> Result<(), Stop> {
        let own = operation(Access::Read, offset, length);
        let caller = self.caller(task, file, own);
        let wanted = judge::judge(caller, file.state, file.size)
            // The caller's bytes are outside, but bytes of their page are not: it must not get into the cache.
            .or_else(|| judge::judge(own, file.state, file.size));
        self.ask_data(task, file, wanted)
    }

    /// A write, or a change of the allocation.
    pub(super) fn ask_to_write(
        &self,
        task: &mut Task<'_>,
        file: &Guarded<'_>,
        offset: u64,
        length: u64,
    ) -> Result<(), Stop> {
        if !file.meets(WRITE, offset, length) {
            return Ok(());
        }
        let own = operation(Access::Write, offset, length);
        let caller = self.caller(task, file, own);
        let wanted = judge::judge(caller, file.state, file.size)
            .or_else(|| judge::judge(own, file.state, file.size));
        self.ask_data(task, file, wanted)
    }

    /// One side of a copy between files, whose bytes are told exactly.
    pub(super) fn ask_to_copy(
        &self,
        task: &Task<'_>,
        file: &Guarded<'_>,
        access: Access,
        offset: u64,
        length: u64,
    ) -> Result<(), Stop> {
        let wanted = judge::judge(operation(access, offset, length), file.state, file.size);
        self.ask_data(task, file, wanted)
    }

    /// A change of the size.
    pub(super) fn ask_to_truncate(
        &self,
        task: &mut Task<'_>,
        file: &Guarded<'_>,
        size: u64,
    ) -> Result<(), Stop> {
        let wanted = judge::judge(operation(Access::Truncate, size, 0), file.state, file.size);
        self.ask_data(task, file, wanted)
    }

    /// What the caller's system call does, if it is such a call and these bytes are a part of it; else the
    /// request's own bytes.
    fn caller(&self, task: &mut Task<'_>, file: &Guarded<'_>, own: Operation) -> Operation {
        let call = call::call_of(task.request.pid);
        task.call = call;
        let id = FileId {
            device: self.device,
            inode: file.node.inode(),
            size: file.size,
        };
        let rounded = (own.offset, own.length);
        call::operation(task.request.pid, call, id, rounded)
            .filter(|found| found.access == own.access && overlap(*found, own))
            .unwrap_or(own)
    }

    fn ask_data(
        &self,
        task: &Task<'_>,
        file: &Guarded<'_>,
        wanted: Option<Wanted>,
    ) -> Result<(), Stop> {
        let Some(wanted) = wanted else { return Ok(()) };
        let kind = wanted.kind;
        if let Some((aborted, errno)) = task.aborted
            && aborted == kind
        {
            return Err(Stop::Errno(errno));
        }
        let changes = file.state.changes;
        let call = self.call_id(task, file, kind, task.call);
        if task.passed.has(kind) && task.changes_of(kind) == Some(changes) {
            // The regions stay: what the kernel asks for on behalf of the same call makes no event.
            if let Some(call) = call {
                self.answered_calls.note(call, changes);
            }
            return Ok(());
        }
        if call.is_some_and(|call| self.answered_calls.has(call, changes)) {
            return Ok(());
        }
        Err(Stop::Ask(Box::new(Owed {
            kind,
            body: EventBody::Data {
                handle: file.node.handle,
                offset: wanted.offset,
                length: wanted.length,
                mapped: None,
            },
            changes,
            call,
        })))
    }

    /// The system call behind a request; `None`: none is known.
    fn call_id(
        &self,
        task: &Task<'_>,
        file: &Guarded<'_>,
        kind: EventType,
        call: Call,
    ) -> Option<CallId> {
        call.number?;
        let thread = task.request.pid;
        Some(CallId {
            thread,
            node: file.node.id,
            kind,
            call: call.hash,
            done: call::done(thread)?,
        })
    }

    /// Was the event of this thread's call answered, for an earlier request? Does not wait for the thread to sleep.
    pub(super) fn was_answered(
        &self,
        task: &Task<'_>,
        file: &Guarded<'_>,
        kind: EventType,
    ) -> bool {
        let call = call::call_now(task.request.pid);
        self.call_id(task, file, kind, call)
            .is_some_and(|call| self.answered_calls.has(call, file.state.changes))
    }

    /// What an event needs of a file, if it has regions at all.
    pub(super) fn guarded<'a>(
        node: &'a Arc<Node>,
        state: &'a ObjectState,
        size: impl FnOnce() -> Result<u64, Stop>,
    ) -> Result<Option<Guarded<'a>>, Stop> {
        if state.regions.is_empty() {
            return Ok(None);
        }
        Ok(Some(Guarded {
            node,
            state,
            size: size()?,
        }))
    }

    /// The size of the backing file.
    pub(super) fn size_of(fd: std::os::fd::BorrowedFd<'_>) -> Result<u64, Stop> {
        Ok(stat::stat(fd)?.size)
    }
}

fn operation(access: Access, offset: u64, length: u64) -> Operation {
    Operation {
        access,
        offset,
        length,
    }
}

/// Do they share a byte? A kernel that asks for something else than the call names is not to be believed.
fn overlap(one: Operation, other: Operation) -> bool {
    let end = |operation: Operation| operation.offset.saturating_add(operation.length);
    one.offset < end(other) && other.offset < end(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::call::Done;

    #[test]
    fn ranges_that_touch_share_no_byte() {
        let read = |offset, length| operation(Access::Read, offset, length);
        assert!(overlap(read(0, 4096), read(100, 1)));
        assert!(overlap(read(4095, 4096), read(0, 4096)));
        assert!(!overlap(read(4096, 4096), read(0, 4096)));
    }

    #[test]
    fn the_memory_of_calls_is_bounded() {
        let answered = Answered::default();
        let call = |thread, node| CallId {
            thread,
            node,
            kind: EventType::Read,
            call: 1,
            done: Done::default(),
        };
        for thread in 0..CALLERS_MAX as u32 {
            answered.note(call(thread, 1), 7);
        }
        answered.note(call(3, 2), 7);
        assert!(answered.has(call(3, 2), 7));
        assert!(!answered.has(call(3, 1), 7) && !answered.has(call(3, 2), 8));
        assert!(answered.has(call(4, 1), 7));
        answered.note(call(u32::MAX, 3), 7);
        assert!(!answered.has(call(4, 1), 7));
        assert!(answered.has(call(u32::MAX, 3), 7));
    }
}

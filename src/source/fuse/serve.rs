//! The way of a request: served, or held until an event is answered, and then served again from its beginning.

use std::sync::Arc;

use super::connection::Connection;
use super::node::Node;
use super::same::CallId;
use super::wire::Request;
use crate::model::{Answer, DmError, EventBody, EventSet, EventType};
use crate::source::call::{Call, UNKNOWN};
use crate::sys::clock::realtime_ms;

/// A request with what has become of it so far.
#[derive(Debug)]
pub struct Task<'a> {
    /// What the kernel asks.
    pub request: Request<'a>,
    /// Synchronous events that were answered with CONTINUE.
    pub passed: EventSet,
    /// The punch counter of the file when a data event was queued, by the kind of the event.
    changes: Vec<(EventType, u32)>,
    /// The system call of its thread when that event was queued.
    pub call: Call,
    /// It is the one of its call for which the others wait.
    pub(super) leads: Option<CallId>,
    /// The event that was answered with ABORT, and the errno.
    pub aborted: Option<(EventType, i32)>,
    /// Its row in the table of requests.
    pub row: Option<usize>,
    /// It was begun by an earlier worker: its effect may be there already.
    pub was_begun: bool,
    /// What the earlier worker noted about it.
    pub aux: u64,
}

impl<'a> Task<'a> {
    /// A request that just came.
    pub fn new(request: Request<'a>) -> Self {
        Self {
            request,
            passed: EventSet(0),
            changes: Vec::new(),
            call: UNKNOWN,
            leads: None,
            aborted: None,
            row: None,
            was_begun: false,
            aux: 0,
        }
    }

    /// Punch counter of the file when the event was queued.
    pub fn changes_of(&self, kind: EventType) -> Option<u32> {
        let mut each = self.changes.iter();
        each.find_map(|(of, changes)| (*of == kind).then_some(*changes))
    }

    /// An event is queued at that punch counter.
    pub fn note_changes(&mut self, kind: EventType, changes: u32) {
        self.changes.retain(|(of, _)| *of != kind);
        self.changes.push((kind, changes));
    }

    /// Its event of that kind was answered.
    pub fn heed(&mut self, kind: EventType, answer: Answer) {
        match answer {
            Answer::Continue | Answer::DontCare => self.passed.0 |= kind.bit(),
            Answer::Abort(errno) => self.aborted = Some((kind, errno)),
        }
    }

    /// The same, independent of the buffer that it was read into: it waits.
    pub fn into_owned(self) -> Task<'static> {
        Task {
            request: self.request.into_owned(),
            passed: self.passed,
            changes: self.changes,
            call: self.call,
            leads: self.leads,
            aborted: self.aborted,
            row: self.row,
            was_begun: self.was_begun,
            aux: self.aux,
        }
    }
}

/// An event that must be answered before an operation goes on.
#[derive(Debug)]
pub struct Owed {
    /// Its kind.
    pub kind: EventType,
    /// What it says.
    pub body: EventBody,
    /// Punch counter of the file, for data events.
    pub changes: u32,
    /// The system call that owes it, where that is known: its other requests wait for the same answer.
    pub call: Option<CallId>,
}

/// Why an operation has no answer for the kernel yet, or none but an error.
#[derive(Debug)]
pub enum Stop {
    /// It failed.
    Errno(i32),
    /// An application must be asked first.
    Ask(Box<Owed>),
    /// The object is being changed; served again after that.
    Wait(Arc<Node>),
    /// The kernel expects no answer, or has it.
    Silent,
}

impl From<DmError> for Stop {
    fn from(error: DmError) -> Self {
        Self::Errno(match error {
            // A handle that is dead is a stale file to users.
            DmError::BadHandle => libc::ESTALE,
            error => error.errno(),
        })
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<nix::errno::Errno> for Stop {
    fn from(errno: nix::errno::Errno) -> Self {
        Self::Errno(errno as i32)
    }
}

/// What an operation comes to: the bytes of the answer after its header.
pub type Served = Result<Vec<u8>, Stop>;

impl Connection {
    /// Serves a request and answers it, unless it must wait.
    pub(super) fn serve(&self, mut task: Task<'_>) {
        match self.dispatch(&mut task) {
            Ok(bytes) => self.finish(&task, Ok(&bytes)),
            Err(Stop::Errno(libc::ENOSPC)) if self.asks_for_space(&task) => {
                let owed = self.no_space(&task);
                self.hold(task.into_owned(), owed);
            }
            Err(Stop::Errno(errno)) => self.finish(&task, Err(errno)),
            Err(Stop::Ask(owed)) => self.hold(task.into_owned(), *owed),
            Err(Stop::Wait(node)) => self.wait_for_change(&node, task.into_owned()),
            Err(Stop::Silent) => self.forget_request(&task),
        }
    }

    /// Answers the kernel, and only then forgets what the request led to.
    pub(super) fn finish(&self, task: &Task<'_>, answer: Result<&[u8], i32>) {
        self.reply(task.request.reply_to(), answer);
        self.forget_request(task);
    }

    fn forget_request(&self, task: &Task<'_>) {
        if let Some(row) = task.row {
            self.table.remove_request(row);
        }
    }

    fn wait_for_change(&self, node: &Arc<Node>, task: Task<'static>) {
        let mut inner = node.lock();
        if inner.changing {
            inner.waiting.push(task);
            return;
        }
        drop(inner);
        self.again(task);
    }

    /// To be called before an operation that cannot be done twice. `aux` is what will tell, if this worker
    /// dies in it, whether it was done.
    pub(super) fn begin_once(&self, task: &mut Task<'_>, aux: u64) -> Result<(), Stop> {
        match task.row {
            Some(row) => self.table.set_doing(row, aux),
            None => {
                let row = self
                    .table
                    .add_request(task.request.unique, task.request.pid, realtime_ms())
                    .ok_or(Stop::Errno(libc::ENOMEM))?;
                self.table.set_doing(row, aux);
                task.row = Some(row);
            }
        }
        Ok(())
    }

    /// The point at which an operation owes a synchronous event: goes on if nobody wants it or it was
    /// answered with CONTINUE.
    pub(super) fn ask(
        &self,
        task: &Task<'_>,
        wanted: bool,
        kind: EventType,
        body: impl FnOnce() -> EventBody,
    ) -> Result<(), Stop> {
        match task.aborted {
            Some((aborted, errno)) if aborted == kind => Err(Stop::Errno(errno)),
            _ if !wanted || task.passed.has(kind) => Ok(()),
            _ => Err(Stop::Ask(Box::new(Owed {
                kind,
                body: body(),
                changes: 0,
                call: None,
            }))),
        }
    }

    /// Tells of something that has happened.
    pub(super) fn tell(&self, task: &Task<'_>, kind: EventType, body: EventBody) {
        self.sink()
            .queue(self.fs(), kind, body, None, task.request.pid);
    }
}

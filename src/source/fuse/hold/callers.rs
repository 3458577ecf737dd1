//! The threads whose requests wait: signals end some of their waits.

use super::Held;
use crate::model::ids::Serial;
use crate::source::call::{self, FileId, Wait};
use crate::source::fuse::connection::Connection;
use crate::source::fuse::serve::Task;
use crate::source::fuse::wire::Op;
use crate::source::judge::Access;

/// Does a request come from a system call, which can fail with EINTR?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    Always,
    /// If its thread reads this node; else it is a page fault.
    IfItReads(u64),
    Never,
}

/// A request that waits.
struct Waiting {
    serial: Serial,
    /// 0: it cannot be told.
    thread: u32,
    calls: Calls,
    /// The call that it belongs to, if the kernel would let the thread go on without a word: readahead. (Direct reads
    /// may be asynchronous: the thread goes on, and waits for them elsewhere.)
    ahead_of: Option<u64>,
}

impl Waiting {
    fn new(serial: Serial, task: &Task<'_>) -> Self {
        let request = &task.request;
        let (calls, is_ahead) = match request.op {
            Op::Read { lock_owner, .. } => (Calls::IfItReads(request.node), lock_owner.is_none()),
            Op::Write {
                from_cache: true, ..
            } => (Calls::Never, false),
            _ => (Calls::Always, false),
        };
        Self {
            serial,
            thread: request.pid,
            calls,
            ahead_of: is_ahead.then_some(task.call.hash),
        }
    }

    /// Does its thread do something else by now?
    fn goes_on(&self) -> bool {
        let call = self.ahead_of;
        call.is_some_and(|call| !call::still_waits(self.thread, call))
    }
}

impl Held {
    /// A request by the kernel's number. Not before its event is queued.
    fn find(&self, unique: u64) -> Option<Waiting> {
        let lists = self.lock();
        let serial = *lists.serials.get(&unique)?;
        if lists.fresh.contains(&serial) {
            return None;
        }
        Some(Waiting::new(serial, lists.tasks.get(&serial)?))
    }

    fn waiting(&self) -> Vec<Waiting> {
        let lists = self.lock();
        let each = lists.tasks.iter();
        each.filter(|(serial, _)| !lists.fresh.contains(serial))
            .map(|(serial, task)| Waiting::new(*serial, task))
            .collect()
    }

    fn left(&self) -> Vec<usize> {
        self.lock().left.iter().copied().collect()
    }
}

impl Connection {
    /// A signal came for the caller of a request. `false`: it is not waiting (yet).
    pub(in crate::source::fuse) fn interrupted(&self, unique: u64) -> bool {
        let Some(waiting) = self.held.find(unique) else {
            return false;
        };
        let ends = waiting.thread == 0
            || match call::wait_of(waiting.thread) {
                Wait::Ends => true,
                Wait::IsInterrupted => self.sees_eintr(&waiting),
                Wait::GoesOn => false,
            };
        if ends {
            self.end_held(waiting.serial, libc::EINTR);
        }
        true
    }

    /// Will the caller of a request see EINTR? A page fault would become a SIGBUS.
    fn sees_eintr(&self, waiting: &Waiting) -> bool {
        match waiting.calls {
            Calls::Always => true,
            Calls::IfItReads(node) => self.reads_by_call(node, waiting.thread),
            Calls::Never => false,
        }
    }

    fn reads_by_call(&self, node: u64, thread: u32) -> bool {
        let Some(node) = self.nodes.get(node) else {
            return false;
        };
        let file = FileId {
            device: self.device,
            inode: node.inode(),
            size: 0,
        };
        call::operation(thread, call::call_now(thread), file, (0, 0))
            .is_some_and(|operation| operation.access == Access::Read)
    }

    /// Ends what nobody waits for any more. (The kernel tells of the first signal of a request only.)
    pub(in crate::source::fuse) fn end_left_alone(&self) {
        let all = self.held.waiting();
        for waiting in all.iter().filter(|one| one.thread != 0) {
            let serial = waiting.serial;
            match call::wait_of(waiting.thread) {
                Wait::IsInterrupted if self.sees_eintr(waiting) => {
                    self.end_held(serial, libc::EINTR);
                }
                Wait::GoesOn | Wait::IsInterrupted if !waiting.goes_on() => {}
                _ => {
                    if self.end_held(serial, libc::EINTR) {
                        tracing::info!(serial = serial.0, "a waiting process was killed");
                    }
                }
            }
        }
        self.end_lost();
    }

    /// A process that is killed just when the kernel is about to send its request again takes that with it: it never
    /// comes.
    fn end_lost(&self) {
        for row in self.held.left() {
            let Some(pending) = self.table.request(row) else {
                continue;
            };
            let is_lost = pending.pid != 0 && call::is_ending(pending.pid);
            if is_lost && self.held.take_left(row) {
                self.table.remove_request(row);
                if let Some(serial) = pending.serial {
                    tracing::info!(serial = serial.0, "a waiting process was killed");
                    self.sink().withdraw(serial);
                }
            }
        }
    }
}

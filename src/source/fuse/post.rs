//! Operations on names: the event before, the operation, the event after.
//!
//! The event after is owed as soon as names were looked up, whatever the operation comes to. What has been
//! done and told is noted in the request's row, as far as the next worker must know it.

use super::connection::Connection;
use super::node::Node;
use super::serve::{Stop, Task};
use crate::model::{EventBody, EventType, NamespaceBody};

/// In the note of a request: it was begun, so its first event is answered.
const BEGUN: u64 = 1 << 63;
/// In the note of a request: its second event is queued.
const TOLD: u64 = 1 << 62;
/// The rest is what the operation itself noted.
const NOTE: u64 = TOLD - 1;

/// An operation on names.
pub(super) struct Named<'a> {
    /// The event that it waits for.
    pub before: EventType,
    /// The event that tells of it.
    pub after: EventType,
    /// The directories that change; their lists count.
    pub dirs: &'a [&'a Node],
    /// What both events say.
    pub body: NamespaceBody,
    /// What tells whether it was done, if this worker dies in it: an inode number.
    pub note: u64,
}

impl Task<'_> {
    /// Was the operation begun, and maybe done, by an earlier worker?
    pub(super) fn is_again(&self) -> bool {
        self.aux & BEGUN != 0
    }

    /// What the earlier worker noted.
    pub(super) fn note(&self) -> u64 {
        self.aux & NOTE
    }

    /// Is this the inode that the earlier worker noted?
    pub(super) fn noted(&self, inode: u64) -> bool {
        self.is_again() && inode & NOTE == self.note()
    }

    /// May it fail without a word because names are not as they should be? Not once an event has told of it.
    pub(super) fn is_first(&self, before: EventType) -> bool {
        !self.is_again() && !self.passed.has(before)
    }
}

/// An operation on names in a directory.
pub(super) fn body(dir: &Node, name: &std::ffi::CStr) -> NamespaceBody {
    NamespaceBody {
        name1: name.to_bytes().to_vec(),
        ..NamespaceBody::about(dir.handle)
    }
}

impl Connection {
    /// Does the operation with its events. `work` does it and writes what the second event says more; it must see
    /// by itself whether an earlier worker has done it.
    pub(super) fn named<T>(
        &self,
        task: &mut Task<'_>,
        mut named: Named<'_>,
        work: impl FnOnce(&mut Task<'_>, &mut NamespaceBody) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let result = match self.ask_before(task, &named) {
            Ok(()) => self
                .begin(task, &named)
                .and_then(|()| work(task, &mut named.body)),
            Err(stop) => Err(stop),
        };
        named.body.retcode = match &result {
            Ok(_) => 0,
            Err(Stop::Errno(libc::ENOSPC)) if self.asks_for_space(task) => return result,
            Err(Stop::Errno(errno)) => *errno,
            Err(_) => return result,
        };
        if self.any_wants(named.after, named.dirs)? && task.aux & TOLD == 0 {
            self.tell(task, named.after, EventBody::Namespace(named.body));
            self.note(task, TOLD);
        }
        result
    }

    fn ask_before(&self, task: &Task<'_>, named: &Named<'_>) -> Result<(), Stop> {
        if let Some((EventType::NoSpace, errno)) = task.aborted {
            return Err(Stop::Errno(errno));
        }
        if task.is_again() {
            return Ok(());
        }
        let wanted = self.any_wants(named.before, named.dirs)?;
        self.ask(task, wanted, named.before, || {
            EventBody::Namespace(named.body.clone())
        })
    }

    fn begin(&self, task: &mut Task<'_>, named: &Named<'_>) -> Result<(), Stop> {
        for dir in named.dirs {
            self.changed_by_user(dir)?;
            self.streams.drop_of(dir.id);
        }
        if !task.is_again() {
            self.begin_once(task, BEGUN | (named.note & NOTE))?;
            // Also for this worker: after a NOSPACE event it comes here again.
            task.aux = BEGUN | (named.note & NOTE);
        }
        Ok(())
    }

    /// An operation without names is about to be done that cannot be done twice.
    pub(super) fn begin_alone(&self, task: &mut Task<'_>) -> Result<(), Stop> {
        if let Some((EventType::NoSpace, errno)) = task.aborted {
            return Err(Stop::Errno(errno));
        }
        if !task.is_again() {
            self.begin_once(task, BEGUN)?;
            task.aux = BEGUN;
        }
        Ok(())
    }

    /// Adds to what is noted of a request.
    fn note(&self, task: &mut Task<'_>, more: u64) {
        task.aux |= more;
        if let Some(row) = task.row {
            self.table.set_doing(row, task.aux);
        }
    }

    fn any_wants(&self, kind: EventType, dirs: &[&Node]) -> Result<bool, Stop> {
        for dir in dirs {
            if self.wants(kind, dir)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells of a change of attributes.
    pub(super) fn tell_attribute(&self, task: &Task<'_>, node: &Node) -> Result<(), Stop> {
        if self.wants(EventType::Attribute, node)? {
            let body = NamespaceBody::about(node.handle);
            self.tell(task, EventType::Attribute, EventBody::Namespace(body));
        }
        Ok(())
    }
}

//! A change of a file by a DM application, prepared on every mount of the file system.
//!
//! While it is prepared nobody opens the file. It ends when it is dropped: what was parked goes on and finds the file
//! as it is then, changed or not.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crossbeam::channel::RecvTimeoutError;

use super::backing::Backing;
use super::connection::Connection;
use super::node::Node;
use super::skip::Skip;
use super::table::Way;
use crate::fs::handle;
use crate::model::{DmError, Handle, OpenFor};

const CLOSE_TRIES: u32 = 20;
const CLOSE_PAUSE: Duration = Duration::from_millis(1);
/// How often it is looked whether the kernel's pages cannot be dropped because a request came to wait.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A file whose pages cannot be dropped in this time is in use.
const DROP_LIMIT: Duration = Duration::from_secs(10);

/// What it means that a request waits for an application, so that its page cannot be dropped now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// That page goes when it is answered.
    Goes,
    /// The file is in use.
    IsBusy,
}

/// See the module.
pub(super) struct Prepared<'a> {
    parts: Vec<Part<'a>>,
    _one: MutexGuard<'a, ()>,
}

/// One mount.
struct Part<'a> {
    connection: &'a Connection,
    node: Arc<Node>,
    /// How the file is open there; `None`: it is not.
    way: Option<Way>,
}

impl<'a> Prepared<'a> {
    /// From here on opens of the file are parked. `quiet`: nobody may wait for an event of it either.
    pub fn new(
        mounts: &'a [Arc<Connection>],
        object: Handle,
        quiet: bool,
    ) -> Result<Self, DmError> {
        let (Handle::Object { inode, .. }, [first, ..]) = (object, mounts) else {
            return Err(DmError::Invalid);
        };
        let one = first.family.lock_for_change(inode);
        let fd = first.mount.open(object, OpenFor::Look)?;
        let kind = handle::kind_of(fd.as_fd())?;
        let mounts = match first.skips(Skip::OTHER_MOUNTS) {
            true => &mounts[..1],
            false => mounts,
        };
        let mut prepared = Self {
            parts: Vec::with_capacity(mounts.len()),
            _one: one,
        };
        for connection in mounts {
            let id = connection.id_of(object);
            let node = connection.nodes.meet_unseen(id, object, kind);
            wait_for_closes(&node);
            let way = connection.begin_change(&node, quiet);
            // What was begun before ends with the error.
            prepared.parts.push(Part {
                connection,
                node,
                way: way?,
            });
        }
        Ok(prepared)
    }

    fn ways(&self) -> impl Iterator<Item = Way> {
        self.parts.iter().filter_map(|part| part.way)
    }

    /// Is it open anywhere?
    pub fn is_open(&self) -> bool {
        self.ways().next().is_some()
    }

    /// Is it open in every mount?
    pub fn is_open_everywhere(&self) -> bool {
        self.parts.iter().all(|part| part.way.is_some())
    }

    /// Is it open past us?
    pub fn is_open_past_us(&self) -> bool {
        self.ways().any(|way| way == Way::Passthrough)
    }

    /// The backing file, where it is open in the cached way. All mounts use the same one.
    pub fn backing(&self) -> Option<Arc<Backing>> {
        let mut cached = self.parts.iter();
        cached.find_map(|part| {
            let is_cached = part.way == Some(Way::Cached);
            part.node.lock().backing.clone().filter(|_| is_cached)
        })
    }

    /// Grows with each change of the data by a user.
    pub fn writes(&self) -> u64 {
        let each = self.parts.iter();
        each.map(|part| part.node.writes.load(Ordering::Acquire))
            .sum()
    }

    /// The state of the object was changed: what is kept of it is old.
    pub fn forget_state(&self) {
        self.parts
            .iter()
            .for_each(|part| part.connection.forget_state(&part.node));
    }

    /// No request of the file is being served while the guards live. What comes meanwhile is parked.
    pub fn io_exclusive(&self) -> Vec<RwLockWriteGuard<'_, ()>> {
        let each = self.parts.iter();
        each.map(|part| part.node.io.write().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }

    /// The I/O lock is free: what waited for it goes on, while opens stay parked.
    pub fn resume_io(&self) {
        for part in &self.parts {
            let io: Vec<_> = {
                let mut inner = part.node.lock();
                let waiting = std::mem::take(&mut inner.waiting);
                let (opens, io) = waiting
                    .into_iter()
                    .partition(|task| task.request.op.opens());
                inner.waiting = opens;
                io
            };
            io.into_iter().for_each(|task| part.connection.again(task));
        }
    }

    /// Drops what the kernel has of the file.
    pub fn drop_pages(&self, waiting: Waiting) -> Result<(), DmError> {
        self.parts
            .iter()
            .try_for_each(|part| part.connection.drop_pages(&part.node, waiting))
    }

    /// Ends it; then the kernel's pages go where `pages_go` says so. Nobody waits for that: requests may wait for
    /// events now.
    pub fn end(self, pages_go: impl Fn(&Connection, &Node, bool) -> bool) {
        let gone: Vec<_> = self
            .parts
            .iter()
            .filter(|part| pages_go(part.connection, &part.node, part.way.is_some()))
            .map(|part| (part.connection, part.node.id))
            .collect();
        drop(self);
        for (connection, id) in gone {
            connection.invalidator.pages_later(id);
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        let waiting = {
            let mut inner = self.node.lock();
            inner.changing = false;
            std::mem::take(&mut inner.waiting)
        };
        waiting
            .into_iter()
            .for_each(|task| self.connection.again(task));
        self.connection.nodes.leave(&self.node);
    }
}

impl Connection {
    /// How the file is open here. From now on opens of it are parked.
    fn begin_change(&self, node: &Arc<Node>, quiet: bool) -> Result<Option<Way>, DmError> {
        {
            let mut inner = node.lock();
            if !(quiet && inner.held > 0) {
                inner.changing = !self.skips(Skip::HOLD_OPENS);
                return Ok(inner.way.filter(|_| inner.opens > 0));
            }
        }
        self.nodes.leave(node);
        Err(DmError::Busy)
    }

    /// A thread of its own does it, as it waits for every request that holds a page; one that waits for an application
    /// could wait for the caller of this.
    pub(super) fn drop_pages(&self, node: &Node, waiting: Waiting) -> Result<(), DmError> {
        let done = self.invalidator.pages_apart(node.id)?;
        let end = Instant::now() + DROP_LIMIT;
        loop {
            match done.recv_timeout(LOOK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if node.lock().held > 0 || Instant::now() > end {
                return match waiting {
                    Waiting::Goes => Ok(()),
                    Waiting::IsBusy => Err(DmError::Busy),
                };
            }
        }
    }
}

/// close(2) returns before the daemon hears of it. A file that was closed just now is not in use.
fn wait_for_closes(node: &Node) {
    for _ in 0..CLOSE_TRIES {
        let is_open_past_us = {
            let inner = node.lock();
            inner.opens > 0 && inner.way == Some(Way::Passthrough)
        };
        if !is_open_past_us {
            return;
        }
        std::thread::sleep(CLOSE_PAUSE);
    }
}

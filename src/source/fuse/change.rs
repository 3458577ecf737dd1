//! Changes by DM applications that must be ordered against requests.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crossbeam::channel::RecvTimeoutError;

use super::connection::Connection;
use super::data::Target;
use super::node::Node;
use super::skip::Skip;
use super::table::Way;
use crate::fs::{handle, hole, stat, state};
use crate::model::{DmError, EventSet, EventType, Handle, OpenFor, Region};
use crate::source::Changed;
use crate::source::change::{Tries, in_use, punch_unused, test_unused};
use crate::source::judge;

const LEASE_TRIES: Tries = Tries {
    count: 5,
    pause: Duration::from_micros(200),
};
const CLOSE_TRIES: u32 = 20;
const CLOSE_PAUSE: Duration = Duration::from_millis(1);
/// How often it is looked whether the kernel's pages cannot be dropped because a request came to wait.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A file whose pages cannot be dropped in this time is in use.
const DROP_LIMIT: Duration = Duration::from_secs(10);

impl Connection {
    /// The state of an object was changed: what is kept of it is old.
    pub(super) fn forget_state(&self, node: &Node) {
        let mut inner = node.lock();
        inner.state = None;
        inner.state_changes = inner.state_changes.wrapping_add(1);
    }

    /// A DM application changed an object.
    pub(super) fn touched(&self, object: Handle, data: bool) {
        let id = self.id_of(object);
        if let Some(node) = self.nodes.get(id) {
            self.forget_state(&node);
        }
        self.invalidator.attributes(id);
        if data {
            self.drop_or_later(id);
        }
    }

    /// Pages go at once, unless somebody waits for an event: then some time later. A getattr of a user that is under way
    /// while they go is not heeded by the kernel, so whoever told of the change may go on only after that.
    fn drop_or_later(&self, id: u64) {
        let node = self.nodes.get(id).filter(|node| node.lock().held == 0);
        let dropped = node.map(|node| self.drop_pages(&node, Waiting::Goes));
        if !matches!(dropped, Some(Ok(()))) {
            self.invalidator.pages_later(id);
        }
    }

    /// A DM application is about to write past the kernel's cache.
    pub(super) fn writing(&self, object: Handle) {
        let id = self.id_of(object);
        self.invalidator.attributes(id);
        // Who waits for this very write has the page; what else there is goes at the end of the call.
        let node = self.nodes.get(id).filter(|node| node.lock().held == 0);
        if let Some(node) = node
            && let Err(error) = self.drop_pages(&node, Waiting::Goes)
        {
            tracing::debug!(%error, "old pages stay until the end of the call");
        }
    }

    /// Exact, but for a close that the kernel has not told of yet.
    pub(super) fn is_open(&self, object: Handle) -> bool {
        let node = self.nodes.get(self.id_of(object));
        node.is_some_and(|node| node.handle == object && node.lock().opens > 0)
    }

    pub(super) fn set_event_list(
        &self,
        object: Handle,
        events: EventSet,
        sync: bool,
    ) -> Result<(), DmError> {
        let fd = self.mount.open(object, OpenFor::Look)?;
        state::update(fd.as_fd(), |state| state.events = events)?;
        if sync {
            handle::sync(&self.mount, fd.as_fd())?;
        }
        if let Some(node) = self.nodes.get(self.id_of(object)) {
            self.forget_state(&node);
            node.lock().listed = events.has(EventType::Destroy);
        }
        Ok(())
    }

    /// From here on opens of the file are parked, until the guard is dropped. `quiet`: nobody may wait for an event of
    /// it either.
    fn begin_change(&self, object: Handle, quiet: bool) -> Result<Changing<'_>, DmError> {
        let (Handle::Object { inode, .. }, id) = (object, self.id_of(object)) else {
            return Err(DmError::Invalid);
        };
        let one = self.lock_for_change(inode);
        let fd = self.mount.open(object, OpenFor::Look)?;
        let kind = handle::kind_of(fd.as_fd())?;
        let node = self.nodes.meet_unseen(id, object, kind);
        wait_for_closes(&node);
        let way = {
            let mut inner = node.lock();
            if quiet && inner.held > 0 {
                None
            } else {
                inner.changing = !self.skips(Skip::HOLD_OPENS);
                Some(inner.way.filter(|_| inner.opens > 0))
            }
        };
        let Some(way) = way else {
            self.nodes.leave(&node);
            return Err(DmError::Busy);
        };
        Ok(Changing {
            connection: self,
            node,
            way,
            _one: one,
        })
    }

    fn lock_for_change(&self, inode: u64) -> MutexGuard<'_, ()> {
        let lock = &self.change_locks[inode as usize % self.change_locks.len()];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Regions and the end of a recall. The order of the steps is that of docs/architecture.md and must stay.
    pub(super) fn set_regions(
        &self,
        object: Handle,
        regions: &[Region],
        sync: bool,
    ) -> Result<Changed, DmError> {
        let changing = self.begin_change(object, false)?;
        let node = &changing.node;
        let file = self.mount.open(object, OpenFor::Look)?;
        let before = state::read(file.as_fd())?;
        let guards_more = !judge::guards_more(&before.regions, regions).is_empty();
        if guards_more {
            self.test_visible(&changing, object)?;
            // Nearly all pages; those that are read again before the regions stand go below.
            self.drop_pages(node, Waiting::Goes)?;
        }
        {
            let _io = self.io_exclusive(node);
            state::update(file.as_fd(), |state| state.regions = regions.to_vec())?;
            self.forget_state(node);
            if sync {
                handle::sync(&self.mount, file.as_fd())?;
            }
        }
        if guards_more && changing.way.is_some() {
            // Reads that were parked for the lock hold pages.
            self.resume_io(node);
            self.drop_pages(node, Waiting::Goes)?;
        }
        let had_refused = std::mem::take(&mut node.lock().has_refused);
        // The requests that are held now are answered after this.
        drop(changing);
        if had_refused {
            // No page stays marked as one that cannot be read.
            self.invalidator.pages_later(self.id_of(object));
        }
        Ok(Changed { exact: true })
    }

    /// Accesses to bytes that are guarded from now on are seen: the file is not open past us, nor mapped.
    fn test_visible(&self, changing: &Changing<'_>, object: Handle) -> Result<(), DmError> {
        match changing.way {
            Some(Way::Passthrough) if !self.skips(Skip::OPEN_COUNT) => Err(DmError::Busy),
            Some(_) => Ok(()),
            None if self.skips(Skip::LEASE) => Ok(()),
            None => {
                let file = self.mount.open(object, OpenFor::Write);
                match file.map_err(in_use) {
                    Ok(file) => test_unused(file.as_fd(), LEASE_TRIES, || {}, || {}),
                    // It cannot be written, so nobody has it mapped to write. Who reads it past us is not found.
                    Err(DmError::NotPermitted) => Ok(()),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Frees blocks. The order of the steps is that of docs/architecture.md and must stay.
    pub(super) fn punch(
        &self,
        object: Handle,
        offset: u64,
        length: u64,
        decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        // 1. Opens are parked. A file that is open past us stays so until it is closed.
        let changing = self.begin_change(object, true)?;
        let node = Arc::clone(&changing.node);
        if changing.way == Some(Way::Passthrough) && !self.skips(Skip::OPEN_COUNT) {
            return Err(DmError::Busy);
        }
        let open = match changing.way {
            Some(Way::Cached) => node.lock().backing.clone(),
            _ => None,
        };
        // 2. Requests that wait are none (begin_change), and the last RELEASE closed what was ours and what the kernel
        // had. The descriptor of a file that is open in the cached way is the only one of the backing file.
        let tested = match open {
            Some(backing) => Target::Open(backing),
            None => Target::Fresh(self.mount.open(object, OpenFor::Write).map_err(in_use)?),
        };
        let block_bytes = self.mount.block_bytes;
        let size = stat::stat(tested.as_fd())?.size;
        let to_end = hole::check_punch(size, block_bytes, offset, length)?;
        let before = self.data_id(&node, tested.as_fd())?;
        // 3. What mappings stored is written back: that is a change. What the kernel has of the file goes.
        if !self.skips(Skip::PAGES_BEFORE) {
            self.drop_pages(&node, Waiting::IsBusy)?;
        }
        {
            // 4. No request of the file is being served.
            let _io = self.io_exclusive(&node);
            // 5. A mapping that outlives the last close is found by nothing but the lease.
            if !self.skips(Skip::LEASE) {
                test_unused(tested.as_fd(), LEASE_TRIES, || {}, || {})?;
            }
            // 6. It is what the application copied.
            if self.data_id(&node, tested.as_fd())? != before && !self.skips(Skip::CHANGES) {
                return Err(DmError::Busy);
            }
            decided()?;
            let file = match &tested {
                Target::Open(_) => &self.mount.open(object, OpenFor::Write)?,
                Target::Fresh(file) => file,
            };
            // 7. A stub, durably; then the blocks go.
            let punched = punch_unused(&self.mount, file.as_fd(), offset, length, to_end);
            self.forget_state(&node);
            punched?;
        }
        // 8. Parked requests go on, and find a stub.
        let was_open = changing.way.is_some();
        drop(changing);
        // 9. What was read between 3 and 4 goes, too. Nobody waits for it: requests may wait for events now.
        if was_open && !self.skips(Skip::PAGES_AFTER) {
            self.invalidator.pages_later(node.id);
        }
        Ok(())
    }

    fn io_exclusive<'a>(&self, node: &'a Node) -> RwLockWriteGuard<'a, ()> {
        node.io.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The I/O lock is free: what waited for it goes on, while opens stay parked.
    fn resume_io(&self, node: &Node) {
        let io: Vec<_> = {
            let mut inner = node.lock();
            let waiting = std::mem::take(&mut inner.waiting);
            let (opens, io) = waiting
                .into_iter()
                .partition(|task| task.request.op.opens());
            inner.waiting = opens;
            io
        };
        io.into_iter().for_each(|task| self.again(task));
    }

    /// Changes with the data of the file.
    fn data_id(&self, node: &Node, fd: BorrowedFd<'_>) -> Result<(u64, u64), DmError> {
        Ok((stat::change_id(fd)?, node.writes.load(Ordering::Acquire)))
    }

    /// Drops what the kernel has of the file. A thread of its own does it, as it waits for every request that holds a
    /// page; one that waits for an application could wait for the caller of this.
    fn drop_pages(&self, node: &Node, waiting: Waiting) -> Result<(), DmError> {
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

/// While it lives, opens of the file are parked; then they are served again.
struct Changing<'a> {
    connection: &'a Connection,
    node: Arc<Node>,
    /// How it is open; `None`: it is not.
    way: Option<Way>,
    _one: MutexGuard<'a, ()>,
}

impl Drop for Changing<'_> {
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

/// What it means that a request waits for an application, so that its page cannot be dropped now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// That page goes when it is answered.
    Goes,
    /// The file is in use.
    IsBusy,
}

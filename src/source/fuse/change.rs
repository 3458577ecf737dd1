//! Changes by DM applications that must be ordered against requests.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::data::Target;
use super::node::Node;
use super::prepare::{Prepared, Waiting};
use super::skip::Skip;
use crate::fs::{handle, hole, stat, state};
use crate::model::{DmError, EventSet, EventType, Handle, OpenFor, Region};
use crate::source::Changed;
use crate::source::change::{Tries, in_use, punch_unused, test_unused};
use crate::source::judge;

const LEASE_TRIES: Tries = Tries {
    count: 5,
    pause: Duration::from_micros(200),
};

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
}

/// The mounts through which users see a file system, the oldest first.
pub(super) struct Mounts(pub Vec<Arc<Connection>>);

impl Mounts {
    fn first(&self) -> Result<&Connection, DmError> {
        self.0
            .first()
            .map(|first| &**first)
            .ok_or(DmError::BadHandle)
    }

    pub(super) fn set_event_list(
        &self,
        object: Handle,
        events: EventSet,
        sync: bool,
    ) -> Result<(), DmError> {
        let mount = &self.first()?.mount;
        let fd = mount.open(object, OpenFor::Look)?;
        state::update(fd.as_fd(), |state| state.events = events)?;
        if sync {
            handle::sync(mount, fd.as_fd())?;
        }
        for connection in &self.0 {
            if let Some(node) = connection.nodes.get(connection.id_of(object)) {
                connection.forget_state(&node);
                node.lock().listed = events.has(EventType::Destroy);
            }
        }
        Ok(())
    }

    /// Regions and the end of a recall. The order of the steps is that of docs/architecture.md and must stay.
    pub(super) fn set_regions(
        &self,
        object: Handle,
        regions: &[Region],
        sync: bool,
    ) -> Result<Changed, DmError> {
        let first = self.first()?;
        let prepared = Prepared::new(&self.0, object, false)?;
        let file = first.mount.open(object, OpenFor::Look)?;
        let before = state::read(file.as_fd())?;
        let guards_more = !judge::guards_more(&before.regions, regions).is_empty();
        if guards_more {
            test_visible(first, &prepared, object)?;
            // Nearly all pages; those that are read again before the regions stand go below.
            prepared.drop_pages(Waiting::Goes)?;
        }
        {
            let _io = prepared.io_exclusive();
            state::update(file.as_fd(), |state| state.regions = regions.to_vec())?;
            prepared.forget_state();
            if sync {
                handle::sync(&first.mount, file.as_fd())?;
            }
        }
        if guards_more && prepared.is_open() {
            // Reads that were parked for the lock hold pages.
            prepared.resume_io();
            prepared.drop_pages(Waiting::Goes)?;
        }
        // The requests that are held now are answered after this. No page stays marked as one that cannot be read.
        prepared.end(|_, node, _| std::mem::take(&mut node.lock().has_refused));
        Ok(Changed { exact: true })
    }

    /// Frees blocks. The order of the steps is that of docs/architecture.md and must stay.
    pub(super) fn punch(
        &self,
        object: Handle,
        offset: u64,
        length: u64,
        decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        let first = self.first()?;
        let mount = &first.mount;
        // 1. Opens are parked. A file that is open past us stays so until it is closed.
        let prepared = Prepared::new(&self.0, object, true)?;
        if prepared.is_open_past_us() && !first.skips(Skip::OPEN_COUNT) {
            return Err(DmError::Busy);
        }
        // 2. Requests that wait are none, and the last RELEASE closed what was ours and what the kernel had. The
        // descriptor of a file that is open in the cached way is the only one of the backing file.
        let tested = match prepared.backing() {
            Some(backing) => Target::Open(backing),
            None => Target::Fresh(mount.open(object, OpenFor::Write).map_err(in_use)?),
        };
        let size = stat::stat(tested.as_fd())?.size;
        let to_end = hole::check_punch(size, mount.block_bytes, offset, length)?;
        let data_id = || Ok::<_, DmError>((stat::change_id(tested.as_fd())?, prepared.writes()));
        let before = data_id()?;
        // 3. What mappings stored is written back: that is a change. What the kernel has of the file goes.
        if !first.skips(Skip::PAGES_BEFORE) {
            prepared.drop_pages(Waiting::IsBusy)?;
        }
        {
            // 4. No request of the file is being served.
            let _io = prepared.io_exclusive();
            // 5. A mapping that outlives the last close is found by nothing but the lease.
            if !first.skips(Skip::LEASE) {
                test_unused(tested.as_fd(), LEASE_TRIES, || {}, || {})?;
            }
            // 6. It is what the application copied.
            if data_id()? != before && !first.skips(Skip::CHANGES) {
                return Err(DmError::Busy);
            }
            decided()?;
            let file = match &tested {
                Target::Open(_) => &mount.open(object, OpenFor::Write)?,
                Target::Fresh(file) => file,
            };
            // 7. A stub, durably; then the blocks go.
            let punched = punch_unused(mount, file.as_fd(), offset, length, to_end);
            prepared.forget_state();
            punched?;
        }
        // 8. Parked requests go on, and find a stub. 9. What was read between 3 and 4 goes, too.
        prepared.end(|connection, _, was_open| was_open && !connection.skips(Skip::PAGES_AFTER));
        Ok(())
    }
}

/// Accesses to bytes that are guarded from now on are seen: the file is not open past us, nor mapped.
fn test_visible(
    first: &Connection,
    prepared: &Prepared<'_>,
    object: Handle,
) -> Result<(), DmError> {
    if prepared.is_open_past_us() && !first.skips(Skip::OPEN_COUNT) {
        return Err(DmError::Busy);
    }
    // Where it is open in the cached way nobody has it mapped past us. Where it is not open, a mapping may be left.
    if prepared.is_open_everywhere() || first.skips(Skip::LEASE) {
        return Ok(());
    }
    let file = match prepared.backing() {
        Some(backing) => Ok(Target::Open(backing)),
        None => first.mount.open(object, OpenFor::Write).map(Target::Fresh),
    };
    match file.map_err(in_use) {
        Ok(file) => test_unused(file.as_fd(), LEASE_TRIES, || {}, || {}),
        // It cannot be written, so nobody has it mapped to write. Who reads it past us is not found.
        Err(DmError::NotPermitted) => Ok(()),
        Err(error) => Err(error),
    }
}

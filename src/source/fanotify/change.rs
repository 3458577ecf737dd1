//! Changes that must be ordered against events: regions, event lists, punches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Fanotify, STRIPES, lock, mappings};
use crate::fs::{handle, hole, stat, state};
use crate::model::event::{EventSet, EventType};
use crate::model::file::Region;
use crate::model::handle::Handle;
use crate::model::{DmError, OpenFor};
use crate::source::Changed;
use crate::source::arena::{Slot, SlotState};
use crate::source::change::{self, Tries};
use crate::source::judge;
use crate::sys::lease::Lease;

const LEASE_TRIES: Tries = Tries {
    count: 5,
    pause: Duration::from_millis(1),
};

/// While it lives, new events of the file are held; then they are looked at again.
struct Changing<'a> {
    source: &'a Fanotify,
    handle: Handle,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        let held = lock(&self.source.changing).remove(&self.handle);
        self.source.look_again(held.unwrap_or_default());
    }
}

fn inode_of(handle: Handle) -> Result<u64, DmError> {
    match handle {
        Handle::Object { inode, .. } => Ok(inode),
        _ => Err(DmError::Invalid),
    }
}

impl Fanotify {
    /// Puts the slot with the others that wait for the end of a punch of this file, if there is one.
    pub(super) fn hold_if_changing(&self, slot: &Slot, handle: Handle) -> bool {
        let mut changing = lock(&self.changing);
        let Some(held) = changing.get_mut(&handle) else {
            return false;
        };
        self.arena.set_state(slot.index, SlotState::Held);
        held.push(slot.index);
        true
    }

    fn begin_change(&self, handle: Handle) -> Changing<'_> {
        lock(&self.changing).insert(handle, Vec::new());
        Changing {
            source: self,
            handle,
        }
    }

    fn lock_for_change(&self, inode: u64) -> MutexGuard<'_, ()> {
        lock(&self.change_locks[inode as usize % STRIPES])
    }

    pub(super) fn change_regions(
        &self,
        handle: Handle,
        regions: &[Region],
        sync: bool,
    ) -> Result<Changed, DmError> {
        let inode = inode_of(handle)?;
        let served = self.served_of(handle)?;
        let _one = self.lock_for_change(inode);
        let file = served.mount.open(handle, OpenFor::Read)?;
        let fd = file.as_fd();
        let before = state::read(fd)?;
        let more = judge::guards_more(&before.regions, regions);
        if !more.is_empty() {
            // Held meanwhile, as the lease of the test would turn non-blocking openers away.
            let _changing = self.begin_change(handle);
            self.heed(fd);
            refuse_if_mapped(fd, &more)?;
        }
        state::update(fd, |state| state.regions = regions.to_vec())?;
        if sync {
            handle::sync(&served.mount, fd)?;
        }
        // In this order: a reader that puts the mark after the clearing sees the new generation.
        self.generation(inode).fetch_add(1, Ordering::SeqCst);
        self.heed(fd);
        Ok(Changed { exact: true })
    }

    pub(super) fn change_event_list(
        &self,
        handle: Handle,
        events: EventSet,
        sync: bool,
    ) -> Result<(), DmError> {
        let inode = inode_of(handle)?;
        let served = self.served_of(handle)?;
        let _one = self.lock_for_change(inode);
        let object = served.mount.open(handle, OpenFor::Look)?;
        // First what is watched: a list that is written and not watched would be a promise not kept.
        self.add_object_list(&served, events)?;
        state::update(object.as_fd(), |state| state.events = events)?;
        if sync {
            handle::sync(&served.mount, object.as_fd())?;
        }
        let mut doomed = lock(&self.doomed);
        if events.has(EventType::Destroy) {
            doomed.insert(handle);
        } else {
            doomed.remove(&handle);
        }
        Ok(())
    }

    pub(super) fn punch_hole(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
        decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        let inode = inode_of(handle)?;
        let served = self.served_of(handle)?;
        let _one = self.lock_for_change(inode);
        let file = served
            .mount
            .open(handle, OpenFor::Write)
            .map_err(change::in_use)?;
        let fd = file.as_fd();
        let block_bytes = served.mount.block_bytes;
        let to_end = hole::check_punch(stat::stat(fd)?.size, block_bytes, offset, length)?;
        let change_before = stat::change_id(fd)?;
        // The order of the steps is that of docs/architecture.md and must stay.
        let _changing = self.begin_change(handle);
        self.test_unused(fd)?;
        if stat::change_id(fd)? != change_before {
            return Err(DmError::Busy);
        }
        decided()?;
        change::punch_unused(&served.mount, fd, offset, length, to_end)
    }

    /// Nobody has the file open or mapped, and from here on each access makes an event.
    fn test_unused(&self, fd: BorrowedFd<'_>) -> Result<(), DmError> {
        // Cleared before the lease, an opener that comes while it is held waits as an event and is
        // not turned away by the lease (O_NONBLOCK) or let through behind it (O_TRUNC).
        let before = || self.heed(fd);
        // Under the lease no event of the file is being answered: no mark can follow.
        change::test_unused(fd, LEASE_TRIES, before, || self.heed(fd))
    }
}

/// A mapping made before makes no event for the bytes that are guarded from now on.
fn refuse_if_mapped(fd: BorrowedFd<'_>, guarded: &[Region]) -> Result<(), DmError> {
    // Taken: nobody has it open, so nobody has it mapped. (Dropped at once.)
    if Lease::take(fd).is_ok() {
        return Ok(());
    }
    let stat = nix::sys::stat::fstat(fd).map_err(io::Error::from)?;
    let mapped = mappings::of_file(stat.st_dev, stat.st_ino).any(|mapping| {
        guarded
            .iter()
            .any(|region| judge::meets(region, mapping.offset, mapping.length))
    });
    if mapped { Err(DmError::Busy) } else { Ok(()) }
}

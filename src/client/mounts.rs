//! The managed file systems, as calls on paths and handles need them.
//!
//! A path is on a managed file system if its `st_dev` is one of the daemon's list. The answer for a mount is kept
//! for a moment: the kernel never uses the id of a mount again, so it cannot become that of another file system.

use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use super::call::look;
use super::node::file_systems;
use crate::fs::Mount;
use crate::model::{DmError, FsId, Handle, Kinds};
use crate::proto::{OpenFor, Request};
use crate::sys::clock;
use crate::sys::statx;

/// What is known stays known that long, so that `dmctl umount` is seen soon.
const FRESH_MS: u64 = 1_000;
/// Mounts that are remembered.
const KNOWN_MAX: usize = 64;

#[derive(Clone, Copy)]
struct Known {
    place: statx::Place,
    fs: FsId,
    since_ms: u64,
}

static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// The handle of an open object of a user's mount; `NotManaged` if nobody manages its file system.
pub(super) fn handle_of(fd: BorrowedFd<'_>) -> Result<Handle, DmError> {
    mount(fs_of(fd)?)?.handle_of(fd)
}

/// The file system of an open object of a user's mount.
pub(super) fn fs_of(fd: BorrowedFd<'_>) -> Result<FsId, DmError> {
    let place = statx::place(fd)?;
    let now_ms = clock::boottime_ms();
    if let Some(fs) = remembered(place, now_ms) {
        return Ok(fs);
    }
    let entries = file_systems()?;
    let entry = entries.iter().find(|entry| entry.device == place.device);
    let fs = entry.ok_or(DmError::NotManaged)?.fs;
    if place.mount_id.is_some() {
        remember(Known {
            place,
            fs,
            since_ms: now_ms,
        });
    }
    Ok(fs)
}

// The list is never held in a call. Locked by another thread, or for ever in a child of fork(2):
// nothing is lost but the shortcut.
fn remembered(place: statx::Place, now_ms: u64) -> Option<FsId> {
    let known = KNOWN.try_lock().ok()?;
    let found = known.iter().find(|one| one.place == place)?;
    (now_ms.saturating_sub(found.since_ms) < FRESH_MS).then_some(found.fs)
}

fn remember(new: Known) {
    let Ok(mut known) = KNOWN.try_lock() else {
        return;
    };
    known.retain(|one| one.place != new.place);
    if known.len() >= KNOWN_MAX {
        known.remove(0);
    }
    known.push(new);
}

/// The private mount of a file system. It must be dropped with the call: it keeps the file system busy.
pub(super) fn mount(fs: FsId) -> Result<Mount, DmError> {
    let request = Request::Look {
        handle: Handle::Fs(fs),
        kinds: Kinds::FS,
        open: OpenFor::Read,
    };
    let (root, _) = look(&request)?;
    Ok(Mount::new(root)?)
}

/// The private mount of an object's file system.
pub(super) fn mount_of(handle: &Handle) -> Result<Mount, DmError> {
    mount(handle.fs().ok_or(DmError::BadHandle)?)
}

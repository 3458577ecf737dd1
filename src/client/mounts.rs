//! The managed file systems, as calls on paths and handles need them.
//!
//! A path is on a managed file system if its `st_dev` is one of the daemon's list. What was learned of a mount is kept
//! for a moment: the kernel never uses the id of a mount again, so it cannot become that of another file system.

use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use super::call::look;
use super::node::file_systems;
use crate::fs::identify::Identity;
use crate::fs::{AttrLimits, FuseView, Mount};
use crate::model::{DmError, FsId, Handle, Kinds};
use crate::proto::{OpenFor, Request};
use crate::sys::clock;
use crate::sys::statx;
use crate::sys::statx::Place;

/// What is known stays known that long, so that `dmctl unmanage` and a new mount are seen soon.
const FRESH_MS: u64 = 1_000;
/// Entries of each list.
const KNOWN_MAX: usize = 64;

/// What a file system is like.
#[derive(Clone, Copy)]
pub(super) struct Facts {
    pub(super) identity: Identity,
    /// Users see it through this mount; if there are several, through the oldest.
    fuse: Option<FuseView>,
    pub(super) block_bytes: u64,
    pub(super) limits: AttrLimits,
}

/// Things that were learned, with the time.
struct Known<K, V>(Mutex<Vec<(K, V, u64)>>);

static PLACES: Known<Place, Seen> = Known(Mutex::new(Vec::new()));
static FACTS: Known<FsId, Facts> = Known(Mutex::new(Vec::new()));

// A list is never held in a call. Locked by another thread, or for ever in a child of fork(2): nothing is
// lost but the shortcut.
impl<K: Copy + PartialEq, V: Copy> Known<K, V> {
    fn get(&self, key: K) -> Option<V> {
        let known = self.0.try_lock().ok()?;
        let (_, value, since_ms) = known.iter().find(|(other, ..)| *other == key)?;
        (clock::boottime_ms().saturating_sub(*since_ms) < FRESH_MS).then_some(*value)
    }

    fn put(&self, key: K, value: V, since_ms: u64) {
        let Ok(mut known) = self.0.try_lock() else {
            return;
        };
        known.retain(|(other, ..)| *other != key);
        if known.len() >= KNOWN_MAX {
            known.remove(0);
        }
        known.push((key, value, since_ms));
    }
}

/// What a place on a user's mount belongs to.
#[derive(Clone, Copy)]
struct Seen {
    fs: FsId,
    /// The FUSE mount by which it was reached, if it is one. There may be others.
    view: Option<FuseView>,
}

/// The handle of an open object of a user's mount; `NotManaged` if nobody manages its file system.
pub(super) fn handle_of(fd: BorrowedFd<'_>) -> Result<Handle, DmError> {
    let seen = seen(fd)?;
    if let Some(view) = seen.view {
        return view.handle_of(fd);
    }
    let known = facts(seen.fs)?;
    match known.identity.handle_of(fd) {
        // It may have been mounted anew on another device, just now.
        Err(DmError::NotManaged) => learn(known.identity.fs)?.identity.handle_of(fd),
        found => found,
    }
}

impl Facts {
    /// Do users see it through a FUSE mount?
    pub(super) fn is_behind_fuse(&self) -> bool {
        self.fuse.is_some()
    }

    /// `st_dev` of its objects as users see them.
    pub(super) fn user_device(&self) -> u64 {
        self.fuse.map_or(self.identity.device, |view| view.device)
    }
}

/// The file system of an open object of a user's mount.
pub(super) fn fs_of(fd: BorrowedFd<'_>) -> Result<FsId, DmError> {
    Ok(seen(fd)?.fs)
}

fn seen(fd: BorrowedFd<'_>) -> Result<Seen, DmError> {
    let place = statx::place(fd)?;
    if let Some(seen) = PLACES.get(place) {
        return Ok(seen);
    }
    let since_ms = clock::boottime_ms();
    let entries = file_systems()?;
    let entry = entries.iter().find(|entry| entry.device == place.device);
    let entry = entry.ok_or(DmError::NotManaged)?;
    let (device, root) = (entry.device, entry.mount.root);
    let seen = Seen {
        fs: entry.fs,
        view: entry.is_through_fuse().then_some(FuseView { device, root }),
    };
    if place.mount_id.is_some() {
        PLACES.put(place, seen, since_ms);
    }
    Ok(seen)
}

/// What a file system is like; that it is still managed is not said.
pub(super) fn facts(fs: FsId) -> Result<Facts, DmError> {
    FACTS.get(fs).map_or_else(|| learn(fs), Ok)
}

/// What an object's file system is like.
pub(super) fn facts_of(handle: &Handle) -> Result<Facts, DmError> {
    facts(handle.fs().ok_or(DmError::BadHandle)?)
}

fn learn(fs: FsId) -> Result<Facts, DmError> {
    let since_ms = clock::boottime_ms();
    let mount = mount(fs)?;
    let entries = file_systems()?;
    let entry = entries.iter().find(|entry| entry.fs == fs);
    let entry = entry.ok_or(DmError::BadHandle)?;
    let view = FuseView {
        device: entry.device,
        root: entry.mount.root,
    };
    let facts = Facts {
        identity: mount.identity(),
        fuse: entry.is_through_fuse().then_some(view),
        block_bytes: mount.block_bytes,
        limits: mount.limits,
    };
    FACTS.put(fs, facts, since_ms);
    Ok(facts)
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

//! File attributes: what `dm_stat_t` shows, and `dm_set_fileattr`.
//!
//! The change id is made of ctime, mtime, size and the count of punches. The kernel (6.13 and newer, all
//! three file systems) gives ctime a fine step whenever it was looked at since the last change, so two
//! looks with a change between them differ. A store through a mapping moves ctime at the first store
//! after the page was written back: who copies data looks, syncs, then copies.

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use nix::fcntl::AT_FDCWD;
use nix::fcntl::AtFlags;
use nix::sys::stat::FchmodatFlags;
use nix::sys::stat::Mode;
use nix::sys::stat::UtimensatFlags;
use nix::sys::stat::fchmodat;
use nix::sys::stat::fstat;
use nix::sys::stat::utimensat;
use nix::sys::time::TimeSpec;
use nix::unistd::Gid;
use nix::unistd::Uid;
use nix::unistd::fchownat;
use nix::unistd::truncate;

use crate::fs::Mount;
use crate::fs::ObjectState;
use crate::fs::StateError;
use crate::fs::Want;
use crate::fs::attr;
use crate::fs::error::dm;
use crate::fs::handle::kind_of_mode;
use crate::fs::keep::Kept;
use crate::fs::state;
use crate::fs::store;
use crate::model::AttrChange;
use crate::model::DmError;
use crate::model::EventSet;
use crate::model::Handle;
use crate::model::Kinds;
use crate::model::ObjectStat;

/// The stat(2) part of `dm_stat_t`. Times are seconds and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FileAttr {
    pub dev: u64,
    pub ino: u64,
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub atime: (i64, u32),
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    pub blksize: u64,
    pub blocks: u64,
}

impl From<FileAttr> for ObjectStat {
    /// Without what stat(2) does not tell.
    fn from(stat: FileAttr) -> Self {
        Self {
            device: stat.dev,
            inode: stat.ino,
            mode: stat.mode,
            links: stat.nlink as u32,
            uid: stat.uid,
            gid: stat.gid,
            rdev: stat.rdev,
            size: stat.size,
            atime: stat.atime.0,
            mtime: stat.mtime.0,
            ctime: stat.ctime.0,
            block_bytes: stat.blksize as u32,
            blocks: stat.blocks,
            ..Self::default()
        }
    }
}

/// The stat(2) part alone, with the real ctime; users may be shown another, see [`shown`].
pub fn stat(fd: BorrowedFd<'_>) -> Result<FileAttr, DmError> {
    let stat = fstat(fd).map_err(dm)?;
    Ok(FileAttr {
        dev: stat.st_dev,
        ino: stat.st_ino,
        mode: stat.st_mode,
        nlink: stat.st_nlink,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev,
        size: stat.st_size as u64,
        atime: (stat.st_atime, stat.st_atime_nsec as u32),
        mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
        ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
        blksize: stat.st_blksize as u64,
        blocks: stat.st_blocks as u64,
    })
}

/// The stat(2) part as users see it who look through FUSE: DM changes do not show in ctime.
pub fn shown(fd: BorrowedFd<'_>) -> Result<FileAttr, DmError> {
    let mut stat = stat(fd)?;
    if let Some(ctime) = state::read(fd)?.shown_ctime {
        stat.ctime = ctime;
    }
    Ok(stat)
}

fn change_of(stat: &FileAttr, punches: u32) -> u64 {
    let parts = [
        stat.ctime.0 as u64,
        u64::from(stat.ctime.1),
        stat.mtime.0 as u64,
        u64::from(stat.mtime.1),
        stat.size,
        u64::from(punches),
    ];
    let bytes = parts.iter().flat_map(|part| part.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `dt_change` alone: the change id that a migration compares.
pub fn change_id(fd: BorrowedFd<'_>) -> Result<u64, DmError> {
    let changes = state::read(fd)?.changes;
    Ok(change_of(&stat(fd)?, changes))
}

/// `dt_emask`: the object's own list and the flags of its regions.
fn events_of(state: &ObjectState) -> EventSet {
    let regions = state.regions.iter();
    EventSet(regions.fold(state.events.0, |set, region| set | region.events().0))
}

/// What xattrs say of an object, read only if they are there.
struct Marks {
    has_attributes: bool,
    state: Result<ObjectState, StateError>,
}

impl Marks {
    fn read(fd: BorrowedFd<'_>) -> Result<Self, DmError> {
        let kept = store::names(fd)?;
        let state = if kept.iter().any(|name| name == state::NAME) {
            state::read(fd)
        } else {
            Ok(ObjectState::default())
        };
        Ok(Self {
            has_attributes: attr::is_any_in(&kept),
            state,
        })
    }
}

impl Mount {
    /// Looks at an object; any descriptor will do. Parts that were not wanted are empty; handle, generation and
    /// stat always come. `NotManaged` if the object lies in another file system. `is_open` is not told.
    pub fn look(&self, fd: BorrowedFd<'_>, want: &Want) -> Result<ObjectStat, DmError> {
        self.look_with(fd, want, |error| Err(error.into()))
    }

    /// As [`Mount::look`], but an object with a state that cannot be understood shows as managed, so
    /// that it does not end a scan.
    pub(super) fn look_leniently(
        &self,
        fd: BorrowedFd<'_>,
        want: &Want,
    ) -> Result<ObjectStat, DmError> {
        self.look_with(fd, want, lenient)
    }

    fn look_with(
        &self,
        fd: BorrowedFd<'_>,
        want: &Want,
        unreadable: impl FnOnce(StateError) -> Result<(), DmError>,
    ) -> Result<ObjectStat, DmError> {
        look_at(fd, want, self.handle_of(fd)?, unreadable)
    }
}

/// As [`Mount::look_leniently`], of an object that was opened by this handle. `has_xattrs`: it may have some.
pub(super) fn look_opened(
    fd: BorrowedFd<'_>,
    want: &Want,
    handle: Handle,
    has_xattrs: bool,
) -> Result<ObjectStat, DmError> {
    if has_xattrs {
        return look_at(fd, want, handle, lenient);
    }
    let raw = stat(fd)?;
    let mut shown = shown_by(&raw, handle);
    if want.dtime && want.dtime_alone {
        shown.dtime = raw.ctime.0;
    }
    if want.change {
        shown.change = change_of(&raw, 0);
    }
    Ok(shown)
}

fn lenient(error: StateError) -> Result<(), DmError> {
    match error {
        StateError::Call(error) => Err(error),
        StateError::Version(_) | StateError::Damaged => Ok(()),
    }
}

/// What stat(2) and the handle tell.
fn shown_by(raw: &FileAttr, handle: Handle) -> ObjectStat {
    let mut shown = ObjectStat::from(*raw);
    shown.handle = Some(handle);
    if let Handle::Object { generation, .. } = handle {
        shown.generation = generation;
    }
    shown
}

fn look_at(
    fd: BorrowedFd<'_>,
    want: &Want,
    handle: Handle,
    unreadable: impl FnOnce(StateError) -> Result<(), DmError>,
) -> Result<ObjectStat, DmError> {
    let raw = stat(fd)?;
    let mut shown = shown_by(&raw, handle);
    if !(want.state || want.attributes || want.dtime || want.change) {
        // A state that cannot be understood hides no stat(2).
        if let Some(ctime) = state::read(fd).ok().and_then(|state| state.shown_ctime) {
            shown.ctime = ctime.0;
        }
        return Ok(shown);
    }
    let marks = Marks::read(fd)?;
    let is_unreadable = marks.state.is_err();
    let state = match marks.state {
        Ok(state) => state,
        Err(error) => {
            unreadable(error)?;
            ObjectState::default()
        }
    };
    if let Some(ctime) = state.shown_ctime {
        shown.ctime = ctime.0;
    }
    if want.state {
        shown.has_regions = is_unreadable || !state.regions.is_empty();
        shown.events = events_of(&state);
    }
    if want.attributes {
        shown.has_attributes = marks.has_attributes;
    }
    if want.dtime && (marks.has_attributes || want.dtime_alone) {
        // Overloaded with ctime; but it is to move with DM attributes, which users do not see in ctime.
        let ctime = match state.shown_ctime {
            Some(shown) if !marks.has_attributes => shown,
            _ => raw.ctime,
        };
        shown.dtime = attr::dtime(&state, ctime).0;
    }
    if want.change {
        shown.change = change_of(&raw, state.changes);
    }
    Ok(shown)
}

fn time(wish: Option<(i64, u32)>) -> TimeSpec {
    wish.map_or(TimeSpec::UTIME_OMIT, |(seconds, nanoseconds)| {
        TimeSpec::new(seconds, i64::from(nanoseconds))
    })
}

/// `dm_set_fileattr` (worker only): makes no event; what is not named stays, but ctime, which no call of the kernel
/// can set: it moves, and a wish for it is taken without effect on the inode (it sets `dt_dtime`, where
/// there are DM attributes). Any descriptor will do.
pub fn set(fd: BorrowedFd<'_>, change: &AttrChange) -> Result<(), DmError> {
    let before = stat(fd)?;
    let dtime_before = if attr::names(fd)?.is_empty() {
        None
    } else {
        Some(attr::dtime(&state::read(fd)?, before.ctime))
    };
    // The name of the object itself, for calls that refuse an O_PATH descriptor.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    if let Some(size) = change.size {
        if kind_of_mode(before.mode) != Kinds::REGULAR {
            return Err(DmError::Invalid);
        }
        let size = i64::try_from(size).map_err(|_| DmError::Invalid)?;
        let kept = Kept::look(fd, false)?;
        truncate(path.as_str(), size).map_err(dm)?;
        kept.put_back(fd)?;
    }
    if change.uid.is_some() || change.gid.is_some() {
        let (uid, gid) = (change.uid.map(Uid::from), change.gid.map(Gid::from));
        fchownat(fd, "", uid, gid, AtFlags::AT_EMPTY_PATH).map_err(dm)?;
    }
    set_mode(fd, &path, before.mode, change.mode)?;
    let mtime = change
        .mtime
        .or_else(|| change.size.is_some().then_some(before.mtime));
    if change.atime.is_some() || mtime.is_some() {
        let flags = UtimensatFlags::FollowSymlink;
        let (atime, mtime) = (time(change.atime), time(mtime));
        utimensat(AT_FDCWD, path.as_str(), &atime, &mtime, flags).map_err(dm)?;
    }
    let wished = change.ctime.or(change.dtime);
    let dtime = match dtime_before {
        Some(before) => Some(wished.unwrap_or(before)),
        None if change.dtime_alone => wished,
        None => None,
    };
    if let Some(dtime) = dtime {
        state::update(fd, |state| state.dtime = Some(dtime))?;
    }
    Ok(())
}

/// A change of the owner takes the set-id bits away; they come back, or the wished bits are set.
fn set_mode(fd: BorrowedFd<'_>, path: &str, before: u32, wish: Option<u32>) -> Result<(), DmError> {
    let now = stat(fd)?.mode;
    let mode = wish.unwrap_or(before) & 0o7777;
    if mode == now & 0o7777 {
        return Ok(());
    }
    let bits = Mode::from_bits_truncate(mode);
    fchmodat(AT_FDCWD, path, bits, FchmodatFlags::FollowSymlink).map_err(dm)
}

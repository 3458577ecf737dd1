//! Scans: the entries of a directory, and all objects of a file system. Both can be resumed anywhere by a
//! 64-bit location, keep bounded memory, and read ahead by no more than one buffer.

mod bulk;
mod dir;
mod location;
mod tree;

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::fcntl::openat;
use nix::sys::stat::Mode;

use crate::fs::Mount;
use crate::fs::attr;
use crate::fs::stat;
use crate::model::AttrMask;
use crate::model::DmError;
use crate::model::ObjectStat;

pub use bulk::BulkScan;
pub use dir::DirScan;

/// The location where each scan begins (`dm_init_attrloc`).
pub const LOCATION_START: u64 = 0;

/// Which parts of an [`ObjectStat`] are wanted; handle, generation and stat always come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `events` and `has_regions` (DM_AT_EMASK, DM_AT_PMANR).
    pub state: bool,
    /// `has_attributes` (DM_AT_PATTR).
    pub attributes: bool,
    /// `dtime` (DM_AT_DTIME).
    pub dtime: bool,
    /// `dtime` also of objects without DM attributes: ctime, or what was set.
    pub dtime_alone: bool,
    /// `change` (DM_AT_CFLAG).
    pub change: bool,
    /// `Found::value`: this DM attribute (`dm_get_bulkall`).
    pub value: Option<[u8; 8]>,
}

impl Want {
    /// Everything but a value.
    pub const ALL: Self = Self {
        state: true,
        attributes: true,
        dtime: true,
        dtime_alone: false,
        change: true,
        value: None,
    };

    /// What has to be looked up for a mask.
    pub fn of(mask: AttrMask) -> Self {
        Self {
            state: mask.has(AttrMask::EMASK) || mask.has(AttrMask::PMANR),
            attributes: mask.has(AttrMask::PATTR),
            dtime: mask.has(AttrMask::DTIME),
            dtime_alone: false,
            change: mask.has(AttrMask::CFLAG),
            value: None,
        }
    }
}

/// One object of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// A scan that begins here finds this object first: the location to keep if there is no room for it.
    pub location: u64,
    /// Name in the directory, without NUL; empty in [`BulkScan`].
    pub name: Vec<u8>,
    /// What was wanted. The handle is `None` for an entry that belongs to another file system (a
    /// subvolume of btrfs).
    pub stat: ObjectStat,
    /// The DM attribute asked for, if the object has it.
    pub value: Option<Vec<u8>>,
}

/// Opens what a name means, to look at it.
fn open_entry(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, OsStr::from_bytes(name), flags, Mode::empty())
}

impl Mount {
    /// What a scan tells of an object that it opened at a location.
    fn found(
        &self,
        fd: BorrowedFd<'_>,
        want: &Want,
        location: u64,
        name: &[u8],
    ) -> Result<Found, DmError> {
        let stat = match self.look_leniently(fd, want) {
            Err(DmError::NotManaged) => stat::stat(fd)?.into(),
            other => other?,
        };
        let value = match want.value {
            Some(name) if stat.handle.is_some() => attr::get_if_any(fd, &name)?,
            _ => None,
        };
        Ok(Found {
            location,
            name: name.to_vec(),
            stat,
            value,
        })
    }
}

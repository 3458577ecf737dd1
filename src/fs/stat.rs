//! File attributes: what `dm_stat_t` shows, and `dm_set_fileattr`.

use std::os::fd::BorrowedFd;

use crate::fs::Mount;
use crate::fs::Want;
use crate::model::AttrChange;
use crate::model::DmError;
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

impl Mount {
    /// Looks at an object; any descriptor will do. Parts that were not wanted are empty; handle, generation and
    /// stat always come. `NotManaged` if the object lies in another file system. `is_open` is not told.
    pub fn look(&self, fd: BorrowedFd<'_>, want: &Want) -> Result<ObjectStat, DmError> {
        let _ = (fd, want);
        Err(DmError::NotImplemented)
    }
}

/// The stat(2) part alone.
pub fn stat(fd: BorrowedFd<'_>) -> Result<FileAttr, DmError> {
    let _ = fd;
    Err(DmError::NotImplemented)
}

/// `dt_change` alone: the change id that a migration compares.
pub fn change_id(fd: BorrowedFd<'_>) -> Result<u64, DmError> {
    let _ = fd;
    Err(DmError::NotImplemented)
}

/// `dm_set_fileattr` (worker only): makes no event; what is not named stays, but ctime, which no call of the kernel
/// can set: it moves, and a wish for it is taken without effect on the inode (it sets `dt_dtime`, where
/// there are DM attributes). Any descriptor will do.
pub fn set(fd: BorrowedFd<'_>, change: &AttrChange) -> Result<(), DmError> {
    let _ = (fd, change);
    Err(DmError::NotImplemented)
}

//! What only statx(2) tells: the mount that an object was reached by, and the rules of direct I/O.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

// Newer than the libc crate's constants.
const STATX_DIOALIGN: u32 = 0x2000;
const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
const EMPTY: &CStr = c"";

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `st_dev`.
    pub device: u64,
    /// Id of the mount, never used again by the kernel; `None` before Linux 6.8.
    pub mount_id: Option<u64>,
}

/// How direct I/O on a file must be aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectIo {
    /// Of the memory.
    pub memory_bytes: u32,
    /// Of offset and length.
    pub offset_bytes: u32,
}

fn statx(fd: BorrowedFd<'_>, mask: u32) -> io::Result<libc::statx> {
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a C string, and `found` has room for what the kernel writes.
    let result = unsafe {
        libc::statx(
            fd.as_raw_fd(),
            EMPTY.as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
            mask,
            found.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed memory is a valid statx, and the kernel has filled it in.
    Ok(unsafe { found.assume_init() })
}

/// `st_dev` of what a path leads to, also through a link of /proc/PID/fd. A server is not asked: a hung network
/// file system of some other process must not hang us.
pub fn device_of(path: &Path) -> io::Result<u64> {
    Ok(known(&statx_at(path, 0)?).0)
}

fn statx_at(path: &Path, mask: u32) -> io::Result<libc::statx> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    // SAFETY: the path is a C string, and `found` has room for what the kernel writes.
    let result = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            mask,
            found.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed memory is a valid statx, and the kernel has filled it in.
    Ok(unsafe { found.assume_init() })
}

fn known(found: &libc::statx) -> (u64, u64) {
    let device = libc::makedev(found.stx_dev_major, found.stx_dev_minor);
    (device, found.stx_ino)
}

/// `st_dev` and `st_ino` of an open object; no server is asked.
pub fn known_inode(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    Ok(known(&statx(fd, libc::STATX_INO)?))
}

/// The same of what a path leads to; see [`device_of`].
pub fn known_inode_at(path: &Path) -> io::Result<(u64, u64)> {
    Ok(known(&statx_at(path, libc::STATX_INO)?))
}

/// Where an open object is; O_PATH will do.
pub fn place(fd: BorrowedFd<'_>) -> io::Result<Place> {
    let found = statx(fd, STATX_MNT_ID_UNIQUE)?;
    let unique = found.stx_mask & STATX_MNT_ID_UNIQUE != 0;
    Ok(Place {
        device: libc::makedev(found.stx_dev_major, found.stx_dev_minor),
        mount_id: unique.then_some(found.stx_mnt_id),
    })
}

/// What the flags of an inode (chattr) forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nothing.
    None,
    /// To change what is there.
    AppendOnly,
    /// Every change.
    Immutable,
}

/// What the flags of an object forbid; O_PATH will do.
pub fn protection(fd: BorrowedFd<'_>) -> io::Result<Protection> {
    let attributes = statx(fd, libc::STATX_MODE)?.stx_attributes;
    let has = |flag: libc::c_int| attributes & flag as u64 != 0;
    Ok(match () {
        () if has(libc::STATX_ATTR_IMMUTABLE) => Protection::Immutable,
        () if has(libc::STATX_ATTR_APPEND) => Protection::AppendOnly,
        () => Protection::None,
    })
}

/// When an object was made; `None` where the file system does not tell.
pub fn birth(fd: BorrowedFd<'_>) -> io::Result<Option<(i64, u32)>> {
    let found = statx(fd, libc::STATX_BTIME)?;
    let is_told = found.stx_mask & libc::STATX_BTIME != 0;
    Ok(is_told.then_some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec)))
}

/// The alignment of direct I/O on a file; `None` if it is not possible. A file system that does not tell
/// (btrfs) wants whole blocks.
pub fn direct_io(fd: BorrowedFd<'_>, block_bytes: u32) -> io::Result<Option<DirectIo>> {
    let found = statx(fd, STATX_DIOALIGN)?;
    if found.stx_mask & STATX_DIOALIGN == 0 {
        return Ok(Some(DirectIo {
            memory_bytes: block_bytes,
            offset_bytes: block_bytes,
        }));
    }
    let is_possible = found.stx_dio_offset_align != 0;
    Ok(is_possible.then_some(DirectIo {
        memory_bytes: found.stx_dio_mem_align,
        offset_bytes: found.stx_dio_offset_align,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_device_is_that_of_stat() {
        let dir = std::fs::File::open("/").expect("the root");
        let place = place(dir.as_fd()).expect("statx");
        assert_eq!(place.device, dir.metadata().expect("stat").dev());
    }
}

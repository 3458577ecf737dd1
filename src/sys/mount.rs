//! Mounts that nobody sees: open_tree(2), mount_setattr(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

const OPEN_TREE_CLONE: u32 = 1;
const MOUNT_ATTR_RDONLY: u64 = 0x01;
const MOUNT_ATTR_NOSUID: u64 = 0x02;
const MOUNT_ATTR_NODEV: u64 = 0x04;
const MOUNT_ATTR_ATIME: u64 = 0x70;
const MOUNT_ATTR_NOATIME: u64 = 0x10;

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A copy of the mount that nobody can reach by a path. It lives as long as the descriptor; the file
/// system's device is busy meanwhile. The descriptor stays open over exec.
pub fn private_copy(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OPEN_TREE_CLONE | libc::AT_EMPTY_PATH as u32;
    let path = c"".as_ptr();
    // SAFETY: the path is a literal; the call keeps no pointer.
    let fd =
        Errno::result(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path, flags) })?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Makes the copy's own flags fit for a daemon: writable even if users' mount is not, no access times,
/// no devices. In a user namespace some flags cannot be changed: they stay.
pub fn set_private_flags(tree: BorrowedFd<'_>) -> io::Result<()> {
    set_flags(tree, MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME)
}

/// The same, but access times move as on the mount that it is a copy of: users read through it.
pub fn set_private_flags_for_users(tree: BorrowedFd<'_>) -> io::Result<()> {
    set_flags(tree, 0, 0)
}

fn set_flags(tree: BorrowedFd<'_>, set: u64, clear: u64) -> io::Result<()> {
    let guarded = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
    let all = change_flags(tree, set | guarded, clear | MOUNT_ATTR_RDONLY);
    match all {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            // Locked: it is read only for everybody here.
            let _ = change_flags(tree, 0, MOUNT_ATTR_RDONLY);
            change_flags(tree, guarded, 0)
        }
        all => all,
    }
}

fn change_flags(tree: BorrowedFd<'_>, set: u64, clear: u64) -> io::Result<()> {
    let attr = MountAttr {
        set,
        clear,
        propagation: 0,
        userns_fd: 0,
    };
    let path = c"".as_ptr();
    // SAFETY: structure and path outlive the call, and the size is that of the structure.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            path,
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// The root directory of a tree, readable, open over exec.
pub fn root_of(tree: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    Ok(openat(tree, c".", flags, Mode::empty())?)
}

/// `f_fsid` of the file system: how notifications name it.
pub fn kernel_fsid(dir: BorrowedFd<'_>) -> io::Result<[u8; 8]> {
    // SAFETY: all zero is a valid statfs.
    let mut buffer: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the structure, which outlives the call.
    Errno::result(unsafe { libc::fstatfs(dir.as_raw_fd(), &raw mut buffer) })?;
    // SAFETY: fsid_t is two 32-bit integers.
    Ok(unsafe { std::mem::transmute::<libc::fsid_t, [u8; 8]>(buffer.f_fsid) })
}

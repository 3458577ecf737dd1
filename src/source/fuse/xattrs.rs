//! Extended attributes and ACLs. What the service keeps in them users neither see nor change: a copy that took
//! them along would pass for a stub.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};

use super::attrs::proc_path;
use super::connection::Connection;
use super::serve::{Served, Stop, Task};
use super::wire::{abi, reply};
use crate::fs::attr::is_ours;
use crate::fs::stat::stat;
use crate::sys::fuse::Caller;
use crate::sys::xattr;

const ACLS: [&CStr; 2] = [c"system.posix_acl_access", c"system.posix_acl_default"];
/// Only who may set them is told that they are there, as by the file systems themselves.
const TRUSTED: &[u8] = b"trusted.";

/// A value or list for a caller with so much room; 0 asks for its size.
fn sized(bytes: Vec<u8>, room: u32) -> Served {
    match (room, u32::try_from(bytes.len())) {
        (0, Ok(size)) => Ok(reply::xattr_size(size)),
        (room, Ok(size)) if size <= room => Ok(bytes),
        _ => Err(Stop::Errno(libc::ERANGE)),
    }
}

/// The names that a user may see.
fn shown(list: &[u8], is_root: bool) -> Vec<u8> {
    list.split_inclusive(|byte| *byte == 0)
        .filter(|name| !is_ours(name) && (is_root || !name.starts_with(TRUSTED)))
        .flatten()
        .copied()
        .collect()
}

impl Connection {
    pub(super) fn getxattr(&self, task: &Task<'_>, name: &CStr, room: u32) -> Served {
        if is_ours(name.to_bytes()) {
            return Err(Stop::Errno(libc::ENODATA));
        }
        let node = self.node(task.request.node)?;
        let value = match xattr::get(self.look(&node)?.as_fd(), name) {
            Ok(value) => value,
            // To the kernel no ACL is not the same as no ACLs: it would refuse every access.
            Err(error)
                if error.raw_os_error() == Some(libc::EOPNOTSUPP) && ACLS.contains(&name) =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        sized(value.ok_or(Stop::Errno(libc::ENODATA))?, room)
    }

    pub(super) fn listxattr(&self, task: &Task<'_>, room: u32) -> Served {
        let node = self.node(task.request.node)?;
        let list = match xattr::list(self.look(&node)?.as_fd()) {
            Ok(list) => list,
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        sized(shown(&list, task.request.uid == 0), room)
    }

    pub(super) fn setxattr(
        &self,
        task: &mut Task<'_>,
        name: &CStr,
        value: &[u8],
        flags: u32,
        setxattr_flags: u32,
    ) -> Served {
        if is_ours(name.to_bytes()) {
            return Err(Stop::Errno(libc::EPERM));
        }
        let node = self.node(task.request.node)?;
        let fd = self.look(&node)?;
        let is_again = task.is_again();
        self.changed_by_user(&node)?;
        self.begin_alone(task)?;
        let done = {
            let _caller = Caller::enter_to_create(task.request.uid, task.request.gid)?;
            xattr::set_with(fd.as_fd(), name, value, flags)
        };
        match done {
            Err(error) if is_again && is_set(fd.as_fd(), name, value, &error) => {}
            done => done?,
        }
        if setxattr_flags & abi::FUSE_SETXATTR_ACL_KILL_SGID != 0 {
            drop_sgid(fd.as_fd())?;
        }
        self.tell_attribute(task, &node)?;
        Ok(Vec::new())
    }

    pub(super) fn removexattr(&self, task: &mut Task<'_>, name: &CStr) -> Served {
        if is_ours(name.to_bytes()) {
            return Err(Stop::Errno(libc::EPERM));
        }
        let node = self.node(task.request.node)?;
        let fd = self.look(&node)?;
        let is_again = task.is_again();
        self.changed_by_user(&node)?;
        self.begin_alone(task)?;
        if !xattr::remove(fd.as_fd(), name)? && !is_again {
            return Err(Stop::Errno(libc::ENODATA));
        }
        self.tell_attribute(task, &node)?;
        Ok(Vec::new())
    }
}

/// Is XATTR_CREATE refused because an earlier worker has done it?
fn is_set(fd: BorrowedFd<'_>, name: &CStr, value: &[u8], error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EEXIST)
        && xattr::get(fd, name).is_ok_and(|there| there.as_deref() == Some(value))
}

/// The group of the file is none of the caller's: an ACL that he sets takes the bit away.
fn drop_sgid(fd: BorrowedFd<'_>) -> Result<(), Stop> {
    let mode = stat(fd)?.mode;
    if mode & libc::S_ISGID == 0 {
        return Ok(());
    }
    let bits = Mode::from_bits_truncate(mode & 0o7777 & !libc::S_ISGID);
    let flags = FchmodatFlags::FollowSymlink;
    Ok(fchmodat(AT_FDCWD, proc_path(fd).as_str(), bits, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_keeps_is_not_shown() {
        let list = b"user.a\0trusted.dmapi.state\0trusted.b\0trusted.SGI_DMI_x\0security.c\0";
        assert_eq!(shown(list, true), b"user.a\0trusted.b\0security.c\0");
        assert_eq!(shown(list, false), b"user.a\0security.c\0");
        assert_eq!(shown(b"", true), b"");
    }

    #[test]
    fn size_zero_asks_for_the_size() {
        assert_eq!(sized(vec![1; 5], 0).expect("a size").len(), 8);
        assert_eq!(sized(vec![1; 5], 5).expect("it fits"), vec![1; 5]);
        assert!(matches!(
            sized(vec![1; 5], 4),
            Err(Stop::Errno(libc::ERANGE))
        ));
    }
}

//! Flags of inodes (chattr, project ids), which come as ioctls.

use std::os::fd::AsFd;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::attrs::proc_path;
use super::connection::Connection;
use super::serve::{Served, Stop, Task};
use super::wire::reply;
use crate::model::Kinds;
use crate::sys::fuse::Caller;
use crate::sys::inode_flags::{self, SET_FLAGS, SET_XATTR};

impl Connection {
    /// IOCTL. Whether the caller may change flags is checked by the file system behind, too.
    pub(super) fn ioctl(&self, task: &Task<'_>, command: u32, argument: &[u8]) -> Served {
        if inode_flags::bytes_of(command).is_none() {
            return Err(Stop::Errno(libc::ENOTTY));
        }
        let node = self.node(task.request.node)?;
        if !Kinds::REGULAR.or(Kinds::DIRECTORY).has(node.kind) {
            return Err(Stop::Errno(libc::ENOTTY));
        }
        let is_change = matches!(command, SET_FLAGS | SET_XATTR);
        if is_change {
            self.changed_by_user(&node)?;
        }
        let object = self.look(&node)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOATIME | OFlag::O_CLOEXEC;
        let fd = open(proc_path(object.as_fd()).as_str(), flags, Mode::empty())?;
        let given = {
            let _caller = Caller::enter_to_set_flags(task.request.uid, task.request.gid)?;
            inode_flags::carry_out(fd.as_fd(), command, argument)?
        };
        let mut answer = reply::ioctl(0);
        if is_change {
            self.tell_attribute(task, &node)?;
        } else {
            answer.extend(given);
        }
        Ok(answer)
    }
}

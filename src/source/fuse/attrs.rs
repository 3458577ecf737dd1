//! Attributes: what users see of an object, and what they change.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::fcntl::AT_FDCWD;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat};

use super::connection::Connection;
use super::node::Node;
use super::serve::{Served, Stop, Task};
use super::table::Way;
use super::wire::reply::{self, Attr, Statx, pack_device};
use super::wire::{SetAttr, SetTime, Time};
use crate::fs::stat::stat;
use crate::fs::{FileAttr, ObjectState, state};
use crate::sys::fuse::Caller;
use crate::sys::statx;

/// How long names and attributes hold where all changes come through the kernel that asks, or it is told of them.
const VALID: Duration = Duration::from_secs(3600);

const STATX_BTIME: u32 = libc::STATX_BTIME;

fn time((seconds, nanoseconds): (i64, u32)) -> Time {
    Time {
        seconds,
        nanoseconds,
    }
}

/// What the kernel is told of an object.
pub(super) fn attr_of(stat: &FileAttr, state: &ObjectState) -> Attr {
    Attr {
        ino: stat.ino,
        size: stat.size,
        blocks: stat.blocks,
        atime: time(stat.atime),
        mtime: time(stat.mtime),
        ctime: time(state.shown_ctime.unwrap_or(stat.ctime)),
        mode: stat.mode,
        nlink: u32::try_from(stat.nlink).unwrap_or(u32::MAX),
        uid: stat.uid,
        gid: stat.gid,
        rdev: pack_device(libc::major(stat.rdev), libc::minor(stat.rdev)),
        block_bytes: u32::try_from(stat.blksize).unwrap_or(4096),
    }
}

/// A name of the object itself, for calls that refuse an O_PATH descriptor.
pub(super) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

impl Connection {
    /// How long attributes of a node hold: the kernel does not see what mappings past it do to them.
    pub(super) fn attr_valid(&self, node: &Node) -> Duration {
        match node.lock().way {
            Some(Way::Passthrough) => Duration::ZERO,
            _ => self.entry_valid(),
        }
    }

    /// How long names hold.
    pub(super) fn entry_valid(&self) -> Duration {
        match self.shares() {
            true => Duration::ZERO,
            false => VALID,
        }
    }

    /// A user is about to change the object, so the ctime that he sees is the real one from now on.
    pub(super) fn changed_by_user(&self, node: &Node) -> Result<(), Stop> {
        if self.state_of(node)?.shown_ctime.is_some() {
            state::clear_ctime(self.look(node)?.as_fd())?;
            self.forget_state_everywhere(node);
        }
        Ok(())
    }

    fn attr_reply(&self, node: &Node, fd: BorrowedFd<'_>) -> Served {
        let attr = attr_of(&stat(fd)?, &*self.state_by(node, fd)?);
        Ok(reply::attr(self.attr_valid(node), &attr))
    }

    pub(super) fn getattr(&self, task: &Task<'_>) -> Served {
        let node = self.node(task.request.node)?;
        let open = node.lock().backing.clone();
        match open {
            Some(backing) => self.attr_reply(&node, backing.as_fd()),
            None => self.attr_reply(&node, self.look(&node)?.as_fd()),
        }
    }

    pub(super) fn statx(&self, task: &Task<'_>) -> Served {
        let node = self.node(task.request.node)?;
        let fd = self.look(&node)?;
        let attr = attr_of(&stat(fd.as_fd())?, &*self.state_by(&node, fd.as_fd())?);
        let birth = statx::birth(fd.as_fd())?;
        let mut found = Statx {
            mask: libc::STATX_BASIC_STATS,
            attr,
            ..Statx::default()
        };
        if let Some(birth) = birth {
            found.mask |= STATX_BTIME;
            found.btime = time(birth);
        }
        Ok(reply::statx(self.attr_valid(&node), &found))
    }

    pub(super) fn readlink(&self, task: &Task<'_>) -> Served {
        use std::os::unix::ffi::OsStringExt;
        let node = self.node(task.request.node)?;
        let target = nix::fcntl::readlinkat(self.look(&node)?, c"")?;
        Ok(target.into_vec())
    }

    pub(super) fn statfs(&self) -> Served {
        let found = nix::sys::statvfs::fstatvfs(&self.mount.root)?;
        Ok(reply::statfs(&reply::Statfs {
            blocks: found.blocks(),
            blocks_free: found.blocks_free(),
            blocks_available: found.blocks_available(),
            files: found.files(),
            files_free: found.files_free(),
            block_bytes: found.block_size() as u32,
            name_max_bytes: found.name_max() as u32,
            fragment_bytes: found.fragment_size() as u32,
        }))
    }

    pub(super) fn setattr(&self, task: &mut Task<'_>, change: &SetAttr) -> Served {
        let node = self.node(task.request.node)?;
        if let Some(size) = change.size {
            // ftruncate(2) comes with the time, truncate(2) without.
            let always_moves = change.mtime.is_some();
            self.set_size(task, &node, size, change.kill_suidgid, always_moves)?;
        }
        let fd = self.look(&node)?;
        self.changed_by_user(&node)?;
        set(task, fd.as_fd(), change)?;
        if change.size.is_none() {
            self.tell_attribute(task, &node)?;
        }
        self.attr_reply(&node, fd.as_fd())
    }
}

/// Carries out what is not the size, in the order in which one call would.
fn set(task: &Task<'_>, fd: BorrowedFd<'_>, change: &SetAttr) -> Result<(), Stop> {
    let request = &task.request;
    let path = proc_path(fd);
    if change.uid.is_some() || change.gid.is_some() {
        let (uid, gid) = (change.uid.map(Uid::from), change.gid.map(Gid::from));
        // Set-id bits go as they would for the caller.
        let _caller = Caller::enter(request.uid, request.gid)?;
        fchownat(fd, c"", uid, gid, AtFlags::AT_EMPTY_PATH)?;
    }
    if let Some(mode) = change.mode {
        let bits = Mode::from_bits_truncate(mode & 0o7777);
        fchmodat(AT_FDCWD, path.as_str(), bits, FchmodatFlags::FollowSymlink)?;
    }
    if change.atime.is_some() || change.mtime.is_some() {
        let flags = UtimensatFlags::FollowSymlink;
        let (atime, mtime) = (time_to_set(change.atime), time_to_set(change.mtime));
        utimensat(AT_FDCWD, path.as_str(), &atime, &mtime, flags)?;
    }
    Ok(())
}

fn time_to_set(wish: Option<SetTime>) -> TimeSpec {
    match wish {
        None => TimeSpec::UTIME_OMIT,
        Some(SetTime::Now) => TimeSpec::UTIME_NOW,
        Some(SetTime::To(time)) => TimeSpec::new(time.seconds, i64::from(time.nanoseconds)),
    }
}

//! What `dmctl` and `mount.dmapi` ask the daemon.

use std::os::fd::{AsFd, BorrowedFd};

use super::call::{ask, ask_with, tell};
use super::place;
use crate::model::{ClientId, DmError, FsId, FuseMount};
use crate::proto::{self, Back, Call, FsEntry, Reply, Request, StatusReply, VERSION};
use crate::sys::socket;

/// Is anybody there?
pub fn ping() -> Result<(), DmError> {
    tell(&Request::Ping)
}

/// All managed file systems.
pub fn file_systems() -> Result<Vec<FsEntry>, DmError> {
    match ask(&Request::FileSystems)? {
        Reply::FileSystems(entries) => Ok(entries),
        _ => Err(DmError::Io),
    }
}

/// What the daemon says of itself.
pub fn status() -> Result<StatusReply, DmError> {
    match ask(&Request::Status)? {
        Reply::Status(status) => Ok(*status),
        _ => Err(DmError::Io),
    }
}

/// How a file system comes under management.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountArgs<'a> {
    /// Mount point.
    pub path: &'a [u8],
    /// Device.
    pub device: &'a [u8],
    /// It is read only.
    pub read_only: bool,
    /// It is mounted already.
    pub manage: bool,
    /// Manage it although files are open or mapped.
    pub force: bool,
}

/// Brings a file system under management: MOUNT is delivered and answered.
pub fn mount(args: &MountArgs<'_>, mount_fd: BorrowedFd<'_>) -> Result<FsId, DmError> {
    let request = Request::Mount {
        path: args.path.to_vec(),
        device: args.device.to_vec(),
        read_only: args.read_only,
        manage: args.manage,
        force: args.force,
    };
    match ask_with(&request, &[mount_fd])? {
        Reply::Managed(fs) => Ok(fs),
        _ => Err(DmError::Io),
    }
}

/// A directory that comes under management through a FUSE mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountFuseArgs<'a> {
    /// Mount point.
    pub path: &'a [u8],
    /// Path of the directory.
    pub backing: &'a [u8],
    /// `st_dev` of the mount.
    pub device: u64,
    /// How it is mounted.
    pub fuse: FuseMount,
}

/// The same for a directory `dir` and the `/dev/fuse` of a mount that is nowhere yet.
pub fn mount_fuse(
    args: &MountFuseArgs<'_>,
    dir: BorrowedFd<'_>,
    channel: BorrowedFd<'_>,
) -> Result<FsId, DmError> {
    let request = Request::MountFuse {
        path: args.path.to_vec(),
        backing: args.backing.to_vec(),
        device: args.device,
        fuse: args.fuse,
    };
    match ask_with(&request, &[dir, channel])? {
        Reply::Managed(fs) => Ok(fs),
        _ => Err(DmError::Io),
    }
}

/// PREUNMOUNT is delivered and answered: may the file system be unmounted?
pub fn prepare_unmount(fs: FsId, forced: bool) -> Result<(), DmError> {
    tell(&Request::PrepareUnmount { fs, forced })
}

/// The unmount is done, or failed with `errno`.
pub fn unmounted(fs: FsId, errno: i32, forced: bool) -> Result<(), DmError> {
    tell(&Request::Unmounted { fs, errno, forced })
}

/// Does a worker welcome clients within that time? A dead or stopped one is not waited for.
pub fn answers_within(limit_ms: u32) -> bool {
    let Ok(fd) = socket::connect(&place::socket_path()) else {
        return false;
    };
    let hello = Call::Hello {
        version: VERSION,
        client: ClientId(u64::from(std::process::id()) << 32),
    };
    let sent = socket::set_receive_limit(fd.as_fd(), Some(limit_ms))
        .and_then(|()| socket::send(fd.as_fd(), &proto::encode(&hello), &[], true));
    let mut buffer = [0; 1024];
    sent.and_then(|()| socket::receive(fd.as_fd(), &mut buffer))
        .is_ok_and(|(bytes, _)| {
            let back = proto::decode(&buffer[..bytes]);
            matches!(back, Some(Back::Welcome { .. }))
        })
}

/// Ends the daemon. `Busy` while file systems are served, unless `force`.
pub fn stop(force: bool) -> Result<(), DmError> {
    tell(&Request::Stop { force })
}

/// The installed daemon takes the place of the running one.
pub fn upgrade() -> Result<(), DmError> {
    tell(&Request::Upgrade)
}

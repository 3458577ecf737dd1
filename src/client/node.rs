//! What `dmctl` and `mount.dmapi` ask the daemon.

use std::os::fd::BorrowedFd;

use super::call::{ask, ask_with, tell};
use crate::model::{DmError, FsId};
use crate::proto::{FsEntry, Reply, Request, StatusReply};

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
    match ask_with(&request, mount_fd)? {
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

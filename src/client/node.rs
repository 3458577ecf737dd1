//! What `dmctl` and `mount.dmapi` ask the daemon.

use std::os::fd::BorrowedFd;

use crate::model::{DmError, FsId};
use crate::proto::FsEntry;
use crate::proto::StatusReply;

/// Is anybody there?
pub fn ping() -> Result<(), DmError> {
    Err(DmError::NotImplemented)
}

/// All managed file systems.
pub fn file_systems() -> Result<Vec<FsEntry>, DmError> {
    Err(DmError::NotImplemented)
}

/// What the daemon says of itself.
pub fn status() -> Result<StatusReply, DmError> {
    Err(DmError::NotImplemented)
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

/// `Request::Mount`: MOUNT is delivered and answered.
pub fn mount(args: &MountArgs<'_>, mount_fd: BorrowedFd<'_>) -> Result<FsId, DmError> {
    let _ = (args, mount_fd);
    Err(DmError::NotImplemented)
}

/// `Request::PrepareUnmount`.
pub fn prepare_unmount(fs: FsId, forced: bool) -> Result<(), DmError> {
    let _ = (fs, forced);
    Err(DmError::NotImplemented)
}

/// `Request::Unmounted`.
pub fn unmounted(fs: FsId, errno: i32, forced: bool) -> Result<(), DmError> {
    let _ = (fs, errno, forced);
    Err(DmError::NotImplemented)
}

//! Handles of paths and descriptors, and back.

use std::os::fd::OwnedFd;

use crate::model::{DmError, Handle};
use crate::proto::Target;

/// `dm_path_to_handle`: the last symbolic link is not followed. `path` has no NUL.
pub fn path_to_handle(path: &[u8]) -> Result<Handle, DmError> {
    let _ = path;
    Err(DmError::NotImplemented)
}

/// `dm_path_to_fshandle`: links are followed.
pub fn path_to_fshandle(path: &[u8]) -> Result<Handle, DmError> {
    let _ = path;
    Err(DmError::NotImplemented)
}

/// `dm_fd_to_handle`.
pub fn fd_to_handle(fd: i32) -> Result<Handle, DmError> {
    let _ = fd;
    Err(DmError::NotImplemented)
}

/// `dm_handle_to_path`, without NUL.
pub fn handle_to_path(directory: &Handle, target: &Handle) -> Result<Vec<u8>, DmError> {
    let _ = (directory, target);
    Err(DmError::NotImplemented)
}

/// `dm_open_by_handle`: `mode` is as for open(2).
pub fn open_by_handle(handle: &Handle, mode: i32) -> Result<OwnedFd, DmError> {
    let _ = (handle, mode);
    Err(DmError::NotImplemented)
}

/// `dm_create_by_handle`, `dm_mkdir_by_handle`, `dm_symlink_by_handle`: session and token are checked, then `ENOSYS`.
pub fn create_by_handle(directory: &Target) -> Result<(), DmError> {
    let _ = directory;
    Err(DmError::NotImplemented)
}

//! Handles of objects, and objects of handles.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use crate::fs::Mount;
use crate::model::DmError;
use crate::model::Handle;
use crate::model::Kinds;
use crate::model::OpenFor;

impl Mount {
    /// The handle of an open object (O_PATH will do). `NotManaged` if it lies in another file system.
    /// `fd` may come from any mount of the file system.
    pub fn handle_of(&self, fd: BorrowedFd<'_>) -> Result<Handle, DmError> {
        let _ = fd;
        Err(DmError::NotImplemented)
    }

    /// Opens the object of a handle on this mount; the file system's own handle opens its root directory.
    ///
    /// `Look`, and every symbolic link and special file: O_PATH. Else a descriptor that makes no events
    /// (on xfs no time changes either) and never waits for a lease. A dead handle is `BadHandle`.
    /// `Write` on a directory is `Invalid`.
    pub fn open(&self, handle: Handle, open: OpenFor) -> Result<OwnedFd, DmError> {
        let _ = (handle, open);
        Err(DmError::NotImplemented)
    }

    /// The handle that a file handle of the kernel (an event record of fanotify: type and bytes) stands for.
    pub fn handle_from_kernel(&self, kind: i32, bytes: &[u8]) -> Result<Handle, DmError> {
        let _ = (kind, bytes);
        Err(DmError::NotImplemented)
    }
}

/// What kind of object is open.
pub fn kind_of(fd: BorrowedFd<'_>) -> Result<Kinds, DmError> {
    let _ = fd;
    Err(DmError::NotImplemented)
}

/// Makes data and attributes of an object durable; any descriptor will do.
pub fn sync(mount: &Mount, fd: BorrowedFd<'_>) -> Result<(), DmError> {
    let _ = (mount, fd);
    Err(DmError::NotImplemented)
}

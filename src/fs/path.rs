//! Names: of an object in a directory, and of a directory below the root (`dm_handle_to_path`).

use std::os::fd::BorrowedFd;

use crate::fs::Mount;
use crate::model::DmError;
use crate::model::Handle;

impl Mount {
    /// The name that an object has in a directory (opened for reading on this mount), the first one if it has
    /// several; `None` if it is not there.
    pub fn name_in(&self, dir: BorrowedFd<'_>, target: Handle) -> Result<Option<Vec<u8>>, DmError> {
        let _ = (dir, target);
        Err(DmError::NotImplemented)
    }

    /// The path of a directory below the root, without a slash in front; empty for the root itself.
    pub fn path_of(&self, dir: BorrowedFd<'_>) -> Result<Vec<u8>, DmError> {
        let _ = dir;
        Err(DmError::NotImplemented)
    }
}

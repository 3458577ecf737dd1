//! Which file system a directory is in: its kind and the id that every node gives it.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use crate::fs::FsError;
use crate::fs::FsKind;
use crate::fs::Mount;
use crate::model::handle::FsId;

/// What a directory tells about its file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The same on every node and after every remount; on btrfs one per subvolume.
    pub fs: FsId,
    /// What it is.
    pub kind: FsKind,
    /// `st_dev` of its objects.
    pub device: u64,
    /// The subvolume on btrfs, else 0.
    pub subvolume: u64,
}

/// Identifies the file system of a directory (a descriptor that is not O_PATH).
pub fn identify(dir: BorrowedFd<'_>) -> Result<Identity, FsError> {
    let _ = dir;
    Err(FsError::Os {
        what: "identify",
        errno: 38,
    })
}

pub(super) fn mount(root: OwnedFd) -> Result<Mount, FsError> {
    let _ = root;
    Err(FsError::Os {
        what: "identify",
        errno: 38,
    })
}

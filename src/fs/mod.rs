//! Files through handles: handles, stored state (xattrs), invisible I/O, holes, attributes, scans.
//!
//! Everything here works on a [`Mount`]: a private mount of the file system whose I/O makes no events.
//! The worker uses it, and so does the client library in the process of the application, with
//! descriptors that the worker opened on that mount.

pub mod attr;
mod error;
mod ext4;
mod fuse_view;
pub mod handle;
pub mod hole;
pub mod identify;
pub mod invisible;
mod keep;
pub mod path;
pub mod scan;
pub mod side;
pub mod stat;
pub mod state;
pub mod users;

pub use attr::AttrLimits;
pub use error::FsError;
pub use fuse_view::FuseView;
pub use hole::AllocInfo;
pub use keep::Kept;
pub use scan::{BulkScan, DirScan, Found, Want};
pub use stat::FileAttr;
pub use state::{ObjectState, StateError};

use std::os::fd::OwnedFd;

use crate::model::handle::FsId;

/// The kinds of file system that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FsKind {
    Xfs,
    Ext4,
    Btrfs,
}

impl FsKind {
    /// `xfs`, `ext4`, `btrfs`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
        }
    }
}

impl std::fmt::Display for FsKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A file system that is served, seen through its private mount.
#[derive(Debug)]
pub struct Mount {
    /// Its id.
    pub fs: FsId,
    /// What it is.
    pub kind: FsKind,
    /// `st_dev` of its root and of every object that belongs to it.
    pub device: u64,
    /// The subvolume on btrfs, else 0.
    pub subvolume: u64,
    /// Allocation unit: what holes are made of.
    pub block_bytes: u64,
    /// What DM attributes may hold here.
    pub limits: AttrLimits,
    /// A readable directory descriptor of the root on the private mount (not O_PATH).
    pub root: OwnedFd,
}

impl Mount {
    /// The file system whose root `root` is. Used by the worker after it made the private mount, and by
    /// a client with the descriptor that it was given for the file system's handle.
    pub fn new(root: OwnedFd) -> Result<Self, FsError> {
        identify::mount(root)
    }
}

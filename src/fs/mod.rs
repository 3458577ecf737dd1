//! Files through handles: handles, stored state (xattrs), invisible I/O, holes, attributes, scans.
//!
//! Everything here works on a [`Mount`]: a private mount of the file system whose I/O makes no events.

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

/// A file system that is served, seen through its private mount.
#[derive(Debug)]
pub struct Mount {
    /// Its id.
    pub fs: FsId,
    /// What it is.
    pub kind: FsKind,
    /// `st_dev` of its root.
    pub device: u64,
    /// A readable directory descriptor of the root on the private mount.
    pub root: OwnedFd,
}

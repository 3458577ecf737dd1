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
mod handle_file;
pub mod hole;
pub mod identify;
pub mod invisible;
mod keep;
mod known;
pub mod path;
pub mod scan;
pub mod side;
pub mod stat;
pub mod state;
pub mod store;
pub mod users;
mod walk;

pub use attr::AttrLimits;
pub use error::FsError;
pub use fuse_view::FuseView;
pub use hole::AllocInfo;
pub use keep::Kept;
pub use known::Known;
pub use scan::{BulkScan, DirScan, Found, Want};
pub use stat::FileAttr;
pub use state::{ObjectState, StateError};

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use crate::model::handle::FsId;

/// The kinds of file system that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FsKind {
    Xfs,
    Ext4,
    Btrfs,
    Tmpfs,
    /// Any other, by its `f_type` of statfs(2): overlayfs, NFS ...
    Other(u64),
}

/// Magic numbers of other kinds, and what mountinfo calls them.
const OTHER_NAMES: &[(u64, &str)] = &[
    (0x794c_7630, "overlay"),
    (0x6969, "nfs"),
    (0x6573_5546, "fuse"),
    (0x8584_58f6, "ramfs"),
    (0xf2f5_2010, "f2fs"),
    (0xca45_1a4e, "bcachefs"),
    (0x2fc1_2fc1, "zfs"),
    (0x5265_4973, "reiserfs"),
    (0x3153_464a, "jfs"),
    (0x7461_636f, "ocfs2"),
    (0x0116_1970, "gfs2"),
    (0x00c3_6400, "ceph"),
    (0x0bd0_0bd0, "lustre"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb3"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x0102_1997, "9p"),
    (0x9660, "iso9660"),
    (0x7371_7368, "squashfs"),
    (0xe0f5_e1e2, "erofs"),
];

impl FsKind {
    /// As mountinfo has it: `xfs`, `ext4`, `btrfs`, `tmpfs`, `overlay` ...; `other` if nobody told us.
    pub fn name(self) -> &'static str {
        match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
            Self::Tmpfs => "tmpfs",
            Self::Other(magic) => OTHER_NAMES
                .iter()
                .find(|(known, _)| *known == magic)
                .map_or("other", |(_, name)| name),
        }
    }

    /// Can ranges of its files be freed (`DM_CONFIG_PUNCH_HOLE`)? NFS before 4.2, and overlayfs above kinds that
    /// cannot, refuse when it comes to it.
    pub fn can_punch(self) -> bool {
        !matches!(
            self.name(),
            "ramfs"
                | "vfat"
                | "exfat"
                | "iso9660"
                | "squashfs"
                | "erofs"
                | "9p"
                | "jfs"
                | "reiserfs"
                | "other"
        )
    }

    /// Does the kernel make pre-content events (fanotify) for files of this kind?
    pub fn has_content_events(self) -> bool {
        matches!(self, Self::Xfs | Self::Ext4 | Self::Btrfs)
    }
}

impl std::fmt::Display for FsKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Inode numbers and generations, for all mounts of a file system.
pub type Destroyed = Arc<std::sync::RwLock<std::collections::HashSet<(u64, u32)>>>;

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
    /// Inode number and generation of the root directory, as handles have them.
    pub root_object: (u64, u32),
    /// A readable directory descriptor of the root on the private mount (not O_PATH).
    pub root: OwnedFd,
    /// Objects whose end was told, and that the kernel has not let go yet: their handles are dead. Worker only.
    pub destroyed: Destroyed,
    /// What the worker learned of objects; a client has none.
    pub known: Option<Arc<Known>>,
}

impl Mount {
    /// The file system whose root `root` is. For a client, with the descriptor that it was given for the file
    /// system's handle, and for the worker where the kernel opens each object by its handle (xfs, ext4, btrfs).
    pub fn new(root: OwnedFd) -> Result<Self, FsError> {
        identify::mount(root)
    }

    /// The same for the worker and file systems of any kind. What handles mean that the kernel cannot open by
    /// 24 bytes is kept below the state directory; without one they are searched for after a restart.
    pub fn serving(root: OwnedFd, state_dir: Option<&Path>) -> Result<Self, FsError> {
        let mut mount = identify::mount(root)?;
        mount.known = Known::open(&mount, state_dir)?.map(Arc::new);
        Ok(mount)
    }

    /// A further mount of a file system that is served: what is remembered of its objects is the same. Where that is
    /// by names, or is found by a walk, both must have the same root.
    pub fn serving_beside(root: OwnedFd, other: &Self) -> Result<Self, FsError> {
        let mut mount = identify::mount(root)?;
        if mount.device != other.device {
            return Err(FsError::SameId);
        }
        if other.known.is_some() && mount.root_object != other.root_object {
            return Err(FsError::OtherRoot);
        }
        mount.destroyed = Arc::clone(&other.destroyed);
        mount.known = other.known.clone();
        Ok(mount)
    }
}

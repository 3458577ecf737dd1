//! Why a directory's file system cannot be served.

use crate::model::DmError;

/// Why [`super::Mount::new`] or [`super::identify::identify`] refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsError {
    /// Not xfs, ext4 or btrfs.
    Unsupported {
        /// `f_type` of statfs(2).
        magic: u64,
    },
    /// The file system has no UUID to make its id from.
    NoUuid {
        /// The errno of FS_IOC_GETFSUUID.
        errno: i32,
    },
    /// Nothing of the file system is the same after a remount.
    NoId {
        /// Its kind.
        kind: &'static str,
    },
    /// The kernel gives no handles of its objects, or cannot open them.
    NoHandles {
        /// Its kind.
        kind: &'static str,
        /// The errno of name_to_handle_at(2) or open_by_handle_at(2).
        errno: i32,
    },
    /// Another directory of the file system is served, and objects are found from that.
    OtherRoot,
    /// A file system that is served has the same id, and is another one.
    SameId,
    /// A call failed.
    Os {
        /// The call.
        what: &'static str,
        /// Its errno.
        errno: i32,
    },
}

impl std::fmt::Display for FsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsupported { magic } => write!(
                f,
                "the file system (type 0x{magic:x}) is not xfs, ext4 or btrfs, which the fanotify source needs; \
                 other kinds need the FUSE source: dmctl mount --source fuse"
            ),
            Self::NoUuid { errno } => write!(
                f,
                "the file system tells no UUID ({}), so its handles could not outlive a remount: \
                 give it one (xfs_admin -U, tune2fs -U) or use kernel 6.9 or newer",
                std::io::Error::from_raw_os_error(*errno)
            ),
            Self::NoId { kind } => write!(
                f,
                "the file system ({kind}) has neither a UUID nor an f_fsid, so its handles could not outlive a \
                 remount: use one that has (kernel 6.9 or newer tells the UUID)"
            ),
            Self::NoHandles { kind, errno } => write!(
                f,
                "the kernel gives no handles of objects of the file system ({kind}: {}): {}",
                std::io::Error::from_raw_os_error(*errno),
                match *kind {
                    "overlay" =>
                        "mount it with index=on,nfs_export=on on file systems that have handles",
                    "fuse" => "it is FUSE itself; serve the file system behind it",
                    _ =>
                        "it cannot be served; copy the data to one that has (xfs, ext4, btrfs, tmpfs)",
                }
            ),
            Self::OtherRoot => write!(
                f,
                "another directory of the file system is served, and the kernel opens its objects by name only: a further \
                 mount must show the same directory"
            ),
            Self::SameId => write!(
                f,
                "another file system with the same UUID is served, so that their handles would be the same: give one of \
                 them another while it is not mounted (tune2fs -U random, xfs_admin -U generate, btrfstune -u)"
            ),
            Self::Os { what, errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                write!(f, "{what} on the file system's root failed: {error}")
            }
        }
    }
}

impl std::error::Error for FsError {}

impl From<FsError> for DmError {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Unsupported { .. }
            | FsError::NoUuid { .. }
            | FsError::NoId { .. }
            | FsError::OtherRoot
            | FsError::SameId
            | FsError::NoHandles { .. } => Self::NotSupported,
            FsError::Os { errno, .. } => Self::from_errno(errno),
        }
    }
}

/// An errno of the kernel as the caller of the DMAPI sees it.
pub(super) fn dm(errno: nix::errno::Errno) -> DmError {
    DmError::from_errno(errno as i32)
}

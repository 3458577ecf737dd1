//! Which file system a directory is in: its kind and the id that every node gives it.

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;

use nix::sys::stat::fstat;

use crate::fs::AttrLimits;
use crate::fs::FsError;
use crate::fs::FsKind;
use crate::fs::Mount;
use crate::fs::ext4::Volume;
use crate::model::handle::FsId;
use crate::sys::btrfs;
use crate::sys::handle::name_to_handle;
use crate::sys::volume;
use crate::sys::xattr;

const XFS_MAGIC: u64 = 0x5846_5342;
const EXT4_MAGIC: u64 = 0xef53;
const BTRFS_MAGIC: u64 = 0x9123_683e;

/// `DM_CONFIG_TOTAL_ATTRIBUTE_SPACE` where nothing but the disk limits it.
const UNLIMITED_BYTES: u64 = 0x7fff_ffff;
/// Header of an xattr block of ext4 (32), one entry with a name of 16 bytes (32), and the end mark (4).
const EXT4_BLOCK_OVERHEAD_BYTES: u64 = 68;
/// Headers of a leaf of btrfs (101), of its one item (25) and of the xattr (30), and the longest name (24).
const BTRFS_LEAF_OVERHEAD_BYTES: u64 = 101 + 25 + 30 + 24;

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

fn os(what: &'static str) -> impl Fn(std::io::Error) -> FsError {
    move |error| FsError::Os {
        what,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// FNV-1a. What it gives is in every handle that an application ever stored: it must never change.
fn id_of(uuid: &[u8; 16], subvolume: Option<u64>) -> FsId {
    let subvolume = subvolume.map(u64::to_le_bytes);
    let bytes = uuid.iter().chain(subvolume.iter().flatten());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // 0 is "no file system" in handles.
    FsId(hash.max(1))
}

/// The subvolume is the second number of the handle of btrfs.
pub(super) fn subvolume_of(dir: BorrowedFd<'_>) -> std::io::Result<u64> {
    let handle = name_to_handle(dir)?;
    let bytes = handle.bytes().get(8..16).and_then(|b| b.try_into().ok());
    bytes
        .map(u64::from_ne_bytes)
        .ok_or_else(|| std::io::Error::from_raw_os_error(libc::EIO))
}

fn kind_of(magic: u64) -> Result<FsKind, FsError> {
    match magic {
        XFS_MAGIC => Ok(FsKind::Xfs),
        EXT4_MAGIC => Ok(FsKind::Ext4),
        BTRFS_MAGIC => Ok(FsKind::Btrfs),
        magic => Err(FsError::Unsupported { magic }),
    }
}

/// Identifies the file system of a directory (a descriptor that is not O_PATH).
pub fn identify(dir: BorrowedFd<'_>) -> Result<Identity, FsError> {
    let statfs = volume::statfs(dir).map_err(os("statfs"))?;
    let kind = kind_of(statfs.magic)?;
    let device = fstat(dir)
        .map_err(|errno| os("fstat")(errno.into()))?
        .st_dev;
    let (uuid, subvolume) = if kind == FsKind::Btrfs {
        let (uuid, _) = btrfs::fs_info(dir).map_err(os("BTRFS_IOC_FS_INFO"))?;
        (
            uuid,
            Some(subvolume_of(dir).map_err(os("name_to_handle_at"))?),
        )
    } else {
        let uuid = volume::uuid(dir).map_err(|error| match error.raw_os_error() {
            Some(errno @ libc::ENOTTY) => FsError::NoUuid { errno },
            _ => os("FS_IOC_GETFSUUID")(error),
        })?;
        (uuid, None)
    };
    Ok(Identity {
        fs: id_of(&uuid, subvolume),
        kind,
        device,
        subvolume: subvolume.unwrap_or(0),
    })
}

fn limits(dir: BorrowedFd<'_>, identity: &Identity, block_bytes: u64) -> AttrLimits {
    let one_block = |bytes: u64| AttrLimits {
        value_bytes_max: bytes.min(xattr::BYTES_MAX as u64),
        total_bytes_max: bytes,
    };
    let large = AttrLimits {
        value_bytes_max: xattr::BYTES_MAX as u64,
        total_bytes_max: UNLIMITED_BYTES,
    };
    match identity.kind {
        FsKind::Xfs => large,
        // Where the device cannot be read the smaller limit is told: what it promises holds.
        FsKind::Ext4 => match Volume::open(identity.device) {
            Ok(volume) if volume.has_ea_inode() => large,
            _ => one_block(block_bytes.saturating_sub(EXT4_BLOCK_OVERHEAD_BYTES)),
        },
        FsKind::Btrfs => {
            let node_bytes = btrfs::fs_info(dir).map_or(block_bytes, |(_, node)| u64::from(node));
            AttrLimits {
                total_bytes_max: UNLIMITED_BYTES,
                ..one_block(node_bytes.saturating_sub(BTRFS_LEAF_OVERHEAD_BYTES))
            }
        }
    }
}

pub(super) fn mount(root: OwnedFd) -> Result<Mount, FsError> {
    let identity = identify(root.as_fd())?;
    let block_bytes = volume::statfs(root.as_fd())
        .map_err(os("statfs"))?
        .block_bytes
        .max(1);
    Ok(Mount {
        fs: identity.fs,
        kind: identity.kind,
        device: identity.device,
        subvolume: identity.subvolume,
        block_bytes,
        limits: limits(root.as_fd(), &identity, block_bytes),
        root,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_what_it_ever_was() {
        assert_eq!(id_of(&[0; 16], None).0, 0x8820_1fb9_60ff_6465);
        assert_ne!(id_of(&[0; 16], Some(256)), id_of(&[0; 16], Some(257)));
        assert_ne!(id_of(&[0; 16], None), id_of(&[1; 16], None));
    }

    #[test]
    fn an_unsupported_kind_is_named_with_what_it_needs() {
        let error = kind_of(0x0102_1994).unwrap_err();
        assert!(error.to_string().contains("FUSE source"), "{error}");
    }
}

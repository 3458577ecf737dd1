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
use crate::sys::mountinfo;
use crate::sys::volume;
use crate::sys::xattr;

const XFS_MAGIC: u64 = 0x5846_5342;
const EXT4_MAGIC: u64 = 0xef53;
const BTRFS_MAGIC: u64 = 0x9123_683e;
const TMPFS_MAGIC: u64 = 0x0102_1994;
const NFS_MAGIC: u64 = 0x6969;

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
    /// Inode number and generation of the directory.
    pub root_object: (u64, u32),
}

fn os(what: &'static str) -> impl Fn(std::io::Error) -> FsError {
    move |error| FsError::Os {
        what,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// FNV-1a. What it gives is in every handle that an application ever stored: it must never change.
pub(super) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn id_of(uuid: &[u8; 16], subvolume: Option<u64>) -> FsId {
    let subvolume = subvolume.map(u64::to_le_bytes);
    let bytes: Vec<u8> = uuid
        .iter()
        .chain(subvolume.iter().flatten())
        .copied()
        .collect();
    // 0 is "no file system" in handles.
    FsId(fnv(&bytes).max(1))
}

/// The subvolume is the second number of the handle of btrfs.
pub(super) fn subvolume_of(dir: BorrowedFd<'_>) -> std::io::Result<u64> {
    let handle = name_to_handle(dir)?;
    let bytes = handle.bytes().get(8..16).and_then(|b| b.try_into().ok());
    bytes
        .map(u64::from_ne_bytes)
        .ok_or_else(|| std::io::Error::from_raw_os_error(libc::EIO))
}

/// What kind of file system has this `f_type`.
pub(super) fn kind_of(magic: u64) -> FsKind {
    match magic {
        XFS_MAGIC => FsKind::Xfs,
        EXT4_MAGIC => FsKind::Ext4,
        BTRFS_MAGIC => FsKind::Btrfs,
        TMPFS_MAGIC => FsKind::Tmpfs,
        magic => FsKind::Other(magic),
    }
}

/// The file system's own UUID; where it has none, what else is the same after a remount.
fn uuid_of(dir: BorrowedFd<'_>, kind: FsKind, device: u64) -> Result<[u8; 16], FsError> {
    if kind == FsKind::Btrfs {
        let (uuid, _) = btrfs::fs_info(dir).map_err(os("BTRFS_IOC_FS_INFO"))?;
        return Ok(uuid);
    }
    let error = match volume::uuid(dir) {
        Ok(uuid) => return Ok(uuid),
        Err(error) => error,
    };
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    if kind.has_content_events() {
        return Err(match errno {
            libc::ENOTTY => FsError::NoUuid { errno },
            _ => os("FS_IOC_GETFSUUID")(error),
        });
    }
    let fsid = volume::statfs(dir).map_err(os("statfs"))?.fsid;
    let mut uuid = [0; 16];
    if fsid != [0; 8] {
        uuid[..8].copy_from_slice(&fsid);
        return Ok(uuid);
    }
    // The server's name for it: the same on every client.
    let source = (kind == FsKind::Other(NFS_MAGIC)).then(|| source_of(device));
    let source = source
        .flatten()
        .ok_or(FsError::NoId { kind: kind.name() })?;
    uuid[..8].copy_from_slice(&fnv(source.as_bytes()).to_le_bytes());
    Ok(uuid)
}

/// Where the file system with this `st_dev` comes from (`server:/export`), as its first mount says.
fn source_of(device: u64) -> Option<String> {
    let mounts = mountinfo::mounts().ok()?;
    let is_it = |seen: &mountinfo::Seen| libc::makedev(seen.device.0, seen.device.1) == device;
    mounts.into_iter().find(is_it).map(|seen| seen.source)
}

/// Identifies the file system of a directory (a descriptor that is not O_PATH).
pub fn identify(dir: BorrowedFd<'_>) -> Result<Identity, FsError> {
    let statfs = volume::statfs(dir).map_err(os("statfs"))?;
    let kind = kind_of(statfs.magic);
    let stat = fstat(dir).map_err(|errno| os("fstat")(errno.into()))?;
    let device = stat.st_dev;
    let uuid = uuid_of(dir, kind, device)?;
    let subvolume = match kind {
        FsKind::Btrfs => Some(subvolume_of(dir).map_err(os("name_to_handle_at"))?),
        _ => None,
    };
    let mut identity = Identity {
        fs: id_of(&uuid, subvolume),
        kind,
        device,
        subvolume: subvolume.unwrap_or(0),
        root_object: (0, 0),
    };
    let kernel = name_to_handle(dir).map_err(|error| FsError::NoHandles {
        kind: kind.name(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    })?;
    let root = identity.object_of(&kernel, stat.st_ino);
    identity.root_object = root.map_err(|_| FsError::NoHandles {
        kind: kind.name(),
        errno: libc::EOPNOTSUPP,
    })?;
    Ok(identity)
}

/// Identifies a file system that the fanotify source is to serve: xfs, ext4 or btrfs.
pub fn identify_for_fanotify(dir: BorrowedFd<'_>) -> Result<Identity, FsError> {
    let statfs = volume::statfs(dir).map_err(os("statfs"))?;
    let magic = statfs.magic;
    if !kind_of(magic).has_content_events() {
        return Err(FsError::Unsupported { magic });
    }
    // ext4 with a UUID of zeros. The kernel watches none that it could not name in its events.
    if statfs.fsid == [0; 8] {
        let errno = libc::ENODATA;
        return Err(FsError::NoUuid { errno });
    }
    identify(dir)
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
        // The memory of tmpfs, and whatever others have, is found out by setting one.
        FsKind::Xfs | FsKind::Tmpfs | FsKind::Other(_) => large,
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
        root_object: identity.root_object,
        root,
        destroyed: Default::default(),
        known: None,
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
        let dir = std::fs::File::open("/proc").unwrap();
        let error = identify_for_fanotify(dir.as_fd()).unwrap_err();
        assert!(error.to_string().contains("FUSE source"), "{error}");
    }
}

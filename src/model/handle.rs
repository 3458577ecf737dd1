//! Handles: what names a file system or an object in it (reference section 1.7).
//!
//! Object handle, 24 bytes, native byte order: fsid u64 | 14 u16 | 0 u16 | generation u32 | inode u64.
//! File-system handle: the first 8 bytes alone.

use serde::{Deserialize, Serialize};

/// `dm_fsid_t`: from the file system's UUID (and, on btrfs, the subvolume), never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FsId(pub u64);

/// A handle that is well-formed; whether the object lives is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Handle {
    /// `DM_GLOBAL_HANP`.
    Global,
    /// A file system.
    Fs(FsId),
    /// A file, directory, symbolic link or other object.
    Object {
        /// The file system it lies in.
        fs: FsId,
        /// Inode number.
        inode: u64,
        /// Inode generation.
        generation: u32,
    },
}

/// Bytes of a file-system handle.
pub const FS_HANDLE_BYTES: usize = 8;
/// Bytes of an object handle.
pub const OBJECT_HANDLE_BYTES: usize = 24;
const FID_BYTES: u16 = 14;

impl Handle {
    /// Reads the bytes of a handle; `None` if they cannot be one. The global handle has no bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let fs = FsId(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?));
        if fs.0 == 0 {
            return None;
        }
        match bytes.len() {
            FS_HANDLE_BYTES => Some(Self::Fs(fs)),
            OBJECT_HANDLE_BYTES => {
                let fid_bytes = u16::from_ne_bytes(bytes[8..10].try_into().ok()?);
                let pad = u16::from_ne_bytes(bytes[10..12].try_into().ok()?);
                let generation = u32::from_ne_bytes(bytes[12..16].try_into().ok()?);
                let inode = u64::from_ne_bytes(bytes[16..24].try_into().ok()?);
                (fid_bytes == FID_BYTES && pad == 0 && inode != 0).then_some(Self::Object {
                    fs,
                    inode,
                    generation,
                })
            }
            _ => None,
        }
    }

    /// The bytes that applications see; empty for the global handle.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Global => Vec::new(),
            Self::Fs(fs) => fs.0.to_ne_bytes().to_vec(),
            Self::Object {
                fs,
                inode,
                generation,
            } => {
                let mut bytes = Vec::with_capacity(OBJECT_HANDLE_BYTES);
                bytes.extend_from_slice(&fs.0.to_ne_bytes());
                bytes.extend_from_slice(&FID_BYTES.to_ne_bytes());
                bytes.extend_from_slice(&0u16.to_ne_bytes());
                bytes.extend_from_slice(&generation.to_ne_bytes());
                bytes.extend_from_slice(&inode.to_ne_bytes());
                bytes
            }
        }
    }

    /// The file system of the handle; `None` for the global one.
    pub fn fs(&self) -> Option<FsId> {
        match self {
            Self::Global => None,
            Self::Fs(fs) | Self::Object { fs, .. } => Some(*fs),
        }
    }
}

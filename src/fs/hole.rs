//! Holes: where a file's blocks are, what a punch would free, the punch itself.

use std::os::fd::BorrowedFd;

use crate::fs::FsKind;
use crate::model::DmError;
use crate::model::file::Extent;

/// A piece of the map of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocInfo {
    /// In order, without gaps, never two holes side by side; the last one is cut at the end of the file.
    pub extents: Vec<Extent>,
    /// More remains, from here (`dm_get_allocinfo` returns 1).
    pub next: Option<u64>,
}

/// The map of a file from `offset` on, at most `count` extents. Blocks that are reserved but not yet
/// written count as resident. The tail that was punched (`punched_from` of its state) is not listed.
/// `Invalid` for an offset that is unaligned or beyond the end, and for `count` 0.
pub fn alloc_info(
    fd: BorrowedFd<'_>,
    block_bytes: u64,
    punched_from: Option<u64>,
    offset: u64,
    count: usize,
) -> Result<AllocInfo, DmError> {
    let _ = (fd, block_bytes, punched_from, offset, count);
    Err(DmError::NotImplemented)
}

/// What a punch of this range can free exactly (`dm_probe_hole`): (offset, length), length 0: to the end.
pub fn probe(size: u64, block_bytes: u64, offset: u64, length: u64) -> Result<(u64, u64), DmError> {
    let _ = (size, block_bytes, offset, length);
    Err(DmError::NotImplemented)
}

/// Is this range one that [`punch`] takes? (`TooBig` past the end, `Again` if it is not exact.) `true`: it
/// reaches to the end of the file, so `punched_from` has to be kept.
pub fn check_punch(size: u64, block_bytes: u64, offset: u64, length: u64) -> Result<bool, DmError> {
    let _ = (size, block_bytes, offset, length);
    Err(DmError::NotImplemented)
}

/// Frees a range that [`check_punch`] took; length 0 and to the end include what is allocated beyond the end.
/// Size and times stay (ctime moves on ext4 and btrfs). Nobody else may write the file meanwhile. `fd` is one
/// of `Mount::open` for writing. Worker only.
pub fn punch(
    fd: BorrowedFd<'_>,
    kind: FsKind,
    block_bytes: u64,
    offset: u64,
    length: u64,
) -> Result<(), DmError> {
    let _ = (fd, kind, block_bytes, offset, length);
    Err(DmError::NotImplemented)
}

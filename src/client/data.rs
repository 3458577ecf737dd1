//! Data of files: invisible I/O, extents, holes.

use std::os::fd::BorrowedFd;

use crate::model::{DmError, Extent};
use crate::proto::Target;

/// One piece of invisible I/O, to be done with pread(2) or pwrite(2) straight on the caller's memory.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// The file.
    pub fd: BorrowedFd<'a>,
    /// Where the piece begins in the caller's buffer.
    pub at: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes, at most 4 MiB.
    pub length: usize,
}

/// `dm_read_invis`: bytes read. `transfer` does one pread(2) and returns its count.
pub fn read_invis(
    target: &Target,
    offset: i64,
    length: u64,
    transfer: &mut dyn FnMut(Chunk<'_>) -> Result<usize, DmError>,
) -> Result<u64, DmError> {
    let _ = (target, offset, length, transfer);
    Err(DmError::NotImplemented)
}

/// `dm_write_invis`: bytes written. `flags` as there; `transfer` does one pwrite(2) and returns its count.
pub fn write_invis(
    target: &Target,
    flags: i32,
    offset: i64,
    length: u64,
    transfer: &mut dyn FnMut(Chunk<'_>) -> Result<usize, DmError>,
) -> Result<u64, DmError> {
    let _ = (target, flags, offset, length, transfer);
    Err(DmError::NotImplemented)
}

/// What `dm_get_allocinfo` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocInfo {
    /// At most as many as asked for.
    pub extents: Vec<Extent>,
    /// `*offp` after the call.
    pub next: i64,
    /// The call returns 1.
    pub more: bool,
}

/// `dm_get_allocinfo`.
pub fn get_allocinfo(target: &Target, offset: i64, nelem: u32) -> Result<AllocInfo, DmError> {
    let _ = (target, offset, nelem);
    Err(DmError::NotImplemented)
}

/// `dm_probe_hole`: offset and length of the hole that would be made.
pub fn probe_hole(target: &Target, offset: i64, length: u64) -> Result<(i64, u64), DmError> {
    let _ = (target, offset, length);
    Err(DmError::NotImplemented)
}

/// `dm_punch_hole`.
pub fn punch_hole(target: &Target, offset: i64, length: u64) -> Result<(), DmError> {
    let _ = (target, offset, length);
    Err(DmError::NotImplemented)
}

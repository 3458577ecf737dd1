//! Which parts of a file have data, and which have blocks.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// Extents of one call of [`map`].
pub const MAP_COUNT: usize = 128;

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

/// `struct fiemap` with its room.
#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [RawExtent; MAP_COUNT],
}

const FS_IOC_FIEMAP: libc::c_ulong = nix::request_code_readwrite!(b'f', 11, 32);
const EXTENT_LAST: u32 = 1;
const _: () = assert!(std::mem::offset_of!(Fiemap, extents) == 32);

/// A part of a file that has blocks, also blocks that are only reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// No blocks lie behind it.
    pub last: bool,
}

impl Mapped {
    /// Behind the last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The first parts with blocks from `start` on, at most [`MAP_COUNT`].
pub fn map(fd: BorrowedFd<'_>, start: u64) -> io::Result<Vec<Mapped>> {
    let mut request = Fiemap {
        start,
        length: u64::MAX - start,
        flags: 0,
        mapped: 0,
        count: MAP_COUNT as u32,
        reserved: 0,
        extents: [RawExtent::default(); MAP_COUNT],
    };
    // SAFETY: the kernel fills at most `count` extents behind the header, and there are as many.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), FS_IOC_FIEMAP, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let mapped = (request.mapped as usize).min(MAP_COUNT);
    let parts = request.extents[..mapped].iter().map(|extent| Mapped {
        offset: extent.logical,
        length: extent.length,
        last: extent.flags & EXTENT_LAST != 0,
    });
    Ok(parts.collect())
}

/// Writes dirty pages to the disk and waits, so that blocks are allocated where they belong.
pub fn flush(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: no memory is passed.
    let result = unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, flags) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// lseek(2); `None`: there is nothing of that kind behind `from`.
fn seek(fd: BorrowedFd<'_>, from: i64, whence: libc::c_int) -> io::Result<Option<u64>> {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::lseek(fd.as_raw_fd(), from, whence) };
    if result >= 0 {
        return Ok(Some(result as u64));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENXIO) => Ok(None),
        _ => Err(error),
    }
}

/// The first stretch of data at or behind `from`, as (start, end); moves the descriptor's position.
pub fn data(fd: BorrowedFd<'_>, from: u64) -> io::Result<Option<(u64, u64)>> {
    let Ok(from) = i64::try_from(from) else {
        return Ok(None);
    };
    let Some(start) = seek(fd, from, libc::SEEK_DATA)? else {
        return Ok(None);
    };
    // None: the file was cut between the two calls.
    let end = seek(fd, start as i64, libc::SEEK_HOLE)?;
    Ok(end.map(|end| (start, end)))
}

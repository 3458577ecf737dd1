//! Invisible I/O on descriptors of [`Mount::open`](super::Mount::open). The caller cuts long transfers into chunks.
//!
//! xfs: no time moves. ext4 and btrfs: atime stays (O_NOATIME), mtime is put back, ctime moves. Putting
//! mtime back races with a user who writes the same file at that moment: his mtime may be lost; the
//! exclusive right and the source keep users off files which are not resident.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::stat::fstat;
use nix::sys::uio::pread;
use nix::sys::uio::pwrite;
use nix::unistd::fsync;

use crate::fs::FsKind;
use crate::fs::error::dm;
use crate::fs::handle::kind_of_mode;
use crate::fs::keep::Kept;
use crate::model::DmError;
use crate::model::Kinds;

/// The most that one call is given, so that leases are looked at often enough.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;

/// An offset or length that no file can have has its sign bit set in C.
fn signed(number: u64) -> Result<i64, DmError> {
    i64::try_from(number).map_err(|_| DmError::Invalid)
}

/// The size of a regular file; `Invalid` for anything else.
pub(super) fn size_of(fd: BorrowedFd<'_>) -> Result<u64, DmError> {
    let stat = fstat(fd).map_err(dm)?;
    if kind_of_mode(stat.st_mode) != Kinds::REGULAR {
        return Err(DmError::Invalid);
    }
    Ok(stat.st_size as u64)
}

/// Reads at an offset; short at the end of the file, 0 at it, `Invalid` beyond it.
pub fn read_at(fd: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> Result<usize, DmError> {
    let start = signed(offset)?;
    if offset > size_of(fd)? {
        return Err(DmError::Invalid);
    }
    let mut done = 0;
    while done < buffer.len() {
        match pread(fd, &mut buffer[done..], start.saturating_add(done as i64)) {
            Ok(0) => break,
            Ok(bytes) => done += bytes,
            Err(Errno::EINTR) => {}
            Err(_) if done > 0 => break,
            Err(errno) => return Err(dm(errno)),
        }
    }
    Ok(done)
}

/// Writes at an offset; may grow the file. `sync` (DM_WRITE_SYNC): durable at return. `FileTooBig` beyond
/// the greatest file. All of `data` is written, or as much as fits before an error.
pub fn write_at(
    fd: BorrowedFd<'_>,
    kind: FsKind,
    offset: u64,
    data: &[u8],
    sync: bool,
) -> Result<usize, DmError> {
    let start = signed(offset)?;
    if start.checked_add(data.len() as i64).is_none() {
        return Err(DmError::FileTooBig);
    }
    size_of(fd)?;
    let kept = Kept::of(fd, kind)?;
    let written = write_all(fd, start, data);
    // Times come back also after an error, which may have come after the first bytes.
    let put_back = kept.put_back(fd);
    let written = written?;
    put_back?;
    if sync {
        fsync(fd).map_err(dm)?;
    }
    Ok(written)
}

fn write_all(fd: BorrowedFd<'_>, start: i64, data: &[u8]) -> Result<usize, DmError> {
    let mut done = 0;
    while done < data.len() {
        match pwrite(fd, &data[done..], start + done as i64) {
            Ok(bytes) => done += bytes,
            Err(Errno::EINTR) => {}
            Err(_) if done > 0 => break,
            Err(errno) => return Err(dm(errno)),
        }
    }
    Ok(done)
}

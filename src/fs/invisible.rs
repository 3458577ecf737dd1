//! Invisible I/O on descriptors of [`Mount::open`](super::Mount::open). The caller cuts long transfers into chunks.
//!
//! xfs: no time moves. ext4 and btrfs: atime stays (O_NOATIME), mtime is put back, ctime moves. Putting
//! mtime back races with a user who writes the same file at that moment: his mtime may be lost; the
//! exclusive right and the source keep users off files which are not resident.

use std::os::fd::BorrowedFd;

use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use crate::fs::FsKind;
use crate::model::DmError;

/// The most that one call is given, so that leases are looked at often enough.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Reads at an offset; short at the end of the file, 0 at it, `Invalid` beyond it.
pub fn read_at(fd: BorrowedFd<'_>, offset: u64, buffer: &mut [u8]) -> Result<usize, DmError> {
    let _ = (fd, offset, buffer);
    Err(DmError::NotImplemented)
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
    let _ = (fd, kind, offset, data, sync);
    Err(DmError::NotImplemented)
}

/// The times of a file, to be put back after a write that nobody should see. `write_at` does this itself; a caller
/// that writes straight from somebody's memory uses it around each pwrite(2).
#[derive(Debug)]
pub struct KeptTimes {
    mtime: Option<(i64, u32)>,
}

impl KeptTimes {
    /// Remembers them, where the file system needs that.
    pub fn of(fd: BorrowedFd<'_>, kind: FsKind) -> Result<Self, DmError> {
        let mtime = match kind {
            FsKind::Xfs => None,
            FsKind::Ext4 | FsKind::Btrfs => Some(super::stat::stat(fd)?.mtime),
        };
        Ok(Self { mtime })
    }

    /// Puts them back.
    pub fn put_back(self, fd: BorrowedFd<'_>) -> Result<(), DmError> {
        let Some((seconds, nanoseconds)) = self.mtime else {
            return Ok(());
        };
        let mtime = TimeSpec::new(seconds, i64::from(nanoseconds));
        futimens(fd, &TimeSpec::UTIME_OMIT, &mtime)
            .map_err(|errno| DmError::from_errno(errno as i32))
    }
}

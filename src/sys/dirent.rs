//! getdents64(2): entries with their cookies, which std does not give.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Inode number.
    pub inode: u64,
    /// Position behind the entry, for lseek(2).
    pub next: i64,
    /// `DT_DIR` ..., or `DT_UNKNOWN`.
    pub kind: u8,
    /// Name without NUL.
    pub name: Vec<u8>,
}

const BUFFER_BYTES: usize = 32 * 1024;
/// inode u64 | position i64 | length u16 | type u8 | name.
const NAME_OFFSET: usize = 19;

fn field<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn parse(record: &[u8]) -> Option<(Entry, usize)> {
    let bytes = usize::from(u16::from_ne_bytes(field(record, 16)?));
    let name = record.get(NAME_OFFSET..bytes)?;
    let end = name.iter().position(|byte| *byte == 0)?;
    let entry = Entry {
        inode: u64::from_ne_bytes(field(record, 0)?),
        next: i64::from_ne_bytes(field(record, 8)?),
        kind: *record.get(18)?,
        name: name[..end].to_vec(),
    };
    Some((entry, bytes))
}

/// Puts the directory's position to a cookie of an entry, or 0.
pub fn seek(dir: BorrowedFd<'_>, position: i64) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::lseek(dir.as_raw_fd(), position, libc::SEEK_SET) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The next entries from the directory's position on; none at the end.
pub fn read(dir: BorrowedFd<'_>) -> io::Result<Vec<Entry>> {
    let mut buffer = [0u8; BUFFER_BYTES];
    // SAFETY: the kernel writes at most `BUFFER_BYTES` into the buffer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            dir.as_raw_fd(),
            buffer.as_mut_ptr(),
            BUFFER_BYTES,
        )
    };
    let filled = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    let mut entries = Vec::new();
    let mut rest = &buffer[..filled];
    while let Some((entry, bytes)) = parse(rest) {
        entries.push(entry);
        rest = &rest[bytes..];
    }
    Ok(entries)
}

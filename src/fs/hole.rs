//! Holes: where a file's blocks are, what a punch would free, the punch itself.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::fcntl::fallocate;
use nix::unistd::ftruncate;

use crate::fs::FsKind;
use crate::fs::error::dm;
use crate::fs::invisible::size_of;
use crate::fs::keep::Kept;
use crate::model::DmError;
use crate::model::file::Extent;
use crate::sys::extent;
use crate::sys::extent::Mapped;

/// A piece of the map of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocInfo {
    /// In order, without gaps, never two holes side by side; the last one is cut at the end of the file.
    pub extents: Vec<Extent>,
    /// More remains, from here (`dm_get_allocinfo` returns 1).
    pub next: Option<u64>,
}

/// The next stretch of data that ends behind `at`, cut to whole blocks outwards.
fn data_stretch(
    fd: BorrowedFd<'_>,
    block_bytes: u64,
    at: u64,
) -> Result<Option<(u64, u64)>, DmError> {
    let round_up = |end: u64| end.next_multiple_of(block_bytes);
    let Some((start, end)) = extent::data(fd, at)? else {
        return Ok(None);
    };
    let start = (start / block_bytes * block_bytes).max(at);
    let mut end = round_up(end);
    while let Some((next, next_end)) = extent::data(fd, end)? {
        if next / block_bytes * block_bytes > end {
            break;
        }
        end = round_up(next_end);
    }
    Ok(Some((start, end)))
}

/// The map of a file from `offset` on, at most `count` extents. Data that is not on the disk yet is written
/// first (xfs reserves more for it than it needs, which would hide holes) and counts as resident; blocks
/// that are preallocated and were never written are a hole. The tail that was punched (`punched_from` of its state) is not listed.
/// `Invalid` for an offset that is unaligned or beyond the end, and for `count` 0.
pub fn alloc_info(
    fd: BorrowedFd<'_>,
    block_bytes: u64,
    punched_from: Option<u64>,
    offset: u64,
    count: usize,
) -> Result<AllocInfo, DmError> {
    let size = size_of(fd)?;
    let is_aligned = offset.is_multiple_of(block_bytes) || offset == size;
    if count == 0 || offset > size || !is_aligned {
        return Err(DmError::Invalid);
    }
    extent::flush(fd)?;
    let mut info = AllocInfo::default();
    let mut at = offset;
    while at < size {
        let stretch = data_stretch(fd, block_bytes, at)?.filter(|(start, _)| *start < size);
        let hole_end = match stretch {
            Some((start, _)) => start,
            None => punched_from.map_or(size, |from| from.clamp(at, size)),
        };
        let hole = (at < hole_end).then_some((false, hole_end));
        let data = stretch.map(|(_, end)| (true, end.min(size)));
        for (resident, end) in hole.into_iter().chain(data) {
            if info.extents.len() == count {
                info.next = Some(at);
                return Ok(info);
            }
            info.extents.push(Extent {
                resident,
                offset: at,
                length: end - at,
            });
            at = end;
        }
        if stretch.is_none() {
            break;
        }
    }
    Ok(info)
}

/// Does the range reach to the end? `TooBig` if it reaches past it.
fn reaches_end(size: u64, offset: u64, length: u64) -> Result<bool, DmError> {
    let end = offset.checked_add(length);
    match end {
        Some(end) if offset <= size && end <= size => Ok(length == 0 || end == size),
        _ => Err(DmError::TooBig { need: None }),
    }
}

/// `TooBig` if the range reaches past the end of the file.
pub fn check_within(size: u64, offset: u64, length: u64) -> Result<(), DmError> {
    reaches_end(size, offset, length).map(drop)
}

/// What a punch of this range can free exactly (`dm_probe_hole`): (offset, length), length 0: to the end.
pub fn probe(size: u64, block_bytes: u64, offset: u64, length: u64) -> Result<(u64, u64), DmError> {
    let to_end = reaches_end(size, offset, length)?;
    let start = offset
        .checked_next_multiple_of(block_bytes)
        .ok_or(DmError::Invalid)?;
    if to_end {
        // Rounding must leave something of the file; an aligned offset at the end frees what lies beyond.
        return if start == offset || start < size {
            Ok((start, 0))
        } else {
            Err(DmError::Invalid)
        };
    }
    let end = (offset + length) / block_bytes * block_bytes;
    if start < end {
        Ok((start, end - start))
    } else {
        Err(DmError::Invalid)
    }
}

/// Is this range one that [`punch`] takes? (`TooBig` past the end, `Again` if it is not exact.) `true`: it
/// reaches to the end of the file, so `punched_from` has to be kept.
pub fn check_punch(size: u64, block_bytes: u64, offset: u64, length: u64) -> Result<bool, DmError> {
    let to_end = reaches_end(size, offset, length)?;
    let is_end_exact = to_end || (offset + length).is_multiple_of(block_bytes);
    if offset.is_multiple_of(block_bytes) && is_end_exact {
        Ok(to_end)
    } else {
        Err(DmError::Again)
    }
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
    let size = size_of(fd)?;
    let to_end = check_punch(size, block_bytes, offset, length)?;
    let kept = Kept::of(fd, kind)?;
    let punched = if to_end {
        punch_tail(fd, kind, block_bytes, offset, size)
    } else {
        free(fd, offset, offset + length)
    };
    let put_back = kept.put_back(fd);
    punched?;
    put_back
}

fn free(fd: BorrowedFd<'_>, start: u64, end: u64) -> Result<(), DmError> {
    if start >= end {
        return Ok(());
    }
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    loop {
        match fallocate(fd, mode, start as i64, (end - start) as i64) {
            Err(Errno::EINTR) => {}
            other => return other.map_err(dm),
        }
    }
}

/// The last block is freed whole: a punch up to the very end would only fill it with zeros.
fn punch_tail(
    fd: BorrowedFd<'_>,
    kind: FsKind,
    block_bytes: u64,
    offset: u64,
    size: u64,
) -> Result<(), DmError> {
    let file_end = size.next_multiple_of(block_bytes);
    if !kind.has_content_events() {
        // Where blocks lie is not told; what lies beyond the end is freed in any case.
        free(fd, offset, file_end)?;
        return ftruncate(fd, size as i64).map_err(dm);
    }
    let allocated_end = allocated_end(fd, file_end)?;
    if kind == FsKind::Xfs {
        return free(fd, offset, file_end.max(allocated_end));
    }
    free(fd, offset, file_end)?;
    if allocated_end > file_end {
        // ext4 and btrfs do not punch beyond the end; cutting the file to its own size frees that.
        ftruncate(fd, size as i64).map_err(dm)?;
    }
    Ok(())
}

/// Where the blocks of a file end, if they end behind `from`; else `from`.
fn allocated_end(fd: BorrowedFd<'_>, from: u64) -> Result<u64, DmError> {
    let mut end = from;
    loop {
        let parts = extent::map(fd, end)?;
        let last = parts.last().map(Mapped::end).unwrap_or(end);
        // Always forward, whatever the file system says.
        if last <= end {
            return Ok(end);
        }
        end = last;
        if parts.iter().any(|part| part.last) {
            return Ok(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: Result<(u64, u64), DmError> = Err(DmError::TooBig { need: None });
    const INVALID: Result<(u64, u64), DmError> = Err(DmError::Invalid);

    #[test]
    fn probe_rounds_inwards() {
        let probe = |offset, length| probe(10_000, 4096, offset, length);
        assert_eq!(probe(0, 0), Ok((0, 0)));
        assert_eq!(probe(0, 10_000), Ok((0, 0)));
        assert_eq!(probe(4096, 4096), Ok((4096, 4096)));
        assert_eq!(probe(1, 9000), Ok((4096, 4096)));
        assert_eq!(probe(5000, 0), Ok((8192, 0)));
        assert_eq!(probe(1, 100), INVALID);
        assert_eq!(probe(9000, 0), INVALID);
        assert_eq!(probe(10_001, 0), BIG);
        assert_eq!(probe(0, 10_001), BIG);
        assert_eq!(probe(1, u64::MAX), BIG);
    }

    #[test]
    fn an_empty_file_can_be_probed() {
        assert_eq!(probe(0, 4096, 0, 0), Ok((0, 0)));
        assert_eq!(probe(0, 4096, 1, 0), BIG);
        assert_eq!(probe(8192, 4096, 8192, 0), Ok((8192, 0)));
    }

    #[test]
    fn a_punch_takes_exact_ranges_only() {
        let check = |offset, length| check_punch(10_000, 4096, offset, length);
        assert_eq!(check(0, 0), Ok(true));
        assert_eq!(check(4096, 0), Ok(true));
        assert_eq!(check(4096, 10_000 - 4096), Ok(true));
        assert_eq!(check(0, 10_000), Ok(true));
        assert_eq!(check(0, 4096), Ok(false));
        assert_eq!(check(1, 0), Err(DmError::Again));
        assert_eq!(check(0, 4097), Err(DmError::Again));
        assert_eq!(check(0, 10_001), Err(DmError::TooBig { need: None }));
    }
}

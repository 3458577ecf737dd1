//! Data of files: invisible I/O, extents, holes.

use std::os::fd::BorrowedFd;

use nix::unistd::fsync;

use super::call::{Entered, tell};
use super::dialect::reading;
use super::mounts;
use super::node::ping;
use crate::fs::invisible::CHUNK_BYTES_MAX;
use crate::fs::{FsKind, Kept, hole, stat, state};
use crate::model::{DmError, Extent, Kinds, Right};
use crate::proto::{OpenFor, Request, Target};

/// `DM_WRITE_SYNC`.
const WRITE_SYNC: i32 = 1;
/// The last offset of a file, for SGI's reading of an extent map.
const OFFSET_MAX: u64 = i64::MAX as u64;

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

/// Does one pread(2) or pwrite(2) and returns its count.
pub type Transfer<'a> = &'a mut dyn FnMut(Chunk<'_>) -> Result<usize, DmError>;

/// Offset and length as numbers of the same kind, if they are ones that a file can have.
fn range(offset: i64, length: u64) -> Result<(u64, u64), DmError> {
    let offset = u64::try_from(offset).map_err(|_| DmError::Invalid)?;
    if length > i64::MAX.unsigned_abs() {
        return Err(DmError::Invalid);
    }
    Ok((offset, length))
}

/// `dm_read_invis`: bytes read, fewer at the end of the file.
pub fn read_invis(
    target: &Target,
    offset: i64,
    length: u64,
    transfer: Transfer<'_>,
) -> Result<u64, DmError> {
    let (offset, length) = range(offset, length)?;
    let mut entered = Entered::begin(target, Right::Shared, Kinds::REGULAR, OpenFor::Read)?;
    if offset > stat::stat(entered.file()?)?.size {
        return Err(DmError::Invalid);
    }
    move_data(&mut entered, offset, length, &mut |_, chunk| {
        transfer(chunk)
    })
}

/// `dm_write_invis`: bytes written. `flags` as there.
pub fn write_invis(
    target: &Target,
    flags: i32,
    offset: i64,
    length: u64,
    transfer: Transfer<'_>,
) -> Result<u64, DmError> {
    let (offset, length) = range(offset, length)?;
    if flags & !WRITE_SYNC != 0 {
        return Err(DmError::Invalid);
    }
    if offset
        .checked_add(length)
        .is_none_or(|end| end > i64::MAX.unsigned_abs())
    {
        return Err(DmError::FileTooBig);
    }
    let facts = mounts::facts_of(&target.handle)?;
    let kind = facts.identity.kind;
    let mut entered = Entered::begin(target, Right::Exclusive, Kinds::REGULAR, OpenFor::Write)?;
    let written = move_data(&mut entered, offset, length, &mut |file, chunk| {
        write_chunk(kind, file, chunk, transfer)
    })?;
    if flags & WRITE_SYNC != 0 {
        fsync(entered.file()?).map_err(|errno| DmError::from_errno(errno as i32))?;
    }
    if facts.is_behind_fuse() {
        // What users' caches have goes with the end of the call; this thread's next call comes after that.
        drop(entered);
        ping()?;
    }
    Ok(written)
}

fn write_chunk(
    kind: FsKind,
    file: BorrowedFd<'_>,
    chunk: Chunk<'_>,
    transfer: Transfer<'_>,
) -> Result<usize, DmError> {
    let times = Kept::of(file, kind)?;
    let moved = transfer(chunk);
    // Also after an error: part of the piece may have been written.
    times.put_back(file)?;
    moved
}

/// One piece of data to move: the file again, and the piece.
type Step<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, Chunk<'_>) -> Result<usize, DmError>;

/// Moves data piece by piece. What was moved before an error counts; then the error is not told.
fn move_data(
    entered: &mut Entered,
    offset: u64,
    length: u64,
    step: Step<'_>,
) -> Result<u64, DmError> {
    let mut moved = 0;
    while moved < length {
        if moved > 0 && entered.renew().is_err() {
            return Ok(moved);
        }
        let left = usize::try_from(length - moved).unwrap_or(usize::MAX);
        let file = entered.file()?;
        let chunk = Chunk {
            fd: file,
            at: moved,
            offset: offset.saturating_add(moved),
            length: left.min(CHUNK_BYTES_MAX),
        };
        match step(file, chunk) {
            Ok(0) => break,
            Ok(count) => moved += count as u64,
            Err(_) if moved > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
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
    let (mut offset, _) = range(offset, 0)?;
    if nelem == 0 {
        return Err(DmError::Invalid);
    }
    let sgi = reading().map_is_endless;
    let block_bytes = mounts::facts_of(&target.handle)?.block_bytes;
    let entered = Entered::begin(target, Right::Shared, Kinds::REGULAR, OpenFor::Read)?;
    let file = entered.file()?;
    let size = stat::stat(file)?.size;
    let punched_from = state::read(file)?.punched_from;
    if sgi {
        offset -= offset % block_bytes;
        if offset >= size {
            let mut extents = Vec::new();
            add_tail(&mut extents, offset);
            return Ok(AllocInfo {
                extents,
                next: 0,
                more: false,
            });
        }
    }
    let punched_from = if sgi { None } else { punched_from };
    let found = hole::alloc_info(file, block_bytes, punched_from, offset, nelem as usize)?;
    let mut extents = found.extents;
    let end = extents
        .last()
        .map_or(offset, |last| last.offset + last.length);
    let mut next = found.next;
    if sgi && next.is_none() {
        // The hole after the end is an element as well, and may need another call.
        if extents.len() < nelem as usize || extents.last().is_some_and(|last| !last.resident) {
            add_tail(&mut extents, end);
        } else {
            next = Some(end);
        }
    }
    let more = next.is_some();
    let next = next.unwrap_or(if sgi { 0 } else { end });
    Ok(AllocInfo {
        extents,
        next: i64::try_from(next).map_err(|_| DmError::Io)?,
        more,
    })
}

/// The hole from the end of the file to the last offset, as part of the hole before it if there is one.
fn add_tail(extents: &mut Vec<Extent>, from: u64) {
    match extents.last_mut() {
        Some(last) if !last.resident => last.length = OFFSET_MAX - last.offset,
        _ => extents.push(Extent {
            resident: false,
            offset: from,
            length: OFFSET_MAX.saturating_sub(from),
        }),
    }
}

/// `dm_probe_hole`: offset and length of the hole that would be made.
pub fn probe_hole(target: &Target, offset: i64, length: u64) -> Result<(i64, u64), DmError> {
    let offset = u64::try_from(offset).map_err(|_| DmError::Invalid)?;
    let block_bytes = mounts::facts_of(&target.handle)?.block_bytes;
    let entered = Entered::begin(target, Right::Shared, Kinds::REGULAR, OpenFor::Look)?;
    let size = stat::stat(entered.file()?)?.size;
    if reading().probe_keeps {
        hole::check_within(size, offset, length)?;
        return Ok((offset.cast_signed(), length));
    }
    let (offset, length) = hole::probe(size, block_bytes, offset, length)?;
    Ok((i64::try_from(offset).map_err(|_| DmError::Invalid)?, length))
}

/// `dm_punch_hole`.
pub fn punch_hole(target: &Target, offset: i64, length: u64) -> Result<(), DmError> {
    let offset = u64::try_from(offset).map_err(|_| DmError::Invalid)?;
    tell(&Request::PunchHole {
        target: *target,
        offset,
        length,
    })
    .map_err(|error| match error {
        DmError::Again => reading().unaligned_punch,
        other => other,
    })
}

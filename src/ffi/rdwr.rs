//! Invisible I/O: straight between the caller's memory and the file, as pread(2) and pwrite(2) do it.

use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;

use super::arguments::target;
use super::boundary::{dm_call_or, dm_version};
use super::memory;
use super::types::{dm_off_t, dm_sessid_t, dm_size_t, dm_ssize_t, dm_token_t};
use crate::client;
use crate::client::Chunk;
use crate::model::DmError;

/// The kernel counts a transfer in a signed number.
fn check_length(length: dm_size_t) -> Result<usize, DmError> {
    i64::try_from(length).map_err(|_| DmError::Invalid)?;
    usize::try_from(length).map_err(|_| DmError::Invalid)
}

fn count_of(moved: isize) -> Result<usize, DmError> {
    usize::try_from(moved).map_err(|_| std::io::Error::last_os_error().into())
}

fn offset_of(chunk: &Chunk<'_>) -> Result<libc::off_t, DmError> {
    libc::off_t::try_from(chunk.offset).map_err(|_| DmError::FileTooBig)
}

/// The bytes of the chunk that the file has: the caller's buffer need not be longer.
fn length_in_file(chunk: &Chunk<'_>) -> Result<usize, DmError> {
    let stat =
        nix::sys::stat::fstat(chunk.fd).map_err(|errno| DmError::from_errno(errno as i32))?;
    let left = stat.st_size.cast_unsigned().saturating_sub(chunk.offset);
    Ok(chunk
        .length
        .min(usize::try_from(left).unwrap_or(usize::MAX)))
}

/// Reads from a file without events and without a change of its access time.
///
/// `token`: with a shared right on the file, or `DM_NO_TOKEN`. `off`, `len`: bytes. `bufp`: gets the data.
///
/// Returns the bytes read, fewer than `len` at the end of the file, 0 if `off` is the end; or -1 with `errno`:
/// `EACCES` the token holds no right; `EBADF` the handle names nothing; `EFAULT` a pointer is bad; `EINVAL` session or
/// token is unknown, `off` is negative or behind the end, `len` has its sign bit, or the handle names no regular
/// file; `EIO`; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: for the disk, and with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, invisible I/O.
///
/// # Safety
/// `len` bytes at `bufp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_read_invis(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    off: dm_off_t,
    len: dm_size_t,
    bufp: *mut c_void,
) -> dm_ssize_t {
    dm_call_or(-1, || {
        check_length(len)?;
        let target = target(sid, hanp, hlen, token)?;
        let read = client::read_invis(&target, off, len, &mut |chunk| {
            let to = bufp.wrapping_byte_add(chunk.at as usize);
            // Before the first byte: a range that ends in a bad page must stay as it is.
            memory::probe(to.addr(), length_in_file(&chunk)?)?;
            let offset = offset_of(&chunk)?;
            // SAFETY: the kernel checks the address; the memory is the caller's to be overwritten.
            count_of(unsafe { libc::pread(chunk.fd.as_raw_fd(), to, chunk.length, offset) })
        })?;
        Ok(read.cast_signed())
    })
}

/// Writes to a file without events and without a change of its times. It may grow.
///
/// `token`: with an exclusive right on the file, or `DM_NO_TOKEN`. `flags`: `DM_WRITE_SYNC`: the data is on the
/// disk on return; else 0. `off`, `len`: bytes. `bufp`: the data.
///
/// Returns the bytes written, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names
/// nothing; `EFAULT` a pointer is bad, nothing was written; `EFBIG` beyond the largest file size; `EINVAL` session,
/// token or flag is unknown, `off` is negative, `len` has its sign bit, or the handle names no regular file; `EIO`;
/// `ENOSPC`; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: for the disk, and with `DM_NO_TOKEN` while others hold rights. Since: DMAPI_1.0.
/// Source: XDSM, invisible I/O.
///
/// # Safety
/// `len` bytes at `bufp` are not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_write_invis(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    flags: c_int,
    off: dm_off_t,
    len: dm_size_t,
    bufp: *mut c_void,
) -> dm_ssize_t {
    dm_call_or(-1, || {
        let length = check_length(len)?;
        let target = target(sid, hanp, hlen, token)?;
        // Before the first byte goes out.
        memory::probe_input(bufp.addr(), length)?;
        let written = client::write_invis(&target, flags, off, len, &mut |chunk| {
            let from = bufp.wrapping_byte_add(chunk.at as usize);
            let offset = offset_of(&chunk)?;
            // SAFETY: the kernel checks the address.
            count_of(unsafe { libc::pwrite(chunk.fd.as_raw_fd(), from, chunk.length, offset) })
        })?;
        Ok(written.cast_signed())
    })
}

dm_version!("DMAPI_1.0": dm_read_invis, dm_write_invis);

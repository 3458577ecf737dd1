//! Holes and extents.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::target;
use super::boundary::{Out, OutArray, dm_call, dm_version, read};
use super::constants::{DM_EXTENT_HOLE, DM_EXTENT_RES};
use super::types::{dm_extent_t, dm_extenttype_t, dm_off_t, dm_sessid_t, dm_size_t, dm_token_t};
use crate::client;
use crate::model::Extent;

fn to_c(extent: &Extent) -> dm_extent_t {
    let kind = if extent.resident {
        DM_EXTENT_RES
    } else {
        DM_EXTENT_HOLE
    };
    dm_extent_t {
        ex_type: kind as dm_extenttype_t,
        ex_pad1: 0,
        ex_offset: extent.offset.cast_signed(),
        ex_length: extent.length,
    }
}

/// Lists the allocated stretches and the holes of a file.
///
/// `token`: with a shared right on the file, or `DM_NO_TOKEN`. `offp`: where to begin, in bytes; gets where to go on.
/// `nelem`: elements at `extentp`, at least 1. `nelemp`: gets their number.
///
/// Returns 1 if there is more, 0 if not, or -1 with `errno`: `EACCES` the token holds no right; `EBADF` the handle
/// names nothing; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, `nelem` is 0, the offset is no
/// multiple of the block size or behind the end, or the handle names no regular file; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, holes.
///
/// # Safety
/// `*offp`, `nelem` elements at `extentp`, and `*nelemp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_allocinfo(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    offp: *mut dm_off_t,
    nelem: c_uint,
    extentp: *mut dm_extent_t,
    nelemp: *mut c_uint,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let offset = read(offp)?;
        let next = Out::new(offp)?;
        let out = OutArray::new(extentp, nelem, nelemp)?;
        let info = client::get_allocinfo(&target, offset, nelem)?;
        let extents: Vec<dm_extent_t> = info.extents.iter().map(to_c).collect();
        out.fill(&extents)?;
        next.set(info.next)?;
        Ok(info.more.into())
    })
}

/// Tells which hole `dm_punch_hole` could make: the range rounded inwards to blocks.
///
/// `token`: with a shared right on the file, or `DM_NO_TOKEN`. `off`, `len`: bytes; `len` 0: to the end. `roffp`,
/// `rlenp`: get the range; length 0: to the end.
///
/// Returns 0, or -1 with `errno`: `E2BIG` the range goes beyond the end; `EACCES` the token holds no right; `EBADF` the
/// handle names nothing; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, no whole block lies in the
/// range, or the handle names no regular file; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, holes.
///
/// # Safety
/// `*roffp` and `*rlenp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_probe_hole(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    off: dm_off_t,
    len: dm_size_t,
    roffp: *mut dm_off_t,
    rlenp: *mut dm_size_t,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out_offset = Out::new(roffp)?;
        let out_length = Out::new(rlenp)?;
        let (offset, length) = client::probe_hole(&target, off, len)?;
        out_offset.set(offset)?;
        out_length.set(length)?;
        Ok(0)
    })
}

/// Frees the blocks of a range of a file. Its size and times stay; no event is made.
///
/// `token`: with an exclusive right on the file, or `DM_NO_TOKEN`. `off`, `len`: bytes, as `dm_probe_hole` gives them;
/// `len` 0: to the end.
///
/// Returns 0, or -1 with `errno`: `E2BIG` the range goes beyond the end; `EACCES` the token holds no exclusive right;
/// `EAGAIN` the range is not made of whole blocks; `EBADF` the handle names nothing; `EBUSY` the file is mapped, leased,
/// executed, or (where the event source needs it) open; `EFAULT` the pointer is bad; `EINVAL` session or token is
/// unknown, or the handle names no regular file; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: for the disk, and with `DM_NO_TOKEN` while others hold rights. Since: DMAPI_1.0.
/// Source: XDSM, holes.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_punch_hole(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    off: dm_off_t,
    len: dm_size_t,
) -> c_int {
    dm_call(|| {
        client::punch_hole(&target(sid, hanp, hlen, token)?, off, len)?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_get_allocinfo, dm_probe_hole, dm_punch_hole);

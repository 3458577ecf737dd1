//! Managed regions.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::target;
use super::boundary::{Out, OutArray, dm_call, dm_version, read_array};
use super::types::{dm_boolean_t, dm_region_t, dm_sessid_t, dm_token_t};
use crate::client;
use crate::model::{DmError, Region};

fn from_c(region: dm_region_t) -> Region {
    Region {
        offset: region.rg_offset.cast_unsigned(),
        size: region.rg_size,
        flags: region.rg_flags,
        opaque: region.rg_opaque,
    }
}

fn to_c(region: &Region) -> dm_region_t {
    dm_region_t {
        rg_offset: region.offset.cast_signed(),
        rg_size: region.size,
        rg_flags: region.flags,
        rg_opaque: region.opaque,
    }
}

/// Reads the managed regions of a file, in the order they were set in.
///
/// `token`: with a shared right on the file, or `DM_NO_TOKEN`. `nelem`: elements at `regbufp`; both may be 0 and
/// NULL. `nelemp`: gets the number of regions.
///
/// Returns 0, or -1 with `errno`: `E2BIG` there are more than `nelem`, `*nelemp` has their number; `EACCES` the token
/// holds no right; `EBADF` the handle names nothing; `EFAULT` a pointer is bad; `EINVAL` session or token is
/// unknown, or the handle names no regular file; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, managed regions.
///
/// # Safety
/// `nelem` elements at `regbufp`, and `*nelemp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_region(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    nelem: c_uint,
    regbufp: *mut dm_region_t,
    nelemp: *mut c_uint,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = OutArray::new(regbufp, nelem, nelemp)?;
        let regions: Vec<dm_region_t> = client::get_region(&target)?.iter().map(to_c).collect();
        out.fill(&regions)?;
        Ok(0)
    })
}

#[allow(clippy::too_many_arguments)]
fn set_region(
    sid: dm_sessid_t,
    hanp: *const c_void,
    hlen: usize,
    token: dm_token_t,
    nelem: c_uint,
    regbufp: *const dm_region_t,
    exactflagp: *mut dm_boolean_t,
    sync: bool,
) -> Result<c_int, DmError> {
    if nelem > client::regions_max() {
        return Err(DmError::TooBig { need: None });
    }
    let target = target(sid, hanp, hlen, token)?;
    let regions = read_array(regbufp, nelem as usize)?;
    let out = Out::new(exactflagp)?;
    let regions: Vec<Region> = regions.into_iter().map(from_c).collect();
    let exact = client::set_region(&target, &regions, sync)?;
    out.set(exact.into())?;
    Ok(0)
}

/// Replaces the managed regions of a file: where READ, WRITE and TRUNCATE make events.
///
/// `token`: with an exclusive right on the file, or `DM_NO_TOKEN`. `nelem`: regions at `regbufp`, at most
/// `DM_CONFIG_MAX_MANAGED_REGIONS`; 0 and NULL to have none. Offsets and sizes are bytes; size 0 has no end.
/// `exactflagp`: gets `DM_TRUE` if what is kept is exactly what was asked for.
///
/// Returns 0, or -1 with `errno`: `E2BIG` too many; `EACCES` the token holds no exclusive right; `EBADF` the handle
/// names nothing; `EBUSY` the file is mapped there; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown,
/// a flag is, or the handle names no regular file; `ENOSPC` no room for them; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold rights. On return no access misses the new regions;
/// they are durable. Since: DMAPI_1.0. Source: XDSM, managed regions.
///
/// # Safety
/// `*exactflagp` is the caller's to be overwritten; the regions are not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_region(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    nelem: c_uint,
    regbufp: *mut dm_region_t,
    exactflagp: *mut dm_boolean_t,
) -> c_int {
    dm_call(|| set_region(sid, hanp, hlen, token, nelem, regbufp, exactflagp, true))
}

/// `dm_set_region` that does not wait for the disk; `dm_sync_dmattr_by_handle` does.
///
/// Returns, blocks, threads: as `dm_set_region`. Since: DMAPI_1.0. Source: IBM.
///
/// # Safety
/// `*exactflagp` is the caller's to be overwritten; the regions are not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_region_nosync(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    nelem: c_uint,
    regbufp: *mut dm_region_t,
    exactflagp: *mut dm_boolean_t,
) -> c_int {
    dm_call(|| set_region(sid, hanp, hlen, token, nelem, regbufp, exactflagp, false))
}

dm_version!("DMAPI_1.0": dm_get_region, dm_set_region, dm_set_region_nosync);

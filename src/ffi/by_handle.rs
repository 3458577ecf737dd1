//! What is done to an object that is known by its handle: making it durable, opening it; and making objects.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::IntoRawFd;

use super::arguments::{handle, target};
use super::boundary::{dm_call, dm_version};
use super::handle::path;
use super::types::{dm_sessid_t, dm_token_t};
use crate::client;
use crate::model::DmError;

/// Checks the arguments of the three calls that would make an object with a given handle.
fn create(
    sid: dm_sessid_t,
    dirhanp: *const c_void,
    dirhlen: usize,
    token: dm_token_t,
    hanp: *const c_void,
    hlen: usize,
    names: &[*const c_char],
) -> Result<c_int, DmError> {
    let directory = target(sid, dirhanp, dirhlen, token)?;
    handle(hanp, hlen)?;
    for name in names {
        path(*name)?;
    }
    client::create_by_handle(&directory)?;
    Ok(0)
}

/// Would create a file with a given handle; no Linux file system can, so `DM_CONFIG_CREATE_BY_HANDLE` is false.
///
/// `dirhanp`, `dirhlen`: the directory. `hanp`, `hlen`: the handle. `cname`: the name.
///
/// Returns -1 with `errno`: `EBADF` a handle can be none; `EFAULT` a pointer is bad; `EINVAL` session or token is
/// unknown; `ENAMETOOLONG`; `ENOSYS` else.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles (optional).
///
/// # Safety
/// What the pointers name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_create_by_handle(
    sid: dm_sessid_t,
    dirhanp: *mut c_void,
    dirhlen: usize,
    token: dm_token_t,
    hanp: *mut c_void,
    hlen: usize,
    cname: *mut c_char,
) -> c_int {
    dm_call(|| create(sid, dirhanp, dirhlen, token, hanp, hlen, &[cname]))
}

/// Would create a directory with a given handle; see `dm_create_by_handle`.
///
/// Returns -1 with `errno` as `dm_create_by_handle`. Threads: any. Blocks: no. Since: DMAPI_1.0.
/// Source: XDSM, handles (optional).
///
/// # Safety
/// What the pointers name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_mkdir_by_handle(
    sid: dm_sessid_t,
    dirhanp: *mut c_void,
    dirhlen: usize,
    token: dm_token_t,
    hanp: *mut c_void,
    hlen: usize,
    cname: *mut c_char,
) -> c_int {
    dm_call(|| create(sid, dirhanp, dirhlen, token, hanp, hlen, &[cname]))
}

/// Would create a symbolic link to `path` with a given handle; see `dm_create_by_handle`.
///
/// Returns -1 with `errno` as `dm_create_by_handle`. Threads: any. Blocks: no. Since: DMAPI_1.0.
/// Source: XDSM, handles (optional).
///
/// # Safety
/// What the pointers name is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_symlink_by_handle(
    sid: dm_sessid_t,
    dirhanp: *mut c_void,
    dirhlen: usize,
    token: dm_token_t,
    hanp: *mut c_void,
    hlen: usize,
    cname: *mut c_char,
    path: *mut c_char,
) -> c_int {
    dm_call(|| create(sid, dirhanp, dirhlen, token, hanp, hlen, &[cname, path]))
}

/// Brings the data of a file to the disk.
///
/// `token`: with an exclusive right on the file, or `DM_NO_TOKEN`.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names nothing, or
/// is the global one; `EFAULT` the pointer is bad; `EINVAL` session or token is unknown, or the handle names no
/// regular file; `EIO` the disk failed; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: for the disk, and with `DM_NO_TOKEN` while others hold rights. Since: DMAPI_1.0.
/// Source: XDSM, handles.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_sync_by_handle(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
) -> c_int {
    dm_call(|| {
        client::sync_by_handle(&target(sid, hanp, hlen, token)?)?;
        Ok(0)
    })
}

/// Brings the DM attributes of a file to the disk: what the `_nosync` calls left undone.
///
/// `token`: with an exclusive right on the file, or `DM_NO_TOKEN`.
///
/// Returns 0, or -1 with `errno`: as `dm_sync_by_handle`.
///
/// Threads: any. Blocks: for the disk, and with `DM_NO_TOKEN` while others hold rights. Since: DMAPI_1.0. Source: IBM.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_sync_dmattr_by_handle(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
) -> c_int {
    dm_call(|| {
        client::sync_dmattr_by_handle(&target(sid, hanp, hlen, token)?)?;
        Ok(0)
    })
}

/// Opens an object as open(2) does; accesses through the descriptor make no events, and block its migration.
///
/// `mode`: flags of open(2) without `O_CREAT`.
///
/// Returns the descriptor, or -1 with `errno`: `EBADF` the handle names nothing, or no object; `EFAULT` the pointer is
/// bad; `EINVAL` a flag does not fit; and what open(2) fails with.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: SGI.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_open_by_handle(hanp: *mut c_void, hlen: usize, mode: c_int) -> c_int {
    dm_call(|| {
        let handle = handle(hanp, hlen)?;
        Ok(client::open_by_handle(&handle, mode)?.into_raw_fd())
    })
}

dm_version!("DMAPI_1.0": dm_create_by_handle, dm_mkdir_by_handle, dm_symlink_by_handle, dm_sync_by_handle,
    dm_sync_dmattr_by_handle, dm_open_by_handle);

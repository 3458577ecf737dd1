//! Handles: getting and comparing them.

use std::cmp::Ordering;
use std::ffi::{c_char, c_int, c_uint, c_void};

use super::arguments::{HandleOut, handle, is_global};
use super::boundary::{OutBuffer, dm_call, dm_call_or, dm_version, read_bytes, read_string};
use super::constants::{DM_FALSE, DM_MAX_HANDLE_SIZE, DM_TRUE};
use super::types::dm_boolean_t;
use crate::client;
use crate::model::{DmError, Handle};

/// `PATH_MAX` without the NUL.
const PATH_BYTES_MAX: usize = libc::PATH_MAX as usize - 1;

/// A path or name of the caller.
pub(super) fn path(path: *const c_char) -> Result<Vec<u8>, DmError> {
    read_string(path, PATH_BYTES_MAX, DmError::Os(libc::ENAMETOOLONG))
}

/// The bytes of anything that is given as a handle, for comparing; `None` for the global one.
fn raw_bytes(hanp: *const c_void, hlen: usize) -> Result<Option<Vec<u8>>, DmError> {
    if is_global(hanp, hlen) {
        return Ok(None);
    }
    if hlen as u64 > DM_MAX_HANDLE_SIZE as u64 {
        return Err(DmError::BadHandle);
    }
    read_bytes(hanp, hlen).map(Some)
}

/// Gives the handle of the object that a path names. A symbolic link at its end is not followed.
///
/// `path`: relative or absolute; "" is ".". `hanpp`, `hlenp`: get the handle, for `dm_handle_free`.
///
/// Returns 0, or -1 with `errno`: `EFAULT` a pointer is bad; `ENOMEM`; `ENXIO` it lies in no managed file system; and
/// what looking up a path fails with: `EACCES`, `ELOOP`, `ENAMETOOLONG`, `ENOENT`, `ENOTDIR`.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*hanpp` and `*hlenp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_path_to_handle(
    path: *mut c_char,
    hanpp: *mut *mut c_void,
    hlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let path = self::path(path)?;
        let out = HandleOut::new(hanpp, hlenp)?;
        out.give(&client::path_to_handle(&path)?)
    })
}

/// Gives the handle of the file system that a path lies in. Symbolic links are followed.
///
/// `path`: of any object in it. `hanpp`, `hlenp`: get the handle, for `dm_handle_free`.
///
/// Returns 0, or -1 with `errno`: as `dm_path_to_handle`.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*hanpp` and `*hlenp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_path_to_fshandle(
    path: *mut c_char,
    hanpp: *mut *mut c_void,
    hlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let path = self::path(path)?;
        let out = HandleOut::new(hanpp, hlenp)?;
        out.give(&client::path_to_fshandle(&path)?)
    })
}

/// Gives the handle of the object that a descriptor of this process is open on.
///
/// `hanpp`, `hlenp`: get the handle, for `dm_handle_free`.
///
/// Returns 0, or -1 with `errno`: `EBADF` the descriptor is not open; `EFAULT` a pointer is bad; `ENOMEM`; `ENXIO` the
/// object lies in no managed file system.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*hanpp` and `*hlenp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_fd_to_handle(
    fd: c_int,
    hanpp: *mut *mut c_void,
    hlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let out = HandleOut::new(hanpp, hlenp)?;
        out.give(&client::fd_to_handle(fd)?)
    })
}

/// Gives the handle of the file system that an object lies in. Nothing is looked up.
///
/// `hanp`, `hlen`: an object or a file system. `fshanpp`, `fshlenp`: get the handle, for `dm_handle_free`.
///
/// Returns 0, or -1 with `errno`: `EBADF` this can be no handle, or is the global one; `EFAULT` a pointer is bad;
/// `ENOMEM`.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*fshanpp` and `*fshlenp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_to_fshandle(
    hanp: *mut c_void,
    hlen: usize,
    fshanpp: *mut *mut c_void,
    fshlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let fs = handle(hanp, hlen)?.fs().ok_or(DmError::BadHandle)?;
        HandleOut::new(fshanpp, fshlenp)?.give(&Handle::Fs(fs))
    })
}

/// Gives a path of an object, relative to the root of its file system (absolute in the SGI dialect).
///
/// `dirhanp`, `dirhlen`: a directory that has the object as an entry. `targhanp`, `targhlen`: the object, no
/// directory. `buflen`: bytes at `pathbufp`. `rlenp`: gets the length of the path with its NUL.
///
/// Returns 0, or -1 with `errno`: `E2BIG` the path is longer than `buflen`, `*rlenp` has a length that is enough;
/// `EBADF` a handle names nothing, or the first no directory, or the second one; `EFAULT` a pointer is bad;
/// `EINVAL` the object is no entry of that directory.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `buflen` bytes at `pathbufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_to_path(
    dirhanp: *mut c_void,
    dirhlen: usize,
    targhanp: *mut c_void,
    targhlen: usize,
    buflen: usize,
    pathbufp: *mut c_char,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let directory = handle(dirhanp, dirhlen)?;
        let object = handle(targhanp, targhlen)?;
        let out = OutBuffer::new(pathbufp.cast(), buflen, rlenp, 1)?;
        let mut path = client::handle_to_path(&directory, &object)?;
        path.push(0);
        out.fill(&path)?;
        Ok(0)
    })
}

/// Compares two handles: 0 if and only if they are equal; else the sign of an order by length, then bytes.
///
/// The global handle is equal to itself and comes before all others. What cannot be read is equal to nothing.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// The handles are not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_cmp(
    hanp1: *mut c_void,
    hlen1: usize,
    hanp2: *mut c_void,
    hlen2: usize,
) -> c_int {
    dm_call_or(1, || {
        let first = raw_bytes(hanp1, hlen1)?;
        let second = raw_bytes(hanp2, hlen2)?;
        let order = match (&first, &second) {
            (Some(first), Some(second)) => first
                .len()
                .cmp(&second.len())
                .then_with(|| first.cmp(second)),
            _ => first.is_some().cmp(&second.is_some()),
        };
        Ok(match order {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        })
    })
}

/// Frees a handle that the library gave. Harmless for `DM_GLOBAL_HANP` and `DM_INVALID_HANP`.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `hanp` came from this library, was not freed, and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_free(hanp: *mut c_void, hlen: usize) {
    dm_call_or((), || {
        if !is_global(hanp, hlen) {
            // SAFETY: it was allocated by `HandleOut::give` and is given back once, says the caller; or it is NULL.
            unsafe { libc::free(hanp) };
        }
        Ok(())
    });
}

/// Gives a number that is the same for equal handles; 0 for what cannot be read.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_hash(hanp: *mut c_void, hlen: usize) -> c_uint {
    dm_call_or(0, || {
        // FNV-1a.
        let bytes = raw_bytes(hanp, hlen)?.unwrap_or_default();
        Ok(bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        }))
    })
}

/// Can this be a handle? Whether the object exists is not looked up.
///
/// Returns `DM_TRUE` for what can be the handle of an object or a file system, and for the global handle;
/// `DM_FALSE` for everything else, bad pointers too.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_is_valid(hanp: *mut c_void, hlen: usize) -> dm_boolean_t {
    dm_call_or(DM_FALSE as dm_boolean_t, || {
        handle(hanp, hlen)?;
        Ok(DM_TRUE as dm_boolean_t)
    })
}

dm_version!("DMAPI_1.0": dm_path_to_handle, dm_path_to_fshandle, dm_fd_to_handle, dm_handle_to_fshandle,
    dm_handle_to_path, dm_handle_cmp, dm_handle_free, dm_handle_hash, dm_handle_is_valid);

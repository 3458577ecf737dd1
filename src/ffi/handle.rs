//! Handles: getting, taking apart, comparing.

use std::cmp::Ordering;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::os::fd::IntoRawFd;

use super::arguments::{HandleOut, handle, is_global, target};
use super::boundary::{
    Out, OutBuffer, dm_call, dm_call_or, dm_version, read, read_bytes, read_string,
};
use super::constants::{DM_FALSE, DM_MAX_HANDLE_SIZE, DM_SNAP_ROOT, DM_TRUE};
use super::types::{
    dm_boolean_t, dm_fsid_t, dm_igen_t, dm_ino_t, dm_sessid_t, dm_snap_t, dm_token_t,
};
use crate::client;
use crate::model::{DmError, FsId, Handle};

/// `PATH_MAX` without the NUL.
const PATH_BYTES_MAX: usize = libc::PATH_MAX as usize - 1;

fn path(path: *const c_char) -> Result<Vec<u8>, DmError> {
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

/// Takes the identity of the file system out of a handle. Nothing is looked up.
///
/// Returns 0, or -1 with `errno`: `EBADF` this can be no handle, or is the global one; `EFAULT` a pointer is bad.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*fsidp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_to_fsid(
    hanp: *mut c_void,
    hlen: usize,
    fsidp: *mut dm_fsid_t,
) -> c_int {
    dm_call(|| {
        let fs = handle(hanp, hlen)?.fs().ok_or(DmError::BadHandle)?;
        Out::new(fsidp)?.set(fs.0)?;
        Ok(0)
    })
}

/// Takes the inode number out of the handle of an object. Nothing is looked up.
///
/// Returns 0, or -1 with `errno`: `EBADF` this can be no handle of an object; `EFAULT` a pointer is bad.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*inop` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_to_ino(
    hanp: *mut c_void,
    hlen: usize,
    inop: *mut dm_ino_t,
) -> c_int {
    dm_call(|| match handle(hanp, hlen)? {
        Handle::Object { inode, .. } => {
            Out::new(inop)?.set(inode)?;
            Ok(0)
        }
        Handle::Fs(_) | Handle::Global => Err(DmError::BadHandle),
    })
}

/// Takes the inode generation out of the handle of an object. Nothing is looked up.
///
/// Returns 0, or -1 with `errno`: `EBADF` this can be no handle of an object; `EFAULT` a pointer is bad.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*igenp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_to_igen(
    hanp: *mut c_void,
    hlen: usize,
    igenp: *mut dm_igen_t,
) -> c_int {
    dm_call(|| match handle(hanp, hlen)? {
        Handle::Object { generation, .. } => {
            Out::new(igenp)?.set(generation)?;
            Ok(0)
        }
        Handle::Fs(_) | Handle::Global => Err(DmError::BadHandle),
    })
}

/// Takes the snapshot out of a handle: always `DM_SNAP_ROOT`, as handles name no snapshots here.
///
/// Returns 0, or -1 with `errno`: `EBADF` this can be no handle, or is the global one; `EFAULT` a pointer is bad.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: IBM.
///
/// # Safety
/// `*snapp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_handle_to_snap(
    hanp: *mut c_void,
    hlen: usize,
    snapp: *mut dm_snap_t,
) -> c_int {
    dm_call(|| {
        handle(hanp, hlen)?.fs().ok_or(DmError::BadHandle)?;
        Out::new(snapp)?.set(DM_SNAP_ROOT.cast_unsigned())?;
        Ok(0)
    })
}

/// Reads the parts of an object's handle.
fn object(
    fsidp: *const dm_fsid_t,
    inop: *const dm_ino_t,
    igenp: *const dm_igen_t,
) -> Result<Handle, DmError> {
    Ok(Handle::Object {
        fs: FsId(read(fsidp)?),
        inode: read(inop)?,
        generation: read(igenp)?,
    })
}

/// Makes the handle of an object from its parts. Nothing is looked up.
///
/// `hanpp`, `hlenp`: get the handle, for `dm_handle_free`.
///
/// Returns 0, or -1 with `errno`: `EFAULT` a pointer is bad; `ENOMEM`.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*hanpp` and `*hlenp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_make_handle(
    fsidp: *mut dm_fsid_t,
    inop: *mut dm_ino_t,
    igenp: *mut dm_igen_t,
    hanpp: *mut *mut c_void,
    hlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let handle = object(fsidp, inop, igenp)?;
        HandleOut::new(hanpp, hlenp)?.give(&handle)
    })
}

/// Makes the handle of a file system from its identity. Nothing is looked up.
///
/// `hanpp`, `hlenp`: get the handle, for `dm_handle_free`.
///
/// Returns 0, or -1 with `errno`: `EFAULT` a pointer is bad; `ENOMEM`.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, handles.
///
/// # Safety
/// `*hanpp` and `*hlenp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_make_fshandle(
    fsidp: *mut dm_fsid_t,
    hanpp: *mut *mut c_void,
    hlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let fs = FsId(read(fsidp)?);
        HandleOut::new(hanpp, hlenp)?.give(&Handle::Fs(fs))
    })
}

/// `dm_make_handle` for an object in a snapshot; only `DM_SNAP_ROOT` exists here.
///
/// Returns 0, or -1 with `errno`: `EFAULT` a pointer is bad; `ENOMEM`; `ENOSYS` another snapshot.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: IBM.
///
/// # Safety
/// `*hanpp` and `*hlenp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_make_xhandle(
    fsidp: *mut dm_fsid_t,
    inop: *mut dm_ino_t,
    igenp: *mut dm_igen_t,
    snapp: *mut dm_snap_t,
    hanpp: *mut *mut c_void,
    hlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let handle = object(fsidp, inop, igenp)?;
        if read(snapp)? != DM_SNAP_ROOT.cast_unsigned() {
            return Err(DmError::NotImplemented);
        }
        HandleOut::new(hanpp, hlenp)?.give(&handle)
    })
}

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

dm_version!("DMAPI_1.0": dm_path_to_handle, dm_path_to_fshandle, dm_fd_to_handle, dm_handle_to_fshandle,
    dm_handle_to_path, dm_handle_cmp, dm_handle_free, dm_handle_hash, dm_handle_is_valid, dm_handle_to_fsid,
    dm_handle_to_ino, dm_handle_to_igen, dm_handle_to_snap, dm_make_handle, dm_make_fshandle,
    dm_make_xhandle, dm_create_by_handle, dm_mkdir_by_handle, dm_symlink_by_handle, dm_sync_by_handle,
    dm_sync_dmattr_by_handle, dm_open_by_handle);

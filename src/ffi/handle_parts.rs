//! What a handle is made of: taking it apart, and putting one together. Nothing is looked up.

use std::ffi::{c_int, c_void};

use super::arguments::{HandleOut, handle};
use super::boundary::{Out, dm_call, dm_version, read};
use super::constants::DM_SNAP_ROOT;
use super::types::{dm_fsid_t, dm_igen_t, dm_ino_t, dm_snap_t};
use crate::model::{DmError, FsId, Handle};

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

dm_version!("DMAPI_1.0": dm_handle_to_fsid, dm_handle_to_ino, dm_handle_to_igen, dm_handle_to_snap, dm_make_handle,
    dm_make_fshandle, dm_make_xhandle);

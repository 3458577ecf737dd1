//! Rights and holds of tokens.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::target_of_token;
use super::boundary::{Out, dm_call, dm_version};
use super::constants::{DM_RIGHT_EXCL, DM_RIGHT_NULL, DM_RIGHT_SHARED, DM_RR_WAIT};
use super::types::{dm_right_t, dm_sessid_t, dm_token_t};
use crate::client;
use crate::model::{DmError, Right};

/// Takes a right on an object for a token.
///
/// `hanp`, `hlen`: an object or a file system. `flags`: `DM_RR_WAIT` waits while other tokens hold a conflicting
/// right, else 0. `right`: `DM_RIGHT_SHARED` or `DM_RIGHT_EXCL`. Asking for less than what is held changes nothing.
///
/// Returns 0, or -1 with `errno`: `EACCES` a shared right cannot wait to become exclusive; `EAGAIN` another token has
/// it; `EBADF` the handle names nothing, or is the global one; `EFAULT` the pointer is bad; `EINTR` a signal ended
/// the wait; `EINVAL` session, token, flags or right is unknown; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_RR_WAIT`. Since: DMAPI_1.0. Source: XDSM, rights.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_request_right(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    flags: c_uint,
    right: dm_right_t,
) -> c_int {
    dm_call(|| {
        let right = match i64::from(right) {
            DM_RIGHT_SHARED => Right::Shared,
            DM_RIGHT_EXCL => Right::Exclusive,
            _ => return Err(DmError::Invalid),
        };
        let wait = match i64::from(flags) {
            0 => false,
            DM_RR_WAIT => true,
            _ => return Err(DmError::Invalid),
        };
        client::request_right(&target_of_token(sid, hanp, hlen, token)?, wait, right)?;
        Ok(0)
    })
}

/// Gives up the right that a token holds on an object.
///
/// Returns 0, or -1 with `errno`: `EACCES` it holds none; `EBADF` the handle names nothing, or is the global one;
/// `EFAULT` the pointer is bad; `EINVAL` session or token is unknown; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, rights.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_release_right(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
) -> c_int {
    dm_call(|| {
        client::release_right(&target_of_token(sid, hanp, hlen, token)?)?;
        Ok(0)
    })
}

/// Tells the right that a token holds on an object.
///
/// `rightp`: gets it; `DM_RIGHT_NULL` if it holds none.
///
/// Returns 0, or -1 with `errno`: `EBADF` the handle names nothing, or is the global one; `EFAULT` a pointer is bad;
/// `EINVAL` session or token is unknown; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, rights.
///
/// # Safety
/// `*rightp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_query_right(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    rightp: *mut dm_right_t,
) -> c_int {
    dm_call(|| {
        let target = target_of_token(sid, hanp, hlen, token)?;
        let out = Out::new(rightp)?;
        let right = match client::query_right(&target)? {
            Right::Null => DM_RIGHT_NULL,
            Right::Shared => DM_RIGHT_SHARED,
            Right::Exclusive => DM_RIGHT_EXCL,
        };
        out.set(right as dm_right_t)?;
        Ok(0)
    })
}

/// Makes a shared right exclusive, without waiting.
///
/// Returns 0, also if it is exclusive, or -1 with `errno`: `EAGAIN` others share it; `EBADF` the handle names
/// nothing, or is the global one; `EFAULT` the pointer is bad; `EINVAL` session or token is unknown; `EPERM` no right
/// is held; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, rights.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_upgrade_right(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
) -> c_int {
    dm_call(|| {
        client::upgrade_right(&target_of_token(sid, hanp, hlen, token)?)?;
        Ok(0)
    })
}

/// Makes an exclusive right shared.
///
/// Returns 0, or -1 with `errno`: `EBADF` the handle names nothing, or is the global one; `EFAULT` the pointer is
/// bad; `EINVAL` session or token is unknown; `EPERM` no exclusive right is held; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, rights.
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_downgrade_right(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
) -> c_int {
    dm_call(|| {
        client::downgrade_right(&target_of_token(sid, hanp, hlen, token)?)?;
        Ok(0)
    })
}

/// Keeps an object referenced while the token lives: its DESTROY and the unmount wait. Needs no right.
///
/// Note the order of the arguments.
///
/// Returns 0, or -1 with `errno`: `EBADF` the handle names nothing, or no object; `EBUSY` the token has it already;
/// `EFAULT` the pointer is bad; `EINVAL` session or token is unknown; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, holds (optional).
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_obj_ref_hold(
    sid: dm_sessid_t,
    token: dm_token_t,
    hanp: *mut c_void,
    hlen: usize,
) -> c_int {
    dm_call(|| {
        client::obj_ref_hold(&target_of_token(sid, hanp, hlen, token)?)?;
        Ok(0)
    })
}

/// Ends what `dm_obj_ref_hold` began.
///
/// Note the order of the arguments.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token has no hold on it; `EBADF` the handle names nothing, or no object;
/// `EFAULT` the pointer is bad; `EINVAL` session or token is unknown; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, holds (optional).
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_obj_ref_rele(
    sid: dm_sessid_t,
    token: dm_token_t,
    hanp: *mut c_void,
    hlen: usize,
) -> c_int {
    dm_call(|| {
        client::obj_ref_rele(&target_of_token(sid, hanp, hlen, token)?)?;
        Ok(0)
    })
}

/// Has the token a hold on the object?
///
/// Note the order of the arguments.
///
/// Returns 1 if it has, 0 if not, or -1 with `errno`: `EBADF` the handle can be none, or is the global one; `EFAULT`
/// the pointer is bad; `EINVAL` session or token is unknown; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, holds (optional).
///
/// # Safety
/// The handle is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_obj_ref_query(
    sid: dm_sessid_t,
    token: dm_token_t,
    hanp: *mut c_void,
    hlen: usize,
) -> c_int {
    dm_call(|| {
        let is_held = client::obj_ref_query(&target_of_token(sid, hanp, hlen, token)?)?;
        Ok(is_held.into())
    })
}

dm_version!("DMAPI_1.0": dm_request_right, dm_release_right, dm_query_right, dm_upgrade_right,
    dm_downgrade_right, dm_obj_ref_hold, dm_obj_ref_rele, dm_obj_ref_query);

//! Sessions.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::arguments::session;
use super::boundary::{Out, OutArray, OutBuffer, dm_call, dm_version, read_string};
use super::constants::{DM_NO_SESSION, DM_SESSION_INFO_LEN};
use super::types::dm_sessid_t;
use crate::client;
use crate::model::DmError;

/// Makes a session, or takes over one that another process (or a dead one) made.
///
/// `oldsid`: `DM_NO_SESSION` for a new session; else that session is assumed: its queue, tokens, rights and
/// dispositions go on under the new id, and the old id is unknown at once.
/// `sessinfop`: text that others see by `dm_query_session`; at most 255 bytes and NUL.
/// `newsidp`: gets the id, 1 to 2^31-1, higher than any before.
///
/// Returns 0, or -1 with `errno`: `E2BIG` the text is longer; `EFAULT` a pointer is bad, nothing was made;
/// `EINVAL` `oldsid` is unknown; `ENOMEM` too many sessions.
///
/// Threads: any. Blocks: no; durable on return. A session ends by `dm_destroy_session` only, not with the process.
/// Since: DMAPI_1.0. Source: XDSM, sessions.
///
/// # Safety
/// `*newsidp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_create_session(
    oldsid: dm_sessid_t,
    sessinfop: *mut c_char,
    newsidp: *mut dm_sessid_t,
) -> c_int {
    dm_call(|| {
        let old = match i64::from(oldsid) {
            DM_NO_SESSION => None,
            _ => Some(session(oldsid)?),
        };
        let too_long = DmError::TooBig { need: None };
        let info = read_string(sessinfop, DM_SESSION_INFO_LEN as usize - 1, too_long)?;
        let new = Out::new(newsidp)?;
        new.set(client::create_session(old, &info)?.0.cast_signed())?;
        Ok(0)
    })
}

/// Ends a session and all its dispositions.
///
/// Returns 0, or -1 with `errno`: `EBUSY` a message is queued, an event is not answered, or a thread waits in
/// `dm_get_events`; `EINVAL` `sid` is unknown.
///
/// Threads: any. Blocks: no; durable on return. Since: DMAPI_1.0. Source: XDSM, sessions.
///
/// # Safety
/// None is needed; the function takes no pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_destroy_session(sid: dm_sessid_t) -> c_int {
    dm_call(|| {
        client::destroy_session(session(sid)?)?;
        Ok(0)
    })
}

/// Lists the sessions of this node, in the order of creation; an assumed one counts as new.
///
/// `nelem`: elements in `sidbufp`; both may be 0 and NULL. `nelemp`: gets the number of sessions.
///
/// Returns 0, or -1 with `errno`: `E2BIG` there are more than `nelem`, `*nelemp` has their number, nothing else
/// was stored; `EFAULT` a pointer is bad.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, sessions.
///
/// # Safety
/// `nelem` elements at `sidbufp`, and `*nelemp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_getall_sessions(
    nelem: c_uint,
    sidbufp: *mut dm_sessid_t,
    nelemp: *mut c_uint,
) -> c_int {
    dm_call(|| {
        let out = OutArray::new(sidbufp, nelem, nelemp)?;
        let sessions = client::getall_sessions()?;
        let sids: Vec<dm_sessid_t> = sessions.iter().map(|sid| sid.0.cast_signed()).collect();
        out.fill(&sids)?;
        Ok(0)
    })
}

/// Reads the text that a session was created or assumed with.
///
/// `buflen`: bytes at `bufp`. `rlenp`: gets the length of the text with its NUL.
///
/// Returns 0, or -1 with `errno`: `E2BIG` it is longer than `buflen`, `*rlenp` has the length; `EFAULT` a
/// pointer is bad; `EINVAL` `sid` is unknown.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, sessions.
///
/// # Safety
/// `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_query_session(
    sid: dm_sessid_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let sid = session(sid)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, 1)?;
        let mut info = client::query_session(sid)?;
        info.push(0);
        out.fill(&info)?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_create_session, dm_destroy_session, dm_getall_sessions, dm_query_session);

//! Tokens.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::{real_token, session};
use super::boundary::{Out, OutArray, dm_call, dm_version, read_bytes};
use super::types::{dm_sessid_t, dm_token_t};
use crate::client;
use crate::client::MESSAGE_BYTES_MAX;
use crate::model::DmError;

/// Moves an outstanding event, with the rights and holds of its token, to another session.
///
/// `rtokenp`: gets the token that the event has there; it may be the same.
///
/// Returns 0, or -1 with `errno`: `EFAULT` the pointer is bad, the event stays; `EINVAL` a session is unknown, or the
/// token can be none; `ENOENT` the token is not one of `srcsid`; `ESRCH` it was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, tokens.
///
/// # Safety
/// `*rtokenp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_move_event(
    srcsid: dm_sessid_t,
    token: dm_token_t,
    targetsid: dm_sessid_t,
    rtokenp: *mut dm_token_t,
) -> c_int {
    dm_call(|| {
        let from = session(srcsid)?;
        let to = session(targetsid)?;
        let token = real_token(token)?;
        let out = Out::new(rtokenp)?;
        out.set(client::move_event(from, token, to)?.0.cast_signed())?;
        Ok(0)
    })
}

/// Lists the tokens of a session: of events that were received and not answered, and of its own user events.
///
/// `nelem`: elements at `tokenbufp`; both may be 0 and NULL. `nelemp`: gets the number of tokens.
///
/// Returns 0, or -1 with `errno`: `E2BIG` there are more than `nelem`, `*nelemp` has their number; `EFAULT` a pointer
/// is bad; `EINVAL` `sid` is unknown.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, tokens.
///
/// # Safety
/// `nelem` elements at `tokenbufp`, and `*nelemp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_getall_tokens(
    sid: dm_sessid_t,
    nelem: c_uint,
    tokenbufp: *mut dm_token_t,
    nelemp: *mut c_uint,
) -> c_int {
    dm_call(|| {
        let sid = session(sid)?;
        let out = OutArray::new(tokenbufp, nelem, nelemp)?;
        let found = client::getall_tokens(sid)?;
        let tokens: Vec<dm_token_t> = found.iter().map(|token| token.0.cast_signed()).collect();
        out.fill(&tokens)?;
        Ok(0)
    })
}

/// Makes a token of one's own, to hold rights with: a USER event that is outstanding from the start.
///
/// `msglen`, `msgdatap`: data that `dm_find_eventmsg` gives back, at most `DM_CONFIG_MAX_MESSAGE_DATA` bytes; 0
/// and NULL for none. `tokenp`: gets the token; `dm_respond_event` ends it.
///
/// Returns 0, or -1 with `errno`: `E2BIG` too much data; `EFAULT` a pointer is bad, nothing was made; `EINVAL` `sid`
/// is unknown; `ENOMEM` too many events.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, tokens.
///
/// # Safety
/// `*tokenp` is the caller's to be overwritten; `msglen` bytes at `msgdatap` are not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_create_userevent(
    sid: dm_sessid_t,
    msglen: usize,
    msgdatap: *mut c_void,
    tokenp: *mut dm_token_t,
) -> c_int {
    dm_call(|| {
        let sid = session(sid)?;
        if msglen > MESSAGE_BYTES_MAX {
            return Err(DmError::TooBig { need: None });
        }
        let data = read_bytes(msgdatap, msglen)?;
        let out = Out::new(tokenp)?;
        out.set(client::create_userevent(sid, &data)?.0.cast_signed())?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_move_event, dm_getall_tokens, dm_create_userevent);

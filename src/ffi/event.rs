//! Events: receiving, answering, sending.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::{real_token, session};
use super::boundary::{OutBuffer, dm_call, dm_version, read, read_bytes};
use super::constants::{
    DM_EV_WAIT, DM_MSGTYPE_ASYNC, DM_MSGTYPE_SYNC, DM_RESP_ABORT, DM_RESP_CONTINUE,
    DM_RESP_DONTCARE,
};
use super::types::{dm_msgtype_t, dm_response_t, dm_sessid_t, dm_timestruct_t, dm_token_t};
use crate::client;
use crate::client::MESSAGE_BYTES_MAX;
use crate::model::{Answer, DmError};

/// Messages are read in place, so the caller's buffer must be aligned for them.
const MESSAGE_ALIGN: usize = 8;

/// A buffer of the caller with data for a message.
fn message_data(data: *const c_void, length: usize) -> Result<Vec<u8>, DmError> {
    if length > MESSAGE_BYTES_MAX {
        return Err(DmError::TooBig { need: None });
    }
    read_bytes(data, length)
}

/// Receives messages.
///
/// `maxmsgs`: at most so many; 0: as many as fit. `flags`: `DM_EV_WAIT` waits for the first one, else 0.
/// `buflen`: bytes at `bufp`, which is aligned to 8. `rlenp`: gets the bytes stored. The messages are linked:
/// `DM_STEP_TO_NEXT(msg, dm_eventmsg_t *)`. Those with a token stay outstanding until `dm_respond_event`.
///
/// Returns 0, or -1 with `errno`: `E2BIG` the first message needs more room, `*rlenp` has its size; `EAGAIN` there
/// is none; `EFAULT` a pointer is bad or not aligned; `EINTR` a signal ended the wait; `EINVAL` `sid` is unknown
/// or a flag is. Messages stay queued when the call fails, also when the process dies in it.
///
/// Threads: any; each message goes to one. Blocks: with `DM_EV_WAIT`. Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_events(
    sid: dm_sessid_t,
    maxmsgs: c_uint,
    flags: c_uint,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let sid = session(sid)?;
        let wait = match i64::from(flags) {
            0 => false,
            DM_EV_WAIT => true,
            _ => return Err(DmError::Invalid),
        };
        let out = OutBuffer::new(bufp, buflen, rlenp, MESSAGE_ALIGN)?;
        out.probe_start()?;
        let got = client::get_events(sid, maxmsgs, wait, out.room() as u64, &mut |messages| {
            out.fill(messages)
        });
        out.needed(got)?;
        Ok(0)
    })
}

/// Answers an event, ends its token with all rights and holds, and lets the operation go on.
///
/// `response`: `DM_RESP_CONTINUE` with `reterror` 0; `DM_RESP_ABORT` with the errno that the operation fails
/// with, > 0; `DM_RESP_DONTCARE` with 0, for MOUNT only. `buflen`, `respbufp`: unused, 0 and NULL.
///
/// Returns 0, or -1 with `errno`: `E2BIG` `buflen` is above `DM_CONFIG_MAX_MESSAGE_DATA`; `EINVAL` session or token
/// is unknown, or response and reterror do not fit, the event stays; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// None is needed; `respbufp` is not used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_respond_event(
    sid: dm_sessid_t,
    token: dm_token_t,
    response: dm_response_t,
    reterror: c_int,
    buflen: usize,
    respbufp: *mut c_void,
) -> c_int {
    dm_call(|| {
        let _unused_by_the_standard = respbufp;
        let answer = match (i64::from(response), reterror) {
            (DM_RESP_CONTINUE, 0) => Answer::Continue,
            (DM_RESP_ABORT, 1..) => Answer::Abort(reterror),
            (DM_RESP_DONTCARE, 0) => Answer::DontCare,
            _ => return Err(DmError::Invalid),
        };
        if buflen > MESSAGE_BYTES_MAX {
            return Err(DmError::TooBig { need: None });
        }
        client::respond_event(session(sid)?, real_token(token)?, answer)?;
        Ok(0)
    })
}

/// Says that the answer will take long: a non-blocking originator gets `EAGAIN` now, others go on waiting.
///
/// `delay`: about how long. The event must be answered all the same.
///
/// Returns 0, or -1 with `errno`: `EFAULT` the pointer is bad; `EINVAL` session or token is unknown, or the time is
/// none; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, events (optional).
///
/// # Safety
/// `delay` is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_pending(
    sid: dm_sessid_t,
    token: dm_token_t,
    delay: *mut dm_timestruct_t,
) -> c_int {
    dm_call(|| {
        let sid = session(sid)?;
        let token = real_token(token)?;
        let delay = read(delay)?;
        let seconds = u64::try_from(delay.dm_tv_sec).map_err(|_| DmError::Invalid)?;
        let nanoseconds = u64::try_from(delay.dm_tv_nsec).map_err(|_| DmError::Invalid)?;
        let delay_ms = seconds
            .saturating_mul(1000)
            .saturating_add(nanoseconds / 1_000_000);
        client::pending(sid, token, delay_ms)?;
        Ok(0)
    })
}

/// Reads the message of an outstanding event once more.
///
/// `buflen`: bytes at `bufp`, which is aligned to 8. `rlenp`: gets the bytes stored.
///
/// Returns 0, or -1 with `errno`: `E2BIG` it needs more room, `*rlenp` has its size; `EFAULT` a pointer is bad or
/// not aligned; `EINVAL` session or token is unknown; `ESRCH` the token was answered, or not received yet.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_find_eventmsg(
    sid: dm_sessid_t,
    token: dm_token_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let sid = session(sid)?;
        let token = real_token(token)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, MESSAGE_ALIGN)?;
        out.fill(&client::find_eventmsg(sid, token)?)?;
        Ok(0)
    })
}

/// Sends a USER event to a session.
///
/// `msgtype`: `DM_MSGTYPE_SYNC` waits for the answer, `DM_MSGTYPE_ASYNC` does not. `buflen`, `bufp`: the data, at
/// most `DM_CONFIG_MAX_MESSAGE_DATA` bytes; 0 and NULL for none.
///
/// Returns 0 (synchronous: the answer was CONTINUE), or -1 with `errno`: the `reterror` of an ABORT; `E2BIG` too
/// much data; `EFAULT` the pointer is bad; `EINTR` a signal ended the wait, the message stays; `EINVAL` `targetsid`
/// or `msgtype` is unknown.
///
/// Threads: any. Blocks: with `DM_MSGTYPE_SYNC`, without limit. Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// `buflen` bytes at `bufp` are not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_send_msg(
    targetsid: dm_sessid_t,
    msgtype: dm_msgtype_t,
    buflen: usize,
    bufp: *mut c_void,
) -> c_int {
    dm_call(|| {
        let synchronous = match i64::from(msgtype) {
            DM_MSGTYPE_SYNC => true,
            DM_MSGTYPE_ASYNC => false,
            _ => return Err(DmError::Invalid),
        };
        let sid = session(targetsid)?;
        client::send_msg(sid, synchronous, &message_data(bufp, buflen)?)?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_get_events, dm_respond_event, dm_pending, dm_find_eventmsg, dm_send_msg);

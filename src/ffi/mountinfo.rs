//! What the MOUNT event of a file system said.

use std::ffi::{c_int, c_void};

use super::arguments::target;
use super::boundary::{OutBuffer, dm_call, dm_version};
use super::types::{dm_sessid_t, dm_token_t};
use crate::client;

/// `dm_mount_event_t` is read in place.
const BODY_ALIGN: usize = 8;

/// Gives the `dm_mount_event_t` that the MOUNT event of a file system carried.
///
/// `token`: with a shared right on the file system, or `DM_NO_TOKEN`. `buflen`: bytes at `bufp`, which is aligned to
/// 8. `rlenp`: gets the bytes stored.
///
/// Returns 0, or -1 with `errno`: `E2BIG` `*rlenp` has the bytes needed; `EACCES` the token holds no right; `EBADF` the
/// handle names nothing, or is the global one; `EFAULT` a pointer is bad or not aligned; `EINVAL` session or token is
/// unknown, or the handle names no file system; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0.
/// Source: XDSM, mounts.
///
/// # Safety
/// `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_mountinfo(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, BODY_ALIGN)?;
        out.fill(&client::get_mountinfo(&target)?)?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_get_mountinfo);

//! Initialisation, and what an implementation can do.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::arguments::{handle, target};
use super::boundary::{Out, dm_call, dm_version};
use super::constants::VERSION_STRING;
use super::disposition::EventSetOut;
use super::types::{dm_config_t, dm_dioinfo_t, dm_eventset_t, dm_sessid_t, dm_size_t, dm_token_t};
use crate::client;
use crate::model::DmError;
use crate::model::event::EVENT_MAX;

/// Connects the process to the DMAPI of this node; to be called first, and harmless when called again.
///
/// `versionstrpp`: gets the address of a text that must not be changed or freed.
///
/// Returns 0, or -1 with `errno`: `EFAULT` the pointer is bad; `ENOTCONN` no dmapid serves this node; `EPERM` the
/// caller may not use it. With `DMAPI_AUTOSTART=1` in the environment a private dmapid is started where none runs.
///
/// Threads: any. Blocks: where `DMAPI_WAIT_MS` is set or dmapid is being started: until it is ready, at most so many
/// milliseconds. Since: DMAPI_1.0. Source: XDSM, initialisation.
///
/// # Safety
/// `*versionstrpp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_init_service(versionstrpp: *mut *mut c_char) -> c_int {
    dm_call(|| {
        let out = Out::new(versionstrpp.cast::<usize>())?;
        client::init_service()?;
        out.set(VERSION_STRING.as_ptr().expose_provenance())?;
        Ok(0)
    })
}

/// Tells a limit or an ability of the implementation for a file system.
///
/// `hanp`, `hlen`: the file system or any object in it. `flagname`: `DM_CONFIG_`. `retvalp`: gets the value: a
/// number, bytes, or `DM_TRUE` and `DM_FALSE`.
///
/// Returns 0, or -1 with `errno`: `EBADF` the handle names nothing, or is the global one; `EFAULT` a pointer is
/// bad; `EINVAL` `flagname` is unknown.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, configuration.
///
/// # Safety
/// `*retvalp` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_config(
    hanp: *mut c_void,
    hlen: usize,
    flagname: dm_config_t,
    retvalp: *mut dm_size_t,
) -> c_int {
    dm_call(|| {
        let flag = u32::try_from(flagname).map_err(|_| DmError::Invalid)?;
        let handle = handle(hanp, hlen)?;
        let out = Out::new(retvalp)?;
        out.set(client::get_config(&handle, flag)?)?;
        Ok(0)
    })
}

/// Tells which events a file system's event source delivers.
///
/// `hanp`, `hlen`: the file system or any object in it. `nelem`: events that `*eventsetp` has room for, counted
/// from event 0; `DM_EVENT_MAX` always does. `nelemp`: gets `DM_EVENT_MAX`.
///
/// Returns 0, or -1 with `errno`: `E2BIG` `nelem` is too small, `*nelemp` has the number needed (`EINVAL` in the
/// SGI dialect); `EBADF` the handle names nothing, or is the global one; `EFAULT` a pointer is bad.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, configuration.
///
/// # Safety
/// `*eventsetp` and `*nelemp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_config_events(
    hanp: *mut c_void,
    hlen: usize,
    nelem: c_uint,
    eventsetp: *mut dm_eventset_t,
    nelemp: *mut c_uint,
) -> c_int {
    dm_call(|| {
        let handle = handle(hanp, hlen)?;
        let out = EventSetOut::new(nelem, eventsetp, nelemp)?;
        let events = client::get_config_events(&handle)?;
        out.give(events, EVENT_MAX)
    })
}

/// Tells the geometry of direct I/O on a file.
///
/// `token`: with a shared right on the file, or `DM_NO_TOKEN`. `diop`: gets the sizes in bytes.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no right; `EBADF` the handle names nothing; `EFAULT` a
/// pointer is bad; `EINVAL` session or token is unknown, or the handle names no regular file; `EOPNOTSUPP` the
/// file cannot be read past the page cache; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0. Source: SGI.
///
/// # Safety
/// `*diop` is the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_dioinfo(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    diop: *mut dm_dioinfo_t,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = Out::new(diop)?;
        let info = client::get_dioinfo(&target)?;
        out.set(dm_dioinfo_t {
            d_mem: info.memory_bytes,
            d_miniosz: info.transfer_bytes_min,
            d_maxiosz: info.transfer_bytes_max,
            d_dio_only: info.direct_only.into(),
        })?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_init_service, dm_get_config, dm_get_config_events, dm_get_dioinfo);

//! Which events a session gets: dispositions, event lists, return-on-destroy.

use std::ffi::{c_int, c_uint, c_void};

use super::arguments::{attribute_name, session, target};
use super::boundary::{Out, OutBuffer, bytes_of, dm_call, dm_version, read, zeroed};
use super::constants::DM_FALSE;
use super::types::{
    dm_attrname_t, dm_boolean_t, dm_dispinfo_t, dm_eventset_t, dm_sessid_t, dm_token_t,
    dm_vardata_t,
};
use crate::client;
use crate::model::{DmError, EventSet, Handle};

/// Records are read in place, so the caller's buffer must be aligned for them.
const RECORD_ALIGN: usize = 8;

/// The places of the caller for an event set and its number of events.
pub(super) struct EventSetOut {
    room: c_uint,
    set: Out<u64>,
    count: Out<u32>,
}

impl EventSetOut {
    /// `EFAULT` if one of the two cannot be stored.
    pub(super) fn new(
        room: c_uint,
        set: *mut dm_eventset_t,
        count: *mut c_uint,
    ) -> Result<Self, DmError> {
        Ok(Self {
            room,
            set: Out::new(set)?,
            count: Out::new(count)?,
        })
    }

    /// Stores a set that has no event from `needed` on. 0, as the calls return.
    pub(super) fn give(&self, events: EventSet, needed: u32) -> Result<c_int, DmError> {
        if self.room < needed {
            return self.count.needed(match client::reading().small_set {
                DmError::TooBig { .. } => Err(DmError::need(needed as usize)),
                error => Err(error),
            });
        }
        self.set.set(events.0)?;
        self.count.set(needed)?;
        Ok(0)
    }

    /// The SGI reading of `dm_get_eventlist`: cut to the room, which is echoed.
    fn give_cut(&self, events: EventSet) -> Result<c_int, DmError> {
        if self.room == 0 {
            return Err(DmError::Invalid);
        }
        let mask = 1u64.checked_shl(self.room).map_or(u64::MAX, |bit| bit - 1);
        self.set.set(events.0 & mask)?;
        self.count.set(self.room)?;
        Ok(0)
    }
}

/// Registers the session for events of a file system: it replaces what this session was registered for there.
///
/// `hanp`, `hlen`: a file system; or `DM_GLOBAL_HANP` with `DM_NO_TOKEN`, for MOUNT only. `token`: with an
/// exclusive right on the file system, or `DM_NO_TOKEN`. `eventsetp`: the events; those from `maxevent` on
/// (1 to `DM_EVENT_MAX`) do not count. An event that another session has is taken from it.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names nothing;
/// `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, `maxevent` is none, an event does not fit, or
/// the handle names no file system; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold rights. Durable until session or mount ends.
/// Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// `*eventsetp` is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_disp(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    eventsetp: *mut dm_eventset_t,
    maxevent: c_uint,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        client::set_disp(&target, EventSet(read(eventsetp)?), maxevent)?;
        Ok(0)
    })
}

/// Lists what a session is registered for: a `dm_dispinfo_t` with the handle for each file system.
///
/// `buflen`: bytes at `bufp`, which is aligned to 8. `rlenp`: gets the bytes stored, 0 if there is nothing. The
/// elements are linked: `DM_STEP_TO_NEXT(info, dm_dispinfo_t *)`. Interest in MOUNT is not listed.
///
/// Returns 0, or -1 with `errno`: `E2BIG` `*rlenp` has the bytes needed; `EFAULT` a pointer is bad or not aligned;
/// `EINVAL` `sid` is unknown.
///
/// Threads: any. Blocks: no. Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// `buflen` bytes at `bufp`, and `*rlenp`, are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_getall_disp(
    sid: dm_sessid_t,
    buflen: usize,
    bufp: *mut c_void,
    rlenp: *mut usize,
) -> c_int {
    dm_call(|| {
        let sid = session(sid)?;
        let out = OutBuffer::new(bufp, buflen, rlenp, RECORD_ALIGN)?;
        out.probe_start()?;
        let dispositions = client::getall_disp(sid)?;
        let mut list = Vec::new();
        for (index, (fs, events)) in dispositions.iter().enumerate() {
            let fs_handle = Handle::Fs(*fs).to_bytes();
            let head_bytes = size_of::<dm_dispinfo_t>();
            let is_last = index + 1 == dispositions.len();
            let mut info = zeroed::<dm_dispinfo_t>();
            info._link = if is_last {
                0
            } else {
                (head_bytes + fs_handle.len()) as c_int
            };
            info.di_fshandle = dm_vardata_t {
                vd_offset: head_bytes as c_int,
                vd_length: fs_handle.len() as c_uint,
            };
            info.di_eventset = events.0;
            list.extend_from_slice(bytes_of(&info));
            list.extend_from_slice(&fs_handle);
        }
        out.fill(&list)?;
        Ok(0)
    })
}

/// Says which events an object or a file system produces.
///
/// `hanp`, `hlen`: an object, or a file system: then for all objects in it. `token`: with an exclusive right on it,
/// or `DM_NO_TOKEN`. `eventsetp`: the events; those from `maxevent` on (1 to `DM_EVENT_MAX`) stay as they are. READ,
/// WRITE and TRUNCATE come from `dm_set_region`, not from here.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names nothing;
/// `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, `maxevent` is none, an event is not one of that
/// kind of object, or the handle is the global one; `ENOSPC` no room for it; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold rights. The list of an object is kept with it, that of
/// a file system while it is mounted. Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// `*eventsetp` is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_eventlist(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    eventsetp: *mut dm_eventset_t,
    maxevent: c_uint,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        client::set_eventlist(&target, EventSet(read(eventsetp)?), maxevent)?;
        Ok(0)
    })
}

/// `dm_set_eventlist`; here it is the same, as the list is not kept in a cache that could be flushed later.
///
/// Returns, blocks, threads: as `dm_set_eventlist`. Since: DMAPI_1.0. Source: IBM.
///
/// # Safety
/// `*eventsetp` is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_eventlist_nosync(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    eventsetp: *mut dm_eventset_t,
    maxevent: c_uint,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        client::set_eventlist(&target, EventSet(read(eventsetp)?), maxevent)?;
        Ok(0)
    })
}

/// Reads the event list of an object or a file system; for a file with the events of its regions.
///
/// `token`: with a shared right on it, or `DM_NO_TOKEN`. `nelem`: events that `*eventsetp` has room for, counted
/// from event 0. `nelemp`: gets the highest event of the list and 1, or 0 if it is empty.
///
/// Returns 0, or -1 with `errno`: `E2BIG` `nelem` is too small, `*nelemp` has the number needed (the SGI dialect cuts
/// instead, and has `EINVAL` for 0); `EACCES` the token holds no right; `EBADF` the handle names nothing; `EFAULT` a
/// pointer is bad; `EINVAL` session or token is unknown, or the handle is the global one; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold an exclusive right. Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// `*eventsetp` and `*nelemp` are the caller's to be overwritten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_get_eventlist(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    nelem: c_uint,
    eventsetp: *mut dm_eventset_t,
    nelemp: *mut c_uint,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let out = EventSetOut::new(nelem, eventsetp, nelemp)?;
        let events = client::get_eventlist(&target)?;
        if client::reading().list_is_cut {
            return out.give_cut(events);
        }
        out.give(events, u64::BITS - events.0.leading_zeros())
    })
}

/// Asks for a copy of one DM attribute in the DESTROY event of each object of a file system.
///
/// `token`: with an exclusive right on the file system, or `DM_NO_TOKEN`. `attrnamep`: the attribute; unused to
/// disable. `enable`: `DM_TRUE` or `DM_FALSE`. Enabling registers the session for DESTROY, and takes it from others.
///
/// Returns 0, or -1 with `errno`: `EACCES` the token holds no exclusive right; `EBADF` the handle names nothing, or
/// is the global one; `EFAULT` a pointer is bad; `EINVAL` session or token is unknown, the handle names no file
/// system, the name is empty, or another session is the registered one; `ESRCH` the token was answered.
///
/// Threads: any. Blocks: with `DM_NO_TOKEN` while others hold rights. Since: DMAPI_1.0. Source: XDSM, events.
///
/// # Safety
/// `*attrnamep` is not changed while the call runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dm_set_return_on_destroy(
    sid: dm_sessid_t,
    hanp: *mut c_void,
    hlen: usize,
    token: dm_token_t,
    attrnamep: *mut dm_attrname_t,
    enable: dm_boolean_t,
) -> c_int {
    dm_call(|| {
        let target = target(sid, hanp, hlen, token)?;
        let enable = i64::from(enable) != DM_FALSE;
        let name = if enable {
            attribute_name(attrnamep)?
        } else {
            [0; 8]
        };
        client::set_return_on_destroy(&target, name, enable)?;
        Ok(0)
    })
}

/// Lets a session be told when a user who waits is gone: for each of its events whose process was killed or interrupted
/// after the event was received, a CANCEL event comes, with the sequence and the token of that event. The token stays
/// good and must be answered, but nobody waits for the answer any more: a recall may stop.
///
/// No DMAPI has a disposition for CANCEL, and applications do not expect it: so a session gets it only after this call.
/// `enable`: `DM_TRUE` or `DM_FALSE`. It is taken over with the session.
///
/// Returns 0, or -1 with `errno`: `EINVAL` `sid` is unknown.
///
/// Threads: any. Blocks: no. Durable. The fanotify source notices the end of a process within seconds. Since: DMAPI_1.0.
/// Source: libdmapi.
///
/// # Safety
/// None is needed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dmx_set_cancel(sid: dm_sessid_t, enable: dm_boolean_t) -> c_int {
    dm_call(|| {
        client::set_cancel(session(sid)?, i64::from(enable) != DM_FALSE)?;
        Ok(0)
    })
}

dm_version!("DMAPI_1.0": dm_set_disp, dm_getall_disp, dm_set_eventlist, dm_set_eventlist_nosync, dm_get_eventlist,
    dm_set_return_on_destroy, dmx_set_cancel);

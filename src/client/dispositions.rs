//! Dispositions, event lists, return-on-destroy, mount information.

use super::call::{ask, tell};
use super::dialect::reading;
use crate::model::event::EVENT_MAX;
use crate::model::message;
use crate::model::{DmError, EventSet, FsId, SessionId};
use crate::proto::{Reply, Request, Target};

/// The bits below `maxevent`, which are those that the caller gave.
fn given(maxevent: u32) -> Result<EventSet, DmError> {
    if maxevent == 0 || maxevent > EVENT_MAX {
        return Err(DmError::Invalid);
    }
    Ok(EventSet((1 << maxevent) - 1))
}

/// Is there an event among them that the dialect does not know?
fn check(events: EventSet, given: EventSet) -> Result<(), DmError> {
    match events.0 & given.0 & reading().refused.0 {
        0 => Ok(()),
        _ => Err(DmError::Invalid),
    }
}

/// `dm_set_disp`; bits from `maxevent` on are ignored.
pub fn set_disp(target: &Target, events: EventSet, maxevent: u32) -> Result<(), DmError> {
    let given = given(maxevent)?;
    check(events, given)?;
    tell(&Request::SetDisposition {
        target: *target,
        events: EventSet(events.0 & given.0),
        // The session's whole set is replaced, whatever the caller's set can hold.
        mask: EventSet((1 << EVENT_MAX) - 1),
        answers_destroy: reading().destroy_is_answered,
    })
}

/// `dm_getall_disp`.
pub fn getall_disp(session: SessionId) -> Result<Vec<(FsId, EventSet)>, DmError> {
    match ask(&Request::GetAllDispositions { session })? {
        Reply::Dispositions(dispositions) => Ok(dispositions),
        _ => Err(DmError::Io),
    }
}

/// `dm_set_eventlist`; bits from `maxevent` on stay.
pub fn set_eventlist(target: &Target, events: EventSet, maxevent: u32) -> Result<(), DmError> {
    let mask = given(maxevent)?;
    check(events, mask)?;
    tell(&Request::SetEventList {
        target: *target,
        events: EventSet(events.0 & mask.0),
        mask,
        extra_on_fs: reading().extra_on_fs,
    })
}

/// `dm_get_eventlist`, the flags of regions among them.
pub fn get_eventlist(target: &Target) -> Result<EventSet, DmError> {
    match ask(&Request::GetEventList { target: *target })? {
        Reply::EventList(events) => Ok(events),
        _ => Err(DmError::Io),
    }
}

/// `dm_set_return_on_destroy`; `name` counts only to enable.
pub fn set_return_on_destroy(target: &Target, name: [u8; 8], enable: bool) -> Result<(), DmError> {
    tell(&Request::SetReturnOnDestroy {
        target: *target,
        name,
        enable,
        answers_destroy: reading().destroy_is_answered,
    })
}

/// `dm_get_mountinfo`: the body of the MOUNT event as C sees it.
pub fn get_mountinfo(target: &Target) -> Result<Vec<u8>, DmError> {
    match ask(&Request::GetMountInfo { target: *target })? {
        Reply::MountInfo(body) => Ok(message::mount_body(&body)),
        _ => Err(DmError::Io),
    }
}

/// `dmx_set_cancel`.
pub fn set_cancel(session: SessionId, enable: bool) -> Result<(), DmError> {
    tell(&Request::SetCancel { session, enable })
}

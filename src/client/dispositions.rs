//! Dispositions, event lists, return-on-destroy, mount information.

use crate::model::{DmError, EventSet, FsId, SessionId};
use crate::proto::Target;

/// `dm_set_disp`; bits from `maxevent` on are ignored.
pub fn set_disp(target: &Target, events: EventSet, maxevent: u32) -> Result<(), DmError> {
    let _ = (target, events, maxevent);
    Err(DmError::NotImplemented)
}

/// `dm_getall_disp`.
pub fn getall_disp(session: SessionId) -> Result<Vec<(FsId, EventSet)>, DmError> {
    let _ = session;
    Err(DmError::NotImplemented)
}

/// `dm_set_eventlist`; bits from `maxevent` on stay.
pub fn set_eventlist(target: &Target, events: EventSet, maxevent: u32) -> Result<(), DmError> {
    let _ = (target, events, maxevent);
    Err(DmError::NotImplemented)
}

/// `dm_get_eventlist`, the flags of regions among them.
pub fn get_eventlist(target: &Target) -> Result<EventSet, DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_set_return_on_destroy`; `name` counts only to enable.
pub fn set_return_on_destroy(target: &Target, name: [u8; 8], enable: bool) -> Result<(), DmError> {
    let _ = (target, name, enable);
    Err(DmError::NotImplemented)
}

/// `dm_get_mountinfo`: the body of the MOUNT event as C sees it.
pub fn get_mountinfo(target: &Target) -> Result<Vec<u8>, DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

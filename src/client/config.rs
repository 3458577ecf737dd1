//! Initialisation, limits, direct I/O.

use crate::model::{DioInfo, DmError, EventSet, Handle};
use crate::proto::Target;

/// `dm_init_service`: is there a daemon? (Starts a private one where `DMAPI_AUTOSTART=1` asks for it.)
pub fn init_service() -> Result<(), DmError> {
    Err(DmError::NotImplemented)
}

/// `dm_get_config`; `flag` is a `dm_config_t` (BULKALL 1 ... WILL_RETRY 19).
pub fn get_config(handle: &Handle, flag: u32) -> Result<u64, DmError> {
    let _ = (handle, flag);
    Err(DmError::NotImplemented)
}

/// `dm_get_config_events`.
pub fn get_config_events(handle: &Handle) -> Result<EventSet, DmError> {
    let _ = handle;
    Err(DmError::NotImplemented)
}

/// `dm_get_dioinfo`.
pub fn get_dioinfo(target: &Target) -> Result<DioInfo, DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

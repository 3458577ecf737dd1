//! Initialisation, limits, direct I/O.

use super::call::{Entered, look};
use super::dialect::reading;
use super::mounts;
use super::node::{file_systems, ping};
use super::regions::regions_max;
use crate::fs::side;
use crate::model::handle::OBJECT_HANDLE_BYTES;
use crate::model::{DioInfo, DmError, EventSet, EventType, Handle, Kinds, Right};
use crate::proto::{MESSAGE_BYTES_MAX, OpenFor, Request, Target};
use crate::sys::statx;

/// `dm_init_service`: is there a daemon? (Starts a private one where `DMAPI_AUTOSTART=1` asks for it.)
pub fn init_service() -> Result<(), DmError> {
    ping()
}

/// Is there such an object, or file system?
fn check(handle: &Handle) -> Result<(), DmError> {
    if *handle == Handle::Global {
        return Err(DmError::BadHandle);
    }
    let request = Request::Look {
        handle: *handle,
        kinds: Kinds::OBJECT.or(Kinds::FS),
        open: OpenFor::Look,
    };
    look(&request).map(drop)
}

/// `dm_get_config`; `flag` is a `dm_config_t` (BULKALL 1 ... WILL_RETRY 19).
pub fn get_config(handle: &Handle, flag: u32) -> Result<u64, DmError> {
    if !(1..=19).contains(&flag) {
        return Err(DmError::Invalid);
    }
    check(handle)?;
    Ok(match flag {
        2 => 0, // CREATE_BY_HANDLE
        6 => side::VALUE_BYTES_MAX as u64,
        7 => mounts::facts_of(handle)?.limits.value_bytes_max,
        8 => OBJECT_HANDLE_BYTES as u64,
        9 => u64::from(regions_max()),
        10 => MESSAGE_BYTES_MAX as u64,
        17 => u64::from(mounts::facts_of(handle)?.identity.kind.can_punch()),
        18 => mounts::facts_of(handle)?.limits.total_bytes_max,
        // BULKALL, DTIME_OVERLOAD, LEGACY, LOCK_UPGRADE, OBJ_REF, PENDING, PERS_ATTRIBUTES, PERS_EVENTS,
        // PERS_INHERIT_ATTRIBS, PERS_MANAGED_REGIONS, WILL_RETRY
        _ => 1,
    })
}

/// `dm_get_config_events`: what the file system's source can produce, and messages.
pub fn get_config_events(handle: &Handle) -> Result<EventSet, DmError> {
    check(handle)?;
    let entries = file_systems()?;
    let entry = entries.iter().find(|entry| Some(entry.fs) == handle.fs());
    let events = entry.ok_or(DmError::BadHandle)?.events.0;
    let told = events | EventType::User.bit();
    Ok(EventSet(told & !reading().untold.0))
}

/// `dm_get_dioinfo`.
pub fn get_dioinfo(target: &Target) -> Result<DioInfo, DmError> {
    let block_bytes = mounts::mount_of(&target.handle)?.block_bytes;
    let entered = Entered::begin(target, Right::Shared, Kinds::REGULAR, OpenFor::Look)?;
    let block_bytes = u32::try_from(block_bytes).map_err(|_| DmError::Io)?;
    let rules = statx::direct_io(entered.file()?, block_bytes)?.ok_or(DmError::NotSupported)?;
    let largest = i32::MAX.unsigned_abs();
    Ok(DioInfo {
        memory_bytes: rules.memory_bytes,
        transfer_bytes_min: rules.offset_bytes,
        transfer_bytes_max: largest - largest % rules.offset_bytes,
        direct_only: false,
    })
}

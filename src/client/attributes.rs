//! DM attributes, file attributes, and making them durable.

use crate::model::{AttrMask, DmError, ObjectStat};
use crate::proto::Target;

/// `dm_set_dmattr` (`sync`) and `dm_set_dmattr_nosync`.
pub fn set_dmattr(
    target: &Target,
    name: [u8; 8],
    set_dtime: bool,
    value: &[u8],
    sync: bool,
) -> Result<(), DmError> {
    let _ = (target, name, set_dtime, value, sync);
    Err(DmError::NotImplemented)
}

/// `dm_get_dmattr`.
pub fn get_dmattr(target: &Target, name: [u8; 8]) -> Result<Vec<u8>, DmError> {
    let _ = (target, name);
    Err(DmError::NotImplemented)
}

/// `dm_remove_dmattr` (`sync`) and `dm_remove_dmattr_nosync`.
pub fn remove_dmattr(
    target: &Target,
    name: [u8; 8],
    set_dtime: bool,
    sync: bool,
) -> Result<(), DmError> {
    let _ = (target, name, set_dtime, sync);
    Err(DmError::NotImplemented)
}

/// Name and value.
pub type Attribute = ([u8; 8], Vec<u8>);

/// `dm_getall_dmattr`.
pub fn getall_dmattr(target: &Target) -> Result<Vec<Attribute>, DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_set_inherit`: everything is checked that comes before `ENOSYS`.
pub fn set_inherit(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_clear_inherit`, likewise.
pub fn clear_inherit(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_getall_inherit`, likewise.
pub fn getall_inherit(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_get_fileattr`. What the mask does not name may be filled in, too.
pub fn get_fileattr(target: &Target, mask: AttrMask) -> Result<ObjectStat, DmError> {
    let _ = (target, mask);
    Err(DmError::NotImplemented)
}

/// `dm_fileattr_t`; times are seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FileAttrValues {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    pub dtime: i64,
    pub size: i64,
}

/// `dm_set_fileattr`.
pub fn set_fileattr(
    target: &Target,
    mask: AttrMask,
    values: &FileAttrValues,
) -> Result<(), DmError> {
    let _ = (target, mask, values);
    Err(DmError::NotImplemented)
}

/// `dm_sync_by_handle`.
pub fn sync_by_handle(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_sync_dmattr_by_handle`.
pub fn sync_dmattr_by_handle(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

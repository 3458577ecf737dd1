//! Scans: the entries of a directory, the objects of a file system.

use crate::model::{AttrMask, DmError, ObjectStat};
use crate::proto::Target;

/// One object of a scan.
#[derive(Debug)]
pub struct Found<'a> {
    /// What is known of it.
    pub stat: &'a ObjectStat,
    /// Its name without NUL, of `dm_get_dirattrs`.
    pub name: Option<&'a [u8]>,
    /// The value of the named DM attribute, of `dm_get_bulkall`, if it has it.
    pub value: Option<&'a [u8]>,
}

/// Where a scan stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// `*locp` after the call: behind the last object that `store` took.
    pub location: i64,
    /// There is more: the call returns 1.
    pub more: bool,
}

/// Takes an object into the caller's buffer; `false`: there was no room for it, the scan stops before it.
pub type Store<'a> = &'a mut dyn FnMut(&Found<'_>) -> Result<bool, DmError>;

/// `dm_init_attrloc`.
pub fn init_attrloc(target: &Target) -> Result<i64, DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_get_dirattrs`.
pub fn get_dirattrs(
    target: &Target,
    mask: AttrMask,
    location: i64,
    store: Store<'_>,
) -> Result<Scan, DmError> {
    let _ = (target, mask, location, store);
    Err(DmError::NotImplemented)
}

/// `dm_get_bulkattr`.
pub fn get_bulkattr(
    target: &Target,
    mask: AttrMask,
    location: i64,
    store: Store<'_>,
) -> Result<Scan, DmError> {
    let _ = (target, mask, location, store);
    Err(DmError::NotImplemented)
}

/// `dm_get_bulkall`.
pub fn get_bulkall(
    target: &Target,
    mask: AttrMask,
    name: [u8; 8],
    location: i64,
    store: Store<'_>,
) -> Result<Scan, DmError> {
    let _ = (target, mask, name, location, store);
    Err(DmError::NotImplemented)
}

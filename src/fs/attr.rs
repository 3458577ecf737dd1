//! DM attributes: xattrs `trusted.SGI_DMI_<name>`.

use std::os::fd::BorrowedFd;

use crate::fs::Mount;
use crate::model::DmError;

/// What DM attributes may hold on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttrLimits {
    /// `DM_CONFIG_MAX_ATTRIBUTE_SIZE`.
    pub value_bytes_max: u64,
    /// `DM_CONFIG_TOTAL_ATTRIBUTE_SPACE`: all attributes of one object together.
    pub total_bytes_max: u64,
}

/// A name, NUL padded, and its value.
pub type Attribute = ([u8; 8], Vec<u8>);

/// The value of an attribute; `NotFound` if the object has no such one, `Invalid` for the empty name.
pub fn get(fd: BorrowedFd<'_>, name: &[u8; 8]) -> Result<Vec<u8>, DmError> {
    let _ = (fd, name);
    Err(DmError::NotImplemented)
}

/// Sets or replaces an attribute (worker only). Without `set_dtime` `dt_dtime` stays what it was; ctime
/// moves in any case, no file system here can set an xattr without. `TooBig` beyond the limit, `NoSpace`
/// when the object's space is full; the old value stands then.
pub fn set(
    mount: &Mount,
    fd: BorrowedFd<'_>,
    name: &[u8; 8],
    value: &[u8],
    set_dtime: bool,
) -> Result<(), DmError> {
    let _ = (mount, fd, name, value, set_dtime);
    Err(DmError::NotImplemented)
}

/// Removes an attribute (worker only); `NotFound` if there is none.
pub fn remove(fd: BorrowedFd<'_>, name: &[u8; 8], set_dtime: bool) -> Result<(), DmError> {
    let _ = (fd, name, set_dtime);
    Err(DmError::NotImplemented)
}

/// Names of all attributes, sorted.
pub fn names(fd: BorrowedFd<'_>) -> Result<Vec<[u8; 8]>, DmError> {
    let _ = fd;
    Err(DmError::NotImplemented)
}

/// All attributes with their values, sorted by name.
pub fn list(fd: BorrowedFd<'_>) -> Result<Vec<Attribute>, DmError> {
    let _ = fd;
    Err(DmError::NotImplemented)
}

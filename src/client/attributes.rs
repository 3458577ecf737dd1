//! DM attributes, file attributes, and making them durable.

use super::call::{Entered, ask, inspect, tell};
use super::dialect::reading;
use super::mounts;
use crate::fs::{Want, attr, handle};
use crate::model::{AttrChange, AttrMask, DmError, Inherit, Kinds, ObjectStat, Right};
use crate::proto::{Inspection, OpenFor, Reply, Request, Target};

/// Kinds that can have DM attributes.
const HOLDERS: Kinds = Kinds::REGULAR.or(Kinds::DIRECTORY).or(Kinds::SYMLINK);
/// Permission bits, which are what `DM_AT_MODE` changes.
const PERMISSIONS: u32 = 0o7777;

/// A name that is not empty.
pub(super) fn named(name: [u8; 8]) -> Result<[u8; 8], DmError> {
    if name[0] == 0 {
        return Err(DmError::Invalid);
    }
    // What follows a NUL is not part of the name.
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(8);
    let mut clean = [0; 8];
    clean[..length].copy_from_slice(&name[..length]);
    Ok(clean)
}

/// `dm_set_dmattr` (`sync`) and `dm_set_dmattr_nosync`.
pub fn set_dmattr(
    target: &Target,
    name: [u8; 8],
    set_dtime: bool,
    value: &[u8],
    sync: bool,
) -> Result<(), DmError> {
    tell(&Request::SetAttribute {
        target: *target,
        name: named(name)?,
        set_dtime,
        value: value.to_vec(),
        sync,
    })
}

/// `dm_get_dmattr`.
pub fn get_dmattr(target: &Target, name: [u8; 8]) -> Result<Vec<u8>, DmError> {
    match inspect(target, Inspection::Attribute(named(name)?))? {
        Reply::Value(value) => Ok(value),
        _ => Err(DmError::Io),
    }
}

/// `dm_remove_dmattr` (`sync`) and `dm_remove_dmattr_nosync`.
pub fn remove_dmattr(
    target: &Target,
    name: [u8; 8],
    set_dtime: bool,
    sync: bool,
) -> Result<(), DmError> {
    tell(&Request::RemoveAttribute {
        target: *target,
        name: named(name)?,
        set_dtime,
        sync,
    })
}

/// Name and value.
pub type Attribute = ([u8; 8], Vec<u8>);

/// `dm_getall_dmattr`.
pub fn getall_dmattr(target: &Target) -> Result<Vec<Attribute>, DmError> {
    match inspect(target, Inspection::Attributes)? {
        Reply::Attributes(attributes) => Ok(attributes),
        Reply::Long => {
            let entered = Entered::begin(target, Right::Shared, HOLDERS, OpenFor::Look)?;
            attr::list(entered.file()?)
        }
        _ => Err(DmError::Io),
    }
}

/// `dm_set_inherit`; only the type bits of `mode` count.
pub fn set_inherit(target: &Target, name: [u8; 8], mode: u32) -> Result<(), DmError> {
    tell(&Request::SetInherit {
        target: *target,
        name: named(name)?,
        mode,
    })
}

/// `dm_clear_inherit`.
pub fn clear_inherit(target: &Target, name: [u8; 8]) -> Result<(), DmError> {
    tell(&Request::ClearInherit {
        target: *target,
        name: named(name)?,
    })
}

/// `dm_getall_inherit`.
pub fn getall_inherit(target: &Target) -> Result<Vec<Inherit>, DmError> {
    match ask(&Request::GetAllInherit { target: *target })? {
        Reply::Inherits(inherits) => Ok(inherits),
        _ => Err(DmError::Io),
    }
}

/// What has to be looked up for a mask.
pub(super) fn want(mask: AttrMask) -> Want {
    Want {
        dtime_alone: reading().dtime_is_alone,
        ..Want::of(mask)
    }
}

/// `dm_get_fileattr`. What the mask does not name may be filled in, too.
pub fn get_fileattr(target: &Target, mask: AttrMask) -> Result<ObjectStat, DmError> {
    let reading = reading();
    let asked = match reading.any_mask {
        // Who has it open is dear to find out, and told only to who asks.
        true => AttrMask(AttrMask::READABLE.0 & (!AttrMask::FOPEN.0 | mask.0)),
        false => mask,
    };
    let what = Inspection::Stat {
        mask: asked.0,
        dtime_alone: reading.dtime_is_alone,
    };
    let found = inspect(target, what)?;
    // After the object and the right, in the order of the standard.
    if !asked.is_within(AttrMask::READABLE) {
        return Err(DmError::Invalid);
    }
    match found {
        Reply::Stat(stat) => Ok(*stat),
        _ => Err(DmError::Io),
    }
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
    if !mask.is_within(AttrMask::SETTABLE) {
        return Err(DmError::Invalid);
    }
    let size = match u64::try_from(values.size) {
        Ok(size) => Some(size),
        Err(_) if mask.has(AttrMask::SIZE) => return Err(DmError::Invalid),
        Err(_) => None,
    };
    let time = |bit, seconds| mask.has(bit).then_some((seconds, 0));
    let change = AttrChange {
        mode: mask
            .has(AttrMask::MODE)
            .then_some(values.mode & PERMISSIONS),
        uid: mask.has(AttrMask::UID).then_some(values.uid),
        gid: mask.has(AttrMask::GID).then_some(values.gid),
        atime: time(AttrMask::ATIME, values.atime),
        mtime: time(AttrMask::MTIME, values.mtime),
        ctime: time(AttrMask::CTIME, values.ctime),
        dtime: time(AttrMask::DTIME, values.dtime),
        size: size.filter(|_| mask.has(AttrMask::SIZE)),
        dtime_alone: reading().dtime_is_alone,
    };
    tell(&Request::SetFileAttr {
        target: *target,
        change,
    })
}

/// `dm_sync_by_handle`.
pub fn sync_by_handle(target: &Target) -> Result<(), DmError> {
    tell(&Request::SyncFile { target: *target })
}

/// `dm_sync_dmattr_by_handle`.
pub fn sync_dmattr_by_handle(target: &Target) -> Result<(), DmError> {
    let mount = mounts::mount_of(&target.handle)?;
    let entered = Entered::begin(target, Right::Exclusive, HOLDERS, OpenFor::Look)?;
    handle::sync(&mount, entered.file()?)
}

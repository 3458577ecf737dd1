//! Scans: the entries of a directory, the objects of a file system.

use super::attributes;
use super::call::Entered;
use super::mounts;
use crate::fs::scan::LOCATION_START;
use crate::fs::{BulkScan, DirScan, Mount, Want};
use crate::model::{AttrMask, DmError, Handle, Kinds, ObjectStat, Right};
use crate::proto::{OpenFor, Target};

/// One object of a scan.
#[derive(Debug)]
pub struct Found<'a> {
    /// What is known of it; the handle only if it was asked for.
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
    let kinds = Kinds::DIRECTORY.or(Kinds::FS);
    Entered::begin(target, Right::Shared, kinds, OpenFor::Look)?;
    Ok(LOCATION_START.cast_signed())
}

/// `dm_get_dirattrs`.
pub fn get_dirattrs(
    target: &Target,
    mask: AttrMask,
    location: i64,
    store: Store<'_>,
) -> Result<Scan, DmError> {
    let mount = directory_mount(target)?;
    let kinds = Kinds::DIRECTORY;
    let entered = Entered::begin(target, Right::Shared, kinds, OpenFor::Read)?;
    let want = check(mask)?;
    let dir = entered.file()?.try_clone_to_owned()?;
    let device = mounts::facts_of(&target.handle)?.user_device();
    let mut scan = DirScan::new(&mount, dir, location.cast_unsigned(), want)?;
    loop {
        match scan.next_entry()? {
            None => return Ok(end(scan.location())),
            Some(mut entry) => {
                show(&mut entry.stat, mask, device);
                let found = Found {
                    stat: &entry.stat,
                    name: Some(&entry.name),
                    value: None,
                };
                if !store(&found)? {
                    return Ok(stopped(entry.location));
                }
            }
        }
    }
}

/// The mount of the directory; a file system has none of this kind.
fn directory_mount(target: &Target) -> Result<Mount, DmError> {
    match target.handle {
        Handle::Fs(_) => Err(DmError::WrongKind),
        handle => mounts::mount_of(&handle),
    }
}

/// `dm_get_bulkattr`.
pub fn get_bulkattr(
    target: &Target,
    mask: AttrMask,
    location: i64,
    store: Store<'_>,
) -> Result<Scan, DmError> {
    bulk(target, mask, None, location, store)
}

/// `dm_get_bulkall`.
pub fn get_bulkall(
    target: &Target,
    mask: AttrMask,
    name: [u8; 8],
    location: i64,
    store: Store<'_>,
) -> Result<Scan, DmError> {
    let name = attributes::named(name)?;
    bulk(target, mask, Some(name), location, store)
}

fn bulk(
    target: &Target,
    mask: AttrMask,
    value: Option<[u8; 8]>,
    location: i64,
    store: Store<'_>,
) -> Result<Scan, DmError> {
    let kinds = Kinds::FS;
    let entered = Entered::begin(target, Right::Shared, kinds, OpenFor::Read)?;
    let want = Want {
        value,
        ..check(mask)?
    };
    let mount = Mount::new(entered.file()?.try_clone_to_owned()?)?;
    let device = mounts::facts_of(&target.handle)?.user_device();
    let mut scan = BulkScan::new(&mount, location.cast_unsigned(), want)?;
    loop {
        match scan.next_object()? {
            None => return Ok(end(scan.location())),
            Some(mut object) => {
                show(&mut object.stat, mask, device);
                let found = Found {
                    stat: &object.stat,
                    name: None,
                    value: object.value.as_deref(),
                };
                if !store(&found)? {
                    return Ok(stopped(object.location));
                }
            }
        }
    }
}

fn check(mask: AttrMask) -> Result<Want, DmError> {
    if !mask.is_within(AttrMask::SCANNABLE) {
        return Err(DmError::Invalid);
    }
    Ok(attributes::want(mask))
}

/// What the caller sees of an object: the device that users see, and no handle that was not asked for.
fn show(stat: &mut ObjectStat, mask: AttrMask, device: u64) {
    // One without a handle is another file system's.
    if stat.handle.is_some() {
        stat.device = device;
    }
    if !mask.has(AttrMask::HANDLE) {
        stat.handle = None;
    }
}

fn end(location: u64) -> Scan {
    Scan {
        location: location.cast_signed(),
        more: false,
    }
}

fn stopped(location: u64) -> Scan {
    Scan {
        location: location.cast_signed(),
        more: true,
    }
}

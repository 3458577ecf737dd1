//! Scans: the entries of a directory, and all objects of a file system. Both can be resumed anywhere by a
//! 64-bit location, keep bounded memory, and read ahead by no more than one buffer.

use std::os::fd::OwnedFd;

use crate::fs::Mount;
use crate::model::DmError;
use crate::model::ObjectStat;

/// The location where each scan begins (`dm_init_attrloc`).
pub const LOCATION_START: u64 = 0;

/// Which parts of an [`ObjectStat`] are wanted; handle, generation and stat always come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `events` and `has_regions` (DM_AT_EMASK, DM_AT_PMANR).
    pub state: bool,
    /// `has_attributes` (DM_AT_PATTR).
    pub attributes: bool,
    /// `dtime` (DM_AT_DTIME).
    pub dtime: bool,
    /// `change` (DM_AT_CFLAG).
    pub change: bool,
    /// `Found::value`: this DM attribute (`dm_get_bulkall`).
    pub value: Option<[u8; 8]>,
}

impl Want {
    /// Everything but a value.
    pub const ALL: Self = Self {
        state: true,
        attributes: true,
        dtime: true,
        change: true,
        value: None,
    };
}

/// One object of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// A scan that begins here finds this object first: the location to keep if there is no room for it.
    pub location: u64,
    /// Name in the directory, without NUL; empty in [`BulkScan`].
    pub name: Vec<u8>,
    /// What was wanted. The handle is `None` for an entry that belongs to another file system (a
    /// subvolume of btrfs).
    pub stat: ObjectStat,
    /// The DM attribute asked for, if the object has it.
    pub value: Option<Vec<u8>>,
}

/// The entries of a directory: `.`, `..`, then the others.
#[derive(Debug)]
pub struct DirScan<'a> {
    mount: &'a Mount,
    dir: OwnedFd,
    want: Want,
}

impl<'a> DirScan<'a> {
    /// Begins at a location; `Invalid` if it is none. `dir` was opened for reading and is the scan's own.
    pub fn new(mount: &'a Mount, dir: OwnedFd, location: u64, want: Want) -> Result<Self, DmError> {
        let _ = location;
        Ok(Self { mount, dir, want })
    }

    /// The next entry; `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Found>, DmError> {
        let _ = (self.mount, &self.dir, self.want);
        Err(DmError::NotImplemented)
    }

    /// Where a scan goes on after the last entry that was returned.
    pub fn location(&self) -> u64 {
        LOCATION_START
    }
}

/// All live objects of a file system, each once, in inode order.
#[derive(Debug)]
pub struct BulkScan<'a> {
    mount: &'a Mount,
    want: Want,
}

impl<'a> BulkScan<'a> {
    /// Begins at a location; `Invalid` if it is none.
    pub fn new(mount: &'a Mount, location: u64, want: Want) -> Result<Self, DmError> {
        let _ = location;
        Ok(Self { mount, want })
    }

    /// The next object; `None` at the end.
    pub fn next_object(&mut self) -> Result<Option<Found>, DmError> {
        let _ = (self.mount, self.want);
        Err(DmError::NotImplemented)
    }

    /// Where a scan goes on after the last object that was returned.
    pub fn location(&self) -> u64 {
        LOCATION_START
    }
}

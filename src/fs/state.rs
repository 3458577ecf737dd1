//! What the service keeps with an object: xattr `trusted.dmapi.state`.
//!
//! Bytes: version u8 (1) | postcard of [`ObjectState`] | CRC32C of all before, little endian. A value that
//! is not understood is an error and never "no regions": that would show zeros to a user.

use std::os::fd::BorrowedFd;

use serde::Deserialize;
use serde::Serialize;

use crate::model::DmError;
use crate::model::EventSet;
use crate::model::Region;

/// `DM_CONFIG_MAX_MANAGED_REGIONS`: what fits into the xattr space of ext4 with 1 KiB blocks.
pub const REGIONS_MAX: usize = 32;

/// What is kept with an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectState {
    /// Managed regions, in the order given.
    pub regions: Vec<Region>,
    /// The object's event list.
    pub events: EventSet,
    /// The file was punched from here to its end: the hole there is not a sparse tail.
    pub punched_from: Option<u64>,
    /// Counts the punches; part of `dt_change`.
    pub changes: u32,
    /// `dt_dtime` where it is not ctime.
    pub dtime: Option<(i64, u32)>,
}

impl ObjectState {
    /// Is there nothing to keep?
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
            && self.events.0 == 0
            && self.punched_from.is_none()
            && self.dtime.is_none()
    }
}

/// Why the state of an object cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateError {
    /// Written by a newer version.
    Version(u8),
    /// Damaged.
    Damaged,
    /// The call failed.
    Call(DmError),
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "trusted.dmapi.state has version {version}, this service knows 1: upgrade it"
            ),
            Self::Damaged => f.write_str(
                "trusted.dmapi.state is damaged, so accesses are refused: restore the attribute from a \
                 backup, or remove it if the file's data is complete",
            ),
            Self::Call(error) => write!(f, "trusted.dmapi.state cannot be read or written: {error}"),
        }
    }
}

impl std::error::Error for StateError {}

impl From<StateError> for DmError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Version(_) | StateError::Damaged => Self::Io,
            StateError::Call(error) => error,
        }
    }
}

/// The state of an object; the empty one if none is kept. Any descriptor will do.
pub fn read(fd: BorrowedFd<'_>) -> Result<ObjectState, StateError> {
    let _ = fd;
    Err(StateError::Call(DmError::NotImplemented))
}

/// Replaces the state of an object; an empty one removes the xattr. After an error the old one stands.
/// Changes of single parts go through [`update`].
pub fn write(fd: BorrowedFd<'_>, state: &ObjectState) -> Result<(), StateError> {
    let _ = (fd, state);
    Err(StateError::Call(DmError::NotImplemented))
}

/// Reads, changes and writes the state (if it changed), under a lock against other threads that do the
/// same to this object. Returns the state as it is now. Worker only.
pub fn update(
    fd: BorrowedFd<'_>,
    change: impl FnOnce(&mut ObjectState),
) -> Result<ObjectState, StateError> {
    let _ = (fd, change);
    Err(StateError::Call(DmError::NotImplemented))
}

//! Copies of DM attributes beside the journal, for return-on-destroy: the event comes when the inode is gone.
//!
//! `<state>/attrs/<fsid>/<inode>.<generation>` holds the first 256 bytes of each attribute of one object.

use std::path::Path;

use crate::fs::attr::Attribute;
use crate::model::DmError;
use crate::model::Handle;

/// `DM_CONFIG_MAX_ATTR_ON_DESTROY`.
pub const VALUE_BYTES_MAX: usize = 256;

/// Replaces the copies of an object (cut to [`VALUE_BYTES_MAX`]); none: the file goes. `sync`: durable at return.
/// A crash leaves the old copies or the new ones.
pub fn write(
    state_dir: &Path,
    handle: Handle,
    attributes: &[Attribute],
    sync: bool,
) -> Result<(), DmError> {
    let _ = (state_dir, handle, attributes, sync);
    Err(DmError::NotImplemented)
}

/// The copies of an object, empty if there are none or they are damaged.
pub fn read(state_dir: &Path, handle: Handle) -> Result<Vec<Attribute>, DmError> {
    let _ = (state_dir, handle);
    Err(DmError::NotImplemented)
}

/// Removes the copies of an object, if there are any.
pub fn remove(state_dir: &Path, handle: Handle) -> Result<(), DmError> {
    let _ = (state_dir, handle);
    Err(DmError::NotImplemented)
}

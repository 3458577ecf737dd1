//! Managed regions.

use crate::model::{DmError, Region};
use crate::proto::Target;

/// `DM_CONFIG_MAX_MANAGED_REGIONS`.
pub const REGIONS_MAX: u32 = 32;

/// `dm_get_region`.
pub fn get_region(target: &Target) -> Result<Vec<Region>, DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_set_region` (`sync`) and `dm_set_region_nosync`: is what is kept exactly what was asked?
/// Whether there are too many is for the caller to ask first of [`REGIONS_MAX`], before it reads its buffer.
pub fn set_region(target: &Target, regions: &[Region], sync: bool) -> Result<bool, DmError> {
    let _ = (target, regions, sync);
    Err(DmError::NotImplemented)
}

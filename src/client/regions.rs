//! Managed regions.

use super::call::{ask, inspect};
use super::dialect::reading;
use crate::fs::state;
use crate::model::{DmError, Region};
use crate::proto::{Inspection, Reply, Request, Target};

/// `DM_CONFIG_MAX_MANAGED_REGIONS`.
pub fn regions_max() -> u32 {
    match reading().one_region {
        true => 1,
        false => state::REGIONS_MAX as u32,
    }
}

/// `dm_get_region`.
pub fn get_region(target: &Target) -> Result<Vec<Region>, DmError> {
    match inspect(target, Inspection::Regions)? {
        Reply::Regions(regions) => Ok(regions),
        _ => Err(DmError::Io),
    }
}

/// `dm_set_region` (`sync`) and `dm_set_region_nosync`: is what is kept exactly what was asked?
/// Whether there are too many is for the caller to ask first of [`regions_max`], before it reads its buffer.
pub fn set_region(target: &Target, regions: &[Region], sync: bool) -> Result<bool, DmError> {
    if regions.len() > regions_max() as usize {
        return Err(DmError::TooBig { need: None });
    }
    if regions
        .iter()
        .any(|region| region.flags & !reading().region_flags != 0)
    {
        return Err(DmError::Invalid);
    }
    let kept = kept(regions);
    let is_same = kept == regions;
    let request = Request::SetRegions {
        target: *target,
        regions: kept,
        sync,
    };
    match ask(&request)? {
        Reply::Exact(exact) => Ok(exact && is_same),
        _ => Err(DmError::Io),
    }
}

/// The regions that the dialect makes of these.
fn kept(regions: &[Region]) -> Vec<Region> {
    let mut kept = regions.to_vec();
    if reading().one_region {
        for region in &mut kept {
            (region.offset, region.size) = (0, 0);
        }
    }
    kept
}

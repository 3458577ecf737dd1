//! Managed regions.

use super::call::{Entered, ask};
use crate::fs::state;
use crate::model::{DmError, Kinds, Region, Right};
use crate::proto::{OpenFor, Reply, Request, Target};

/// `DM_CONFIG_MAX_MANAGED_REGIONS`.
pub const REGIONS_MAX: u32 = state::REGIONS_MAX as u32;

/// READ, WRITE, TRUNCATE.
const FLAGS: u32 = 7;

/// `dm_get_region`.
pub fn get_region(target: &Target) -> Result<Vec<Region>, DmError> {
    let entered = Entered::begin(target, Right::Shared, Kinds::REGULAR, OpenFor::Look)?;
    Ok(state::read(entered.file()?)?.regions)
}

/// `dm_set_region` (`sync`) and `dm_set_region_nosync`: is what is kept exactly what was asked?
/// Whether there are too many is for the caller to ask first of [`REGIONS_MAX`], before it reads its buffer.
pub fn set_region(target: &Target, regions: &[Region], sync: bool) -> Result<bool, DmError> {
    if regions.len() > REGIONS_MAX as usize {
        return Err(DmError::TooBig { need: None });
    }
    if regions.iter().any(|region| region.flags & !FLAGS != 0) {
        return Err(DmError::Invalid);
    }
    let request = Request::SetRegions {
        target: *target,
        regions: regions.to_vec(),
        sync,
    };
    match ask(&request)? {
        Reply::Exact(exact) => Ok(exact),
        _ => Err(DmError::Io),
    }
}

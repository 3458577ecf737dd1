//! Rights and holds of tokens. All need a real token.

use super::call::{ask, tell};
use super::dialect::reading;
use crate::model::{DmError, Handle, Right};
use crate::proto::{Reply, Request, Target};

/// The target with its token, or `Invalid`: `DM_NO_TOKEN` can hold nothing.
fn with_token(target: &Target) -> Result<Target, DmError> {
    if matches!(target.handle, Handle::Fs(_)) && !reading().fs_has_rights {
        return Err(DmError::Invalid);
    }
    target.token.map(|_| *target).ok_or(DmError::Invalid)
}

/// `dm_request_right`.
pub fn request_right(target: &Target, wait: bool, right: Right) -> Result<(), DmError> {
    if right == Right::Null {
        return Err(DmError::Invalid);
    }
    tell(&Request::RequestRight {
        target: with_token(target)?,
        wait,
        right,
    })
}

/// `dm_release_right`.
pub fn release_right(target: &Target) -> Result<(), DmError> {
    let target = with_token(target)?;
    tell(&Request::ReleaseRight { target })
}

/// `dm_query_right`; `Null` also where the token does not know the handle.
pub fn query_right(target: &Target) -> Result<Right, DmError> {
    let target = with_token(target)?;
    match ask(&Request::QueryRight { target })? {
        Reply::Right(right) => Ok(right),
        _ => Err(DmError::Io),
    }
}

/// `dm_upgrade_right`.
pub fn upgrade_right(target: &Target) -> Result<(), DmError> {
    let target = with_token(target)?;
    tell(&Request::UpgradeRight { target })
}

/// `dm_downgrade_right`.
pub fn downgrade_right(target: &Target) -> Result<(), DmError> {
    let target = with_token(target)?;
    tell(&Request::DowngradeRight { target })
}

/// `dm_obj_ref_hold`.
pub fn obj_ref_hold(target: &Target) -> Result<(), DmError> {
    let target = with_token(target)?;
    tell(&Request::Hold { target })
}

/// `dm_obj_ref_rele`.
pub fn obj_ref_rele(target: &Target) -> Result<(), DmError> {
    let target = with_token(target)?;
    tell(&Request::Release { target })
}

/// `dm_obj_ref_query`.
pub fn obj_ref_query(target: &Target) -> Result<bool, DmError> {
    let target = with_token(target)?;
    match ask(&Request::QueryHold { target })? {
        Reply::Held(held) => Ok(held),
        _ => Err(DmError::Io),
    }
}

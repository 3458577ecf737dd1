//! Rights and holds of tokens.

use crate::model::{DmError, Right};
use crate::proto::Target;

/// `dm_request_right`.
pub fn request_right(target: &Target, wait: bool, right: Right) -> Result<(), DmError> {
    let _ = (target, wait, right);
    Err(DmError::NotImplemented)
}

/// `dm_release_right`.
pub fn release_right(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_query_right`; `Null` also where the token does not know the handle.
pub fn query_right(target: &Target) -> Result<Right, DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_upgrade_right`.
pub fn upgrade_right(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_downgrade_right`.
pub fn downgrade_right(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_obj_ref_hold`.
pub fn obj_ref_hold(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_obj_ref_rele`.
pub fn obj_ref_rele(target: &Target) -> Result<(), DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

/// `dm_obj_ref_query`.
pub fn obj_ref_query(target: &Target) -> Result<bool, DmError> {
    let _ = target;
    Err(DmError::NotImplemented)
}

//! DM attributes: xattrs `trusted.SGI_DMI_<name>` (see [`store`]).

use std::os::fd::BorrowedFd;

use crate::fs::Mount;
use crate::fs::ObjectState;
use crate::fs::stat;
use crate::fs::state;
use crate::fs::store;
use crate::model::DmError;

/// What DM attributes may hold on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttrLimits {
    /// `DM_CONFIG_MAX_ATTRIBUTE_SIZE`.
    pub value_bytes_max: u64,
    /// `DM_CONFIG_TOTAL_ATTRIBUTE_SPACE`: all attributes of one object together.
    pub total_bytes_max: u64,
}

const PREFIX: &[u8] = b"SGI_DMI_";

/// Is this xattr one that the service keeps? Users see and change none of them through FUSE: a copy that took them
/// along would pass for a stub.
pub fn is_ours(xattr: &[u8]) -> bool {
    let name = xattr
        .strip_prefix(b"trusted.")
        .or_else(|| xattr.strip_prefix(b"user."));
    name.is_some_and(|name| name.starts_with(b"SGI_DMI_") || name.starts_with(b"dmapi."))
}

/// A name, NUL padded, and its value.
pub type Attribute = ([u8; 8], Vec<u8>);

/// The xattr of an attribute, without its prefix. A name ends at its first NUL.
fn xattr_name(name: &[u8; 8]) -> Result<Vec<u8>, DmError> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(8);
    if end == 0 {
        return Err(DmError::Invalid);
    }
    Ok([PREFIX, &name[..end]].concat())
}

/// The attribute of an xattr; `None` for every other xattr.
pub(super) fn attribute_name(xattr: &[u8]) -> Option<[u8; 8]> {
    let suffix = xattr.strip_prefix(PREFIX)?;
    let mut name = [0; 8];
    name.get_mut(..suffix.len())?.copy_from_slice(suffix);
    (name[0] != 0).then_some(name)
}

fn set_error(error: std::io::Error) -> DmError {
    match error.raw_os_error() {
        Some(libc::E2BIG | libc::ERANGE) => DmError::TooBig { need: None },
        _ => error.into(),
    }
}

/// The value of an attribute; `NotFound` if the object has no such one, `Invalid` for the empty name.
pub fn get(fd: BorrowedFd<'_>, name: &[u8; 8]) -> Result<Vec<u8>, DmError> {
    store::get(fd, &xattr_name(name)?)?.ok_or(DmError::NotFound)
}

/// The value of an attribute, if the object has it.
pub(super) fn get_if_any(fd: BorrowedFd<'_>, name: &[u8; 8]) -> Result<Option<Vec<u8>>, DmError> {
    match get(fd, name) {
        Err(DmError::NotFound) => Ok(None),
        value => value.map(Some),
    }
}

/// Sets or replaces an attribute (worker only). Without `set_dtime` `dt_dtime` stays what it was; ctime
/// moves in any case, no file system here can set an xattr without. `TooBig` beyond the limit, `NoSpace`
/// when the object's space is full; the old value stands then.
pub fn set(
    mount: &Mount,
    fd: BorrowedFd<'_>,
    name: &[u8; 8],
    value: &[u8],
    set_dtime: bool,
) -> Result<(), DmError> {
    let xattr = xattr_name(name)?;
    if value.len() as u64 > mount.limits.value_bytes_max {
        return Err(DmError::TooBig { need: None });
    }
    let kept = kept_dtime(fd, set_dtime)?;
    match store::set(fd, &xattr, value).map_err(set_error) {
        // What users are shown of ctime is no reason to fail.
        Err(DmError::NoSpace) => set_instead_of_ctime(fd, &xattr, value)?,
        set => set?,
    }
    settle_dtime(fd, kept);
    Ok(())
}

fn set_instead_of_ctime(fd: BorrowedFd<'_>, xattr: &[u8], value: &[u8]) -> Result<(), DmError> {
    let shown = state::read(fd)?.shown_ctime.ok_or(DmError::NoSpace)?;
    state::clear_ctime(fd)?;
    let set = store::set(fd, xattr, value).map_err(set_error);
    if set.is_err() {
        // It had room before.
        let _ = state::update(fd, |state| state.shown_ctime = Some(shown));
    }
    set
}

/// Removes an attribute (worker only); `NotFound` if there is none.
pub fn remove(fd: BorrowedFd<'_>, name: &[u8; 8], set_dtime: bool) -> Result<(), DmError> {
    let xattr = xattr_name(name)?;
    let kept = kept_dtime(fd, set_dtime)?;
    if !store::remove(fd, &xattr)? {
        return Err(DmError::NotFound);
    }
    // Without attributes dtime is 0, and later ones must not find an old one.
    let kept = if names(fd)?.is_empty() { None } else { kept };
    settle_dtime(fd, kept);
    Ok(())
}

/// The dtime that must not move with this change; `None`: it becomes ctime, as the standard's overloading
/// has it.
fn kept_dtime(fd: BorrowedFd<'_>, set_dtime: bool) -> Result<Option<(i64, u32)>, DmError> {
    if set_dtime || names(fd)?.is_empty() {
        return Ok(None);
    }
    let ctime = stat::stat(fd)?.ctime;
    Ok(Some(dtime(&state::read(fd).unwrap_or_default(), ctime)))
}

/// `dt_dtime` of an object that has attributes.
pub(super) fn dtime(state: &ObjectState, ctime: (i64, u32)) -> (i64, u32) {
    state.dtime.unwrap_or(ctime)
}

/// The attribute is set by now; that there is no room to keep a time beside it does not undo that.
fn settle_dtime(fd: BorrowedFd<'_>, dtime: Option<(i64, u32)>) {
    if let Err(error) = state::update(fd, |state| state.dtime = dtime) {
        tracing::debug!(%error, "dt_dtime is not kept");
    }
}

/// Does a list of what is kept hold an attribute?
pub(super) fn is_any_in(kept: &[Vec<u8>]) -> bool {
    kept.iter().any(|name| attribute_name(name).is_some())
}

fn names_in(kept: &[Vec<u8>]) -> Vec<[u8; 8]> {
    let mut names: Vec<_> = kept
        .iter()
        .filter_map(|name| attribute_name(name))
        .collect();
    names.sort_unstable();
    names
}

/// Names of all attributes, sorted.
pub fn names(fd: BorrowedFd<'_>) -> Result<Vec<[u8; 8]>, DmError> {
    Ok(names_in(&store::names(fd)?))
}

/// All attributes with their values, sorted by name.
pub fn list(fd: BorrowedFd<'_>) -> Result<Vec<Attribute>, DmError> {
    let mut attributes = Vec::new();
    for name in names(fd)? {
        match get(fd, &name) {
            Ok(value) => attributes.push((name, value)),
            // Removed since the names were read.
            Err(DmError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_to_xattrs_and_back() {
        for name in [b"a\0\0\0\0\0\0\0", b"12345678", b"\xff \n/%\0\0\0"] {
            let xattr = xattr_name(name).unwrap();
            assert_eq!(attribute_name(&xattr), Some(*name));
        }
        assert_eq!(xattr_name(&[0; 8]), Err(DmError::Invalid));
    }

    #[test]
    fn what_the_service_keeps_is_told_from_users_attributes() {
        for ours in [
            "trusted.dmapi.state",
            "user.dmapi.state",
            "trusted.SGI_DMI_a",
            "user.SGI_DMI_",
        ] {
            assert!(is_ours(ours.as_bytes()), "{ours}");
        }
        for theirs in [
            "user.dmapi",
            "user.x",
            "security.dmapi.state",
            "trusted.overlay.opaque",
        ] {
            assert!(!is_ours(theirs.as_bytes()), "{theirs}");
        }
    }

    #[test]
    fn only_attributes_are_listed() {
        let list = [
            "SGI_DMI_b",
            "dmapi.state",
            "x",
            "SGI_DMI_",
            "SGI_DMI_123456789",
            "sgi_dmi_c",
            "SGI_DMI_a",
        ];
        let found = names_in(&list.map(|name| name.as_bytes().to_vec()));
        assert_eq!(found, [*b"a\0\0\0\0\0\0\0", *b"b\0\0\0\0\0\0\0"]);
    }
}

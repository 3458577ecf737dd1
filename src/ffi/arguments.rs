//! The arguments that most calls share: session, handle, token, attribute name. They are checked in the order
//! handle, session, token, before anything is looked up.

use std::ffi::{c_int, c_void};

use super::boundary::{Out, read, read_bytes};
use super::constants::{DM_GLOBAL_HLEN, DM_NO_TOKEN};
use super::memory;
use super::types::{dm_attrname_t, dm_sessid_t, dm_token_t};
use crate::client::Target;
use crate::model::handle::{FS_HANDLE_BYTES, OBJECT_HANDLE_BYTES};
use crate::model::{DmError, Handle, SessionId, Token};

/// `DM_GLOBAL_HANP`: an address that is never mapped.
const GLOBAL_HANDLE_ADDRESS: usize = 1;

/// `EINVAL` for what can be no session: negative, `DM_NO_SESSION`.
pub(super) fn session(sid: dm_sessid_t) -> Result<SessionId, DmError> {
    u32::try_from(sid)
        .ok()
        .filter(|number| *number != 0)
        .map(SessionId)
        .ok_or(DmError::Invalid)
}

/// A token that was given; `EINVAL` for `DM_NO_TOKEN`, `DM_INVALID_TOKEN` and other negative ones.
pub(super) fn real_token(token: dm_token_t) -> Result<Token, DmError> {
    u32::try_from(token)
        .ok()
        .filter(|number| *number != 0)
        .map(Token)
        .ok_or(DmError::Invalid)
}

/// A token, or `None` for `DM_NO_TOKEN`.
pub(super) fn token(token: dm_token_t) -> Result<Option<Token>, DmError> {
    if i64::from(token) == DM_NO_TOKEN {
        return Ok(None);
    }
    real_token(token).map(Some)
}

/// Is this `DM_GLOBAL_HANP`, `DM_GLOBAL_HLEN`?
pub(super) fn is_global(hanp: *const c_void, hlen: usize) -> bool {
    hanp.addr() == GLOBAL_HANDLE_ADDRESS && hlen as i64 == DM_GLOBAL_HLEN
}

/// Copies a handle in: `EFAULT` if it cannot be read, `EBADF` if it cannot be one.
pub(super) fn handle(hanp: *const c_void, hlen: usize) -> Result<Handle, DmError> {
    if is_global(hanp, hlen) {
        return Ok(Handle::Global);
    }
    if hlen != FS_HANDLE_BYTES && hlen != OBJECT_HANDLE_BYTES {
        // Readable at all? A wrong length alone is EBADF, also where the bytes behind a good handle are not mapped.
        memory::read(hanp.addr(), &mut [0; 1][..hlen.min(1)])?;
        return Err(DmError::BadHandle);
    }
    Handle::from_bytes(&read_bytes(hanp, hlen)?).ok_or(DmError::BadHandle)
}

/// Session, object and token of a call.
pub(super) fn target(
    sid: dm_sessid_t,
    hanp: *const c_void,
    hlen: usize,
    token_argument: dm_token_t,
) -> Result<Target, DmError> {
    let handle = handle(hanp, hlen)?;
    Ok(Target {
        session: session(sid)?,
        handle,
        token: token(token_argument)?,
    })
}

/// Like [`target`] for calls on the rights of a token: `DM_NO_TOKEN` is `EINVAL`.
pub(super) fn target_of_token(
    sid: dm_sessid_t,
    hanp: *const c_void,
    hlen: usize,
    token: dm_token_t,
) -> Result<Target, DmError> {
    let target = target(sid, hanp, hlen, token)?;
    target.token.map(|_| target).ok_or(DmError::Invalid)
}

/// Copies the name of an attribute in; what follows its first NUL does not count.
pub(super) fn attribute_name(name: *const dm_attrname_t) -> Result<[u8; 8], DmError> {
    let mut name = read(name)?.an_chars;
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name[end..].fill(0);
    }
    Ok(name)
}

/// The places for a handle that the library allocates.
pub(super) struct HandleOut {
    address: Out<usize>,
    length: Out<usize>,
}

impl HandleOut {
    /// `EFAULT` if one of the two cannot be stored.
    pub(super) fn new(hanpp: *mut *mut c_void, hlenp: *mut usize) -> Result<Self, DmError> {
        Ok(Self {
            address: Out::new(hanpp.cast::<usize>())?,
            length: Out::new(hlenp)?,
        })
    }

    /// Allocates a copy of the handle for `dm_handle_free` and stores where it is. 0, as the calls return.
    pub(super) fn give(&self, handle: &Handle) -> Result<c_int, DmError> {
        let bytes = handle.to_bytes();
        // SAFETY: malloc has no requirements.
        let room = unsafe { libc::malloc(bytes.len()) };
        if room.is_null() {
            return Err(DmError::NoMemory);
        }
        // SAFETY: `room` is new, not null, and that long.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), room.cast(), bytes.len()) };
        self.address.set(room.expose_provenance())?;
        self.length.set(bytes.len())?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_tokens_are_positive() {
        for bad in [0, -100, i32::MIN] {
            assert_eq!(session(bad), Err(DmError::Invalid));
            assert_eq!(token(bad), Err(DmError::Invalid));
        }
        assert_eq!(token(-1), Ok(None));
        assert_eq!(real_token(-1), Err(DmError::Invalid));
        assert_eq!(session(i32::MAX), Ok(SessionId(0x7fff_ffff)));
    }

    #[test]
    fn a_handle_of_wrong_length_is_ebadf_and_unreadable_efault() {
        let bytes = [1u8; 64];
        let at = bytes.as_ptr().cast();
        for length in [0, 1, 7, 9, 23, 25, usize::MAX] {
            assert_eq!(handle(at, length), Err(DmError::BadHandle), "{length}");
        }
        assert_eq!(handle(std::ptr::null(), 0), Err(DmError::BadHandle));
        assert_eq!(handle(std::ptr::null(), 8), Err(DmError::BadAddress));
        let global = std::ptr::without_provenance(1);
        assert_eq!(handle(global, 1), Ok(Handle::Global));
        assert_eq!(handle(global, 8), Err(DmError::BadAddress));
    }

    #[test]
    fn a_name_ends_at_its_first_nul() {
        let name = dm_attrname_t {
            an_chars: *b"ab\0junk!",
        };
        assert_eq!(attribute_name(&raw const name), Ok(*b"ab\0\0\0\0\0\0"));
    }
}

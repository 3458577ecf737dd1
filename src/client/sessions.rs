//! Sessions.

use crate::model::{DmError, SessionId};

/// `dm_create_session`: `old` `None` makes a new one, else it is assumed. `info` has no NUL.
pub fn create_session(old: Option<SessionId>, info: &[u8]) -> Result<SessionId, DmError> {
    let _ = (old, info);
    Err(DmError::NotImplemented)
}

/// `dm_destroy_session`.
pub fn destroy_session(session: SessionId) -> Result<(), DmError> {
    let _ = session;
    Err(DmError::NotImplemented)
}

/// `dm_getall_sessions`, in the order of creation.
pub fn getall_sessions() -> Result<Vec<SessionId>, DmError> {
    Err(DmError::NotImplemented)
}

/// `dm_query_session`: its string without NUL.
pub fn query_session(session: SessionId) -> Result<Vec<u8>, DmError> {
    let _ = session;
    Err(DmError::NotImplemented)
}

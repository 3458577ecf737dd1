//! Sessions.

use super::call::{ask, tell};
use super::dialect::reading;
use crate::model::{DmError, SessionId};
use crate::proto::{Reply, Request};

/// `dm_create_session`: `old` `None` makes a new one, else it is assumed. `info` has no NUL.
pub fn create_session(old: Option<SessionId>, info: &[u8]) -> Result<SessionId, DmError> {
    let info = info.to_vec();
    let request = match old {
        Some(session) if reading().session_keeps_id => Request::RenameSession { session, info },
        _ => Request::CreateSession { old, info },
    };
    match ask(&request)? {
        Reply::Session(session) => Ok(session),
        _ => Err(DmError::Io),
    }
}

/// `dm_destroy_session`.
pub fn destroy_session(session: SessionId) -> Result<(), DmError> {
    tell(&Request::DestroySession { session })
}

/// `dm_getall_sessions`, in the order of creation.
pub fn getall_sessions() -> Result<Vec<SessionId>, DmError> {
    match ask(&Request::GetAllSessions)? {
        Reply::Sessions(sessions) => Ok(sessions),
        _ => Err(DmError::Io),
    }
}

/// `dm_query_session`: its string without NUL.
pub fn query_session(session: SessionId) -> Result<Vec<u8>, DmError> {
    match ask(&Request::QuerySession { session })? {
        Reply::Info(info) => Ok(info),
        _ => Err(DmError::Io),
    }
}

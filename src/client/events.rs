//! Events and tokens.

use crate::model::{Answer, DmError, SessionId, Token};

/// `dm_get_events`. `deliver` gets the messages as C sees them (the whole of `bufp`, its length is `*rlenp`) and copies
/// them to the caller; only when it succeeded are they taken from the queue. It may be called more than
/// once, each time for other messages: the last call counts. `TooBig` says what the first message needs.
pub fn get_events(
    session: SessionId,
    count_max: u32,
    wait: bool,
    room_bytes: u64,
    deliver: &mut dyn FnMut(&[u8]) -> Result<(), DmError>,
) -> Result<(), DmError> {
    let _ = (session, count_max, wait, room_bytes, deliver);
    Err(DmError::NotImplemented)
}

/// `dm_respond_event`; the pair of response and reterror was checked.
pub fn respond_event(session: SessionId, token: Token, answer: Answer) -> Result<(), DmError> {
    let _ = (session, token, answer);
    Err(DmError::NotImplemented)
}

/// `dm_pending`.
pub fn pending(session: SessionId, token: Token, delay_ms: u64) -> Result<(), DmError> {
    let _ = (session, token, delay_ms);
    Err(DmError::NotImplemented)
}

/// `dm_move_event`: the token in the target session.
pub fn move_event(from: SessionId, token: Token, to: SessionId) -> Result<Token, DmError> {
    let _ = (from, token, to);
    Err(DmError::NotImplemented)
}

/// `dm_find_eventmsg`: the message as C sees it.
pub fn find_eventmsg(session: SessionId, token: Token) -> Result<Vec<u8>, DmError> {
    let _ = (session, token);
    Err(DmError::NotImplemented)
}

/// `dm_getall_tokens`.
pub fn getall_tokens(session: SessionId) -> Result<Vec<Token>, DmError> {
    let _ = session;
    Err(DmError::NotImplemented)
}

/// `dm_create_userevent`.
pub fn create_userevent(session: SessionId, data: &[u8]) -> Result<Token, DmError> {
    let _ = (session, data);
    Err(DmError::NotImplemented)
}

/// `dm_send_msg`; a synchronous one waits for its answer, and an ABORT is the error.
pub fn send_msg(target: SessionId, synchronous: bool, data: &[u8]) -> Result<(), DmError> {
    let _ = (target, synchronous, data);
    Err(DmError::NotImplemented)
}

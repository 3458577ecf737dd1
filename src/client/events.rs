//! Events and tokens.

use super::call::{Call, ask, tell};
use super::dialect::reading;
use crate::model::message;
use crate::model::{Answer, DmError, Event, EventBody, Sequence, SessionId, Token};
use crate::proto::{MESSAGE_BYTES_MAX, Reply, Request};

/// `ev_nodeid` of a node that is alone.
const NODE: u32 = 0;

/// The messages as C sees them.
fn encoded(events: &[Event]) -> Vec<u8> {
    let mut events = events.to_vec();
    if reading().mapping_is_whole {
        events.iter_mut().for_each(tell_whole_file);
    }
    message::encode(&events, NODE)
}

fn tell_whole_file(event: &mut Event) {
    if let EventBody::Data {
        offset,
        length,
        mapped: Some(size),
        ..
    } = &mut event.body
    {
        (*offset, *length) = (0, *size);
    }
}

/// Receives events (`dm_get_events`).
///
/// `deliver` gets the messages as C sees them (all of `bufp`, their length is `*rlenp`) and copies them; only when it succeeded are they taken from the queue, so
/// neither a bad address nor the death of anybody loses one. It may be called more than once (when the
/// worker died in between), then the last call counts. `TooBig` says what the first message needs.
pub fn get_events(
    session: SessionId,
    count_max: u32,
    wait: bool,
    room_bytes: u64,
    deliver: &mut dyn FnMut(&[u8]) -> Result<(), DmError>,
) -> Result<(), DmError> {
    let mut call = Call::begin()?;
    let wish = Request::GetEvents {
        session,
        count_max,
        bytes_max: room_bytes,
        wait,
    };
    let outcome = reserve_and_commit(session, &wish, &mut |request| call.ask(request), deliver);
    if outcome.is_err() {
        // Gives back what was reserved, if anything.
        call.leave();
    }
    outcome
}

fn reserve_and_commit(
    session: SessionId,
    wish: &Request,
    ask: &mut dyn FnMut(&Request) -> Result<Reply, DmError>,
    deliver: &mut dyn FnMut(&[u8]) -> Result<(), DmError>,
) -> Result<(), DmError> {
    loop {
        let Reply::Events(events) = ask(wish)? else {
            return Err(DmError::Io);
        };
        deliver(&encoded(&events))?;
        let sequences: Vec<Sequence> = events.iter().map(|event| event.sequence).collect();
        match ask(&Request::Commit { session, sequences }) {
            // The worker died and the reservation with it: nothing was taken.
            Err(DmError::Again) => {}
            outcome => return outcome.map(drop),
        }
    }
}

/// `dm_respond_event`; the pair of response and reterror was checked.
pub fn respond_event(session: SessionId, token: Token, answer: Answer) -> Result<(), DmError> {
    tell(&Request::RespondEvent {
        session,
        token,
        answer,
    })
}

/// `dm_pending`.
pub fn pending(session: SessionId, token: Token, delay_ms: u64) -> Result<(), DmError> {
    tell(&Request::Pending {
        session,
        token,
        delay_ms,
    })
}

/// `dm_move_event`: the token in the target session.
pub fn move_event(from: SessionId, token: Token, to: SessionId) -> Result<Token, DmError> {
    match ask(&Request::MoveEvent { from, token, to })? {
        Reply::Token(moved) => Ok(moved),
        Reply::Nothing => Ok(token),
        _ => Err(DmError::Io),
    }
}

/// `dm_find_eventmsg`: the message as C sees it.
pub fn find_eventmsg(session: SessionId, token: Token) -> Result<Vec<u8>, DmError> {
    match ask(&Request::FindEvent { session, token })? {
        Reply::Events(events) => Ok(encoded(&events)),
        _ => Err(DmError::Io),
    }
}

/// `dm_getall_tokens`.
pub fn getall_tokens(session: SessionId) -> Result<Vec<Token>, DmError> {
    match ask(&Request::GetAllTokens { session })? {
        Reply::Tokens(tokens) => Ok(tokens),
        _ => Err(DmError::Io),
    }
}

/// `dm_create_userevent`.
pub fn create_userevent(session: SessionId, data: &[u8]) -> Result<Token, DmError> {
    let data = checked(data)?;
    match ask(&Request::CreateUserEvent { session, data })? {
        Reply::Token(token) => Ok(token),
        _ => Err(DmError::Io),
    }
}

/// `dm_send_msg`; a synchronous one waits for its answer, and an ABORT is the error.
pub fn send_msg(session: SessionId, synchronous: bool, data: &[u8]) -> Result<(), DmError> {
    let request = Request::SendMessage {
        session,
        synchronous,
        data: checked(data)?,
    };
    match ask(&request)? {
        Reply::Nothing | Reply::Answered(Answer::Continue | Answer::DontCare) => Ok(()),
        Reply::Answered(Answer::Abort(errno)) => Err(DmError::from_errno(errno)),
        _ => Err(DmError::Io),
    }
}

fn checked(data: &[u8]) -> Result<Vec<u8>, DmError> {
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(DmError::TooBig { need: None });
    }
    Ok(data.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventType, Origin};

    fn event(number: u64) -> Event {
        Event {
            sequence: Sequence(number),
            token: None,
            kind: EventType::User,
            body: EventBody::User(Vec::new()),
            origin: Origin::Nobody,
            pid: 0,
            made_ms: 0,
        }
    }

    const SESSION: SessionId = SessionId(1);

    /// Answers what is asked from a list; gives what was committed.
    fn run(
        mut replies: Vec<Result<Reply, DmError>>,
        deliver: &mut dyn FnMut(&[u8]) -> Result<(), DmError>,
    ) -> (Result<(), DmError>, Vec<Sequence>) {
        let mut committed = Vec::new();
        let outcome = reserve_and_commit(
            SESSION,
            &Request::Ping,
            &mut |request| {
                if let Request::Commit { sequences, .. } = request {
                    committed.extend(sequences);
                }
                replies.remove(0)
            },
            deliver,
        );
        assert!(replies.is_empty());
        (outcome, committed)
    }

    #[test]
    fn a_reservation_that_died_with_its_worker_is_made_anew() {
        let mut last = Vec::new();
        let (outcome, committed) = run(
            vec![
                Ok(Reply::Events(vec![event(1), event(2)])),
                Err(DmError::Again),
                Ok(Reply::Events(vec![event(1)])),
                Ok(Reply::Nothing),
            ],
            &mut |messages| {
                last = messages.to_vec();
                Ok(())
            },
        );
        assert_eq!(outcome, Ok(()));
        assert_eq!(last, message::encode(&[event(1)], NODE));
        assert_eq!(committed.last(), Some(&Sequence(1)));
    }

    #[test]
    fn what_could_not_be_copied_is_not_taken() {
        let (outcome, committed) = run(vec![Ok(Reply::Events(vec![event(1)]))], &mut |_| {
            Err(DmError::BadAddress)
        });
        assert_eq!(outcome, Err(DmError::BadAddress));
        assert!(committed.is_empty());
    }
}

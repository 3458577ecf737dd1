//! Events at their session: delivery, tokens, answers, moves.

use super::super::limits::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use super::{Answer, DmError, Event, EventType, Sequence, SessionId, Token};
use super::{Model, Place, Plan, Record};

impl Model {
    /// The messages for a `dm_get_events`: from the front of the queue, without those that `reserved`
    /// says are on their way to another caller. `count_max` 0: as many as fit. `EAGAIN` when there are none,
    /// `E2BIG` with its size when the first does not fit. At most [`BATCH_EVENTS_MAX`] and
    /// [`BATCH_BYTES_MAX`] at a time; the caller comes again.
    pub fn next_messages(
        &self,
        session: SessionId,
        count_max: u32,
        bytes_max: u64,
        reserved: &dyn Fn(Sequence) -> bool,
    ) -> Result<Vec<Event>, DmError> {
        self.check_session(session)?;
        let count_max = match count_max as usize {
            0 => BATCH_EVENTS_MAX,
            wanted => wanted.min(BATCH_EVENTS_MAX),
        };
        let mut found: Vec<Event> = Vec::new();
        let mut bytes = 0;
        let free = self.queue_of(session).filter(|one| !reserved(*one));
        for event in free.filter_map(|sequence| self.events.get(sequence)) {
            let more = event.message_bytes() as u64;
            if bytes + more > bytes_max.min(BATCH_BYTES_MAX) {
                if found.is_empty() {
                    return Err(DmError::TooBig { need: Some(more) });
                }
                break;
            }
            bytes += more;
            found.push(event.clone());
            if found.len() == count_max {
                break;
            }
        }
        match found.is_empty() {
            true => Err(DmError::Again),
            false => Ok(found),
        }
    }

    /// The messages are with the caller. `EAGAIN` if one of them is not in the queue any more.
    pub fn plan_commit(
        &self,
        session: SessionId,
        sequences: &[Sequence],
    ) -> Result<Plan<()>, DmError> {
        self.check_session(session)?;
        if sequences.len() > BATCH_EVENTS_MAX {
            return Err(DmError::Invalid);
        }
        let there = |sequence: &Sequence| self.queues.has((session, *sequence));
        let unique = (1..sequences.len()).all(|at| !sequences[..at].contains(&sequences[at]));
        if !unique || !sequences.iter().all(there) {
            return Err(DmError::Again);
        }
        let sequences = sequences.to_vec();
        Ok(Plan::one(Record::EventsReceived { session, sequences }, ()))
    }

    /// The outstanding event of a token. Reference section 2.0, token rules (b) to (d): `EINVAL` for a
    /// dead session, a token never issued, or one of another session; `ESRCH` for one that this session
    /// answered, or whose event it has not received.
    pub fn find_event(&self, session: SessionId, token: Token) -> Result<&Event, DmError> {
        self.check_session(session)?;
        let Some(&sequence) = self.tokens.get(token) else {
            return Err(match self.answered.get(token) {
                Some(owner) if *owner != session => DmError::Invalid,
                Some(_) => DmError::TokenGone,
                None if self.was_issued(token) => DmError::TokenGone,
                None => DmError::Invalid,
            });
        };
        match self.places.get(sequence) {
            Some(Place::Outstanding(owner)) if *owner == session => {
                self.events.get(sequence).ok_or(DmError::Invalid)
            }
            Some(Place::Queued(owner)) if *owner == session => Err(DmError::TokenGone),
            _ => Err(DmError::Invalid),
        }
    }

    /// May the session use the token? As [`Model::find_event`].
    pub fn check_token(&self, session: SessionId, token: Token) -> Result<(), DmError> {
        self.find_event(session, token).map(|_| ())
    }

    /// `dm_getall_tokens`: outstanding ones, ascending.
    pub fn tokens(&self, session: SessionId) -> Result<Vec<Token>, DmError> {
        self.check_session(session)?;
        Ok(self.tokens_of(session).collect())
    }

    /// `dm_respond_event`. DONTCARE (MOUNT only) offers the event to the next interested session.
    pub fn plan_respond(
        &self,
        session: SessionId,
        token: Token,
        answer: Answer,
    ) -> Result<Plan<()>, DmError> {
        let event = self.find_event(session, token)?;
        let record = match answer {
            Answer::Abort(errno) if errno <= 0 => return Err(DmError::Invalid),
            Answer::DontCare if event.kind != EventType::Mount => return Err(DmError::Invalid),
            Answer::DontCare => {
                let sequence = event.sequence;
                let mut asked = self.asked.get(sequence).cloned().unwrap_or_default();
                asked.push(session);
                let next = self.next_for_mount(&asked);
                Record::MountAsked {
                    sequence,
                    session,
                    next: next.map(|session| (session, self.next_token())),
                }
            }
            Answer::Continue | Answer::Abort(_) => Record::EventAnswered {
                session,
                token,
                answer,
            },
        };
        Ok(Plan::one(record, ()))
    }

    /// `dm_move_event`: `ENOENT` for a token of a third session. The number stays.
    pub fn plan_move(
        &self,
        from: SessionId,
        token: Token,
        to: SessionId,
    ) -> Result<Plan<Token>, DmError> {
        self.check_session(from)?;
        self.check_session(to)?;
        match self.find_event(from, token) {
            Ok(_) => Ok(Plan::one(Record::EventMoved { from, token, to }, token)),
            Err(DmError::Invalid) if self.was_issued(token) => Err(DmError::NotFound),
            Err(error) => Err(error),
        }
    }
}

//! Events: how they enter, reach a session, and end. Where a token may be used.

use serde::{Deserialize, Serialize};

use super::super::event::EventBody;
use super::super::ids::RequestId;
use super::super::limits::{
    ANSWERED_MAX, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX, EVENTS_MAX, ID_MAX,
    MESSAGE_DATA_BYTES_MAX,
};
use super::{Answer, DmError, Event, EventType, FsId, Origin, Sequence, Serial, SessionId, Token};
use super::{Corrupt, Effect, Model, Plan, Record};

/// Where a live event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// No session has the disposition; it waits on the file system.
    Waiting(FsId),
    /// Undelivered.
    Queued(SessionId),
    /// Delivered, not answered.
    Outstanding(SessionId),
}

/// An event that a source or a mount brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The file system that it happens on.
    pub fs: FsId,
    /// What happens. Never `User`.
    pub kind: EventType,
    /// What it says.
    pub body: EventBody,
    /// Who waits.
    pub origin: Origin,
    /// Process that caused it, 0 if unknown.
    pub pid: u32,
    /// CLOCK_REALTIME in milliseconds.
    pub made_ms: u64,
}

/// What becomes of a [`NewEvent`] when its plan is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It enters a session's queue.
    Queued {
        /// Its number.
        sequence: Sequence,
        /// Whose queue.
        session: SessionId,
    },
    /// It is synchronous and nobody has its disposition: it waits for one.
    Waits {
        /// Its number.
        sequence: Sequence,
    },
    /// It is dropped; the records only count it.
    Dropped,
    /// Nobody is asked: the mount or unmount proceeds.
    Proceeds,
    /// The event of this serial is there already, from before a restart.
    Known {
        /// Its number.
        sequence: Sequence,
    },
}

impl Model {
    /// Queues an event of a file system. Whether a list or region enables it is the source's to know.
    /// `EBADF` where the file system is not served.
    pub fn plan_event(&self, new: NewEvent) -> Result<Plan<Fate>, DmError> {
        self.file_system(new.fs)?;
        if let Origin::Source(serial) = new.origin
            && let Some(&sequence) = self.serials.get(serial)
        {
            return Ok(Plan::new(Vec::new(), Fate::Known { sequence }));
        }
        let (fs, kind) = (new.fs, new.kind);
        let session = match kind {
            EventType::Mount => self.next_for_mount(&[]),
            _ => self.disposition(fs, kind),
        };
        let fate = match session {
            Some(session) => Fate::Queued {
                sequence: self.next_sequence(),
                session,
            },
            None => self.fate_without_session(kind, new.origin),
        };
        let records = match fate {
            Fate::Queued { .. } | Fate::Waits { .. } => {
                let token = (!kind.is_asynchronous()).then(|| self.next_token());
                vec![Record::EventQueued {
                    session,
                    fs: Some(fs),
                    event: Event {
                        sequence: self.next_sequence(),
                        token,
                        kind,
                        body: new.body,
                        origin: new.origin,
                        pid: new.pid,
                        made_ms: new.made_ms,
                    },
                }]
            }
            Fate::Dropped => vec![Record::EventUnwanted { fs, kind }],
            Fate::Proceeds | Fate::Known { .. } => Vec::new(),
        };
        Ok(Plan::new(records, fate))
    }

    fn fate_without_session(&self, kind: EventType, origin: Origin) -> Fate {
        match kind {
            EventType::Mount | EventType::PreUnmount => Fate::Proceeds,
            EventType::Unmount => Fate::Dropped,
            _ if kind.is_asynchronous() || origin == Origin::Nobody => Fate::Dropped,
            _ => Fate::Waits {
                sequence: self.next_sequence(),
            },
        }
    }

    /// Is there room for more events? If not, sources wait until some are answered.
    pub fn has_room(&self) -> bool {
        self.events.len() < EVENTS_MAX && self.counters.event_bytes < EVENT_BYTES_MAX
    }

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

    /// `dm_create_userevent`.
    pub fn plan_user_event(
        &self,
        session: SessionId,
        data: Vec<u8>,
        pid: u32,
        made_ms: u64,
    ) -> Result<Plan<Token>, DmError> {
        self.check_message(session, &data)?;
        let token = self.next_token();
        let event = self.user_message(Some(token), data, Origin::Nobody, pid, made_ms);
        Ok(Plan::one(
            Record::UserEventCreated { session, event },
            token,
        ))
    }

    /// `dm_send_msg`: `waiter` is the request that waits for the answer of a SYNC message.
    pub fn plan_send_message(
        &self,
        session: SessionId,
        waiter: Option<RequestId>,
        data: Vec<u8>,
        pid: u32,
        made_ms: u64,
    ) -> Result<Plan<Sequence>, DmError> {
        self.check_message(session, &data)?;
        let token = waiter.map(|_| self.next_token());
        let origin = waiter.map_or(Origin::Nobody, Origin::Request);
        let event = self.user_message(token, data, origin, pid, made_ms);
        let sequence = event.sequence;
        let record = Record::EventQueued {
            session: Some(session),
            fs: None,
            event,
        };
        Ok(Plan::one(record, sequence))
    }

    fn check_message(&self, session: SessionId, data: &[u8]) -> Result<(), DmError> {
        if data.len() > MESSAGE_DATA_BYTES_MAX {
            return Err(DmError::TooBig { need: None });
        }
        self.check_session(session)?;
        match self.has_room() {
            true => Ok(()),
            false => Err(DmError::NoMemory),
        }
    }

    fn user_message(
        &self,
        token: Option<Token>,
        data: Vec<u8>,
        origin: Origin,
        pid: u32,
        made_ms: u64,
    ) -> Event {
        Event {
            sequence: self.next_sequence(),
            token,
            kind: EventType::User,
            body: EventBody::User(data),
            origin,
            pid,
            made_ms,
        }
    }

    /// The operation behind a serial is gone. An event that nobody has (`reserved`: on its way to a caller)
    /// goes too; one that somebody has stays and must be answered. `None`: there is no such event.
    pub fn plan_withdraw(
        &self,
        serial: Serial,
        reserved: &dyn Fn(Sequence) -> bool,
    ) -> Option<Plan<()>> {
        let sequence = *self.serials.get(serial)?;
        self.plan_originator_gone(sequence, reserved)
    }

    /// The same for any event that has an originator, such as a mount whose requester died.
    pub fn plan_originator_gone(
        &self,
        sequence: Sequence,
        reserved: &dyn Fn(Sequence) -> bool,
    ) -> Option<Plan<()>> {
        let record = match self.places.get(sequence)? {
            Place::Waiting(_) => Record::EventWithdrawn { sequence },
            Place::Queued(_) if !reserved(sequence) => Record::EventWithdrawn { sequence },
            Place::Queued(_) | Place::Outstanding(_) => Record::EventOrphaned { sequence },
        };
        Some(Plan::one(record, ()))
    }

    /// Is there a live event of this serial?
    pub fn knows(&self, serial: Serial) -> bool {
        self.serials.has(serial)
    }

    /// All live events of sources: after a restart each must be held by a source, or be withdrawn.
    pub fn source_events(&self) -> Vec<(Serial, Sequence)> {
        self.serials
            .iter()
            .map(|(serial, sequence)| (serial, *sequence))
            .collect()
    }

    /// All live events and where they are, in order of their numbers.
    pub fn live_events(&self) -> impl Iterator<Item = (&Event, Place)> {
        self.events
            .iter()
            .filter_map(|(sequence, event)| Some((event, *self.places.get(sequence)?)))
    }

    /// A live event by its number.
    pub fn event(&self, sequence: Sequence) -> Option<(&Event, Place)> {
        Some((self.events.get(sequence)?, *self.places.get(sequence)?))
    }

    fn next_sequence(&self) -> Sequence {
        Sequence(self.counters.next_sequence)
    }

    fn next_token(&self) -> Token {
        let mut token = Token(self.counters.next_token);
        // Ends: there are far fewer live tokens than numbers.
        while self.tokens.has(token) {
            token = token_after(token);
        }
        token
    }

    fn was_issued(&self, token: Token) -> bool {
        (1..=ID_MAX).contains(&token.0)
            && (self.counters.tokens_wrapped || token.0 < self.counters.next_token)
    }

    /// The interested session with the lowest id that was not asked.
    fn next_for_mount(&self, asked: &[SessionId]) -> Option<SessionId> {
        self.sessions
            .iter()
            .find(|(session, row)| row.wants_mounts && !asked.contains(session))
            .map(|(session, _)| session)
    }

    fn take_token(&mut self, token: Token, sequence: Sequence) -> Result<(), Corrupt> {
        let next = self.counters.next_token;
        let ahead = match token.0 >= next {
            true => token.0 - next,
            false => token.0 + (ID_MAX - next),
        };
        // Half of all numbers must have gone by before one is given again.
        if !(1..=ID_MAX).contains(&token.0) || self.tokens.has(token) || ahead >= ID_MAX / 2 {
            return Err(Corrupt::new(format!("token {} is not new", token.0)));
        }
        self.counters.tokens_wrapped |= token.0 < next || token.0 == ID_MAX;
        self.counters.next_token = token_after(token).0;
        self.answered.remove(token);
        self.tokens.insert(token, sequence);
        Ok(())
    }

    fn add_event(&mut self, event: &Event, place: Place) -> Result<(), Corrupt> {
        let sequence = event.sequence;
        if sequence.0 < self.counters.next_sequence || sequence.0 == u64::MAX {
            return Err(Corrupt::new(format!("event {} is not new", sequence.0)));
        }
        if let Some(token) = event.token {
            self.take_token(token, sequence)?;
        }
        if let Origin::Source(serial) = event.origin {
            if self.serials.has(serial) {
                return Err(Corrupt::new(format!("serial {} has an event", serial.0)));
            }
            self.serials.insert(serial, sequence);
        }
        self.counters.next_sequence = sequence.0 + 1;
        self.counters.event_bytes += event.message_bytes() as u64;
        self.events.insert(sequence, event.clone());
        self.put(sequence, event.token, place);
        Ok(())
    }

    /// Enters a place; the event is in none.
    fn put(&mut self, sequence: Sequence, token: Option<Token>, place: Place) {
        match (place, token) {
            (Place::Waiting(fs), _) => self.waiting.insert((fs, sequence), ()),
            (Place::Queued(session), _) => self.queues.insert((session, sequence), ()),
            (Place::Outstanding(session), Some(token)) => {
                self.outstanding.insert((session, token), ());
            }
            (Place::Outstanding(_), None) => unreachable!("callers give a token"),
        }
        self.places.insert(sequence, place);
    }

    /// Leaves its place.
    fn lift(&mut self, sequence: Sequence, token: Option<Token>) {
        match (self.places.get(sequence).copied(), token) {
            (Some(Place::Waiting(fs)), _) => self.waiting.remove((fs, sequence)),
            (Some(Place::Queued(session)), _) => self.queues.remove((session, sequence)),
            (Some(Place::Outstanding(session)), Some(token)) => {
                self.outstanding.remove((session, token));
            }
            (Some(Place::Outstanding(_)), None) | (None, _) => {}
        }
        self.places.remove(sequence);
    }

    fn live(&self, sequence: Sequence) -> Result<(&Event, Place), Corrupt> {
        self.event(sequence)
            .ok_or_else(|| Corrupt::new(format!("event {} does not exist", sequence.0)))
    }

    /// The outstanding event of a token of the session.
    fn outstanding_row(&self, session: SessionId, token: Token) -> Result<&Event, Corrupt> {
        self.tokens
            .get(token)
            .filter(|_| self.outstanding.has((session, token)))
            .and_then(|sequence| self.events.get(*sequence))
            .ok_or_else(|| {
                Corrupt::new(format!(
                    "token {} is not outstanding in session {}",
                    token.0, session.0
                ))
            })
    }

    /// Ends an event and everything that hangs on it but the memory of its token.
    pub(super) fn drop_event(&mut self, sequence: Sequence) {
        let Some(event) = self.events.get(sequence) else {
            return;
        };
        let (token, origin) = (event.token, event.origin);
        self.counters.event_bytes -= event.message_bytes() as u64;
        self.lift(sequence, token);
        if let Some(token) = token {
            self.tokens.remove(token);
        }
        if let Origin::Source(serial) = origin {
            self.serials.remove(serial);
        }
        self.asked.remove(sequence);
        self.events.remove(sequence);
    }

    fn remember_answered(&mut self, token: Token, session: SessionId) {
        self.answered.insert(token, session);
        if self.answered.len() > ANSWERED_MAX {
            let lowest = self.answered.keys().next();
            self.answered.remove(lowest.unwrap_or(token));
        }
    }

    pub(super) fn event_queued(
        &mut self,
        session: Option<SessionId>,
        fs: Option<FsId>,
        event: &Event,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        let place = match (session, fs) {
            (Some(session), _) => {
                self.session_row(session)?;
                Place::Queued(session)
            }
            (None, Some(fs)) if self.file_systems.has(fs) && event.token.is_some() => {
                Place::Waiting(fs)
            }
            (None, _) => return Err(Corrupt::new("an event has neither session nor file system")),
        };
        self.add_event(event, place)?;
        effects.extend(session.map(|session| Effect::Queued { session }));
        Ok(())
    }

    pub(super) fn user_event_created(
        &mut self,
        session: SessionId,
        event: &Event,
    ) -> Result<(), Corrupt> {
        self.session_row(session)?;
        if event.token.is_none() {
            return Err(Corrupt::new("a user event has no token"));
        }
        self.add_event(event, Place::Outstanding(session))
    }

    pub(super) fn events_received(
        &mut self,
        session: SessionId,
        sequences: &[Sequence],
    ) -> Result<(), Corrupt> {
        for &sequence in sequences {
            let (event, place) = self.live(sequence)?;
            let token = event.token;
            if place != Place::Queued(session) {
                return Err(Corrupt::new(format!(
                    "event {} is not queued in session {}",
                    sequence.0, session.0
                )));
            }
            if token.is_some() {
                self.lift(sequence, token);
                self.put(sequence, token, Place::Outstanding(session));
            } else {
                self.drop_event(sequence);
            }
        }
        Ok(())
    }

    pub(super) fn event_answered(
        &mut self,
        session: SessionId,
        token: Token,
        answer: Answer,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        let event = self.outstanding_row(session, token)?;
        let (sequence, origin) = (event.sequence, event.origin);
        if answer == Answer::DontCare {
            return Err(Corrupt::new("an event ended with DONTCARE"));
        }
        self.end_token(token, session, effects);
        self.drop_event(sequence);
        self.tell_originator(origin, answer, effects);
        Ok(())
    }

    fn end_token(&mut self, token: Token, session: SessionId, effects: &mut Vec<Effect>) {
        self.release_grants(token, effects);
        self.remember_answered(token, session);
    }

    pub(super) fn tell_originator(
        &mut self,
        origin: Origin,
        answer: Answer,
        effects: &mut Vec<Effect>,
    ) {
        if let Origin::Request(id) = origin {
            self.keep_answer(id, answer);
        }
        if origin != Origin::Nobody {
            effects.push(Effect::Answered { origin, answer });
        }
    }

    pub(super) fn mount_asked(
        &mut self,
        sequence: Sequence,
        session: SessionId,
        next: Option<(SessionId, Token)>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        let (event, place) = self.live(sequence)?;
        let mut event = event.clone();
        let Some(token) = event
            .token
            .filter(|_| event.kind == EventType::Mount && place == Place::Outstanding(session))
        else {
            return Err(Corrupt::new(format!(
                "event {} is no mount that session {} has",
                sequence.0, session.0
            )));
        };
        self.end_token(token, session, effects);
        let Some((next, new_token)) = next else {
            self.drop_event(sequence);
            self.tell_originator(event.origin, Answer::Continue, effects);
            return Ok(());
        };
        self.session_row(next)?;
        self.lift(sequence, Some(token));
        self.tokens.remove(token);
        self.take_token(new_token, sequence)?;
        event.token = Some(new_token);
        self.events.insert(sequence, event);
        self.put(sequence, Some(new_token), Place::Queued(next));
        let mut asked = self.asked.get(sequence).cloned().unwrap_or_default();
        asked.push(session);
        self.asked.insert(sequence, asked);
        effects.push(Effect::Queued { session: next });
        Ok(())
    }

    pub(super) fn event_moved(
        &mut self,
        from: SessionId,
        token: Token,
        to: SessionId,
    ) -> Result<(), Corrupt> {
        let sequence = self.outstanding_row(from, token)?.sequence;
        self.session_row(to)?;
        self.lift(sequence, Some(token));
        self.put(sequence, Some(token), Place::Outstanding(to));
        Ok(())
    }

    pub(super) fn event_withdrawn(&mut self, sequence: Sequence) -> Result<(), Corrupt> {
        if let (_, Place::Outstanding(_)) = self.live(sequence)? {
            return Err(Corrupt::new(format!(
                "event {} is withdrawn from its session",
                sequence.0
            )));
        }
        self.drop_event(sequence);
        Ok(())
    }

    pub(super) fn event_orphaned(&mut self, sequence: Sequence) -> Result<(), Corrupt> {
        let mut event = self.live(sequence)?.0.clone();
        if let Origin::Source(serial) = event.origin {
            self.serials.remove(serial);
        }
        event.origin = Origin::Nobody;
        self.events.insert(sequence, event);
        Ok(())
    }

    /// Events of these kinds that waited on the file system enter the session's queue.
    pub(super) fn take_waiting(
        &mut self,
        fs: FsId,
        wanted: impl Fn(EventType) -> bool,
        session: SessionId,
        effects: &mut Vec<Effect>,
    ) {
        let mut any = false;
        for sequence in self.waiting_on(fs) {
            let Some(event) = self.events.get(sequence).filter(|event| wanted(event.kind)) else {
                continue;
            };
            let token = event.token;
            self.lift(sequence, token);
            self.put(sequence, token, Place::Queued(session));
            any = true;
        }
        if any {
            effects.push(Effect::Queued { session });
        }
    }

    pub(super) fn waiting_on(&self, fs: FsId) -> Vec<Sequence> {
        self.waiting
            .range((fs, Sequence(0))..=(fs, Sequence(u64::MAX)))
            .map(|((_, sequence), ())| sequence)
            .collect()
    }
}

fn token_after(token: Token) -> Token {
    match token.0 {
        ID_MAX => Token(1),
        number => Token(number + 1),
    }
}

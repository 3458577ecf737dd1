//! Events on their way in: from sources, mounts and applications. What is live.

use serde::{Deserialize, Serialize};

use super::super::event::EventBody;
use super::super::ids::RequestId;
use super::super::limits::{EVENT_BYTES_MAX, EVENTS_MAX, ID_MAX, MESSAGE_DATA_BYTES_MAX};
use super::{DmError, Event, EventType, FsId, Origin, Sequence, Serial, SessionId, Token};
use super::{Model, Plan, Record};

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
        let file_system = self.file_system(new.fs)?;
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
                let is_answered = !kind.is_asynchronous()
                    || kind == EventType::Destroy && file_system.destroy_is_answered;
                let token = is_answered.then(|| self.next_token());
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
            Fate::Dropped => vec![Record::EventUnwanted { fs, kind, count: 1 }],
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
        let mut records = Vec::new();
        match *self.places.get(sequence)? {
            Place::Queued(session) | Place::Outstanding(session)
                if self.is_received(sequence, reserved) =>
            {
                records.push(Record::EventOrphaned { sequence });
                records.extend(self.cancellation(sequence, session));
            }
            _ => records.push(Record::EventWithdrawn { sequence }),
        }
        Some(Plan::new(records, ()))
    }

    /// Has an application the event, or is it on its way to one?
    fn is_received(&self, sequence: Sequence, reserved: &dyn Fn(Sequence) -> bool) -> bool {
        match self.places.get(sequence) {
            Some(Place::Outstanding(_)) => true,
            Some(Place::Queued(_)) => reserved(sequence),
            Some(Place::Waiting(_)) | None => false,
        }
    }

    /// CANCEL for an event that a session received, if the session wants it. It has nothing to say about a thing that is
    /// over, so it is dropped where there is no room.
    fn cancellation(&self, sequence: Sequence, session: SessionId) -> Option<Record> {
        let wants_it = self.sessions.get(session)?.wants_cancels;
        let event = self.events.get(sequence)?;
        let token = event.token.filter(|_| wants_it && self.has_room())?;
        Some(Record::EventQueued {
            session: Some(session),
            fs: None,
            event: Event {
                sequence: self.next_sequence(),
                token: None,
                kind: EventType::Cancel,
                body: EventBody::Cancel { sequence, token },
                origin: Origin::Nobody,
                pid: event.pid,
                made_ms: event.made_ms,
            },
        })
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

    pub(super) fn next_token(&self) -> Token {
        let mut token = Token(self.counters.next_token);
        // Ends: there are far fewer live tokens than numbers.
        while self.tokens.has(token) {
            token = token_after(token);
        }
        token
    }

    pub(super) fn was_issued(&self, token: Token) -> bool {
        (1..=ID_MAX).contains(&token.0)
            && (self.counters.tokens_wrapped || token.0 < self.counters.next_token)
    }

    /// The interested session with the lowest id that was not asked.
    pub(super) fn next_for_mount(&self, asked: &[SessionId]) -> Option<SessionId> {
        self.sessions
            .iter()
            .find(|(session, row)| row.wants_mounts && !asked.contains(session))
            .map(|(session, _)| session)
    }
}

/// The number after a token; 1 follows the largest.
pub(super) fn token_after(token: Token) -> Token {
    match token.0 {
        ID_MAX => Token(1),
        number => Token(number + 1),
    }
}

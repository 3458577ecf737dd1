//! How records change events, their places and tokens.

use super::super::limits::{ANSWERED_MAX, ID_MAX};
use super::event::token_after;
use super::{Answer, Event, EventType, FsId, Origin, Sequence, SessionId, Token};
use super::{Corrupt, Effect, Model, Place};

impl Model {
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

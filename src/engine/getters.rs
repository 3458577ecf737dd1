//! `dm_get_events`: messages are reserved for a connection, and leave the queue when it commits them.

use super::core::{Core, Waiting};
use super::outbox::Outbox;
use super::{Asked, ConnId, Outcome};
use crate::model::ids::Sequence;
use crate::model::{DmError, Event, SessionId};
use crate::proto::Reply;

impl Core {
    /// Reserves messages, or lets the request wait.
    pub fn get_events(
        &mut self,
        asked: &Asked,
        session: SessionId,
        count_max: u32,
        bytes_max: u64,
        wait: bool,
    ) -> Outcome {
        // Who waits already is first.
        let is_free = self
            .getters
            .get(&session)
            .is_none_or(|line| line.is_empty());
        let found = match is_free {
            true => self.reserve(asked.conn, session, count_max, bytes_max),
            false => self.model.check_session(session).and(Err(DmError::Again)),
        };
        match found {
            Err(DmError::Again) if wait => {
                self.getters
                    .entry(session)
                    .or_default()
                    .push_back(asked.conn);
                let waiting = Waiting::Messages {
                    session,
                    count_max,
                    bytes_max,
                };
                self.park(asked.conn, asked.id, waiting);
                Outcome::Parked
            }
            found => found.map(Reply::Events).into(),
        }
    }

    fn reserve(
        &mut self,
        conn: ConnId,
        session: SessionId,
        count_max: u32,
        bytes_max: u64,
    ) -> Result<Vec<Event>, DmError> {
        let reserved = &self.reserved;
        let is_reserved = |sequence: Sequence| reserved.contains_key(&sequence);
        let events = self
            .model
            .next_messages(session, count_max, bytes_max, &is_reserved)?;
        for event in &events {
            self.reserved.insert(event.sequence, conn);
        }
        Ok(events)
    }

    /// Messages came into the queue, or back: who waits for them is served, in order.
    pub fn serve_getters(&mut self, session: SessionId, out: &mut Outbox) {
        while let Some(conn) = self
            .getters
            .get(&session)
            .and_then(|line| line.front())
            .copied()
        {
            let wanted = match self.conns.get(&conn).and_then(|conn| conn.waiting.as_ref()) {
                Some((
                    id,
                    Waiting::Messages {
                        count_max,
                        bytes_max,
                        ..
                    },
                )) => Some((*id, *count_max, *bytes_max)),
                _ => None,
            };
            let found = match wanted {
                Some((_, count_max, bytes_max)) => {
                    self.reserve(conn, session, count_max, bytes_max)
                }
                None => Err(DmError::Interrupted),
            };
            if found == Err(DmError::Again) {
                break;
            }
            if let Some(line) = self.getters.get_mut(&session) {
                line.pop_front();
            }
            if let Some((id, ..)) = wanted {
                self.take_waiting(conn);
                self.reply_later(conn, id.number, found.map(Reply::Events), out);
            }
        }
        self.getters.retain(|_, line| !line.is_empty());
    }

    /// A session goes on under a new id: who waits on the old one waits on the same queue.
    pub fn rename(&mut self, old: SessionId, new: SessionId, out: &mut Outbox) {
        let Some(line) = self.getters.remove(&old) else {
            return;
        };
        for conn in &line {
            if let Some(row) = self.conns.get_mut(conn)
                && let Some((_, Waiting::Messages { session, .. })) = &mut row.waiting
            {
                *session = new;
            }
        }
        self.getters.entry(new).or_default().extend(line);
        self.serve_getters(new, out);
    }

    /// Does anybody wait for messages of the session, or have some on the way?
    pub fn has_getters(&self, session: SessionId) -> bool {
        self.getters
            .get(&session)
            .is_some_and(|line| !line.is_empty())
    }

    /// `Commit`: the messages are with the caller.
    pub fn commit_events(
        &mut self,
        asked: &Asked,
        session: SessionId,
        sequences: &[Sequence],
        out: &mut Outbox,
    ) -> Outcome {
        let mine = |sequence: &Sequence| self.reserved.get(sequence) == Some(&asked.conn);
        if !sequences.iter().all(mine) {
            return DmError::Again.into();
        }
        let plan = match self.model.plan_commit(session, sequences) {
            Ok(plan) => plan,
            Err(error) => return error.into(),
        };
        let outcome = Ok(Reply::Nothing);
        if let Err(error) = self.commit(plan.records, Some((asked.id, &outcome)), out) {
            return error.into();
        }
        for sequence in sequences {
            self.reserved.remove(sequence);
        }
        // What was reserved beyond them goes back.
        self.leave(asked.conn, out);
        out.room = true;
        outcome.into()
    }
}

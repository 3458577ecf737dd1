//! Sessions: creation, assumption, end.

use super::super::limits::{ID_MAX, SESSION_INFO_BYTES_MAX, SESSIONS_MAX};
use super::{Corrupt, DmError, Effect, Model, Place, Plan, Record, Session, SessionId};
use super::{FsId, Sequence, Token};

impl Model {
    /// `dm_create_session`: a new session, or `old` under a new id and string.
    pub fn plan_create_session(
        &self,
        old: Option<SessionId>,
        info: &[u8],
    ) -> Result<Plan<SessionId>, DmError> {
        if info.len() > SESSION_INFO_BYTES_MAX {
            return Err(DmError::TooBig { need: None });
        }
        if let Some(old) = old {
            self.check_session(old)?;
        } else if self.sessions.len() >= SESSIONS_MAX {
            return Err(DmError::NoMemory);
        }
        if self.counters.next_session > ID_MAX {
            return Err(DmError::NoMemory);
        }
        let new = SessionId(self.counters.next_session);
        let info = info.to_vec();
        let record = match old {
            Some(old) => Record::SessionAssumed { old, new, info },
            None => Record::SessionCreated { session: new, info },
        };
        Ok(Plan::one(record, new))
    }

    /// `dm_create_session` of the GPFS dialect with an old id: that stays.
    pub fn plan_rename_session(
        &self,
        session: SessionId,
        info: &[u8],
    ) -> Result<Plan<()>, DmError> {
        if info.len() > SESSION_INFO_BYTES_MAX {
            return Err(DmError::TooBig { need: None });
        }
        self.check_session(session)?;
        let info = info.to_vec();
        Ok(Plan::one(Record::SessionRenamed { session, info }, ()))
    }

    /// `dm_destroy_session`. Whether a getter waits is the engine's to check (`EBUSY` too).
    pub fn plan_destroy_session(&self, session: SessionId) -> Result<Plan<()>, DmError> {
        self.check_session(session)?;
        if self.has_messages(session) {
            return Err(DmError::Busy);
        }
        Ok(Plan::one(Record::SessionDestroyed { session }, ()))
    }

    /// `dm_getall_sessions`, in order of creation; assumption counts as creation.
    pub fn session_ids(&self) -> Vec<SessionId> {
        self.sessions.keys().collect()
    }

    /// `dm_query_session`: the string without its NUL.
    pub fn session_info(&self, session: SessionId) -> Result<&[u8], DmError> {
        let row = self.sessions.get(session).ok_or(DmError::Invalid)?;
        Ok(&row.info)
    }

    /// Does the session want MOUNT events?
    pub fn wants_mounts(&self, session: SessionId) -> bool {
        self.sessions
            .get(session)
            .is_some_and(|row| row.wants_mounts)
    }

    /// Undelivered messages of a session, for `dmctl sessions`.
    pub fn queued_count(&self, session: SessionId) -> usize {
        self.queue_of(session).count()
    }

    /// Events of a session that wait for their answer.
    pub fn outstanding_count(&self, session: SessionId) -> usize {
        self.tokens_of(session).count()
    }

    fn has_messages(&self, session: SessionId) -> bool {
        self.queue_of(session).next().is_some() || self.tokens_of(session).next().is_some()
    }

    pub(super) fn queue_of(&self, session: SessionId) -> impl Iterator<Item = Sequence> + '_ {
        self.queues
            .range((session, Sequence(0))..=(session, Sequence(u64::MAX)))
            .map(|((_, sequence), ())| sequence)
    }

    pub(super) fn tokens_of(&self, session: SessionId) -> impl Iterator<Item = Token> + '_ {
        self.outstanding
            .range((session, Token(0))..=(session, Token(u32::MAX)))
            .map(|((_, token), ())| token)
    }

    fn new_session(&mut self, session: SessionId, row: Session) -> Result<(), Corrupt> {
        if session.0 < self.counters.next_session || session.0 > ID_MAX {
            return Err(Corrupt::new(format!("session id {} is not new", session.0)));
        }
        self.sessions.insert(session, row);
        self.counters.next_session = session.0 + 1;
        Ok(())
    }

    pub(super) fn session_row(&self, session: SessionId) -> Result<&Session, Corrupt> {
        self.sessions
            .get(session)
            .ok_or_else(|| Corrupt::new(format!("session {} does not exist", session.0)))
    }

    pub(super) fn session_created(
        &mut self,
        session: SessionId,
        info: &[u8],
    ) -> Result<(), Corrupt> {
        self.new_session(
            session,
            Session {
                info: info.to_vec(),
                wants_mounts: false,
                wants_cancels: false,
            },
        )
    }

    pub(super) fn session_renamed(
        &mut self,
        session: SessionId,
        info: &[u8],
    ) -> Result<(), Corrupt> {
        let row = Session {
            info: info.to_vec(),
            ..self.session_row(session)?.clone()
        };
        self.sessions.insert(session, row);
        Ok(())
    }

    pub(super) fn session_assumed(
        &mut self,
        old: SessionId,
        new: SessionId,
        info: &[u8],
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        let row = Session {
            info: info.to_vec(),
            ..self.session_row(old)?.clone()
        };
        self.new_session(new, row)?;
        self.sessions.remove(old);
        self.rename_messages(old, new);
        self.rename_interests(old, new);
        effects.push(Effect::Renamed { old, new });
        Ok(())
    }

    fn rename_messages(&mut self, old: SessionId, new: SessionId) {
        for sequence in self.queue_of(old).collect::<Vec<_>>() {
            self.queues.remove((old, sequence));
            self.queues.insert((new, sequence), ());
            self.places.insert(sequence, Place::Queued(new));
        }
        for token in self.tokens_of(old).collect::<Vec<_>>() {
            self.outstanding.remove((old, token));
            self.outstanding.insert((new, token), ());
            if let Some(&sequence) = self.tokens.get(token) {
                self.places.insert(sequence, Place::Outstanding(new));
            }
        }
        let answered: Vec<Token> = self
            .answered
            .iter()
            .filter(|(_, session)| **session == old)
            .map(|(token, _)| token)
            .collect();
        for token in answered {
            self.answered.insert(token, new);
        }
        let asked: Vec<(Sequence, Vec<SessionId>)> = self
            .asked
            .iter()
            .filter(|(_, sessions)| sessions.contains(&old))
            .map(|(sequence, sessions)| (sequence, sessions.clone()))
            .collect();
        for (sequence, mut sessions) in asked {
            for session in &mut sessions {
                if *session == old {
                    *session = new;
                }
            }
            self.asked.insert(sequence, sessions);
        }
    }

    fn rename_interests(&mut self, old: SessionId, new: SessionId) {
        for key in self.dispositions_held(old) {
            self.dispositions.insert(key, new);
        }
        for fs in self.registered_for_destroy(old) {
            if let Some(mut row) = self.file_systems.get(fs).cloned() {
                row.return_on_destroy = row.return_on_destroy.map(|(_, name)| (new, name));
                self.file_systems.insert(fs, row);
            }
        }
    }

    pub(super) fn session_destroyed(
        &mut self,
        session: SessionId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        self.session_row(session)?;
        if self.has_messages(session) {
            return Err(Corrupt::new(format!(
                "session {} ends with messages",
                session.0
            )));
        }
        let mut touched: Vec<FsId> = Vec::new();
        for key in self.dispositions_held(session) {
            self.dispositions.remove(key);
            touched.push(key.0);
        }
        for fs in self.registered_for_destroy(session) {
            self.clear_return_on_destroy(fs);
        }
        self.sessions.remove(session);
        touched.dedup();
        effects.extend(touched.into_iter().map(|fs| Effect::InterestChanged { fs }));
        Ok(())
    }
}

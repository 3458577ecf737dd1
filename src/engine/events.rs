//! Requests on sessions, messages and tokens.

use super::core::{Core, Waiting};
use super::requests::{Durability, carry_out};
use super::{Asked, Engine, Outcome};
use crate::model::machine::Plan;
use crate::model::{DmError, Origin, SessionId, Token};
use crate::proto::{Reply, Request};
use crate::sys::clock;

impl Engine {
    pub(super) fn session_request(&self, asked: &Asked) -> Outcome {
        use Durability::{Power, Process};
        match &asked.request {
            Request::RenameSession { session, info } => self.change(
                asked,
                Power,
                |core| core.model.plan_rename_session(*session, info),
                |()| Reply::Session(*session),
            ),
            Request::CreateSession { old, info } => self.change(
                asked,
                Power,
                |core| core.model.plan_create_session(*old, info),
                Reply::Session,
            ),
            Request::DestroySession { session } => self.change(
                asked,
                Power,
                |core| core.plan_destroy_session(*session),
                |()| Reply::Nothing,
            ),
            Request::GetAllSessions => Ok(Reply::Sessions(self.lock().model.session_ids())).into(),
            Request::QuerySession { session } => {
                let core = self.lock();
                let info = core.model.session_info(*session);
                info.map(|info| Reply::Info(info.to_vec())).into()
            }
            Request::GetEvents {
                session,
                count_max,
                bytes_max,
                wait,
            } => {
                self.with(|core, _| core.get_events(asked, *session, *count_max, *bytes_max, *wait))
            }
            Request::Commit { session, sequences } => {
                self.with(|core, out| core.commit_events(asked, *session, sequences, out))
            }
            Request::RespondEvent {
                session,
                token,
                answer,
            } => self.change(
                asked,
                Process,
                |core| core.model.plan_respond(*session, *token, *answer),
                |()| Reply::Nothing,
            ),
            Request::MoveEvent { from, token, to } => self.change(
                asked,
                Process,
                |core| core.model.plan_move(*from, *token, *to),
                Reply::Token,
            ),
            Request::FindEvent { session, token } => {
                let core = self.lock();
                let event = core.model.find_event(*session, *token);
                event.map(|event| Reply::Events(vec![event.clone()])).into()
            }
            Request::GetAllTokens { session } => {
                self.lock().model.tokens(*session).map(Reply::Tokens).into()
            }
            Request::CreateUserEvent { session, data } => self.change(
                asked,
                Process,
                |core| {
                    let (pid, now_ms) = (core.pid_of(asked), clock::realtime_ms());
                    core.model
                        .plan_user_event(*session, data.clone(), pid, now_ms)
                },
                Reply::Token,
            ),
            Request::SendMessage {
                session,
                synchronous,
                data,
            } => self.send_message(asked, *session, *synchronous, data),
            Request::Pending { session, token, .. } => self.pending(*session, *token),
            other => unreachable!("{other:?} is no request on a session"),
        }
    }

    fn send_message(
        &self,
        asked: &Asked,
        session: SessionId,
        synchronous: bool,
        data: &[u8],
    ) -> Outcome {
        self.with(|core, out| {
            let (pid, now_ms) = (core.pid_of(asked), clock::realtime_ms());
            let waiter = synchronous.then_some(asked.id);
            let plan = core
                .model
                .plan_send_message(session, waiter, data.to_vec(), pid, now_ms);
            if !synchronous {
                return carry_out(core, out, asked, Durability::Process, plan, |_| {
                    Reply::Nothing
                });
            }
            // Parked before the commit: a getter may be served by it, and its answer comes at once.
            core.askers.insert(asked.id, asked.conn);
            core.park(asked.conn, asked.id, Waiting::Answer);
            let sent = plan.and_then(|plan| core.commit(plan.records, None, out));
            match sent {
                Ok(_) => Outcome::Parked,
                Err(error) => {
                    core.askers.remove(&asked.id);
                    core.take_waiting(asked.conn);
                    error.into()
                }
            }
        })
    }

    /// `dm_pending`: a non-blocking originator is sent away; the token stays good.
    fn pending(&self, session: SessionId, token: Token) -> Outcome {
        let origin = {
            let core = self.lock();
            core.model
                .find_event(session, token)
                .map(|event| event.origin)
        };
        if let Ok(Origin::Source(serial)) = origin {
            self.source.pending(serial);
        }
        origin.map(|_| Reply::Nothing).into()
    }
}

impl Core {
    fn plan_destroy_session(&self, session: SessionId) -> Result<Plan<()>, DmError> {
        let plan = self.model.plan_destroy_session(session)?;
        match self.has_getters(session) {
            true => Err(DmError::Busy),
            false => Ok(plan),
        }
    }

    /// The process behind a request, for people.
    pub fn pid_of(&self, asked: &Asked) -> u32 {
        self.conns.get(&asked.conn).map_or(0, |conn| conn.pid)
    }
}

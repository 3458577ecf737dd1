//! What the mutex guards: the model with its journal, and what lives as long as this worker.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::call_rights::CallRights;
use super::outbox::Outbox;
use super::{Asked, ConnId, Outlet};
use crate::journal::{Journal, JournalError, Lsn, Priority};
use crate::model::ids::{ClientId, RequestId, Sequence};
use crate::model::machine::{Effect, Model};
use crate::model::{Answer, DmError, Entry, FsId, Handle, Origin, Record, Right, SessionId};
use crate::proto::{self, Back, Reply};
use crate::source::EventSource;
use crate::sys::{clock, process};

/// What a request waits for.
#[derive(Debug)]
pub enum Waiting {
    /// Messages.
    Messages {
        session: SessionId,
        count_max: u32,
        bytes_max: u64,
    },
    /// The answer to its message (`dm_send_msg`).
    Answer,
    /// The answer to its MOUNT event.
    Mount { fs: FsId },
    /// The answer to its PREUNMOUNT event.
    Unmount { fs: FsId, forced: bool },
    /// A right on an object; then the request is carried out.
    Right { handle: Handle, asked: Box<Asked> },
    /// The end of an unmount; then the request is carried out.
    UnmountEnd { fs: FsId, asked: Box<Asked> },
}

/// One connection.
pub struct Conn {
    client: ClientId,
    /// The process at the other end.
    pub pid: u32,
    outlet: Arc<dyn Outlet>,
    /// A thread carries out its request.
    pub running: bool,
    /// The connection is over; the row stays until the thread is through, which holds its rights.
    ended: bool,
    /// The request that waits.
    pub waiting: Option<(RequestId, Waiting)>,
    /// The object that the present request has a right on.
    pub working: Option<Handle>,
    /// The objects that `Enter` gave it a right on.
    entered: Vec<Handle>,
}

impl Conn {
    /// Is it one of that client?
    pub fn is_of(&self, client: ClientId) -> bool {
        self.client == client
    }
}

/// See the module.
pub struct Core {
    pub model: Model,
    pub journal: Journal,
    pub source: Arc<dyn EventSource>,
    pub conns: BTreeMap<ConnId, Conn>,
    next_conn: u64,
    clients: HashMap<ClientId, ConnId>,
    /// Clients without a connection, since when (CLOCK_BOOTTIME ms).
    pub gone: HashMap<ClientId, u64>,
    /// Messages on their way to a caller.
    pub reserved: HashMap<Sequence, ConnId>,
    /// Who waits for messages, in order.
    pub getters: HashMap<SessionId, VecDeque<ConnId>>,
    /// Who waits for the answer of an event.
    pub askers: HashMap<RequestId, ConnId>,
    pub rights: CallRights,
    /// File systems whose MOUNT is not answered, or whose requester has not heard of it.
    pub mounting: HashMap<FsId, RequestId>,
    /// File systems between PREUNMOUNT and UNMOUNT.
    pub unmounting: HashMap<FsId, Unmounting>,
}

/// An unmount that is under way.
#[derive(Clone, Copy, Debug)]
pub struct Unmounting {
    /// The process that does it, and tells when it is done.
    pub pid: u32,
    /// With `DM_UNMOUNT_FORCE`.
    pub forced: bool,
    /// The source saw the last mount go.
    pub is_gone: bool,
}

/// Exit code of a worker whose model refused a record that was appended.
const EXIT_CORRUPT: i32 = 76;

impl Core {
    pub fn new(model: Model, journal: Journal, source: Arc<dyn EventSource>) -> Self {
        let now = clock::boottime_ms();
        let gone = model.clients().into_iter().map(|client| (client, now));
        Self {
            gone: gone.collect(),
            model,
            journal,
            source,
            conns: BTreeMap::new(),
            next_conn: 1,
            clients: HashMap::new(),
            reserved: HashMap::new(),
            getters: HashMap::new(),
            askers: HashMap::new(),
            rights: CallRights::default(),
            mounting: HashMap::new(),
            unmounting: HashMap::new(),
        }
    }

    // ---- journal and model

    /// Appends and applies records; `reply` is kept for the request. `NoSpace`: the journal is full of
    /// live state.
    pub fn commit(
        &mut self,
        records: Vec<Record>,
        reply: Option<(RequestId, &Result<Reply, DmError>)>,
        out: &mut Outbox,
    ) -> Result<Lsn, DmError> {
        let entry = Entry {
            records,
            reply: reply.map(|(id, outcome)| (id, proto::encode(outcome))),
        };
        self.intend(&entry);
        let lsn = self.append(&entry)?;
        match self.model.apply(&entry) {
            Ok(effects) => self.take_effects(effects, out),
            Err(corrupt) => {
                tracing::error!(%corrupt, ?entry, "an entry was planned wrongly; this worker ends");
                process::die(EXIT_CORRUPT);
            }
        }
        if self.journal.needs_checkpoint() {
            self.checkpoint();
        }
        Ok(lsn)
    }

    /// The next worker must be able to give an answer that is recorded and was not given.
    fn intend(&self, entry: &Entry) {
        for record in &entry.records {
            if let Record::EventAnswered {
                session,
                token,
                answer,
            } = record
                && let Ok(event) = self.model.find_event(*session, *token)
                && let Origin::Source(serial) = event.origin
            {
                self.source.intend(serial, *answer);
            }
        }
    }

    fn append(&mut self, entry: &Entry) -> Result<Lsn, DmError> {
        let priority = match entry.records.iter().all(drains) {
            true => Priority::Reserved,
            false => Priority::Normal,
        };
        match self.journal.append_entry(entry, priority) {
            Ok(lsn) => return Ok(lsn),
            Err(JournalError::Full) => self.checkpoint(),
            Err(error) => return Err(refused(&error)),
        }
        self.journal
            .append_entry(entry, priority)
            .map_err(|error| refused(&error))
    }

    /// Shortens the log. Too big a state leaves it as it is: answers make it smaller.
    pub fn checkpoint(&mut self) {
        use crate::journal::State;
        match self.journal.checkpoint(&self.model.encode()) {
            Ok(()) => {}
            Err(error) if error.is_fatal() => super::fatal(&error),
            Err(error) => tracing::warn!(%error, "no checkpoint"),
        }
    }

    fn take_effects(&mut self, effects: Vec<Effect>, out: &mut Outbox) {
        for effect in effects {
            match effect {
                Effect::Answered { origin, answer } => self.answered(origin, answer, out),
                Effect::Queued { session } => self.serve_getters(session, out),
                Effect::Renamed { old, new } => self.rename(old, new, out),
                Effect::RightsReleased { handles } => {
                    for handle in handles {
                        self.regrant(handle, out);
                    }
                }
                Effect::InterestChanged { fs } => out.interests.push(fs),
            }
        }
    }

    fn answered(&mut self, origin: Origin, answer: Answer, out: &mut Outbox) {
        out.room = true;
        match origin {
            Origin::Nobody => {}
            Origin::Source(serial) => out.answers.push((serial, answer)),
            Origin::Request(id) => {
                if let Some(conn) = self.askers.remove(&id)
                    && let Some((id, waiting)) = self.take_waiting(conn)
                {
                    let outcome = self.after_answer(id, &waiting, answer, out);
                    self.reply_later(conn, id.number, outcome, out);
                }
            }
        }
    }

    /// How a request ends whose event was answered.
    pub fn after_answer(
        &mut self,
        id: RequestId,
        waiting: &Waiting,
        answer: Answer,
        out: &mut Outbox,
    ) -> Result<Reply, DmError> {
        match waiting {
            Waiting::Mount { fs } => self.mount_answered(*fs, answer, out),
            Waiting::Unmount { fs, forced } => self.unmount_answered(id, *fs, *forced, answer),
            _ => Ok(Reply::Answered(answer)),
        }
    }

    // ---- connections

    pub fn connect(
        &mut self,
        client: ClientId,
        pid: u32,
        outlet: Arc<dyn Outlet>,
        out: &mut Outbox,
    ) -> ConnId {
        // A client that is here twice has lost the first connection without our knowing yet.
        if let Some(before) = self.clients.get(&client).copied() {
            if let Some(conn) = self.conns.get(&before) {
                out.close.push(Arc::clone(&conn.outlet));
            }
            self.closed(before, out);
        }
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        self.gone.remove(&client);
        self.clients.insert(client, id);
        let conn = Conn {
            client,
            pid,
            outlet,
            running: false,
            ended: false,
            waiting: None,
            working: None,
            entered: Vec::new(),
        };
        self.conns.insert(id, conn);
        id
    }

    /// May the connection begin a request? It carries one at a time.
    pub fn begin(&mut self, conn: ConnId) -> bool {
        match self.conns.get_mut(&conn) {
            Some(row) if !row.ended && !row.running && row.waiting.is_none() => {
                row.running = true;
                true
            }
            _ => false,
        }
    }

    /// Ends a connection that breaks the protocol.
    pub fn refuse(&mut self, conn: ConnId, out: &mut Outbox) {
        if let Some(row) = self.conns.get(&conn) {
            out.close.push(Arc::clone(&row.outlet));
        }
    }

    pub fn closed(&mut self, conn: ConnId, out: &mut Outbox) {
        self.stop_waiting(conn, out);
        self.leave(conn, out);
        let Some(row) = self.conns.get_mut(&conn) else {
            return;
        };
        let client = row.client;
        row.ended = true;
        if self.clients.get(&client) == Some(&conn) {
            self.clients.remove(&client);
            self.gone.insert(client, clock::boottime_ms());
        }
        self.forget_ended(conn, out);
    }

    /// Forgets a connection that is over, unless a thread still works for it.
    pub fn forget_ended(&mut self, conn: ConnId, out: &mut Outbox) {
        let is_over = |row: &Conn| row.ended && !row.running;
        if !self.conns.get(&conn).is_some_and(is_over) {
            return;
        }
        self.stop_waiting(conn, out);
        self.leave(conn, out);
        self.end_work(conn, out);
        let pid = self.conns.remove(&conn).map_or(0, |row| row.pid);
        if !self.conns.values().any(|other| other.pid == pid) {
            self.unmounter_ended(pid, out);
        }
    }

    /// What was reserved and entered goes back.
    pub fn leave(&mut self, conn: ConnId, out: &mut Outbox) {
        let given_back: Vec<Sequence> = self
            .reserved
            .iter()
            .filter(|(_, holder)| **holder == conn)
            .map(|(sequence, _)| *sequence)
            .collect();
        let mut sessions = HashSet::new();
        for sequence in given_back {
            self.reserved.remove(&sequence);
            if let Some((_, crate::model::machine::Place::Queued(session))) =
                self.model.event(sequence)
            {
                sessions.insert(session);
            }
        }
        for session in sessions {
            self.serve_getters(session, out);
        }
        let entered = match self.conns.get_mut(&conn) {
            Some(conn) => std::mem::take(&mut conn.entered),
            None => Vec::new(),
        };
        for handle in entered {
            self.rights.release(handle, conn);
            self.regrant(handle, out);
        }
    }

    /// `number` is answered `Interrupted` if it waits; what it waited for is returned.
    pub fn give_up(
        &mut self,
        conn: ConnId,
        number: u64,
        out: &mut Outbox,
    ) -> Option<(RequestId, Waiting)> {
        let waits = self
            .conns
            .get(&conn)
            .and_then(|conn| conn.waiting.as_ref())
            .is_some_and(|(id, _)| id.number == number);
        if !waits {
            return None;
        }
        let waiting = self.stop_waiting(conn, out);
        if let Some((id, Waiting::Unmount { .. })) = &waiting {
            self.originator_gone(*id, out);
        }
        self.reply_later(conn, number, Err(DmError::Interrupted), out);
        waiting
    }

    /// The request of a connection waits from now on.
    pub fn park(&mut self, conn: ConnId, id: RequestId, waiting: Waiting) {
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.running = false;
            conn.waiting = Some((id, waiting));
        }
    }

    /// It does not wait any more, as it is about to be answered.
    pub fn take_waiting(&mut self, conn: ConnId) -> Option<(RequestId, Waiting)> {
        self.conns.get_mut(&conn)?.waiting.take()
    }

    /// It does not wait any more, as nobody wants it.
    fn stop_waiting(&mut self, conn: ConnId, out: &mut Outbox) -> Option<(RequestId, Waiting)> {
        let (id, waiting) = self.take_waiting(conn)?;
        match &waiting {
            Waiting::Messages { session, .. } => {
                if let Some(line) = self.getters.get_mut(session) {
                    line.retain(|other| *other != conn);
                }
            }
            Waiting::Answer | Waiting::Mount { .. } | Waiting::Unmount { .. } => {
                self.askers.remove(&id);
            }
            Waiting::Right { handle, .. } => {
                let handle = *handle;
                self.rights.cancel(handle, conn);
                self.regrant(handle, out);
            }
            Waiting::UnmountEnd { .. } => {}
        }
        Some((id, waiting))
    }

    /// A request is about to be answered: its right ends, or stays with `Enter`. Returns the way to the client.
    pub fn finished(
        &mut self,
        conn: ConnId,
        outcome: &Result<Reply, DmError>,
        out: &mut Outbox,
    ) -> Option<Arc<dyn Outlet>> {
        let row = self.conns.get_mut(&conn)?;
        row.running = false;
        let outlet = Arc::clone(&row.outlet);
        if matches!(outcome, Ok(Reply::Entered { .. })) {
            let handle = row.working.take();
            row.entered.extend(handle);
        } else {
            self.end_work(conn, out);
        }
        self.forget_ended(conn, out);
        self.conns.contains_key(&conn).then_some(outlet)
    }

    /// The right of the present request ends.
    pub fn end_work(&mut self, conn: ConnId, out: &mut Outbox) {
        let working = self
            .conns
            .get_mut(&conn)
            .and_then(|conn| conn.working.take());
        if let Some(handle) = working {
            self.rights.release(handle, conn);
            self.regrant(handle, out);
        }
    }

    pub fn reply_later(
        &mut self,
        conn: ConnId,
        number: u64,
        outcome: Result<Reply, DmError>,
        out: &mut Outbox,
    ) {
        if let Some(outlet) = self.finished(conn, &outcome, out) {
            out.replies.push((outlet, Back::Done { number, outcome }));
        }
    }

    // ---- rights

    /// Takes a right for a call on behalf of a connection, or parks the request.
    pub fn take_right(&mut self, handle: Handle, right: Right, asked: Asked) -> Option<Asked> {
        let conn = asked.conn;
        let tokens = self.model.strongest_right(handle, None);
        if self.rights.try_take(handle, conn, right, tokens) {
            match self.conns.get_mut(&conn) {
                Some(row) => row.working = Some(handle),
                // It ended meanwhile; nobody would release the right.
                None => self.rights.release(handle, conn),
            }
            return Some(asked);
        }
        self.wait_for_right(handle, right, None, asked);
        None
    }

    /// Parks a request until it holds the right as a call.
    pub fn wait_for_right(
        &mut self,
        handle: Handle,
        right: Right,
        token: Option<crate::model::Token>,
        asked: Asked,
    ) {
        let (conn, id) = (asked.conn, asked.id);
        if !self.conns.contains_key(&conn) {
            return;
        }
        let waiter = super::call_rights::Waiter { conn, right, token };
        self.rights.wait(handle, waiter);
        let asked = Box::new(asked);
        self.park(conn, id, Waiting::Right { handle, asked });
    }

    /// A right on the object ended, or a waiter is gone: the next in line go on.
    pub fn regrant(&mut self, handle: Handle, out: &mut Outbox) {
        let model = &self.model;
        let granted = self
            .rights
            .grant(handle, |token| model.strongest_right(handle, token));
        for waiter in granted {
            match self.take_waiting(waiter.conn) {
                Some((_, Waiting::Right { mut asked, .. })) => {
                    if let Some(conn) = self.conns.get_mut(&waiter.conn) {
                        conn.running = true;
                        conn.working = Some(handle);
                    }
                    asked.granted = true;
                    out.granted.push(*asked);
                }
                _ => self.rights.release(handle, waiter.conn),
            }
        }
    }
}

/// Does the record make the state smaller? Then it may use the reserve of the journal.
fn drains(record: &Record) -> bool {
    matches!(
        record,
        Record::EventAnswered { .. }
            | Record::EventsReceived { .. }
            | Record::EventWithdrawn { .. }
            | Record::EventOrphaned { .. }
            | Record::SessionDestroyed { .. }
            | Record::FsDropped { .. }
            | Record::ClientGone { .. }
            | Record::RightSet {
                right: Right::Null,
                ..
            }
            | Record::HoldSet { held: false, .. }
    )
}

fn refused(error: &JournalError) -> DmError {
    if error.is_fatal() {
        super::fatal(error);
    }
    tracing::error!(%error, "a change was refused");
    DmError::NoSpace
}

//! What the mutex guards: the model with its journal, and what lives as long as this worker.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::call_rights::CallRights;
use super::outbox::Outbox;
use super::{Asked, ConnId, Outlet};
use crate::journal::{Journal, JournalError, Lsn, Priority};
use crate::model::ids::{ClientId, RequestId, Sequence};
use crate::model::machine::{Effect, Model};
use crate::model::{
    Answer, DmError, Entry, EventType, FsId, Handle, Origin, Record, Right, SessionId,
};
use crate::proto::{self, Reply};
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
    pub client: ClientId,
    /// The process at the other end.
    pub pid: u32,
    pub outlet: Arc<dyn Outlet>,
    /// A thread carries out its request.
    pub running: bool,
    /// The connection is over; the row stays until the thread is through, which holds its rights.
    pub ended: bool,
    /// The request that waits.
    pub waiting: Option<(RequestId, Waiting)>,
    /// The object that the present request has a right on.
    pub working: Option<Handle>,
    /// The objects that `Enter` gave it a right on.
    pub entered: Vec<Handle>,
    /// The objects that it has a descriptor to write of.
    pub writing: Vec<Handle>,
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
    /// Where the log stood when a checkpoint was last in vain.
    full_at: Option<u64>,
    pub source: Arc<dyn EventSource>,
    pub conns: BTreeMap<ConnId, Conn>,
    pub next_conn: u64,
    pub clients: HashMap<ClientId, ConnId>,
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
    /// `st_dev` of the oldest FUSE mount of each file system.
    pub oldest_views: HashMap<FsId, u64>,
    /// File systems between PREUNMOUNT and UNMOUNT.
    pub unmounting: HashMap<FsId, Unmounting>,
    /// Events that nobody wanted, counted since the last entry that took the numbers along.
    pub unwanted: BTreeMap<(FsId, EventType), u64>,
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
            full_at: None,
            source,
            conns: BTreeMap::new(),
            next_conn: 1,
            clients: HashMap::new(),
            reserved: HashMap::new(),
            getters: HashMap::new(),
            askers: HashMap::new(),
            rights: CallRights::default(),
            mounting: HashMap::new(),
            oldest_views: HashMap::new(),
            unmounting: HashMap::new(),
            unwanted: BTreeMap::new(),
        }
    }

    /// Appends and applies records; `reply` is kept for the request. `NoSpace`: the journal is full of
    /// live state.
    pub fn commit(
        &mut self,
        records: Vec<Record>,
        reply: Option<(RequestId, &Result<Reply, DmError>)>,
        out: &mut Outbox,
    ) -> Result<Lsn, DmError> {
        let entry = Entry {
            records: self.with_counts(records),
            reply: reply.map(|(id, outcome)| (id, proto::encode(outcome))),
        };
        self.intend(&entry);
        let lsn = self.append(&entry)?;
        if matches!(entry.records.first(), Some(Record::EventUnwanted { .. })) {
            // Also what was counted for a file system that is not served any more.
            self.unwanted.clear();
        }
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

    /// The records, and before them those of the events that were dropped meanwhile: an entry for each would be dear.
    /// What only makes the state smaller goes alone, as it may use the journal's reserve.
    fn with_counts(&self, records: Vec<Record>) -> Vec<Record> {
        if self.unwanted.is_empty() || records.iter().all(drains) {
            return records;
        }
        self.unwanted
            .iter()
            .filter(|((fs, _), _)| self.model.file_system(*fs).is_ok())
            .map(|((fs, kind), count)| Record::EventUnwanted {
                fs: *fs,
                kind: *kind,
                count: *count,
            })
            .chain(records)
            .collect()
    }

    /// How many events of a file system were dropped, as nobody wanted them.
    pub fn dropped_events(&self, fs: FsId) -> Vec<(EventType, u64)> {
        let mut counts: BTreeMap<EventType, u64> = BTreeMap::new();
        let recorded = self.model.unwanted();
        let fresh = self
            .unwanted
            .iter()
            .map(|((fs, kind), count)| (*fs, *kind, *count));
        for (_, kind, count) in recorded.chain(fresh).filter(|(of, ..)| *of == fs) {
            *counts.entry(kind).or_default() += count;
        }
        counts.into_iter().collect()
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
            Err(JournalError::Full) if self.full_at == Some(self.journal.log_used()) => {
                return Err(DmError::NoSpace);
            }
            Err(JournalError::Full) => self.checkpoint(),
            Err(error) => return Err(refused(&error)),
        }
        self.journal.append_entry(entry, priority).map_err(|error| {
            // Nothing was answered since: another checkpoint would be as much in vain, and is dear.
            self.full_at = Some(self.journal.log_used());
            refused(&error)
        })
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
            | Record::FuseViewGone { .. }
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

//! The state of a node, and the two ways into it.
//!
//! *Planning* functions look at the state and a request, and give the records that carry it out, or the
//! error of the standard; they change nothing. [`Model::apply`] changes the state by an [`Entry`], and
//! says in [`Effect`]s what the engine has to do now. A plan must be applied before the next one is made:
//! it names the ids that are free now.
//!
//! Invariants (held by [`Model::check`]): a live event is in exactly one place: waiting for a
//! disposition, queued in a session, or outstanding there; a live token names one live event; rights of
//! different tokens on a handle never conflict; only outstanding events have rights and holds.

mod check;
mod delivery;
mod disposition;
mod event;
mod event_state;
mod file_system;
mod inherit;
mod reply;
mod right;
mod session;
mod table;
mod view;

use serde::{Deserialize, Serialize};

use self::table::{Set, Table};
use super::error::DmError;
use super::event::{Answer, Event, EventSet, EventType, MountBody, Origin};
use super::file::FuseMount;
use super::file::Inherit;
use super::handle::{FsId, Handle};
use super::ids::{ClientId, Sequence, Serial, SessionId, Token};
use super::record::{Entry, Record, Right};

pub use self::disposition::changed_list;
pub use self::event::{Fate, NewEvent, Place};
pub use self::reply::Kept;
pub use self::right::{conflicts, stronger};
pub use self::view::FurtherMount;

/// An entry does not follow from the state: the journal is damaged, or another version wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// What does not fit, for the log.
    pub why: String,
}

impl Corrupt {
    fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

impl std::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a record does not follow from the state: {}", self.why)
    }
}

impl std::error::Error for Corrupt {}

/// What the engine has to do after an entry was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The operation or request behind an event goes on with this answer (never `DontCare`).
    Answered {
        /// Who waits; never `Nobody`.
        origin: Origin,
        /// How it ends.
        answer: Answer,
    },
    /// Messages entered the queue of a session: waiting getters look again.
    Queued {
        /// Whose queue.
        session: SessionId,
    },
    /// A session goes on under a new id: what waits on its queue or is reserved from it goes on there.
    Renamed {
        /// The dead id.
        old: SessionId,
        /// The new one.
        new: SessionId,
    },
    /// Rights ended or were lowered: who waits for a right on these handles looks again.
    RightsReleased {
        /// Sorted, each once.
        handles: Vec<Handle>,
    },
    /// The event list or a disposition of a file system changed: its source is told.
    InterestChanged {
        /// Which one.
        fs: FsId,
    },
}

/// What a request comes to: the records to append (none: nothing changes) and the data of its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<T> {
    /// For [`Entry::records`].
    pub records: Vec<Record>,
    /// What the caller is told.
    pub value: T,
}

impl<T> Plan<T> {
    fn new(records: Vec<Record>, value: T) -> Self {
        Self { records, value }
    }

    fn one(record: Record, value: T) -> Self {
        Self::new(vec![record], value)
    }

    /// The entry of the plan without a kept reply.
    pub fn into_entry(self) -> Entry {
        Entry {
            records: self.records,
            reply: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Session {
    info: Vec<u8>,
    wants_mounts: bool,
    wants_cancels: bool,
}

/// A file system that is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileSystem {
    /// What its MOUNT event said.
    pub mount: MountBody,
    /// Its event list.
    pub list: EventSet,
    /// Who gets which attribute when an object dies.
    pub return_on_destroy: Option<(SessionId, [u8; 8])>,
    /// DESTROY events have a token.
    pub destroy_is_answered: bool,
}

/// What a token has on a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    right: Right,
    held: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Counters {
    next_session: u32,
    next_token: u32,
    /// All token numbers were given once: each number may have been issued.
    tokens_wrapped: bool,
    next_sequence: u64,
    event_bytes: u64,
    /// Entries with a reply; orders the kept replies.
    replies: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            next_session: 1,
            next_token: 1,
            tokens_wrapped: false,
            next_sequence: 1,
            event_bytes: 0,
            replies: 0,
        }
    }
}

/// The whole state. A checkpoint is its serialisation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    counters: Counters,
    sessions: Table<SessionId, Session>,
    /// All live events, wherever they are.
    events: Table<Sequence, Event>,
    places: Table<Sequence, Place>,
    /// Events without a session; `places` read from the other side, as are the next two.
    waiting: Set<(FsId, Sequence)>,
    queues: Set<(SessionId, Sequence)>,
    outstanding: Set<(SessionId, Token)>,
    tokens: Table<Token, Sequence>,
    serials: Table<Serial, Sequence>,
    /// Sessions that answered a MOUNT event with DONTCARE.
    asked: Table<Sequence, Vec<SessionId>>,
    /// The last answered tokens and whose they were, at most [`super::limits::ANSWERED_MAX`]: the lowest
    /// number goes first. A token that is not here, but was issued, counts as one of whoever asks.
    answered: Table<Token, SessionId>,
    grants: Table<(Token, Handle), Grant>,
    /// `grants` by handle.
    holders: Set<(Handle, Token)>,
    file_systems: Table<FsId, FileSystem>,
    dispositions: Table<(FsId, EventType), SessionId>,
    unwanted: Table<(FsId, EventType), u64>,
    kept: Table<ClientId, reply::KeptRow>,
    /// Not bound to a mount: the file system need not be served.
    inherits: Set<(FsId, Inherit)>,
    #[serde(skip)]
    later: Later,
    #[serde(skip)]
    views: Views,
}

/// The part of the state that the first format of the journal did not have. In a checkpoint it follows the
/// [`Model`]; where nothing follows it is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Later {
    fuse_mounts: Table<FsId, FuseMount>,
}

/// What the second format did not have either: it follows [`Later`] in the same way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Views {
    /// Further mounts by age: each has a higher number than those that were there when it came.
    further: Table<(FsId, u64), FurtherMount>,
}

/// Calls a method of each table.
macro_rules! each_table {
    ($model:ident . $method:ident) => {
        $model.sessions.$method();
        $model.events.$method();
        $model.places.$method();
        $model.waiting.$method();
        $model.queues.$method();
        $model.outstanding.$method();
        $model.tokens.$method();
        $model.serials.$method();
        $model.asked.$method();
        $model.answered.$method();
        $model.grants.$method();
        $model.holders.$method();
        $model.file_systems.$method();
        $model.dispositions.$method();
        $model.unwanted.$method();
        $model.kept.$method();
        $model.inherits.$method();
        $model.later.fuse_mounts.$method();
        $model.views.further.$method();
    };
}

impl Model {
    /// Carries out an entry. On `Corrupt` the state is what it was before.
    pub fn apply(&mut self, entry: &Entry) -> Result<Vec<Effect>, Corrupt> {
        let counters = self.counters;
        let mut effects = Vec::new();
        let mut outcome = Ok(());
        for record in &entry.records {
            outcome = self.apply_record(record, &mut effects);
            if outcome.is_err() {
                break;
            }
        }
        if outcome.is_ok()
            && let Some((id, bytes)) = &entry.reply
        {
            self.keep_reply(*id, bytes.clone());
        }
        match outcome {
            Ok(()) => {
                each_table!(self.keep);
                Ok(effects)
            }
            Err(corrupt) => {
                each_table!(self.take_back);
                self.counters = counters;
                Err(corrupt)
            }
        }
    }

    fn apply_record(&mut self, record: &Record, effects: &mut Vec<Effect>) -> Result<(), Corrupt> {
        match record {
            Record::SessionCreated { session, info } => self.session_created(*session, info),
            Record::SessionAssumed { old, new, info } => {
                self.session_assumed(*old, *new, info, effects)
            }
            Record::SessionDestroyed { session } => self.session_destroyed(*session, effects),
            Record::EventQueued { session, fs, event } => {
                self.event_queued(*session, *fs, event, effects)
            }
            Record::UserEventCreated { session, event } => self.user_event_created(*session, event),
            Record::EventsReceived { session, sequences } => {
                self.events_received(*session, sequences)
            }
            Record::EventAnswered {
                session,
                token,
                answer,
            } => self.event_answered(*session, *token, *answer, effects),
            Record::EventMoved { from, token, to } => self.event_moved(*from, *token, *to),
            Record::EventWithdrawn { sequence } => self.event_withdrawn(*sequence),
            Record::EventOrphaned { sequence } => self.event_orphaned(*sequence),
            Record::DispositionSet {
                session,
                fs,
                events,
                mask,
            } => self.disposition_set(*session, *fs, *events, *mask, effects),
            Record::MountInterestSet {
                session,
                interested,
            } => self.mount_interest_set(*session, *interested),
            Record::EventListSet { fs, events } => self.event_list_set(*fs, *events, effects),
            Record::ReturnOnDestroySet { fs, registration } => {
                self.return_on_destroy_set(*fs, *registration, effects)
            }
            Record::RightSet {
                token,
                handle,
                right,
            } => self.right_set(*token, *handle, *right, effects),
            Record::HoldSet {
                token,
                handle,
                held,
            } => self.hold_set(*token, *handle, *held),
            Record::FsAdded { fs, mount } => self.fs_added(*fs, mount, effects),
            Record::FsDropped { fs } => self.fs_dropped(*fs, effects),
            Record::MountAsked {
                sequence,
                session,
                next,
            } => self.mount_asked(*sequence, *session, *next, effects),
            Record::ClientGone { client } => {
                self.kept.remove(*client);
                Ok(())
            }
            Record::InheritSet { fs, inherit } => self.inherit_set(*fs, *inherit, effects),
            Record::InheritCleared { fs, name } => self.inherit_cleared(*fs, *name, effects),
            Record::DestroyAnswered { fs, answered } => self.destroy_answered_set(*fs, *answered),
            Record::SessionRenamed { session, info } => self.session_renamed(*session, info),
            Record::CancelInterestSet {
                session,
                interested,
            } => self.cancel_interest_set(*session, *interested),
            Record::FsThroughFuse { fs, fuse } => self.fs_through_fuse(*fs, *fuse),
            Record::FuseViewAdded {
                fs,
                device,
                mount,
                fuse,
            } => {
                let (device, mount, fuse) = (*device, mount.clone(), *fuse);
                let view = FurtherMount {
                    device,
                    mount,
                    fuse,
                };
                self.view_added(*fs, view)
            }
            Record::FuseViewGone { fs, device } => self.view_gone(*fs, *device),
            Record::EventUnwanted { fs, kind, count } => self.events_unwanted(*fs, *kind, *count),
        }
    }

    /// The parts that a checkpoint has behind the rest, in their order.
    pub fn later(&self) -> (&Later, &Views) {
        (&self.later, &self.views)
    }

    /// The state with those parts, as a checkpoint had them.
    #[must_use]
    pub fn with_later(self, later: Later, views: Views) -> Self {
        Self {
            later,
            views,
            ..self
        }
    }

    /// Is the session alive? Else `EINVAL`.
    pub fn check_session(&self, session: SessionId) -> Result<(), DmError> {
        match self.sessions.has(session) {
            true => Ok(()),
            false => Err(DmError::Invalid),
        }
    }

    /// Is the file system served? Else `EBADF`.
    pub fn file_system(&self, fs: FsId) -> Result<&FileSystem, DmError> {
        self.file_systems.get(fs).ok_or(DmError::BadHandle)
    }
}

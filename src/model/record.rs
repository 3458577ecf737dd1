//! What the journal keeps. An [`Entry`] is applied whole or not at all.

use serde::{Deserialize, Serialize};

use super::event::{Answer, Event, EventSet, EventType, MountBody};
use super::file::FuseMount;
use super::file::Inherit;
use super::handle::{FsId, Handle};
use super::ids::{ClientId, RequestId, Sequence, SessionId, Token};

/// `dm_right_t`, ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Right {
    /// `DM_RIGHT_NULL`.
    Null,
    /// `DM_RIGHT_SHARED`.
    Shared,
    /// `DM_RIGHT_EXCL`.
    Exclusive,
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Record {
    /// A session begins.
    SessionCreated { session: SessionId, info: Vec<u8> },
    /// A session goes on under a new id and string; the old id is dead.
    SessionAssumed {
        old: SessionId,
        new: SessionId,
        info: Vec<u8>,
    },
    /// A session ends, with its dispositions.
    SessionDestroyed { session: SessionId },
    /// An event enters the queue of a session; `None`: it waits for a disposition of its kind on `fs`.
    EventQueued {
        session: Option<SessionId>,
        fs: Option<FsId>,
        event: Event,
    },
    /// `dm_create_userevent`: outstanding from the start.
    UserEventCreated { session: SessionId, event: Event },
    /// Messages were received: synchronous ones are outstanding now, asynchronous ones gone.
    EventsReceived {
        session: SessionId,
        sequences: Vec<Sequence>,
    },
    /// An outstanding event was answered; rights and holds of its token end.
    EventAnswered {
        session: SessionId,
        token: Token,
        answer: Answer,
    },
    /// An outstanding event moved to another session. The token stays the same number.
    EventMoved {
        from: SessionId,
        token: Token,
        to: SessionId,
    },
    /// An event that nobody received is withdrawn: its originator is gone.
    EventWithdrawn { sequence: Sequence },
    /// The originator of an event is gone, the event stays and must be answered; the answer goes nowhere.
    EventOrphaned { sequence: Sequence },
    /// `dm_set_disp` on a file system: the bits of `mask` are replaced by those of `events`. Events that
    /// waited for it enter the session's queue.
    DispositionSet {
        session: SessionId,
        fs: FsId,
        events: EventSet,
        mask: EventSet,
    },
    /// `dm_set_disp` on the global handle.
    MountInterestSet {
        session: SessionId,
        interested: bool,
    },
    /// `dm_set_eventlist` on a file system: the whole list after the change.
    EventListSet { fs: FsId, events: EventSet },
    /// `dm_set_return_on_destroy`; the session takes the disposition of DESTROY too.
    ReturnOnDestroySet {
        fs: FsId,
        registration: Option<(SessionId, [u8; 8])>,
    },
    /// The right that a token holds from now on; `Null` ends it.
    RightSet {
        token: Token,
        handle: Handle,
        right: Right,
    },
    /// `dm_obj_ref_hold` and `_rele`.
    HoldSet {
        token: Token,
        handle: Handle,
        held: bool,
    },
    /// A file system is served from now on.
    FsAdded { fs: FsId, mount: MountBody },
    /// A file system is gone: its dispositions, list, rights and holds end; what waited on it fails with EIO.
    FsDropped { fs: FsId },
    /// `session` answered a MOUNT event with DONTCARE: it goes to the next one under a new token, or,
    /// where nobody is left, the mount proceeds.
    MountAsked {
        sequence: Sequence,
        session: SessionId,
        next: Option<(SessionId, Token)>,
    },
    /// A client process is gone for good: its kept reply goes.
    ClientGone { client: ClientId },
    /// So many events of this kind were dropped, as nobody has their disposition; for `dmctl status`.
    EventUnwanted {
        fs: FsId,
        kind: EventType,
        count: u64,
    },
    /// `dm_set_inherit`. Outlives the mount.
    InheritSet { fs: FsId, inherit: Inherit },
    /// `dm_clear_inherit`: new objects of no kind get the attribute any more.
    InheritCleared { fs: FsId, name: [u8; 8] },
    /// Do DESTROY events of the file system have a token from now on?
    DestroyAnswered { fs: FsId, answered: bool },
    /// A session was assumed under its own id.
    SessionRenamed { session: SessionId, info: Vec<u8> },
    /// `dmx_set_cancel`: does the session get CANCEL events?
    CancelInterestSet {
        session: SessionId,
        interested: bool,
    },
    /// The file system, just added, is served through this FUSE mount.
    FsThroughFuse { fs: FsId, fuse: FuseMount },
    /// The file system, which is served through FUSE, got a further mount. `device`: its `st_dev`.
    FuseViewAdded {
        fs: FsId,
        device: u64,
        mount: MountBody,
        fuse: FuseMount,
    },
    /// One of its mounts is gone, and others are left. `None`: the oldest; the next one takes its place.
    FuseViewGone { fs: FsId, device: Option<u64> },
}

/// What one append of the journal holds: applied whole or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The changes, in order.
    pub records: Vec<Record>,
    /// The request that caused them and its encoded reply, so that a request which is sent again
    /// after the death of a worker is answered and not carried out twice.
    pub reply: Option<(RequestId, Vec<u8>)>,
}

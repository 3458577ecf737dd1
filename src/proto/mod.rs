//! What goes over the control socket: one `SOCK_SEQPACKET` packet is one postcard-encoded [`Call`] or [`Back`].
//!
//! A connection carries one request at a time. `Request::Enter` and `Request::Mount` move descriptors
//! with SCM_RIGHTS. A request whose worker died is sent again over a new connection with the same
//! [`RequestId`] and `again` set; the engine answers it from its kept reply if it was carried out.

use serde::{Deserialize, Serialize};

use crate::model::event::{Event, EventSet, EventType, MountBody};
pub use crate::model::file::OpenFor;
use crate::model::file::{AttrChange, FuseMount, Inherit, Kinds, ObjectStat, Region};
use crate::model::handle::{FsId, Handle};
use crate::model::ids::{ClientId, RequestId, Sequence, SessionId, Token};
use crate::model::record::Right;
use crate::model::{Answer, DmError};

/// Changes with every incompatible change of this module.
pub const VERSION: u32 = 1;
/// The longest packet: a DM attribute of 64 KiB, a batch of event messages, or all tokens of a session, and room for
/// the rest. A socket's default buffer (208 KiB) must take one.
pub const PACKET_BYTES_MAX: usize = 176 * 1024;
/// `DM_CONFIG_MAX_MESSAGE_DATA`.
pub const MESSAGE_BYTES_MAX: usize = 3960;

/// One packet from a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Call {
    /// The first packet of a connection.
    Hello {
        /// [`VERSION`] of the client.
        version: u32,
        /// Its connection slot.
        client: ClientId,
    },
    /// A request; the answer is `Back::Done` with the same number.
    Do {
        /// Names the request.
        id: RequestId,
        /// It was sent before, to a worker that is dead.
        again: bool,
        /// What to do.
        request: Request,
    },
    /// Gives up waiting for request `number`; it is answered all the same, `Interrupted` if it had not happened.
    GiveUp {
        /// The number of the waiting request.
        number: u64,
    },
    /// Ends what `Request::Enter` began. No answer.
    Leave,
}

/// One packet to a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Back {
    /// Answers `Call::Hello`.
    Welcome {
        /// Grows with each worker of this daemon.
        generation: u64,
    },
    /// The daemon refuses the client.
    Refused {
        /// For the log.
        reason: String,
    },
    /// Answers request `number`.
    Done {
        /// The number of the request.
        number: u64,
        /// What came of it.
        outcome: Result<Reply, DmError>,
    },
}

/// Session, handle and token as every file call has them. `token` `None` is `DM_NO_TOKEN`;
/// a token that no application can hold (0, negative) was refused before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The session.
    pub session: SessionId,
    /// The object.
    pub handle: Handle,
    /// The token, or none.
    pub token: Option<Token>,
}

impl Target {
    /// Session, handle, token: as the rules of the model take them.
    pub fn parts(self) -> (SessionId, Handle, Option<Token>) {
        (self.session, self.handle, self.token)
    }
}

/// A managed file system, as `dm_path_to_handle` and `dmctl status` need it. One with several FUSE mounts has an entry
/// for each, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsEntry {
    /// Its id.
    pub fs: FsId,
    /// What its MOUNT event said.
    pub mount: MountBody,
    /// `xfs`, `ext4`, `btrfs` ...
    pub kind: String,
    /// `fanotify`, `fuse`.
    pub source: String,
    /// `st_dev` of its objects as users see them (that of the FUSE mount); a path on another device is not in it.
    pub device: u64,
    /// Events that its source produces.
    pub events: EventSet,
    /// Its event list.
    pub list: EventSet,
    /// Events that were dropped, as no session had their disposition.
    pub dropped: Vec<(EventType, u64)>,
}

impl FsEntry {
    /// Do users see it through a FUSE mount?
    pub fn is_through_fuse(&self) -> bool {
        self.source == "fuse"
    }
}

/// What a client may ask. A library that is loaded speaks to the daemon of an upgrade: from the first release
/// on variants and fields are only appended, or [`VERSION`] grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Request {
    /// Is anybody there? Measures the socket, too.
    Ping,
    CreateSession {
        old: Option<SessionId>,
        info: Vec<u8>,
    },
    /// The session is assumed under its own id: it gets another string.
    RenameSession {
        session: SessionId,
        info: Vec<u8>,
    },
    DestroySession {
        session: SessionId,
    },
    GetAllSessions,
    QuerySession {
        session: SessionId,
    },

    /// Reserves messages for this connection; `Commit` takes them, `Call::Leave` or its end gives them back.
    /// `count_max` 0: as many as fit; `bytes_max`: room in the caller's buffer, as `Event::message_bytes` counts.
    GetEvents {
        session: SessionId,
        count_max: u32,
        bytes_max: u64,
        wait: bool,
    },
    /// The messages are in the caller's buffer. Fails with `Again` if the reservation was lost: ask anew.
    Commit {
        session: SessionId,
        sequences: Vec<Sequence>,
    },
    RespondEvent {
        session: SessionId,
        token: Token,
        answer: Answer,
    },
    MoveEvent {
        from: SessionId,
        token: Token,
        to: SessionId,
    },
    FindEvent {
        session: SessionId,
        token: Token,
    },
    GetAllTokens {
        session: SessionId,
    },
    CreateUserEvent {
        session: SessionId,
        data: Vec<u8>,
    },
    SendMessage {
        session: SessionId,
        synchronous: bool,
        data: Vec<u8>,
    },
    Pending {
        session: SessionId,
        token: Token,
        delay_ms: u64,
    },

    SetDisposition {
        target: Target,
        events: EventSet,
        mask: EventSet,
        /// DESTROY events have a token and must be answered.
        answers_destroy: bool,
    },
    GetAllDispositions {
        session: SessionId,
    },
    /// `dmx_set_cancel`.
    SetCancel {
        session: SessionId,
        enable: bool,
    },
    /// On a file system or an object.
    SetEventList {
        target: Target,
        events: EventSet,
        mask: EventSet,
        /// Events that the list of a file system may have besides.
        extra_on_fs: EventSet,
    },
    GetEventList {
        target: Target,
    },
    SetReturnOnDestroy {
        target: Target,
        name: [u8; 8],
        enable: bool,
        /// As of `SetDisposition`.
        answers_destroy: bool,
    },

    /// `mode`: as of `dm_set_inherit`.
    SetInherit {
        target: Target,
        name: [u8; 8],
        mode: u32,
    },
    ClearInherit {
        target: Target,
        name: [u8; 8],
    },
    GetAllInherit {
        target: Target,
    },

    RequestRight {
        target: Target,
        wait: bool,
        right: Right,
    },
    ReleaseRight {
        target: Target,
    },
    QueryRight {
        target: Target,
    },
    UpgradeRight {
        target: Target,
    },
    DowngradeRight {
        target: Target,
    },
    Hold {
        target: Target,
    },
    Release {
        target: Target,
    },
    QueryHold {
        target: Target,
    },

    /// Takes `right` on the object for this connection (waits for others; no right is taken where the token
    /// holds it), opens the object, and replies with its descriptor. `Call::Leave` ends it.
    Enter {
        target: Target,
        right: Right,
        kinds: Kinds,
        open: OpenFor,
    },
    /// Opens an object for a call that has no session (`dm_handle_to_path`, `dm_get_config`): no right is
    /// taken, nothing has to be left. The reply is as for `Enter`; for a file-system handle it is its root.
    Look {
        handle: Handle,
        kinds: Kinds,
        open: OpenFor,
    },
    /// Has anybody the object open or mapped? Only looked at for regular files.
    IsOpen {
        target: Target,
    },
    SetRegions {
        target: Target,
        regions: Vec<Region>,
        sync: bool,
    },
    PunchHole {
        target: Target,
        offset: u64,
        length: u64,
    },
    SetAttribute {
        target: Target,
        name: [u8; 8],
        set_dtime: bool,
        value: Vec<u8>,
        sync: bool,
    },
    RemoveAttribute {
        target: Target,
        name: [u8; 8],
        set_dtime: bool,
        sync: bool,
    },
    SetFileAttr {
        target: Target,
        change: AttrChange,
    },
    SyncFile {
        target: Target,
    },
    GetMountInfo {
        target: Target,
    },

    /// All managed file systems.
    FileSystems,
    /// A file system is about to be mounted, or (`manage`) is mounted already. With a descriptor: the
    /// detached mount from fsmount(2), or the mounted root. MOUNT is delivered; the reply comes after its answer.
    Mount {
        path: Vec<u8>,
        device: Vec<u8>,
        read_only: bool,
        manage: bool,
        force: bool,
    },
    /// PREUNMOUNT (unless `forced`) is delivered and answered; then the caller unmounts.
    PrepareUnmount {
        fs: FsId,
        forced: bool,
    },
    /// The unmount is done (or failed with `errno`): UNMOUNT is delivered.
    Unmounted {
        fs: FsId,
        errno: i32,
        forced: bool,
    },
    /// For `dmctl status` and `explain`: what the worker alone knows.
    Status,
    /// Ends the daemon. `Busy` while file systems are served, unless `force`.
    Stop {
        force: bool,
    },
    /// The installed program takes the place of the running one; nobody sees an error.
    Upgrade,
    /// As `Mount`, through FUSE. Two descriptors: the directory behind, and `/dev/fuse` of the detached mount.
    MountFuse {
        path: Vec<u8>,
        /// The path of the directory behind.
        backing: Vec<u8>,
        /// `st_dev` of the mount.
        device: u64,
        fuse: FuseMount,
    },
    /// Looks at an object with the shared right, which ends with the reply. `Reply::Long`: what was found is longer
    /// than a packet; `Enter` reads it.
    Inspect {
        target: Target,
        what: Inspection,
    },
}

/// What a call wants to know of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Inspection {
    /// The value of a DM attribute: `Reply::Value`.
    Attribute([u8; 8]),
    /// All of them: `Reply::Attributes`.
    Attributes,
    /// `Reply::Regions`.
    Regions,
    /// `Reply::Stat`: what `DM_AT_*` names and perhaps more.
    Stat {
        /// `AttrMask`.
        mask: u32,
        /// `dtime` also of objects without DM attributes.
        dtime_alone: bool,
    },
}

/// What the daemon says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct StatusReply {
    pub supervisor_pid: u32,
    pub worker_pid: u32,
    pub generation: u64,
    pub started_ms: u64,
    pub journal: String,
    pub events_blocked: u64,
    pub connections: u64,
    /// Calls that wait, in words: (pid of the caller, what for).
    pub waiting: Vec<(u32, String)>,
}

/// What a request gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Reply {
    Nothing,
    Session(SessionId),
    Sessions(Vec<SessionId>),
    Info(Vec<u8>),
    Events(Vec<Event>),
    Token(Token),
    Tokens(Vec<Token>),
    /// `dm_send_msg` SYNC was answered.
    Answered(Answer),
    Dispositions(Vec<(FsId, EventSet)>),
    EventList(EventSet),
    Right(Right),
    Held(bool),
    Open(bool),
    /// The object is open; one descriptor comes along. `kind` is one of `Kinds`.
    Entered {
        kind: Kinds,
    },
    /// `dm_set_region`: is what is kept exactly what was asked?
    Exact(bool),
    MountInfo(MountBody),
    Inherits(Vec<Inherit>),
    FileSystems(Vec<FsEntry>),
    Managed(FsId),
    Status(Box<StatusReply>),
    Value(Vec<u8>),
    /// Name and value.
    Attributes(Vec<([u8; 8], Vec<u8>)>),
    Regions(Vec<Region>),
    Stat(Box<ObjectStat>),
    /// It is longer than a packet.
    Long,
}

/// The bytes of a packet.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Writing into a Vec fails only for types that cannot be serialised; the tests encode each variant.
    postcard::to_stdvec(message).unwrap_or_default()
}

/// Reads a packet; `None` if it is no such message or has bytes left over.
pub fn decode<'a, T: Deserialize<'a>>(packet: &'a [u8]) -> Option<T> {
    let (message, rest) = postcard::take_from_bytes(packet).ok()?;
    rest.is_empty().then_some(message)
}

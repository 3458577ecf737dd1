//! Events: their numbers (SGI numbering), sets, contents, and who waits for the answer.

use serde::{Deserialize, Serialize};

use super::handle::Handle;
use super::ids::{RequestId, Sequence, Serial, Token};

/// `dm_eventtype_t`, SGI numbering; the three of the IBM family lie above `DM_EVENT_MAX` (23).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum EventType {
    Cancel = 0,
    Mount = 1,
    PreUnmount = 2,
    Unmount = 3,
    Debut = 4,
    Create = 5,
    Close = 6,
    PostCreate = 7,
    Remove = 8,
    PostRemove = 9,
    Rename = 10,
    PostRename = 11,
    Link = 12,
    PostLink = 13,
    Symlink = 14,
    PostSymlink = 15,
    Read = 16,
    Write = 17,
    Truncate = 18,
    Attribute = 19,
    Destroy = 20,
    NoSpace = 21,
    User = 22,
    PrePermChange = 24,
    PostPermChange = 25,
    DirectRead = 26,
}

/// `DM_EVENT_MAX`.
pub const EVENT_MAX: u32 = 23;

impl EventType {
    /// All of them, in numeric order.
    pub const ALL: [Self; 26] = [
        Self::Cancel,
        Self::Mount,
        Self::PreUnmount,
        Self::Unmount,
        Self::Debut,
        Self::Create,
        Self::Close,
        Self::PostCreate,
        Self::Remove,
        Self::PostRemove,
        Self::Rename,
        Self::PostRename,
        Self::Link,
        Self::PostLink,
        Self::Symlink,
        Self::PostSymlink,
        Self::Read,
        Self::Write,
        Self::Truncate,
        Self::Attribute,
        Self::Destroy,
        Self::NoSpace,
        Self::User,
        Self::PrePermChange,
        Self::PostPermChange,
        Self::DirectRead,
    ];

    /// Its bit in an event set.
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// Is it a message that nobody waits for? (DESTROY: the default dialect. USER events say it themselves.)
    pub fn is_asynchronous(self) -> bool {
        matches!(
            self,
            Self::Cancel
                | Self::PostCreate
                | Self::PostRemove
                | Self::PostRename
                | Self::PostLink
                | Self::PostSymlink
                | Self::Attribute
                | Self::Close
                | Self::Destroy
                | Self::PostPermChange
        )
    }

    /// The name of the standard without its prefix, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cancel => "CANCEL",
            Self::Mount => "MOUNT",
            Self::PreUnmount => "PREUNMOUNT",
            Self::Unmount => "UNMOUNT",
            Self::Debut => "DEBUT",
            Self::Create => "CREATE",
            Self::Close => "CLOSE",
            Self::PostCreate => "POSTCREATE",
            Self::Remove => "REMOVE",
            Self::PostRemove => "POSTREMOVE",
            Self::Rename => "RENAME",
            Self::PostRename => "POSTRENAME",
            Self::Link => "LINK",
            Self::PostLink => "POSTLINK",
            Self::Symlink => "SYMLINK",
            Self::PostSymlink => "POSTSYMLINK",
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Truncate => "TRUNCATE",
            Self::Attribute => "ATTRIBUTE",
            Self::Destroy => "DESTROY",
            Self::NoSpace => "NOSPACE",
            Self::User => "USER",
            Self::PrePermChange => "PREPERMCHANGE",
            Self::PostPermChange => "POSTPERMCHANGE",
            Self::DirectRead => "DIRECT_READ",
        }
    }
}

/// `dm_eventset_t`: bit `1 << number`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventSet(pub u64);

impl EventSet {
    /// A set of the given events.
    pub fn of(events: &[EventType]) -> Self {
        Self(events.iter().fold(0, |set, event| set | event.bit()))
    }

    /// Is the event in the set?
    pub fn has(self, event: EventType) -> bool {
        self.0 & event.bit() != 0
    }

    /// The events of the set, in numeric order.
    pub fn iter(self) -> impl Iterator<Item = EventType> {
        EventType::ALL
            .into_iter()
            .filter(move |event| self.has(*event))
    }
}

/// The body of a MOUNT event, kept for `dm_get_mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountBody {
    /// `me_mode`: 1 read only, else 0.
    pub mode: u32,
    /// The file system.
    pub fs: Handle,
    /// The directory it is mounted on, if that lies in a managed file system.
    pub mount_point: Option<Handle>,
    /// Path of the mount point, without NUL.
    pub path: Vec<u8>,
    /// Device or source, without NUL.
    pub device: Vec<u8>,
    /// Root directory of the file system.
    pub root: Handle,
}

/// `dm_namesp_event_t`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceBody {
    /// `ne_mode`.
    pub mode: u32,
    /// `ne_handle1`.
    pub handle1: Option<Handle>,
    /// `ne_handle2`.
    pub handle2: Option<Handle>,
    /// `ne_name1` without NUL; empty if absent.
    pub name1: Vec<u8>,
    /// `ne_name2` without NUL; empty if absent.
    pub name2: Vec<u8>,
    /// `ne_retcode`.
    pub retcode: i32,
}

impl NamespaceBody {
    /// Of an event that says nothing but which object it is about.
    pub fn about(object: Handle) -> Self {
        Self {
            mode: 0,
            handle1: Some(object),
            handle2: None,
            name1: Vec::new(),
            name2: Vec::new(),
            retcode: 0,
        }
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventBody {
    /// `dm_cancel_event_t`.
    Cancel {
        /// Sequence of the withdrawn event.
        sequence: Sequence,
        /// Its token.
        token: Token,
    },
    /// `dm_mount_event_t`.
    Mount(MountBody),
    /// `dm_data_event_t` (READ, WRITE, TRUNCATE).
    Data {
        /// The file.
        handle: Handle,
        /// Offset of the operation; the new size for TRUNCATE.
        offset: u64,
        /// Bytes of the operation; 0 for TRUNCATE.
        length: u64,
        /// The size of the file, if it is a mapping that is made.
        mapped: Option<u64>,
    },
    /// `dm_namesp_event_t`.
    Namespace(NamespaceBody),
    /// `dm_destroy_event_t`.
    Destroy {
        /// What the object's handle was.
        handle: Handle,
        /// Name and value of the attribute asked for by return-on-destroy, if the object had it.
        copy: Option<([u8; 8], Vec<u8>)>,
    },
    /// The bytes of `dm_send_msg` or `dm_create_userevent`.
    User(Vec<u8>),
}

/// Who waits for the answer of an event, or made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// Nobody: an asynchronous event, or one of `dm_create_userevent`.
    Nobody,
    /// An operation that an event source holds.
    Source(Serial),
    /// A request that waits (`dm_send_msg`, `dmctl mount`).
    Request(RequestId),
}

/// One event of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number, unique on the node.
    pub sequence: Sequence,
    /// Set for every synchronous event, also while it is not delivered.
    pub token: Option<Token>,
    /// What it is.
    pub kind: EventType,
    /// What it says.
    pub body: EventBody,
    /// Who waits.
    pub origin: Origin,
    /// Process that caused it, 0 if unknown; for people.
    pub pid: u32,
    /// CLOCK_REALTIME in milliseconds when it was made; for people.
    pub made_ms: u64,
}

/// What an application answers, after its arguments were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// `DM_RESP_CONTINUE`.
    Continue,
    /// `DM_RESP_ABORT` with the errno for the user, > 0.
    Abort(i32),
    /// `DM_RESP_DONTCARE` (MOUNT only).
    DontCare,
}

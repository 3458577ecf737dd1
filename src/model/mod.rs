//! The standard's rules as a deterministic state machine: sessions, queues, tokens, rights, holds,
//! dispositions, event lists of file systems, return-on-destroy, mounts.
//!
//! No I/O, no clock, no threads, no unsafe. State changes only by applying an [`Entry`]; every
//! process that applies the same entries has the same state.

pub mod error;
pub mod event;
pub mod file;
pub mod handle;
pub mod ids;
pub mod limits;
pub mod machine;
pub mod message;
pub mod record;

pub use error::DmError;
pub use event::{Answer, Event, EventBody, EventSet, EventType, MountBody, NamespaceBody, Origin};
pub use file::{
    AttrChange, AttrMask, DioInfo, Extent, FuseMount, FuseOptions, Inherit, Kinds, ObjectStat,
    OpenFor, Region,
};
pub use handle::{FsId, Handle};
pub use ids::{ClientId, RequestId, Sequence, Serial, SessionId, Token};
pub use machine::{Corrupt, Effect, Fate, Model, NewEvent, Plan};
pub use record::{Entry, Record, Right};

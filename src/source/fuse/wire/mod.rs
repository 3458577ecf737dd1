//! The FUSE protocol, 7.45: bytes of `/dev/fuse` to requests, and answers to bytes. No I/O.
//!
//! The names in [`abi`] and [`layout`] are those of linux/fuse.h, with which a test compares them.

pub mod abi;
mod directory;
pub mod layout;
pub mod notify;
mod parse;
pub mod reply;
pub mod request;

pub use directory::DirBuffer;
pub use notify::Notice;
pub use reply::Attr;
pub use reply::Entry;
pub use reply::InitReply;
pub use reply::Opened;
pub use request::Lock;
pub use request::Malformed;
pub use request::Op;
pub use request::Request;
pub use request::SetAttr;
pub use request::SetTime;
pub use request::Time;

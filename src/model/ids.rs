//! The names of things: newtypes, never bare integers.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);
    };
}

id! {
    /// A session (`dm_sessid_t`): 1..=2^31-1, grows with creation, never reused.
    SessionId(u32)
}
id! {
    /// A token (`dm_token_t`): 1..=2^31-1, never reused.
    Token(u32)
}
id! {
    /// `ev_sequence` before it is cut to 32 bits: grows over all sessions of the node, so it names an event.
    Sequence(u64)
}
id! {
    /// One blocked operation of an event source; never reused within the life of the source's arena.
    Serial(u64)
}
id! {
    /// One connection slot of a client process: random, survives reconnection; it carries one request at a time.
    ClientId(u64)
}

/// A request of a client. A client numbers its requests upward from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The connection slot that asks.
    pub client: ClientId,
    /// Its number there.
    pub number: u64,
}

//! The journal of a node: one preallocated file that one writer appends to and everybody else reads.
//!
//! Layout, commit order and every crash case are in docs/journal-format.md; this module mirrors it.
//! Invariants: LSNs grow by one and are never reused; a reader stops at the first record that is
//! not whole and never skips one; what [`Syncer::sync_to`] confirmed is found again after power
//! loss, what [`Journal::append`] returned is found again after the death of any process.

pub mod control;
pub mod error;
mod files;
pub mod follower;
pub mod format;
pub mod inspect;
mod map;
pub mod nodes;
pub mod record;
pub mod recover;
pub mod replay;
pub mod storage;
pub mod sync;
pub mod writer;

pub use control::{Control, Published};
pub use error::JournalError;
pub use follower::{CaughtUp, Follower};
pub use nodes::{Opened, Start};
pub use recover::Recovered;
pub use replay::{Replica, State};
pub use storage::{FileStorage, Storage};
pub use sync::Syncer;
pub use writer::{Journal, Options, Priority, Sizes};

/// Log sequence number of a record: 1 for the first of a node, one more for each, over all log
/// restarts and all journals that adopt each other. 0 means "before the first record".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number of the record after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Lsn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

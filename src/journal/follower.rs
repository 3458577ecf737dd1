//! Readers of a journal that is being written.

use std::path::Path;

use super::Lsn;
use super::error::JournalError;

/// What a [`Follower`] found since its last call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaughtUp {
    /// Set: forget what you have and begin with this state (`None` inside: the empty one).
    pub restarted: Option<Option<Vec<u8>>>,
    /// The bodies that follow, in order, each verified.
    pub entries: Vec<(Lsn, Vec<u8>)>,
    /// The last record seen, now or earlier.
    pub lsn: Lsn,
}

/// Follows the journal that a control page publishes, over log restarts and new incarnations.
pub struct Follower {}

impl Follower {
    /// Follows the journal that the page names.
    pub fn open(control: &Path) -> Result<Self, JournalError> {
        let _ = control;
        todo!()
    }

    /// Everything published since the last call. Never goes backwards, never shows half a record.
    pub fn catch_up(&mut self) -> Result<CaughtUp, JournalError> {
        todo!()
    }
}

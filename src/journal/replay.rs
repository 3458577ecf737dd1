//! From bodies to state: what recovery and every reader do with a journal.

use std::path::Path;

use super::Lsn;
use super::error::JournalError;
use super::follower::Follower;
use super::recover::Recovered;
use crate::model::Entry;

/// A state that is made by applying entries, and nothing else.
pub trait State: Default {
    /// Applies one entry.
    fn apply_entry(&mut self, entry: &Entry);
    /// The bytes of a checkpoint.
    fn encode(&self) -> Vec<u8>;
    /// The reverse; an error in words.
    fn decode(bytes: &[u8]) -> Result<Self, String>;
}

/// The state that a recovered journal holds.
pub fn replay<S: State>(name: &str, recovered: &Recovered) -> Result<S, JournalError> {
    let _ = (name, recovered);
    todo!()
}

/// A state that follows a journal being written.
pub struct Replica<S> {
    follower: Follower,
    state: S,
}

impl<S: State> Replica<S> {
    /// Follows the journal that the control page names.
    pub fn open(control: &Path) -> Result<Self, JournalError> {
        Ok(Self {
            follower: Follower::open(control)?,
            state: S::default(),
        })
    }

    /// The state, at least as of `lsn`; `None`: the journal is not that far.
    pub fn state_at(&mut self, lsn: Lsn) -> Result<Option<&S>, JournalError> {
        let _ = lsn;
        let _ = self.follower.catch_up()?;
        Ok(Some(&self.state))
    }
}

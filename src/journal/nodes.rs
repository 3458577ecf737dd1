//! Which file is a node's journal: `<state>/nodes/<node>/<incarnation>.dmj`, the highest counts.

use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::replay::State;
use super::writer::{Journal, Sizes};

/// Who opens the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A daemon that starts: a new incarnation, which adopts the state of the one before.
    Daemon,
    /// A worker of a daemon that goes on: the same file.
    Worker,
}

/// A node's journal, open, with the state it holds.
pub struct Opened<S> {
    /// The writer.
    pub journal: Journal,
    /// The state, everything recovered applied and durable.
    pub state: S,
    /// The file.
    pub path: PathBuf,
    /// How the log ended that was recovered, for people.
    pub tail: String,
}

impl Journal {
    /// Opens the journal of `node` below `state_dir`, making what is not there.
    pub fn open_in<S: State>(
        state_dir: &Path,
        node: &str,
        start: Start,
        sizes: &Sizes,
    ) -> Result<Opened<S>, JournalError> {
        let _ = (state_dir, node, start, sizes);
        todo!()
    }
}

//! The one writer.

use std::path::Path;
use std::sync::Arc;

use super::Lsn;
use super::control::Control;
use super::error::JournalError;
use super::recover::Recovered;
use super::storage::Storage;
use super::sync::Syncer;
use crate::model::Entry;

/// How much room an append may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// New work: leaves the reserve alone.
    Normal,
    /// Small records that drain the state (answers, ends of sessions): may use the reserve.
    Reserved,
}

/// The parts of the file whose size is chosen at creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of each of the two checkpoint areas.
    pub checkpoint_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            log_bytes: 16 << 20,
            checkpoint_bytes: 8 << 20,
        }
    }
}

/// What a new journal is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the node.
    pub node: String,
    /// Which start of the node's daemon this is.
    pub incarnation: u64,
    /// The epoch of the first records.
    pub epoch: u64,
    /// How big.
    pub sizes: Sizes,
}

/// A journal open for writing: at most one in the world, by an exclusive flock.
pub struct Journal {}

impl Journal {
    /// Creates an empty journal; the file must not exist. All its room is allocated here.
    pub fn create(path: &Path, options: &Options) -> Result<Self, JournalError> {
        let _ = (path, options);
        todo!()
    }

    /// Opens an existing journal to go on writing: everything it recovers is durable on return.
    pub fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        let _ = path;
        todo!()
    }

    /// [`Journal::create`] on any storage, whose bytes are all zero.
    pub fn create_on(storage: Arc<dyn Storage>, options: &Options) -> Result<Self, JournalError> {
        let _ = (storage, options);
        todo!()
    }

    /// [`Journal::open`] on any storage.
    pub fn open_on(storage: Arc<dyn Storage>) -> Result<(Self, Recovered), JournalError> {
        let _ = storage;
        todo!()
    }

    /// Appends one record and publishes it. It survives the death of any process from here on;
    /// power loss only after [`Syncer::sync_to`].
    pub fn append(&mut self, body: &[u8], priority: Priority) -> Result<Lsn, JournalError> {
        let _ = (body, priority);
        todo!()
    }

    /// [`Journal::append`] of an entry of the model.
    pub fn append_entry(&mut self, entry: &Entry, priority: Priority) -> Result<Lsn, JournalError> {
        let _ = (entry, priority);
        todo!()
    }

    /// Is the log so full that the writer should checkpoint soon?
    pub fn needs_checkpoint(&self) -> bool {
        todo!()
    }

    /// Makes `state` (all records up to [`Journal::lsn`] applied) the new start of recovery and
    /// restarts the log. Durable on return. [`JournalError::StateTooBig`] leaves all as it was.
    pub fn checkpoint(&mut self, state: &[u8]) -> Result<(), JournalError> {
        let _ = state;
        todo!()
    }

    /// For group commit: callable by any thread, without the writer.
    pub fn syncer(&self) -> Arc<Syncer> {
        todo!()
    }

    /// Publishes the journal on the control page from here on.
    pub fn publish_on(&mut self, control: Control) -> Result<(), JournalError> {
        let _ = control;
        todo!()
    }

    /// The last record written.
    pub fn lsn(&self) -> Lsn {
        todo!()
    }

    /// Which start of the node's daemon made this file.
    pub fn incarnation(&self) -> u64 {
        todo!()
    }

    /// The epoch of the next record.
    pub fn epoch(&self) -> u64 {
        todo!()
    }

    /// Raises the epoch of the records from here on. A lower one is refused by a panic: epochs only rise.
    pub fn raise_epoch(&mut self, epoch: u64) {
        let _ = epoch;
        todo!()
    }
}

//! Group commit.

use super::Lsn;
use super::error::JournalError;

/// Makes records durable: many callers share one fdatasync.
pub struct Syncer {}

impl Syncer {
    /// Returns when every record up to `lsn` survives power loss. An error is fatal to the daemon.
    pub fn sync_to(&self, lsn: Lsn) -> Result<(), JournalError> {
        let _ = lsn;
        todo!()
    }

    /// The last record that is known to survive power loss.
    pub fn durable(&self) -> Lsn {
        todo!()
    }
}

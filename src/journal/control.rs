//! The control page.

use std::path::Path;

use super::error::JournalError;

/// The small mapped file by which the writer tells readers how far the journal is published.
pub struct Control {}

impl Control {
    /// Opens the page for its only writer, and makes it if it is not there.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let _ = path;
        todo!()
    }

    /// Opens the page for reading.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let _ = path;
        todo!()
    }

    /// Counts the workers that published here: a change tells that the worker was restarted.
    pub fn worker_generation(&self) -> u64 {
        todo!()
    }
}

//! Reads a journal that nobody writes.

use super::Lsn;

/// What a journal holds, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The state before the entries; `None`: the empty one.
    pub checkpoint: Option<Vec<u8>>,
    /// The last record that the checkpoint holds.
    pub checkpoint_lsn: Lsn,
    /// The records after it, in order.
    pub entries: Vec<(Lsn, Vec<u8>)>,
    /// How the log ended, for people.
    pub tail: String,
}

//! What can go wrong with a journal. Each message names the file, the cause and the next step.

use std::fmt;
use std::io;

/// Why a journal operation failed.
#[derive(Debug)]
pub enum JournalError {
    /// No room in the log for this priority: checkpoint, or let the source wait. Nothing was written.
    Full,
    /// The body is longer than a record may be. Nothing was written.
    BodyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The state does not fit into a checkpoint area. Nothing was written; the log goes on.
    StateTooBig {
        /// Its length.
        bytes: u64,
        /// What fits.
        bytes_max: u64,
    },
    /// Another process writes this journal.
    Busy {
        /// The file.
        name: String,
    },
    /// There is no journal at this place.
    Missing {
        /// The file or directory.
        name: String,
    },
    /// The file is not a journal.
    Foreign {
        /// The file.
        name: String,
        /// What was found instead.
        found: String,
    },
    /// The journal was written by a later version.
    TooNew {
        /// The file.
        name: String,
        /// Its format.
        format: u32,
    },
    /// The journal lost something that was durable, or contradicts itself. It was left untouched.
    Damaged {
        /// The file.
        name: String,
        /// What, and where.
        what: String,
    },
    /// The file system has no room for the whole journal.
    NoSpace {
        /// The file.
        name: String,
        /// The room that is needed.
        bytes: u64,
    },
    /// A write or fdatasync failed, now or earlier: nothing more may be written. The daemon must end.
    Fatal {
        /// The file.
        name: String,
        /// The failure.
        what: String,
    },
    /// The file system does not show a pwrite in a mapping, so no reader could follow the journal.
    NotCoherent {
        /// The file.
        name: String,
    },
    /// The published state changes right now, or its writer died while it did: ask the worker.
    Unsettled {
        /// The control page.
        name: String,
    },
    /// Anything else from the system.
    Io {
        /// The file.
        name: String,
        /// The operation.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl JournalError {
    /// Must the daemon end? (A failed fdatasync may have lost pages that read back as good.)
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Fatal { .. })
    }

    /// An error of the system.
    pub(super) fn io(name: &str, doing: &'static str, source: io::Error) -> Self {
        Self::Io {
            name: name.to_owned(),
            doing,
            source,
        }
    }

    /// Durable bytes that are wrong.
    pub(super) fn damaged(name: &str, what: impl Into<String>) -> Self {
        Self::Damaged {
            name: name.to_owned(),
            what: what.into(),
        }
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(
                f,
                "the log is full: a checkpoint or fewer events are needed"
            ),
            Self::BodyTooLong { bytes } => {
                write!(
                    f,
                    "a record of {bytes} bytes is longer than the format allows"
                )
            }
            Self::StateTooBig { bytes, bytes_max } => write!(
                f,
                "the state needs {bytes} bytes and a checkpoint area holds {bytes_max}: \
                 events must be answered before new ones are taken"
            ),
            Self::Busy { name } => write!(
                f,
                "{name}: another process writes this journal; stop the dmapid that serves this node first"
            ),
            Self::Missing { name } => write!(f, "{name}: no journal here"),
            Self::Foreign { name, found } => write!(
                f,
                "{name}: not a journal ({found}); it was left as it is, move it away if it does not belong here"
            ),
            Self::TooNew { name, format } => write!(
                f,
                "{name}: written in format {format}, this version knows up to {}; it was left as it is, \
                 run the newer dmapid",
                super::format::FORMAT
            ),
            Self::Damaged { name, what } => write!(
                f,
                "{name}: damaged: {what}; it was left as it is, see `dmctl journal verify {name}`"
            ),
            Self::NoSpace { name, bytes } => write!(
                f,
                "{name}: the file system has no room for the {bytes} bytes of the journal; \
                 free some, or choose a smaller journal"
            ),
            Self::Fatal { name, what } => write!(
                f,
                "{name}: {what}; what was written before may be lost, so the daemon must end and start anew"
            ),
            Self::NotCoherent { name } => write!(
                f,
                "{name}: on this file system a mapping does not show what was written; \
                 choose a state directory on another one"
            ),
            Self::Unsettled { name } => {
                write!(
                    f,
                    "{name}: the published state changes right now; ask the daemon"
                )
            }
            Self::Io {
                name,
                doing,
                source,
            } => write!(f, "{name}: {doing}: {source}"),
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

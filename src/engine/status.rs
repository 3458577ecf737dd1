//! What `dmctl status` and `dmctl explain` are told.

use super::Engine;
use super::core::{Core, Waiting};
use crate::model::Handle;
use crate::proto::StatusReply;

impl Engine {
    pub(super) fn status(&self) -> StatusReply {
        let (supervisor_pid, generation, connections) = self.host.describe();
        let events_blocked = self.source.blocked().len() as u64;
        let waiting = self.lock().waiting_in_words();
        StatusReply {
            supervisor_pid,
            worker_pid: std::process::id(),
            generation,
            started_ms: self.started_ms,
            journal: self.journal_path.clone(),
            events_blocked,
            connections,
            waiting,
        }
    }
}

impl Core {
    fn waiting_in_words(&self) -> Vec<(u32, String)> {
        self.conns
            .values()
            .filter_map(|conn| {
                let (_, waiting) = conn.waiting.as_ref()?;
                Some((conn.pid, self.in_words(waiting)))
            })
            .collect()
    }

    fn in_words(&self, waiting: &Waiting) -> String {
        match waiting {
            Waiting::Messages { session, .. } => format!("for messages of session {}", session.0),
            Waiting::Answer => "for the answer to its message (dm_send_msg)".into(),
            Waiting::Mount { fs } => format!("for the answer to MOUNT of {:016x}", fs.0),
            Waiting::Unmount { fs, .. } => {
                format!("for the answer to PREUNMOUNT of {:016x}", fs.0)
            }
            Waiting::UnmountEnd { fs, .. } => format!("for the unmount of {:016x}", fs.0),
            Waiting::Right { handle, .. } => {
                let holders: Vec<String> = self
                    .model
                    .rights()
                    .filter(|(_, on, ..)| on == handle)
                    .map(|(token, _, right, _)| format!("token {} ({right:?})", token.0))
                    .collect();
                let by = match holders.is_empty() {
                    true => "another call".to_owned(),
                    false => holders.join(", "),
                };
                format!("for a right on {}, held by {by}", named(handle))
            }
        }
    }
}

fn named(handle: &Handle) -> String {
    match handle {
        Handle::Global => "the global handle".into(),
        Handle::Fs(fs) => format!("file system {:016x}", fs.0),
        Handle::Object { fs, inode, .. } => format!("inode {inode} of {:016x}", fs.0),
    }
}

//! Group commit: whoever comes first syncs for all who are written by then, the others wait.
//!
//! A failed fdatasync is final. The kernel may have marked the pages clean, so a second one that
//! succeeds would prove nothing.

use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use super::Lsn;
use super::error::JournalError;
use super::storage::Storage;

/// Makes records durable: many callers share one fdatasync.
pub struct Syncer {
    storage: Arc<dyn Storage>,
    /// The last record whose write returned.
    written: AtomicU64,
    progress: Mutex<Progress>,
    changed: Condvar,
}

struct Progress {
    durable: Lsn,
    syncing: bool,
    failed: Option<String>,
}

impl Syncer {
    /// For a storage all of whose records, up to `durable`, are durable.
    pub(super) fn new(storage: Arc<dyn Storage>, durable: Lsn) -> Self {
        Self {
            storage,
            written: AtomicU64::new(durable.0),
            progress: Mutex::new(Progress {
                durable,
                syncing: false,
                failed: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Returns when every record up to `lsn` survives power loss. An error is fatal to the daemon.
    pub fn sync_to(&self, lsn: Lsn) -> Result<(), JournalError> {
        assert!(lsn <= self.written(), "record {lsn} was appended before");
        let mut progress = self.progress();
        loop {
            if let Some(what) = &progress.failed {
                return Err(self.fatal(what));
            }
            if progress.durable >= lsn {
                return Ok(());
            }
            if progress.syncing {
                progress = self
                    .changed
                    .wait(progress)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            progress.syncing = true;
            drop(progress);
            let outcome = self.sync_now();
            progress = self.progress();
            progress.syncing = false;
            self.note(&mut progress, outcome);
        }
    }

    /// The last record that is known to survive power loss.
    pub fn durable(&self) -> Lsn {
        self.progress().durable
    }

    /// The last record that was written.
    pub(super) fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    /// To be called after the write of the record returned.
    pub(super) fn note_written(&self, lsn: Lsn) {
        self.written.store(lsn.0, Ordering::Release);
    }

    /// One fdatasync of the writer's own, beside the group's.
    pub(super) fn barrier(&self) -> Result<(), JournalError> {
        self.check()?;
        let outcome = self.sync_now();
        let mut progress = self.progress();
        self.note(&mut progress, outcome);
        match &progress.failed {
            Some(what) => Err(self.fatal(what)),
            None => Ok(()),
        }
    }

    /// Fails if anything failed before.
    pub(super) fn check(&self) -> Result<(), JournalError> {
        match &self.progress().failed {
            Some(what) => Err(self.fatal(what)),
            None => Ok(()),
        }
    }

    /// Notes a failure after which nothing may be written any more.
    pub(super) fn fail(&self, what: String) -> JournalError {
        let mut progress = self.progress();
        self.note(&mut progress, Err(what.clone()));
        self.fatal(&what)
    }

    /// Syncs, and tells what is durable by that: what was written before it began.
    fn sync_now(&self) -> Result<Lsn, String> {
        let written = self.written();
        match self.storage.sync() {
            Ok(()) => Ok(written),
            Err(error) => Err(format!("fdatasync failed: {error}")),
        }
    }

    fn note(&self, progress: &mut Progress, outcome: Result<Lsn, String>) {
        match outcome {
            Ok(durable) => progress.durable = progress.durable.max(durable),
            // The first failure is the one to tell.
            Err(what) => {
                if progress.failed.is_none() {
                    self.storage.mark_failed();
                    progress.failed = Some(what);
                }
            }
        }
        self.changed.notify_all();
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        // Every change of it is one assignment, so a panic elsewhere cannot leave it half done.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fatal(&self, what: &str) -> JournalError {
        JournalError::Fatal {
            name: self.storage.name(),
            what: what.to_owned(),
        }
    }
}

//! The list of a file system: DEBUT, and events of data that it enables for files without regions.
//!
//! A list with READ, WRITE or TRUNCATE guards files that may be marked to be ignored. Nobody can tell which
//! are, so the marks of all objects are cleared, and no mark is put on such a file while the list stands. Whoever
//! puts a mark after it read the old list is found by the generation, as with regions. That all marks were
//! cleared is kept in the arena: the next worker has to do it only where this one died before.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::reader::{Looked, Queued, Verdict};
use super::{Fanotify, Served, lock};
use crate::fs::scan::LOCATION_START;
use crate::fs::{BulkScan, Want, handle};
use crate::model::event::{EventBody, EventSet, EventType, NamespaceBody};
use crate::model::handle::{FsId, Handle};
use crate::model::{DmError, Kinds, OpenFor};
use crate::source::arena::{Slot, SlotState};
use crate::source::call;
use crate::source::judge;
use crate::sys::fanotify;

/// Second word of the kept private tree: no mark hides a file that the list guards.
pub(super) const MARKS_CLEARED: u64 = u64::MAX;

/// Objects whose DEBUT is not answered, with the slots of the other accesses to them.
pub(super) type Debuts = HashMap<Handle, Vec<usize>>;

impl Served {
    /// The list of the file system, as it is applied.
    pub(super) fn fs_list(&self) -> EventSet {
        EventSet(self.list.load(Ordering::SeqCst))
    }
}

impl Fanotify {
    /// The list of the file system changed.
    pub(super) fn renew_list(&self, fs: FsId) {
        let (Some(served), Some(sink)) = (self.served(fs), self.sink()) else {
            return;
        };
        // Two changes at once: the later one reads the later list.
        let _one = lock(&served.renewing);
        let list = sink.list(fs);
        if judge::data_flags(list) == 0 {
            // Before the first mark can be put.
            self.note_cleared(&served, false);
        }
        served.list.store(list.0, Ordering::SeqCst);
        let inherits = sink.wants_new_objects(fs);
        served.inherits.store(inherits, Ordering::Release);
        if let Err(error) = self.watch_notes(&served) {
            tracing::error!(%error, ?fs, "events of the file system's list will be missed");
        }
        if judge::data_flags(list) != 0 && !served.marks_cleared.load(Ordering::Acquire) {
            match self.clear_all_marks(&served) {
                Ok(()) => self.note_cleared(&served, true),
                Err(error) => tracing::error!(
                    %error,
                    ?fs,
                    "the objects of the file system cannot be listed, so files that were read before may \
                     make no events of data: set the event list again, or mount the file system anew"
                ),
            }
        }
    }

    fn note_cleared(&self, served: &Served, cleared: bool) {
        let word = if cleared { MARKS_CLEARED } else { 0 };
        self.arena.set_more(served.tree.as_raw_fd(), word);
        served.marks_cleared.store(cleared, Ordering::Release);
    }

    /// Accesses to each object make events again. The list is in force already.
    fn clear_all_marks(&self, served: &Served) -> Result<(), DmError> {
        // In this order: who read the old list and puts a mark after its clearing sees a new generation.
        for generation in &self.generations {
            generation.fetch_add(1, Ordering::SeqCst);
        }
        let mount = &served.mount;
        // btrfs finds a new object only after it was written.
        nix::unistd::syncfs(&mount.root).map_err(|errno| DmError::from_errno(errno as i32))?;
        let mut scan = BulkScan::new(mount, LOCATION_START, Want::default())?;
        while let Some(found) = scan.next_object()? {
            let kind = handle::kind_of_mode(found.stat.mode);
            let Some(found) = found.stat.handle.filter(|_| kind == Kinds::REGULAR) else {
                continue;
            };
            match mount.open(found, OpenFor::Look) {
                Ok(object) => fanotify::heed_object(self.group(), object.as_fd())?,
                Err(DmError::BadHandle) => {} // Gone by now.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The first access to a file since it came into the cache waits for the answer of DEBUT, and so do those
    /// that come meanwhile. `None`: it had its DEBUT.
    pub(super) fn debut(
        &self,
        slot: &Slot,
        served: &Arc<Served>,
        handle: Handle,
        looked: &Looked,
    ) -> Option<Verdict> {
        // The second condition: its own DEBUT was answered.
        if !served.fs_list().has(EventType::Debut) || slot.kind == Some(EventType::Debut) {
            return None;
        }
        let mut debuts = lock(&self.debuts);
        // Looked at under the lock: the answer puts the mark first and takes the entry out then.
        match fanotify::is_marked(self.group(), looked.as_fd()) {
            Ok(false) => {}
            Ok(true) => return None,
            Err(error) => {
                tracing::error!(%error, ?handle, "an object may miss its DEBUT");
                return None;
            }
        }
        if let Some(waiting) = debuts.get_mut(&handle) {
            self.arena.set_state(slot.index, SlotState::Held);
            waiting.push(slot.index);
            return Some(Verdict::Held);
        }
        debuts.insert(handle, Vec::new());
        drop(debuts);
        let body = NamespaceBody::about(handle);
        Some(Verdict::Queue(Box::new(Queued {
            served: Arc::clone(served),
            kind: EventType::Debut,
            body: EventBody::Namespace(body),
            punches: 0,
            pid: call::process_of(slot.event.tid),
            call: call::call_of(slot.event.tid).hash,
        })))
    }

    /// DEBUT was answered with "go on": the operation may make further events.
    pub(super) fn go_on_after_debut(&self, slot: &Slot, looked: &Looked) {
        if let Err(error) = fanotify::remember_inode(self.group(), looked.as_fd()) {
            tracing::error!(%error, file = ?slot.file, "the next access to an object makes DEBUT again");
        }
        self.end_debut(slot);
        self.arena.set_state(slot.index, SlotState::Held);
        self.look_again(vec![slot.index]);
    }

    /// The DEBUT of this slot is over, whatever the answer: the other accesses are looked at again.
    pub(super) fn end_debut(&self, slot: &Slot) {
        if let (Some(EventType::Debut), Some(handle)) = (slot.kind, slot.file) {
            let waiting = lock(&self.debuts).remove(&handle);
            self.look_again(waiting.unwrap_or_default());
        }
    }

    /// A DEBUT that an earlier worker queued and nobody answered.
    pub(super) fn take_up_debut(&self, slot: &Slot) {
        if let (Some(EventType::Debut), Some(handle)) = (slot.kind, slot.file) {
            lock(&self.debuts).entry(handle).or_default();
        }
    }
}

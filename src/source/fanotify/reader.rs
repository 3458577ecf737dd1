//! Reading events, and what becomes of each: allowed, held, queued or refused.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::{Fanotify, Served, lock};
use crate::fs::{ObjectState, StateError, state};
use crate::model::event::{EventBody, EventSet, EventType};
use crate::model::handle::Handle;
use crate::model::{Answer, DmError, OpenFor};
use crate::source::arena::{EVENT_BYTES_MAX, EVENT_BYTES_MIN, RawEvent, Slot, SlotState};
use crate::source::call::{self, Call, FileId};
use crate::source::judge::{self, Access, Operation, Wanted};
use crate::sys::clock::realtime_ms;
use crate::sys::fanotify::{self, EventFd, FAN_OPEN_PERM, FAN_PRE_ACCESS, Response};

/// Events that one read(2) may bring: more would wait for each other in one thread.
const BATCH: usize = 8;
/// The buffer must have room for the largest event, and that may be so many small ones.
const BATCH_MIN: usize = EVENT_BYTES_MAX.div_ceil(EVENT_BYTES_MIN);

/// How often the log says that there are no slots.
const FULL_PAUSE: Duration = Duration::from_secs(10);

/// The free slots. While there are none, nothing is read: who makes events waits in the kernel.
#[derive(Debug, Default)]
pub struct Pool {
    free: Mutex<Vec<usize>>,
    more: Condvar,
}

impl Pool {
    pub(super) fn fill(&self, free: Vec<usize>) {
        *lock(&self.free) = free;
    }

    /// Takes up to `BATCH`, at least `BATCH_MIN`; waits for them. Empty: the source stops.
    fn take(&self, source: &Fanotify) -> Vec<usize> {
        let mut free = lock(&self.free);
        loop {
            if source.is_stopping() {
                return Vec::new();
            }
            if free.len() >= BATCH_MIN {
                let count = free.len().min(BATCH);
                let rest = free.len() - count;
                return free.split_off(rest);
            }
            let (again, waited) = self
                .more
                .wait_timeout(free, FULL_PAUSE)
                .unwrap_or_else(PoisonError::into_inner);
            free = again;
            if waited.timed_out() {
                tracing::warn!(
                    "all slots for waiting operations are used; more of them wait in the kernel"
                );
            }
        }
    }

    pub(super) fn give(&self, slots: impl IntoIterator<Item = usize>) {
        let mut free = lock(&self.free);
        free.extend(slots);
        if free.len() >= BATCH_MIN {
            self.more.notify_one();
        }
    }

    pub(super) fn wake(&self) {
        let _free = lock(&self.free);
        self.more.notify_all();
    }
}

/// What happens with an event.
pub(super) enum Verdict {
    Allow,
    Deny(i32),
    /// Somebody else goes on with it later.
    Held,
    Queue(Box<Queued>),
}

pub(super) struct Queued {
    pub served: Arc<Served>,
    pub kind: EventType,
    pub body: EventBody,
    /// Punch counter of the file; 0: no event of its data.
    pub punches: u64,
    pub pid: u32,
    pub call: u64,
}

/// A descriptor to look at an event's file: the event's own, or one of ours if that was lost.
pub(super) enum Looked {
    Event(EventFd),
    Opened(OwnedFd),
}

impl AsFd for Looked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Event(fd) => fd.as_fd(),
            Self::Opened(fd) => fd.as_fd(),
        }
    }
}

impl Fanotify {
    /// The life of a thread that reads events.
    pub(super) fn read_events(&self, inbox: usize) {
        let line = self.line_up().inspect_err(
            |error| tracing::warn!(%error, "each event wakes all threads that read events"),
        );
        while !self.is_stopping() {
            let woken = match &line {
                Ok(line) => line
                    .wait(&mut [EpollEvent::empty(); 2], EpollTimeout::NONE)
                    .is_ok(),
                Err(_) => wait_for(&[self.group(), self.wake.as_fd()]),
            };
            if !woken {
                continue;
            }
            let slots = self.pool.take(self);
            if slots.is_empty() {
                return;
            }
            for slot in self.read_batch(inbox, slots) {
                self.process(slot);
            }
        }
    }

    /// A place to wait for events where one thread is woken for each, and all of them by the end.
    fn line_up(&self) -> nix::Result<Epoll> {
        let line = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let one_of_us = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        line.add(self.group(), EpollEvent::new(one_of_us, 0))?;
        line.add(&self.wake, EpollEvent::new(EpollFlags::EPOLLIN, 1))?;
        Ok(line)
    }

    /// Reads events into the given slots; returns those that are used.
    fn read_batch(&self, inbox: usize, mut slots: Vec<usize>) -> Vec<usize> {
        let bytes = (slots.len() * EVENT_BYTES_MIN).max(EVENT_BYTES_MAX);
        match self.arena.fill(self.group(), inbox, bytes) {
            Ok(_) => {}
            Err(error) => {
                self.pool.give(slots);
                match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::EINTR) => {}
                    _ => {
                        tracing::error!(%error, "reading events failed, so an access was refused: \
                            raise the limit of open files (EMFILE), or look at the kernel's log");
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
                return Vec::new();
            }
        }
        let events = self.arena.inbox(inbox);
        let unused = slots.split_off(events.len().min(slots.len()));
        let now = realtime_ms();
        for (slot, event) in slots.iter().zip(&events) {
            self.arena.put(*slot, *event, now);
        }
        // Only now, and before any answer: an answered number may come back as something else.
        self.arena.empty_inbox(inbox);
        self.pool.give(unused);
        slots
    }

    /// Goes on with a fresh event until it is answered, held or queued.
    pub(super) fn process(&self, index: usize) {
        let Some(slot) = self.arena.slot(index) else {
            return;
        };
        match self.examine(&slot) {
            Verdict::Allow => self.finish(&slot, Response::Allow),
            Verdict::Deny(errno) => self.finish(&slot, Response::Deny(errno)),
            Verdict::Held => {}
            Verdict::Queue(queued) => self.queue(&slot, *queued),
        }
    }

    /// Answers an event whose slot this thread owns, and gives everything back.
    pub(super) fn finish(&self, slot: &Slot, response: Response) {
        self.arena.set_state(slot.index, SlotState::Answering);
        self.end_debut(slot);
        if let Err(error) = fanotify::respond(self.group(), slot.event.fd, response) {
            // ENOENT: it was answered by a worker that died before it could say so.
            if error.raw_os_error() != Some(libc::ENOENT) {
                tracing::error!(%error, ?response, tid = slot.event.tid, "an answer was refused");
            }
        }
        self.arena.free(slot.index);
        EventFd::close(slot.event.fd);
        self.pool.give([slot.index]);
    }

    fn queue(&self, slot: &Slot, queued: Queued) {
        let Queued {
            served,
            kind,
            body,
            punches,
            pid,
            call,
        } = queued;
        self.arena.set_caller(slot.index, pid, call);
        let serial = self.arena.set_queued(slot.index, kind, punches);
        self.arena.set_state(slot.index, SlotState::Queued);
        match self.sink() {
            Some(sink) => sink.queue(served.mount.fs, kind, body, Some(serial), pid),
            None => self.give_answer(serial, Answer::Abort(libc::EIO)),
        }
    }

    fn examine(&self, slot: &Slot) -> Verdict {
        let looked = match self.look_at(slot) {
            Ok(looked) => looked,
            Err(verdict) => return verdict,
        };
        let fd = looked.as_fd();
        let Ok(stat) = nix::sys::stat::fstat(fd) else {
            return Verdict::Deny(libc::EIO);
        };
        if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
            return Verdict::Allow; // Regions are of files only.
        }
        let file = FileId {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size as u64,
        };
        let Some(served) = self.find_served(|served| served.mount.device == file.device) else {
            return self.examine_unserved(slot, &looked, file);
        };
        let handle = match served.mount.handle_of(fd) {
            Ok(handle) => handle,
            Err(error) => return refuse(slot, "its handle cannot be told", error),
        };
        self.arena.set_file(slot.index, handle);
        if self.hold_if_changing(slot, handle) {
            return Verdict::Held;
        }
        if let Some(verdict) = self.debut(slot, &served, handle, &looked) {
            return verdict;
        }
        match self.settle(&looked, file.inode, Some(&served)) {
            Ok(None) => Verdict::Allow,
            Ok(Some(state)) => {
                self.stand_first(&looked);
                self.examine_guarded(slot, served, handle, file, &state)
            }
            Err(error) => {
                tracing::error!(%error, ?handle, "an access was refused");
                Verdict::Deny(libc::EIO)
            }
        }
    }

    pub(super) fn look_at(&self, slot: &Slot) -> Result<Looked, Verdict> {
        if !slot.stale {
            return Ok(Looked::Event(EventFd::of(slot.event.fd)));
        }
        // Neither descriptor nor handle: it was read and never looked at. The caller may try again.
        let Some(handle) = slot.file else {
            return Err(Verdict::Deny(libc::EAGAIN));
        };
        let Some(served) = handle.fs().and_then(|fs| self.served(fs)) else {
            self.hold_as_orphan(slot);
            return Err(Verdict::Held);
        };
        served
            .mount
            .open(handle, OpenFor::Look)
            .map(Looked::Opened)
            .map_err(|error| refuse(slot, "its file cannot be opened", error))
    }

    /// The state of the file if it is guarded; else its inode is ignored from now on.
    ///
    /// Whoever changes regions (or the list of the file system) writes them, raises the generation and clears the mark. A mark that was
    /// put after that clearing is found here by the generation, and cleared again.
    pub(super) fn settle(
        &self,
        looked: &Looked,
        inode: u64,
        served: Option<&Served>,
    ) -> Result<Option<ObjectState>, StateError> {
        let generation = self.generation(inode);
        let before = generation.load(Ordering::SeqCst);
        let fd = looked.as_fd();
        // The list after the generation, like the regions.
        let list = || served.map_or(EventSet(0), Served::fs_list);
        let found = judge::under_list(state::read(fd)?, list());
        if judge::is_guarded(&found) {
            return Ok(Some(found));
        }
        let Looked::Event(_) = looked else {
            return Ok(None); // A mark needs more than O_PATH; the next access puts it.
        };
        if let Err(error) = fanotify::ignore_inode(self.group(), fd) {
            tracing::debug!(%error, "no ignore mark: each access makes an event");
        }
        if generation.load(Ordering::SeqCst) == before {
            return Ok(None);
        }
        self.heed(fd);
        let found = judge::under_list(state::read(fd)?, list());
        Ok(judge::is_guarded(&found).then_some(found))
    }

    /// Users' own watches of a guarded file must not get between us and it.
    fn stand_first(&self, looked: &Looked) {
        if let Looked::Event(fd) = looked
            && let Err(error) = fanotify::stand_first(self.group(), fd.as_fd())
        {
            tracing::debug!(%error, "no mark in front of those of others");
        }
    }

    /// Makes accesses to an inode events again. Failing, it ends the worker's claim to guard the file.
    pub(super) fn heed(&self, fd: BorrowedFd<'_>) {
        if let Err(error) = fanotify::heed_inode(self.group(), fd) {
            tracing::error!(%error, "an ignore mark cannot be cleared: accesses may be missed");
        }
    }

    fn examine_guarded(
        &self,
        slot: &Slot,
        served: Arc<Served>,
        handle: Handle,
        file: FileId,
        state: &ObjectState,
    ) -> Verdict {
        match wanted_by(slot, file, state) {
            None => Verdict::Allow,
            Some((wanted, call)) => Verdict::Queue(Box::new(Queued {
                served,
                kind: wanted.kind,
                body: EventBody::Data {
                    handle,
                    offset: wanted.offset,
                    length: wanted.length,
                    mapped: wanted.is_mapping.then_some(file.size),
                },
                punches: u64::from(state.changes),
                pid: call::process_of(slot.event.tid),
                call,
            })),
        }
    }

    /// A marked file system that is not served (now): what would make an event waits, the rest passes.
    fn examine_unserved(&self, slot: &Slot, looked: &Looked, file: FileId) -> Verdict {
        match self.settle(looked, file.inode, None) {
            Ok(Some(state)) if wanted_by(slot, file, &state).is_some() => {
                self.stand_first(looked);
                self.hold_as_orphan(slot);
                Verdict::Held
            }
            Ok(_) => Verdict::Allow,
            Err(error) => {
                tracing::error!(%error, inode = file.inode, "an access was refused");
                Verdict::Deny(libc::EIO)
            }
        }
    }

    fn hold_as_orphan(&self, slot: &Slot) {
        let call = call::call_of(slot.event.tid);
        let pid = call::process_of(slot.event.tid);
        self.arena.set_caller(slot.index, pid, call.hash);
        tracing::warn!(
            pid,
            "a process waits for a guarded file of a file system that is not served: serve it (dmctl manage)"
        );
        let mut orphans = lock(&self.orphans);
        self.arena.set_state(slot.index, SlotState::Held);
        orphans.push(slot.index);
    }

    /// Looks again at the events of files that had no served file system.
    pub(super) fn release_orphans(&self) {
        let orphans = std::mem::take(&mut *lock(&self.orphans));
        self.look_again(orphans);
    }

    /// Gives held slots to the thread that looks at events again.
    pub(super) fn look_again(&self, held: Vec<usize>) {
        for index in held {
            if self.arena.step(index, SlotState::Held, SlotState::Fresh) {
                // The receiver lives as long as self.
                let _ = self.again.0.send(index);
            }
        }
    }

    /// The life of the thread that looks at events again.
    pub(super) fn process_again(&self) {
        while !self.is_stopping() {
            if let Ok(index) = self.again.1.recv_timeout(Duration::from_millis(200)) {
                self.process(index);
            }
        }
    }
}

/// The event that an access to a guarded file makes, if any, and the hash of the waiting call.
fn wanted_by(slot: &Slot, file: FileId, state: &ObjectState) -> Option<(Wanted, u64)> {
    if slot.event.mask & FAN_PRE_ACCESS == 0 && !judge::guards_truncation(state) {
        return None; // An open changes nothing unless it truncates.
    }
    let call = call::call_of(slot.event.tid);
    let operation = operation_of(&slot.event, call, file);
    judge::judge(operation, state, file.size).map(|wanted| (wanted, call.hash))
}

fn operation_of(event: &RawEvent, call: Call, file: FileId) -> Operation {
    if event.mask & FAN_OPEN_PERM != 0 {
        return call::open_operation(event.tid, call);
    }
    let (offset, length) = event.range.unwrap_or((0, u64::MAX));
    call::operation(event.tid, call, file, (offset, length)).unwrap_or(Operation {
        access: Access::Unknown,
        offset,
        length,
    })
}

fn refuse(slot: &Slot, why: &str, error: DmError) -> Verdict {
    let tid = slot.event.tid;
    tracing::error!(%error, tid, "an access was refused, as {why}");
    Verdict::Deny(libc::EIO)
}

/// Waits until one of the descriptors is readable.
pub(super) fn wait_for(fds: &[BorrowedFd<'_>]) -> bool {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(ready) => ready > 0,
        Err(Errno::EINTR) => false,
        Err(error) => {
            tracing::error!(%error, "poll failed");
            std::thread::sleep(Duration::from_millis(100));
            false
        }
    }
}

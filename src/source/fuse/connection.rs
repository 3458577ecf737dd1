//! One FUSE mount: its channel to the kernel, what is behind it, and the threads that serve it.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use crossbeam::select;

use super::dirs::Streams;
use super::family::{Family, Left};
use super::hold::Held;
use super::invalidate::Invalidator;
use super::look::RecentDirs;
use super::node::Nodes;
use super::owed::Answered;
use super::parts::Parts;
use super::same::SameCalls;
use super::serve::Task;
use super::skip::{Skip, Skipped};
use super::start::IO_BYTES_MAX;
use super::table::Table;
use super::threads::Threads;
use super::wire::{Op, Request};
use crate::fs::{Mount, identify, store};
use crate::model::{DmError, EventSet, FsId, FuseOptions, Handle};
use crate::source::EventSink;
use crate::source::arena::Arena;
use crate::source::judge;
use crate::sys::fuse::{self, Received};
use crate::sys::process;

/// Threads that read requests and serve those that need no answer of an application.
const READERS: usize = 4;
/// The largest request: a WRITE with its header.
const REQUEST_BYTES_MAX: usize = IO_BYTES_MAX as usize + 4096;
/// How soon it is noticed that the caller of a request that waits was killed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Threads that go on with requests whose event was answered.
const RESUMERS: usize = 2;

/// See the module.
pub struct Connection {
    /// The file system behind, on its private mount.
    pub mount: Arc<Mount>,
    /// `st_dev` of the FUSE mount.
    pub device: u64,
    /// What its mount options chose.
    pub options: FuseOptions,
    /// What outlives this worker.
    pub table: Table,
    /// Objects that this worker has met.
    pub nodes: Nodes,
    /// Requests that wait for an answer.
    pub held: Held,
    /// Tells the kernel what of its caches is old.
    pub invalidator: Invalidator,
    /// Calls whose event was answered.
    pub(super) answered_calls: Answered,
    /// Requests that wait with another of their call.
    pub(super) same_calls: SameCalls,
    /// All mounts of the file system.
    pub(super) family: Arc<Family>,
    /// What a test leaves out.
    pub(super) skipped: Skipped,
    /// Directories that are being read.
    pub(super) streams: Streams,
    /// Directories that were used last.
    pub(super) dirs: RecentDirs,
    /// The kernel may be given backing files.
    pub passes: AtomicBool,
    pub(super) channel: ManuallyDrop<OwnedFd>,
    pub(super) root: Handle,
    tree: ManuallyDrop<OwnedFd>,
    /// The number of the root in the kept list.
    kept_root: RawFd,
    arena: Arc<Arena>,
    list: AtomicU64,
    inherits: AtomicBool,
    jobs: (Sender<Task<'static>>, Receiver<Task<'static>>),
    sink: OnceLock<Arc<dyn EventSink>>,
    pub(super) threads: Threads,
    is_gone: AtomicBool,
    /// It will not be served again: what is kept for the next worker goes with it.
    is_over: AtomicBool,
}

impl Connection {
    /// A mount that is new, or taken up.
    /// `others`: mounts that are served already.
    pub(super) fn new(
        parts: Parts,
        arena: Arc<Arena>,
        is_new: bool,
        others: &[Arc<Self>],
    ) -> Result<Arc<Self>, DmError> {
        let fs = identify::identify(parts.root.as_fd())?.fs;
        let beside = others.iter().find(|other| other.fs() == fs);
        if beside.is_some_and(|other| !other.shares() || !parts.options.has(FuseOptions::SHARED)) {
            return Err(DmError::Exists);
        }
        let root = parts.root.try_clone()?;
        let mount = match beside {
            Some(other) => Mount::serving_beside(root, &other.mount),
            None => Mount::serving(root, store::state_dir()),
        };
        let mount = mount.map_err(|error| {
            tracing::error!(%error, "the directory cannot be served");
            DmError::from(error)
        })?;
        if is_new {
            parts.keep(&arena)?;
        }
        let family = beside.map_or_else(Family::new, |other| Arc::clone(&other.family));
        let root = mount.handle_of(mount.root.as_fd())?;
        let invalidator = Invalidator::new(parts.channel.as_fd(), &arena)?;
        let connection = Self {
            mount: Arc::new(mount),
            device: parts.device,
            options: parts.options,
            table: parts.table,
            nodes: Nodes::default(),
            held: Held::default(),
            invalidator,
            answered_calls: Answered::default(),
            same_calls: SameCalls::default(),
            family,
            skipped: Skipped::default(),
            streams: Streams::default(),
            dirs: RecentDirs::default(),
            passes: AtomicBool::new(true),
            channel: ManuallyDrop::new(parts.channel),
            root,
            tree: ManuallyDrop::new(parts.tree),
            kept_root: Self::disown(parts.root),
            arena,
            list: AtomicU64::new(0),
            inherits: AtomicBool::new(false),
            jobs: unbounded(),
            sink: OnceLock::new(),
            threads: Threads::default(),
            is_gone: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        };
        connection.rebuild();
        let connection = Arc::new(connection);
        connection.family.join(&connection);
        Ok(connection)
    }

    /// Begins to serve. `again`: an earlier worker did; what it had read comes once more.
    pub(super) fn start(self: &Arc<Self>, sink: Arc<dyn EventSink>, again: bool) {
        if self.sink.set(sink).is_err() {
            return;
        }
        self.renew_list();
        if again {
            self.destroy_unused();
            self.resend();
        }
        for _ in 0..READERS {
            let own = Arc::clone(self);
            self.threads.spawn("fuse", move || own.read_requests());
        }
        let own = Arc::clone(self);
        self.threads
            .spawn("fuse-watch", move || own.watch_callers());
        for _ in 0..RESUMERS {
            let own = Arc::clone(self);
            self.threads
                .spawn("fuse-again", move || own.resume_requests());
        }
    }

    /// A request goes on, in a thread of its own kind.
    pub(super) fn again(&self, task: Task<'static>) {
        // The receiver lives as long as self.
        let _ = self.jobs.0.send(task);
    }

    fn watch_callers(&self) {
        while self.threads.end().recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            self.end_left_alone();
        }
    }

    fn resume_requests(&self) {
        while !self.threads.are_stopping() {
            select! {
                recv(self.jobs.1) -> task => match task {
                    Ok(task) => self.serve(task),
                    Err(_) => return,
                },
                recv(self.threads.end()) -> _ => return,
            }
        }
    }

    fn read_requests(&self) {
        let mut buffer = vec![0; REQUEST_BYTES_MAX];
        while !self.threads.are_stopping() {
            match fuse::receive(self.channel.as_fd(), &mut buffer) {
                Ok(Received::Request(length)) => self.received(&buffer[..length]),
                Ok(Received::Nothing) => {}
                Ok(Received::Ended) => return self.unmounted(),
                Err(error) => {
                    tracing::error!(%error, "/dev/fuse cannot be read");
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
        }
    }

    fn received(&self, bytes: &[u8]) {
        let request = match Request::parse(bytes) {
            Ok(request) => request,
            Err(malformed) => {
                tracing::error!(%malformed, "a request was refused");
                if let Some(unique) = malformed.reply_to {
                    self.reply(unique, Err(libc::EIO));
                }
                return;
            }
        };
        match request.op {
            Op::Interrupt { unique } if self.interrupted(unique) => {}
            // Not waiting (yet): the kernel is to ask again.
            Op::Interrupt { .. } => {
                self.reply(request.reply_to(), Err(libc::EAGAIN));
            }
            _ if request.resent => {
                if let Some(task) = self.take_up(Task::new(request).into_owned()) {
                    self.serve(task);
                }
            }
            _ => self.serve(Task::new(request)),
        }
    }

    /// Answers the kernel. One that no longer waits is no error. `false`: the kernel did not take it.
    pub(super) fn reply(&self, reply_to: u64, answer: Result<&[u8], i32>) -> bool {
        let channel = self.channel.as_fd();
        let sent = match answer {
            Ok(bytes) => fuse::reply(channel, reply_to, &[bytes]),
            Err(errno) => fuse::refuse(channel, reply_to, errno),
        };
        sent.unwrap_or_else(|error| {
            tracing::error!(%error, reply_to, "an answer was refused by the kernel");
            // Its caller must not wait for ever.
            let _ = fuse::refuse(channel, reply_to, libc::EIO);
            false
        })
    }

    /// Does a test leave this step out?
    pub(super) fn skips(&self, step: Skip) -> bool {
        self.skipped.has(step)
    }

    fn unmounted(&self) {
        if self.is_gone.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::info!(fs = self.fs().0, "a FUSE mount is gone");
        match self.family.leave(self) {
            Left::Nobody => self.sink().unmounted(self.fs()),
            Left::Others => {
                self.end_all_held();
                self.end();
                self.sink().view_gone(self.fs(), self.device);
            }
        }
    }

    /// Ends it for good: nothing of it is kept for the next worker. When the last thread is through, its
    /// descriptors are closed.
    pub(super) fn end(&self) {
        self.family.leave(self);
        if !self.is_over.swap(true, Ordering::AcqRel) {
            // At once, not only with the last thread: whoever is told next looks into the list.
            let kept = self.kept_numbers();
            kept.iter().for_each(|fd| self.arena.unkeep(*fd));
        }
        self.threads.stop(false);
    }

    fn kept_numbers(&self) -> [RawFd; 4] {
        [
            self.channel.as_raw_fd(),
            self.tree.as_raw_fd(),
            self.kept_root,
            self.table.number(),
        ]
    }

    /// Was it ended?
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    // ---- what others ask

    /// Numbers the events of all mounts.
    pub(super) fn next_count(&self) -> u64 {
        self.arena.next_count()
    }

    /// Do others change the file system behind it, too?
    pub(super) fn shares(&self) -> bool {
        self.options.has(FuseOptions::SHARED)
    }

    /// The file system.
    pub fn fs(&self) -> FsId {
        self.mount.fs
    }

    /// The engine. Nothing is served before it is known.
    pub(super) fn sink(&self) -> &Arc<dyn EventSink> {
        self.sink
            .get()
            .expect("threads are started after it is set")
    }

    /// The event list of the file system.
    pub(super) fn list(&self) -> EventSet {
        EventSet(self.list.load(Ordering::Acquire))
    }

    /// Does a new object inherit attributes?
    pub(super) fn inherits(&self) -> bool {
        self.inherits.load(Ordering::Acquire)
    }

    /// The list of the file system changed.
    pub(super) fn renew_list(&self) {
        if let Some(sink) = self.sink.get() {
            let list = sink.list(self.fs());
            let before = EventSet(self.list.swap(list.0, Ordering::AcqRel));
            if judge::data_flags(list) & !judge::data_flags(before) != 0 {
                // Files that the list guards: what the kernel has of them would be read unseen.
                let nodes = self.nodes.all();
                self.invalidator
                    .pages_of_all_later(nodes.iter().map(|node| node.id).collect());
            }
            let inherits = sink.wants_new_objects(self.fs());
            self.inherits.store(inherits, Ordering::Release);
        }
    }

    /// A descriptor that the table has: it stays open until the row is gone.
    pub(super) fn disown(fd: OwnedFd) -> RawFd {
        use std::os::fd::IntoRawFd;
        fd.into_raw_fd()
    }

    /// Closes a descriptor that the table had.
    pub(super) fn close(fd: RawFd) {
        drop(process::take_inherited(fd));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.is_over.load(Ordering::Acquire) {
            // The next worker goes on: everything in the kept list must stay open.
            return;
        }
        self.table.numbers().into_iter().for_each(Self::close);
        self.kept_numbers().into_iter().for_each(Self::close);
    }
}

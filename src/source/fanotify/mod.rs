//! The fanotify pre-content source: xfs, ext4, btrfs; kernel 6.14 or newer; CAP_SYS_ADMIN.
//!
//! One group of permission events sees every open, read, write, truncation and mapping of the file
//! systems that are served; the source lets pass what no region guards, and marks such a file to be
//! ignored while its inode stays in the cache. The others wait in slots of the arena for the engine's
//! answer. A second group tells of names and attributes after the fact.
//!
//! What must never be changed is in docs/architecture.md ("orders"); the places that follow it say so.

mod answer;
mod change;
mod ends;
mod lists;
mod mappings;
mod mounts;
mod notes;
mod notify;
mod reader;
mod recover;
mod watch;

/// What reads bytes of the kernel, for the fuzz targets.
#[doc(hidden)]
pub mod parsers {
    pub use super::mounts::parse as mountinfo_line;
    pub use super::notify::parse as notifications;
    pub use crate::source::call::parse as syscall_line;
}

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use nix::sys::eventfd::{EfdFlags, EventFd as Counter};
use nix::sys::signal::Signal;

use crate::fs::Mount;
use crate::model::event::{EventSet, EventType};
use crate::model::file::Region;
use crate::model::handle::{FsId, Handle};
use crate::model::ids::Serial;
use crate::model::{Answer, DmError};
use crate::source::arena::{Arena, INBOXES, Kept, Role};
use crate::source::{Attach, Changed, EventSink, EventSource};
use crate::sys::fanotify::{self, EventFd};
use crate::sys::process;

/// What of a file system is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every access, through whatever mount.
    #[default]
    Filesystem,
    /// Accesses through the mounts that were attached: several nodes on one kernel (tests) each see
    /// their own users only.
    Mount,
}

/// How the source works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// What is watched.
    pub scope: Scope,
    /// Threads that read events.
    pub readers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scope: Scope::Filesystem,
            readers: 2,
        }
    }
}

/// Stripes of the generation counters and of the locks that changes of a file take.
const STRIPES: usize = 256;

/// A file system that is served.
#[derive(Debug)]
pub(crate) struct Served {
    mount: Arc<Mount>,
    /// Keeps the private mount a mount.
    tree: OwnedFd,
    /// The device that mountinfo tells, 0: not known yet. On btrfs it is not that of stat(2).
    whole_device: AtomicU64,
    /// How notifications name it.
    kernel_fsid: [u8; 8],
    /// The kernel tells of names and attributes in it.
    has_notes: bool,
    /// Users could see it at some time: when they no longer can, it was unmounted.
    was_visible: AtomicBool,
    /// Union of all object lists that were ever set in it.
    object_lists: AtomicU64,
    /// Its own list, as the engine told last.
    list: AtomicU64,
    /// New objects inherit attributes: the engine is told of each.
    inherits: AtomicBool,
    /// No mark hides a file that its list guards.
    marks_cleared: AtomicBool,
    /// Held while its list is asked of the engine and applied, and taken for nothing else: never under the engine's lock.
    renewing: Mutex<()>,
    /// Notifications that are asked for, guarded against two changes at once.
    watched: Mutex<u64>,
}

/// The source. See the module.
pub struct Fanotify {
    arena: Arc<Arena>,
    config: Config,
    /// Never closed by accident: the last close lets everybody pass.
    group: ManuallyDrop<OwnedFd>,
    notifications: ManuallyDrop<OwnedFd>,
    released: AtomicBool,
    served: RwLock<Vec<Arc<Served>>>,
    pool: reader::Pool,
    /// Files that are being punched, with the slots of events that wait for the end of it.
    changing: Mutex<HashMap<Handle, Vec<usize>>>,
    debuts: Mutex<lists::Debuts>,
    /// Slots of guarded files of file systems that are not served (yet).
    orphans: Mutex<Vec<usize>>,
    /// Grows with each change of regions, by inode: see [`Fanotify::settle`].
    generations: Vec<AtomicU64>,
    change_locks: Vec<Mutex<()>>,
    /// Who answers an event holds this while it makes sure that it is the one.
    claim: Mutex<()>,
    /// Objects whose own list has DESTROY, as far as this worker saw.
    doomed: Mutex<HashSet<Handle>>,
    ends: Mutex<ends::Ends>,
    again: (Sender<usize>, Receiver<usize>),
    sink: OnceLock<Arc<dyn EventSink>>,
    stopping: AtomicBool,
    wake: Counter,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked left no half-made change behind in any of our maps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fanotify {
    /// The source of a worker. Groups and private mounts that are in the arena's kept list are taken up
    /// (once in the life of the process); else the groups are made.
    pub fn new(arena: Arc<Arena>, config: Config) -> Result<Arc<Self>, DmError> {
        // A lease that is broken sends SIGIO, which kills by default.
        process::ignore_signals(&[Signal::SIGIO])?;
        process::raise_fd_limit();
        let group = kept_or_new(&arena, Role::GROUP, fanotify::permission_group)?;
        let notifications = kept_or_new(&arena, Role::NOTIFICATIONS, fanotify::notification_group)?;
        let config = Config {
            readers: config.readers.clamp(1, INBOXES),
            ..config
        };
        let source = Self {
            pool: reader::Pool::default(),
            arena,
            config,
            group: ManuallyDrop::new(group),
            notifications: ManuallyDrop::new(notifications),
            released: AtomicBool::new(false),
            served: RwLock::default(),
            changing: Mutex::default(),
            debuts: Mutex::default(),
            orphans: Mutex::default(),
            generations: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            change_locks: (0..STRIPES).map(|_| Mutex::default()).collect(),
            claim: Mutex::default(),
            doomed: Mutex::default(),
            ends: Mutex::default(),
            again: unbounded(),
            sink: OnceLock::new(),
            stopping: AtomicBool::new(false),
            wake: Counter::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
                .map_err(io::Error::from)?,
            threads: Mutex::default(),
        };
        source.take_up_mounts();
        Ok(Arc::new(source))
    }

    /// Ends the source for good and closes its groups: whatever is blocked goes on. Not while a stub
    /// exists, unless it may be read as zeros.
    pub fn release(&self) {
        self.stop();
        if self.released.swap(true, Ordering::AcqRel) {
            return;
        }
        for served in self.all_served() {
            self.detach(served.mount.fs);
        }
        for fd in [self.group.as_raw_fd(), self.notifications.as_raw_fd()] {
            self.arena.unkeep(fd);
            EventFd::close(fd);
        }
        for slot in self.arena.occupied() {
            self.arena.free(slot.index);
            EventFd::close(slot.event.fd);
        }
    }

    fn group(&self) -> BorrowedFd<'_> {
        self.group.as_fd()
    }

    fn sink(&self) -> Option<&Arc<dyn EventSink>> {
        self.sink.get()
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn all_served(&self) -> Vec<Arc<Served>> {
        self.served
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn find_served(&self, wanted: impl Fn(&Served) -> bool) -> Option<Arc<Served>> {
        self.served
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .find(|served| wanted(served))
            .cloned()
    }

    fn served(&self, fs: FsId) -> Option<Arc<Served>> {
        self.find_served(|served| served.mount.fs == fs)
    }

    fn served_of(&self, handle: Handle) -> Result<Arc<Served>, DmError> {
        handle
            .fs()
            .and_then(|fs| self.served(fs))
            .ok_or(DmError::BadHandle)
    }

    fn generation(&self, inode: u64) -> &AtomicU64 {
        &self.generations[inode as usize % STRIPES]
    }

    fn spawn(self: &Arc<Self>, name: &str, run: impl FnOnce(Arc<Self>) + Send + 'static) {
        let source = Arc::clone(self);
        let made = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(source));
        match made {
            Ok(thread) => lock(&self.threads).push(thread),
            Err(error) => {
                tracing::error!(%error, name, "a thread of the event source cannot start")
            }
        }
    }
}

fn kept_or_new(
    arena: &Arena,
    role: Role,
    make: impl FnOnce() -> io::Result<OwnedFd>,
) -> Result<OwnedFd, DmError> {
    if let Some(fd) = arena.kept_fd(role).and_then(process::take_inherited) {
        return Ok(fd);
    }
    let fd = make().map_err(|error| mounts::explained("fanotify_init", &error))?;
    let kept = Kept {
        role,
        fd: fd.as_raw_fd(),
        key: 0,
        more: 0,
    };
    arena.keep(kept)?;
    Ok(fd)
}

impl EventSource for Fanotify {
    fn name(&self, _fs: FsId) -> &'static str {
        "fanotify"
    }

    fn events(&self, _fs: FsId) -> EventSet {
        EventSet::of(&[
            EventType::Mount,
            EventType::PreUnmount,
            EventType::Unmount,
            EventType::Debut,
            EventType::Close,
            EventType::PostCreate,
            EventType::PostRemove,
            EventType::PostRename,
            EventType::PostLink,
            EventType::PostSymlink,
            EventType::Read,
            EventType::Write,
            EventType::Truncate,
            EventType::Attribute,
            EventType::Destroy,
            EventType::User,
        ])
    }

    fn attach(&self, attach: Attach) -> Result<Arc<Mount>, DmError> {
        self.attach_mount(attach.dir)
    }

    fn detach(&self, fs: FsId) {
        self.detach_mount(fs);
    }

    fn mount(&self, fs: FsId) -> Option<Arc<Mount>> {
        self.served(fs).map(|served| Arc::clone(&served.mount))
    }

    fn mounts(&self) -> Vec<Arc<Mount>> {
        let served = self.all_served();
        served.iter().map(|one| Arc::clone(&one.mount)).collect()
    }

    fn answer(&self, serial: Serial, answer: Answer) {
        self.give_answer(serial, answer);
    }

    fn intend(&self, serial: Serial, answer: Answer) {
        self.note_intended(serial, answer);
    }

    fn pending(&self, serial: Serial) -> bool {
        self.release_nonblocking(serial)
    }

    fn set_regions(
        &self,
        handle: Handle,
        regions: &[Region],
        sync: bool,
    ) -> Result<Changed, DmError> {
        self.change_regions(handle, regions, sync)
    }

    fn set_event_list(&self, handle: Handle, events: EventSet, sync: bool) -> Result<(), DmError> {
        self.change_event_list(handle, events, sync)
    }

    fn punch(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
        decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        self.punch_hole(handle, offset, length, decided)
    }

    fn list_changed(&self, fs: FsId) {
        self.renew_list(fs);
    }

    fn blocked(&self) -> Vec<(Serial, u32, u64)> {
        self.list_blocked()
    }

    fn start(self: Arc<Self>, sink: Arc<dyn EventSink>) -> Result<(), DmError> {
        self.begin(sink)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.pool.wake();
        // The counter is never full: it is written here and at most once a call.
        let _ = self.wake.write(1);
        let threads: Vec<_> = lock(&self.threads).drain(..).collect();
        for thread in threads {
            if thread.thread().id() != std::thread::current().id() {
                // A thread that panicked has told it.
                let _ = thread.join();
            }
        }
    }
}

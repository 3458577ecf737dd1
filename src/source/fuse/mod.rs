//! The FUSE source: any file system, through a FUSE mount of one of its directories.
//!
//! Everything that users do comes as a request of the kernel. One that owes an event is held and served again
//! when the event is answered; data of files without regions goes past us (passthrough). What a worker leaves
//! unanswered the kernel sends again to the next, and what it had led to is in a [`table`] that outlives it.

mod attrs;
mod backing;
mod change;
mod close;
mod connection;
mod create;
mod data;
mod dirs;
mod dispatch;
mod ends;
mod family;
mod flags;
mod hold;
mod invalidate;
mod look;
mod names;
mod node;
mod open;
mod owed;
mod parts;
mod post;
mod prepare;
mod ranges;
mod rename;
mod same;
mod seek;
mod serve;
#[doc(hidden)]
pub mod skip;
mod start;
pub mod table;
mod threads;
pub mod wire;
mod xattrs;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use nix::sys::signal::Signal;

use self::change::Mounts;
use self::connection::Connection;
use self::parts::Parts;
use crate::fs::Mount;
use crate::model::ids::Serial;
use crate::model::{Answer, DmError, EventSet, EventType, FsId, Handle, Region};
use crate::source::arena::Arena;
use crate::source::{Attach, Changed, EventSink, EventSource, View};
use crate::sys::{mount, process};

/// See the module.
pub struct Fuse {
    arena: Arc<Arena>,
    connections: RwLock<Vec<Arc<Connection>>>,
    sink: OnceLock<Arc<dyn EventSink>>,
    /// Only one mount begins at a time.
    beginning: Mutex<()>,
}

impl Fuse {
    /// The source of a worker. Mounts in the arena's kept list are taken up (once in the life of the process).
    pub fn new(arena: Arc<Arena>) -> Result<Arc<Self>, DmError> {
        // A lease that is broken sends SIGIO, which kills by default.
        process::ignore_signals(&[Signal::SIGIO])?;
        let mut connections = Vec::new();
        for parts in Parts::taken_up(&arena) {
            let arena = Arc::clone(&arena);
            connections.push(Connection::new(parts, arena, false, &connections)?);
        }
        Ok(Arc::new(Self {
            arena,
            connections: RwLock::new(connections),
            sink: OnceLock::new(),
            beginning: Mutex::default(),
        }))
    }

    /// Leaves steps out, so that a test sees that they are needed.
    #[doc(hidden)]
    pub fn leave_out(&self, steps: skip::Skip) {
        self.all().iter().for_each(|one| one.skipped.set(steps));
    }

    /// Looks after the callers of what waits, as is done every second.
    #[doc(hidden)]
    pub fn look_after_callers(&self) {
        self.all().iter().for_each(|one| one.end_left_alone());
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        let all = {
            let connections = self.connections.read();
            connections.unwrap_or_else(PoisonError::into_inner).clone()
        };
        if !all.iter().any(|one| one.is_over()) {
            return all;
        }
        // One of several mounts went by itself: what it holds is freed with it.
        self.end(|_| false);
        all.into_iter().filter(|one| !one.is_over()).collect()
    }

    /// All mounts of a file system, the oldest first.
    fn of_fs(&self, fs: FsId) -> Vec<Arc<Connection>> {
        let mut all = self.all();
        all.retain(|connection| connection.fs() == fs);
        all
    }

    fn of(&self, handle: Handle) -> Mounts {
        Mounts(handle.fs().map_or(Vec::new(), |fs| self.of_fs(fs)))
    }

    fn end(&self, which: impl Fn(&Connection) -> bool) {
        let gone: Vec<_> = {
            let mut connections = self
                .connections
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            connections
                .extract_if(.., |one| one.is_over() || which(one))
                .collect()
        };
        gone.iter().for_each(|connection| connection.end());
    }

    fn beginning(&self) -> MutexGuard<'_, ()> {
        self.beginning
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a FUSE mount is made of, from what the requester handed over.
fn parts(attach: Attach) -> Result<Parts, DmError> {
    use std::os::fd::AsFd;
    let fuse = attach.fuse.ok_or(DmError::Invalid)?;
    let dir = mount::root_of(attach.dir.as_fd())?;
    let tree = mount::private_copy(dir.as_fd())?;
    mount::set_private_flags_for_users(tree.as_fd())?;
    let root = mount::root_of(tree.as_fd())?;
    Ok(Parts {
        channel: fuse.channel,
        table: table::Table::create()?,
        tree,
        root,
        device: fuse.device,
        options: fuse.options,
    })
}

impl EventSource for Fuse {
    fn name(&self, _fs: FsId) -> &'static str {
        "fuse"
    }

    fn events(&self, _fs: FsId) -> EventSet {
        EventSet::of(&[
            EventType::Mount,
            EventType::PreUnmount,
            EventType::Unmount,
            EventType::Debut,
            EventType::Create,
            EventType::Close,
            EventType::PostCreate,
            EventType::Remove,
            EventType::PostRemove,
            EventType::Rename,
            EventType::PostRename,
            EventType::Link,
            EventType::PostLink,
            EventType::Symlink,
            EventType::PostSymlink,
            EventType::Read,
            EventType::Write,
            EventType::Truncate,
            EventType::Attribute,
            EventType::Cancel,
            EventType::Destroy,
            EventType::NoSpace,
            EventType::User,
        ])
    }

    fn attach(&self, attach: Attach) -> Result<Arc<Mount>, DmError> {
        let _one = self.beginning();
        let arena = Arc::clone(&self.arena);
        let connection = Connection::new(parts(attach)?, arena, true, &self.all())?;
        let mount = Arc::clone(&connection.mount);
        self.connections
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::clone(&connection));
        if let Some(sink) = self.sink.get() {
            connection.start(Arc::clone(sink), false);
        }
        Ok(mount)
    }

    fn detach(&self, fs: FsId) {
        self.end(|connection| connection.fs() == fs);
    }

    fn detach_view(&self, fs: FsId, device: u64) {
        self.end(|connection| connection.fs() == fs && connection.device == device);
    }

    fn mount(&self, fs: FsId) -> Option<Arc<Mount>> {
        let all = self.of_fs(fs);
        all.first().map(|connection| Arc::clone(&connection.mount))
    }

    fn mounts(&self) -> Vec<Arc<Mount>> {
        let mut mounts: Vec<Arc<Mount>> = Vec::new();
        for connection in self.all() {
            if !mounts.iter().any(|mount| mount.fs == connection.fs()) {
                mounts.push(Arc::clone(&connection.mount));
            }
        }
        mounts
    }

    fn views(&self, fs: FsId) -> Vec<View> {
        let all = self.of_fs(fs);
        all.iter()
            .map(|one| View {
                device: one.device,
                root: one.root,
            })
            .collect()
    }

    fn touched(&self, handle: Handle, data: bool) {
        let Mounts(all) = self.of(handle);
        all.iter().for_each(|one| one.touched(handle, data));
    }

    fn writing(&self, handle: Handle) {
        let Mounts(all) = self.of(handle);
        all.iter().for_each(|one| one.writing(handle));
    }

    fn is_open(&self, handle: Handle) -> bool {
        let Mounts(all) = self.of(handle);
        all.iter().any(|one| one.is_open(handle))
    }

    fn answer(&self, serial: Serial, answer: Answer) {
        self.all()
            .iter()
            .for_each(|one| one.answered(serial, answer));
    }

    fn intend(&self, serial: Serial, answer: Answer) {
        self.all().iter().for_each(|one| one.intend(serial, answer));
    }

    fn pending(&self, serial: Serial) -> bool {
        self.all().iter().any(|one| one.release_nonblocking(serial))
    }

    fn set_regions(
        &self,
        handle: Handle,
        regions: &[Region],
        sync: bool,
    ) -> Result<Changed, DmError> {
        self.of(handle).set_regions(handle, regions, sync)
    }

    fn set_event_list(&self, handle: Handle, events: EventSet, sync: bool) -> Result<(), DmError> {
        self.of(handle).set_event_list(handle, events, sync)
    }

    fn punch(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
        decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        self.of(handle).punch(handle, offset, length, decided)
    }

    fn list_changed(&self, fs: FsId) {
        self.of_fs(fs).iter().for_each(|one| one.renew_list());
    }

    fn blocked(&self) -> Vec<(Serial, u32, u64)> {
        self.all().iter().flat_map(|one| one.blocked()).collect()
    }

    fn start(self: Arc<Self>, sink: Arc<dyn EventSink>) -> Result<(), DmError> {
        let _one = self.beginning();
        if self.sink.set(Arc::clone(&sink)).is_err() {
            return Err(DmError::Exists);
        }
        for connection in self.all() {
            connection.start(Arc::clone(&sink), true);
        }
        Ok(())
    }

    fn stop(&self) {
        self.all().iter().for_each(|one| one.threads.stop(true));
    }
}

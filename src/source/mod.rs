//! Event sources: what sees the accesses of users and holds them.
//!
//! A source finds the operations and blocks them, looks at regions and lists, and hands events to the
//! [`EventSink`]; it carries out what must be ordered against its events (regions, punching).

pub mod arena;
pub mod both;
mod call;
mod change;
pub mod fanotify;
pub mod fuse;
mod judge;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::fs::Mount;
use crate::model::event::{EventBody, EventSet, EventType};
use crate::model::file::FuseOptions;
use crate::model::file::Region;
use crate::model::handle::{FsId, Handle};
use crate::model::ids::Serial;
use crate::model::{Answer, DmError};

/// What the engine is for a source. A source holds no lock of its own while it calls.
pub trait EventSink: Send + Sync {
    /// The event list of the file system (namespace, ATTRIBUTE, CLOSE, DESTROY ...).
    fn list(&self, fs: FsId) -> EventSet;
    /// Queues an event. A synchronous one is answered later by [`EventSource::answer`] with the same serial;
    /// one that no session wants waits for a disposition. `pid` is for people.
    /// `serial` is `None` for asynchronous events, which are dropped where nobody has the disposition.
    fn queue(&self, fs: FsId, kind: EventType, body: EventBody, serial: Option<Serial>, pid: u32);
    /// The operation behind a synchronous event is gone (its process was killed).
    fn withdraw(&self, serial: Serial);
    /// Is there an event with this serial that is not answered? Used after the start of a worker.
    fn knows(&self, serial: Serial) -> bool;
    /// The last mount of the file system is gone, and nobody told before: UNMOUNT is delivered, the file system dropped.
    fn unmounted(&self, fs: FsId);
    /// One of several mounts through which users see the file system is gone; others are left.
    fn view_gone(&self, _fs: FsId, _device: u64) {}
    /// Must [`Self::created`] be called for each new object of the file system? Asked again after each
    /// [`EventSource::list_changed`].
    fn wants_new_objects(&self, _fs: FsId) -> bool {
        false
    }
    /// A new object of this mode is in a directory: it inherits attributes. Called before its POSTCREATE is
    /// queued, so that who gets that sees them.
    fn created(&self, _parent: Handle, _child: Handle, _mode: u32) {}
    /// An object was destroyed: the engine adds the attribute copy and queues DESTROY if it is wanted.
    /// `listed`: this worker saw DESTROY in the object's own list. The object is gone, so a list that was
    /// set under an earlier worker is known to the engine only, which keeps a copy beside the journal.
    fn destroyed(&self, handle: Handle, listed: bool);
}

/// What the change of a file's regions or a punch ended in, when it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The regions are kept exactly as asked.
    pub exact: bool,
}

/// A file system that is to be served.
#[derive(Debug)]
pub struct Attach {
    /// A directory descriptor of the mount: a detached one, or one that users see. For FUSE the directory
    /// whose tree users see through the FUSE mount.
    pub dir: OwnedFd,
    /// It is served through this FUSE mount.
    pub fuse: Option<FuseAttach>,
}

impl From<OwnedFd> for Attach {
    fn from(dir: OwnedFd) -> Self {
        Self { dir, fuse: None }
    }
}

/// The FUSE mount through which users see a file system.
#[derive(Debug)]
pub struct FuseAttach {
    /// `/dev/fuse` of the mount; nothing was read from it yet.
    pub channel: OwnedFd,
    /// `st_dev` of the mount.
    pub device: u64,
    /// What its mount options chose.
    pub options: FuseOptions,
}

/// A mount through which users see a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// `st_dev` of it.
    pub device: u64,
    /// The directory that is its root.
    pub root: Handle,
}

impl View {
    /// Of users who see the file system itself.
    fn plain(mount: &Mount) -> Self {
        let (inode, generation) = mount.root_object;
        Self {
            device: mount.device,
            root: Handle::Object {
                fs: mount.fs,
                inode,
                generation,
            },
        }
    }
}

/// One event source of the worker. All functions may be called from any thread.
pub trait EventSource: Send + Sync {
    /// What serves that file system: `fanotify`, `fuse`.
    fn name(&self, fs: FsId) -> &'static str;
    /// Events that it produces for that file system.
    fn events(&self, fs: FsId) -> EventSet;
    /// Begins to serve a file system. From the return on each access of each user is seen.
    /// One that is served through a FUSE mount made with `shared` may get further such mounts; else `Exists`.
    fn attach(&self, attach: Attach) -> Result<Arc<Mount>, DmError>;
    /// How users see it, the oldest first.
    fn views(&self, fs: FsId) -> Vec<View> {
        let mount = self.mount(fs);
        mount.iter().map(|mount| View::plain(mount)).collect()
    }
    /// Ends one of several views. The last one goes by [`Self::detach`].
    fn detach_view(&self, _fs: FsId, _device: u64) {}
    /// `st_dev` of its objects as users see them; in the oldest view if there are several.
    fn user_device(&self, fs: FsId) -> Option<u64> {
        self.views(fs).first().map(|view| view.device)
    }
    /// A call of a DM application changed an object: what users' caches have of it is old. `data`: also its bytes.
    /// Waits for no application.
    fn touched(&self, _handle: Handle, _data: bool) {}
    /// A DM application is about to write to an object: what users' caches have of it goes, so that who reads it after
    /// the call finds what was written. Waits for no application.
    fn writing(&self, _handle: Handle) {}
    /// Has a user a file open or mapped, as far as the source knows?
    fn is_open(&self, _handle: Handle) -> bool {
        false
    }
    /// Ends it: private mount and marks go.
    fn detach(&self, fs: FsId);
    /// Is the file system visible to users in some way (mounted), as far as the source can tell?
    fn mount(&self, fs: FsId) -> Option<Arc<Mount>>;
    /// All file systems that it serves.
    fn mounts(&self) -> Vec<Arc<Mount>>;
    /// Answers a blocked operation. Never waits for a user or an application, and never calls the sink;
    /// an unknown serial is ignored.
    fn answer(&self, serial: Serial, answer: Answer);
    /// The engine is about to record the answer: kept in the arena, so that the next worker can give it.
    fn intend(&self, serial: Serial, answer: Answer);
    /// The originator is non-blocking and `dm_pending` was called: EAGAIN to it. `false`: it blocks.
    fn pending(&self, serial: Serial) -> bool;
    /// Writes the regions of a file and applies them: when it returns no access misses them.
    fn set_regions(
        &self,
        handle: Handle,
        regions: &[Region],
        sync: bool,
    ) -> Result<Changed, DmError>;
    /// Writes the event list of an object and applies it.
    fn set_event_list(&self, handle: Handle, events: EventSet, sync: bool) -> Result<(), DmError>;
    /// Frees the blocks of a range under the order of docs/architecture.md. `decided` is called once, when the
    /// file was found unused and nothing was changed yet; if it fails nothing is changed.
    fn punch(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
        decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError>;
    /// Makes no event itself: the list of a file system changed (`dm_set_eventlist`, dispositions).
    fn list_changed(&self, fs: FsId);
    /// Operations that are blocked now: (serial, process, since CLOCK_REALTIME ms).
    fn blocked(&self) -> Vec<(Serial, u32, u64)>;
    /// Starts the threads that read events; first takes up what an earlier worker left in the arena.
    fn start(self: Arc<Self>, sink: Arc<dyn EventSink>) -> Result<(), DmError>;
    /// Ends the threads; what is blocked stays blocked, for the next worker. For tests and upgrades.
    fn stop(&self);
}

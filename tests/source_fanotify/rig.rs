//! A source on a file system of its own.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use dmapi::fs::Mount;
use dmapi::source::arena::Arena;
use dmapi::source::fanotify::{Config, Fanotify};
use dmapi::source::{EventSink, EventSource};
use nix::libc;

use super::common::LoopFs;
#[allow(unused_imports)]
pub use super::deeds::{ALL, on_each_kind, on_kinds, on_xfs, recall, region};
#[allow(unused_imports)]
pub use super::sink::{Deadline, Seen, Sink, alone, eventually, lock, serial, show_logs};

/// A source on a file system of its own. The source ends first when it is dropped.
pub struct Rig {
    pub source: Arc<Fanotify>,
    pub arena: Arc<Arena>,
    pub sink: Arc<Sink>,
    pub mount: Arc<Mount>,
    /// Where users see the file system.
    pub point: PathBuf,
    pub fs: LoopFs,
}

impl Rig {
    pub fn new(kind: &'static str) -> Self {
        let fs = LoopFs::new(kind);
        let root = std::fs::File::open(fs.path()).expect("the mount");
        Self::with(fs, root.into(), Config::default())
    }

    /// With so few slots.
    pub fn with_slots(kind: &'static str, slots: usize) -> Self {
        let fs = LoopFs::new(kind);
        let root = std::fs::File::open(fs.path()).expect("the mount");
        Self::build(fs, root.into(), Config::default(), slots)
    }

    /// With another mount of the file system than where users see it.
    pub fn with(fs: LoopFs, mount: OwnedFd, config: Config) -> Self {
        Self::build(fs, mount, config, 256)
    }

    fn build(fs: LoopFs, mount: OwnedFd, config: Config, slots: usize) -> Self {
        show_logs();
        let arena = Arc::new(Arena::create(slots).expect("an arena"));
        let source = Fanotify::new(Arc::clone(&arena), config).expect("a source");
        let sink = Arc::new(Sink::default());
        let mount = source.attach(mount.into()).expect("it is served");
        Arc::clone(&source)
            .start(Arc::clone(&sink) as Arc<dyn EventSink>)
            .expect("it starts");
        Self {
            source,
            arena,
            sink,
            mount,
            point: fs.path(),
            fs,
        }
    }

    /// Nobody waits in the source.
    pub fn is_idle(&self) -> bool {
        self.arena.occupied().next().is_none()
    }

    /// What the next worker makes of what is kept.
    pub fn source_on(arena: &Arc<Arena>) -> Arc<Fanotify> {
        Fanotify::new(Arc::clone(arena), Config::default()).expect("a source")
    }

    /// What a user gets when an application aborts with that number: the kernel hands on some.
    pub fn errno_of_abort(errno: i32) -> i32 {
        match errno {
            libc::ESTALE => libc::EIO,
            _ => errno,
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Closes the groups: whoever is still blocked goes on, whatever went wrong.
        self.source.release();
    }
}

//! A source on a file system of its own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dmapi::fs::{self, Mount, invisible};
use dmapi::model::{Answer, DmError, EventType, Handle, OpenFor, Region};
use dmapi::source::arena::Arena;
use dmapi::source::fanotify::{Config, Fanotify};
use dmapi::source::{EventSink, EventSource};

use super::common::{self, LoopFs};
pub use super::sink::{Deadline, Seen, Sink, eventually, lock, serial, show_logs};
use super::user::patterns;

/// READ, WRITE and TRUNCATE.
pub const ALL: u32 = 7;

/// A source on a file system of its own. The source ends first when it is dropped.
pub struct Rig {
    pub source: Arc<Fanotify>,
    pub arena: Arc<Arena>,
    pub sink: Arc<Sink>,
    pub mount: Arc<Mount>,
    /// The right of the applications: who migrates or recalls holds it meanwhile, as DMAPI wants.
    pub right: Arc<Mutex<()>>,
    pub fs: LoopFs,
}

pub fn region(offset: u64, size: u64, flags: u32) -> Region {
    Region {
        offset,
        size,
        flags,
        opaque: 0,
    }
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
            right: Arc::default(),
            fs,
        }
    }

    /// A path that makes no events.
    pub fn private(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.mount.root.as_raw_fd()).into()
    }

    /// A file with the pattern, made without events.
    pub fn file(&self, name: &str, bytes: usize) -> Handle {
        let path = self.private(name);
        std::fs::write(&path, patterns(0, bytes)).expect("a file");
        let file = std::fs::File::open(&path).expect("the file");
        nix::unistd::fsync(file.as_fd()).expect("fsync");
        self.mount.handle_of(file.as_fd()).expect("its handle")
    }

    pub fn guard(&self, file: Handle, regions: &[Region]) {
        self.source
            .set_regions(file, regions, true)
            .expect("regions are set");
    }

    /// A file whose blocks are gone and all of which is guarded.
    pub fn stub(&self, name: &str, bytes: usize) -> Handle {
        let file = self.file(name, bytes);
        self.guard(file, &[region(0, 0, ALL)]);
        self.punch(file).expect("it is punched");
        file
    }

    pub fn punch(&self, file: Handle) -> Result<(), DmError> {
        self.source.punch(file, 0, 0, &|| Ok(()))
    }

    /// The application's part: the data come back, the regions go.
    pub fn recall(&self, file: Handle) {
        recall(self.source.as_ref(), &self.mount, file);
    }

    /// The next event, which must be of that kind and range, is recalled and answered.
    #[track_caller]
    pub fn serve(&self, kind: EventType, range: (u64, u64)) {
        let event = self.sink.next();
        assert_eq!((event.kind, event.range()), (kind, range));
        self.recall(event.file());
        self.answer(&event, Answer::Continue);
    }

    #[track_caller]
    pub fn answer(&self, event: &Seen, answer: Answer) {
        let serial = event.serial.expect("somebody waits");
        self.source.intend(serial, answer);
        self.sink.forget(serial);
        self.source.answer(serial, answer);
    }

    /// Nobody waits in the source, and no event is left.
    #[track_caller]
    pub fn is_quiet(&self) {
        eventually("no event is open", || {
            self.arena.occupied().next().is_none()
        });
        self.sink.is_empty();
    }

    /// An application that recalls whatever is asked for, until dropped.
    pub fn recaller(&self) -> Recaller {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let (source, sink) = (Arc::clone(&self.source), Arc::clone(&self.sink));
        let mount = Arc::clone(&self.mount);
        let right = Arc::clone(&self.right);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let Some(event) = sink.next_within(Duration::from_millis(20)) else {
                    continue;
                };
                let Some(serial) = event.serial else { continue };
                {
                    let _right = lock(&right);
                    recall(source.as_ref(), &mount, event.file());
                }
                source.intend(serial, Answer::Continue);
                sink.forget(serial);
                source.answer(serial, Answer::Continue);
                counted.fetch_add(1, Ordering::AcqRel);
            }
        });
        Recaller {
            stop,
            count,
            thread: Some(thread),
        }
    }
}

pub fn recall(source: &Fanotify, mount: &Mount, file: Handle) {
    let fd = mount.open(file, OpenFor::Write).expect("the file opens");
    let size = fs::stat::stat(fd.as_fd()).expect("stat").size;
    let written = invisible::write_at(fd.as_fd(), mount.kind, 0, &patterns(0, size as usize), true);
    assert_eq!(written.expect("it is written"), size as usize);
    fs::handle::sync(mount, fd.as_fd()).expect("it is synced");
    source.set_regions(file, &[], true).expect("regions go");
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Closes the groups: whoever is still blocked goes on, whatever went wrong.
        self.source.release();
    }
}

/// See [`Rig::recaller`].
pub struct Recaller {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Recaller {
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }
}

impl Drop for Recaller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Each kind of file system, one after another.
pub fn on_each_kind(seconds: u64, test: impl Fn(&Rig)) {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(seconds);
    for kind in common::KINDS {
        eprintln!("on {kind}");
        let rig = Rig::new(kind);
        test(&rig);
    }
}

/// The same with rigs that the test may take apart.
pub fn on_each_new_kind(seconds: u64, test: impl Fn(Rig)) {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(seconds);
    for kind in common::KINDS {
        eprintln!("on {kind}");
        test(Rig::new(kind));
    }
}

//! What the tests share: one at a time, a deadline, a source on a file system of its own, and a small
//! sink that plays engine and application.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dmapi::fs::{self, Mount, invisible};
use dmapi::model::{
    Answer, DmError, EventBody, EventSet, EventType, FsId, Handle, NamespaceBody, OpenFor, Region,
    Serial,
};
use dmapi::source::arena::Arena;
use dmapi::source::fanotify::{Config, Fanotify};
use dmapi::source::{EventSink, EventSource};

use super::common::{self, LoopFs};
use super::user::patterns;

/// READ, WRITE and TRUNCATE.
pub const ALL: u32 = 7;

/// The source tells why it refused something; it is shown where the test fails.
pub fn show_logs() {
    // A second test finds it there.
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO)
        .with_test_writer()
        .try_init();
}

/// Tests run one after another: descriptors that one leaves to a child would be open files to another.
pub fn serial() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends this program if the test does not end in time: then everything blocked is free.
#[derive(Debug)]
pub struct Deadline(Arc<AtomicBool>);

impl Deadline {
    pub fn new(seconds: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(seconds);
            while Instant::now() < end {
                std::thread::sleep(Duration::from_millis(200));
                if seen.load(Ordering::Acquire) {
                    return;
                }
            }
            eprintln!("{name}: not through after {seconds} s");
            std::process::exit(97);
        });
        Self(over)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Polls until it is so.
#[track_caller]
pub fn eventually(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(40);
    while !so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An event that the source queued.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub kind: EventType,
    pub body: EventBody,
    pub serial: Option<Serial>,
    pub pid: u32,
}

impl Seen {
    /// Offset and length of a data event.
    #[track_caller]
    pub fn range(&self) -> (u64, u64) {
        match &self.body {
            EventBody::Data { offset, length, .. } => (*offset, *length),
            other => panic!("no data event: {other:?}"),
        }
    }

    #[track_caller]
    pub fn file(&self) -> Handle {
        match &self.body {
            EventBody::Data { handle, .. } => *handle,
            other => panic!("no data event: {other:?}"),
        }
    }

    #[track_caller]
    pub fn names(&self) -> &NamespaceBody {
        match &self.body {
            EventBody::Namespace(body) => body,
            other => panic!("no namespace event: {other:?}"),
        }
    }
}

/// Engine and sessions in one: keeps what comes.
#[derive(Default)]
pub struct Sink {
    events: Mutex<VecDeque<Seen>>,
    more: Condvar,
    known: Mutex<Vec<Serial>>,
    withdrawn: Mutex<Vec<Serial>>,
    destroyed: Mutex<Vec<(Handle, bool)>>,
    unmounted: Mutex<Vec<FsId>>,
    list: AtomicU64,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    /// The next event; panics if none comes.
    #[track_caller]
    pub fn next(&self) -> Seen {
        self.next_within(Duration::from_secs(40))
            .expect("an event comes")
    }

    pub fn next_within(&self, limit: Duration) -> Option<Seen> {
        let end = Instant::now() + limit;
        let mut events = lock(&self.events);
        loop {
            if let Some(event) = events.pop_front() {
                return Some(event);
            }
            let left = end.checked_duration_since(Instant::now())?;
            events = self
                .more
                .wait_timeout(events, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Nothing is queued.
    #[track_caller]
    pub fn is_empty(&self) {
        let events = lock(&self.events);
        assert!(events.is_empty(), "unexpected: {events:?}");
    }

    pub fn set_list(&self, events: &[EventType]) {
        self.list.store(EventSet::of(events).0, Ordering::Release);
    }

    pub fn withdrawn(&self) -> Vec<Serial> {
        lock(&self.withdrawn).clone()
    }

    pub fn destroyed(&self) -> Vec<(Handle, bool)> {
        lock(&self.destroyed).clone()
    }

    pub fn unmounted(&self) -> Vec<FsId> {
        lock(&self.unmounted).clone()
    }

    pub fn forget(&self, serial: Serial) {
        lock(&self.known).retain(|one| *one != serial);
    }
}

impl EventSink for Sink {
    fn list(&self, _: FsId) -> EventSet {
        EventSet(self.list.load(Ordering::Acquire))
    }

    fn queue(&self, _: FsId, kind: EventType, body: EventBody, serial: Option<Serial>, pid: u32) {
        lock(&self.known).extend(serial);
        lock(&self.events).push_back(Seen {
            kind,
            body,
            serial,
            pid,
        });
        self.more.notify_all();
    }

    fn withdraw(&self, serial: Serial) {
        lock(&self.withdrawn).push(serial);
        self.forget(serial);
    }

    fn knows(&self, serial: Serial) -> bool {
        lock(&self.known).contains(&serial)
    }

    fn unmounted(&self, fs: FsId) {
        lock(&self.unmounted).push(fs);
    }

    fn destroyed(&self, handle: Handle, listed: bool) {
        lock(&self.destroyed).push((handle, listed));
    }
}

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

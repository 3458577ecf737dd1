//! What tests of event sources share: one at a time, a deadline, and a small sink that plays engine and application.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dmapi::model::{EventBody, EventSet, EventType, FsId, Handle, NamespaceBody, Serial};
use dmapi::source::EventSink;

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

/// Limits are for an idle machine; a busy one is so much slower at most.
const PATIENCE: u64 = 4;

/// What a test holds that runs alone.
#[derive(Debug)]
pub struct Alone {
    _deadline: Deadline,
    _one: MutexGuard<'static, ()>,
}

/// A test on real file systems, which takes so long at most; `None`: without root it cannot do its work.
#[track_caller]
pub fn alone(seconds: u64) -> Option<Alone> {
    if !super::common::is_root() {
        return None;
    }
    let one = serial();
    Some(Alone {
        _deadline: Deadline::new(PATIENCE * seconds),
        _one: one,
    })
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
    views_gone: Mutex<Vec<u64>>,
    created: Mutex<Vec<(Handle, Handle, u32)>>,
    inherits: AtomicBool,
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

    /// From now on new objects are told of.
    pub fn inherit(&self) {
        self.inherits.store(true, Ordering::Release);
    }

    /// (directory, object, mode) of new objects.
    pub fn created(&self) -> Vec<(Handle, Handle, u32)> {
        lock(&self.created).clone()
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

    /// Devices of mounts that are gone, while others are left.
    pub fn views_gone(&self) -> Vec<u64> {
        lock(&self.views_gone).clone()
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

    fn view_gone(&self, _: FsId, device: u64) {
        lock(&self.views_gone).push(device);
    }

    fn wants_new_objects(&self, _: FsId) -> bool {
        self.inherits.load(Ordering::Acquire)
    }

    fn created(&self, parent: Handle, child: Handle, mode: u32) {
        lock(&self.created).push((parent, child, mode));
    }

    fn destroyed(&self, handle: Handle, listed: bool) {
        lock(&self.destroyed).push((handle, listed));
    }
}

//! What an engine needs around it when nothing is mounted: a host, a journal in which a file system is served, and a
//! source in which nothing can be opened and which only remembers what it was told.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dmapi::engine::Host;
use dmapi::fs::{AttrLimits, FsKind, Mount};
use dmapi::journal::{Journal, Priority, Sizes, Start};
use dmapi::model::machine::Model;
use dmapi::model::{
    Answer, DmError, Entry, EventBody, EventSet, EventType, FsId, Handle, MountBody, Record,
    Region, Serial,
};
use dmapi::source::{Attach, Changed, EventSink, EventSource, View};

/// The file system.
pub const FS: FsId = FsId(77);
/// A file in it.
pub const FILE: Handle = Handle::Object {
    fs: FS,
    inode: 5,
    generation: 6,
};

/// FS as it was mounted.
pub fn mount() -> MountBody {
    MountBody {
        mode: 0,
        fs: Handle::Fs(FS),
        mount_point: None,
        path: b"/mnt".to_vec(),
        device: b"/dev/test".to_vec(),
        root: FILE,
    }
}

/// What a journal says of a file system that is served.
pub fn served() -> Vec<Record> {
    vec![Record::FsAdded {
        fs: FS,
        mount: mount(),
    }]
}

/// A journal with these records.
pub fn prepare(state: &Path, node: &str, records: Vec<Record>) {
    let sizes = Sizes::default();
    let opened = Journal::open_in::<Model>(state, node, Start::Daemon, &sizes);
    let mut journal = opened.expect("a journal").journal;
    let entry = Entry {
        records,
        reply: None,
    };
    let appended = journal.append_entry(&entry, Priority::Normal);
    appended.expect("there is room");
}

/// What the engine told a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Intend(Serial, Answer),
    Answer(Serial, Answer),
    ListChanged(FsId),
    DetachView(u64),
    Detach,
}

/// More is not kept: a fuzzer never stops.
const TOLD_MAX: usize = 10_000;

/// The source. Serves the file system; everything in it is refused.
pub struct StandIn {
    mount: Arc<Mount>,
    told: Mutex<Vec<Told>>,
    blocked: Vec<Serial>,
    sink: Mutex<Option<Weak<dyn EventSink>>>,
    late: Mutex<Option<Serial>>,
    views: Mutex<Vec<u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A READ of the file.
pub fn bring_read(sink: &dyn EventSink, serial: Serial) {
    let body = EventBody::Data {
        handle: FILE,
        offset: 0,
        length: 1,
        mapped: None,
    };
    sink.queue(FS, EventType::Read, body, Some(serial), 9);
}

impl StandIn {
    /// `blocked`: who waits in it. `late`: a READ that it brings when the engine has looked for those, once.
    /// `views`: `st_dev` of the FUSE mounts through which users see it.
    pub fn new(blocked: Vec<Serial>, late: Option<Serial>, views: &[u64]) -> Self {
        // Its file system opens nothing by handle and changes no attribute.
        let root = std::fs::File::open("/proc/self/task").expect("a directory of proc");
        let limits = AttrLimits {
            value_bytes_max: 1,
            total_bytes_max: 1,
        };
        let mount = Mount {
            fs: FS,
            kind: FsKind::Xfs,
            device: 1,
            subvolume: 0,
            block_bytes: 4096,
            limits,
            root_object: (1, 1),
            root: root.into(),
            destroyed: Default::default(),
            known: None,
        };
        Self {
            mount: Arc::new(mount),
            told: Mutex::default(),
            blocked,
            sink: Mutex::default(),
            late: Mutex::new(late),
            views: Mutex::new(views.to_vec()),
        }
    }

    pub fn told(&self) -> Vec<Told> {
        lock(&self.told).clone()
    }

    fn note(&self, one: Told) {
        let mut told = lock(&self.told);
        if told.len() < TOLD_MAX {
            told.push(one);
        }
    }
}

impl EventSource for StandIn {
    fn name(&self, _fs: FsId) -> &'static str {
        "stand-in"
    }
    fn events(&self, _fs: FsId) -> EventSet {
        EventSet(0)
    }
    fn attach(&self, _: Attach) -> Result<Arc<Mount>, DmError> {
        Err(DmError::NotSupported)
    }
    fn views(&self, _: FsId) -> Vec<View> {
        let devices = lock(&self.views);
        let view = |device: &u64| View {
            device: *device,
            root: FILE,
        };
        devices.iter().map(view).collect()
    }
    fn detach_view(&self, _: FsId, device: u64) {
        self.note(Told::DetachView(device));
        lock(&self.views).retain(|one| *one != device);
    }
    fn detach(&self, _: FsId) {
        self.note(Told::Detach);
    }
    fn mount(&self, fs: FsId) -> Option<Arc<Mount>> {
        (fs == FS).then(|| Arc::clone(&self.mount))
    }
    fn mounts(&self) -> Vec<Arc<Mount>> {
        vec![Arc::clone(&self.mount)]
    }
    fn answer(&self, serial: Serial, answer: Answer) {
        self.note(Told::Answer(serial, answer));
    }
    fn intend(&self, serial: Serial, answer: Answer) {
        self.note(Told::Intend(serial, answer));
    }
    fn pending(&self, _: Serial) -> bool {
        false
    }
    fn set_regions(&self, _: Handle, _: &[Region], _: bool) -> Result<Changed, DmError> {
        Err(DmError::BadHandle)
    }
    fn set_event_list(&self, _: Handle, _: EventSet, _: bool) -> Result<(), DmError> {
        Err(DmError::BadHandle)
    }
    fn punch(
        &self,
        _: Handle,
        _: u64,
        _: u64,
        _: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        Err(DmError::BadHandle)
    }
    fn list_changed(&self, fs: FsId) {
        self.note(Told::ListChanged(fs));
    }
    fn blocked(&self) -> Vec<(Serial, u32, u64)> {
        let found = self.blocked.iter().map(|serial| (*serial, 1, 1)).collect();
        let sink = lock(&self.sink).clone();
        let sink = sink.and_then(|sink| sink.upgrade());
        // Not before it was started.
        if let Some(sink) = sink
            && let Some(serial) = lock(&self.late).take()
        {
            bring_read(sink.as_ref(), serial);
        }
        found
    }
    fn start(self: Arc<Self>, sink: Arc<dyn EventSink>) -> Result<(), DmError> {
        *lock(&self.sink) = Some(Arc::downgrade(&sink));
        Ok(())
    }
    fn stop(&self) {}
}

/// A host that does nothing.
pub struct NoHost;

impl Host for NoHost {
    fn describe(&self) -> (u32, u64, u64) {
        (0, 1, 0)
    }
    fn may_stop(&self, _force: bool) -> bool {
        false
    }
    fn stop(&self) {}
    fn upgrade(&self) {}
    fn managed(&self, _count: usize) {}
}

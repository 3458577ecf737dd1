//! A FUSE mount over a file system of its own.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmapi::fs::{self, Mount, invisible};
use dmapi::model::{
    Answer, DmError, EventBody, EventSet, EventType, FuseOptions, Handle, OpenFor, Region,
};
use dmapi::source::arena::Arena;
use dmapi::source::fuse::Fuse;
use dmapi::source::{Attach, EventSink, EventSource, FuseAttach};
use dmapi::sys::{fsmount, statx};
use nix::libc;

use super::common::{self, LoopFs};
#[allow(unused_imports)]
pub use super::sink::{Deadline, Seen, Sink, eventually, lock, serial, show_logs};
use super::user::patterns;

/// READ, WRITE and TRUNCATE.
pub const ALL: u32 = 7;
/// Limits are for an idle machine; a busy one is so much slower at most.
const PATIENCE: u64 = 4;

/// A source with one mount. It ends first when it is dropped.
pub struct Rig {
    pub source: Arc<Fuse>,
    pub arena: Arc<Arena>,
    pub sink: Arc<Sink>,
    pub mount: Arc<Mount>,
    /// Where users see the file system.
    pub point: PathBuf,
    /// Further mounts.
    more: Vec<PathBuf>,
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

/// A FUSE mount that is nowhere yet, and its channel.
pub fn mount_fuse() -> (OwnedFd, OwnedFd) {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true);
    options.custom_flags(libc::O_CLOEXEC);
    let channel = options.open("/dev/fuse").expect("/dev/fuse");
    let context = fsmount::Context::open(c"fuse").expect("fsopen");
    let number = CString::new(channel.as_raw_fd().to_string()).expect("digits");
    let options = [
        (c"source", Some(c"dmapi-test")),
        (c"subtype", Some(c"dmapi")),
        (c"fd", Some(number.as_c_str())),
        (c"rootmode", Some(c"40000")),
        (c"user_id", Some(c"0")),
        (c"group_id", Some(c"0")),
        (c"default_permissions", None),
        (c"allow_other", None),
    ];
    for (key, value) in options {
        context.set(key, value).expect("an option of FUSE");
    }
    context.create().expect("a FUSE file system");
    let mount = context.mount(0).expect("a FUSE mount");
    (channel.into(), mount)
}

/// Shows a directory through a mount that the source serves. Also returns the device of that.
pub fn serve(
    source: &Fuse,
    backing: &Path,
    point: &Path,
    options: FuseOptions,
) -> Result<(Arc<Mount>, u64), DmError> {
    let (channel, tree) = mount_fuse();
    let device = statx::place(tree.as_fd()).expect("statx").device;
    let dir = std::fs::File::open(backing).expect("the backing directory");
    let attach = Attach {
        dir: dir.into(),
        fuse: Some(FuseAttach {
            channel,
            device,
            options,
        }),
    };
    let mount = source.attach(attach)?;
    std::fs::create_dir(point).expect("a mount point");
    fsmount::put(tree.as_fd(), &text(point)).expect("it is mounted");
    Ok((mount, device))
}

pub fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("no NUL")
}

impl Rig {
    pub fn new(kind: &'static str) -> Self {
        Self::with(LoopFs::new(kind), false)
    }

    /// `cached`: as with `-o data=cached`.
    pub fn with(fs: LoopFs, cached: bool) -> Self {
        Self::chosen(
            fs,
            match cached {
                true => FuseOptions::CACHED,
                false => FuseOptions::default(),
            },
        )
    }

    /// With these mount options.
    pub fn chosen(fs: LoopFs, options: FuseOptions) -> Self {
        show_logs();
        let arena = Arc::new(Arena::create(256).expect("an arena"));
        let source = Fuse::new(Arc::clone(&arena)).expect("a source");
        let sink = Arc::new(Sink::default());
        Arc::clone(&source)
            .start(Arc::clone(&sink) as Arc<dyn EventSink>)
            .expect("it starts");
        let point = fs.path().with_file_name("fuse");
        let (mount, _) = serve(&source, &fs.path(), &point, options).expect("it is served");
        Self {
            source,
            arena,
            sink,
            mount,
            point,
            more: Vec::new(),
            fs,
        }
    }

    /// A further mount, of a directory that is made if need be. Returns where it is and its device.
    pub fn add(&mut self, dir: &str, options: FuseOptions) -> (PathBuf, u64) {
        let backing = self.fs.path().join(dir);
        std::fs::create_dir_all(&backing).expect("a directory");
        let point = self
            .fs
            .path()
            .with_file_name(format!("fuse{}", self.more.len() + 2));
        let (_, device) = serve(&self.source, &backing, &point, options).expect("it is served");
        self.more.push(point.clone());
        (point, device)
    }

    /// A file as users see it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.join(name)
    }

    /// A path that makes no events.
    pub fn private(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.mount.root.as_raw_fd()).into()
    }

    /// The handle of what has that name.
    pub fn handle(&self, name: &str) -> Handle {
        let mut options = std::fs::OpenOptions::new();
        options.read(true);
        options.custom_flags(libc::O_PATH | libc::O_NOFOLLOW);
        let fd = options.open(self.private(name)).expect("it is there");
        self.mount.handle_of(fd.as_fd()).expect("its handle")
    }

    /// A file with the pattern, made without events and before users looked for the name.
    pub fn file(&self, name: &str, bytes: usize) -> Handle {
        let path = self.private(name);
        std::fs::write(&path, patterns(0, bytes)).expect("a file");
        let file = std::fs::File::open(&path).expect("the file");
        nix::unistd::fsync(file.as_fd()).expect("fsync");
        self.mount.handle_of(file.as_fd()).expect("its handle")
    }

    /// The events that the file system lists from now on.
    pub fn list(&self, events: &[EventType]) {
        self.sink.set_list(events);
        self.source.list_changed(self.mount.fs);
    }

    /// The events that an object lists.
    pub fn list_of(&self, object: Handle, events: &[EventType]) {
        self.source
            .set_event_list(object, EventSet::of(events), false)
            .expect("a list is set");
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

    /// The next event, which must be of that kind; a synchronous one is answered with CONTINUE.
    #[track_caller]
    pub fn pass(&self, kind: EventType) -> Seen {
        let event = self.sink.next();
        assert_eq!(event.kind, kind, "{event:?}");
        if event.serial.is_some() {
            self.answer(&event, Answer::Continue);
        }
        event
    }

    /// Nobody waits in the source, and no event is left.
    #[track_caller]
    pub fn is_quiet(&self) {
        eventually("no request waits", || self.source.blocked().is_empty());
        self.sink.is_empty();
    }

    /// The worker dies and the next one starts: nothing of the old one is closed. What the kernel has no answer for
    /// it sends again.
    pub fn next_worker(&mut self) {
        self.source.stop();
        std::mem::forget(Arc::clone(&self.source));
        std::mem::forget(Arc::clone(&self.mount));
        let next = Fuse::new(Arc::clone(&self.arena)).expect("a source");
        assert_eq!(next.mounts().len(), 1);
        self.mount = next.mounts().remove(0);
        self.source = next;
        Arc::clone(&self.source)
            .start(Arc::clone(&self.sink) as Arc<dyn EventSink>)
            .expect("it starts");
    }
}

/// What a DM application does when it recalls a file.
pub fn recall(source: &Fuse, mount: &Mount, file: Handle) {
    let fd = mount.open(file, OpenFor::Write).expect("the file opens");
    let size = fs::stat::stat(fd.as_fd()).expect("stat").size;
    let written = invisible::write_at(fd.as_fd(), mount.kind, 0, &patterns(0, size as usize), true);
    assert_eq!(written.expect("it is written"), size as usize);
    fs::handle::sync(mount, fd.as_fd()).expect("it is synced");
    source.set_regions(file, &[], true).expect("regions go");
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Aborts the connection: whoever is still blocked goes on, whatever went wrong.
        for point in self.more.iter().chain([&self.point]) {
            let _ = fsmount::unmount(&text(point), true, true);
        }
        self.source.detach(self.mount.fs);
    }
}

/// These kinds of file systems, one after another.
pub fn on_kinds(kinds: &[&'static str], seconds: u64, test: impl Fn(Rig)) {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(PATIENCE * seconds);
    for kind in kinds {
        eprintln!("on {kind}");
        test(Rig::new(kind));
    }
}

/// Each kind of file system.
pub fn on_each_kind(seconds: u64, test: impl Fn(Rig)) {
    on_kinds(&common::KINDS, seconds, test);
}

/// One kind is enough.
pub fn on_xfs(seconds: u64, test: impl Fn(Rig)) {
    on_kinds(&["xfs"], seconds, test);
}

/// The body of an event on names, for comparison.
pub fn names(
    mode: u32,
    handle1: Option<Handle>,
    handle2: Option<Handle>,
    name1: &str,
    name2: &str,
    retcode: i32,
) -> EventBody {
    EventBody::Namespace(dmapi::model::NamespaceBody {
        mode,
        handle1,
        handle2,
        name1: name1.into(),
        name2: name2.into(),
        retcode,
    })
}

//! A FUSE mount over a file system of its own.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmapi::fs::Mount;
use dmapi::model::{DmError, EventBody, FuseOptions, Handle};
use dmapi::source::arena::Arena;
use dmapi::source::fuse::Fuse;
use dmapi::source::{Attach, EventSink, EventSource, FuseAttach};
use dmapi::sys::{fsmount, statx};
use nix::libc;

use super::common::LoopFs;
#[allow(unused_imports)]
pub use super::deeds::{ALL, on_each_kind, on_kinds, on_xfs, recall, region};
#[allow(unused_imports)]
pub use super::sink::{Deadline, Seen, Sink, alone, eventually, lock, serial, show_logs};

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
        let source = Self::source_on(&arena);
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

    /// Nobody waits in the source.
    pub fn is_idle(&self) -> bool {
        self.source.blocked().is_empty()
    }

    /// What the next worker makes of what is kept.
    pub fn source_on(arena: &Arc<Arena>) -> Arc<Fuse> {
        Fuse::new(Arc::clone(arena)).expect("a source")
    }

    /// What a user gets when an application aborts with that number.
    pub fn errno_of_abort(errno: i32) -> i32 {
        errno
    }
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

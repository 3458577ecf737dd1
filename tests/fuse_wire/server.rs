//! A FUSE mount that is nowhere, and a server of a few objects that do not change whatever is done with them.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use dmapi::source::fuse::wire::Attr;
use dmapi::source::fuse::wire::DirBuffer;
use dmapi::source::fuse::wire::Entry;
use dmapi::source::fuse::wire::InitReply;
use dmapi::source::fuse::wire::Notice;
use dmapi::source::fuse::wire::Op;
use dmapi::source::fuse::wire::Opened;
use dmapi::source::fuse::wire::Request;
use dmapi::source::fuse::wire::abi;
use dmapi::source::fuse::wire::reply;
use dmapi::sys::fsmount::Context;
use dmapi::sys::fsmount::readable;
use dmapi::sys::fuse;
use dmapi::sys::fuse::Received;

pub const MAX_WRITE: usize = 1 << 20;
const BUFFER_BYTES: usize = MAX_WRITE + 4096;
/// What each cached file is full of.
pub const FILL: u8 = 0x5a;
pub const FILE_BYTES: u64 = 16384;

/// Nodes that there are; a name that begins with `new` is not, until it is made.
const NAMES: [(&str, u64, u32); 7] = [
    ("file", 2, libc::S_IFREG | 0o666),
    ("dir", 3, libc::S_IFDIR | 0o777),
    ("link", 4, libc::S_IFLNK | 0o777),
    ("held", 5, libc::S_IFREG | 0o666),
    ("twice", 6, libc::S_IFREG | 0o666),
    ("backed", 7, libc::S_IFREG | 0o666),
    ("stale", 8, libc::S_IFREG | 0o666),
];
const NEW_NODES: u64 = 100;

/// What the server saw.
#[derive(Default)]
pub struct Seen {
    pub frames: Vec<Vec<u8>>,
    /// Replies that the kernel did not take.
    pub refused: Vec<String>,
    /// Unique of a READ of `held` that waits.
    pub held: Option<u64>,
    pub offered: u64,
}

pub struct Served {
    pub root: OwnedFd,
    pub channel: Arc<File>,
    pub seen: Arc<Mutex<Seen>>,
    pub thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Mounts with a file to which `backed` is passed through.
    pub fn start(backing: Option<File>) -> Self {
        let channel = File::options().read(true).write(true).open("/dev/fuse");
        let channel = Arc::new(channel.expect("/dev/fuse"));
        let mount = mount(&channel);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let server = Server {
            channel: Arc::clone(&channel),
            seen: Arc::clone(&seen),
            backing,
            made: HashMap::new(),
            lookups: Vec::new(),
        };
        let thread = Some(std::thread::spawn(move || server.run()));
        let root = readable(mount.as_fd()).expect("the root of the mount");
        Self {
            root,
            channel,
            seen,
            thread,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        let (pid, fd) = (std::process::id(), self.root.as_raw_fd());
        format!("/proc/{pid}/fd/{fd}/{name}").into()
    }

    /// Ends the mount, and the server by that.
    pub fn end(self) -> Seen {
        let Self {
            root, seen, thread, ..
        } = self;
        drop(root);
        thread
            .expect("a thread")
            .join()
            .expect("the server is well");
        let mut seen = seen.lock().expect("no panic");
        std::mem::take(&mut *seen)
    }
}

fn mount(channel: &File) -> OwnedFd {
    let context = Context::open(c"fuse").expect("fsopen");
    let fd = std::ffi::CString::new(channel.as_raw_fd().to_string()).expect("digits");
    for (key, value) in [
        (c"source", c"dmapi-test"),
        (c"fd", fd.as_c_str()),
        (c"rootmode", c"40000"),
        (c"user_id", c"0"),
        (c"group_id", c"0"),
    ] {
        context.set(key, Some(value)).expect("an option");
    }
    context.set(c"allow_other", None).expect("an option");
    context.create().expect("a FUSE superblock");
    context.mount(0).expect("fsmount")
}

struct Server {
    channel: Arc<File>,
    seen: Arc<Mutex<Seen>>,
    backing: Option<File>,
    made: HashMap<Vec<u8>, u64>,
    lookups: Vec<u64>,
}

fn attr_of(node: u64) -> Attr {
    let known = NAMES.iter().find(|(_, known, _)| *known == node);
    let mode = match (node, known) {
        (abi::FUSE_ROOT_ID, _) => libc::S_IFDIR | 0o777,
        (_, Some((_, _, mode))) => *mode,
        (made, None) => (made / NEW_NODES) as u32,
    };
    Attr {
        ino: node,
        size: FILE_BYTES,
        blocks: FILE_BYTES / 512,
        mode,
        nlink: 1,
        block_bytes: 4096,
        ..Attr::default()
    }
}

fn entry_of(node: u64) -> Entry {
    Entry {
        node,
        generation: 0,
        entry_valid: Duration::from_secs(1000),
        // So that each stat asks.
        attr_valid: Duration::ZERO,
        attr: attr_of(node),
    }
}

type Answer = Result<Vec<u8>, i32>;

impl Server {
    fn run(mut self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match fuse::receive(self.channel.as_fd(), &mut buffer).expect("a request") {
                Received::Ended => return,
                Received::Nothing => {}
                Received::Request(bytes) => self.serve(&buffer[..bytes]),
            }
        }
    }

    fn serve(&mut self, frame: &[u8]) {
        let request = Request::parse(frame).expect("the kernel sends requests");
        self.seen().frames.push(frame.to_vec());
        if !self.is_delayed(&request) && request.op.wants_reply() {
            let answer = self.answer(&request);
            self.send(request.reply_to(), &answer, &request);
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic")
    }

    fn send(&self, unique: u64, answer: &Answer, request: &Request<'_>) {
        let channel = self.channel.as_fd();
        let sent = match answer {
            Ok(body) => fuse::reply(channel, unique, &[body]),
            Err(errno) => fuse::refuse(channel, unique, *errno),
        };
        if !matches!(sent, Ok(true)) {
            let what = format!("{sent:?} for {answer:?} to {request:?}");
            self.seen().refused.push(what);
        }
    }

    /// Requests that are not answered at once.
    fn is_delayed(&mut self, request: &Request<'_>) -> bool {
        match (&request.op, request.node) {
            (Op::Read { .. }, 5) => self.seen().held = Some(request.reply_to()),
            (Op::Interrupt { unique }, _) => {
                assert_eq!(Some(*unique), self.seen().held);
                self.send(*unique, &Err(libc::EINTR), request);
            }
            (Op::Read { .. }, 6) if !request.resent => {
                let notice = Notice::resend();
                let parts: [&[u8]; 1] = [&notice.body];
                let told = fuse::notify(self.channel.as_fd(), notice.code, &parts);
                assert!(told.expect("RESEND is taken"));
            }
            _ => return false,
        }
        true
    }

    fn lookup(&mut self, name: &[u8]) -> Answer {
        let known = NAMES.iter().find(|(known, ..)| known.as_bytes() == name);
        let node = known.map(|(_, node, _)| *node);
        let node = node.or_else(|| self.made.get(name).copied());
        self.lookups.extend(node);
        Ok(reply::entry(&entry_of(node.ok_or(libc::ENOENT)?)))
    }

    fn make(&mut self, name: &[u8], mode: u32) -> Entry {
        let node = NEW_NODES * u64::from(mode) + self.made.len() as u64;
        self.made.insert(name.to_vec(), node);
        entry_of(node)
    }

    fn open(&self, node: u64) -> Opened {
        let mut opened = Opened {
            fh: 1000 + node,
            flags: abi::FOPEN_KEEP_CACHE,
            backing: None,
        };
        if node == 5 {
            opened.flags = abi::FOPEN_DIRECT_IO;
        }
        if let (7, Some(backing)) = (node, &self.backing) {
            let id = fuse::backing_open(self.channel.as_fd(), backing.as_fd());
            opened.backing = Some(id.expect("BACKING_OPEN"));
        }
        opened
    }

    fn answer(&mut self, request: &Request<'_>) -> Answer {
        let node = request.node;
        match &request.op {
            Op::Init { flags, .. } => Ok(self.init(*flags)),
            Op::Lookup { name } => self.lookup(name.to_bytes()),
            Op::Getattr { .. } | Op::Setattr(_) => Ok(reply::attr(Duration::ZERO, &attr_of(node))),
            Op::Statx { .. } => Ok(reply::statx(
                Duration::ZERO,
                &reply::Statx {
                    mask: libc::STATX_BASIC_STATS | libc::STATX_BTIME,
                    attr: attr_of(node),
                    ..reply::Statx::default()
                },
            )),
            Op::Readlink => Ok(b"file".to_vec()),
            Op::Symlink { name, .. } => Ok(self.made_entry(name.to_bytes(), libc::S_IFLNK | 0o777)),
            Op::Mknod { name, mode, .. } => Ok(self.made_entry(name.to_bytes(), *mode)),
            Op::Mkdir { name, mode, .. } => {
                Ok(self.made_entry(name.to_bytes(), libc::S_IFDIR | *mode))
            }
            Op::Link { target_node, .. } => Ok(reply::entry(&entry_of(*target_node))),
            Op::Create { name, mode, .. } => {
                let entry = self.make(name.to_bytes(), *mode);
                Ok(reply::created(&entry, &self.open(entry.node)))
            }
            Op::Tmpfile { mode, .. } => {
                let entry = self.make(b"", *mode);
                Ok(reply::created(&entry, &self.open(entry.node)))
            }
            Op::Open { .. } | Op::Opendir { .. } => Ok(reply::opened(&self.open(node))),
            Op::Read { size, offset, .. } => {
                let left = FILE_BYTES.saturating_sub(*offset) as usize;
                Ok(vec![FILL; left.min(*size as usize)])
            }
            Op::Write { .. } => Ok(reply::written(request.data.len() as u32)),
            Op::Readdir { offset, size, .. } => Ok(list(*offset, *size, false)),
            Op::Readdirplus { offset, size, .. } => Ok(list(*offset, *size, true)),
            other => of_rest(other),
        }
    }

    fn made_entry(&mut self, name: &[u8], mode: u32) -> Vec<u8> {
        reply::entry(&self.make(name, mode))
    }

    fn init(&self, offered: u64) -> Vec<u8> {
        self.seen().offered = offered;
        let wanted = abi::FUSE_ASYNC_READ
            | abi::FUSE_POSIX_LOCKS
            | abi::FUSE_FLOCK_LOCKS
            | abi::FUSE_BIG_WRITES
            | abi::FUSE_DO_READDIRPLUS
            | abi::FUSE_MAX_PAGES
            | abi::FUSE_SETXATTR_EXT
            | abi::FUSE_HAS_IOCTL_DIR
            | abi::FUSE_PASSTHROUGH
            | abi::FUSE_HAS_RESEND;
        reply::init(&InitReply {
            flags: wanted & offered,
            max_readahead: 65536,
            max_background: 64,
            congestion_threshold: 48,
            max_write: MAX_WRITE as u32,
            max_pages: 256,
            time_step_ns: 1,
            max_stack_depth: 1,
        })
    }
}

fn list(offset: u64, size: u32, plus: bool) -> Vec<u8> {
    let mut out = DirBuffer::new(size);
    let begin = offset as usize;
    for (at, (name, node, mode)) in NAMES.iter().enumerate().skip(begin) {
        let (next, kind) = (at as u64 + 1, (mode >> 12) as u8);
        let has_room = match plus {
            // `file` is found by its LOOKUP only.
            true if *node == 2 => {
                out.add_plus(&Entry::default(), *node, next, kind, name.as_bytes())
            }
            true => out.add_plus(&entry_of(*node), *node, next, kind, name.as_bytes()),
            false => out.add(*node, next, kind, name.as_bytes()),
        };
        if !has_room {
            break;
        }
    }
    out.into_bytes()
}

fn of_rest(op: &Op) -> Answer {
    match op {
        Op::Statfs => Ok(reply::statfs(&reply::Statfs {
            blocks: 1000,
            block_bytes: 4096,
            fragment_bytes: 4096,
            name_max_bytes: 255,
            ..reply::Statfs::default()
        })),
        Op::Getxattr { size: 0, .. } | Op::Listxattr { size: 0 } => Ok(reply::xattr_size(7)),
        Op::Getxattr { .. } => Ok(b"content".to_vec()),
        Op::Listxattr { .. } => Ok(b"user.a\0".to_vec()),
        Op::Lseek { offset, .. } => Ok(reply::sought(*offset)),
        Op::CopyFileRange {
            length, wide: true, ..
        } => Ok(reply::copied(*length)),
        Op::CopyFileRange { length, .. } => Ok(reply::written(*length as u32)),
        Op::Getlk(lock) => Ok(reply::lock(&dmapi::source::fuse::wire::Lock {
            kind: libc::F_UNLCK as u32,
            ..*lock
        })),
        Op::Poll { .. } => Ok(reply::poll(libc::POLLIN as u32)),
        Op::Ioctl { out_size, .. } => {
            let mut body = reply::ioctl(0);
            body.resize(body.len() + *out_size as usize, 0);
            Ok(body)
        }
        Op::Unknown(_) => Err(libc::ENOSYS),
        _ => Ok(Vec::new()),
    }
}

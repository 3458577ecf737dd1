//! The kernel that runs: it takes our answers, and its requests are understood. `DMAPI_RECORD=1` writes what it
//! sent to frames.txt, to be looked at before it is committed.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use dmapi::source::fuse::wire::Notice;
use dmapi::source::fuse::wire::Op;
use dmapi::source::fuse::wire::Request;
use dmapi::source::fuse::wire::abi;
use dmapi::sys;
use nix::fcntl::RenameFlags;
use nix::sys::stat::Mode;
use nix::sys::stat::SFlag;

use crate::common::Deadline;
use crate::common::is_root;
use crate::recorded;
use crate::server::FILE_BYTES;
use crate::server::FILL;
use crate::server::MAX_WRITE;
use crate::server::Served;

const LIMIT_S: u64 = 60;

fn names(served: &Served) {
    let at = |name| served.path(name);
    assert_eq!(fs::metadata(at("file")).expect("statx").len(), FILE_BYTES);
    nix::sys::stat::stat(&at("file")).expect("stat");
    assert_eq!(
        fs::read_link(at("link")).expect("readlink"),
        Path::new("file")
    );
    std::os::unix::fs::symlink("some target", at("new symlink")).expect("symlink");
    fs::create_dir(at("new dir")).expect("mkdir");
    let device = nix::sys::stat::makedev(0x123, 0x45678);
    nix::sys::stat::mknod(&at("new node"), SFlag::S_IFCHR, Mode::S_IRUSR, device).expect("mknod");
    fs::hard_link(at("file"), at("new name")).expect("link");
    fs::rename(at("new name"), at("dir/new place")).expect("rename");
    let (from, to) = (at("new node"), at("new other"));
    let (cwd, flags) = (nix::fcntl::AT_FDCWD, RenameFlags::RENAME_NOREPLACE);
    nix::fcntl::renameat2(cwd, &from, cwd, &to, flags).expect("renameat2");
    fs::remove_file(at("new symlink")).expect("unlink");
    fs::remove_dir(at("new dir")).expect("rmdir");
    nix::unistd::access(&at("file"), nix::unistd::AccessFlags::W_OK).expect("access");
}

fn attributes(served: &Served) {
    let path = served.path("file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4711)).expect("chmod");
    std::os::unix::fs::chown(&path, Some(1001), Some(1002)).expect("chown");
    let file = File::options().write(true).open(&path).expect("open");
    file.set_len(FILE_BYTES).expect("ftruncate");
    let old = nix::sys::time::TimeSpec::new(-5, 999);
    let now = nix::sys::time::TimeSpec::UTIME_NOW;
    let (cwd, follow) = (
        nix::fcntl::AT_FDCWD,
        nix::sys::stat::UtimensatFlags::FollowSymlink,
    );
    nix::sys::stat::utimensat(cwd, &path, &old, &now, follow).expect("utimensat");
    nix::sys::statvfs::statvfs(&path).expect("statvfs");

    let file = File::open(&path).expect("open");
    sys::xattr::set(file.as_fd(), c"user.a", b"value").expect("setxattr");
    let value = sys::xattr::get(file.as_fd(), c"user.a").expect("getxattr");
    assert_eq!(value.as_deref(), Some(&b"content"[..]));
    sys::xattr::remove(file.as_fd(), c"user.a").expect("removexattr");
    let mut list = [0u8; 64];
    let fd = file.as_raw_fd();
    // SAFETY: the kernel writes at most as many bytes as the array has.
    let bytes = unsafe { libc::flistxattr(fd, list.as_mut_ptr().cast(), list.len()) };
    assert_eq!(&list[..bytes as usize], b"user.a\0");
}

fn data(served: &Served) {
    let path = served.path("file");
    let open = || File::options().read(true).write(true).open(&path);
    let mut file = open().expect("open");
    let mut bytes = [0; 100];
    file.read_exact_at(&mut bytes, 5000).expect("read");
    assert_eq!(bytes, [FILL; 100]);
    file.write_all_at(b"some bytes", 4094).expect("write");
    let mut large = File::options()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .expect("open");
    large
        .write_all(&vec![1; MAX_WRITE])
        .expect("a write of 1 MiB");
    file.seek(SeekFrom::Start(0)).expect("lseek");
    let whence = nix::unistd::Whence::SeekData;
    assert_eq!(
        nix::unistd::lseek(&file, 4096, whence).expect("SEEK_DATA"),
        4096
    );
    let mode = nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
    nix::fcntl::fallocate(&file, mode, 4096, 8192).expect("fallocate");
    file.sync_data().expect("fdatasync");
    file.sync_all().expect("fsync");
    let (mut from, mut to) = (0i64, 8192i64);
    let other = open().expect("open");
    let (from_fd, to_fd) = (file.as_raw_fd(), other.as_raw_fd());
    // SAFETY: both offsets outlive the call.
    let copied =
        unsafe { libc::copy_file_range(from_fd, &raw mut from, to_fd, &raw mut to, 4096, 0) };
    assert_eq!(copied, 4096);
    let lock = nix::fcntl::Flock::lock(other, nix::fcntl::FlockArg::LockExclusive);
    drop(lock.expect("flock"));
    let mut poll = [nix::poll::PollFd::new(
        file.as_fd(),
        nix::poll::PollFlags::POLLIN,
    )];
    assert_eq!(nix::poll::poll(&mut poll, 0u8).expect("poll"), 1);
    locks(&file);
    let mut flags: libc::c_long = 0;
    // SAFETY: the request fills one long.
    unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) };
    drop(file);
    let mut created = File::create_new(served.path("new file")).expect("creat");
    created.write_all(b"x").expect("write");
    let flags = nix::fcntl::OFlag::O_TMPFILE | nix::fcntl::OFlag::O_RDWR;
    nix::fcntl::open(&served.path("dir"), flags, Mode::S_IRUSR).expect("O_TMPFILE");
}

fn locks(file: &File) {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: 0,
        l_start: 10,
        l_len: 20,
        l_pid: 0,
    };
    use nix::fcntl::FcntlArg;
    nix::fcntl::fcntl(file, FcntlArg::F_SETLK(&lock)).expect("F_SETLK");
    nix::fcntl::fcntl(file, FcntlArg::F_SETLKW(&lock)).expect("F_SETLKW");
    nix::fcntl::fcntl(file, FcntlArg::F_GETLK(&mut lock)).expect("F_GETLK");
    assert_eq!(i32::from(lock.l_type), libc::F_UNLCK);
}

fn directories(served: &Served) {
    let found = fs::read_dir(served.path("dir")).expect("opendir");
    let mut found: Vec<_> = found
        .map(|entry| entry.expect("readdir").file_name())
        .collect();
    found.sort();
    assert_eq!(
        found,
        ["backed", "dir", "file", "held", "link", "stale", "twice"]
    );
    File::open(served.path("dir"))
        .expect("open")
        .sync_all()
        .expect("fsyncdir");
}

/// One name that is dropped gives FORGET, several at once BATCH_FORGET: the server drops them while it answers.
fn forgets(served: &Served) {
    for name in ["stale", "twice", "held"] {
        fs::metadata(served.path(name)).expect("statx");
    }
    let notice = Notice::inval_entry(abi::FUSE_ROOT_ID, b"stale");
    let parts: [&[u8]; 1] = [&notice.body];
    let told = sys::fuse::notify(served.channel.as_fd(), notice.code, &parts);
    assert!(told.expect("INVAL_ENTRY is taken"));
    let told = sys::fuse::notify(served.channel.as_fd(), notice.code, &parts);
    assert!(!told.expect("of an entry that is not there"));
    let notice = Notice::inval_attributes(2);
    let parts: [&[u8]; 1] = [&notice.body];
    let told = sys::fuse::notify(served.channel.as_fd(), notice.code, &parts);
    assert!(told.expect("INVAL_INODE is taken"));
    fs::set_permissions(served.path("dir"), fs::Permissions::from_mode(0o123)).expect("chmod");
}

/// A process that is killed while its READ waits: INTERRUPT, and its answer is EINTR.
fn interrupted(served: &Served) {
    let mut reader = Command::new("cat")
        .arg(served.path("held"))
        .stdout(Stdio::null())
        .spawn()
        .expect("cat starts");
    while served.seen.lock().expect("no panic").held.is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    reader.kill().expect("it waits");
    reader.wait().expect("it ends");
}

fn frames_by_name(frames: Vec<Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for mut frame in frames {
        let request = Request::parse(&frame).expect("parsed before");
        let name = recorded::name(&request);
        if frame.len() > 4096 {
            // A buffer that begins within a page has less in as many pages.
            assert!(request.data.len() <= MAX_WRITE);
            continue;
        }
        // Not the same each time.
        frame[32..36].copy_from_slice(&4242u32.to_ne_bytes());
        found.entry(name).or_insert(frame);
    }
    found
}

#[test]
fn the_running_kernel_is_understood() {
    if !is_root() {
        return;
    }
    let _deadline = Deadline::new("the running kernel", LIMIT_S);
    let mut backing = tempfile::tempfile().expect("a file");
    backing
        .write_all(b"from the backing file")
        .expect("written");
    let served = Served::start(Some(backing));
    names(&served);
    attributes(&served);
    data(&served);
    directories(&served);
    let mut text = String::new();
    let mut file = File::open(served.path("backed")).expect("open");
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "from the backing file");
    drop(file);
    assert_eq!(
        fs::read(served.path("twice")).expect("read").len() as u64,
        FILE_BYTES
    );
    interrupted(&served);
    forgets(&served);

    let seen = served.end();
    assert!(seen.refused.is_empty(), "{:#?}", seen.refused);
    assert_ne!(seen.offered & abi::FUSE_PASSTHROUGH, 0);
    let found = frames_by_name(seen.frames);
    if std::env::var_os("DMAPI_RECORD").is_some() {
        recorded::write(&found);
    }
    // What each kernel sends, in whatever form.
    for name in recorded::EVERYWHERE {
        assert!(
            found.contains_key(*name),
            "no {name} among {:?}",
            found.keys()
        );
    }
    let is_forgotten = ["Forget", "BatchForget"].iter();
    assert!(is_forgotten.copied().any(|name| found.contains_key(name)));
    let interrupt = Request::parse(&found["Interrupt"]).expect("parsed before");
    assert!(matches!(interrupt.op, Op::Interrupt { .. }));
}

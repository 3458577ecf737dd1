//! `/dev/fuse`: requests in, answers out, backing files; and the identity that a thread serves a request with.

use std::cell::Cell;
use std::io;
use std::io::IoSlice;
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::uio::writev;

use super::apart;
use super::deserted;

/// len u32 | error i32 | unique u64.
const HEADER_BYTES: usize = 16;

/// What a read of `/dev/fuse` gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A request of so many bytes, at the front of the buffer.
    Request(usize),
    /// None, but there may be one soon: a signal came, the descriptor does not wait, or a request vanished on
    /// its way. Whoever must end looks now, and reads again.
    Nothing,
    /// The mount is gone, or was aborted.
    Ended,
}

/// Reads the next request; waits for it unless the descriptor is non-blocking. The buffer must have room for
/// the longest WRITE and 4096 bytes more.
pub fn receive(channel: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    match nix::unistd::read(channel, buffer) {
        Ok(0) => Ok(Received::Ended),
        Ok(bytes) => Ok(Received::Request(bytes)),
        // ENOENT: the request was interrupted before it was copied.
        Err(Errno::EINTR | Errno::EAGAIN | Errno::ENOENT) => Ok(Received::Nothing),
        Err(Errno::ENODEV | Errno::ECONNABORTED) => Ok(Received::Ended),
        Err(errno) => Err(errno.into()),
    }
}

/// Of a message of so many bytes with the header.
fn header(error: i32, unique: u64, bytes: usize) -> io::Result<[u8; HEADER_BYTES]> {
    let length = u32::try_from(bytes).map_err(io::Error::other)?;
    let mut header = [0u8; HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_ne_bytes());
    header[4..8].copy_from_slice(&error.to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    Ok(header)
}

fn send(channel: BorrowedFd<'_>, error: i32, unique: u64, parts: &[&[u8]]) -> io::Result<()> {
    let bytes = parts
        .iter()
        .fold(HEADER_BYTES, |sum, part| sum + part.len());
    let header = header(error, unique, bytes)?;
    let mut slices = Vec::with_capacity(1 + parts.len());
    slices.push(IoSlice::new(&header));
    slices.extend(parts.iter().map(|part| IoSlice::new(part)));
    loop {
        match writev(channel, &slices) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The operation or object is not there any more: nobody needs to be told.
fn gone_is_false(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Answers a request with what follows the header, without copying it. `unique` as the request had it,
/// with its bit of a resent one. `false`: nobody waits for it, or the mount is gone.
pub fn reply(channel: BorrowedFd<'_>, unique: u64, parts: &[&[u8]]) -> io::Result<bool> {
    gone_is_false(send(channel, 0, unique, parts))
}

/// Answers a request with an errno, which is positive here. `false` as in [`reply`].
pub fn refuse(channel: BorrowedFd<'_>, unique: u64, errno: i32) -> io::Result<bool> {
    gone_is_false(send(channel, -errno, unique, &[]))
}

/// Tells the kernel something by itself. `false`: it does not have the object (any more), or the mount is gone.
pub fn notify(channel: BorrowedFd<'_>, code: i32, parts: &[&[u8]]) -> io::Result<bool> {
    gone_is_false(send(channel, code, 0, parts))
}

/// The same in a process of its own: some notices wait for requests that are not answered, and a dead server must be
/// gone before the next one can answer them. When nobody lives any more (`life::watch`) who could, they fail.
pub fn notify_apart(
    channel: BorrowedFd<'_>,
    code: i32,
    body: &[u8],
    life: Option<BorrowedFd<'_>>,
) -> io::Result<bool> {
    let header = header(code, 0, HEADER_BYTES + body.len())?;
    let guard = life.map(|life| apart::Guard {
        life,
        deserted: deserted::refuse_all,
    });
    gone_is_false(apart::write(channel, &[&header, body].concat(), guard))
}

#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

mod requests {
    use super::BackingMap;

    nix::ioctl_write_ptr!(backing_open, 229, 1, BackingMap);
    nix::ioctl_write_ptr!(backing_close, 229, 2, u32);
}

/// Makes an open file known as a backing file; the kernel keeps it open until [`backing_close`]. The descriptor
/// must be for reading and writing as opens through it shall be. EPERM without CAP_SYS_ADMIN.
pub fn backing_open(channel: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<i32> {
    let map = BackingMap {
        fd: file.as_raw_fd(),
        flags: 0,
        padding: 0,
    };
    // SAFETY: the structure is the one of this request, and the kernel only reads it.
    Ok(unsafe { requests::backing_open(channel.as_raw_fd(), &raw const map) }?)
}

/// Ends [`backing_open`]; files that are open with it stay so. ENOENT: there is none of that number.
pub fn backing_close(channel: BorrowedFd<'_>, id: i32) -> io::Result<()> {
    let id = id.cast_unsigned();
    // SAFETY: the kernel reads four bytes.
    unsafe { requests::backing_close(channel.as_raw_fd(), &raw const id) }?;
    Ok(())
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
const CAP_FOWNER: u32 = 3;
const CAP_FSETID: u32 = 4;
const CAP_LINUX_IMMUTABLE: u32 = 9;
const CAP_SYS_RESOURCE: u32 = 24;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Low and high 32 bits.
type Capabilities = [CapabilitySet; 2];

fn own_header() -> CapabilityHeader {
    CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    }
}

fn capabilities() -> io::Result<Capabilities> {
    let mut header = own_header();
    let mut found = Capabilities::default();
    // SAFETY: version 3 has one header and two sets, and both may be written to.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, &raw mut found) };
    Errno::result(result)?;
    Ok(found)
}

fn set_capabilities(wanted: &Capabilities) -> io::Result<()> {
    let mut header = own_header();
    // SAFETY: as in `capabilities`; the sets are only read.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, wanted.as_ptr()) };
    Errno::result(result)?;
    Ok(())
}

thread_local! {
    /// What the thread has when it is itself; only [`Caller`] changes it.
    static OWN_CAPABILITIES: Cell<Option<Capabilities>> = const { Cell::new(None) };
}

fn own_capabilities() -> io::Result<Capabilities> {
    if let Some(known) = OWN_CAPABILITIES.get() {
        return Ok(known);
    }
    let found = capabilities()?;
    OWN_CAPABILITIES.set(Some(found));
    Ok(found)
}

/// Sets the user or group for files; gives the one that was. The kernel tells no error: a second call says
/// what holds.
fn set_fs_id(call: libc::c_long, id: u32) -> io::Result<u32> {
    // SAFETY: the calls take an integer, and are for this thread only.
    let before = unsafe { libc::syscall(call, id) };
    // SAFETY: as above; -1 is no id, so that nothing changes.
    let now = unsafe { libc::syscall(call, -1) };
    if now as u32 != id {
        return Err(io::Error::from(Errno::EPERM));
    }
    Ok(before as u32)
}

/// While it lives this thread works on files as a caller: what it makes is his, his quota is asked, the blocks
/// that are reserved for root are not his, and set-id bits go where they would for him. Permissions are
/// those of root all the time: the kernel checked his before it sent the request. One at a time in a thread.
/// The kernel then takes the whole process for one whose memory is a secret: it leaves no core dumps.
#[derive(Debug, Default)]
pub struct Caller {
    /// What the thread was, where it is something else now.
    user: Option<u32>,
    group: Option<u32>,
    capabilities: Option<Capabilities>,
    /// It is the thread's, and must be given back by it.
    only_here: PhantomData<*const ()>,
}

impl std::fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.effective)
    }
}

impl Caller {
    /// For what changes the data and attributes of files.
    pub fn enter(uid: u32, gid: u32) -> io::Result<Self> {
        Self::without(uid, gid, &[CAP_FSETID, CAP_SYS_RESOURCE])
    }

    /// As root, but set-id bits go and reserved blocks are not his: for what the kernel writes for everybody, and
    /// for a root that has no such rights himself.
    pub fn enter_without_privileges() -> io::Result<Self> {
        let mut caller = Self::default();
        caller.drop_capabilities(&[CAP_FSETID, CAP_SYS_RESOURCE])?;
        Ok(caller)
    }

    /// For what makes objects: the kernel has decided already, for the caller, whether a set-group-id bit
    /// stays, and groups that he has beside `gid` are not known here.
    pub fn enter_to_create(uid: u32, gid: u32) -> io::Result<Self> {
        Self::without(uid, gid, &[CAP_SYS_RESOURCE])
    }

    /// For what changes flags of inodes: kernels before 5.13 do not check whether the caller may.
    pub fn enter_to_set_flags(uid: u32, gid: u32) -> io::Result<Self> {
        let checked = [
            CAP_FOWNER,
            CAP_FSETID,
            CAP_LINUX_IMMUTABLE,
            CAP_SYS_RESOURCE,
        ];
        Self::without(uid, gid, &checked)
    }

    /// An error ends the guard, and that takes back what was done.
    fn without(uid: u32, gid: u32, dropped: &[u32]) -> io::Result<Self> {
        let mut caller = Self::default();
        if (uid, gid) == (0, 0) {
            return Ok(caller);
        }
        caller.group = Some(set_fs_id(libc::SYS_setfsgid, gid)?);
        if uid != 0 {
            // Known before the change of the user takes the rights on files from the effective set.
            own_capabilities()?;
            caller.user = Some(set_fs_id(libc::SYS_setfsuid, uid)?);
            caller.drop_capabilities(dropped)?;
        }
        Ok(caller)
    }

    fn drop_capabilities(&mut self, dropped: &[u32]) -> io::Result<()> {
        let before = own_capabilities()?;
        let mut wanted = before;
        for capability in dropped {
            wanted[0].effective &= !(1 << capability);
        }
        self.capabilities = Some(before);
        set_capabilities(&wanted)
    }

    fn leave(&self) -> io::Result<()> {
        if let Some(user) = self.user {
            set_fs_id(libc::SYS_setfsuid, user)?;
        }
        if let Some(group) = self.group {
            set_fs_id(libc::SYS_setfsgid, group)?;
        }
        self.capabilities.as_ref().map_or(Ok(()), set_capabilities)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // Going back to what a thread was is always allowed. One that could not must not serve others.
        if self.leave().is_err() {
            std::process::abort();
        }
    }
}

thread_local! {
    static HAS_OWN_UMASK: Cell<bool> = const { Cell::new(false) };
}

/// Sets the umask of this thread, which stops sharing it, and its working directory and root, with the others.
pub fn set_thread_umask(mask: u32) -> io::Result<()> {
    if !HAS_OWN_UMASK.get() {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
        HAS_OWN_UMASK.set(true);
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::fs::PermissionsExt;

    fn is_root() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            let may_skip = std::env::var_os("DMAPI_NO_SKIP").is_none_or(|value| value != "1");
            assert!(may_skip, "only root can be somebody else");
            eprintln!("SKIP: only root can be somebody else");
        }
        root
    }

    fn effective() -> u64 {
        let [low, high] = capabilities().expect("capget");
        u64::from(high.effective) << 32 | u64::from(low.effective)
    }

    #[test]
    fn a_thread_is_the_caller_until_the_guard_goes() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let before = effective();
        let caller = Caller::enter(4711, 4712).expect("enter");
        let dropped = 1u64 << CAP_FSETID | 1 << CAP_SYS_RESOURCE;
        assert_eq!(effective(), before & !dropped);
        // Root's right to write in the directory is kept, but the file is the caller's.
        fs::write(dir.path().join("his"), "x").expect("a file");
        drop(caller);
        assert_eq!(effective(), before);
        fs::write(dir.path().join("ours"), "x").expect("a file");
        let his = fs::metadata(dir.path().join("his")).expect("stat");
        assert_eq!((his.uid(), his.gid()), (4711, 4712));
        let ours = fs::metadata(dir.path().join("ours")).expect("stat");
        assert_eq!((ours.uid(), ours.gid()), (0, 0));
    }

    #[test]
    fn set_id_bits_go_as_for_the_caller() {
        if !is_root() {
            return;
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        let set = || fs::set_permissions(file.path(), fs::Permissions::from_mode(0o6777));
        let mode = || fs::metadata(file.path()).expect("stat").mode() & 0o7777;
        let write = || fs::write(file.path(), "x").expect("write");
        type Enter = fn(u32, u32) -> io::Result<Caller>;
        let cases: [(Enter, u32, u32); 4] = [
            (Caller::enter, 4711, 0o777),
            (Caller::enter_to_create, 4711, 0o6777),
            (Caller::enter, 0, 0o6777),
            (Caller::enter_to_create, 0, 0o6777),
        ];
        set().expect("chmod");
        let caller = Caller::enter_without_privileges().expect("enter");
        write();
        drop(caller);
        assert_eq!(mode(), 0o777);
        for (enter, uid, expected) in cases {
            set().expect("chmod");
            let caller = enter(uid, 4712).expect("enter");
            write();
            drop(caller);
            assert_eq!(mode(), expected);
        }
    }

    #[test]
    fn a_thread_has_its_own_umask() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let make = |name: &str, mask| {
            set_thread_umask(mask).expect("umask");
            let path = dir.path().join(name);
            fs::create_dir(&path).expect("mkdir");
            fs::metadata(path).expect("stat").mode() & 0o777
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| make("first", 0o077));
            assert_eq!(other.join().expect("no panic"), 0o700);
            let other = scope.spawn(|| (make("second", 0), make("third", 0o022)));
            assert_eq!(other.join().expect("no panic"), (0o777, 0o755));
        });
    }

    #[test]
    fn nothing_ended_and_requests_are_told_apart() {
        let (left, right) = nix::unistd::pipe().expect("a pipe");
        let mut buffer = [0; 16];
        nix::unistd::write(&right, b"request").expect("written");
        let received = receive(left.as_fd(), &mut buffer).expect("read");
        assert_eq!(received, Received::Request(7));
        let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&left, flags).expect("fcntl");
        let received = receive(left.as_fd(), &mut buffer).expect("read");
        assert_eq!(received, Received::Nothing);
        assert!(receive(right.as_fd(), &mut buffer).is_err());
    }

    #[test]
    fn an_answer_has_its_length_and_number() {
        let (left, right) = nix::unistd::pipe().expect("a pipe");
        let mut buffer = [0; 64];
        assert!(reply(right.as_fd(), 9, &[b"one", b"two"]).expect("written"));
        assert_eq!(nix::unistd::read(&left, &mut buffer), Ok(22));
        assert_eq!(buffer[..4], 22u32.to_ne_bytes());
        assert_eq!(buffer[4..8], [0; 4]);
        assert_eq!(buffer[8..16], 9u64.to_ne_bytes());
        assert_eq!(&buffer[16..22], b"onetwo");
        assert!(refuse(right.as_fd(), 9, libc::EPERM).expect("written"));
        assert_eq!(nix::unistd::read(&left, &mut buffer), Ok(16));
        assert_eq!(buffer[4..8], (-libc::EPERM).to_ne_bytes());
    }
}

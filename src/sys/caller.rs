//! The identity that a thread serves a request of a user with.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;

use nix::errno::Errno;

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
}

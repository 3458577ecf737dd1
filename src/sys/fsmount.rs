//! Mounting in steps: a file system is made ready and mounted on nothing, then put in its place.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;

/// Attributes of a mount, as fsmount(2) takes them.
#[allow(missing_docs)]
pub mod attribute {
    pub const RDONLY: u32 = 0x1;
    pub const NOSUID: u32 = 0x2;
    pub const NODEV: u32 = 0x4;
    pub const NOEXEC: u32 = 0x8;
    pub const NOATIME: u32 = 0x10;
    pub const STRICTATIME: u32 = 0x20;
    pub const NODIRATIME: u32 = 0x80;
}

/// A file system that is being configured.
#[derive(Debug)]
pub struct Context {
    fd: OwnedFd,
}

fn own(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(Errno::result(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Context {
    /// Begins with a type, such as `xfs`.
    pub fn open(kind: &CStr) -> io::Result<Self> {
        // SAFETY: a string that ends with NUL, and a flag.
        let made = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
        Ok(Self { fd: own(made)? })
    }

    /// Sets an option; `None`: one without a value. The error tells what the file system says of it.
    pub fn set(&self, key: &CStr, value: Option<&CStr>) -> io::Result<()> {
        match value {
            Some(value) => self.config(FSCONFIG_SET_STRING, Some(key), Some(value)),
            None => self.config(FSCONFIG_SET_FLAG, Some(key), None),
        }
    }

    /// Reads the device; then the mount can be made.
    pub fn create(&self) -> io::Result<()> {
        self.config(FSCONFIG_CMD_CREATE, None, None)
    }

    fn config(
        &self,
        command: libc::c_uint,
        key: Option<&CStr>,
        value: Option<&CStr>,
    ) -> io::Result<()> {
        let key = key.map_or(std::ptr::null(), CStr::as_ptr);
        let value = value.map_or(std::ptr::null(), CStr::as_ptr);
        let fd = self.fd.as_raw_fd();
        // SAFETY: strings that end with NUL, or null where the command takes none.
        let done = unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key, value, 0) };
        match Errno::result(done) {
            Ok(_) => Ok(()),
            Err(errno) => Err(self.explained(errno)),
        }
    }

    /// The kernel's words for what went wrong are read from the context.
    fn explained(&self, errno: Errno) -> io::Error {
        let mut words = Vec::new();
        let mut message = [0; 1024];
        while let Ok(bytes @ 1..) = nix::unistd::read(&self.fd, &mut message) {
            // "e ", "w " or "i " stands before each.
            let text = String::from_utf8_lossy(&message[..bytes]);
            words.push(text.get(2..).unwrap_or("").trim().to_owned());
        }
        match words.is_empty() {
            true => errno.into(),
            false => {
                let kind = io::Error::from(errno).kind();
                io::Error::new(kind, format!("{} ({})", errno.desc(), words.join("; ")))
            }
        }
    }

    /// Mounts it on nothing.
    pub fn mount(&self, attributes: u32) -> io::Result<OwnedFd> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: three integers.
        own(unsafe { libc::syscall(libc::SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes) })
    }
}

/// Puts a mount that is nowhere on a directory.
pub fn put(mount: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let empty = CString::default();
    // SAFETY: strings that end with NUL, and integers.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    Errno::result(done)?;
    Ok(())
}

/// A readable descriptor of the directory that `dir` names, which may be O_PATH or a mount that is nowhere.
pub fn readable(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(openat(dir, ".", flags, Mode::empty())?)
}

/// Takes a mount away. `forced` and `lazy` as in umount(2).
pub fn unmount(path: &CStr, forced: bool, lazy: bool) -> io::Result<()> {
    use nix::mount::{MntFlags, umount2};
    let mut flags = MntFlags::empty();
    flags.set(MntFlags::MNT_FORCE, forced);
    flags.set(MntFlags::MNT_DETACH, lazy);
    Ok(umount2(path, flags)?)
}

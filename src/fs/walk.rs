//! A walk over the directories of a mount by their names, for kinds that have no better list.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::fcntl::OFlag;
use nix::fcntl::openat;
use nix::sys::stat::Mode;
use nix::sys::stat::fstat;
use nix::sys::stat::fstatat;

use crate::fs::Mount;
use crate::fs::error::dm;
use crate::fs::handle::kind_of_mode;
use crate::model::DmError;
use crate::model::Kinds;
use crate::sys::dirent;

/// No path that the kernel is given is longer.
const STEP_BYTES: usize = 4000;

/// A directory that is walked.
pub(super) struct Dir {
    pub(super) fd: OwnedFd,
    pub(super) inode: u64,
    /// Below the root; empty for the root itself.
    pub(super) path: Rc<[u8]>,
}

/// Opens what a path below a directory means, however long it is; empty: the directory itself.
pub(super) fn open_below(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlag,
) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > STEP_BYTES {
        // A name has at most 255 bytes, so there is a slash.
        let cut = rest[..STEP_BYTES].iter().rposition(|byte| *byte == b'/');
        let cut = cut.ok_or(Errno::ENAMETOOLONG)?;
        let dir = at.as_ref().map_or(root, AsFd::as_fd);
        let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        at = Some(open_at(dir, &rest[..cut], step)?);
        rest = &rest[cut + 1..];
    }
    let name = if rest.is_empty() { b"." } else { rest };
    open_at(at.as_ref().map_or(root, AsFd::as_fd), name, flags)
}

fn open_at(dir: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
    let path = OsStr::from_bytes(path);
    openat(dir, path, flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens what a name means, to look at it.
pub(super) fn open_entry(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_at(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW)
}

/// Opens a directory to read it. Its access time stays where the caller may ask for that.
fn open_dir(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    match open_below(root, path, flags | OFlag::O_NOATIME) {
        Err(Errno::EPERM) => open_below(root, path, flags),
        other => other,
    }
}

fn is_directory(dir: &Dir, entry: &dirent::Entry) -> bool {
    match entry.kind {
        libc::DT_DIR => true,
        libc::DT_UNKNOWN => {
            let name = OsStr::from_bytes(&entry.name);
            let stat = fstatat(&dir.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW);
            stat.is_ok_and(|stat| kind_of_mode(stat.st_mode) == Kinds::DIRECTORY)
        }
        _ => false,
    }
}

fn child(dir: &[u8], name: &[u8]) -> Rc<[u8]> {
    if dir.is_empty() {
        return name.into();
    }
    [dir, b"/", name].concat().into()
}

/// What is done with each entry of each directory, `.` and `..` left out.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&Dir, &dirent::Entry) -> Result<(), DmError>;

/// Visits the whole tree, the root itself excepted. In memory are the paths of directories that were seen
/// and not read yet. `false`: a directory was renamed meanwhile, and what is in it may have been missed.
/// Directories that may not be read are passed over, and so are those of other file systems.
pub(super) fn walk(mount: &Mount, visit: Visit<'_>) -> Result<bool, DmError> {
    let mut waiting: Vec<Rc<[u8]>> = vec![Rc::from(&b""[..])];
    let mut complete = true;
    while let Some(path) = waiting.pop() {
        let fd = match open_dir(mount.root.as_fd(), &path) {
            Ok(fd) => fd,
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ESTALE) => {
                complete = false;
                continue;
            }
            Err(Errno::EACCES) => continue,
            Err(errno) => return Err(dm(errno)),
        };
        let stat = fstat(&fd).map_err(dm)?;
        if stat.st_dev != mount.device {
            continue;
        }
        let dir = Dir {
            fd,
            inode: stat.st_ino,
            path,
        };
        loop {
            let entries = dirent::read(dir.fd.as_fd())?;
            if entries.is_empty() {
                break;
            }
            for entry in entries.iter().filter(|entry| !is_dot(&entry.name)) {
                visit(&dir, entry)?;
                if is_directory(&dir, entry) {
                    waiting.push(child(&dir.path, &entry.name));
                }
            }
        }
    }
    Ok(complete)
}

fn is_dot(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

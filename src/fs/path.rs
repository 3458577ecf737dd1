//! Names: of an object in a directory, and of a directory below the root (`dm_handle_to_path`).

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::fcntl::openat;
use nix::sys::stat::Mode;

use crate::fs::Mount;
use crate::fs::error::dm;
use crate::model::DmError;
use crate::model::Handle;
use crate::sys::dirent;

/// Deeper than any path that a caller could use.
const DEPTH_MAX: usize = 2048;

fn open_at(dir: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
    let path = OsStr::from_bytes(path);
    openat(dir, path, flags | OFlag::O_CLOEXEC, Mode::empty())
}

fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, DmError> {
    open_at(dir, name, OFlag::O_DIRECTORY | OFlag::O_NOATIME).map_err(dm)
}

/// Where the kernel says that a descriptor is.
fn link_of(fd: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

impl Mount {
    /// The name that an object has in a directory (of this mount), the first one if it has several; `None` if it
    /// is not there.
    pub fn name_in(&self, dir: BorrowedFd<'_>, target: Handle) -> Result<Option<Vec<u8>>, DmError> {
        let Handle::Object { inode, .. } = target else {
            return Err(DmError::BadHandle);
        };
        // Its own descriptor, as reading moves the position.
        let dir = open_dir(dir, b".")?;
        loop {
            let entries = dirent::read(dir.as_fd())?;
            if entries.is_empty() {
                return Ok(None);
            }
            for entry in entries {
                let is_real = entry.name != b"." && entry.name != b"..";
                if is_real && entry.inode == inode && self.is_at(dir.as_fd(), &entry.name, target) {
                    return Ok(Some(entry.name));
                }
            }
        }
    }

    /// Does the path lead to that object?
    fn is_at(&self, dir: BorrowedFd<'_>, path: &[u8], target: Handle) -> bool {
        let opened = open_at(dir, path, OFlag::O_PATH | OFlag::O_NOFOLLOW);
        opened.is_ok_and(|fd| self.handle_of(fd.as_fd()) == Ok(target))
    }

    /// The path of a directory below the root, without a slash in front; empty for the root itself.
    /// `BadHandle` if it was removed.
    pub fn path_of(&self, dir: BorrowedFd<'_>) -> Result<Vec<u8>, DmError> {
        let target = self.handle_of(dir)?;
        if target == self.handle_of(self.root.as_fd())? {
            return Ok(Vec::new());
        }
        match self.guess(dir) {
            Some(path) if self.is_at(self.root.as_fd(), &path, target) => Ok(path),
            _ => self.walk_up(dir),
        }
    }

    /// What the kernel's name cache says; to be checked, as directories may be renamed at any time.
    fn guess(&self, dir: BorrowedFd<'_>) -> Option<Vec<u8>> {
        let root = link_of(self.root.as_fd()).ok()?;
        let dir = link_of(dir).ok()?;
        let path = dir.strip_prefix(root).ok()?.as_os_str().as_bytes();
        (!path.is_empty()).then(|| path.to_vec())
    }

    fn walk_up(&self, dir: BorrowedFd<'_>) -> Result<Vec<u8>, DmError> {
        let root = self.handle_of(self.root.as_fd())?;
        let mut current = open_dir(dir, b".")?;
        let mut names: Vec<Vec<u8>> = Vec::new();
        loop {
            let handle = self.handle_of(current.as_fd())?;
            if handle == root {
                names.reverse();
                return Ok(names.join(&b'/'));
            }
            if names.len() == DEPTH_MAX {
                return Err(DmError::TooBig { need: None });
            }
            let parent = open_dir(current.as_fd(), b"..")?;
            let name = self.name_in(parent.as_fd(), handle)?;
            names.push(name.ok_or(DmError::BadHandle)?);
            current = parent;
        }
    }
}

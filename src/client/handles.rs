//! Handles of paths and descriptors, and back.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::call::{Entered, look};
use super::dialect::reading;
use super::mounts;
use super::node::file_systems;
use crate::model::{DmError, Handle, Kinds, Right};
use crate::proto::{OpenFor, Request, Target};
use crate::sys::guest;
use crate::sys::signal::Quiet;

/// `dm_path_to_handle`: the last symbolic link is not followed. `path` has no NUL.
pub fn path_to_handle(path: &[u8]) -> Result<Handle, DmError> {
    let object = open_path(path, OFlag::O_NOFOLLOW)?;
    mounts::handle_of(object.as_fd())
}

/// `dm_path_to_fshandle`: links are followed.
pub fn path_to_fshandle(path: &[u8]) -> Result<Handle, DmError> {
    let object = open_path(path, OFlag::empty())?;
    Ok(Handle::Fs(mounts::fs_of(object.as_fd())?))
}

/// Finds an object without opening it, so that nothing happens to it; "" is the current directory.
fn open_path(path: &[u8], more: OFlag) -> Result<OwnedFd, DmError> {
    // Opening is a cancellation point.
    let _quiet = Quiet::begin();
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | more;
    open(OsStr::from_bytes(path), flags, Mode::empty())
        .map_err(|errno| DmError::from_errno(errno as i32))
}

/// `dm_fd_to_handle`.
pub fn fd_to_handle(fd: i32) -> Result<Handle, DmError> {
    // Not duplicated: closing a duplicate would end the process's record locks on the file.
    guest::lend(fd, mounts::handle_of).ok_or(DmError::BadHandle)?
}

/// `dm_handle_to_path`, without NUL: relative to the root of the file system, or absolute in SGI's reading.
pub fn handle_to_path(directory: &Handle, target: &Handle) -> Result<Vec<u8>, DmError> {
    let (dir, _) = look_at(directory, Kinds::DIRECTORY, OpenFor::Read)?;
    let sgi = reading().paths_are_absolute;
    let (_target, kind) = look_at(target, Kinds::OBJECT, OpenFor::Look)?;
    let mount = mounts::mount_of(directory)?;
    let mut path = mount.path_of(dir.as_fd())?;
    if directory == target && sgi {
        path.extend_from_slice(if path.is_empty() { b"." } else { b"/." });
        return absolute(directory, path);
    }
    if kind == Kinds::DIRECTORY && !sgi {
        return Err(DmError::BadHandle);
    }
    let name = mount.name_in(dir.as_fd(), *target)?;
    let name = name.ok_or(if sgi {
        DmError::NotFound
    } else {
        DmError::Invalid
    })?;
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(&name);
    if sgi {
        absolute(directory, path)
    } else {
        Ok(path)
    }
}

/// Opens an object; one of another kind is as bad as a dead one here.
fn look_at(handle: &Handle, kinds: Kinds, open: OpenFor) -> Result<(OwnedFd, Kinds), DmError> {
    if !matches!(handle, Handle::Object { .. }) {
        return Err(DmError::BadHandle);
    }
    let request = Request::Look {
        handle: *handle,
        kinds,
        open,
    };
    look(&request).map_err(|error| match error {
        DmError::WrongKind => DmError::BadHandle,
        other => other,
    })
}

fn absolute(handle: &Handle, below: Vec<u8>) -> Result<Vec<u8>, DmError> {
    let entries = file_systems()?;
    let entry = entries.iter().find(|entry| Some(entry.fs) == handle.fs());
    let mut path = entry.ok_or(DmError::BadHandle)?.mount.path.clone();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(&below);
    Ok(path)
}

/// `dm_open_by_handle`: `mode` is as for open(2). The descriptor makes no events.
pub fn open_by_handle(handle: &Handle, mode: i32) -> Result<OwnedFd, DmError> {
    let open = match mode & OFlag::O_ACCMODE.bits() {
        libc::O_RDONLY => OpenFor::Read,
        libc::O_WRONLY | libc::O_RDWR => OpenFor::Write,
        _ => return Err(DmError::Invalid),
    };
    let request = Request::Look {
        handle: *handle,
        kinds: Kinds::OBJECT.or(Kinds::FS),
        open,
    };
    Ok(look(&request)?.0)
}

/// `dm_create_by_handle`, `dm_mkdir_by_handle`, `dm_symlink_by_handle`: session and token are checked, then `ENOSYS`.
pub fn create_by_handle(directory: &Target) -> Result<(), DmError> {
    let kinds = Kinds::DIRECTORY;
    Entered::begin(directory, Right::Exclusive, kinds, OpenFor::Look)?;
    Err(DmError::NotImplemented)
}

/// Any object, found but not opened: for who wants to name it.
pub fn look_at_object(handle: &Handle) -> Result<OwnedFd, DmError> {
    let request = Request::Look {
        handle: *handle,
        kinds: Kinds::OBJECT.or(Kinds::FS),
        open: OpenFor::Look,
    };
    Ok(look(&request)?.0)
}

//! `dmctl umount` and umount.dmapi(8): PREUNMOUNT is answered before, UNMOUNT is sent after.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use super::{mount_table, show, status};
use crate::client;
use crate::model::{DmError, FsId};
use crate::proto::FsEntry;
use crate::sys::mountinfo::Seen;
use crate::sys::{fsmount, fusemount};

const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const SETTLE_EVERY: Duration = Duration::from_millis(10);

/// Runs `dmctl umount`.
pub(super) fn run(path: &Path, forced: bool, lazy: bool, json: bool) -> ExitCode {
    match umount(path, forced, lazy) {
        Ok(()) => {
            if json {
                show::json(&serde_json::json!({ "unmounted": path }));
            }
            ExitCode::from(show::GOOD)
        }
        Err(problem) => show::failed(problem),
    }
}

/// Runs as umount.dmapi(8): `umount.dmapi DIR [-flnrv] [-N NS] [-t TYPE]`.
pub(super) fn helper(arguments: &[String]) -> ExitCode {
    /// Of umount(8): the system call failed.
    const UMOUNT_FAILED: u8 = 32;
    const USAGE: u8 = 1;
    let (mut forced, mut lazy, mut path) = (false, false, None);
    let mut given = arguments.iter();
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "-t" | "-N" => drop(given.next()),
            flags if flags.starts_with('-') => {
                forced |= flags.contains('f');
                lazy |= flags.contains('l');
            }
            name => path = Some(PathBuf::from(name)),
        }
    }
    let Some(path) = path else {
        eprintln!("usage: umount.dmapi DIRECTORY [-f] [-l]");
        return ExitCode::from(USAGE);
    };
    match umount(&path, forced, lazy) {
        Ok(()) => ExitCode::from(show::GOOD),
        Err(problem) => {
            eprintln!("umount.dmapi: {problem}");
            ExitCode::from(UMOUNT_FAILED)
        }
    }
}

fn umount(path: &Path, forced: bool, lazy: bool) -> Result<(), String> {
    status::check_served()?;
    let path = path
        .canonicalize()
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let shown = path.display();
    let seen = mount_table::mounted_on(&path)?
        .ok_or_else(|| format!("{shown}: nothing is mounted there"))?;
    let entries = client::file_systems().map_err(|error| format!("dmapid: {error}"))?;
    let entry = entries
        .iter()
        .find(|entry| entry.mount.path == path.as_os_str().as_bytes())
        .ok_or_else(|| format!("{shown}: is not managed by this daemon; umount(8) unmounts it"))?;
    let fs = entry.fs;
    let others = entries.iter().filter(|entry| entry.fs == fs).count() > 1;
    match others {
        true => umount_one(&path, &seen, forced, lazy)?,
        false => umount_last(fs, &path, &seen, forced, lazy)?,
    }
    mount_table::forget_helper(&path);
    Ok(())
}

/// Others are left, so nobody is asked.
fn umount_one(path: &Path, seen: &Seen, forced: bool, lazy: bool) -> Result<(), String> {
    detach(path, forced, lazy)?;
    // A bind mount of it, or who uses it, keeps it.
    if !lazy && !is_left(seen)? {
        settle(path);
    }
    Ok(())
}

fn umount_last(fs: FsId, path: &Path, seen: &Seen, forced: bool, lazy: bool) -> Result<(), String> {
    let shown = path.display();
    client::prepare_unmount(fs, forced).map_err(|error| match error {
        DmError::Busy => format!(
            "{shown}: tokens hold rights or holds on it; `dmctl events` shows them, their sessions must answer"
        ),
        error => format!("{shown}: refused by the handler of PREUNMOUNT: {error}"),
    })?;
    let done = unmount(path, forced, lazy);
    let errno = match &done {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    // Another mount of it may be left, or a detached one in use; the source tells when that goes.
    let is_in_use = lazy && seen.kind == fusemount::KIND;
    if errno != 0 || !(is_in_use || is_left(seen)?) {
        client::unmounted(fs, errno, forced)
            .map_err(|error| format!("{shown}: dmapid: {error}"))?;
    }
    done.map_err(|error| in_use(path, &error))
}

fn unmount(path: &Path, forced: bool, lazy: bool) -> io::Result<()> {
    let target = CString::new(path.as_os_str().as_bytes())?;
    fsmount::unmount(&target, forced, lazy)
}

fn detach(path: &Path, forced: bool, lazy: bool) -> Result<(), String> {
    unmount(path, forced, lazy).map_err(|error| in_use(path, &error))
}

fn in_use(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    format!("{shown}: {error}; who uses it must close its files first")
}

/// Is it, or a bind mount of it, still somewhere?
fn is_left(seen: &Seen) -> Result<bool, String> {
    let mounts = mount_table::mounts()?;
    Ok(mounts.iter().any(|mount| mount.device == seen.device))
}

/// Waits until the daemon has seen that a mount is gone, so that what follows finds it so. It does within milliseconds;
/// when not, nothing is wrong but that.
pub(super) fn settle(path: &Path) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let is_listed = || {
        let entries = client::file_systems().unwrap_or_default();
        let path = path.as_os_str().as_bytes();
        let is_it = |entry: &FsEntry| entry.is_through_fuse() && entry.mount.path == path;
        entries.iter().any(is_it)
    };
    while is_listed() && Instant::now() < deadline {
        thread::sleep(SETTLE_EVERY);
    }
}

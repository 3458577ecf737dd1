//! `dmctl umount` and umount.dmapi(8): PREUNMOUNT is answered before, UNMOUNT is sent after.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{mount_table, show, status};
use crate::client;
use crate::model::DmError;
use crate::sys::{fsmount, fusemount};

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
    client::prepare_unmount(entry.fs, forced).map_err(|error| match error {
        DmError::Busy => format!(
            "{shown}: tokens hold rights or holds on it; `dmctl events` shows them, their sessions must answer"
        ),
        error => format!("{shown}: refused by the handler of PREUNMOUNT: {error}"),
    })?;
    let target = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let done = fsmount::unmount(&target, forced, lazy);
    let errno = match &done {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
    };
    // Another mount of it may be left, or a detached one in use; the source tells when that goes.
    let others = mount_table::mounts()?
        .iter()
        .any(|mount| mount.device == seen.device);
    let is_in_use = lazy && seen.kind == fusemount::KIND;
    if errno != 0 || !(others || is_in_use) {
        client::unmounted(entry.fs, errno, forced)
            .map_err(|error| format!("{shown}: dmapid: {error}"))?;
    }
    done.map_err(|error| format!("{shown}: {error}; who uses it must close its files first"))?;
    mount_table::forget_helper(&path);
    Ok(())
}

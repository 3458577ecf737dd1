//! `DMAPI_AUTOSTART=1`: where no daemon serves, the user gets a private one.
//!
//! Its socket and state are below `$XDG_RUNTIME_DIR/dmapi` or `/tmp/dmapi-UID`, a directory that must be the user's
//! own and closed to others. `DMAPI_SOCKET` names a daemon, so nothing is started then.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use super::place;
use crate::sys::clock;
use crate::sys::guest::Socket;

/// A new daemon that does not serve after that long is taken for failed.
const START_MS_MAX: u64 = 20_000;
const PAUSE_MS: u64 = 10;

/// It was tried in this process, and failed: calls should not wait for it.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Does the user want a daemon to be started?
pub(super) fn is_asked() -> bool {
    place::set("DMAPI_AUTOSTART").is_some_and(|value| value == "1")
        && place::set("DMAPI_SOCKET").is_none()
        && !FAILED.load(Ordering::Relaxed)
}

/// Connects to the private daemon; starts it if need be.
pub(super) fn connect() -> io::Result<Socket> {
    let dir = private_dir()?;
    let path = dir.join("socket");
    if let Ok(socket) = Socket::connect(&path) {
        return Ok(socket);
    }
    // One process starts it, the others try again until it serves.
    let _starter = lock(&dir)?;
    if let Ok(socket) = Socket::connect(&path) {
        return Ok(socket);
    }
    let started = start(&dir).and_then(|()| await_socket(&path));
    if started.is_err() {
        FAILED.store(true, Ordering::Relaxed);
    }
    started
}

/// The directory of the user's daemon, made if it is missing, refused if somebody else could have made it.
fn private_dir() -> io::Result<PathBuf> {
    let uid = nix::unistd::geteuid().as_raw();
    let dir = match place::set("XDG_RUNTIME_DIR") {
        Some(runtime) => Path::new(&runtime).join("dmapi"),
        None => PathBuf::from(format!("/tmp/dmapi-{uid}")),
    };
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(&dir)?;
    if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(dir)
}

fn lock(dir: &Path) -> io::Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join("starter"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Starts the daemon. What is our child ends when the daemon serves, so the application never has to wait for one.
fn start(dir: &Path) -> io::Result<()> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(dir.join("log"))?;
    let mut child = Command::new(daemon_path())
        .env("DMAPI_SOCKET", dir.join("socket"))
        .env("DMAPI_STATE", dir.join("state"))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    // The application may reap all its children itself, so the status may be gone.
    match child.wait() {
        Ok(status) if !status.success() => Err(io::ErrorKind::NotFound.into()),
        _ => Ok(()),
    }
}

fn await_socket(path: &Path) -> io::Result<Socket> {
    let begin_ms = clock::boottime_ms();
    loop {
        match Socket::connect(path) {
            Ok(socket) => return Ok(socket),
            Err(error) if clock::boottime_ms() - begin_ms > START_MS_MAX => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(PAUSE_MS)),
        }
    }
}

/// `DMAPI_DAEMON`, or `dmapid` beside this library or where it is installed with it, or in `PATH`.
fn daemon_path() -> PathBuf {
    if let Some(path) = place::set("DMAPI_DAEMON") {
        return path.into();
    }
    let beside = library_dir().and_then(|dir| {
        [
            "dmapid",
            "../sbin/dmapid",
            "../bin/dmapid",
            "../../sbin/dmapid",
        ]
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.is_file())
    });
    beside.unwrap_or_else(|| "dmapid".into())
}

/// The directory of the file that this code was loaded from.
fn library_dir() -> Option<PathBuf> {
    let here = library_dir as *const () as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        let name = rest.find('/').and_then(|at| rest.get(at..))?;
        (from..to).contains(&here).then_some(name)
    })?;
    Path::new(path).parent().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_file_of_this_code_is_found() {
        let own = std::env::current_exe().expect("the test's path");
        assert_eq!(super::library_dir().as_deref(), own.parent());
    }
}

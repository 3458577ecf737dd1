//! Mounts that the daemon itself must make or take away: those of file systems that are served through FUSE.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::Engine;
use crate::fs::identify;
use crate::model::{FsId, FuseMount, MountBody};
use crate::source::{Attach, EventSource, FuseAttach};
use crate::sys::{fsmount, fusemount, mountinfo};

/// Dead mounts of one file system that lie on each other: each start that failed half way may leave one.
const DEAD_MAX: usize = 16;
/// An unmount writes dirty pages back, and a write may wait for an application.
const UNMOUNT_LIMIT: Duration = Duration::from_secs(10);

fn path_of(bytes: &[u8]) -> PathBuf {
    Path::new(OsStr::from_bytes(bytes)).to_owned()
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())
}

/// Mounts a file system anew whose server died, with all processes that had its channel. Users who still
/// have files of the dead mount open get errors (ENOTCONN) for ever.
pub(super) fn remount(
    fs: FsId,
    body: &MountBody,
    fuse: FuseMount,
    source: &dyn EventSource,
) -> Result<(), String> {
    let (path, backing) = (path_of(&body.path), path_of(&body.device));
    if !take_dead_away(&path, &backing)? {
        return Err("not mounted any more".into());
    }
    let shown = backing.display();
    let dir = File::open(&backing).map_err(|error| format!("{shown}: {error}"))?;
    let found = identify::identify(std::os::fd::AsFd::as_fd(&dir));
    if found.map_err(|error| format!("{shown}: {error}"))?.fs != fs {
        return Err(format!("{shown}: another file system is there"));
    }
    let made = fusemount::make(&backing, fuse.attributes)
        .map_err(|error| format!("mounting FUSE for {shown}: {error}"))?;
    let attach = Attach {
        dir: dir.into(),
        fuse: Some(FuseAttach {
            channel: made.channel,
            device: made.device,
            options: fuse.options,
        }),
    };
    source.attach(attach).map_err(|error| error.to_string())?;
    let target = c_path(&path)?;
    fsmount::put(std::os::fd::AsFd::as_fd(&made.mount), &target).map_err(|error| {
        source.detach(fs);
        format!("mount point {}: {error}", path.display())
    })
}

/// `false`: there was none. Nobody else serves a mount with this source: the lock of the state directory is ours.
fn take_dead_away(path: &Path, backing: &Path) -> Result<bool, String> {
    let target = c_path(path)?;
    let mut found = false;
    for _ in 0..DEAD_MAX {
        let on_top = mountinfo::mounted_on(path).map_err(|error| error.to_string())?;
        match on_top {
            Some(seen) if is_ours(&seen, backing) => found = true,
            _ => break,
        }
        // If anybody still holds the channel: who waits for an answer is set free by this, with an error.
        let gone = fsmount::unmount(&target, true, false);
        let gone = gone.or_else(|_| fsmount::unmount(&target, false, true));
        gone.map_err(|error| format!("dead mount {}: {error}", path.display()))?;
    }
    Ok(found)
}

fn is_ours(seen: &mountinfo::Seen, backing: &Path) -> bool {
    seen.kind == fusemount::KIND && Path::new(&seen.source) == backing
}

impl Engine {
    /// The daemon is about to end by force: no mount stays that nobody serves. Who has files open there gets
    /// errors from now on.
    pub(super) fn unmount_what_would_die(&self) {
        let mounts: Vec<(FsId, MountBody)> = {
            let core = self.lock();
            let rows = core.model.file_systems();
            rows.filter(|(fs, _)| core.model.fuse_mount(*fs).is_some())
                .map(|(fs, row)| (fs, row.mount.clone()))
                .collect()
        };
        for (fs, body) in mounts {
            let (path, backing) = (path_of(&body.path), path_of(&body.device));
            let (done, is_done) = mpsc::channel();
            let work = move || {
                // Nobody may wait any more; then the answer is worth nothing.
                let _ = done.send(take_away(&path, &backing));
            };
            let started = std::thread::Builder::new()
                .name("unmount".into())
                .spawn(work);
            let outcome = match started {
                Ok(_) => is_done.recv_timeout(UNMOUNT_LIMIT),
                Err(error) => Ok(Err(error.to_string())),
            };
            if let Ok(Err(problem)) = outcome {
                tracing::warn!(problem, "a FUSE mount stays, and nobody will serve it");
            }
            self.unmount_done(fs, 0, true);
        }
    }
}

/// Detaches the mount: at once, even if it is in use.
fn take_away(path: &Path, backing: &Path) -> Result<(), String> {
    match mountinfo::mounted_on(path) {
        Ok(Some(seen)) if is_ours(&seen, backing) => {}
        // It is gone, or another one lies on it.
        Ok(_) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    }
    fsmount::unmount(&c_path(path)?, false, true)
        .map_err(|error| format!("{}: {error}", path.display()))
}

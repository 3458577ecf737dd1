//! Mounts that the daemon itself must make or take away: those of file systems that are served through FUSE.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::Engine;
use super::start::tell_taken_up;
use super::views::KnownView;
use crate::fs::identify;
use crate::model::{FsId, FuseMount, MountBody};
use crate::source::{Attach, EventSource, FuseAttach, View};
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

/// A mount that is made again and is nowhere yet, with the directory that it shows.
fn make_again(fs: FsId, view: &KnownView) -> Result<(fusemount::FuseMount, File), String> {
    let backing = path_of(&view.body.device);
    let shown = backing.display();
    let dir = File::open(&backing).map_err(|error| format!("{shown}: {error}"))?;
    let found = identify::identify(dir.as_fd());
    if found.map_err(|error| format!("{shown}: {error}"))?.fs != fs {
        return Err(format!("{shown}: another file system is there"));
    }
    let made = fusemount::make(&backing, view.fuse.attributes)
        .map_err(|error| format!("mounting FUSE for {shown}: {error}"))?;
    Ok((made, dir))
}

fn attach(
    source: &dyn EventSource,
    dir: File,
    channel: OwnedFd,
    through: (u64, FuseMount),
) -> Result<(), String> {
    let (device, fuse) = through;
    let attach = Attach {
        dir: dir.into(),
        fuse: Some(FuseAttach {
            channel,
            device,
            options: fuse.options,
        }),
    };
    let attached = source.attach(attach);
    attached.map(drop).map_err(|error| error.to_string())
}

fn put(mount: BorrowedFd<'_>, path: &Path) -> Result<(), String> {
    let put = fsmount::put(mount, &c_path(path)?);
    put.map_err(|error| format!("mount point {}: {error}", path.display()))
}

/// Takes dead mounts away and tells of each whether it was there. One may lie below another.
fn take_all_away(views: &[KnownView]) -> Vec<Result<(), String>> {
    let is_there = |view: &KnownView| {
        let (path, backing) = (path_of(&view.body.path), path_of(&view.body.device));
        let on_top = mountinfo::mounted_on(&path);
        on_top.is_ok_and(|seen| seen.is_some_and(|seen| is_ours(&seen, &backing)))
    };
    let were_there: Vec<bool> = views.iter().map(is_there).collect();
    let mut taken: Vec<Result<(), String>> = views.iter().rev().map(take_dead_away).collect();
    taken.reverse();
    let judged = views.iter().zip(were_there).zip(taken);
    judged
        .map(|((view, was_there), taken)| match taken {
            // It went with the one above.
            Err(_) if was_there && !is_there(view) => Ok(()),
            Ok(()) if !was_there => Err("not mounted any more".into()),
            taken => taken,
        })
        .collect()
}

/// Nobody else serves a mount with this source: the lock of the state directory is ours.
fn take_dead_away(view: &KnownView) -> Result<(), String> {
    let (path, backing) = (path_of(&view.body.path), path_of(&view.body.device));
    let target = c_path(&path)?;
    for _ in 0..DEAD_MAX {
        let on_top = mountinfo::mounted_on(&path).map_err(|error| error.to_string())?;
        if !on_top.is_some_and(|seen| is_ours(&seen, &backing)) {
            break;
        }
        // If anybody still holds the channel: who waits for an answer is set free by this, with an error.
        let gone = fsmount::unmount(&target, true, false);
        let gone = gone.or_else(|_| fsmount::unmount(&target, false, true));
        gone.map_err(|error| format!("dead mount {}: {error}", path.display()))?;
    }
    Ok(())
}

fn is_ours(seen: &mountinfo::Seen, backing: &Path) -> bool {
    seen.kind == fusemount::KIND && Path::new(&seen.source) == backing
}

impl Engine {
    /// Mounts of a file system that the source has lost are made again. Users who still have files of a dead mount open
    /// get errors (ENOTCONN) for ever.
    pub(super) fn mount_lost_views(&self, fs: FsId) {
        let served = self.source.views(fs);
        let is_lost = |view: &KnownView| {
            let is_it = |one: &View| Some(one.device) == view.device;
            !served.iter().any(is_it)
        };
        let known = self.lock().views(fs);
        let lost: Vec<KnownView> = known.into_iter().filter(is_lost).collect();
        if lost.is_empty() {
            return;
        }
        let taken = take_all_away(&lost);
        let mut lost: VecDeque<_> = lost.into_iter().zip(taken).collect();
        if served.is_empty() && !self.mount_one_again(fs, &mut lost) {
            return;
        }
        // The others: each is a new one. The oldest goes last, so that one that is served takes its place.
        self.with(|core, out| {
            for (view, _) in lost.iter().rev() {
                core.forget_view(fs, view.device, out);
            }
        });
        for (view, taken) in lost {
            let outcome = taken.and_then(|()| self.mount_beside(fs, &view));
            tell_taken_up(&path_of(&view.body.path), outcome);
        }
    }

    /// Nobody serves the file system: the oldest that can be mounted again is the first one from now on.
    fn mount_one_again(
        &self,
        fs: FsId,
        lost: &mut VecDeque<(KnownView, Result<(), String>)>,
    ) -> bool {
        while let Some((view, taken)) = lost.pop_front() {
            let outcome = taken.and_then(|()| self.mount_first(fs, &view));
            if tell_taken_up(&path_of(&view.body.path), outcome) {
                return true;
            }
            self.with(|core, out| match lost.is_empty() {
                true => core.drop_fs(fs, out),
                false => core.forget_view(fs, None, out),
            });
        }
        false
    }

    fn mount_first(&self, fs: FsId, view: &KnownView) -> Result<(), String> {
        let (made, dir) = make_again(fs, view)?;
        self.with(|core, _| core.oldest_views.insert(fs, made.device));
        let through = (made.device, view.fuse);
        attach(self.source.as_ref(), dir, made.channel, through)?;
        put(made.mount.as_fd(), &path_of(&view.body.path)).inspect_err(|_| self.source.detach(fs))
    }

    fn mount_beside(&self, fs: FsId, view: &KnownView) -> Result<(), String> {
        let (made, dir) = make_again(fs, view)?;
        let (device, fuse) = (made.device, view.fuse);
        let added = self.with(|core, out| {
            let plan = core
                .model
                .plan_add_view(fs, device, view.body.clone(), fuse)?;
            core.commit(plan.records, None, out)
        });
        added.map_err(|error| error.to_string())?;
        let served = attach(self.source.as_ref(), dir, made.channel, (device, fuse));
        let outcome = served.and_then(|()| {
            put(made.mount.as_fd(), &path_of(&view.body.path))
                .inspect_err(|_| self.source.detach_view(fs, device))
        });
        if outcome.is_err() {
            self.with(|core, out| core.forget_view(fs, Some(device), out));
        }
        outcome
    }

    /// The daemon is about to end by force: no mount stays that nobody serves. Who has files open there gets
    /// errors from now on.
    pub(super) fn unmount_what_would_die(&self) {
        for fs in self.behind_fuse() {
            let views = self.lock().views(fs);
            // One may lie below an older one.
            for view in views.iter().rev() {
                take_away_in_time(&view.body);
            }
            self.unmount_done(fs, 0, true);
        }
    }
}

fn take_away_in_time(body: &MountBody) {
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

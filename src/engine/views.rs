//! The FUSE mounts of a file system: it may have several, which come and go without events while one is left.
//!
//! The model knows a further mount before the source does, and forgets it after the source did: what a worker finds in
//! the source and not in the model is the oldest one, whose number the journal has not.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::core::{Core, Waiting};
use super::mounts::Wish;
use super::outbox::Outbox;
use super::{Asked, Engine};
use crate::fs::{FuseView, Mount};
use crate::model::{DmError, FsId, FuseMount, Handle, MountBody};
use crate::proto::FsEntry;
use crate::source::{Attach, View};

/// The end of a mount is told within milliseconds of it.
const END_LIMIT: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A FUSE mount that the model knows.
#[derive(Clone, Debug)]
pub(super) struct KnownView {
    /// `st_dev` of it; `None`: the oldest, and the source has lost it.
    pub device: Option<u64>,
    pub body: MountBody,
    pub fuse: FuseMount,
}

/// What a request to mount begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// The file system is served from now on.
    New,
    /// The worker that began this died before MOUNT was queued.
    Again,
    /// A further mount.
    Further,
    /// A further mount, and it is served already: the worker died before it answered.
    There,
}

impl Engine {
    /// Enters a mount in the model. A mount whose number the kernel gave to the new one is dead, and its end is told
    /// in a moment.
    pub(super) fn begin_mount(
        &self,
        asked: &Asked,
        wish: &Wish,
        fs: FsId,
        body: &MountBody,
    ) -> Result<Begun, DmError> {
        let deadline = Instant::now() + END_LIMIT;
        loop {
            let begun = self.with(|core, out| core.begin_mount(asked, wish, fs, body, out))?;
            match begun {
                Some(begun) => return Ok(begun),
                None if Instant::now() >= deadline => return Err(DmError::Busy),
                None => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Serves a further mount, which the model knows already.
    pub(super) fn add_view(&self, fs: FsId, device: u64, attach: Attach) -> Result<(), DmError> {
        let attached = self.source.attach(attach);
        if let Err(error) = attached {
            self.with(|core, out| core.view_ended(fs, device, out));
            return Err(error);
        }
        let (fs_stays, view_stays) = {
            let core = self.lock();
            (
                core.model.file_system(fs).is_ok(),
                core.has_view(fs, device),
            )
        };
        if !view_stays {
            // All others went meanwhile, or whoever was mounting it did.
            match fs_stays {
                true => self.source.detach_view(fs, device),
                false => self.source.detach(fs),
            }
            return Err(DmError::Busy);
        }
        self.managed_changed();
        Ok(())
    }

    /// One of several mounts is gone. The source forgets it first: a worker that took it up again would not know what
    /// it is.
    pub(super) fn end_view(&self, fs: FsId, device: u64) {
        let views = self.source.views(fs);
        if views.len() > 1 && views.iter().any(|view| view.device == device) {
            self.source.detach_view(fs, device);
        }
        self.with(|core, out| core.view_ended(fs, device, out));
        self.managed_changed();
    }

    /// A worker begins: which of the mounts that the source kept is the oldest? What the model does not know ends.
    pub(super) fn take_up_views(&self, fs: FsId) {
        let views = self.source.views(fs);
        let strays = self.with(|core, _| core.take_up_views(fs, &views));
        for device in strays {
            tracing::warn!(
                fs = fs.0,
                device,
                "a FUSE mount that nobody knows is served no more"
            );
            self.source.detach_view(fs, device);
        }
    }

    /// Are others left, whatever was unmounted?
    pub(super) fn has_others(&self, fs: FsId) -> bool {
        let core = self.lock();
        // The source saw the last one go.
        let is_gone = core.unmounting.get(&fs).is_some_and(|one| one.is_gone);
        !is_gone && core.model.further_mounts(fs).next().is_some()
    }

    /// The handle of a directory as users reach it, if its file system is managed.
    pub(super) fn handle_of_user(&self, dir: BorrowedFd<'_>) -> Option<Handle> {
        let mounts = self.source.mounts();
        let on = |mount: &Arc<Mount>| {
            let views = self.lock().fuse_views(mount.fs);
            match &views[..] {
                [] => mount.handle_of(dir).ok(),
                views => views.iter().find_map(|view| view.handle_of(dir).ok()),
            }
        };
        mounts.iter().find_map(on)
    }

    /// A row for each mount of each file system.
    pub(super) fn file_systems(&self) -> Vec<FsEntry> {
        let mounts = self.source.mounts();
        let core = self.lock();
        let mut entries = Vec::new();
        for (fs, row) in core.model.file_systems() {
            let Some(mount) = mounts.iter().find(|mount| mount.fs == fs) else {
                continue;
            };
            let entry = |body: MountBody, device: Option<u64>| FsEntry {
                fs,
                mount: body,
                kind: mount.kind.name().to_owned(),
                source: self.source.name(fs).to_owned(),
                device: device
                    .or_else(|| self.source.user_device(fs))
                    .unwrap_or(mount.device),
                events: self.source.events(fs),
                list: row.list,
                dropped: core.dropped_events(fs),
            };
            match &core.views(fs)[..] {
                [] => entries.push(entry(row.mount.clone(), None)),
                views => entries.extend(
                    views
                        .iter()
                        .map(|view| entry(view.body.clone(), view.device)),
                ),
            }
        }
        entries
    }
}

impl Core {
    /// `None`: look again in a moment.
    fn begin_mount(
        &mut self,
        asked: &Asked,
        wish: &Wish,
        fs: FsId,
        body: &MountBody,
        out: &mut Outbox,
    ) -> Result<Option<Begun>, DmError> {
        let Ok(row) = self.model.file_system(fs) else {
            let plan = match wish.fuse {
                Some((_, fuse)) => self.model.plan_add_fs_behind(fs, body.clone(), fuse),
                None => self.model.plan_add_fs(fs, body.clone()),
            }?;
            self.commit(plan.records, None, out)?;
            self.mounting.insert(fs, asked.id);
            if let Some((device, _)) = wish.fuse {
                self.oldest_views.insert(fs, device);
            }
            return Ok(Some(Begun::New));
        };
        let is_it = wish.fuse.is_none() || row.mount.path == wish.path;
        if asked.again && is_it && !self.mounting.contains_key(&fs) {
            return Ok(Some(Begun::Again));
        }
        let (device, fuse) = wish.fuse.ok_or(DmError::Exists)?;
        if self.is_coming_or_going(fs) {
            return Err(DmError::Busy);
        }
        let mut further = self.model.further_mounts(fs);
        if let Some(view) = further.find(|view| view.device == device) {
            let is_it = asked.again && view.mount.path == wish.path;
            return Ok(is_it.then_some(Begun::There));
        }
        drop(further);
        if self.oldest_views.get(&fs) == Some(&device) {
            return Ok(None);
        }
        let plan = self.model.plan_add_view(fs, device, body.clone(), fuse)?;
        self.commit(plan.records, None, out)?;
        Ok(Some(Begun::Further))
    }

    /// Is MOUNT or PREUNMOUNT not answered, or the unmount not done?
    fn is_coming_or_going(&self, fs: FsId) -> bool {
        let is_asked =
            |waiting: &Waiting| matches!(waiting, Waiting::Unmount { fs: on, .. } if *on == fs);
        let mut waiting = self.conns.values().filter_map(|conn| conn.waiting.as_ref());
        self.mounting.contains_key(&fs)
            || self.unmounting.contains_key(&fs)
            || waiting.any(|(_, waiting)| is_asked(waiting))
    }

    /// The FUSE mounts of a file system, the oldest first.
    pub fn views(&self, fs: FsId) -> Vec<KnownView> {
        let (Ok(row), Some(fuse)) = (self.model.file_system(fs), self.model.fuse_mount(fs)) else {
            return Vec::new();
        };
        let oldest = KnownView {
            device: self.oldest_views.get(&fs).copied(),
            body: row.mount.clone(),
            fuse,
        };
        let further = self.model.further_mounts(fs).map(|view| KnownView {
            device: Some(view.device),
            body: view.mount.clone(),
            fuse: view.fuse,
        });
        [oldest].into_iter().chain(further).collect()
    }

    /// How users see it through those that are served.
    fn fuse_views(&self, fs: FsId) -> Vec<FuseView> {
        let views = self.views(fs);
        let served = views.iter().filter_map(|view| {
            let (device, root) = (view.device?, view.body.root);
            Some(FuseView { device, root })
        });
        served.collect()
    }

    fn has_view(&self, fs: FsId, device: u64) -> bool {
        self.views(fs)
            .iter()
            .any(|view| view.device == Some(device))
    }

    /// One of several mounts is gone.
    pub fn view_ended(&mut self, fs: FsId, device: u64, out: &mut Outbox) {
        let is_oldest = self.oldest_views.get(&fs) == Some(&device);
        self.forget_view(fs, (!is_oldest).then_some(device), out);
    }

    /// The same, by its number; `None`: the oldest. Nothing happens where it is not known, or is the last.
    pub fn forget_view(&mut self, fs: FsId, device: Option<u64>, out: &mut Outbox) {
        let Ok(plan) = self.model.plan_view_gone(fs, device) else {
            return; // Told twice, or the file system is gone.
        };
        let next = self.model.further_mounts(fs).next().map(|view| view.device);
        if let Err(error) = self.commit(plan.records, None, out) {
            tracing::error!(%error, fs = fs.0, ?device, "a FUSE mount that is gone stays in the list");
        } else if let (None, Some(next)) = (device, next) {
            self.oldest_views.insert(fs, next);
        }
    }

    /// See [`Engine::take_up_views`]; gives the numbers of those to end.
    fn take_up_views(&mut self, fs: FsId, views: &[View]) -> Vec<u64> {
        let is_further = |device| {
            let mut further = self.model.further_mounts(fs);
            further.any(|view| view.device == device)
        };
        let root = self.model.file_system(fs).map(|row| row.mount.root);
        let unknown: Vec<&View> = views.iter().filter(|one| !is_further(one.device)).collect();
        let same_root = unknown.iter().find(|view| Ok(view.root) == root);
        let Some(oldest) = same_root.or(unknown.first()).map(|view| view.device) else {
            return Vec::new();
        };
        self.oldest_views.insert(fs, oldest);
        let devices = unknown.iter().map(|view| view.device);
        devices.filter(|device| *device != oldest).collect()
    }
}

/// `st_dev` of each mount through which users see it, each once.
pub(super) fn user_devices(views: &[View], own: u64) -> Vec<u64> {
    let mut devices: Vec<u64> = views.iter().map(|view| view.device).chain([own]).collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}

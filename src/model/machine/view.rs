//! Further FUSE mounts of a file system. The oldest one is in its row; when that goes, the next takes its place.

use serde::{Deserialize, Serialize};

use super::super::limits::VIEWS_MAX;
use super::{Corrupt, DmError, FsId, FuseMount, Model, MountBody, Plan, Record};
use crate::model::file::FuseOptions;

/// A FUSE mount of a file system that had one already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FurtherMount {
    /// `st_dev` of it.
    pub device: u64,
    /// Where it is, and what it shows.
    pub mount: MountBody,
    /// How it is mounted.
    pub fuse: FuseMount,
}

impl Model {
    /// Adds a mount to a file system that is served through FUSE. All of them must be shared.
    pub fn plan_add_view(
        &self,
        fs: FsId,
        device: u64,
        mount: MountBody,
        fuse: FuseMount,
    ) -> Result<Plan<()>, DmError> {
        let row = self.file_system(fs)?;
        let oldest = self.fuse_mount(fs).ok_or(DmError::Exists)?;
        let is_known = |other: &FurtherMount| {
            other.device == device
                || other.mount.path == mount.path
                || !other.fuse.options.has(FuseOptions::SHARED)
        };
        if row.mount.path == mount.path
            || !oldest.options.has(FuseOptions::SHARED)
            || !fuse.options.has(FuseOptions::SHARED)
            || self.further_mounts(fs).any(is_known)
        {
            return Err(DmError::Exists);
        }
        if self.views.further.len() >= VIEWS_MAX {
            return Err(DmError::NoSpace);
        }
        let record = Record::FuseViewAdded {
            fs,
            device,
            mount,
            fuse,
        };
        Ok(Plan::one(record, ()))
    }

    /// One of several mounts is gone: that of the device, or the oldest.
    pub fn plan_view_gone(&self, fs: FsId, device: Option<u64>) -> Result<Plan<()>, DmError> {
        let found = self.further_key(fs, device);
        found.map_or(Err(DmError::NotFound), |_| {
            Ok(Plan::one(Record::FuseViewGone { fs, device }, ()))
        })
    }

    /// The mounts of a file system besides the oldest, in the order in which they came.
    pub fn further_mounts(&self, fs: FsId) -> impl Iterator<Item = &FurtherMount> {
        let all = self.views.further.range((fs, 0)..=(fs, u64::MAX));
        all.map(|(_, view)| view)
    }

    /// The number of the one with that device; without a device that of the first.
    fn further_key(&self, fs: FsId, device: Option<u64>) -> Option<(FsId, u64)> {
        let mut all = self.views.further.range((fs, 0)..=(fs, u64::MAX));
        let found = all.find(|(_, view)| device.is_none_or(|device| view.device == device));
        found.map(|(key, _)| key)
    }

    pub(super) fn view_added(&mut self, fs: FsId, view: FurtherMount) -> Result<(), Corrupt> {
        self.fs_row(fs)?;
        let is_known = self.further_key(fs, Some(view.device)).is_some();
        let is_full = self.views.further.len() >= VIEWS_MAX;
        if is_known || is_full || self.fuse_mount(fs).is_none() {
            return Err(Corrupt::new(format!(
                "{:#x} cannot have a further FUSE mount {}",
                fs.0, view.device
            )));
        }
        let last = self
            .views
            .further
            .range((fs, 0)..=(fs, u64::MAX))
            .next_back();
        let number = last.map_or(Some(0), |((_, number), _)| number.checked_add(1));
        let number = number.ok_or_else(|| Corrupt::new("too many mounts were counted"))?;
        self.views.further.insert((fs, number), view);
        Ok(())
    }

    pub(super) fn view_gone(&mut self, fs: FsId, device: Option<u64>) -> Result<(), Corrupt> {
        let none = || Corrupt::new(format!("{:#x} has no such further mount", fs.0));
        let mut row = self.fs_row(fs)?.clone();
        let key = self.further_key(fs, device).ok_or_else(none)?;
        let view = self.views.further.get(key).cloned().ok_or_else(none)?;
        self.views.further.remove(key);
        if device.is_none() {
            row.mount = view.mount;
            self.file_systems.insert(fs, row);
            self.later.fuse_mounts.insert(fs, view.fuse);
        }
        Ok(())
    }

    pub(super) fn views_dropped(&mut self, fs: FsId) {
        while let Some(key) = self.further_key(fs, None) {
            self.views.further.remove(key);
        }
    }
}

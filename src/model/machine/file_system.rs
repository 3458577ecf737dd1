//! File systems that are served.

use super::super::limits::FILE_SYSTEMS_MAX;
use super::{Answer, Corrupt, DmError, Effect, EventSet, EventType, FileSystem, FsId, FuseMount};
use super::{Model, MountBody, Plan, Record};

/// `EIO`: how operations end whose file system went away under them.
const EIO: i32 = 5;

impl Model {
    /// Serves a file system from now on; done before its MOUNT event, so that handlers can use the handle.
    pub fn plan_add_fs(&self, fs: FsId, mount: MountBody) -> Result<Plan<()>, DmError> {
        if self.file_systems.has(fs) {
            return Err(DmError::Exists);
        }
        if self.file_systems.len() >= FILE_SYSTEMS_MAX {
            return Err(DmError::NoSpace);
        }
        Ok(Plan::one(Record::FsAdded { fs, mount }, ()))
    }

    /// The same through a FUSE mount, whose [`MountBody::device`] is the directory behind.
    pub fn plan_add_fs_behind(
        &self,
        fs: FsId,
        mount: MountBody,
        fuse: FuseMount,
    ) -> Result<Plan<()>, DmError> {
        let mut plan = self.plan_add_fs(fs, mount)?;
        plan.records.push(Record::FsThroughFuse { fs, fuse });
        Ok(plan)
    }

    /// The FUSE mount through which the file system is served.
    pub fn fuse_mount(&self, fs: FsId) -> Option<FuseMount> {
        self.later.fuse_mounts.get(fs).copied()
    }

    /// Serves it no more. Queued and outstanding events of it stay and can be answered.
    pub fn plan_drop_fs(&self, fs: FsId) -> Result<Plan<()>, DmError> {
        self.file_system(fs)?;
        Ok(Plan::one(Record::FsDropped { fs }, ()))
    }

    /// All of them.
    pub fn file_systems(&self) -> impl Iterator<Item = (FsId, &FileSystem)> {
        self.file_systems.iter()
    }

    /// How many events of each kind were dropped, as nobody had their disposition.
    pub fn unwanted(&self) -> impl Iterator<Item = (FsId, EventType, u64)> {
        self.unwanted
            .iter()
            .map(|((fs, kind), count)| (fs, kind, *count))
    }

    pub(super) fn events_unwanted(
        &mut self,
        fs: FsId,
        kind: EventType,
        more: u64,
    ) -> Result<(), Corrupt> {
        self.fs_row(fs)?;
        let count = self.unwanted.get((fs, kind)).copied().unwrap_or(0);
        self.unwanted.insert((fs, kind), count.saturating_add(more));
        Ok(())
    }

    pub(super) fn fs_row(&self, fs: FsId) -> Result<&FileSystem, Corrupt> {
        self.file_systems
            .get(fs)
            .ok_or_else(|| Corrupt::new(format!("file system {:#x} is not served", fs.0)))
    }

    pub(super) fn fs_added(
        &mut self,
        fs: FsId,
        mount: &MountBody,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        if self.file_systems.has(fs) {
            return Err(Corrupt::new(format!(
                "file system {:#x} is served already",
                fs.0
            )));
        }
        self.file_systems.insert(
            fs,
            FileSystem {
                mount: mount.clone(),
                list: EventSet::default(),
                return_on_destroy: None,
                destroy_is_answered: false,
            },
        );
        effects.push(Effect::InterestChanged { fs });
        Ok(())
    }

    pub(super) fn fs_through_fuse(&mut self, fs: FsId, fuse: FuseMount) -> Result<(), Corrupt> {
        self.fs_row(fs)?;
        self.later.fuse_mounts.insert(fs, fuse);
        Ok(())
    }

    pub(super) fn fs_dropped(
        &mut self,
        fs: FsId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        self.fs_row(fs)?;
        for sequence in self.waiting_on(fs) {
            let origin = self.events.get(sequence).map(|event| event.origin);
            self.drop_event(sequence);
            if let Some(origin) = origin {
                self.tell_originator(origin, Answer::Abort(EIO), effects);
            }
        }
        let held: Vec<EventType> = EventType::ALL
            .into_iter()
            .filter(|kind| self.dispositions.has((fs, *kind)))
            .collect();
        for kind in held {
            self.dispositions.remove((fs, kind));
        }
        for kind in EventType::ALL {
            self.unwanted.remove((fs, kind));
        }
        self.release_fs_grants(fs, effects);
        self.file_systems.remove(fs);
        self.later.fuse_mounts.remove(fs);
        self.views_dropped(fs);
        effects.push(Effect::InterestChanged { fs });
        Ok(())
    }
}

//! File systems come and go: MOUNT, PREUNMOUNT, UNMOUNT.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::core::{Core, Unmounting, Waiting};
use super::outbox::Outbox;
use super::views::Begun;
use super::{Asked, Engine, Outcome};
use crate::fs::{Mount, users};
use crate::model::ids::RequestId;
use crate::model::machine::{Fate, Kept, NewEvent};
use crate::model::{
    Answer, DmError, EventBody, EventType, FsId, FuseMount, Handle, MountBody, NamespaceBody,
    Origin,
};
use crate::proto::{Reply, Request};
use crate::source::{Attach, FuseAttach};
use crate::sys::clock;
use crate::sys::fsmount;

/// `DM_UNMOUNT_FORCE`.
const MODE_FORCED: u32 = 1;

impl Engine {
    pub(super) fn mount_request(&self, mut asked: Asked) -> Outcome {
        match asked.request.clone() {
            Request::Mount {
                path,
                device,
                read_only,
                manage,
                force,
            } => {
                let Some(fd) = asked.fds.pop() else {
                    return DmError::Invalid.into();
                };
                let wish = Wish {
                    path,
                    device,
                    read_only,
                    check_users: manage && !force,
                    fuse: None,
                };
                let outcome = self.serve(&asked, &wish, fd.into());
                outcome.unwrap_or_else(Outcome::from)
            }
            Request::MountFuse {
                path,
                backing,
                device,
                fuse,
            } => {
                let (Some(channel), Some(dir)) = (asked.fds.pop(), asked.fds.pop()) else {
                    return DmError::Invalid.into();
                };
                let wish = Wish {
                    path,
                    device: backing,
                    read_only: fuse.attributes & fsmount::attribute::RDONLY != 0,
                    check_users: false,
                    fuse: Some((device, fuse)),
                };
                let through = FuseAttach {
                    channel,
                    device,
                    options: fuse.options,
                };
                let attach = Attach {
                    dir,
                    fuse: Some(through),
                };
                let outcome = self.serve(&asked, &wish, attach);
                outcome.unwrap_or_else(Outcome::from)
            }
            Request::PrepareUnmount { fs, forced } => self.prepare_unmount(&asked, fs, forced),
            Request::Unmounted { fs, errno: 0, .. } if self.has_others(fs) => {
                // The source tells which one went.
                self.with(|core, out| core.unmount_over(fs, out));
                Ok(Reply::Nothing).into()
            }
            Request::Unmounted { fs, errno, forced } => {
                self.unmount_done(fs, errno, forced);
                Ok(Reply::Nothing).into()
            }
            other => unreachable!("{other:?} is no request on a mount"),
        }
    }

    /// Serves a file system and offers MOUNT. The model knows it before the source sees its first access.
    fn serve(&self, asked: &Asked, wish: &Wish, attach: Attach) -> Result<Outcome, DmError> {
        let seen = Mount::new(fsmount::readable(attach.dir.as_fd())?)?;
        let fs = seen.fs;
        let root = seen.handle_of(seen.root.as_fd())?;
        let body = MountBody {
            mode: u32::from(wish.read_only),
            fs: Handle::Fs(fs),
            mount_point: self.mount_point(&wish.path),
            path: wish.path.clone(),
            device: wish.device.clone(),
            root,
        };
        let begun = self.begin_mount(asked, wish, fs, &body)?;
        match (begun, &attach.fuse) {
            (Begun::Further, Some(through)) => {
                let device = through.device;
                self.add_view(fs, device, attach)?;
                return Ok(Ok(Reply::Managed(fs)).into());
            }
            (Begun::There, _) => return Ok(Ok(Reply::Managed(fs)).into()),
            _ => {}
        }
        let is_new = begun == Begun::New;
        let attached = self.attach(fs, seen.device, wish, attach, is_new);
        if let Err(error) = attached {
            self.with(|core, out| core.drop_fs(fs, out));
            return Err(error);
        }
        self.managed_changed();
        Ok(self.offer_mount(asked, fs, body))
    }

    fn attach(
        &self,
        fs: FsId,
        device: u64,
        wish: &Wish,
        attach: Attach,
        is_new: bool,
    ) -> Result<(), DmError> {
        if is_new && wish.check_users && has_open_files(device) {
            return Err(DmError::Busy);
        }
        if self.source.mount(fs).is_none() {
            self.source.attach(attach)?;
        }
        Ok(())
    }

    fn offer_mount(&self, asked: &Asked, fs: FsId, body: MountBody) -> Outcome {
        self.with(|core, out| {
            let plan = core.model.plan_event(NewEvent {
                fs,
                kind: EventType::Mount,
                body: EventBody::Mount(body),
                origin: Origin::Request(asked.id),
                pid: core.pid_of(asked),
                made_ms: clock::realtime_ms(),
            });
            let plan = match plan {
                Ok(plan) => plan,
                Err(error) => return error.into(),
            };
            if plan.value == Fate::Proceeds {
                core.mounting.remove(&fs);
                return Ok(Reply::Managed(fs)).into();
            }
            core.askers.insert(asked.id, asked.conn);
            core.park(asked.conn, asked.id, Waiting::Mount { fs });
            match core.commit(plan.records, None, out) {
                Ok(_) => Outcome::Parked,
                Err(error) => {
                    core.askers.remove(&asked.id);
                    core.take_waiting(asked.conn);
                    core.drop_fs(fs, out);
                    error.into()
                }
            }
        })
    }

    /// The handle of the directory that is mounted on, if it lies in a managed file system.
    fn mount_point(&self, path: &[u8]) -> Option<Handle> {
        let dir = File::open(Path::new(std::ffi::OsStr::from_bytes(path))).ok()?;
        self.handle_of_user(dir.as_fd())
    }

    /// The requester of a mount is gone before MOUNT was answered.
    pub(super) fn cancel_mount(&self, id: RequestId, fs: FsId) {
        self.with(|core, out| {
            core.originator_gone(id, out);
            core.drop_fs(fs, out);
        });
    }

    fn prepare_unmount(&self, asked: &Asked, fs: FsId, forced: bool) -> Outcome {
        self.with(|core, out| {
            let row = match core.model.file_system(fs) {
                Ok(row) => row.clone(),
                Err(error) => return error.into(),
            };
            let waiting = Waiting::Unmount { fs, forced };
            let plan = match row.list.has(EventType::PreUnmount) {
                false => None,
                true => {
                    let body = namespace(fs, Some(row.mount.root), forced, 0);
                    let event = NewEvent {
                        fs,
                        kind: EventType::PreUnmount,
                        body,
                        origin: Origin::Request(asked.id),
                        pid: core.pid_of(asked),
                        made_ms: clock::realtime_ms(),
                    };
                    core.model.plan_event(event).ok()
                }
            };
            match plan {
                Some(plan) if plan.value != Fate::Proceeds => {
                    core.askers.insert(asked.id, asked.conn);
                    core.park(asked.conn, asked.id, waiting);
                    match core.commit(plan.records, None, out) {
                        Ok(_) => Outcome::Parked,
                        Err(error) => {
                            core.askers.remove(&asked.id);
                            core.take_waiting(asked.conn);
                            error.into()
                        }
                    }
                }
                _ => core
                    .after_answer(asked.id, &waiting, Answer::Continue, out)
                    .into(),
            }
        })
    }

    /// The unmount is over: UNMOUNT is queued, and after success the file system is dropped.
    pub(super) fn unmount_done(&self, fs: FsId, errno: i32, forced: bool) {
        let wants = {
            let core = self.lock();
            match core.model.file_system(fs) {
                Ok(row) => row.list.has(EventType::Unmount),
                Err(_) => return, // Told twice, by the helper and by the source.
            }
        };
        if wants {
            self.bring(NewEvent {
                fs,
                kind: EventType::Unmount,
                body: namespace(fs, None, forced, errno),
                origin: Origin::Nobody,
                pid: 0,
                made_ms: clock::realtime_ms(),
            });
        }
        self.with(|core, out| {
            if errno == 0 {
                core.drop_fs(fs, out);
            }
            core.unmount_over(fs, out);
        });
    }
}

/// Has anybody a file open or mapped? An open directory, as the requester's own, does not matter.
fn has_open_files(device: u64) -> bool {
    let open = users::in_use(device);
    let mut files = open.iter().filter(|user| !user.path.is_dir());
    match files.next() {
        None => false,
        Some(user) => {
            tracing::warn!(pid = user.pid, path = %user.path.display(), "is open or mapped");
            true
        }
    }
}

/// What `Request::Mount` asks for.
pub(super) struct Wish {
    pub path: Vec<u8>,
    device: Vec<u8>,
    read_only: bool,
    check_users: bool,
    /// `st_dev` of the FUSE mount, and how it is made.
    pub fuse: Option<(u64, FuseMount)>,
}

fn namespace(fs: FsId, root: Option<Handle>, forced: bool, errno: i32) -> EventBody {
    EventBody::Namespace(NamespaceBody {
        mode: if forced { MODE_FORCED } else { 0 },
        handle2: root,
        retcode: errno,
        ..NamespaceBody::about(Handle::Fs(fs))
    })
}

impl Core {
    pub fn mount_answered(
        &mut self,
        fs: FsId,
        answer: Answer,
        out: &mut Outbox,
    ) -> Result<Reply, DmError> {
        self.mounting.remove(&fs);
        match answer {
            Answer::Continue | Answer::DontCare => {
                self.model.file_system(fs)?;
                Ok(Reply::Managed(fs))
            }
            Answer::Abort(errno) => {
                self.drop_fs(fs, out);
                Err(DmError::from_errno(errno))
            }
        }
    }

    pub fn unmount_answered(
        &mut self,
        id: RequestId,
        fs: FsId,
        forced: bool,
        answer: Answer,
    ) -> Result<Reply, DmError> {
        if !forced {
            if let Answer::Abort(errno) = answer {
                return Err(DmError::from_errno(errno));
            }
            if self.model.is_fs_in_use(fs) {
                return Err(DmError::Busy);
            }
        }
        let pid = self
            .conns
            .values()
            .find(|conn| conn.is_of(id.client))
            .map_or(0, |conn| conn.pid);
        let is_gone = false;
        let unmounting = Unmounting {
            pid,
            forced,
            is_gone,
        };
        self.unmounting.insert(fs, unmounting);
        Ok(Reply::Nothing)
    }

    /// Serves the file system no more.
    pub fn drop_fs(&mut self, fs: FsId, out: &mut Outbox) {
        self.mounting.remove(&fs);
        self.oldest_views.remove(&fs);
        if let Ok(plan) = self.model.plan_drop_fs(fs)
            && let Err(error) = self.commit(plan.records, None, out)
        {
            tracing::error!(%error, fs = fs.0, "a file system could not be dropped");
        }
        out.dropped.push(fs);
        out.room = true;
    }

    /// Calls that waited for the end of the unmount go on.
    pub fn unmount_over(&mut self, fs: FsId, out: &mut Outbox) {
        self.unmounting.remove(&fs);
        let waiters: Vec<super::ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| {
                matches!(&conn.waiting, Some((_, Waiting::UnmountEnd { fs: on, .. })) if *on == fs)
            })
            .map(|(id, _)| *id)
            .collect();
        for conn in waiters {
            if let Some((_, Waiting::UnmountEnd { asked, .. })) = self.take_waiting(conn) {
                if let Some(row) = self.conns.get_mut(&conn) {
                    row.running = true;
                }
                out.granted.push(*asked);
            }
        }
    }

    /// The source saw the last mount go. `false`: the process that unmounts will tell, with its arguments.
    pub fn is_unexpected_unmount(&mut self, fs: FsId) -> bool {
        match self.unmounting.get_mut(&fs) {
            Some(unmounting) => {
                unmounting.is_gone = true;
                false
            }
            None => true,
        }
    }

    /// A process that was unmounting is gone and did not say how it went.
    pub fn unmounter_ended(&mut self, pid: u32, out: &mut Outbox) {
        let left: Vec<(FsId, Unmounting)> = self
            .unmounting
            .iter()
            .filter(|(_, unmounting)| unmounting.pid == pid)
            .map(|(fs, unmounting)| (*fs, *unmounting))
            .collect();
        for (fs, unmounting) in left {
            match unmounting.is_gone {
                true => out.unmounted.push((fs, unmounting.forced)),
                false => self.unmount_over(fs, out),
            }
        }
    }

    /// Nobody waits for the answer to the event of a request any more.
    pub fn originator_gone(&mut self, id: RequestId, out: &mut Outbox) {
        let Kept::Waits(sequence) = self.model.kept(id) else {
            return;
        };
        let reserved = &self.reserved;
        let plan = self
            .model
            .plan_originator_gone(sequence, &|sequence| reserved.contains_key(&sequence));
        if let Some(plan) = plan
            && let Err(error) = self.commit(plan.records, None, out)
        {
            tracing::error!(%error, "an event whose originator is gone stays");
        }
    }
}

//! Requests on files: look the object up, take the right, then work outside the mutex.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::core::Core;
use super::requests::{Durability, carry_out};
use super::sink::DESTROY_LISTED;
use super::views::user_devices;
use super::{Asked, ConnId, Engine, Outcome};
use crate::fs::{Mount, attr, handle, side, stat, state, store, users};
use crate::model::machine::changed_list;
use crate::model::{DmError, EventSet, EventType, FsId, Handle, Kinds, OpenFor, Right, Token};
use crate::proto::{Reply, Request, Target};

/// What a call changes of an object, as users see it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    Attributes,
    Data,
}

const R_D_L: Kinds = Kinds::REGULAR.or(Kinds::DIRECTORY).or(Kinds::SYMLINK);

/// An object that is open on the private mount.
pub(super) struct Opened {
    pub(super) mount: Arc<Mount>,
    pub(super) fd: OwnedFd,
    pub(super) kind: Kinds,
}

impl Opened {
    /// Opens the object as the call needs it. Not before the call has its right: a descriptor that is
    /// more than O_PATH would keep the holder of the right from punching.
    fn reopen(self, handle: Handle, open: OpenFor) -> Result<Self, DmError> {
        if open == OpenFor::Look {
            return Ok(self);
        }
        let fd = self.mount.open(handle, open)?;
        Ok(Self { fd, ..self })
    }
}

impl Engine {
    pub(super) fn file_request(&self, asked: Asked) -> Outcome {
        match asked.request.clone() {
            Request::Look {
                handle,
                kinds,
                open,
            } => {
                let opened = self.find(handle, None, kinds);
                match opened.and_then(|opened| opened.reopen(handle, open)) {
                    Ok(opened) => entered(opened),
                    Err(error) => error.into(),
                }
            }
            Request::Enter {
                target,
                right,
                kinds,
                open,
            } => self.on_object(asked, target, right, kinds, open, |asked, opened| {
                if open == OpenFor::Write {
                    self.begin_write(asked.conn, target.handle, &opened);
                }
                entered(opened)
            }),
            Request::Inspect { target, what } => self.inspect(asked, target, what),
            Request::SetEventList {
                target,
                events,
                mask,
                extra_on_fs,
            } => self.set_event_list(asked, target, events, mask, extra_on_fs),
            Request::GetEventList { target } => self.get_event_list(asked, target),
            Request::IsOpen { target } => {
                let (kinds, open) = (Kinds::OBJECT, OpenFor::Look);
                self.on_object(asked, target, Right::Shared, kinds, open, |_, opened| {
                    self.is_open(target.handle, &opened).map(Reply::Open).into()
                })
            }
            Request::SetRegions {
                target,
                regions,
                sync,
            } => self.changing(asked, target, Kinds::REGULAR, Change::Attributes, |_, _| {
                let changed = self.source.set_regions(target.handle, &regions, sync)?;
                Ok(Reply::Exact(changed.exact))
            }),
            Request::PunchHole {
                target,
                offset,
                length,
            } => self.changing(asked, target, Kinds::REGULAR, Change::Data, |asked, _| {
                self.punch(asked, target.handle, offset, length)
            }),
            Request::SetAttribute {
                target,
                name,
                set_dtime,
                value,
                sync,
            } => self.changing(asked, target, R_D_L, Change::Attributes, |_, opened| {
                let fd = opened.fd.as_fd();
                attr::set(&opened.mount, fd, &name, &value, set_dtime)?;
                self.keep_copies(target.handle, opened, sync)
            }),
            Request::RemoveAttribute {
                target,
                name,
                set_dtime,
                sync,
            } => self.changing(asked, target, R_D_L, Change::Attributes, |asked, opened| {
                match attr::remove(opened.fd.as_fd(), &name, set_dtime) {
                    // A worker that died after it was removed.
                    Err(DmError::NotFound) if asked.again => {}
                    removed => removed?,
                }
                self.keep_copies(target.handle, opened, sync)
            }),
            Request::SetFileAttr { target, change } => {
                let what = match change.size {
                    Some(_) => Change::Data,
                    None => Change::Attributes,
                };
                self.changing(asked, target, R_D_L, what, |_, opened| {
                    let fd = opened.fd.as_fd();
                    stat::set(fd, &change)?;
                    if let (Some(_), true) = (change.ctime, self.is_behind_fuse(target.handle)) {
                        state::update(fd, |state| state.shown_ctime = change.ctime)?;
                    }
                    Ok(Reply::Nothing)
                })
            }
            Request::SyncFile { target } => self.changing(
                asked,
                target,
                Kinds::REGULAR,
                Change::Nothing,
                |_, opened| {
                    handle::sync(&opened.mount, opened.fd.as_fd())?;
                    Ok(Reply::Nothing)
                },
            ),
            other => unreachable!("{other:?} is no request on a file"),
        }
    }

    /// That it was decided is recorded before the first byte is freed. A worker that dies afterwards may
    /// leave a stub, and users may have it open when the request comes again: told that the file is busy,
    /// an application would take the guard off bytes that are gone. What was not freed stays allocated.
    fn punch(
        &self,
        asked: &Asked,
        handle: Handle,
        offset: u64,
        length: u64,
    ) -> Result<Reply, DmError> {
        let was_decided = asked.again && self.is_decided(asked);
        match self
            .source
            .punch(handle, offset, length, &|| self.decide(asked))
        {
            Err(DmError::Busy) if was_decided => Ok(Reply::Nothing),
            punched => punched.map(|()| Reply::Nothing),
        }
    }

    /// A call that changes an object: exclusive right, any descriptor.
    fn changing(
        &self,
        asked: Asked,
        target: Target,
        kinds: Kinds,
        change: Change,
        work: impl FnOnce(&Asked, &Opened) -> Result<Reply, DmError>,
    ) -> Outcome {
        let (right, look) = (Right::Exclusive, OpenFor::Look);
        self.on_object(asked, target, right, kinds, look, |asked, opened| {
            if change == Change::Nothing {
                return work(asked, &opened).into();
            }
            self.hide_from_ctime(target.handle, &opened);
            let outcome = work(asked, &opened);
            // Also what failed may have done a part.
            self.source.touched(target.handle, change == Change::Data);
            outcome.into()
        })
    }

    /// Do users see it through a FUSE mount, which can show them another ctime than the kernel's?
    fn is_behind_fuse(&self, handle: Handle) -> bool {
        let fs = handle.fs();
        fs.is_some_and(|fs| self.lock().model.fuse_mount(fs).is_some())
    }

    /// A change is about to be made that users must not see in ctime.
    fn hide_from_ctime(&self, handle: Handle, opened: &Opened) {
        if self.is_behind_fuse(handle)
            && let Err(error) = state::keep_ctime(opened.fd.as_fd())
        {
            // No room for it, say: a ctime that moves does less harm than a call that is refused.
            tracing::debug!(%error, ?handle, "ctime moves");
        }
    }

    /// The client gets a descriptor to write by; the end of that is its `Leave`.
    fn begin_write(&self, conn: ConnId, handle: Handle, opened: &Opened) {
        self.hide_from_ctime(handle, opened);
        self.source.writing(handle);
        self.with(|core, _| core.writes(conn, handle));
    }

    /// In the order of the standard: session, token, object, kind, right; then the work.
    pub(super) fn on_object(
        &self,
        asked: Asked,
        target: Target,
        right: Right,
        kinds: Kinds,
        open: OpenFor,
        work: impl FnOnce(&Asked, Opened) -> Outcome,
    ) -> Outcome {
        let checked = {
            let core = self.lock();
            core.model.check_call(target.session, target.token)
        };
        if let Err(error) = checked {
            return error.into();
        }
        let found = match self.find(target.handle, target.token, kinds) {
            Ok(found) => found,
            Err(error) => return error.into(),
        };
        let asked: Result<Option<Asked>, DmError> = self.with(|core, _| {
            core.model.check_right(target.token, target.handle, right)?;
            let may_go = target.token.is_some()
                || asked.granted
                || right == Right::Null
                || core.is_mounting(target.handle);
            if may_go {
                return Ok(Some(asked));
            }
            Ok(core.take_right(target.handle, right, asked))
        });
        match asked {
            Ok(Some(asked)) => match found.reopen(target.handle, open) {
                Ok(opened) => work(&asked, opened),
                Err(error) => error.into(),
            },
            Ok(None) => Outcome::Parked,
            Err(error) => Outcome::from(error),
        }
    }

    /// Finds an object, by an O_PATH descriptor, and looks at its kind.
    fn find(&self, handle: Handle, token: Option<Token>, kinds: Kinds) -> Result<Opened, DmError> {
        let fs = handle.fs().ok_or(DmError::BadHandle)?;
        self.check_reachable(fs, handle, token.is_some())?;
        let mount = self.source.mount(fs).ok_or(DmError::BadHandle)?;
        if let Handle::Fs(_) = handle {
            if !kinds.has(Kinds::FS) {
                return Err(DmError::WrongKind);
            }
            // A descriptor of its own: callers read the directory by it.
            let fd = mount.open(handle, OpenFor::Look)?;
            let kind = Kinds::FS;
            return Ok(Opened { mount, fd, kind });
        }
        let fd = mount.open(handle, OpenFor::Look)?;
        let kind = handle::kind_of(fd.as_fd())?;
        if !kinds.has(kind) {
            return Err(DmError::WrongKind);
        }
        Ok(Opened { mount, fd, kind })
    }

    /// While MOUNT is not answered only the handles in its message can be used.
    fn check_reachable(&self, fs: FsId, handle: Handle, has_token: bool) -> Result<(), DmError> {
        let core = self.lock();
        let row = core.model.file_system(fs)?;
        let is_hidden = core.mounting.contains_key(&fs)
            && matches!(handle, Handle::Object { .. })
            && !(has_token && row.mount.root == handle);
        match is_hidden {
            true => Err(DmError::BadHandle),
            false => Ok(()),
        }
    }

    pub(super) fn is_open(&self, handle: Handle, opened: &Opened) -> Result<bool, DmError> {
        let Handle::Object { inode, .. } = handle else {
            return Ok(false);
        };
        if opened.kind != Kinds::REGULAR {
            return Ok(false);
        }
        let (supervisor, ..) = self.host.describe();
        // Both share the descriptors that we work with.
        let own = [supervisor, std::process::id()];
        // Behind FUSE somebody may have the file itself open.
        let views = self.source.views(opened.mount.fs);
        let devices = user_devices(&views, opened.mount.device);
        let is_seen = users::is_open(&devices, inode, &own);
        // In a user namespace /proc does not tell of mappings.
        Ok(is_seen || store::is_unprivileged() && self.source.is_open(handle))
    }

    /// Does the object of a handle live? (For rights and holds, which name objects without opening them.)
    pub(super) fn object_lives(&self, handle: Handle) -> Result<(), DmError> {
        let fs = handle.fs().ok_or(DmError::BadHandle)?;
        match handle {
            Handle::Object { .. } => self.find(handle, None, Kinds::OBJECT).map(drop),
            Handle::Fs(_) | Handle::Global => self.lock().model.file_system(fs).map(drop),
        }
    }

    /// Copies of the attributes, and of DESTROY in the list, are kept beside the journal: DESTROY needs them
    /// when the object is gone.
    pub(super) fn keep_copies_of(
        &self,
        handle: Handle,
        fd: BorrowedFd<'_>,
        sync: bool,
    ) -> Result<(), DmError> {
        let mut copies = attr::list(fd)?;
        let list = state::read(fd).map_err(DmError::from)?.events;
        if list.has(EventType::Destroy) {
            copies.push((DESTROY_LISTED, Vec::new()));
        }
        side::write(&self.config.state, handle, &copies, sync)?;
        Ok(())
    }

    fn keep_copies(&self, handle: Handle, opened: &Opened, sync: bool) -> Result<Reply, DmError> {
        self.keep_copies_of(handle, opened.fd.as_fd(), sync)?;
        if sync {
            handle::sync(&opened.mount, opened.fd.as_fd())?;
        }
        Ok(Reply::Nothing)
    }

    fn set_event_list(
        &self,
        asked: Asked,
        target: Target,
        events: EventSet,
        mask: EventSet,
        extra_on_fs: EventSet,
    ) -> Outcome {
        if !matches!(target.handle, Handle::Object { .. }) {
            return self.guarded(asked, target, Right::Exclusive, |core, out, asked| {
                let (session, handle, token) = target.parts();
                let plan = core.model.plan_set_event_list(
                    session,
                    handle,
                    token,
                    events,
                    mask,
                    extra_on_fs,
                );
                carry_out(core, out, asked, Durability::Power, plan, |_| {
                    Reply::Nothing
                })
            });
        }
        self.changing(
            asked,
            target,
            Kinds::OBJECT,
            Change::Attributes,
            |_, opened| {
                let old = state::read(opened.fd.as_fd())
                    .map_err(DmError::from)?
                    .events;
                let list = changed_list(opened.kind, old, events, mask)?;
                self.source.set_event_list(target.handle, list, true)?;
                match old.has(EventType::Destroy) != list.has(EventType::Destroy) {
                    true => self.keep_copies(target.handle, opened, true),
                    false => Ok(Reply::Nothing),
                }
            },
        )
    }

    fn get_event_list(&self, asked: Asked, target: Target) -> Outcome {
        if !matches!(target.handle, Handle::Object { .. }) {
            return self.guarded(asked, target, Right::Shared, |core, _, _| {
                core.model
                    .event_list(target.session, target.handle, target.token)
                    .map(Reply::EventList)
                    .into()
            });
        }
        let (kinds, open) = (Kinds::OBJECT, OpenFor::Look);
        self.on_object(asked, target, Right::Shared, kinds, open, |_, opened| {
            let state = match state::read(opened.fd.as_fd()) {
                Ok(state) => state,
                Err(error) => return DmError::from(error).into(),
            };
            let by_region = state
                .regions
                .iter()
                .fold(0, |set, region| set | region.events().0);
            Ok(Reply::EventList(EventSet(state.events.0 | by_region))).into()
        })
    }
}

fn entered(opened: Opened) -> Outcome {
    let kind = opened.kind;
    Outcome::Done(Ok(Reply::Entered { kind }), Some(opened.fd))
}

impl Core {
    /// Is it the handle of a file system whose MOUNT is not answered?
    pub fn is_mounting(&self, handle: Handle) -> bool {
        handle
            .fs()
            .is_some_and(|fs| self.mounting.contains_key(&fs))
    }

    /// The right of the present request ends; nobody is told yet.
    pub fn end_work_quietly(&mut self, conn: super::ConnId) {
        let working = self
            .conns
            .get_mut(&conn)
            .and_then(|conn| conn.working.take());
        if let Some(handle) = working {
            self.rights.release(handle, conn);
        }
    }
}

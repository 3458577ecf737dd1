//! Who gets which event: dispositions, mount interest, event lists, return-on-destroy.

use super::super::event::{EVENT_MAX, EventSet, EventType};
use super::super::file::Kinds;
use super::{Corrupt, DmError, Effect, FsId, Handle, Model, Plan, Record, Right};
use super::{Session, SessionId, Token};

/// Events that name what happens to an entry of a directory.
const NAMESPACE: EventSet = EventSet(
    EventType::Create.bit()
        | EventType::PostCreate.bit()
        | EventType::Remove.bit()
        | EventType::PostRemove.bit()
        | EventType::Rename.bit()
        | EventType::PostRename.bit()
        | EventType::Link.bit()
        | EventType::PostLink.bit()
        | EventType::Symlink.bit()
        | EventType::PostSymlink.bit(),
);
/// Events that any object may have in its list.
const ON_OBJECT: EventSet =
    EventSet(EventType::Attribute.bit() | EventType::Destroy.bit() | EventType::Close.bit());
const ON_DIRECTORY: EventSet = EventSet(NAMESPACE.0 | ON_OBJECT.0);
const ON_FS: EventSet = EventSet(
    ON_DIRECTORY.0
        | EventType::PreUnmount.bit()
        | EventType::Unmount.bit()
        | EventType::NoSpace.bit(),
);
/// READ, WRITE, TRUNCATE: managed regions enable them, never the list of an object.
const BY_REGION: EventSet =
    EventSet(EventType::Read.bit() | EventType::Write.bit() | EventType::Truncate.bit());
/// Events that only some dialect takes in the list of a file system.
const LENT: EventSet = EventSet(BY_REGION.0 | EventType::Debut.bit());
/// Events whose disposition a session may hold on a file system.
const DISPOSABLE: EventSet = EventSet(ON_FS.0 | BY_REGION.0 | EventType::Debut.bit());
/// All that a caller's set can hold.
const ALL: EventSet = EventSet((1 << EVENT_MAX) - 1);

/// The event list of an object of this kind after `dm_set_eventlist`: bits of `mask` replaced by those of
/// `events`. `EINVAL` for an event that the kind cannot have.
pub fn changed_list(
    kind: Kinds,
    old: EventSet,
    events: EventSet,
    mask: EventSet,
) -> Result<EventSet, DmError> {
    let valid = if kind == Kinds::FS {
        ON_FS
    } else if kind == Kinds::DIRECTORY {
        ON_DIRECTORY
    } else if Kinds::OBJECT.has(kind) {
        ON_OBJECT
    } else {
        return Err(DmError::Invalid);
    };
    let asked = events.0 & mask.0;
    if asked & !valid.0 != 0 {
        return Err(DmError::Invalid);
    }
    let replaced = mask.0 & !BY_REGION.0;
    Ok(EventSet(old.0 & !replaced | asked))
}

impl Model {
    /// Session, token and file-system handle of a call, in the order of reference section 2.0. A token must hold
    /// `need`; without one the engine takes the right for the call.
    pub fn check_fs_call(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
        need: Right,
    ) -> Result<FsId, DmError> {
        self.check_call(session, token)?;
        let fs = match handle {
            Handle::Global => return Err(DmError::BadHandle),
            Handle::Object { fs, .. } => {
                self.file_system(fs)?;
                return Err(DmError::WrongKind);
            }
            Handle::Fs(fs) => fs,
        };
        self.file_system(fs)?;
        self.check_right(token, handle, need)?;
        Ok(fs)
    }

    /// Session and token (if one is given) of a call.
    pub fn check_call(&self, session: SessionId, token: Option<Token>) -> Result<(), DmError> {
        match token {
            Some(token) => self.check_token(session, token),
            None => self.check_session(session),
        }
    }

    /// `dm_set_disp`. On a file system the whole set of the session is replaced by the bits of `events`
    /// within `mask` (those below the caller's maxevent); on the global handle only MOUNT can be asked for.
    pub fn plan_set_disposition(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
        events: EventSet,
        mask: EventSet,
    ) -> Result<Plan<()>, DmError> {
        let events = EventSet(events.0 & mask.0);
        if handle == Handle::Global {
            self.check_call(session, token)?;
            if token.is_some() || events.0 & !EventType::Mount.bit() != 0 {
                return Err(DmError::Invalid);
            }
            let interested = events.has(EventType::Mount);
            return Ok(Plan::one(
                Record::MountInterestSet {
                    session,
                    interested,
                },
                (),
            ));
        }
        let fs = self.check_fs_call(session, handle, token, Right::Exclusive)?;
        if events.0 & !DISPOSABLE.0 != 0 {
            return Err(DmError::Invalid);
        }
        let record = Record::DispositionSet {
            session,
            fs,
            events,
            mask: ALL,
        };
        Ok(Plan::one(record, ()))
    }

    /// `dmx_set_cancel`: from now on the session is told when the originator of an event that it received is gone.
    pub fn plan_set_cancel(
        &self,
        session: SessionId,
        interested: bool,
    ) -> Result<Plan<()>, DmError> {
        self.check_session(session)?;
        let record = Record::CancelInterestSet {
            session,
            interested,
        };
        Ok(Plan::one(record, ()))
    }

    /// `dm_getall_disp`: the file systems on which the session has a disposition. Mount interest is not told.
    pub fn dispositions_of(&self, session: SessionId) -> Result<Vec<(FsId, EventSet)>, DmError> {
        self.check_session(session)?;
        let mut sets: Vec<(FsId, EventSet)> = Vec::new();
        for (fs, kind) in self.dispositions_held(session) {
            match sets.last_mut() {
                Some((last, set)) if *last == fs => set.0 |= kind.bit(),
                _ => sets.push((fs, EventSet(kind.bit()))),
            }
        }
        Ok(sets)
    }

    /// The session that gets such an event of the file system.
    pub fn disposition(&self, fs: FsId, kind: EventType) -> Option<SessionId> {
        self.dispositions.get((fs, kind)).copied()
    }

    /// `dm_set_eventlist` on a file system; the value is the new list. `extra`: events that the dialect of the
    /// caller takes besides.
    pub fn plan_set_event_list(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
        events: EventSet,
        mask: EventSet,
        extra: EventSet,
    ) -> Result<Plan<EventSet>, DmError> {
        if handle == Handle::Global {
            self.check_call(session, token)?;
            return Err(DmError::Invalid);
        }
        let fs = self.check_fs_call(session, handle, token, Right::Exclusive)?;
        let old = self.file_system(fs)?.list;
        // Regions enable no events of a file system: all bits are its list's own.
        let plain = changed_list(Kinds::FS, old, EventSet(events.0 & !extra.0), mask)?;
        let list = EventSet(plain.0 & !(mask.0 & LENT.0) | events.0 & mask.0 & extra.0);
        let record = Record::EventListSet { fs, events: list };
        Ok(Plan::one(record, list))
    }

    /// `dm_get_eventlist` on a file system.
    pub fn event_list(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<EventSet, DmError> {
        if handle == Handle::Global {
            self.check_call(session, token)?;
            return Err(DmError::Invalid);
        }
        let fs = self.check_fs_call(session, handle, token, Right::Shared)?;
        Ok(self.file_system(fs)?.list)
    }

    /// `dm_set_return_on_destroy`. Enabling also takes the disposition of DESTROY.
    pub fn plan_return_on_destroy(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
        name: [u8; 8],
        enable: bool,
    ) -> Result<Plan<()>, DmError> {
        let fs = self.check_fs_call(session, handle, token, Right::Exclusive)?;
        let registered = self.file_system(fs)?.return_on_destroy;
        let registration = match enable {
            true if name[0] == 0 => return Err(DmError::Invalid),
            true => Some((session, name)),
            false if registered.is_some_and(|(owner, _)| owner == session) => None,
            false => return Err(DmError::Invalid),
        };
        Ok(Plan::one(
            Record::ReturnOnDestroySet { fs, registration },
            (),
        ))
    }

    /// The record that says whether DESTROY events of a file system are answered, if that changes.
    pub fn destroy_answered(&self, fs: FsId, answered: bool) -> Option<Record> {
        let row = self.file_systems.get(fs)?;
        (row.destroy_is_answered != answered).then_some(Record::DestroyAnswered { fs, answered })
    }

    /// The attribute that a DESTROY event of the file system carries.
    pub fn return_on_destroy(&self, fs: FsId) -> Option<[u8; 8]> {
        let row = self.file_systems.get(fs)?;
        row.return_on_destroy.map(|(_, name)| name)
    }

    /// `dm_get_mountinfo`: the file system whose mount body is told.
    pub fn mount_info(
        &self,
        session: SessionId,
        handle: Handle,
        token: Option<Token>,
    ) -> Result<&super::MountBody, DmError> {
        let fs = self.check_fs_call(session, handle, token, Right::Shared)?;
        Ok(&self.file_system(fs)?.mount)
    }

    pub(super) fn dispositions_held(&self, session: SessionId) -> Vec<(FsId, EventType)> {
        self.dispositions
            .iter()
            .filter(|(_, holder)| **holder == session)
            .map(|(key, _)| key)
            .collect()
    }

    pub(super) fn registered_for_destroy(&self, session: SessionId) -> Vec<FsId> {
        self.file_systems
            .iter()
            .filter(|(_, row)| {
                row.return_on_destroy
                    .is_some_and(|(owner, _)| owner == session)
            })
            .map(|(fs, _)| fs)
            .collect()
    }

    pub(super) fn clear_return_on_destroy(&mut self, fs: FsId) {
        if let Some(mut row) = self.file_systems.get(fs).cloned() {
            row.return_on_destroy = None;
            self.file_systems.insert(fs, row);
        }
    }

    pub(super) fn disposition_set(
        &mut self,
        session: SessionId,
        fs: FsId,
        events: EventSet,
        mask: EventSet,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        self.session_row(session)?;
        let registered = self.fs_row(fs)?.return_on_destroy;
        for kind in mask.iter() {
            if events.has(kind) {
                self.dispositions.insert((fs, kind), session);
            } else if self.disposition(fs, kind) == Some(session) {
                self.dispositions.remove((fs, kind));
            }
        }
        // The attribute goes to whoever keeps DESTROY, and to nobody who came to it by dm_set_disp.
        if registered
            .is_some_and(|(owner, _)| self.disposition(fs, EventType::Destroy) != Some(owner))
        {
            self.clear_return_on_destroy(fs);
        }
        let wanted = |kind| mask.has(kind) && events.has(kind);
        self.take_waiting(fs, wanted, session, effects);
        effects.push(Effect::InterestChanged { fs });
        Ok(())
    }

    pub(super) fn destroy_answered_set(&mut self, fs: FsId, answered: bool) -> Result<(), Corrupt> {
        let mut row = self.fs_row(fs)?.clone();
        row.destroy_is_answered = answered;
        self.file_systems.insert(fs, row);
        Ok(())
    }

    pub(super) fn mount_interest_set(
        &mut self,
        session: SessionId,
        interested: bool,
    ) -> Result<(), Corrupt> {
        let row = Session {
            wants_mounts: interested,
            ..self.session_row(session)?.clone()
        };
        self.sessions.insert(session, row);
        Ok(())
    }

    pub(super) fn cancel_interest_set(
        &mut self,
        session: SessionId,
        interested: bool,
    ) -> Result<(), Corrupt> {
        let row = Session {
            wants_cancels: interested,
            ..self.session_row(session)?.clone()
        };
        self.sessions.insert(session, row);
        Ok(())
    }

    pub(super) fn event_list_set(
        &mut self,
        fs: FsId,
        events: EventSet,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        let mut row = self.fs_row(fs)?.clone();
        row.list = events;
        self.file_systems.insert(fs, row);
        effects.push(Effect::InterestChanged { fs });
        Ok(())
    }

    pub(super) fn return_on_destroy_set(
        &mut self,
        fs: FsId,
        registration: Option<(SessionId, [u8; 8])>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Corrupt> {
        let mut row = self.fs_row(fs)?.clone();
        row.return_on_destroy = registration;
        if let Some((session, _)) = registration {
            self.session_row(session)?;
            self.dispositions.insert((fs, EventType::Destroy), session);
            self.take_waiting(fs, |kind| kind == EventType::Destroy, session, effects);
        }
        self.file_systems.insert(fs, row);
        effects.push(Effect::InterestChanged { fs });
        Ok(())
    }
}

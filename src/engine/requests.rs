//! Which request is carried out where.

use super::core::{Core, Waiting};
use super::outbox::Outbox;
use super::{Asked, Engine, Outcome};
use crate::model::machine::{Kept, Plan};
use crate::model::{DmError, EventBody, Handle, Right};
use crate::proto::{self, Reply, Request, Target};

/// Must the reply wait until the change survives power loss? (docs/architecture.md, durability classes.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It survives the death of any process.
    Process,
    /// It survives power loss.
    Power,
}

impl Engine {
    /// Was the request carried out before, by a worker that died? `None`: it is to be carried out now.
    pub(super) fn repeated(&self, asked: &Asked) -> Option<Outcome> {
        // A punch is not done when it is decided: it goes on where the worker died.
        if !asked.again || asked.granted || matches!(asked.request, Request::PunchHole { .. }) {
            return None;
        }
        self.with(|core, out| match core.model.kept(asked.id) {
            Kept::Unknown => None,
            Kept::Reply(bytes) => {
                let outcome: Option<Result<Reply, DmError>> = proto::decode(&bytes);
                // Another version wrote it. The request was carried out, that much is sure.
                Some(outcome.unwrap_or(Err(DmError::Io)).into())
            }
            Kept::Waits(sequence) => {
                let waiting = core.waiting_for(asked, sequence)?;
                core.askers.insert(asked.id, asked.conn);
                core.park(asked.conn, asked.id, waiting);
                Some(Outcome::Parked)
            }
            Kept::Answered(answer) => {
                let waiting = core.waiting_after(asked)?;
                let outcome = core.after_answer(asked.id, &waiting, answer, out);
                Some(outcome.into())
            }
        })
    }

    /// Keeps the reply of a request that is about to be carried out outside the model.
    pub(super) fn decide(&self, asked: &Asked) -> Result<(), DmError> {
        let done = Ok(Reply::Nothing);
        self.with(|core, out| core.commit(Vec::new(), Some((asked.id, &done)), out))
            .map(drop)
    }

    /// Did an earlier worker decide it?
    pub(super) fn is_decided(&self, asked: &Asked) -> bool {
        matches!(self.lock().model.kept(asked.id), Kept::Reply(_))
    }

    pub(super) fn dispatch(&self, asked: Asked) -> Outcome {
        let asked = match self.wait_for_unmount(asked) {
            Some(asked) => asked,
            None => return Outcome::Parked,
        };
        match &asked.request {
            Request::Ping => Ok(Reply::Nothing).into(),
            Request::CreateSession { .. }
            | Request::RenameSession { .. }
            | Request::DestroySession { .. }
            | Request::GetAllSessions
            | Request::QuerySession { .. }
            | Request::GetEvents { .. }
            | Request::Commit { .. }
            | Request::RespondEvent { .. }
            | Request::MoveEvent { .. }
            | Request::FindEvent { .. }
            | Request::GetAllTokens { .. }
            | Request::CreateUserEvent { .. }
            | Request::SendMessage { .. }
            | Request::Pending { .. } => self.session_request(&asked),
            Request::SetDisposition { .. }
            | Request::SetCancel { .. }
            | Request::GetAllDispositions { .. }
            | Request::SetReturnOnDestroy { .. }
            | Request::RequestRight { .. }
            | Request::ReleaseRight { .. }
            | Request::QueryRight { .. }
            | Request::UpgradeRight { .. }
            | Request::DowngradeRight { .. }
            | Request::Hold { .. }
            | Request::Release { .. }
            | Request::QueryHold { .. }
            | Request::GetMountInfo { .. } => self.right_request(asked),
            Request::SetInherit { .. }
            | Request::ClearInherit { .. }
            | Request::GetAllInherit { .. } => self.inherit_request(asked),
            Request::SetEventList { .. }
            | Request::GetEventList { .. }
            | Request::Enter { .. }
            | Request::Look { .. }
            | Request::IsOpen { .. }
            | Request::SetRegions { .. }
            | Request::PunchHole { .. }
            | Request::SetAttribute { .. }
            | Request::RemoveAttribute { .. }
            | Request::SetFileAttr { .. }
            | Request::SyncFile { .. }
            | Request::Inspect { .. } => self.file_request(asked),
            Request::FileSystems => Ok(Reply::FileSystems(self.file_systems())).into(),
            Request::Mount { .. }
            | Request::MountFuse { .. }
            | Request::PrepareUnmount { .. }
            | Request::Unmounted { .. } => self.mount_request(asked),
            Request::Status => Ok(Reply::Status(Box::new(self.status()))).into(),
            Request::Stop { force } => match self.host.may_stop(*force) {
                true => {
                    self.unmount_what_would_die();
                    self.last_request(&asked, || self.host.stop())
                }
                false => DmError::Busy.into(),
            },
            Request::Upgrade => self.last_request(&asked, || self.host.upgrade()),
        }
    }

    /// The reply to a request that ends this worker goes out before: else it would be sent again.
    fn last_request(&self, asked: &Asked, work: impl FnOnce()) -> Outcome {
        self.reply(asked.conn, asked.id.number, Ok(Reply::Nothing), None);
        work();
        Outcome::Parked
    }

    /// Calls on a file system that is being unmounted wait for the outcome.
    fn wait_for_unmount(&self, asked: Asked) -> Option<Asked> {
        let fs = match target(&asked.request).map(|target| (target.handle, target.token)) {
            Some((Handle::Fs(fs), None)) => fs,
            _ => return Some(asked),
        };
        self.with(|core, _| {
            if !core.unmounting.contains_key(&fs) {
                return Some(asked);
            }
            let (conn, id) = (asked.conn, asked.id);
            let asked = Box::new(asked);
            core.park(conn, id, Waiting::UnmountEnd { fs, asked });
            None
        })
    }

    /// Plans and carries out a change.
    pub(super) fn change<T>(
        &self,
        asked: &Asked,
        durability: Durability,
        plan: impl FnOnce(&mut Core) -> Result<Plan<T>, DmError>,
        reply: impl FnOnce(T) -> Reply,
    ) -> Outcome {
        self.with(|core, out| {
            let plan = plan(core);
            carry_out(core, out, asked, durability, plan, reply)
        })
    }

    /// Works with `right` on the handle of `target`: that of its token (which the work checks), or one
    /// taken for this call. The request may be parked before.
    pub(super) fn guarded(
        &self,
        asked: Asked,
        target: Target,
        right: Right,
        work: impl FnOnce(&mut Core, &mut Outbox, &Asked) -> Outcome,
    ) -> Outcome {
        self.with(|core, out| {
            let is_mounting = match target.handle {
                // The handler of MOUNT may use the handle with or without its token's right.
                Handle::Fs(fs) => core.mounting.contains_key(&fs),
                Handle::Global => true,
                Handle::Object { .. } => false,
            };
            if target.token.is_some() || asked.granted || is_mounting {
                return work(core, out, &asked);
            }
            let checked = core
                .model
                .check_fs_call(target.session, target.handle, None, right);
            if let Err(error) = checked {
                return error.into();
            }
            match core.take_right(target.handle, right, asked) {
                Some(asked) => work(core, out, &asked),
                None => Outcome::Parked,
            }
        })
    }
}

/// Commits a plan; the reply is kept for a request that is sent again.
pub(super) fn carry_out<T>(
    core: &mut Core,
    out: &mut Outbox,
    asked: &Asked,
    durability: Durability,
    plan: Result<Plan<T>, DmError>,
    reply: impl FnOnce(T) -> Reply,
) -> Outcome {
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return error.into(),
    };
    let outcome = Ok(reply(plan.value));
    if plan.records.is_empty() {
        return outcome.into();
    }
    match core.commit(plan.records, Some((asked.id, &outcome)), out) {
        Err(error) => error.into(),
        Ok(lsn) => match durability {
            Durability::Process => outcome.into(),
            Durability::Power => Outcome::Durable(outcome, lsn),
        },
    }
}

impl Core {
    /// What a request waits for that was sent again while its event is not answered.
    fn waiting_for(
        &mut self,
        asked: &Asked,
        sequence: crate::model::ids::Sequence,
    ) -> Option<Waiting> {
        if let Some((event, _)) = self.model.event(sequence)
            && let EventBody::Mount(body) = &event.body
            && let Some(fs) = body.fs.fs()
        {
            self.mounting.insert(fs, asked.id);
            return Some(Waiting::Mount { fs });
        }
        self.waiting_after(asked)
    }

    fn waiting_after(&self, asked: &Asked) -> Option<Waiting> {
        match &asked.request {
            Request::SendMessage { .. } => Some(Waiting::Answer),
            Request::PrepareUnmount { fs, forced } => Some(Waiting::Unmount {
                fs: *fs,
                forced: *forced,
            }),
            Request::Mount { path, .. } | Request::MountFuse { path, .. } => {
                let fs = self
                    .model
                    .file_systems()
                    .find(|(_, row)| row.mount.path == *path)
                    .map(|(fs, _)| fs)?;
                Some(Waiting::Mount { fs })
            }
            _ => None,
        }
    }
}

/// The target of a request that has one.
fn target(request: &Request) -> Option<&Target> {
    match request {
        Request::SetDisposition { target, .. }
        | Request::SetEventList { target, .. }
        | Request::GetEventList { target }
        | Request::SetReturnOnDestroy { target, .. }
        | Request::SetInherit { target, .. }
        | Request::ClearInherit { target, .. }
        | Request::GetAllInherit { target }
        | Request::RequestRight { target, .. }
        | Request::ReleaseRight { target }
        | Request::QueryRight { target }
        | Request::UpgradeRight { target }
        | Request::DowngradeRight { target }
        | Request::Hold { target }
        | Request::Release { target }
        | Request::QueryHold { target }
        | Request::Enter { target, .. }
        | Request::IsOpen { target }
        | Request::SetRegions { target, .. }
        | Request::PunchHole { target, .. }
        | Request::SetAttribute { target, .. }
        | Request::RemoveAttribute { target, .. }
        | Request::SetFileAttr { target, .. }
        | Request::SyncFile { target }
        | Request::Inspect { target, .. }
        | Request::GetMountInfo { target } => Some(target),
        _ => None,
    }
}

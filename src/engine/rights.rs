//! Requests on dispositions, rights and holds.

use super::core::Core;
use super::requests::{Durability, carry_out};
use super::{Asked, Engine, Outcome};
use crate::model::{DmError, EventType, Handle, Plan, Right};
use crate::proto::{Reply, Request, Target};

impl Engine {
    pub(super) fn right_request(&self, asked: Asked) -> Outcome {
        use Durability::{Power, Process};
        match asked.request.clone() {
            Request::SetDisposition {
                target,
                events,
                mask,
                answers_destroy,
            } => self.guarded(asked, target, Right::Exclusive, |core, out, asked| {
                let (session, handle, token) = target.parts();
                let plan = core
                    .model
                    .plan_set_disposition(session, handle, token, events, mask);
                let with_destroy = events.has(EventType::Destroy);
                let plan = core.with_destroy(plan, handle, with_destroy, answers_destroy);
                carry_out(core, out, asked, Power, plan, |()| Reply::Nothing)
            }),
            Request::SetReturnOnDestroy {
                target,
                name,
                enable,
                answers_destroy,
            } => self.guarded(asked, target, Right::Exclusive, |core, out, asked| {
                let (session, handle, token) = target.parts();
                let plan = core
                    .model
                    .plan_return_on_destroy(session, handle, token, name, enable);
                let plan = core.with_destroy(plan, handle, enable, answers_destroy);
                carry_out(core, out, asked, Power, plan, |()| Reply::Nothing)
            }),
            Request::GetMountInfo { target } => {
                self.guarded(asked, target, Right::Shared, |core, _, _| {
                    core.model
                        .mount_info(target.session, target.handle, target.token)
                        .map(|body| Reply::MountInfo(body.clone()))
                        .into()
                })
            }
            Request::SetCancel { session, enable } => self.change(
                &asked,
                Power,
                |core| core.model.plan_set_cancel(session, enable),
                |()| Reply::Nothing,
            ),
            Request::GetAllDispositions { session } => {
                let core = self.lock();
                let held = core.model.dispositions_of(session);
                held.map(Reply::Dispositions).into()
            }
            Request::RequestRight {
                target,
                wait,
                right,
            } => self.request_right(asked, target, wait, right),
            Request::ReleaseRight { target } => self.change(
                &asked,
                Process,
                |core| {
                    core.model
                        .plan_release_right(target.session, target.handle, target.token)
                },
                |()| Reply::Nothing,
            ),
            Request::QueryRight { target } => {
                let core = self.lock();
                let right = core
                    .model
                    .query_right(target.session, target.handle, target.token);
                right.map(Reply::Right).into()
            }
            Request::UpgradeRight { target } => self.change(
                &asked,
                Process,
                |core| {
                    // The only holder may go up although others wait: it would wait for itself.
                    let calls = core.rights.held(target.handle);
                    let (session, handle, token) = target.parts();
                    core.model.plan_upgrade_right(session, handle, token, calls)
                },
                |()| Reply::Nothing,
            ),
            Request::DowngradeRight { target } => self.change(
                &asked,
                Process,
                |core| {
                    core.model
                        .plan_downgrade_right(target.session, target.handle, target.token)
                },
                |()| Reply::Nothing,
            ),
            _ => self.hold_request(&asked),
        }
    }

    fn hold_request(&self, asked: &Asked) -> Outcome {
        match asked.request {
            Request::Hold { target } => {
                if let Err(error) = self.look_up(&target) {
                    return error.into();
                }
                self.change(
                    asked,
                    Durability::Process,
                    |core| {
                        core.model
                            .plan_hold(target.session, target.handle, target.token)
                    },
                    |()| Reply::Nothing,
                )
            }
            Request::Release { target } => self.change(
                asked,
                Durability::Process,
                |core| {
                    core.model
                        .plan_release_hold(target.session, target.handle, target.token)
                },
                |()| Reply::Nothing,
            ),
            Request::QueryHold { target } => {
                let core = self.lock();
                let held = core
                    .model
                    .query_hold(target.session, target.handle, target.token);
                held.map(Reply::Held).into()
            }
            ref other => unreachable!("{other:?} is no request on rights"),
        }
    }

    fn request_right(&self, asked: Asked, target: Target, wait: bool, right: Right) -> Outcome {
        if !asked.granted
            && let Err(error) = self.look_up(&target)
        {
            return error.into();
        }
        let (session, handle, token) = target.parts();
        self.with(|core, out| {
            if asked.granted {
                // What it waited for it holds as a call now; the token takes it over.
                core.end_work_quietly(asked.conn);
            }
            let has_some = core
                .model
                .query_right(session, handle, token)
                .is_ok_and(|has| has > Right::Null);
            // Who holds a right already does not stand behind those who wait for it.
            let calls = match has_some {
                true => core.rights.held(handle),
                false if asked.granted => core.rights.held(handle),
                false => core.rights.held_or_wanted(handle),
            };
            let plan = core
                .model
                .plan_request_right(session, handle, token, right, wait, calls);
            let outcome = match plan {
                Ok(None) => {
                    core.wait_for_right(handle, right, token, asked);
                    Outcome::Parked
                }
                Ok(Some(plan)) => {
                    let asked = &asked;
                    carry_out(core, out, asked, Durability::Process, Ok(plan), |()| {
                        Reply::Nothing
                    })
                }
                Err(error) => error.into(),
            };
            // Others that can share it, or, if it failed, whoever is next.
            core.regrant(handle, out);
            outcome
        })
    }

    /// Session and token are good and the object lives: first errors of a call.
    fn look_up(&self, target: &Target) -> Result<(), DmError> {
        self.lock().model.check_call(target.session, target.token)?;
        self.object_lives(target.handle)
    }
}

impl Core {
    /// Whoever takes DESTROY says whether it answers.
    fn with_destroy(
        &self,
        plan: Result<Plan<()>, DmError>,
        handle: Handle,
        takes_destroy: bool,
        answers: bool,
    ) -> Result<Plan<()>, DmError> {
        let mut plan = plan?;
        if let (Handle::Fs(fs), true) = (handle, takes_destroy) {
            plan.records
                .extend(self.model.destroy_answered(fs, answers));
        }
        Ok(plan)
    }
}

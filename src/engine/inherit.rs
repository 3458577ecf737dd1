//! Inherited attributes: the three calls, and what happens to a new object.

use std::os::fd::AsFd;

use super::requests::{Durability, carry_out};
use super::{Asked, Engine, Outcome};
use crate::fs::{Mount, attr};
use crate::model::{DmError, FsId, Handle, OpenFor, Right};
use crate::proto::{Reply, Request};

impl Engine {
    pub(super) fn inherit_request(&self, asked: Asked) -> Outcome {
        use Durability::Power;
        match asked.request.clone() {
            Request::SetInherit { target, name, mode } => {
                self.guarded(asked, target, Right::Exclusive, |core, out, asked| {
                    let (session, handle, token) = target.parts();
                    let plan = core
                        .model
                        .plan_set_inherit(session, handle, token, name, mode);
                    carry_out(core, out, asked, Power, plan, |()| Reply::Nothing)
                })
            }
            Request::ClearInherit { target, name } => {
                self.guarded(asked, target, Right::Exclusive, |core, out, asked| {
                    let (session, handle, token) = target.parts();
                    let plan = core.model.plan_clear_inherit(session, handle, token, name);
                    carry_out(core, out, asked, Power, plan, |()| Reply::Nothing)
                })
            }
            Request::GetAllInherit { target } => {
                self.guarded(asked, target, Right::Shared, |core, _, _| {
                    core.model
                        .inherits_of(target.session, target.handle, target.token)
                        .map(Reply::Inherits)
                        .into()
                })
            }
            other => unreachable!("{other:?} is no request on inherited attributes"),
        }
    }

    pub(super) fn inherits_anything(&self, fs: FsId) -> bool {
        self.lock().model.inherits(fs).next().is_some()
    }

    /// A new object gets what its kind inherits, as far as its directory has it. What the object has by now
    /// stays: an application was there first.
    pub(super) fn inherit(&self, parent: Handle, child: Handle, mode: u32) {
        let Some(fs) = child.fs() else { return };
        let names: Vec<[u8; 8]> = {
            let core = self.lock();
            let inherits = core.model.inherits(fs);
            inherits
                .filter(|inherit| inherit.covers(mode))
                .map(|inherit| inherit.name)
                .collect()
        };
        let mount = match self.source.mount(fs) {
            Some(mount) if !names.is_empty() => mount,
            _ => return,
        };
        match self.copy_attributes(&mount, parent, child, &names) {
            // Removed since.
            Ok(()) | Err(DmError::BadHandle) => {}
            Err(error) => tracing::error!(
                %error, ?child,
                "a new object did not inherit the attributes of its directory; set them with dm_set_dmattr"
            ),
        }
    }

    fn copy_attributes(
        &self,
        mount: &Mount,
        parent: Handle,
        child: Handle,
        names: &[[u8; 8]],
    ) -> Result<(), DmError> {
        let from = mount.open(parent, OpenFor::Look)?;
        let to = mount.open(child, OpenFor::Look)?;
        let mut is_changed = false;
        for name in names {
            let value = match attr::get(from.as_fd(), name) {
                Err(DmError::NotFound) => continue,
                found => found?,
            };
            if attr::get(to.as_fd(), name) == Err(DmError::NotFound) {
                attr::set(mount, to.as_fd(), name, &value, true)?;
                is_changed = true;
            }
        }
        if is_changed {
            self.keep_copies_of(child, to.as_fd(), false)?;
        }
        Ok(())
    }
}

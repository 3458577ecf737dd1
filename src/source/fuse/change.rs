//! Changes by DM applications that must be ordered against requests.

use std::os::fd::AsFd;

use super::connection::Connection;
use super::node::Node;
use crate::fs::{handle, state};
use crate::model::{DmError, EventSet, EventType, Handle, OpenFor, Region};
use crate::source::Changed;

impl Connection {
    /// The state of an object was changed: what is kept of it is old.
    pub(super) fn forget_state(&self, node: &Node) {
        let mut inner = node.lock();
        inner.state = None;
        inner.state_changes = inner.state_changes.wrapping_add(1);
    }

    /// A DM application changed an object.
    pub(super) fn touched(&self, object: Handle, data: bool) {
        let id = self.id_of(object);
        if let Some(node) = self.nodes.get(id) {
            self.forget_state(&node);
        }
        self.invalidator.attributes(id);
        if data {
            self.invalidator.pages_later(id);
        }
    }

    pub(super) fn set_event_list(
        &self,
        object: Handle,
        events: EventSet,
        sync: bool,
    ) -> Result<(), DmError> {
        let fd = self.mount.open(object, OpenFor::Look)?;
        state::update(fd.as_fd(), |state| state.events = events)?;
        if sync {
            handle::sync(&self.mount, fd.as_fd())?;
        }
        if let Some(node) = self.nodes.get(self.id_of(object)) {
            self.forget_state(&node);
            node.lock().listed = events.has(EventType::Destroy);
        }
        Ok(())
    }

    pub(super) fn set_regions(
        &self,
        _object: Handle,
        _regions: &[Region],
        _sync: bool,
    ) -> Result<Changed, DmError> {
        Err(DmError::NotSupported)
    }

    pub(super) fn punch(
        &self,
        _object: Handle,
        _offset: u64,
        _length: u64,
        _decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        Err(DmError::NotSupported)
    }
}

//! The source of a daemon that may watch nothing: sessions and messages work, file systems are refused.

use std::sync::Arc;

use super::{Attach, Changed, EventSink, EventSource};
use crate::fs::Mount;
use crate::model::ids::Serial;
use crate::model::{Answer, DmError, EventSet, FsId, Handle, Region};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSource;

impl EventSource for NoSource {
    fn name(&self, _fs: FsId) -> &'static str {
        "none"
    }

    fn events(&self, _fs: FsId) -> EventSet {
        EventSet::default()
    }

    fn attach(&self, _attach: Attach) -> Result<Arc<Mount>, DmError> {
        Err(DmError::NotPermitted)
    }

    fn detach(&self, _fs: FsId) {}

    fn mount(&self, _fs: FsId) -> Option<Arc<Mount>> {
        None
    }

    fn mounts(&self) -> Vec<Arc<Mount>> {
        Vec::new()
    }

    fn answer(&self, _serial: Serial, _answer: Answer) {}

    fn intend(&self, _serial: Serial, _answer: Answer) {}

    fn pending(&self, _serial: Serial) -> bool {
        false
    }

    fn set_regions(
        &self,
        _handle: Handle,
        _regions: &[Region],
        _sync: bool,
    ) -> Result<Changed, DmError> {
        Err(DmError::BadHandle)
    }

    fn set_event_list(
        &self,
        _handle: Handle,
        _events: EventSet,
        _sync: bool,
    ) -> Result<(), DmError> {
        Err(DmError::BadHandle)
    }

    fn punch(
        &self,
        _handle: Handle,
        _offset: u64,
        _length: u64,
        _decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        Err(DmError::BadHandle)
    }

    fn list_changed(&self, _fs: FsId) {}

    fn blocked(&self) -> Vec<(Serial, u32, u64)> {
        Vec::new()
    }

    fn start(self: Arc<Self>, _sink: Arc<dyn EventSink>) -> Result<(), DmError> {
        Ok(())
    }

    fn stop(&self) {}
}

//! A source that serves one file system in which nothing can be opened, and answers nothing.

use std::sync::Arc;

use dmapi::fs::{AttrLimits, FsKind, Mount};
use dmapi::model::{Answer, DmError, EventSet, FsId, Handle, Region, Serial};
use dmapi::source::{Attach, Changed, EventSink, EventSource};

use super::model::FS;

/// The source.
pub struct Nowhere(Arc<Mount>);

impl Nowhere {
    /// Its root is a directory whose file system opens nothing by handle and changes no attribute.
    pub fn new() -> Self {
        let root = std::fs::File::open("/proc/self/task").expect("a directory of proc");
        let limits = AttrLimits {
            value_bytes_max: 1,
            total_bytes_max: 1,
        };
        Self(Arc::new(Mount {
            fs: FS,
            kind: FsKind::Xfs,
            device: 1,
            subvolume: 0,
            block_bytes: 4096,
            limits,
            root_object: (1, 1),
            root: root.into(),
            destroyed: Default::default(),
            known: None,
        }))
    }
}

impl EventSource for Nowhere {
    fn name(&self, _fs: FsId) -> &'static str {
        "nowhere"
    }
    fn events(&self, _fs: FsId) -> EventSet {
        EventSet(0)
    }
    fn attach(&self, _: Attach) -> Result<Arc<Mount>, DmError> {
        Err(DmError::NotSupported)
    }
    fn detach(&self, _: FsId) {}
    fn mount(&self, fs: FsId) -> Option<Arc<Mount>> {
        (fs == FS).then(|| Arc::clone(&self.0))
    }
    fn mounts(&self) -> Vec<Arc<Mount>> {
        vec![Arc::clone(&self.0)]
    }
    fn answer(&self, _: Serial, _: Answer) {}
    fn intend(&self, _: Serial, _: Answer) {}
    fn pending(&self, _: Serial) -> bool {
        false
    }
    fn set_regions(&self, _: Handle, _: &[Region], _: bool) -> Result<Changed, DmError> {
        Err(DmError::BadHandle)
    }
    fn set_event_list(&self, _: Handle, _: EventSet, _: bool) -> Result<(), DmError> {
        Err(DmError::BadHandle)
    }
    fn punch(
        &self,
        _: Handle,
        _: u64,
        _: u64,
        _: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        Err(DmError::BadHandle)
    }
    fn list_changed(&self, _: FsId) {}
    fn blocked(&self) -> Vec<(Serial, u32, u64)> {
        Vec::new()
    }
    fn start(self: Arc<Self>, _: Arc<dyn EventSink>) -> Result<(), DmError> {
        Ok(())
    }
    fn stop(&self) {}
}

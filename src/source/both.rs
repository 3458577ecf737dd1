//! The sources of a daemon as one: fanotify where it may watch, FUSE for what is mounted through it.
//!
//! A file system has one source, and so has a serial.

use std::sync::Arc;

use super::fuse::table;
use super::{Attach, Changed, EventSink, EventSource, View};
use crate::fs::Mount;
use crate::model::ids::Serial;
use crate::model::{Answer, DmError, EventSet, FsId, Handle, Region};

type Source = Arc<dyn EventSource>;

/// See the module. Without any source sessions and messages work, and file systems are refused.
#[derive(Default)]
pub struct Sources {
    fanotify: Option<Source>,
    fuse: Option<Source>,
}

impl Sources {
    /// What there is on this machine for this process.
    pub fn new(fanotify: Option<Source>, fuse: Option<Source>) -> Arc<Self> {
        Arc::new(Self { fanotify, fuse })
    }

    fn all(&self) -> impl Iterator<Item = &Source> {
        self.fanotify.iter().chain(&self.fuse)
    }

    /// The one that serves the file system.
    fn of(&self, fs: FsId) -> Option<&Source> {
        self.all().find(|source| source.mount(fs).is_some())
    }

    /// The one that made the serial.
    fn by(&self, serial: Serial) -> Option<&Source> {
        match table::is_ours(serial) {
            true => self.fuse.as_ref(),
            false => self.fanotify.as_ref(),
        }
    }

    fn of_handle(&self, handle: Handle) -> Result<&Source, DmError> {
        let source = handle.fs().and_then(|fs| self.of(fs));
        source.ok_or(DmError::BadHandle)
    }
}

impl EventSource for Sources {
    fn name(&self, fs: FsId) -> &'static str {
        self.of(fs).map_or("none", |source| source.name(fs))
    }

    fn events(&self, fs: FsId) -> EventSet {
        self.of(fs)
            .map_or(EventSet::default(), |source| source.events(fs))
    }

    fn attach(&self, attach: Attach) -> Result<Arc<Mount>, DmError> {
        let source = match attach.fuse {
            Some(_) => &self.fuse,
            None => &self.fanotify,
        };
        source.as_ref().ok_or(DmError::NotPermitted)?.attach(attach)
    }

    fn views(&self, fs: FsId) -> Vec<View> {
        self.of(fs).map_or(Vec::new(), |source| source.views(fs))
    }

    fn detach_view(&self, fs: FsId, device: u64) {
        if let Some(source) = self.of(fs) {
            source.detach_view(fs, device);
        }
    }

    fn touched(&self, handle: Handle, data: bool) {
        if let Ok(source) = self.of_handle(handle) {
            source.touched(handle, data);
        }
    }

    fn writing(&self, handle: Handle) {
        if let Ok(source) = self.of_handle(handle) {
            source.writing(handle);
        }
    }

    fn is_open(&self, handle: Handle) -> bool {
        let source = self.of_handle(handle);
        source.is_ok_and(|source| source.is_open(handle))
    }

    fn detach(&self, fs: FsId) {
        if let Some(source) = self.of(fs) {
            source.detach(fs);
        }
    }

    fn mount(&self, fs: FsId) -> Option<Arc<Mount>> {
        self.all().find_map(|source| source.mount(fs))
    }

    fn mounts(&self) -> Vec<Arc<Mount>> {
        self.all().flat_map(|source| source.mounts()).collect()
    }

    fn answer(&self, serial: Serial, answer: Answer) {
        if let Some(source) = self.by(serial) {
            source.answer(serial, answer);
        }
    }

    fn intend(&self, serial: Serial, answer: Answer) {
        if let Some(source) = self.by(serial) {
            source.intend(serial, answer);
        }
    }

    fn pending(&self, serial: Serial) -> bool {
        self.by(serial).is_some_and(|source| source.pending(serial))
    }

    fn set_regions(
        &self,
        handle: Handle,
        regions: &[Region],
        sync: bool,
    ) -> Result<Changed, DmError> {
        self.of_handle(handle)?.set_regions(handle, regions, sync)
    }

    fn set_event_list(&self, handle: Handle, events: EventSet, sync: bool) -> Result<(), DmError> {
        self.of_handle(handle)?.set_event_list(handle, events, sync)
    }

    fn punch(
        &self,
        handle: Handle,
        offset: u64,
        length: u64,
        decided: &dyn Fn() -> Result<(), DmError>,
    ) -> Result<(), DmError> {
        self.of_handle(handle)?
            .punch(handle, offset, length, decided)
    }

    fn list_changed(&self, fs: FsId) {
        if let Some(source) = self.of(fs) {
            source.list_changed(fs);
        }
    }

    fn blocked(&self) -> Vec<(Serial, u32, u64)> {
        self.all().flat_map(|source| source.blocked()).collect()
    }

    fn start(self: Arc<Self>, sink: Arc<dyn EventSink>) -> Result<(), DmError> {
        for source in self.all() {
            Arc::clone(source).start(Arc::clone(&sink))?;
        }
        Ok(())
    }

    fn stop(&self) {
        for source in self.all() {
            source.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Mutex;

    use super::*;
    use crate::fs::{AttrLimits, FsKind};
    use crate::model::FuseOptions;
    use crate::source::FuseAttach;

    const FUSE_SERIALS: u64 = 1 << 62;

    /// Serves one file system and notes what it is told.
    struct One {
        name: &'static str,
        mount: Arc<Mount>,
        told: Mutex<Vec<String>>,
    }

    impl One {
        fn new(name: &'static str, fs: FsId) -> Arc<Self> {
            let mount = Mount {
                fs,
                kind: FsKind::Xfs,
                device: 1,
                subvolume: 0,
                block_bytes: 4096,
                limits: AttrLimits {
                    value_bytes_max: 1,
                    total_bytes_max: 1,
                },
                root_object: (1, 1),
                root: File::open("/").expect("the root").into(),
                destroyed: Default::default(),
                known: None,
            };
            Arc::new(Self {
                name,
                mount: Arc::new(mount),
                told: Mutex::default(),
            })
        }

        fn note(&self, what: String) {
            self.told.lock().expect("not poisoned").push(what);
        }

        fn told(&self) -> Vec<String> {
            std::mem::take(&mut self.told.lock().expect("not poisoned"))
        }
    }

    impl EventSource for One {
        fn name(&self, _fs: FsId) -> &'static str {
            self.name
        }
        fn events(&self, _fs: FsId) -> EventSet {
            EventSet(1)
        }
        fn attach(&self, _attach: Attach) -> Result<Arc<Mount>, DmError> {
            Ok(Arc::clone(&self.mount))
        }
        fn touched(&self, _handle: Handle, data: bool) {
            self.note(format!("touched {data}"));
        }
        fn detach(&self, fs: FsId) {
            self.note(format!("detach {}", fs.0));
        }
        fn mount(&self, fs: FsId) -> Option<Arc<Mount>> {
            (fs == self.mount.fs).then(|| Arc::clone(&self.mount))
        }
        fn mounts(&self) -> Vec<Arc<Mount>> {
            vec![Arc::clone(&self.mount)]
        }
        fn answer(&self, serial: Serial, _answer: Answer) {
            self.note(format!("answer {:x}", serial.0));
        }
        fn intend(&self, serial: Serial, _answer: Answer) {
            self.note(format!("intend {:x}", serial.0));
        }
        fn pending(&self, serial: Serial) -> bool {
            self.note(format!("pending {:x}", serial.0));
            true
        }
        fn set_regions(
            &self,
            _handle: Handle,
            _regions: &[Region],
            _sync: bool,
        ) -> Result<Changed, DmError> {
            Ok(Changed { exact: true })
        }
        fn set_event_list(
            &self,
            _handle: Handle,
            _events: EventSet,
            _sync: bool,
        ) -> Result<(), DmError> {
            Ok(())
        }
        fn punch(
            &self,
            _handle: Handle,
            _offset: u64,
            _length: u64,
            decided: &dyn Fn() -> Result<(), DmError>,
        ) -> Result<(), DmError> {
            decided()
        }
        fn list_changed(&self, fs: FsId) {
            self.note(format!("list {}", fs.0));
        }
        fn blocked(&self) -> Vec<(Serial, u32, u64)> {
            vec![(Serial(self.mount.fs.0), 0, 0)]
        }
        fn start(self: Arc<Self>, _sink: Arc<dyn EventSink>) -> Result<(), DmError> {
            Ok(())
        }
        fn stop(&self) {}
    }

    fn object(fs: u64) -> Handle {
        Handle::Object {
            fs: FsId(fs),
            inode: 1,
            generation: 1,
        }
    }

    #[test]
    fn each_file_system_and_each_serial_has_its_source() {
        let (fanotify, fuse) = (One::new("fanotify", FsId(1)), One::new("fuse", FsId(2)));
        let both = Sources::new(Some(fanotify.clone()), Some(fuse.clone()));
        assert_eq!(both.name(FsId(1)), "fanotify");
        assert_eq!(both.name(FsId(2)), "fuse");
        assert_eq!(both.name(FsId(3)), "none");
        assert_eq!(both.user_device(FsId(3)), None);
        assert_eq!(both.mounts().len(), 2);
        assert_eq!(both.blocked().len(), 2);
        both.answer(Serial(5), Answer::Continue);
        both.intend(Serial(5 | FUSE_SERIALS), Answer::Continue);
        assert!(both.pending(Serial(6 | FUSE_SERIALS)));
        both.touched(object(2), true);
        both.list_changed(FsId(1));
        both.detach(FsId(3));
        assert_eq!(fanotify.told(), ["answer 5", "list 1"]);
        let expected = [
            "intend 4000000000000005",
            "pending 4000000000000006",
            "touched true",
        ];
        assert_eq!(fuse.told(), expected);
        assert_eq!(
            both.set_regions(object(3), &[], false),
            Err(DmError::BadHandle)
        );
        assert!(both.set_regions(object(1), &[], false).is_ok());
    }

    #[test]
    fn a_mount_goes_to_the_source_that_it_names() {
        let fuse = One::new("fuse", FsId(2));
        let only = Sources::new(None, Some(fuse));
        let dir = || File::open("/").expect("the root").into();
        let plain = Attach::from(dir());
        assert_eq!(only.attach(plain).err(), Some(DmError::NotPermitted));
        let through = Attach {
            dir: dir(),
            fuse: Some(FuseAttach {
                channel: dir(),
                device: 7,
                options: FuseOptions::default(),
            }),
        };
        assert_eq!(only.attach(through).map(|mount| mount.fs), Ok(FsId(2)));
        assert!(Sources::default().mounts().is_empty());
    }
}

//! What the tests of both sources do with their rig, which has `source`, `sink`, `mount`, `arena`, `point` and `fs`.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dmapi::fs::{self, Mount, invisible};
use dmapi::model::{Answer, DmError, EventSet, EventType, Handle, OpenFor, Region};
use dmapi::source::{EventSink, EventSource};
use nix::libc;

use super::common::KINDS;
use super::rig::Rig;
use super::sink::{Seen, alone, eventually};
use super::user::{Done, User, patterns};

/// READ, WRITE and TRUNCATE.
pub const ALL: u32 = 7;

pub fn region(offset: u64, size: u64, flags: u32) -> Region {
    Region {
        offset,
        size,
        flags,
        opaque: 0,
    }
}

/// What a DM application does when it recalls a file: the data come back, the regions go.
pub fn recall(source: &dyn EventSource, mount: &Mount, file: Handle) {
    let fd = mount.open(file, OpenFor::Write).expect("the file opens");
    let size = fs::stat::stat(fd.as_fd()).expect("stat").size;
    let written = invisible::write_at(fd.as_fd(), mount.kind, 0, &patterns(0, size as usize), true);
    assert_eq!(written.expect("it is written"), size as usize);
    fs::handle::sync(mount, fd.as_fd()).expect("it is synced");
    source.set_regions(file, &[], true).expect("regions go");
}

/// Files.
impl Rig {
    /// A file as users see it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.join(name)
    }

    /// A path that makes no events.
    pub fn private(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.mount.root.as_raw_fd()).into()
    }

    /// The handle of what has that name.
    pub fn handle(&self, name: &str) -> Handle {
        let mut options = std::fs::OpenOptions::new();
        options.read(true);
        options.custom_flags(libc::O_PATH | libc::O_NOFOLLOW);
        let fd = options.open(self.private(name)).expect("it is there");
        self.mount.handle_of(fd.as_fd()).expect("its handle")
    }

    /// A file with the pattern, made without events and before users looked for the name.
    pub fn file(&self, name: &str, bytes: usize) -> Handle {
        let path = self.private(name);
        std::fs::write(&path, patterns(0, bytes)).expect("a file");
        let file = std::fs::File::open(&path).expect("the file");
        nix::unistd::fsync(file.as_fd()).expect("fsync");
        self.mount.handle_of(file.as_fd()).expect("its handle")
    }

    /// A file whose blocks are gone and all of which is guarded.
    pub fn stub(&self, name: &str, bytes: usize) -> Handle {
        let file = self.file(name, bytes);
        self.guard(file, &[region(0, 0, ALL)]);
        self.punch(file).expect("it is punched");
        file
    }

    /// What is on the disk of it.
    pub fn size(&self, name: &str) -> u64 {
        std::fs::metadata(self.private(name)).expect("stat").len()
    }
}

/// The application's part.
impl Rig {
    /// The events that the file system lists from now on.
    pub fn list(&self, events: &[EventType]) {
        self.sink.set_list(events);
        self.source.list_changed(self.mount.fs);
    }

    /// The events that an object lists.
    pub fn list_of(&self, object: Handle, events: &[EventType]) {
        self.source
            .set_event_list(object, EventSet::of(events), false)
            .expect("a list is set");
    }

    pub fn guard(&self, file: Handle, regions: &[Region]) {
        self.source
            .set_regions(file, regions, true)
            .expect("regions are set");
    }

    pub fn punch(&self, file: Handle) -> Result<(), DmError> {
        self.source.punch(file, 0, 0, &|| Ok(()))
    }

    pub fn recall(&self, file: Handle) {
        recall(self.source.as_ref(), &self.mount, file);
    }

    /// The next event, which must be of that kind and range, is recalled and answered.
    #[track_caller]
    pub fn serve(&self, kind: EventType, range: (u64, u64)) {
        let event = self.sink.next();
        assert_eq!((event.kind, event.range()), (kind, range));
        self.recall(event.file());
        self.answer(&event, Answer::Continue);
    }

    #[track_caller]
    pub fn answer(&self, event: &Seen, answer: Answer) {
        let serial = event.serial.expect("somebody waits");
        self.source.intend(serial, answer);
        self.sink.forget(serial);
        self.source.answer(serial, answer);
    }

    /// The next event, which must be of that kind; a synchronous one is answered with CONTINUE.
    #[track_caller]
    pub fn pass(&self, kind: EventType) -> Seen {
        let event = self.sink.next();
        assert_eq!(event.kind, kind, "{event:?}");
        if event.serial.is_some() {
            self.answer(&event, Answer::Continue);
        }
        event
    }

    /// Nobody waits in the source, and no event is left.
    #[track_caller]
    pub fn is_quiet(&self) {
        eventually("nobody waits", || self.is_idle());
        self.sink.is_empty();
    }
}

/// Users, one step at a time.
impl Rig {
    /// Tells, serves the one event that must come, and gives the result.
    #[track_caller]
    pub fn served(&self, user: &mut User, line: &str, kind: EventType, range: (u64, u64)) -> Done {
        user.tell(line);
        self.serve(kind, range);
        let done = user.result();
        self.is_quiet();
        done
    }

    /// Tells, and lets the one event that must come pass with the regions in place.
    #[track_caller]
    pub fn passed(&self, user: &mut User, line: &str, kind: EventType, range: (u64, u64)) -> Done {
        user.tell(line);
        let event = self.sink.next();
        assert_eq!((event.kind, event.range()), (kind, range), "{line}");
        assert_eq!(event.pid, user.pid());
        assert!(user.done().is_none(), "{line}: it waits");
        self.answer(&event, Answer::Continue);
        let done = user.result();
        self.is_quiet();
        done
    }
}

/// Workers.
impl Rig {
    pub fn start(&self) {
        Arc::clone(&self.source)
            .start(Arc::clone(&self.sink) as Arc<dyn EventSink>)
            .expect("it starts");
    }

    /// The worker dies, and the next one is there and has not started: nothing of the old one is closed.
    pub fn exchange_worker(&mut self) {
        self.source.stop();
        std::mem::forget(Arc::clone(&self.source));
        std::mem::forget(Arc::clone(&self.mount));
        let next = Self::source_on(&self.arena);
        assert_eq!(next.mounts().len(), 1);
        self.mount = next.mounts().remove(0);
        self.source = next;
    }

    /// The worker dies and the next one starts.
    pub fn next_worker(&mut self) {
        self.exchange_worker();
        self.start();
    }
}

/// These kinds of file systems, one after another.
pub fn on_kinds(kinds: &[&'static str], seconds: u64, test: impl Fn(Rig)) {
    let Some(_alone) = alone(seconds) else {
        return;
    };
    for kind in kinds {
        eprintln!("on {kind}");
        test(Rig::new(kind));
    }
}

/// Each kind of file system.
pub fn on_each_kind(seconds: u64, test: impl Fn(Rig)) {
    on_kinds(&KINDS, seconds, test);
}

/// One kind is enough.
pub fn on_xfs(seconds: u64, test: impl Fn(Rig)) {
    on_kinds(&["xfs"], seconds, test);
}

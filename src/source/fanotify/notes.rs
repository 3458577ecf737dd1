//! Events after the fact: names, attributes, closes, the end of objects.
//!
//! Notifications are asked for only as far as somebody wants them: the file system's list, or the lists of
//! objects. Which events any object ever listed is kept with the root directory, as nobody can look at
//! all objects; the lists themselves are read from the objects when something happens to them.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::notify::{self, Entry, KernelObject, Note};
use super::{Fanotify, Scope, Served, lock};
use crate::fs::state;
use crate::model::event::{EventBody, EventSet, EventType, NamespaceBody};
use crate::model::handle::Handle;
use crate::model::{DmError, OpenFor};
use crate::sys::fanotify::{
    self, FAN_ATTRIB, FAN_CLOSE_NOWRITE, FAN_CLOSE_WRITE, FAN_CREATE, FAN_DELETE, FAN_DELETE_SELF,
    FAN_ONDIR, FAN_RENAME,
};
use crate::sys::xattr;

/// On the root directory: eight bytes, little endian, the union of all object lists ever set.
const OBJECT_LISTS: &std::ffi::CStr = c"trusted.dmapi.lists";

/// The notifications that tell of these events.
fn notes_for(events: EventSet) -> u64 {
    use EventType::{
        Attribute, Close, Destroy, PostCreate, PostLink, PostRemove, PostRename, PostSymlink,
    };
    let mut mask = 0;
    for event in events.iter() {
        mask |= match event {
            // A link is told from a new object by the change of its link count.
            PostCreate | PostSymlink | PostLink => FAN_CREATE | FAN_ATTRIB,
            PostRemove => FAN_DELETE,
            PostRename => FAN_RENAME,
            Attribute => FAN_ATTRIB,
            Close => FAN_CLOSE_WRITE | FAN_CLOSE_NOWRITE,
            Destroy => FAN_DELETE_SELF,
            _ => 0,
        };
    }
    if mask == 0 { 0 } else { mask | FAN_ONDIR }
}

/// What a note's object is.
struct Looked {
    mode: u32,
    links: u64,
    list: EventSet,
}

impl Fanotify {
    pub(super) fn take_object_lists(&self, served: &Served) {
        let lists = xattr::get(served.mount.root.as_fd(), OBJECT_LISTS)
            .ok()
            .flatten()
            .and_then(|value| value.try_into().ok())
            .map_or(0, u64::from_le_bytes);
        served.object_lists.store(lists, Ordering::Release);
        if let Err(error) = self.watch_notes(served) {
            tracing::error!(%error, fs = ?served.mount.fs, "events of objects' lists will be missed");
        }
    }

    /// An object's list has these events from now on: watched before it is written.
    pub(super) fn add_object_list(&self, served: &Served, events: EventSet) -> Result<(), DmError> {
        let before = served.object_lists.load(Ordering::Acquire);
        if before | events.0 == before {
            return Ok(());
        }
        let lists = served.object_lists.fetch_or(events.0, Ordering::AcqRel) | events.0;
        xattr::set(
            served.mount.root.as_fd(),
            OBJECT_LISTS,
            &lists.to_le_bytes(),
        )?;
        self.watch_notes(served)
    }

    /// Asks for what the lists need, and no more.
    pub(super) fn watch_notes(&self, served: &Served) -> Result<(), DmError> {
        if !served.has_notes {
            return Ok(());
        }
        let mut watched = lock(&served.watched);
        let events =
            served.list.load(Ordering::Acquire) | served.object_lists.load(Ordering::Acquire);
        let new_objects = match served.inherits.load(Ordering::Acquire) {
            true => EventType::PostCreate.bit() | EventType::PostSymlink.bit(),
            false => 0,
        };
        let wanted = notes_for(EventSet(events | new_objects));
        let root = served.mount.root.as_fd();
        if wanted & !*watched != 0 {
            fanotify::watch_filesystem(self.notifications.as_fd(), root, wanted)?;
        }
        if *watched & !wanted != 0 {
            let gone = *watched & !wanted;
            fanotify::unwatch_filesystem(self.notifications.as_fd(), root, gone)?;
        }
        *watched = wanted;
        Ok(())
    }

    pub(super) fn unwatch_notes(&self, served: &Served) {
        let mut watched = lock(&served.watched);
        if *watched != 0 {
            let root = served.mount.root.as_fd();
            // The mark goes with the file system at the latest.
            let _ = fanotify::unwatch_filesystem(self.notifications.as_fd(), root, *watched);
        }
        *watched = 0;
    }

    /// Reads and passes on what has come.
    pub(super) fn read_notes(&self) {
        match self.arena.fill_notes(self.notifications.as_fd()) {
            Ok(_) => self.pass_on_notes(),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => {
                tracing::error!(%error, "reading notifications failed");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }

    /// Passes on the notifications in the arena, also those that a dead worker had read: each once, but
    /// for the one that it was at.
    pub(super) fn pass_on_notes(&self) {
        let (bytes, done) = self.arena.notes();
        let mut linked: Option<KernelObject> = None;
        for note in notify::parse(&bytes).into_iter().skip(done) {
            self.pass_on(&note, linked.as_ref());
            linked = note.is_link_count().then_some(note.child).flatten();
            self.arena.note_done();
        }
        self.arena.empty_notes();
    }

    fn pass_on(&self, note: &Note, linked: Option<&KernelObject>) {
        if note.is_overflow() {
            tracing::warn!("notifications were lost");
            return;
        }
        // Other nodes' users on the same kernel: their own node tells of them.
        let foreign = note.pid == 0 && self.config.scope == Scope::Mount;
        // Of what we do ourselves only this matters: that we were the last to let an object go.
        let own = self.arena.is_worker(note.pid);
        if foreign || own && note.mask & FAN_DELETE_SELF == 0 {
            return;
        }
        let object = note
            .child
            .as_ref()
            .or(note.entry.as_ref().map(|entry| &entry.parent));
        let Some(fsid) = object.map(|object| object.fsid) else {
            return;
        };
        let Some(served) = self.find_served(|served| served.kernel_fsid == fsid) else {
            return;
        };
        Passing {
            source: self,
            served,
            note,
            own,
        }
        .run(linked.is_some() && linked == note.child.as_ref());
    }
}

/// One note on its way.
struct Passing<'a> {
    source: &'a Fanotify,
    served: Arc<Served>,
    note: &'a Note,
    /// This process, or a worker before, did it.
    own: bool,
}

impl Passing<'_> {
    fn run(&self, linked: bool) {
        let has = |bit: u64| self.note.mask & bit != 0;
        if self.own {
            return self.destroyed();
        }
        // In the order in which merged ones can have come.
        if has(FAN_CREATE) {
            self.created(linked);
        }
        if has(FAN_RENAME) {
            self.renamed();
        }
        if has(FAN_ATTRIB) && !self.note.is_link_count() {
            self.about_object(EventType::Attribute);
        }
        if has(FAN_CLOSE_WRITE | FAN_CLOSE_NOWRITE) {
            self.about_object(EventType::Close);
        }
        if has(FAN_DELETE) {
            self.removed();
        }
        if has(FAN_DELETE_SELF) {
            self.destroyed();
        }
    }

    fn handle(&self, object: &KernelObject) -> Option<Handle> {
        self.served
            .mount
            .handle_from_kernel(object.kind, &object.bytes)
            .inspect_err(
                |error| tracing::debug!(%error, ?object, "a notification of no object here"),
            )
            .ok()
    }

    fn child(&self) -> Option<Handle> {
        self.note
            .child
            .as_ref()
            .and_then(|child| self.handle(child))
    }

    /// `None`: it is gone.
    fn look(&self, handle: Handle) -> Option<Looked> {
        let fd = self.served.mount.open(handle, OpenFor::Look).ok()?;
        let stat = nix::sys::stat::fstat(fd.as_fd()).ok()?;
        let list = if self.objects_may_list() {
            state::read(fd.as_fd()).map_or(EventSet(0), |state| state.events)
        } else {
            EventSet(0)
        };
        Some(Looked {
            mode: stat.st_mode,
            links: stat.st_nlink,
            list,
        })
    }

    fn objects_may_list(&self) -> bool {
        self.served.object_lists.load(Ordering::Acquire) != 0
    }

    fn fs_lists(&self, kind: EventType) -> bool {
        self.served.fs_list().has(kind)
    }

    /// Is it on the file system's list or on that of one of the objects?
    fn is_listed(&self, kind: EventType, objects: &[Handle]) -> bool {
        let any = EventSet(self.served.object_lists.load(Ordering::Acquire));
        self.fs_lists(kind)
            || any.has(kind)
                && objects
                    .iter()
                    .any(|handle| self.look(*handle).is_some_and(|found| found.list.has(kind)))
    }

    fn queue(&self, kind: EventType, body: NamespaceBody) {
        if let Some(sink) = self.source.sink() {
            let fs = self.served.mount.fs;
            sink.queue(fs, kind, EventBody::Namespace(body), None, self.note.pid);
        }
    }

    fn mode_of(&self, found: Option<&Looked>) -> u32 {
        match found {
            Some(found) => found.mode,
            None if self.note.mask & FAN_ONDIR != 0 => libc::S_IFDIR,
            None => 0,
        }
    }

    fn created(&self, linked: bool) {
        let (Some(entry), Some(child)) = (&self.note.entry, self.child()) else {
            return;
        };
        let Some(parent) = self.handle(&entry.parent) else {
            return;
        };
        let found = self.look(child);
        let mode = self.mode_of(found.as_ref());
        let is_dir = mode & libc::S_IFMT == libc::S_IFDIR;
        let links = found.map_or(1, |found| found.links);
        let kind = if mode & libc::S_IFMT == libc::S_IFLNK && !linked {
            EventType::PostSymlink
        } else if !is_dir && (linked || links > 1) {
            EventType::PostLink
        } else {
            EventType::PostCreate
        };
        if kind != EventType::PostLink
            && self.served.inherits.load(Ordering::Acquire)
            && let Some(sink) = self.source.sink()
        {
            sink.created(parent, child, mode);
        }
        if !self.is_listed(kind, &[parent]) {
            return;
        }
        let contents = match kind {
            EventType::PostSymlink => self.link_contents(child),
            _ => Vec::new(),
        };
        self.queue(
            kind,
            NamespaceBody {
                mode: if kind == EventType::PostLink { 0 } else { mode },
                handle1: Some(parent),
                handle2: Some(child),
                name1: entry.name.clone(),
                name2: contents,
                retcode: 0,
            },
        );
    }

    fn link_contents(&self, link: Handle) -> Vec<u8> {
        use std::os::unix::ffi::OsStringExt;
        let fd = self.served.mount.open(link, OpenFor::Look);
        fd.ok()
            .and_then(|fd| nix::fcntl::readlinkat(fd, c"").ok())
            .map_or_else(Vec::new, OsStringExt::into_vec)
    }

    fn renamed(&self) {
        let (Some(old), Some(new)) = (&self.note.entry, &self.note.new_entry) else {
            return;
        };
        let (Some(from), Some(to)) = (self.handle(&old.parent), self.handle(&new.parent)) else {
            return;
        };
        if self.is_listed(EventType::PostRename, &[from, to]) {
            self.queue(
                EventType::PostRename,
                NamespaceBody {
                    mode: 0,
                    handle1: Some(from),
                    handle2: Some(to),
                    name1: old.name.clone(),
                    name2: new.name.clone(),
                    retcode: 0,
                },
            );
        }
    }

    fn removed(&self) {
        let Some(Entry { parent, name }) = &self.note.entry else {
            return;
        };
        let Some(parent) = self.handle(parent) else {
            return;
        };
        if self.is_listed(EventType::PostRemove, &[parent]) {
            let found = self.child().and_then(|child| self.look(child));
            self.queue(
                EventType::PostRemove,
                NamespaceBody {
                    mode: self.mode_of(found.as_ref()),
                    name1: name.clone(),
                    ..NamespaceBody::about(parent)
                },
            );
        }
    }

    fn about_object(&self, kind: EventType) {
        // The root directory's own events name it as parent, under ".".
        let own = self.note.entry.as_ref().filter(|entry| entry.name == b".");
        let object = self
            .child()
            .or_else(|| own.and_then(|entry| self.handle(&entry.parent)));
        let Some(object) = object else {
            return;
        };
        if self.is_listed(kind, &[object]) {
            self.queue(kind, NamespaceBody::about(object));
        }
    }

    fn destroyed(&self) {
        let own = self.note.entry.as_ref().filter(|entry| entry.name == b".");
        let object = self
            .child()
            .or_else(|| own.and_then(|entry| self.handle(&entry.parent)));
        let (Some(object), Some(sink)) = (object, self.source.sink()) else {
            return;
        };
        let may_be_over = lock(&self.source.ends).may_be_over(object, self.own);
        if !may_be_over || self.look(object).is_some() {
            return; // Its last close will tell again.
        }
        lock(&self.source.ends).is_over(object);
        let listed = lock(&self.source.doomed).remove(&object);
        sink.destroyed(object, listed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_is_asked_for() {
        let of = |events: &[EventType]| notes_for(EventSet::of(events));
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[EventType::Read, EventType::Mount]), 0);
        assert_eq!(of(&[EventType::PostRemove]), FAN_DELETE | FAN_ONDIR);
        assert_eq!(
            of(&[EventType::PostLink, EventType::Destroy]),
            FAN_CREATE | FAN_ATTRIB | FAN_DELETE_SELF | FAN_ONDIR
        );
    }
}

//! Making objects: files, directories, special files, symbolic links, and files without a name.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::symlinkat;

use super::connection::Connection;
use super::names::{Found, child};
use super::node::Node;
use super::open::opened;
use super::post::{Named, body};
use super::serve::{Served, Stop, Task};
use super::table::OpenFile;
use super::wire::{Entry, Opened, reply};
use crate::fs::ObjectState;
use crate::model::{EventType, NamespaceBody};
use crate::sys::fuse::{Caller, set_thread_umask};

/// An object that is to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct New<'a> {
    /// Its name.
    pub name: &'a CStr,
    /// Kind and permissions, as `st_mode`; what the user asked for.
    pub mode: u32,
    /// Of the user. A directory with default ACLs does not heed it.
    pub umask: u32,
    /// Device number of a device, as `st_rdev`.
    pub device: u64,
    /// What a symbolic link holds.
    pub target: Option<&'a CStr>,
}

impl New<'_> {
    fn events(&self) -> (EventType, EventType) {
        match self.target {
            Some(_) => (EventType::Symlink, EventType::PostSymlink),
            None => (EventType::Create, EventType::PostCreate),
        }
    }

    /// As both events say it, as far as it is known before.
    fn body(&self, parent: &Node) -> NamespaceBody {
        let known = body(parent, self.name);
        match self.target {
            Some(target) => NamespaceBody {
                name2: target.to_bytes().to_vec(),
                ..known
            },
            None => NamespaceBody {
                mode: self.mode & !self.umask,
                ..known
            },
        }
    }

    /// Makes it as the caller, who is in place.
    fn make(&self, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        let bits = Mode::from_bits_truncate(self.mode & 0o7777);
        if let Some(target) = self.target {
            return symlinkat(target, dir, self.name);
        }
        match SFlag::from_bits_truncate(self.mode & libc::S_IFMT) {
            SFlag::S_IFDIR => mkdirat(dir, self.name, bits),
            kind => mknodat(dir, self.name, kind, bits, self.device),
        }
    }
}

impl Connection {
    /// Makes an object with a name, with its events: CREATE or SYMLINK first, as soon as the name is known to be
    /// free. The file of a CREATE request is made by this, too, and then opened.
    pub(super) fn make_object(
        &self,
        task: &mut Task<'_>,
        parent: &Node,
        new: &New<'_>,
    ) -> Result<Found, Stop> {
        let (before, after) = new.events();
        let dir = self.look(parent)?;
        let there = child(dir.as_fd(), new.name)?;
        if there.is_some() && task.is_first(before) {
            return Err(Stop::Errno(libc::EEXIST));
        }
        let named = Named {
            before,
            after,
            dirs: &[parent],
            body: new.body(parent),
            note: 0,
        };
        self.named(task, named, |task, body| {
            let fd = match there {
                // Nobody else can have made it since: the kernel lets only one request change a directory.
                Some(fd) if task.is_again() => fd,
                _ => {
                    self.make_as_caller(task, dir.as_fd(), new)?;
                    child(dir.as_fd(), new.name)?.ok_or(Stop::Errno(libc::ESTALE))?
                }
            };
            let found = self.meet_named(parent, new.name, fd)?;
            self.is_new(&found, parent);
            body.handle2 = Some(found.node.handle);
            if new.target.is_none() {
                body.mode = found.stat.mode;
            }
            Ok(found)
        })
    }

    fn make_as_caller(
        &self,
        task: &Task<'_>,
        dir: BorrowedFd<'_>,
        new: &New<'_>,
    ) -> Result<(), Stop> {
        let _caller = Caller::enter_to_create(task.request.uid, task.request.gid)?;
        set_thread_umask(new.umask)?;
        Ok(new.make(dir)?)
    }

    /// Nobody has seen it yet: it inherits attributes, and was no stranger to its maker.
    fn is_new(&self, found: &Found, parent: &Node) {
        {
            let mut inner = found.node.lock();
            inner.is_known = true;
            // Nobody had the time to give it one.
            let none = inner.state.take();
            inner.state = none.or_else(|| Some(Node::shared(ObjectState::default())));
        }
        if self.inherits() {
            self.sink()
                .created(parent.handle, found.node.handle, found.stat.mode);
            self.forget_state(&found.node);
        }
    }

    /// MKNOD, MKDIR and SYMLINK.
    pub(super) fn make(&self, task: &mut Task<'_>, new: &New<'_>) -> Served {
        let parent = self.node(task.request.node)?;
        let found = self.make_object(task, &parent, new)?;
        Ok(reply::entry(&self.entry(&found)?))
    }

    /// CREATE: makes a file and opens it.
    pub(super) fn create(&self, task: &mut Task<'_>, new: &New<'_>, flags: u32) -> Served {
        let parent = self.node(task.request.node)?;
        let found = match self.there(task, &parent, new.name, flags)? {
            Some(found) => found,
            None => self.make_object(task, &parent, new)?,
        };
        self.open_made(task, &found, flags)
    }

    /// The file of a CREATE that was made before: by this request, or, where that does not matter, behind the
    /// kernel's back.
    fn there(
        &self,
        task: &Task<'_>,
        parent: &Node,
        name: &CStr,
        flags: u32,
    ) -> Result<Option<Found>, Stop> {
        let is_open = task.request.resent && self.open_again(task).is_some();
        let may_be = flags & libc::O_EXCL as u32 == 0 && task.is_first(EventType::Create);
        if !is_open && !may_be {
            return Ok(None);
        }
        match child(self.look(parent)?.as_fd(), name)? {
            Some(fd) => Ok(Some(self.meet_named(parent, name, fd)?)),
            None => Ok(None),
        }
    }

    /// The open file of a request that comes again.
    fn open_again(&self, task: &Task<'_>) -> Option<OpenFile> {
        self.table.file_of_request(task.request.unique)
    }

    /// The second half of CREATE and TMPFILE.
    fn open_made(&self, task: &Task<'_>, found: &Found, flags: u32) -> Served {
        let entry = self.entry(found)?;
        let answer = |opened: &Opened| {
            // As for all that is open past us.
            let attr_valid = match opened.backing {
                Some(_) => Duration::ZERO,
                None => entry.attr_valid,
            };
            reply::created(
                &Entry {
                    attr_valid,
                    ..entry
                },
                opened,
            )
        };
        if task.request.resent
            && let Some(file) = self.open_again(task)
        {
            return Ok(answer(&opened(&found.node.lock(), &file)));
        }
        self.open_node(task, &found.node, flags, &answer)
    }

    /// TMPFILE: a file without a name, which can get one unless it was opened with O_EXCL.
    pub(super) fn tmpfile(&self, task: &mut Task<'_>, flags: u32, mode: u32, umask: u32) -> Served {
        let parent = self.node(task.request.node)?;
        if task.request.resent
            && let Some(file) = self.open_again(task)
        {
            let fd = self.look(&*self.node(file.node)?)?;
            return self.open_made(task, &self.meet(fd.into_owned()?)?, flags);
        }
        let is_bound = flags & libc::O_EXCL as u32 != 0;
        let found = self.make_unnamed(task, &parent, (mode, umask), is_bound)?;
        let done = self.open_made(task, &found, flags);
        if found.node.lock().opens == 0 {
            // The kernel never heard of it.
            self.forgotten(&found.node);
            let id = found.node.id;
            drop(found);
            self.nodes.forget(id);
        }
        done
    }

    fn make_unnamed(
        &self,
        task: &Task<'_>,
        parent: &Node,
        (mode, umask): (u32, u32),
        is_bound: bool,
    ) -> Result<Found, Stop> {
        let dir = self.look(parent)?;
        let mut flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        flags.set(OFlag::O_EXCL, is_bound);
        let file = {
            let _caller = Caller::enter_to_create(task.request.uid, task.request.gid)?;
            set_thread_umask(umask)?;
            openat(&dir, c".", flags, Mode::from_bits_truncate(mode & 0o7777))?
        };
        let found = self.meet(object_of(file.as_fd())?)?;
        self.is_new(&found, parent);
        self.doom(&found);
        self.has_lost_name(&found)?;
        Ok(found)
    }
}

/// The object behind a descriptor, O_PATH.
fn object_of(fd: BorrowedFd<'_>) -> Result<OwnedFd, Stop> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path.as_str(), flags, Mode::empty())?)
}

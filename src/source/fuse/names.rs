//! Names: finding, linking and removing them.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::attrs::attr_of;
use super::connection::Connection;
use super::look::Looked;
use super::node::Node;
use super::post::{Named, body};
use super::serve::{Served, Stop, Task};
use super::wire::reply::{self, Entry};
use crate::fs::FileAttr;
use crate::fs::handle::kind_of_mode;
use crate::fs::stat::stat;
use crate::model::{EventBody, EventType, NamespaceBody};
use crate::sys::fuse::Caller;

/// An object that was just found or made.
pub(super) struct Found {
    pub node: Arc<Node>,
    pub stat: FileAttr,
    /// O_PATH.
    pub fd: OwnedFd,
}

/// What has that name in a directory, O_PATH; `None`: nothing.
pub(super) fn child(dir: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, Stop> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

impl Connection {
    /// The node of an open object.
    pub(super) fn meet(&self, fd: OwnedFd) -> Result<Found, Stop> {
        let stat = stat(fd.as_fd())?;
        let handle = self.mount.handle_with(fd.as_fd(), (stat.dev, stat.ino))?;
        let kind = kind_of_mode(stat.mode);
        let node = self.nodes.meet(self.id_of(handle), handle, kind);
        Ok(Found { node, stat, fd })
    }

    /// The same for what has a name in a directory.
    pub(super) fn meet_named(
        &self,
        parent: &Node,
        name: &CStr,
        fd: OwnedFd,
    ) -> Result<Found, Stop> {
        let found = self.meet(fd)?;
        self.mount
            .saw_name(parent.handle, name.to_bytes(), found.node.handle);
        Ok(found)
    }

    /// What the kernel is told of an object with a name.
    pub(super) fn entry(&self, found: &Found) -> Result<Entry, Stop> {
        let node = &found.node;
        let state = self.state_by(node, found.fd.as_fd())?;
        Ok(Entry {
            node: node.id,
            generation: u64::from(node.generation()),
            entry_valid: self.entry_valid(),
            attr_valid: self.attr_valid(node),
            attr: attr_of(&found.stat, &state),
        })
    }

    pub(super) fn lookup(&self, task: &mut Task<'_>, name: &CStr) -> Served {
        let parent = self.node(task.request.node)?;
        let dir = self.look(&parent)?;
        let fd = match name.to_bytes() {
            // The kernel knows an object by its number only (a file handle was opened).
            b"." => dir.into_owned()?,
            b".." => child(dir.as_fd(), c"..")?.ok_or(Stop::Errno(libc::ESTALE))?,
            _ => match child(dir.as_fd(), name)? {
                Some(fd) => {
                    let found = self.meet_named(&parent, name, fd)?;
                    self.debut(task, &found.node)?;
                    return Ok(reply::entry(&self.entry(&found)?));
                }
                None => {
                    let entry_valid = self.entry_valid();
                    return Ok(reply::entry(&Entry {
                        entry_valid,
                        ..Entry::default()
                    }));
                }
            },
        };
        let found = self.meet(fd)?;
        self.debut(task, &found.node)?;
        Ok(reply::entry(&self.entry(&found)?))
    }

    /// Is the object to be told of before it is used for the first time?
    pub(super) fn owes_debut(&self, node: &Node) -> bool {
        let is_new = self.list().has(EventType::Debut) && !node.lock().is_known;
        is_new && !self.is_known_elsewhere(node)
    }

    fn debut(&self, task: &Task<'_>, node: &Node) -> Result<(), Stop> {
        let owed = self.owes_debut(node);
        self.ask(task, owed, EventType::Debut, || {
            EventBody::Namespace(NamespaceBody::about(node.handle))
        })?;
        node.lock().is_known = true;
        Ok(())
    }

    /// A further name for an object.
    pub(super) fn link(&self, task: &mut Task<'_>, target: u64, name: &CStr) -> Served {
        let parent = self.node(task.request.node)?;
        let target = self.node(target)?;
        let dir = self.look(&parent)?;
        let there = child(dir.as_fd(), name)?;
        if there.is_some() && task.is_first(EventType::Link) {
            return Err(Stop::Errno(libc::EEXIST));
        }
        let named = Named {
            before: EventType::Link,
            after: EventType::PostLink,
            dirs: &[&parent],
            body: NamespaceBody {
                handle2: Some(target.handle),
                ..body(&parent, name)
            },
            note: target.inode(),
        };
        let found = self.named(task, named, |task, _| {
            if let Some(fd) = there
                && task.is_again()
            {
                let found = self.meet(fd)?;
                if found.node.handle == target.handle {
                    return Ok(found);
                }
            }
            self.changed_by_user(&target)?;
            let fd = self.look(&target)?;
            {
                let _caller = Caller::enter_to_create(task.request.uid, task.request.gid)?;
                linkat(&fd, c"", &dir, name, AtFlags::AT_EMPTY_PATH)?;
            }
            self.is_named_again(&target);
            self.meet_named(&parent, name, fd.into_owned()?)
        })?;
        Ok(reply::entry(&self.entry(&found)?))
    }

    /// UNLINK and RMDIR.
    pub(super) fn remove(&self, task: &mut Task<'_>, name: &CStr, is_dir: bool) -> Served {
        let parent = self.node(task.request.node)?;
        let dir = self.look(&parent)?;
        let there = match child(dir.as_fd(), name)? {
            Some(fd) => Some(self.meet(fd)?),
            None => None,
        };
        let is_it = |found: &Found| task.noted(found.node.inode());
        let is_done = task.is_again() && !there.as_ref().is_some_and(is_it);
        let victim = match is_done {
            true => self.doomed(task.note()),
            false => there,
        };
        if victim.is_none() && !is_done {
            return Err(Stop::Errno(libc::ENOENT));
        }
        let named = Named {
            before: EventType::Remove,
            after: EventType::PostRemove,
            dirs: &[&parent],
            body: NamespaceBody {
                mode: victim.as_ref().map_or(0, |victim| victim.stat.mode),
                ..body(&parent, name)
            },
            note: victim.as_ref().map_or(0, |victim| victim.node.inode()),
        };
        self.named(task, named, |_, _| {
            let Some(victim) = &victim else { return Ok(()) };
            if !is_done {
                self.remove_name(&dir, name, is_dir, victim)?;
            }
            self.has_lost_name(victim)
        })?;
        if let Some(victim) = victim {
            self.destroy_if_unused(&victim.node);
        }
        Ok(Vec::new())
    }

    fn remove_name(
        &self,
        dir: &Looked,
        name: &CStr,
        is_dir: bool,
        victim: &Found,
    ) -> Result<(), Stop> {
        self.changed_by_user(&victim.node)?;
        self.doom(victim);
        let flags = match is_dir {
            true => UnlinkatFlags::RemoveDir,
            false => UnlinkatFlags::NoRemoveDir,
        };
        unlinkat(dir, name, flags).map_err(|errno| {
            self.spare(&victim.node);
            errno.into()
        })
    }
}

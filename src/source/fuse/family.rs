//! The FUSE mounts of one file system. What is done to a file is done for all of them, and what one of them does to
//! it the others hear of.
//!
//! Mounts have caches of their own in the kernel, so a file system has several only where all were made with
//! `shared`: names and attributes are asked for at each use then, and data at each open.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use nix::fcntl::FcntlArg;

use super::backing::Backing;
use super::connection::Connection;
use super::names::Found;
use super::node::Node;

/// Locks for changes and opens of files.
const STRIPES: usize = 64;

type Stripes = Vec<Mutex<()>>;

/// See the module.
#[derive(Debug)]
pub struct Family {
    members: RwLock<Vec<Weak<Connection>>>,
    /// Changes of a file go one after the other.
    changes: Stripes,
    /// Two mounts that open a file at once shall use one descriptor.
    opens: Stripes,
}

/// Who is left when a mount goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nobody,
    Others,
}

fn stripes() -> Stripes {
    (0..STRIPES).map(|_| Mutex::default()).collect()
}

fn lock(stripes: &Stripes, inode: u64) -> MutexGuard<'_, ()> {
    let lock = &stripes[inode as usize % STRIPES];
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Family {
    /// Of a file system that has no mount yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            members: RwLock::default(),
            changes: stripes(),
            opens: stripes(),
        })
    }

    /// A further mount.
    pub fn join(&self, connection: &Arc<Connection>) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.push(Arc::downgrade(connection));
    }

    /// It is not served any more. To be called again has no effect.
    pub fn leave(&self, connection: &Connection) -> Left {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        members.retain(|member| !std::ptr::eq(member.as_ptr(), connection));
        match members.is_empty() {
            true => Left::Nobody,
            false => Left::Others,
        }
    }

    /// No other change of the file begins while it lives.
    pub fn lock_for_change(&self, inode: u64) -> MutexGuard<'_, ()> {
        lock(&self.changes, inode)
    }

    fn all(&self) -> Vec<Arc<Connection>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Connection {
    /// The other mounts of the file system, with what they know of an object.
    pub(super) fn elsewhere(&self, node: &Node) -> Vec<(Arc<Self>, Arc<Node>)> {
        if !self.shares() {
            return Vec::new();
        }
        let all = self.family.all();
        let others = all.into_iter().filter(|one| !std::ptr::eq(&**one, self));
        others
            .filter_map(|other| {
                let found = other.nodes.get(other.id_of(node.handle))?;
                (found.handle == node.handle).then_some((other, found))
            })
            .collect()
    }

    /// While it lives no other mount opens the file.
    pub(super) fn lock_for_open(&self, node: &Node) -> Option<MutexGuard<'_, ()>> {
        self.shares()
            .then(|| lock(&self.family.opens, node.inode()))
    }

    /// This mount is gone, others are left: nobody waits for what waits here.
    pub(super) fn end_all_held(&self) {
        for (serial, ..) in self.blocked() {
            if !self.end_held(serial, libc::EIO) {
                self.sink().withdraw(serial);
            }
        }
    }

    /// The descriptor that another mount has of the file. One file for all: the lease test takes any other for a user.
    pub(super) fn backing_elsewhere(&self, node: &Node, write: bool) -> Option<Backing> {
        let others = self.elsewhere(node);
        others.iter().find_map(|(_, node)| {
            let backing = node.lock().backing.clone()?;
            let flags = nix::fcntl::fcntl(backing.as_fd(), FcntlArg::F_GETFL).ok()?;
            let will_do = (backing.can_write || !write) && flags & libc::O_APPEND == 0;
            let fd = will_do.then(|| backing.as_fd().try_clone_to_owned());
            Some(Backing::new(fd?.ok()?, backing.can_write))
        })
    }

    /// The state of the object was changed by a request of this mount.
    pub(super) fn forget_state_everywhere(&self, node: &Node) {
        self.forget_state(node);
        for (other, node) in self.elsewhere(node) {
            other.forget_state(&node);
        }
    }

    /// A user changed the data through this mount: pages that other mounts have are old. Where the file is not open the
    /// next open sees to that.
    pub(super) fn tell_others_of_data(&self, node: &Node) {
        for (other, node) in self.elsewhere(node) {
            if node.lock().opens > 0 {
                other.invalidator.pages_later(node.id);
            }
        }
    }

    /// The object lost its last name through this mount: so it did for the others.
    pub(super) fn tell_others_of_end(&self, victim: &Found) {
        for (other, node) in self.elsewhere(&victim.node) {
            let Ok(fd) = victim.fd.try_clone() else {
                return;
            };
            node.lock().is_ended = true;
            let found = Found {
                node,
                stat: victim.stat,
                fd,
            };
            other.keep_ended(&found);
            other.streams.drop_of(found.node.id);
            other.dirs.drop_of(found.node.handle);
        }
    }

    /// Was its first use told of through another mount?
    pub(super) fn is_known_elsewhere(&self, node: &Node) -> bool {
        let others = self.elsewhere(node);
        others.iter().any(|(_, node)| node.lock().is_known)
    }

    /// Has somebody it open through another mount?
    pub(super) fn is_open_elsewhere(&self, node: &Node) -> bool {
        let others = self.elsewhere(node);
        others.iter().any(|(_, node)| node.lock().opens > 0)
    }
}

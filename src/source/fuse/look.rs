//! Finding what a request is about: nodes, descriptors of them, and their state.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::Connection;
use super::node::{Node, ROOT};
use super::serve::Stop;
use crate::fs::{ObjectState, handle, state};
use crate::model::{DmError, EventType, Handle, Kinds, OpenFor};
use crate::sys::process;

/// Directories whose descriptors are kept: most operations on names are in the same few.
const DIRS_MAX: usize = 64;

/// An object that was looked for, O_PATH.
#[derive(Clone, Debug)]
pub(super) struct Looked(Arc<OwnedFd>);

impl Looked {
    /// The same for one that it belongs to alone.
    pub fn into_owned(self) -> std::io::Result<OwnedFd> {
        Arc::try_unwrap(self.0).or_else(|shared| shared.try_clone())
    }
}

impl AsFd for Looked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Looked {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Descriptors of the directories that were used last. What is removed goes from here first.
#[derive(Debug, Default)]
pub(super) struct RecentDirs(Mutex<VecDeque<(Handle, Looked)>>);

impl RecentDirs {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Handle, Looked)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, dir: Handle) -> Option<Looked> {
        let recent = self.lock();
        let found = recent.iter().find(|(of, _)| *of == dir);
        found.map(|(_, looked)| looked.clone())
    }

    fn keep(&self, dir: Handle, looked: &Looked) {
        let oldest = {
            let mut recent = self.lock();
            recent.push_front((dir, looked.clone()));
            match recent.len() > DIRS_MAX {
                true => recent.pop_back(),
                false => None,
            }
        };
        // Closed without the lock.
        drop(oldest);
    }

    /// The directory is removed.
    pub fn drop_of(&self, dir: Handle) {
        self.lock().retain(|(of, _)| *of != dir);
    }
}

impl Connection {
    /// The number that the kernel has for an inode.
    pub(super) fn id_of(&self, handle: Handle) -> u64 {
        match handle {
            Handle::Object { inode, .. } if handle != self.root => inode,
            _ => ROOT,
        }
    }

    /// The object that the kernel calls so.
    pub(super) fn node(&self, id: u64) -> Result<Arc<Node>, Stop> {
        if let Some(node) = self.nodes.get(id) {
            return Ok(node);
        }
        let object = match id {
            ROOT => self.root,
            inode => self.mount.handle_of_inode(inode)?,
        };
        let fd = self.mount.open(object, OpenFor::Look)?;
        let kind = handle::kind_of(fd.as_fd())?;
        Ok(self.nodes.meet(id, object, kind))
    }

    /// A descriptor of the object, O_PATH. One without names is found by the descriptor that keeps it.
    pub(super) fn look(&self, node: &Node) -> Result<Looked, Stop> {
        let ended = {
            let inner = node.lock();
            inner.row.filter(|_| inner.is_ended)
        };
        if let Some(fd) = ended.and_then(|row| self.table.object(row)?.ended) {
            let fd = process::with_borrowed(fd, |fd| fd.try_clone_to_owned())?;
            return Ok(Looked(Arc::new(fd)));
        }
        if node.kind != Kinds::DIRECTORY {
            let fd = self.mount.open(node.handle, OpenFor::Look)?;
            return Ok(Looked(Arc::new(fd)));
        }
        if let Some(looked) = self.dirs.find(node.handle) {
            return Ok(looked);
        }
        let looked = Looked(Arc::new(self.mount.open(node.handle, OpenFor::Look)?));
        self.dirs.keep(node.handle, &looked);
        Ok(looked)
    }

    /// Regions, event list and punches of an object.
    pub(super) fn state_of(&self, node: &Node) -> Result<Arc<ObjectState>, Stop> {
        self.state_with(node, None)
    }

    /// The same where a descriptor is at hand.
    pub(super) fn state_by(
        &self,
        node: &Node,
        fd: BorrowedFd<'_>,
    ) -> Result<Arc<ObjectState>, Stop> {
        self.state_with(node, Some(fd))
    }

    fn state_with(
        &self,
        node: &Node,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Arc<ObjectState>, Stop> {
        loop {
            let before = {
                let inner = node.lock();
                if let Some(state) = &inner.state {
                    return Ok(Arc::clone(state));
                }
                inner.state_changes
            };
            let read = match fd {
                Some(fd) => state::read(fd),
                None => state::read(self.look(node)?.as_fd()),
            };
            let read = Node::shared(read.map_err(DmError::from)?);
            let mut inner = node.lock();
            // Read without the lock: it may have been changed meanwhile.
            if inner.state_changes == before {
                inner.listed = read.events.has(EventType::Destroy);
                inner.state = Some(Arc::clone(&read));
                return Ok(read);
            }
        }
    }

    /// Is the event wanted for what happens in this directory, or to this object?
    pub(super) fn wants(&self, kind: EventType, node: &Node) -> Result<bool, Stop> {
        Ok(self.list().has(kind) || self.state_of(node)?.events.has(kind))
    }
}

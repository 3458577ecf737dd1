//! Objects without names: what keeps them, and when they are gone for good.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::connection::Connection;
use super::names::Found;
use super::node::{Inner, Node, ROOT};
use super::serve::Stop;
use super::table::{FD_LOST, Object};
use crate::fs::{handle, stat};
use crate::model::{DmError, Handle, Kinds, OpenFor};
use crate::sys::process;

impl Connection {
    /// The node of an object in the table.
    pub(super) fn node_of_object(&self, object: &Object) -> Result<Arc<Node>, Stop> {
        let Some(fd) = object.ended.or(object.backing.map(|(_, fd)| fd)) else {
            return self.node(object.node);
        };
        let handle = match object.node {
            ROOT => return self.node(ROOT),
            inode => Handle::Object {
                fs: self.fs(),
                inode,
                generation: object.generation,
            },
        };
        let kind = match fd {
            FD_LOST => handle::kind_of(self.mount.open(handle, OpenFor::Look)?.as_fd()),
            fd => process::with_borrowed(fd, |fd| handle::kind_of(fd.as_fd())),
        }?;
        Ok(self.nodes.meet(object.node, handle, kind))
    }

    /// The row of a node in the table, made if there is none.
    pub(super) fn row_of(&self, node: &Node, inner: &mut Inner) -> Result<usize, DmError> {
        if let Some(row) = inner.row {
            return Ok(row);
        }
        let row = self
            .table
            .add_object(node.id, node.generation())
            .ok_or(DmError::Os(libc::ENFILE))?;
        inner.row = Some(row);
        Ok(row)
    }

    /// Gives up the row of a node that needs none any more.
    pub(super) fn drop_row(&self, inner: &mut Inner) {
        let Some(row) = inner.row.take() else { return };
        let object = self.table.object(row);
        self.table.remove_object(row);
        if let Some(object) = object {
            let backing = object.backing.map(|(_, fd)| fd);
            [backing, object.ended]
                .into_iter()
                .flatten()
                .for_each(Self::close);
        }
    }

    /// Nobody has the file open any more.
    pub(super) fn closed(&self, node: &Node) {
        self.destroy_if_unused(node);
    }

    /// An object is about to lose a name, maybe its last: its descriptor and whether it lists DESTROY are noted before,
    /// so that the next worker has them. Where there is no room for that it is found again by its number.
    pub(super) fn doom(&self, victim: &Found) {
        let is_last = victim.stat.nlink <= 1 || victim.node.kind == Kinds::DIRECTORY;
        if !is_last {
            return;
        }
        // Read before it is gone; `listed` is in the node then.
        if let Err(stop) = self.state_by(&victim.node, victim.fd.as_fd()) {
            tracing::debug!(?stop, "the list of an object that ends is not known");
        }
        self.keep_ended(victim);
    }

    pub(super) fn keep_ended(&self, victim: &Found) {
        let mut inner = victim.node.lock();
        let Ok(row) = self.row_of(&victim.node, &mut inner) else {
            return;
        };
        let object = self.table.object(row);
        if object.is_some_and(|object| object.ended.is_none())
            && let Ok(fd) = victim.fd.try_clone()
        {
            let fd = Self::disown(fd);
            self.table.set_ended(row, Some(fd), inner.listed);
        }
    }

    /// The object keeps its name, or got one.
    pub(super) fn spare(&self, node: &Node) {
        let mut inner = node.lock();
        inner.is_ended = false;
        let Some(row) = inner.row else { return };
        if let Some(fd) = self.table.clear_ended(row) {
            Self::close(fd);
        }
        if inner.backing.is_none() {
            self.drop_row(&mut inner);
        }
    }

    /// A name was taken from the object.
    pub(super) fn has_lost_name(&self, victim: &Found) -> Result<(), Stop> {
        let links = stat::stat(victim.fd.as_fd())?.nlink;
        // Directories of btrfs and others do not count theirs.
        if links != 0 && victim.node.kind != Kinds::DIRECTORY {
            self.spare(&victim.node);
            return Ok(());
        }
        victim.node.lock().is_ended = true;
        // A RELEASE may just have given up the row.
        self.keep_ended(victim);
        self.streams.drop_of(victim.node.id);
        self.dirs.drop_of(victim.node.handle);
        self.tell_others_of_end(victim);
        if self.mount.known.is_some() {
            self.mount
                .keep_unlinked(victim.node.handle, victim.fd.try_clone()?);
        }
        Ok(())
    }

    /// What has no name got one (linkat(2) of a file that was made without).
    pub(super) fn is_named_again(&self, node: &Node) {
        let is_ended = node.lock().is_ended;
        if is_ended {
            self.spare(node);
        }
    }

    /// An object that lost its last name to an earlier worker, or is about to.
    pub(super) fn doomed(&self, id: u64) -> Option<Found> {
        let node = self.nodes.get(id)?;
        let row = node.lock().row?;
        let fd = self.table.object(row)?.ended?;
        let fd = process::with_borrowed(fd, |fd| fd.try_clone_to_owned());
        self.meet(fd.ok()?).ok()
    }

    /// DESTROY, once, when an object has no name and nobody has it open. To be called after each of the two.
    pub(super) fn destroy_if_unused(&self, node: &Node) {
        let listed = {
            let inner = node.lock();
            if !inner.is_ended || inner.opens > 0 || inner.is_destroyed {
                return;
            }
            inner.listed
        };
        // Who closes it last tells, through whichever mount that is.
        if self.is_open_elsewhere(node) {
            return;
        }
        // Who gets the event finds nothing by the handle any more, though the kernel may not have forgotten the node.
        if !self.mount.set_destroyed(node.handle) {
            return;
        }
        self.sink().destroyed(node.handle, listed);
        self.note_destroyed(node);
        for (other, node) in self.elsewhere(node) {
            other.note_destroyed(&node);
        }
    }

    fn note_destroyed(&self, node: &Node) {
        let mut inner = node.lock();
        inner.is_destroyed = true;
        if let Some(row) = inner.row {
            self.table.set_destroyed(row);
        }
    }

    /// What an earlier worker had no time to tell of.
    pub(super) fn destroy_unused(&self) {
        self.nodes
            .all()
            .iter()
            .for_each(|node| self.destroy_if_unused(node));
    }

    /// The kernel has forgotten a node that something kept. [`super::node::Nodes::forget`] follows.
    pub(super) fn forgotten(&self, node: &Node) {
        let mut inner = node.lock();
        let is_ended = inner.is_ended;
        if inner.opens == 0 && inner.backing.is_none() {
            self.drop_row(&mut inner);
            drop(inner);
            if is_ended {
                self.mount.forget(node.handle);
            }
        }
    }
}

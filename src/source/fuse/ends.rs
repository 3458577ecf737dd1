//! Objects without names: what keeps them, and when they are gone for good.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::connection::Connection;
use super::node::{Inner, Node, ROOT};
use super::serve::Stop;
use super::table::Object;
use crate::fs::handle;
use crate::model::{DmError, Handle};
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
        let kind = process::with_borrowed(fd, |fd| handle::kind_of(fd.as_fd()))?;
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
        let (is_ended, listed) = {
            let inner = node.lock();
            (inner.is_ended && inner.opens == 0, inner.listed)
        };
        if is_ended {
            self.sink().destroyed(node.handle, listed);
            self.forgotten(node);
        }
    }

    /// The kernel has forgotten a node that something kept.
    pub(super) fn forgotten(&self, node: &Node) {
        let mut inner = node.lock();
        if inner.is_ended && inner.opens == 0 {
            self.drop_row(&mut inner);
            drop(inner);
            self.nodes.forget(node.id);
        }
    }
}

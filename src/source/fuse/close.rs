//! Closing files: the last RELEASE frees what an open made.

use std::os::fd::AsFd;

use super::connection::Connection;
use super::node::{Inner, Node};
use super::serve::{Served, Task};
use super::skip::Skip;
use crate::model::{EventBody, EventType, NamespaceBody};
use crate::sys::fuse;

impl Connection {
    /// Nobody has the file open any more.
    pub(super) fn close_backing(&self, node: &Node, inner: &mut Inner) {
        inner.way = None;
        let Some(backing) = inner.backing.take() else {
            return;
        };
        let id = backing.id();
        if id != 0 && !self.skips(Skip::BACKING_CLOSE) {
            self.forget_backing(id);
        }
        if let Some(row) = inner.row {
            self.table.set_backing(row, None);
        }
        backing.give_up();
        // The row of an object without names keeps that, and goes with the object.
        let object = inner.row.and_then(|row| self.table.object(row));
        if object.is_none_or(|object| object.ended.is_none() && !object.is_ended) {
            self.drop_row(inner);
        }
        tracing::trace!(node = node.id, "closed");
    }

    pub(super) fn forget_backing(&self, id: i32) {
        match fuse::backing_close(self.channel.as_fd(), id) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => tracing::warn!(%error, id, "the kernel keeps a backing file"),
        }
    }

    /// RELEASE. One that comes again finds nothing to do.
    pub(super) fn release(&self, task: &Task<'_>, fh: u64) -> Served {
        let Some(file) = self.table.file(fh) else {
            return Ok(Vec::new());
        };
        let node = self.node(file.node)?;
        if self.wants(EventType::Close, &node)? {
            let body = NamespaceBody::about(node.handle);
            self.tell(task, EventType::Close, EventBody::Namespace(body));
        }
        self.heed_passed_writes(&node, &file);
        let is_last = {
            let mut inner = node.lock();
            self.table.remove_file(&file);
            inner.opens = inner.opens.saturating_sub(1);
            if inner.opens == 0 {
                self.close_backing(&node, &mut inner);
            }
            inner.opens == 0
        };
        if is_last {
            self.closed(&node);
        }
        Ok(Vec::new())
    }
}

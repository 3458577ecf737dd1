//! From a request to the function of its operation.

use super::connection::Connection;
use super::serve::{Served, Stop, Task};
use super::wire::Op;

impl Connection {
    /// Serves a request as far as it goes.
    pub(super) fn dispatch(&self, task: &mut Task<'_>) -> Served {
        match &task.request.op {
            Op::Init {
                minor,
                max_readahead,
                flags,
                ..
            } => self.init(*minor, *max_readahead, *flags),
            Op::Forget { .. } => {
                self.forget(task.request.node);
                Err(Stop::Silent)
            }
            Op::BatchForget(nodes) => {
                nodes.iter().for_each(|(node, _)| self.forget(*node));
                Err(Stop::Silent)
            }
            Op::Destroy => Ok(Vec::new()),
            // The kernel's own record locks and caches need nothing at close(2).
            _ => Err(Stop::Errno(libc::ENOSYS)),
        }
    }

    /// The kernel has dropped the object from its cache.
    fn forget(&self, id: u64) {
        if let Some(node) = self.nodes.forget(id) {
            self.forgotten(&node);
        }
    }
}

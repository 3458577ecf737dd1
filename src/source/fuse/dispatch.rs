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
            Op::Open { .. } => self.open(task),
            Op::Release { fh, .. } => {
                let fh = *fh;
                self.release(task, fh)
            }
            Op::Read { .. } => self.read(task),
            Op::Write { .. } => self.write(task),
            Op::Fsync { data_only, .. } => {
                let data_only = *data_only;
                self.fsync(task, data_only)
            }
            Op::Fallocate { .. } => self.fallocate(task),
            Op::Lseek { offset, whence, .. } => {
                let (offset, whence) = (*offset, *whence);
                self.lseek(task, offset, whence)
            }
            Op::CopyFileRange { .. } => self.copy_range(task),
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

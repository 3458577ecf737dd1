//! From a request to the function of its operation.

use super::connection::Connection;
use super::create::New;
use super::rename::Rename;
use super::serve::{Served, Stop, Task};
use super::wire::Op;
use super::wire::reply::unpack_device;

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
            _ => self.dispatch_names(task),
        }
    }

    /// Operations on names.
    fn dispatch_names(&self, task: &mut Task<'_>) -> Served {
        let op = task.request.op.clone();
        match &op {
            Op::Lookup { name } => self.lookup(task, name),
            Op::Mknod {
                name,
                mode,
                rdev,
                umask,
            } => {
                let (major, minor) = unpack_device(*rdev);
                self.make(
                    task,
                    &New {
                        name,
                        mode: *mode,
                        umask: *umask,
                        device: libc::makedev(major, minor),
                        target: None,
                    },
                )
            }
            Op::Mkdir { name, mode, umask } => self.make(
                task,
                &New {
                    name,
                    mode: libc::S_IFDIR | (*mode & !libc::S_IFMT),
                    umask: *umask,
                    device: 0,
                    target: None,
                },
            ),
            Op::Symlink { name, target } => self.make(
                task,
                &New {
                    name,
                    mode: libc::S_IFLNK | 0o777,
                    umask: 0,
                    device: 0,
                    target: Some(target),
                },
            ),
            Op::Create {
                name,
                flags,
                mode,
                umask,
                ..
            } => self.create(
                task,
                &New {
                    name,
                    mode: libc::S_IFREG | (*mode & !libc::S_IFMT),
                    umask: *umask,
                    device: 0,
                    target: None,
                },
                *flags,
            ),
            Op::Tmpfile { flags, mode, umask } => self.tmpfile(task, *flags, *mode, *umask),
            Op::Link { target_node, name } => self.link(task, *target_node, name),
            Op::Unlink { name } => self.remove(task, name, false),
            Op::Rmdir { name } => self.remove(task, name, true),
            Op::Rename {
                new_parent,
                flags,
                name,
                new_name,
            } => self.rename(
                task,
                &Rename {
                    new_parent: *new_parent,
                    name,
                    new_name,
                    flags: *flags,
                },
            ),
            op => self.dispatch_attributes(task, op),
        }
    }

    /// Operations on attributes, and on directories as a whole.
    fn dispatch_attributes(&self, task: &mut Task<'_>, op: &Op) -> Served {
        match op {
            Op::Getattr { .. } => self.getattr(task),
            Op::Statx { .. } => self.statx(task),
            Op::Setattr(change) => self.setattr(task, change),
            Op::Readlink => self.readlink(task),
            Op::Statfs => self.statfs(),
            Op::Syncfs => {
                nix::unistd::syncfs(&self.mount.root)?;
                Ok(Vec::new())
            }
            Op::Getxattr { name, size } => self.getxattr(task, name, *size),
            Op::Listxattr { size } => self.listxattr(task, *size),
            Op::Setxattr {
                name,
                value,
                flags,
                setxattr_flags,
            } => self.setxattr(task, name, value, *flags, *setxattr_flags),
            Op::Removexattr { name } => self.removexattr(task, name),
            Op::Readdir { offset, size, .. } => self.readdir(task, *offset, *size, false),
            Op::Readdirplus { offset, size, .. } => self.readdir(task, *offset, *size, true),
            Op::Fsyncdir { .. } => self.fsyncdir(task),
            Op::Releasedir { .. } => Ok(Vec::new()),
            Op::Ioctl { cmd, in_data, .. } => self.ioctl(task, *cmd, in_data),
            // ENOSYS says: never again. Directories are opened, locks kept and permissions (ACCESS) checked by the
            // kernel alone; its caches need nothing at close(2) (FLUSH).
            _ => Err(Stop::Errno(libc::ENOSYS)),
        }
    }

    /// The kernel has dropped the object from its cache.
    fn forget(&self, id: u64) {
        if let Some(node) = self.nodes.forget(id) {
            self.forgotten(&node);
            drop(node);
            self.nodes.forget(id);
        }
    }
}

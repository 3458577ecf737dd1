//! What of a mount is kept from worker to worker.

use std::os::fd::{AsRawFd, OwnedFd};

use super::table::Table;
use crate::model::{DmError, FuseOptions};
use crate::source::arena::{Arena, Kept, Role};
use crate::sys::process;

/// See the module.
pub(super) struct Parts {
    pub channel: OwnedFd,
    pub table: Table,
    pub tree: OwnedFd,
    pub root: OwnedFd,
    pub device: u64,
    pub options: FuseOptions,
}

impl Parts {
    /// The mounts of an earlier worker.
    pub fn taken_up(arena: &Arena) -> Vec<Self> {
        let kept = arena.kept();
        let channels = kept.iter().filter(|one| one.role == Role::FUSE);
        channels
            .filter_map(|channel| {
                let take = |role: Role| {
                    let part = kept
                        .iter()
                        .find(|one| one.role == role && one.key == channel.key)?;
                    Some((process::take_inherited(part.fd)?, part.more))
                };
                let table = take(Role::FUSE_TABLE).map(|(fd, _)| Table::open(fd));
                let (tree, root) = (take(Role::FUSE_TREE), take(Role::FUSE_ROOT));
                let (Some(Ok(table)), Some((tree, _)), Some((root, options))) = (table, tree, root)
                else {
                    tracing::error!(
                        device = channel.more,
                        "a FUSE mount of the last worker is lost"
                    );
                    return None;
                };
                Some(Self {
                    channel: process::take_inherited(channel.fd)?,
                    table,
                    tree,
                    root,
                    device: channel.more,
                    options: FuseOptions(options as u8),
                })
            })
            .collect()
    }

    /// Enters all in the kept list.
    pub fn keep(&self, arena: &Arena) -> Result<(), DmError> {
        let all = [
            (Role::FUSE_TABLE, self.table.number(), 0),
            (Role::FUSE_TREE, self.tree.as_raw_fd(), 0),
            (
                Role::FUSE_ROOT,
                self.root.as_raw_fd(),
                u64::from(self.options.0),
            ),
            // The last: a mount without its channel is none.
            (Role::FUSE, self.channel.as_raw_fd(), self.device),
        ];
        for (role, fd, more) in all {
            // What belongs together has the same; no two mounts have the same device.
            let key = self.device;
            let kept = Kept {
                role,
                fd,
                key,
                more,
            };
            if let Err(error) = arena.keep(kept) {
                tracing::error!(%error, "too many file systems are served: no room for another one");
                all.iter().for_each(|(_, fd, _)| arena.unkeep(*fd));
                return Err(error.into());
            }
        }
        Ok(())
    }
}

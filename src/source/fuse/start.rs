//! The begin of a mount's life, and of each worker's: INIT, what was open, what was not answered.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::backing::Backing;
use super::connection::Connection;
use super::node::Node;
use super::serve::{Served, Stop};
use super::table::{Object, Way};
use super::wire::reply::init;
use super::wire::{InitReply, Notice, abi};
use crate::fs::stat;
use crate::model::OpenFor;
use crate::sys::fuse;
use crate::sys::process;

/// The oldest minor version of the protocol with what is needed here (Linux 5.1 has 29, 6.9 has 40).
const MINOR_MIN: u32 = 31;
/// Pages of the largest request: 1 MiB.
const PAGES_MAX: u16 = 256;
/// Bytes of the largest READ and WRITE.
pub(super) const IO_BYTES_MAX: u32 = 1 << 20;
/// READs of readahead that wait for an application must not keep others from being sent.
const BACKGROUND_MAX: u16 = u16::MAX;

/// What is asked for, where the kernel offers it. No writeback cache: each write(2) is to be seen. No locks: the kernel's own are
/// right for what only one mount changes.
const WANTED: u64 = abi::FUSE_ASYNC_READ
    | abi::FUSE_ATOMIC_O_TRUNC
    | abi::FUSE_EXPORT_SUPPORT
    | abi::FUSE_BIG_WRITES
    | abi::FUSE_DONT_MASK
    | abi::FUSE_DO_READDIRPLUS
    | abi::FUSE_READDIRPLUS_AUTO
    | abi::FUSE_ASYNC_DIO
    | abi::FUSE_PARALLEL_DIROPS
    | abi::FUSE_HANDLE_KILLPRIV_V2
    | abi::FUSE_POSIX_ACL
    | abi::FUSE_MAX_PAGES
    | abi::FUSE_CACHE_SYMLINKS
    | abi::FUSE_EXPLICIT_INVAL_DATA
    | abi::FUSE_SETXATTR_EXT
    | abi::FUSE_DIRECT_IO_ALLOW_MMAP
    | abi::FUSE_PASSTHROUGH
    | abi::FUSE_HAS_RESEND;

/// Threads that may have registered a backing file when their worker died.
const BACKING_GUESSES: i32 = 64;

/// Has an object that the table keeps lost its last name?
fn has_no_name(fd: RawFd) -> bool {
    process::with_borrowed(fd, stat::stat).is_ok_and(|found| found.nlink == 0)
}

impl Connection {
    /// The first request of a mount.
    pub(super) fn init(&self, minor: u32, max_readahead: u32, offered: u64) -> Served {
        if minor < MINOR_MIN {
            tracing::error!(minor, "the kernel's FUSE is too old; Linux 5.4 is needed");
            return Err(Stop::Errno(libc::EPROTO));
        }
        let mut flags = offered & WANTED;
        if self.shares() {
            // The kernel would not ask for a target again.
            flags &= !abi::FUSE_CACHE_SYMLINKS;
        }
        self.table.agree(minor, flags);
        self.heed_agreed();
        let reply = InitReply {
            flags,
            max_readahead,
            max_background: BACKGROUND_MAX,
            congestion_threshold: BACKGROUND_MAX,
            max_write: IO_BYTES_MAX,
            max_pages: PAGES_MAX,
            time_step_ns: 1,
            max_stack_depth: 1,
        };
        Ok(init(&reply))
    }

    fn heed_agreed(&self) {
        let flags = self.table.agreed().map_or(0, |(_, flags)| flags);
        let passes = flags & abi::FUSE_PASSTHROUGH != 0;
        self.passes.store(passes, Ordering::Release);
    }

    /// What an earlier worker had open.
    pub(super) fn rebuild(&self) {
        self.heed_agreed();
        for object in self.table.objects() {
            let Ok(node) = self.node_of_object(&object) else {
                tracing::error!(node = object.node, "an open object is lost");
                continue;
            };
            let backing = self.backing_of(&node, &object);
            let mut inner = node.lock();
            inner.row = Some(object.row);
            inner.backing = backing.map(Arc::new);
            // Noted before the name is taken, so it may not have been.
            inner.is_ended = object.is_ended && object.ended.is_none_or(has_no_name);
            inner.is_destroyed = object.is_destroyed;
            inner.listed = object.listed;
        }
        self.count_opens();
        if self.table.agreed().is_some() {
            self.close_left_over();
        }
    }

    /// The descriptor of an open file's data: the one of an earlier worker, or, after the death of both processes,
    /// another one. What the kernel knows as its backing file it still has.
    fn backing_of(&self, node: &Node, object: &Object) -> Option<Backing> {
        let (id, fd) = object.backing?;
        if let Some(fd) = process::take_inherited(fd) {
            return Some(Backing::taken_up(fd, id));
        }
        let again = match self.backing_elsewhere(node, true) {
            Some(other) => other.as_fd().try_clone_to_owned().map_err(Stop::from),
            None => self.open_data(node, OpenFor::Write),
        };
        match again.or_else(|_| self.open_data(node, OpenFor::Read)) {
            Ok(fd) => {
                self.table
                    .set_backing(object.row, Some((id, fd.as_raw_fd())));
                Some(Backing::taken_up(fd, id))
            }
            Err(_) => {
                tracing::error!(node = node.id, "an open file is lost");
                None
            }
        }
    }

    fn count_opens(&self) {
        for file in self.table.files() {
            if file.way == Way::Directory {
                continue;
            }
            match self.node(file.node) {
                Ok(node) => {
                    let mut inner = node.lock();
                    inner.opens += 1;
                    inner.way = Some(file.way);
                }
                Err(_) => tracing::error!(node = file.node, "an open file is lost"),
            }
        }
    }

    /// What an earlier worker was about to close when it died.
    fn close_left_over(&self) {
        let registered: Vec<i32> = self
            .table
            .objects()
            .filter_map(|object| Some(object.backing?.0))
            .collect();
        // One was registered, and its number not written down: they are given out one after the other.
        let last = self.table.last_backing();
        (last.saturating_add(1)..=last.saturating_add(BACKING_GUESSES))
            .filter(|id| !registered.contains(id))
            .for_each(|id| self.forget_backing(id));
        for node in self.nodes.all() {
            let mut inner = node.lock();
            if inner.opens == 0 && inner.backing.is_some() {
                self.close_backing(&node, &mut inner);
            }
        }
    }

    /// Lets the kernel send again what it has no answer for.
    pub(super) fn resend(&self) {
        let rows = self.table.requests().map(|pending| pending.row);
        self.held.note_left(rows);
        let notice = Notice::resend();
        if let Err(error) = fuse::notify(self.channel.as_fd(), notice.code, &[&notice.body]) {
            tracing::error!(%error, "requests of the last worker are lost; their processes wait");
        }
    }
}

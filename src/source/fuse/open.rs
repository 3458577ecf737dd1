//! Opening and closing files, and the way in which each is open.
//!
//! | file is | way |
//! |---|---|
//! | without READ and WRITE regions | passthrough: the kernel reads and writes the backing file itself |
//! | guarded (stub, partly resident, premigrated) | cached: each access that the cache cannot serve is a request |
//! | open | as it is, until nobody has it open |
//! | on a mount with `data=cached`, or where the kernel refuses backing files | cached |
//!
//! An open counts from the moment that its answer is sent, under the node's lock.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::attrs::proc_path;
use super::backing::Backing;
use super::connection::Connection;
use super::node::{Inner, Node};
use super::serve::{Served, Stop, Task};
use super::table::{OpenFile, Way};
use super::wire::{Op, Opened, abi, reply};
use crate::fs::{ObjectState, stat};
use crate::model::{EventType, FuseOptions, OpenFor};
use crate::source::judge;
use crate::sys::fuse::{self, Caller};
use crate::sys::statx::{self, Protection};

/// How often, and how long, a lease on the backing file is waited for.
const LEASE_TRIES: u32 = 5000;
const LEASE_PAUSE: Duration = Duration::from_millis(1);

/// Flags of every answer that opens a file. close(2) asks nothing, so that also a copy of a user's descriptor can be
/// closed by us.
const FLAGS: u32 = abi::FOPEN_NOFLUSH;

fn writes(flags: u32) -> bool {
    flags & libc::O_ACCMODE as u32 != libc::O_RDONLY as u32
}

/// What the kernel is told of an open file.
pub(super) fn opened(inner: &Inner, file: &OpenFile) -> Opened {
    let id = inner.backing.as_ref().map(|backing| backing.id());
    match file.way {
        // What is in the mount's own cache from an earlier time is dropped: it would not see these writes.
        Way::Passthrough => Opened {
            fh: file.fh(),
            flags: FLAGS,
            backing: id,
        },
        _ => Opened {
            fh: file.fh(),
            flags: FLAGS | abi::FOPEN_KEEP_CACHE,
            backing: None,
        },
    }
}

impl Connection {
    /// OPEN.
    pub(super) fn open(&self, task: &mut Task<'_>) -> Served {
        let Op::Open {
            flags,
            kill_suidgid,
        } = task.request.op
        else {
            return Err(Stop::Errno(libc::EINVAL));
        };
        let node = self.node(task.request.node)?;
        if task.request.resent
            && let Some(file) = self.table.file_of_request(task.request.unique)
        {
            let opened = opened(&node.lock(), &file);
            return Ok(reply::opened(&opened));
        }
        if flags & libc::O_TRUNC as u32 != 0 {
            if node.lock().changing {
                return Err(Stop::Wait(node));
            }
            self.set_size(task, &node, 0, kill_suidgid, true)?;
        }
        self.open_node(task, &node, flags, &|opened| reply::opened(opened))
    }

    /// Opens a file and sends the answer that `answer` makes of it. Also the second half of CREATE and TMPFILE.
    pub(super) fn open_node(
        &self,
        task: &Task<'_>,
        node: &Arc<Node>,
        flags: u32,
        answer: &dyn Fn(&Opened) -> Vec<u8>,
    ) -> Served {
        loop {
            // Not while it is tested for users: we would be one.
            if node.lock().changing {
                return Err(Stop::Wait(Arc::clone(node)));
            }
            let state = self.state_of(node)?;
            let _one = self.lock_for_open(node);
            let fresh = self.fresh_backing(node, flags)?;
            let mut inner = node.lock();
            if inner.changing {
                return Err(Stop::Wait(Arc::clone(node)));
            }
            let is_current = inner
                .state
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, &state));
            if !is_current || !self.install_backing(node, &mut inner, fresh, writes(flags))? {
                continue;
            }
            let sent = self.send_opened(task, node, &mut inner, &state, flags, answer);
            if inner.opens == 0 {
                self.close_backing(node, &mut inner);
            }
            sent?;
            return Err(Stop::Silent);
        }
    }

    /// A descriptor for a file that has none, or none to write by.
    fn fresh_backing(&self, node: &Node, flags: u32) -> Result<Option<Backing>, Stop> {
        let write = writes(flags);
        let appends = flags & libc::O_APPEND as u32 != 0;
        let present = node
            .lock()
            .backing
            .as_ref()
            .map(|backing| backing.can_write);
        let protection = || -> Result<Protection, Stop> {
            // It was opened before: the file may not be what it was then.
            Ok(statx::protection(self.look(node)?.as_fd())?)
        };
        match present {
            Some(_) if !write => return Ok(None),
            Some(true) => {
                return match protection()? {
                    Protection::None => Ok(None),
                    Protection::AppendOnly if appends => Ok(None),
                    _ => Err(Stop::Errno(libc::EPERM)),
                };
            }
            _ => {}
        }
        if let Some(backing) = self.backing_elsewhere(node, write)
            && (!write || protection()? == Protection::None)
        {
            return Ok(Some(backing));
        }
        match self.open_data(node, OpenFor::Write) {
            Ok(fd) => return Ok(Some(Backing::new(fd, true))),
            Err(Stop::Errno(libc::EPERM)) if write && appends => {
                let fd = self.open_with(node, OpenFor::Write, libc::O_APPEND)?;
                return Ok(Some(Backing::new(fd, true)));
            }
            Err(error) if write => return Err(error),
            // Read-only, immutable, being executed: to read it will do.
            Err(_) => {}
        }
        let fd = self.open_data(node, OpenFor::Read)?;
        Ok(Some(Backing::new(fd, false)))
    }

    /// Opens the backing file as its users would, also one that has no name any more. (A descriptor of
    /// `Mount::open` would leave the times as they are.)
    pub(super) fn open_data(&self, node: &Node, how: OpenFor) -> Result<OwnedFd, Stop> {
        self.open_with(node, how, 0)
    }

    fn open_with(&self, node: &Node, how: OpenFor, flags: i32) -> Result<OwnedFd, Stop> {
        let access = match how {
            OpenFor::Write => libc::O_RDWR,
            _ => libc::O_RDONLY,
        };
        let flags = access | libc::O_NONBLOCK | flags;
        for _ in 0..LEASE_TRIES {
            match self.open_once(node, flags)? {
                // Leased, for the microseconds of a lease test.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(LEASE_PAUSE);
                }
                opened => return Ok(opened?),
            }
        }
        // A stranger behind the mount has it.
        Err(Stop::Errno(libc::EAGAIN))
    }

    fn open_once(&self, node: &Node, flags: i32) -> Result<io::Result<OwnedFd>, Stop> {
        let is_ended = node.lock().is_ended;
        if !is_ended && let Some(opened) = self.mount.open_as_user(node.handle, flags) {
            return Ok(opened);
        }
        let object = self.look(node)?;
        let path = proc_path(object.as_fd());
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(path.as_str(), flags, Mode::empty());
        Ok(opened.map_err(io::Error::from))
    }

    /// Puts the descriptor in place if one is needed. `false`: one is needed, and there is none.
    fn install_backing(
        &self,
        node: &Node,
        inner: &mut Inner,
        fresh: Option<Backing>,
        write: bool,
    ) -> Result<bool, Stop> {
        let before = inner.backing.clone();
        if before
            .as_ref()
            .is_some_and(|backing| backing.can_write || !write)
        {
            return Ok(true);
        }
        let Some(backing) = fresh else {
            return Ok(false);
        };
        let row = self.row_of(node, inner)?;
        // The kernel's own file stays: it has no access mode.
        let id = before.as_ref().map_or(0, |backing| backing.id());
        backing.set_id(id);
        self.table.set_backing(row, Some((id, backing.number())));
        backing.keep();
        if let Some(before) = before {
            before.give_up();
        }
        inner.backing = Some(Arc::new(backing));
        Ok(true)
    }

    /// The way in which it is opened now.
    fn way_of(&self, inner: &Inner, state: &ObjectState) -> Way {
        if let (Some(way), true) = (inner.way, inner.opens > 0) {
            return way;
        }
        let is_guarded = judge::guards_data(&judge::under_list(state.clone(), self.list()));
        // The kernel alone would tell the user of a full file system before anybody is asked.
        let needs_space = self.list().has(EventType::NoSpace);
        if self.options.has(FuseOptions::CACHED)
            || is_guarded
            || needs_space
            || !self.passes.load(Ordering::Acquire)
        {
            Way::Cached
        } else {
            Way::Passthrough
        }
    }

    fn send_opened(
        &self,
        task: &Task<'_>,
        node: &Node,
        inner: &mut Inner,
        state: &ObjectState,
        flags: u32,
        answer: &dyn Fn(&Opened) -> Vec<u8>,
    ) -> Result<(), Stop> {
        let mut way = self.way_of(inner, state);
        if way == Way::Passthrough && !self.register(node, inner)? {
            way = Way::Cached;
        }
        let ctime = match &inner.backing {
            Some(backing) if way == Way::Passthrough && writes(flags) => {
                stat::stat(backing.as_fd())?.ctime
            }
            _ => (0, 0),
        };
        let file = self
            .table
            .add_file(OpenFile {
                row: 0,
                uses: 0,
                unique: task.request.unique,
                node: node.id,
                fd: None,
                flags,
                way,
                ctime,
            })
            .ok_or(Stop::Errno(libc::ENFILE))?;
        let mut opened = opened(inner, &file);
        if inner.opens == 0 && self.list().has(EventType::Read) {
            // Each open is to be seen, also of what was read before that list. Nobody waits for a page: nobody has it open.
            opened.flags &= !abi::FOPEN_KEEP_CACHE;
        }
        if way == Way::Cached && self.shares() {
            self.heed_changes_by_others(node, inner, &mut opened)?;
        }
        let bytes = answer(&opened);
        if self.reply(task.request.reply_to(), Ok(&bytes)) {
            inner.opens += 1;
            inner.way = Some(way);
        } else {
            self.table.remove_file(&file);
        }
        Ok(())
    }

    /// Others may have changed the data since the file was last opened here: then what the kernel has of it goes. It does
    /// that itself, unless a page waits for an application: whoever opens would wait for it, and could not be killed.
    fn heed_changes_by_others(
        &self,
        node: &Node,
        inner: &mut Inner,
        opened: &mut Opened,
    ) -> Result<(), Stop> {
        let Some(backing) = &inner.backing else {
            return Ok(());
        };
        let found = stat::stat(backing.as_fd())?;
        let now = Some((found.size, found.mtime));
        if inner.seen_data == now {
            return Ok(());
        }
        inner.seen_data = now;
        match inner.held {
            0 => opened.flags &= !abi::FOPEN_KEEP_CACHE,
            _ => self.invalidator.pages_later(node.id),
        }
        Ok(())
    }

    /// Makes the backing file known to the kernel. `false`: that is not possible.
    fn register(&self, node: &Node, inner: &mut Inner) -> Result<bool, Stop> {
        let Some(backing) = inner.backing.clone() else {
            return Ok(false);
        };
        if backing.id() != 0 {
            return Ok(true);
        }
        let registered = {
            // The kernel writes with the rights of who registers: a write must clear set-id bits.
            let _caller = Caller::enter_without_privileges()?;
            fuse::backing_open(self.channel.as_fd(), backing.as_fd())
        };
        let id = match registered {
            Ok(id) => id,
            Err(error) => {
                self.cannot_pass(&error);
                return Ok(false);
            }
        };
        let row = self.row_of(node, inner)?;
        self.table.set_backing(row, Some((id, backing.number())));
        self.table.note_backing(id);
        backing.set_id(id);
        Ok(true)
    }

    fn cannot_pass(&self, error: &io::Error) {
        match error.raw_os_error() {
            // Not permitted, a file system that lies on another one, not offered.
            Some(libc::EPERM | libc::ELOOP | libc::EOPNOTSUPP) => {
                if self.passes.swap(false, Ordering::AcqRel) {
                    tracing::info!(
                        %error,
                        fs = self.fs().0,
                        "the kernel takes no backing files here: data go through the service"
                    );
                }
            }
            _ => tracing::warn!(%error, "a file is opened without passthrough"),
        }
    }
}

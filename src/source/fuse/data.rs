//! Reading and writing files that are open in the cached way, and what changes the data of any file.
//!
//! Who serves such a request holds the node's I/O lock shared from its look at the regions until the kernel has the
//! answer: a punch comes before or after. Nobody waits for the lock: while a punch has it the request is parked.

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLockReadGuard, TryLockError};

use nix::errno::Errno;
use nix::sys::uio::{pread, pwrite};

use super::attrs::proc_path;
use super::backing::Backing;
use super::connection::Connection;
use super::node::Node;
use super::owed::Guarded;
use super::serve::{Served, Stop, Task};
use super::skip::Skip;
use super::start::IO_BYTES_MAX;
use super::table::{OpenFile, Way};
use super::wire::{Op, reply};
use crate::fs::{ObjectState, stat, state};
use crate::model::{EventType, OpenFor};
use crate::sys::fuse::Caller;

/// The smallest unit of the page cache. Where pages are larger, more requests count as of several pages, and are
/// asked again as they were.
const PAGE_BYTES: u32 = 4096;

/// So often a READ of the same pages is refused: the kernel gives up after two.
const REFUSALS_MAX: u32 = 8;

thread_local! {
    /// Answers of READ are built here and go out from here.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The data of a file are not punched while it lives.
pub(super) type Steady<'a> = Option<RwLockReadGuard<'a, ()>>;

/// A file to be changed: the open one, or one that is opened for this.
pub(super) enum Target {
    Open(Arc<Backing>),
    Fresh(std::os::fd::OwnedFd),
}

impl AsFd for Target {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Open(backing) => backing.as_fd(),
            Self::Fresh(fd) => fd.as_fd(),
        }
    }
}

impl Connection {
    /// Keeps the data of a node from being punched; parked if they are just being punched.
    pub(super) fn io<'a>(&self, node: &'a Arc<Node>) -> Result<Steady<'a>, Stop> {
        if self.skips(Skip::IO_LOCK) {
            return Ok(None);
        }
        match node.io.try_read() {
            Ok(guard) => Ok(Some(guard)),
            // A panic ends the worker.
            Err(TryLockError::Poisoned(poisoned)) => Ok(Some(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => Err(Stop::Wait(Arc::clone(node))),
        }
    }

    /// Asks what the regions want, and keeps the data from being punched as long as they say so. The lock is not held
    /// meanwhile: to find out about the caller may take some time.
    pub(super) fn settle<'a, T>(
        &self,
        node: &'a Arc<Node>,
        mut ask: impl FnMut(&ObjectState) -> Result<T, Stop>,
    ) -> Result<(Steady<'a>, T), Stop> {
        loop {
            let state = self.state_of(node)?;
            let asked = ask(&self.under_list(&state))?;
            let steady = self.io(node)?;
            if Arc::ptr_eq(&state, &self.state_of(node)?) {
                return Ok((steady, asked));
            }
        }
    }

    /// The open backing file.
    pub(super) fn backing(&self, node: &Node) -> Result<Arc<Backing>, Stop> {
        let backing = node.lock().backing.clone();
        backing.ok_or(Stop::Errno(libc::EBADF))
    }

    /// READ.
    pub(super) fn read(&self, task: &mut Task<'_>) -> Served {
        let Op::Read {
            offset,
            size,
            lock_owner,
            ..
        } = task.request.op
        else {
            return Err(Stop::Errno(libc::EINVAL));
        };
        // Only direct reads say whose they are; a page fault through a descriptor with O_DIRECT is none.
        let is_direct = lock_owner.is_some();
        let node = self.node(task.request.node)?;
        let backing = self.backing(&node)?;
        let fd = backing.as_fd();
        let stays_guarded = {
            let (_steady, guarded) = self.settle(&node, |state| {
                let file = Self::guarded(&node, state, || Self::size_of(fd))?;
                let Some(file) = file.filter(|file| file.reads(offset, u64::from(size))) else {
                    return Ok(false);
                };
                if size > PAGE_BYTES && !is_direct && !self.is_known_call(task, &file) {
                    refuse_many(&node, offset, size)?;
                }
                self.ask_to_read(task, &file, offset, u64::from(size))?;
                Ok(true)
            })?;
            self.send_data(task, fd, offset, size)?;
            guarded
        };
        if stays_guarded && !is_direct {
            // An application let it pass with the region in place: the next access is to be seen.
            self.invalidator.pages_later(node.id);
        }
        Err(Stop::Silent)
    }

    fn is_known_call(&self, task: &Task<'_>, file: &Guarded<'_>) -> bool {
        task.passed.has(EventType::Read) || self.was_answered(task, file, EventType::Read)
    }

    fn send_data(
        &self,
        task: &Task<'_>,
        fd: BorrowedFd<'_>,
        offset: u64,
        size: u32,
    ) -> Result<(), Stop> {
        BUFFER.with_borrow_mut(|buffer| {
            buffer.resize(IO_BYTES_MAX as usize, 0);
            let wanted = buffer
                .get_mut(..size as usize)
                .ok_or(Stop::Errno(libc::EINVAL))?;
            let bytes = read_all(fd, wanted, offset)?;
            self.reply(task.request.reply_to(), Ok(&wanted[..bytes]));
            Ok(())
        })
    }

    /// WRITE.
    pub(super) fn write(&self, task: &mut Task<'_>) -> Served {
        let Op::Write {
            offset,
            flags,
            from_cache,
            kill_suidgid,
            ..
        } = task.request.op
        else {
            return Err(Stop::Errno(libc::EINVAL));
        };
        let node = self.node(task.request.node)?;
        let backing = self.backing(&node)?;
        let fd = backing.as_fd();
        let length = task.request.data.len() as u64;
        let (_steady, is_for_reading) = self.settle(&node, |state| {
            let Some(file) = Self::guarded(&node, state, || Self::size_of(fd))? else {
                return Ok(false);
            };
            self.ask_to_write(task, &file, offset, length)?;
            Ok(file.is_for_reading(offset, length))
        })?;
        let written = {
            // What a mapping stored is written by nobody in particular.
            let _caller = match from_cache {
                true => heed_refusal(task).map(|()| None)?,
                false => Some(caller(task, kill_suidgid)?),
            };
            write_all(fd, &task.request.data, offset)?
        };
        if flags & libc::O_DSYNC as u32 != 0 {
            nix::unistd::fdatasync(fd)?;
        }
        self.changed(&node, fd)?;
        self.reply(task.request.reply_to(), Ok(&reply::written(written)));
        if is_for_reading {
            // The kernel has the pages now; who reads them is to be seen.
            self.invalidator.pages_later(node.id);
        }
        Err(Stop::Silent)
    }

    /// Data of the node were changed by a user.
    pub(super) fn changed(&self, node: &Node, fd: BorrowedFd<'_>) -> Result<(), Stop> {
        node.writes.fetch_add(1, Ordering::AcqRel);
        if self.state_of(node)?.shown_ctime.is_some() {
            state::clear_ctime(fd)?;
            self.forget_state_everywhere(node);
        }
        self.tell_others_of_data(node);
        Ok(())
    }

    /// A file that was open to be written past us is closed: was it written?
    pub(super) fn heed_passed_writes(&self, node: &Node, file: &OpenFile) {
        if file.way != Way::Passthrough || file.ctime == (0, 0) {
            return;
        }
        let Some(backing) = node.lock().backing.clone() else {
            return;
        };
        let heeded = stat::stat(backing.as_fd())
            .map_err(Stop::from)
            .and_then(|stat| match stat.ctime == file.ctime {
                true => Ok(()),
                false => {
                    self.invalidator.attributes(node.id);
                    self.changed(node, backing.as_fd())
                }
            });
        if heeded.is_err() {
            tracing::warn!(node = node.id, "users may be shown an old ctime");
        }
    }

    /// Sets the size: SETATTR, and an OPEN that truncates. The latter moves the times also where the size stays
    /// (`always_moves`).
    pub(super) fn set_size(
        &self,
        task: &mut Task<'_>,
        node: &Arc<Node>,
        size: u64,
        kill_suidgid: bool,
        always_moves: bool,
    ) -> Result<(), Stop> {
        let file = self.target(node)?;
        let fd = file.as_fd();
        let (_steady, ()) = self.settle(node, |state| {
            match Self::guarded(node, state, || Self::size_of(fd))? {
                Some(file) => self.ask_to_truncate(task, &file, size),
                None => Ok(()),
            }
        })?;
        let length = i64::try_from(size).map_err(|_| Stop::Errno(libc::EFBIG))?;
        {
            let _caller = caller(task, kill_suidgid)?;
            match always_moves {
                true => nix::unistd::ftruncate(fd, length)?,
                false => nix::unistd::truncate(proc_path(fd).as_str(), length)?,
            }
        }
        self.changed(node, fd)
    }

    /// A descriptor to write by.
    pub(super) fn target(&self, node: &Node) -> Result<Target, Stop> {
        let open = node.lock().backing.clone();
        if let Some(backing) = open.filter(|backing| backing.can_write) {
            return Ok(Target::Open(backing));
        }
        Ok(Target::Fresh(self.open_data(node, OpenFor::Write)?))
    }

    pub(super) fn readable(&self, node: &Node) -> Result<Target, Stop> {
        let open = node.lock().backing.clone();
        match open {
            Some(backing) => Ok(Target::Open(backing)),
            None => Ok(Target::Fresh(self.open_data(node, OpenFor::Read)?)),
        }
    }
}

/// An application refused to make room.
fn heed_refusal(task: &Task<'_>) -> Result<(), Stop> {
    match task.aborted {
        Some((EventType::NoSpace, errno)) => Err(Stop::Errno(errno)),
        _ => Ok(()),
    }
}

/// This thread works as the caller of the request.
pub(super) fn caller(task: &Task<'_>, kill_suidgid: bool) -> Result<Caller, Stop> {
    heed_refusal(task)?;
    let request = &task.request;
    Ok(match (request.uid, kill_suidgid) {
        (0, true) => Caller::enter_without_privileges()?,
        _ => Caller::enter(request.uid, request.gid)?,
    })
}

/// A READ of more than one page of guarded bytes is refused: the kernel then asks for the page that the user touched,
/// and for no other. One that comes again and again as it was is a page of that size.
fn refuse_many(node: &Node, offset: u64, size: u32) -> Result<(), Stop> {
    let mut inner = node.lock();
    let times = match inner.refused {
        Some((range, times)) if range == (offset, size) => times + 1,
        _ => 1,
    };
    inner.refused = Some(((offset, size), times));
    inner.has_refused = true;
    tracing::trace!(node = node.id, offset, size, times, "refused");
    match times {
        ..=REFUSALS_MAX => Err(Stop::Errno(libc::EIO)),
        _ => Ok(()),
    }
}

/// Fills the buffer as far as the file has bytes.
fn read_all(fd: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> Result<usize, Stop> {
    let mut done = 0;
    while done < buffer.len() {
        let at = i64::try_from(offset + done as u64).map_err(|_| Stop::Errno(libc::EINVAL))?;
        match pread(fd, &mut buffer[done..], at) {
            Ok(0) => break,
            Ok(bytes) => done += bytes,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done)
}

/// Writes all, or as much as there is room for.
fn write_all(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<u32, Stop> {
    let mut done = 0;
    while done < bytes.len() {
        let at = i64::try_from(offset + done as u64).map_err(|_| Stop::Errno(libc::EFBIG))?;
        match pwrite(fd, &bytes[done..], at) {
            Ok(0) => break,
            Ok(written) => done += written,
            Err(Errno::EINTR) => {}
            Err(errno) if done == 0 => return Err(errno.into()),
            Err(_) => break,
        }
    }
    Ok(done as u32)
}

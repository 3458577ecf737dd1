//! Reading directories. OPENDIR is answered once, with ENOSYS: from then on the kernel opens directories without
//! us, keeps what it has read of them, and asks by position alone.
//!
//! A position is what the file system behind calls one. Where a reading stopped is kept for a while with
//! an open descriptor, so that who goes on there does not begin with a search.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::connection::Connection;
use super::names::child;
use super::node::{Node, ROOT};
use super::serve::{Served, Stop, Task};
use super::wire::{DirBuffer, Entry};
use crate::sys::dirent;

/// Directories that are being read at the same time without searches.
const STREAMS_MAX: usize = 32;

/// A directory that was read up to some position.
#[derive(Debug)]
struct Stream {
    node: u64,
    fd: OwnedFd,
    /// The position of the next entry.
    next: u64,
    /// Entries that are read from the directory and not given yet.
    ready: VecDeque<dirent::Entry>,
}

/// The readings that may go on, the last one behind.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<VecDeque<Stream>>);

impl Streams {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Stream>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, node: u64, next: u64) -> Option<Stream> {
        let mut all = self.lock();
        let at = all
            .iter()
            .position(|stream| stream.node == node && stream.next == next)?;
        all.remove(at)
    }

    fn put(&self, stream: Stream) {
        let mut all = self.lock();
        all.push_back(stream);
        if all.len() > STREAMS_MAX {
            all.pop_front();
        }
    }

    /// The directory changes: what is read ahead of it is old. No reading of it is on its way then, the kernel
    /// sees to that.
    pub(super) fn drop_of(&self, node: u64) {
        self.lock().retain(|stream| stream.node != node);
    }
}

impl Stream {
    /// The next entry, which stays in place until [`Stream::pass`].
    fn peek(&mut self) -> Result<Option<&dirent::Entry>, Stop> {
        if self.ready.is_empty() {
            self.ready = dirent::read(self.fd.as_fd())?.into();
        }
        Ok(self.ready.front())
    }

    fn pass(&mut self) {
        if let Some(entry) = self.ready.pop_front() {
            self.next = entry.next as u64;
        }
    }
}

impl Connection {
    /// A readable descriptor of a directory.
    fn open_dir(&self, node: &Node) -> Result<OwnedFd, Stop> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(openat(self.look(node)?, c".", flags, Mode::empty())?)
    }

    /// READDIR and READDIRPLUS.
    pub(super) fn readdir(&self, task: &Task<'_>, offset: u64, size: u32, plus: bool) -> Served {
        let node = self.node(task.request.node)?;
        let mut stream = match self.streams.take(node.id, offset).filter(|_| offset != 0) {
            Some(stream) => stream,
            None => {
                let fd = self.open_dir(&node)?;
                if offset != 0 {
                    dirent::seek(fd.as_fd(), offset as i64)?;
                }
                Stream {
                    node: node.id,
                    fd,
                    next: offset,
                    ready: VecDeque::new(),
                }
            }
        };
        let mut buffer = DirBuffer::new(size);
        let at_end = self.fill(&node, &mut stream, &mut buffer, plus)?;
        if !at_end {
            self.streams.put(stream);
        }
        Ok(buffer.into_bytes())
    }

    /// Puts entries into the buffer while there is room. `true`: there are no more.
    fn fill(
        &self,
        node: &Node,
        stream: &mut Stream,
        buffer: &mut DirBuffer,
        plus: bool,
    ) -> Result<bool, Stop> {
        let dir = match plus {
            true => Some(stream.fd.try_clone()?),
            false => None,
        };
        loop {
            let Some(entry) = stream.peek()? else {
                return Ok(true);
            };
            if !buffer.has_room(entry.name.len(), plus) {
                return Ok(false);
            }
            // The directory above the mount is not to be seen.
            let inode = match (node.id, &entry.name[..]) {
                (ROOT, b"..") => node.inode(),
                _ => entry.inode,
            };
            let (next, kind) = (entry.next as u64, entry.kind);
            match &dir {
                Some(dir) => {
                    let known = self.entry_of_name(node, dir, &entry.name);
                    buffer.add_plus(&known, inode, next, kind, &entry.name)
                }
                None => buffer.add(inode, next, kind, &entry.name),
            };
            stream.pass();
        }
    }

    /// What READDIRPLUS tells of a name beside it; nothing if it is gone or must be looked up by itself.
    fn entry_of_name(&self, parent: &Node, dir: &OwnedFd, name: &[u8]) -> Entry {
        let nothing = Entry::default();
        if name == b"." || name == b".." {
            return nothing;
        }
        let Ok(name) = CString::new(name) else {
            return nothing;
        };
        let Ok(Some(fd)) = child(dir.as_fd(), &name) else {
            return nothing;
        };
        match self.meet_named(parent, &name, fd) {
            Ok(found) if !self.owes_debut(&found.node) => self.entry(&found).unwrap_or(nothing),
            _ => nothing,
        }
    }

    pub(super) fn fsyncdir(&self, task: &Task<'_>) -> Served {
        let node: Arc<Node> = self.node(task.request.node)?;
        nix::unistd::fsync(self.open_dir(&node)?)?;
        Ok(Vec::new())
    }
}

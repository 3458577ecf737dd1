//! The one descriptor of a file's data while the file is open.
//!
//! One for each file, however often it is open: the lease test counts open files, and is made on this one. The
//! table has its number, so that the next worker goes on with it.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Backing {
    fd: ManuallyDrop<OwnedFd>,
    id: AtomicI32,
    /// It was opened for writing, too.
    pub can_write: bool,
    /// The table does not have it (any more): closed when the last user is through.
    is_over: AtomicBool,
}

impl Backing {
    /// A file that was just opened; the table does not have it yet.
    pub fn new(fd: OwnedFd, can_write: bool) -> Self {
        Self {
            fd: ManuallyDrop::new(fd),
            id: AtomicI32::new(0),
            can_write,
            is_over: AtomicBool::new(true),
        }
    }

    /// One that an earlier worker opened.
    pub fn taken_up(fd: OwnedFd, id: i32) -> Self {
        let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL);
        let mode = flags.map_or(0, |flags| flags & libc::O_ACCMODE);
        Self {
            fd: ManuallyDrop::new(fd),
            id: AtomicI32::new(id),
            can_write: mode == libc::O_RDWR,
            is_over: AtomicBool::new(false),
        }
    }

    /// Its number in the kernel, for passthrough; 0: the kernel does not know it. Changed under the node's lock.
    pub fn id(&self) -> i32 {
        self.id.load(Ordering::Acquire)
    }

    /// The kernel knows it.
    pub fn set_id(&self, id: i32) {
        self.id.store(id, Ordering::Release);
    }

    /// For the table.
    pub fn number(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The table has it: it stays open when this worker ends.
    pub fn keep(&self) {
        self.is_over.store(false, Ordering::Release);
    }

    /// The table has it no more.
    pub fn give_up(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}

impl AsFd for Backing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        if self.is_over.load(Ordering::Acquire) {
            // Nothing can be done about an error.
            let _ = nix::unistd::close(self.number());
        }
    }
}

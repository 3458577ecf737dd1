//! The lease test: does anybody else have this file open or mapped, or execute it?

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// A write lease, for a few microseconds: while it is held, openers wait, and so does the thread that
/// reads events. SIGIO must be ignored. It ends when this is dropped.
#[derive(Debug)]
pub struct Lease<'a> {
    fd: BorrowedFd<'a>,
}

fn set(fd: BorrowedFd<'_>, lease: libc::c_int) -> io::Result<()> {
    // SAFETY: the command takes an integer.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, lease) })?;
    Ok(())
}

impl<'a> Lease<'a> {
    /// Takes it on a fresh descriptor of the file. `WouldBlock`: the file is in use.
    pub fn take(fd: BorrowedFd<'a>) -> io::Result<Self> {
        set(fd, libc::F_WRLCK)?;
        Ok(Self { fd })
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        // It cannot fail while the lease is held, and ends with the descriptor at the latest.
        let _ = set(self.fd, libc::F_UNLCK);
    }
}

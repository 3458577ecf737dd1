//! A socket of a library inside somebody else's process.
//!
//! The application may have closed our number and got it back for a file of its own (daemons close all they
//! did not open), so each use, and the close, first checks that the number still is our socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// Our end of a connection, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    number: RawFd,
    inode: u64,
}

impl Socket {
    /// Connects; close-on-exec and non-blocking. Its number is not 0, 1 or 2.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let address = UnixAddr::new(path)?;
        let fd = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            None,
        )?;
        connect(fd.as_raw_fd(), &address)?;
        Self::adopt(fd)
    }

    /// Takes a connected socket.
    pub fn adopt(fd: OwnedFd) -> io::Result<Self> {
        let fd = above_standard(fd)?;
        let inode = nix::sys::stat::fstat(&fd)?.st_ino;
        Ok(Self {
            number: fd.into_raw_fd(),
            inode,
        })
    }

    /// Is the number still our socket?
    pub fn is_ours(&self) -> bool {
        self.borrow().is_some()
    }

    /// The descriptor, if the number still is our socket.
    pub fn borrow(&self) -> Option<BorrowedFd<'_>> {
        if self.number < 0 {
            return None;
        }
        // SAFETY: the number is not -1. Should it be closed, fstat says so and nothing is lent; should the
        // application close it later, the worst is EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(self.number) };
        let found = nix::sys::stat::fstat(fd).ok()?;
        let is_socket = found.st_mode & libc::S_IFMT == libc::S_IFSOCK;
        (is_socket && found.st_ino == self.inode).then_some(fd)
    }

    /// Closes it, unless the number is somebody else's by now.
    pub fn close(self) {
        if self.is_ours() {
            // SAFETY: the number is our socket, and this is its only owner that closes.
            drop(unsafe { OwnedFd::from_raw_fd(self.number) });
        }
    }
}

/// The socket under a number that no `dup2(fd, 0)` of the application will hit.
fn above_standard(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    let number = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lends a descriptor of the application for a while; `None` if the number is not open.
pub fn lend<T>(number: RawFd, work: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
    if number < 0 {
        return None;
    }
    // SAFETY: the number is not -1. Whether it is open is asked before it is used; should the application close
    // it meanwhile, the calls on it fail with EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD).ok()?;
    Some(work(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_somebody_else_is_neither_used_nor_closed() {
        let (left, _right) = crate::sys::socket::pair().expect("a pair");
        let socket = Socket::adopt(left).expect("ours");
        assert!(socket.is_ours());
        let file = tempfile::tempfile().expect("a file");
        // SAFETY: dup2 onto our own number: what an application does that closed all and opened anew.
        assert!(unsafe { libc::dup2(file.as_raw_fd(), socket.number) } >= 0);
        assert!(!socket.is_ours());
        socket.close();
        // SAFETY: asks whether the number is open.
        assert!(unsafe { libc::fcntl(socket.number, libc::F_GETFD) } >= 0);
        // SAFETY: the number is the duplicate made above.
        unsafe { libc::close(socket.number) };
    }
}

//! Packets over a unix `SOCK_SEQPACKET` socket, with descriptors beside them.
//!
//! [`Socket`] is for a library inside somebody else's process: the application may have closed our number and
//! got it back for a file of its own, so each use and the close check that the number still is our socket.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect, recvmsg, sendmsg, socket,
};

/// A packet that came.
#[derive(Debug)]
pub struct Received {
    /// Its bytes; 0: the peer is gone.
    pub length: usize,
    /// The descriptor that came along.
    pub descriptor: Option<OwnedFd>,
    /// A descriptor did not fit into this process (RLIMIT_NOFILE).
    pub lost_descriptor: bool,
}

/// Sends one packet.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8], beside: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let raw = beside.map(|fd| [fd.as_raw_fd()]);
    let control: Vec<ControlMessage<'_>> = raw
        .iter()
        .map(|fds| ControlMessage::ScmRights(fds))
        .collect();
    let slices = [IoSlice::new(bytes)];
    let sent = sendmsg::<()>(
        fd.as_raw_fd(),
        &slices,
        &control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    if sent != bytes.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// Receives one packet. One that is longer than the buffer is an error: it is lost.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    // Room for two: a second one that nobody expects is closed, not left in the table.
    let mut control = nix::cmsg_space!([RawFd; 2]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        fd.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    if let Ok(received) = message.cmsgs() {
        for one in received {
            if let ControlMessageOwned::ScmRights(raw) = one {
                // SAFETY: the kernel has just put these descriptors into our table; nobody else knows them.
                descriptors.extend(
                    raw.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Received {
        length: message.bytes,
        lost_descriptor: message.flags.contains(MsgFlags::MSG_CTRUNC),
        descriptor: descriptors.into_iter().next(),
    })
}

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
    pub fn is_ours(self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::socketpair;
    use std::os::fd::AsFd;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .expect("a pair")
    }

    #[test]
    fn a_descriptor_comes_along() {
        let (left, right) = pair();
        let file = tempfile::tempfile().expect("a file");
        send(left.as_fd(), b"take it", Some(file.as_fd())).expect("sent");
        let mut buffer = [0; 64];
        let received = receive(right.as_fd(), &mut buffer).expect("received");
        assert_eq!(&buffer[..received.length], b"take it");
        let came = received.descriptor.expect("a descriptor");
        let inode = |fd: BorrowedFd<'_>| nix::sys::stat::fstat(fd).expect("fstat").st_ino;
        assert_eq!(inode(came.as_fd()), inode(file.as_fd()));
    }

    #[test]
    fn a_number_of_somebody_else_is_neither_used_nor_closed() {
        let (left, _right) = pair();
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

    #[test]
    fn the_end_of_the_peer_is_seen() {
        let (left, right) = pair();
        drop(left);
        let received = receive(right.as_fd(), &mut [0; 8]).expect("the end");
        assert_eq!(received.length, 0);
    }
}

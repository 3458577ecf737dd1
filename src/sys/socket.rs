//! Unix seqpacket sockets: the control socket, from both sides. One packet is one message.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag,
    SockType, UnixAddr,
};
use nix::sys::stat::{Mode, umask};

/// Most descriptors that one packet may carry.
pub const FDS_MAX: usize = 8;

/// Who is at the other end of a connection, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Peer {
    pub pid: u32,
    pub uid: u32,
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass a descriptor that the kernel has just made for them, and keep no copy.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn seqpacket() -> nix::Result<OwnedFd> {
    socket::socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// Makes the listening socket at `path`, for its owner only. The path must be free.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let fd = seqpacket()?;
    let address = UnixAddr::new(path)?;
    // The mode must be right from the start: a chmod afterwards leaves a moment for others.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = socket::bind(fd.as_raw_fd(), &address);
    umask(before);
    bound?;
    socket::listen(&fd, Backlog::new(4095)?)?;
    Ok(fd)
}

/// Takes the next connection; waits for it.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    loop {
        match socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Ok(fd) => return Ok(own(fd)),
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Connects to a listening socket.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let fd = seqpacket()?;
    let address = UnixAddr::new(path)?;
    loop {
        match socket::connect(fd.as_raw_fd(), &address) {
            Ok(()) => return Ok(fd),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Sends one packet. Without `wait` a full buffer gives `WouldBlock`. With `wait`, a signal gives
/// `Interrupted`, and nothing was sent.
pub fn send(
    fd: BorrowedFd<'_>,
    packet: &[u8],
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let message = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &message };
    let mut flags = MsgFlags::MSG_NOSIGNAL;
    if !wait {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    let sent = socket::sendmsg::<()>(
        fd.as_raw_fd(),
        &[IoSlice::new(packet)],
        control,
        flags,
        None,
    )?;
    debug_assert_eq!(sent, packet.len());
    Ok(())
}

/// Receives one packet and its descriptors; waits for it. 0 bytes: the other end is gone.
/// A signal gives `Interrupted`; a packet that is longer than `buffer` gives `InvalidData`.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; FDS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = socket::recvmsg::<()>(
        fd.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            fds.extend(raw.into_iter().map(own));
        }
    }
    if message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
    {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok((message.bytes, fds))
}

/// Ends a connection for both sides, also for a thread that is in [`receive`] on it.
pub fn shut(fd: BorrowedFd<'_>) {
    // It may have ended already; there is nothing left to do then.
    let _ = socket::shutdown(fd.as_raw_fd(), socket::Shutdown::Both);
}

/// The process at the other end.
pub fn peer(fd: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = socket::getsockopt(&fd, socket::sockopt::PeerCredentials)?;
    Ok(Peer {
        pid: credentials.pid().unsigned_abs(),
        uid: credentials.uid(),
    })
}

/// Is it a socket that listens?
pub fn is_listening(fd: BorrowedFd<'_>) -> bool {
    socket::getsockopt(&fd, socket::sockopt::AcceptConn).unwrap_or(false)
}

/// A connected pair, for tests and for programs that speak to themselves.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socket::socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?)
}

/// Sends one datagram to the socket at `address`; one that begins with `@` is abstract. For systemd.
pub fn send_datagram(address: &str, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let fd = socket::socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let address = match address.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes())?,
        None => UnixAddr::new(address)?,
    };
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let slices = [IoSlice::new(message)];
    socket::sendmsg(fd.as_raw_fd(), &slices, control, flags, Some(&address))?;
    Ok(())
}

/// Limits how long [`receive`] waits; it gives `WouldBlock` then. `None`: without end.
pub fn set_receive_limit(fd: BorrowedFd<'_>, limit_ms: Option<u32>) -> io::Result<()> {
    let limit_ms = i64::from(limit_ms.unwrap_or(0));
    let value = nix::sys::time::TimeVal::new(limit_ms / 1000, (limit_ms % 1000) * 1000);
    Ok(socket::setsockopt(
        &fd.as_fd(),
        socket::sockopt::ReceiveTimeout,
        &value,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_arrives_whole_with_its_descriptor() {
        let (left, right) = pair().expect("socketpair");
        let (other, _keep) = pair().expect("socketpair");
        send(left.as_fd(), b"hello", &[other.as_fd()], true).expect("send");
        let mut buffer = [0; 64];
        let (bytes, fds) = receive(right.as_fd(), &mut buffer).expect("receive");
        assert_eq!(&buffer[..bytes], b"hello");
        assert_eq!(fds.len(), 1);
        drop(left);
        let (bytes, _) = receive(right.as_fd(), &mut buffer).expect("receive");
        assert_eq!(bytes, 0);
    }

    #[test]
    fn a_full_buffer_does_not_block() {
        let (left, _right) = pair().expect("socketpair");
        let packet = vec![0; 60_000];
        let stopped = (0..100)
            .find_map(|_| send(left.as_fd(), &packet, &[], false).err())
            .expect("the buffer is bounded");
        assert_eq!(stopped.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_packet_that_is_too_long_is_an_error() {
        let (left, right) = pair().expect("socketpair");
        send(left.as_fd(), &[7; 100], &[], true).expect("send");
        let error = receive(right.as_fd(), &mut [0; 10]).expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

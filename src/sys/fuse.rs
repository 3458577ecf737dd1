//! `/dev/fuse`: requests in, answers out, backing files.

use std::io;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::uio::writev;

use super::apart;
pub use super::caller::{Caller, set_thread_umask};
use super::deserted;

/// len u32 | error i32 | unique u64.
const HEADER_BYTES: usize = 16;

/// What a read of `/dev/fuse` gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A request of so many bytes, at the front of the buffer.
    Request(usize),
    /// None, but there may be one soon: a signal came, the descriptor does not wait, or a request vanished on
    /// its way. Whoever must end looks now, and reads again.
    Nothing,
    /// The mount is gone, or was aborted.
    Ended,
}

/// Reads the next request; waits for it unless the descriptor is non-blocking. The buffer must have room for
/// the longest WRITE and 4096 bytes more.
pub fn receive(channel: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    match nix::unistd::read(channel, buffer) {
        Ok(0) => Ok(Received::Ended),
        Ok(bytes) => Ok(Received::Request(bytes)),
        // ENOENT: the request was interrupted before it was copied.
        Err(Errno::EINTR | Errno::EAGAIN | Errno::ENOENT) => Ok(Received::Nothing),
        Err(Errno::ENODEV | Errno::ECONNABORTED) => Ok(Received::Ended),
        Err(errno) => Err(errno.into()),
    }
}

/// Of a message of so many bytes with the header.
fn header(error: i32, unique: u64, bytes: usize) -> io::Result<[u8; HEADER_BYTES]> {
    let length = u32::try_from(bytes).map_err(io::Error::other)?;
    let mut header = [0u8; HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_ne_bytes());
    header[4..8].copy_from_slice(&error.to_ne_bytes());
    header[8..].copy_from_slice(&unique.to_ne_bytes());
    Ok(header)
}

fn send(channel: BorrowedFd<'_>, error: i32, unique: u64, parts: &[&[u8]]) -> io::Result<()> {
    let bytes = parts
        .iter()
        .fold(HEADER_BYTES, |sum, part| sum + part.len());
    let header = header(error, unique, bytes)?;
    let mut slices = Vec::with_capacity(1 + parts.len());
    slices.push(IoSlice::new(&header));
    slices.extend(parts.iter().map(|part| IoSlice::new(part)));
    loop {
        match writev(channel, &slices) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The operation or object is not there any more: nobody needs to be told.
fn gone_is_false(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Answers a request with what follows the header, without copying it. `unique` as the request had it,
/// with its bit of a resent one. `false`: nobody waits for it, or the mount is gone.
pub fn reply(channel: BorrowedFd<'_>, unique: u64, parts: &[&[u8]]) -> io::Result<bool> {
    gone_is_false(send(channel, 0, unique, parts))
}

/// Answers a request with an errno, which is positive here. `false` as in [`reply`].
pub fn refuse(channel: BorrowedFd<'_>, unique: u64, errno: i32) -> io::Result<bool> {
    gone_is_false(send(channel, -errno, unique, &[]))
}

/// Tells the kernel something by itself. `false`: it does not have the object (any more), or the mount is gone.
pub fn notify(channel: BorrowedFd<'_>, code: i32, parts: &[&[u8]]) -> io::Result<bool> {
    gone_is_false(send(channel, code, 0, parts))
}

/// The same in a process of its own: some notices wait for requests that are not answered, and a dead server must be
/// gone before the next one can answer them. When nobody lives any more (`life::watch`) who could, they fail.
pub fn notify_apart(
    channel: BorrowedFd<'_>,
    code: i32,
    body: &[u8],
    life: Option<BorrowedFd<'_>>,
) -> io::Result<bool> {
    let header = header(code, 0, HEADER_BYTES + body.len())?;
    let guard = life.map(|life| apart::Guard {
        life,
        deserted: deserted::refuse_all,
    });
    gone_is_false(apart::write(channel, &[&header, body].concat(), guard))
}

#[repr(C)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

mod requests {
    use super::BackingMap;

    nix::ioctl_write_ptr!(backing_open, 229, 1, BackingMap);
    nix::ioctl_write_ptr!(backing_close, 229, 2, u32);
}

/// Makes an open file known as a backing file; the kernel keeps it open until [`backing_close`]. The descriptor
/// must be for reading and writing as opens through it shall be. EPERM without CAP_SYS_ADMIN.
pub fn backing_open(channel: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<i32> {
    let map = BackingMap {
        fd: file.as_raw_fd(),
        flags: 0,
        padding: 0,
    };
    // SAFETY: the structure is the one of this request, and the kernel only reads it.
    Ok(unsafe { requests::backing_open(channel.as_raw_fd(), &raw const map) }?)
}

/// Ends [`backing_open`]; files that are open with it stay so. ENOENT: there is none of that number.
pub fn backing_close(channel: BorrowedFd<'_>, id: i32) -> io::Result<()> {
    let id = id.cast_unsigned();
    // SAFETY: the kernel reads four bytes.
    unsafe { requests::backing_close(channel.as_raw_fd(), &raw const id) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn nothing_ended_and_requests_are_told_apart() {
        let (left, right) = nix::unistd::pipe().expect("a pipe");
        let mut buffer = [0; 16];
        nix::unistd::write(&right, b"request").expect("written");
        let received = receive(left.as_fd(), &mut buffer).expect("read");
        assert_eq!(received, Received::Request(7));
        let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&left, flags).expect("fcntl");
        let received = receive(left.as_fd(), &mut buffer).expect("read");
        assert_eq!(received, Received::Nothing);
        assert!(receive(right.as_fd(), &mut buffer).is_err());
    }

    #[test]
    fn an_answer_has_its_length_and_number() {
        let (left, right) = nix::unistd::pipe().expect("a pipe");
        let mut buffer = [0; 64];
        assert!(reply(right.as_fd(), 9, &[b"one", b"two"]).expect("written"));
        assert_eq!(nix::unistd::read(&left, &mut buffer), Ok(22));
        assert_eq!(buffer[..4], 22u32.to_ne_bytes());
        assert_eq!(buffer[4..8], [0; 4]);
        assert_eq!(buffer[8..16], 9u64.to_ne_bytes());
        assert_eq!(&buffer[16..22], b"onetwo");
        assert!(refuse(right.as_fd(), 9, libc::EPERM).expect("written"));
        assert_eq!(nix::unistd::read(&left, &mut buffer), Ok(16));
        assert_eq!(buffer[4..8], (-libc::EPERM).to_ne_bytes());
    }
}

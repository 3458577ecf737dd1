//! Looking at another process's waiting thread: its descriptors and its memory.
//!
//! Never reads /proc/PID/fdinfo of others: on a process with a fanotify group that hangs the kernel.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

const PIDFD_THREAD: u32 = libc::O_EXCL as u32;

/// A copy of one descriptor of a thread: the same open file, so flags and position are the thread's.
pub fn descriptor(tid: u32, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let pidfd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, PIDFD_THREAD) })?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd as i32) };
    // SAFETY: the call takes three integers.
    let fd = Errno::result(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0)
    })?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Status flags of an open file.
pub fn flags(fd: BorrowedFd<'_>) -> io::Result<i32> {
    Ok(nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFL)?)
}

/// The position of an open regular file, without its lock: lseek(2) would wait for a reader that waits
/// for us. `fd` must be a descriptor of this process and name a regular file.
pub fn position(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    text.lines()
        .find_map(|line| line.strip_prefix("pos:"))
        .and_then(|value| value.trim().parse().ok())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EIO))
}

/// Copies bytes out of a thread's memory. All of them or an error.
pub fn memory(tid: u32, address: u64, buffer: &mut [u8]) -> io::Result<()> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: the kernel checks the remote address; the local buffer is ours and of that length.
    let got = Errno::result(unsafe {
        libc::process_vm_readv(tid as i32, &raw const local, 1, &raw const remote, 1, 0)
    })?;
    if got as usize == buffer.len() {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EFAULT))
    }
}

/// One 64-bit word of a thread's memory.
pub fn memory_word(tid: u32, address: u64) -> io::Result<u64> {
    let mut bytes = [0; 8];
    memory(tid, address, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

//! System calls for a process that shares the memory of another, whose threads may have died holding any lock: no
//! allocation, no cancellation point of the C library, nothing but `errno`.

use std::ffi::c_void;
use std::os::fd::RawFd;
use std::ptr;

use nix::errno::Errno;

const CLOSE_RANGE_UNSHARE: libc::c_uint = 2;

/// What a call gave, or its errno.
pub type Result<T> = std::result::Result<T, i32>;

fn checked(returned: libc::c_long) -> Result<usize> {
    usize::try_from(returned).map_err(|_| Errno::last_raw())
}

fn close_range(first: RawFd, last: u32, flags: libc::c_uint) -> Result<()> {
    // SAFETY: three integers. The table is this process's own (`keep_only`), where nobody owns what is closed.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Leaves a descriptor table that is shared with others, and closes in the own copy all but these two (which may be
/// the same).
pub fn keep_only(one: RawFd, other: RawFd) -> Result<()> {
    let (low, high) = (one.min(other), one.max(other));
    // The first call makes the copy, without what it closes.
    close_range(high.saturating_add(1), u32::MAX, CLOSE_RANGE_UNSHARE)?;
    if high.saturating_sub(low) > 1 {
        close_range(low.saturating_add(1), high.saturating_sub(1) as u32, 0)?;
    }
    if low > 0 {
        close_range(0, low.saturating_sub(1) as u32, 0)?;
    }
    Ok(())
}

/// write(2).
pub fn write(fd: RawFd, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the bytes live as long as the call.
    checked(unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) })
}

/// read(2).
pub fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is ours, with room for that many bytes.
    checked(unsafe { libc::syscall(libc::SYS_read, fd, buffer.as_mut_ptr(), buffer.len()) })
}

/// Lets reads of this open file return EAGAIN where they would wait. For all who have it.
pub fn set_nonblocking(fd: RawFd) -> Result<()> {
    // SAFETY: integers. It is open for reading and writing; that cannot be changed by this.
    checked(unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_SETFL, libc::O_NONBLOCK) })
        .map(drop)
}

/// poll(2) without a limit.
pub fn poll(fds: &mut [libc::pollfd]) -> Result<usize> {
    let none: *const c_void = ptr::null();
    // SAFETY: the array is ours, with that many entries; null means no limit, and no mask of signals.
    checked(unsafe { libc::syscall(libc::SYS_ppoll, fds.as_mut_ptr(), fds.len(), none, none, 0) })
}

/// Waits for the end of a child, also of one that sends no signal then.
pub fn reap(child: libc::pid_t) {
    let none: *const c_void = ptr::null();
    loop {
        // SAFETY: integers, and null for what is not asked.
        let done = unsafe { libc::syscall(libc::SYS_wait4, child, none, libc::__WALL, none) };
        if checked(done) != Err(libc::EINTR) {
            return;
        }
    }
}

/// Memory of its own, zeroed, until the process ends.
pub fn memory(bytes: usize) -> Option<&'static mut [u8]> {
    let (access, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    let none: *mut c_void = ptr::null_mut();
    // SAFETY: new memory; no address is asked for, so none that is in use is taken.
    let made = unsafe { libc::syscall(libc::SYS_mmap, none, bytes, access, kind, -1, 0) };
    let start = checked(made).ok()?;
    // SAFETY: the kernel has just made these bytes, nobody else knows them, and nobody unmaps them.
    Some(unsafe { std::slice::from_raw_parts_mut(start as *mut u8, bytes) })
}

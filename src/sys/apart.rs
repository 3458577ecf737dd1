//! A write(2) that may wait in the kernel for whatever it likes, without keeping its process from dying.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

const STACK_BYTES: usize = 64 * 1024;
const CLOSE_RANGE_UNSHARE: libc::c_uint = 2;
/// Also children that send no signal when they end.
const WAIT_ALL: libc::c_int = libc::__WALL;

/// What the child is given, and gives back.
struct Job {
    fd: RawFd,
    bytes: *const u8,
    count: usize,
    errno: i32,
}

/// Writes `bytes` in one call, made by a process of its own that has nothing else open and shares the memory. Some waits of
/// the kernel end by no signal: a thread in one keeps its dead process from being gone, and so its parent from
/// starting the next. The caller waits as in any call, but SIGKILL ends that; the write then goes on alone.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    // Both stay where they are, whatever becomes of this thread; after its death nobody frees them.
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()].into_boxed_slice();
    let frame: Box<[u8]> = bytes.into();
    let mut job = Box::new(Job {
        fd: fd.as_raw_fd(),
        bytes: frame.as_ptr(),
        count: frame.len(),
        errno: 0,
    });
    // A handler would run on the memory of both.
    let mut before = SigSet::empty();
    pthread_sigmask(
        SigmaskHow::SIG_BLOCK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    let child = start(&mut stack, &mut job);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    reap(child?)?;
    match job.errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Runs the child to its end.
fn start(stack: &mut [u128], job: &mut Job) -> io::Result<libc::pid_t> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    let argument: *mut c_void = std::ptr::from_mut(job).cast();
    let top: *mut c_void = stack.as_mut_ptr_range().end.cast();
    // SAFETY: the stack is aligned, large enough and lives as long as the child: with CLONE_VFORK this thread goes on
    // only after it ended, or is killed with its whole process, and then nobody frees anything. So does what
    // the argument points to.
    let child = unsafe { libc::clone(child, top, flags, argument) };
    Ok(Errno::result(child)?)
}

fn reap(child: libc::pid_t) -> io::Result<()> {
    loop {
        // SAFETY: no pointer is given but null.
        let done = unsafe { libc::waitpid(child, std::ptr::null_mut(), WAIT_ALL) };
        match Errno::result(done) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The child. It makes system calls and touches its job, nothing else: locks and thread-local state are the parent's.
extern "C" fn child(argument: *mut c_void) -> libc::c_int {
    // SAFETY: it is the job of `start`, whose owner does not touch it meanwhile.
    let job = unsafe { &mut *argument.cast::<Job>() };
    let fd = job.fd as libc::c_uint;
    // Own copies of descriptors would keep files open, and locks held. The first call leaves the shared table.
    // SAFETY: three integers.
    let left =
        unsafe { libc::syscall(libc::SYS_close_range, fd + 1, u32::MAX, CLOSE_RANGE_UNSHARE) };
    if left != 0 {
        job.errno = Errno::last_raw();
        return 1;
    }
    if fd > 0 {
        // SAFETY: three integers; the table is this process's own now.
        unsafe { libc::syscall(libc::SYS_close_range, 0, fd - 1, 0) };
    }
    // SAFETY: the bytes live as long as the job.
    let written = unsafe { libc::write(job.fd, job.bytes.cast(), job.count) };
    if written < 0 {
        job.errno = Errno::last_raw();
    }
    0
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_written_apart_arrives_and_nothing_is_closed() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let other = std::fs::File::open("/proc/self/status").expect("opened");
        write(writer.as_fd(), b"apart").expect("written");
        drop(writer);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("read");
        assert_eq!(bytes, b"apart");
        let text = io::read_to_string(&other).expect("still open");
        assert!(text.contains("SigBlk:"), "{text}");
    }

    #[test]
    fn an_error_is_that_of_the_call() {
        let (reader, _writer) = io::pipe().expect("a pipe");
        let error = write(reader.as_fd(), b"x").expect_err("not for writing");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_write_that_waits_does_not_keep_descriptors() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (mut watched, held) = io::pipe().expect("a pipe");
        // More than a pipe takes: the write waits for a reader.
        let bytes = vec![1; 1 << 20];
        let waiting = std::thread::spawn(move || write(writer.as_fd(), &bytes));
        let mut first = [0; 1];
        let mut reader = reader;
        reader.read_exact(&mut first).expect("it has begun");
        drop(held);
        let mut rest = Vec::new();
        watched
            .read_to_end(&mut rest)
            .expect("nobody has the other end");
        drop(reader);
        let error = waiting
            .join()
            .expect("it ends")
            .map_err(|error| error.raw_os_error());
        // Nobody reads: EPIPE, or a part of it was written.
        assert!(
            matches!(error, Ok(()) | Err(Some(libc::EPIPE))),
            "{error:?}"
        );
    }
}

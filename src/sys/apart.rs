//! A write(2) that may wait in the kernel for whatever it likes, without keeping its process from dying.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use super::plain;

const STACK_BYTES: usize = 64 * 1024;

/// Given the descriptor that is written to, and one that is readable when the write is through, which it waits for. It
/// keeps to the rules of `plain`.
pub type Deserted = fn(RawFd, RawFd);

/// What is done about a write that still waits when nobody lives any more who could end its wait.
#[derive(Clone, Copy, Debug)]
pub struct Guard<'a> {
    /// See `life::watch`.
    pub life: BorrowedFd<'a>,
    /// Called then.
    pub deserted: Deserted,
}

/// A stack of a process. It stays where it is.
struct Stack(Box<[u128]>);

impl Stack {
    fn new() -> Self {
        Self(vec![0; STACK_BYTES / size_of::<u128>()].into_boxed_slice())
    }

    fn top(&mut self) -> *mut c_void {
        self.0.as_mut_ptr_range().end.cast()
    }
}

/// What the processes are given, and give back.
struct Job {
    fd: RawFd,
    frame: Box<[u8]>,
    /// Life, and what is done at its end.
    guard: Option<(RawFd, Deserted)>,
    /// Where the stack of a process begins that a guard starts.
    top: *mut c_void,
    errno: AtomicI32,
    /// The bytes and stacks are not needed any more.
    is_through: AtomicBool,
}

impl Job {
    fn failed(&self, errno: i32) {
        self.errno.store(errno, Ordering::Release);
    }

    fn write(&self) {
        if let Err(errno) = plain::write(self.fd, &self.frame) {
            self.failed(errno);
        }
    }
}

/// Writes `bytes` in one call, made by a process of its own that has nothing else open and shares the memory. Some waits of
/// the kernel end by no signal: a thread in one keeps its dead process from being gone, and so its parent from
/// starting the next. The caller waits as in any call, but SIGKILL ends that; the write then goes on alone. With a
/// guard a further process watches it, so that it does not wait for the dead.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8], guard: Option<Guard<'_>>) -> io::Result<()> {
    // All stay where they are, whatever becomes of this thread; after its death nobody frees them.
    let mut stacks = [Stack::new(), Stack::new()];
    let mut job = Box::new(Job {
        fd: fd.as_raw_fd(),
        frame: bytes.into(),
        guard: guard.map(|guard| (guard.life.as_raw_fd(), guard.deserted)),
        top: stacks[1].top(),
        errno: AtomicI32::new(0),
        is_through: AtomicBool::new(false),
    });
    let first = if guard.is_some() { guarded } else { alone };
    // A handler would run on the memory of all.
    let mut before = SigSet::empty();
    pthread_sigmask(
        SigmaskHow::SIG_BLOCK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    let child = start(first, &mut stacks[0], &mut job);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    plain::reap(child?);
    if !job.is_through.load(Ordering::Acquire) {
        // Somebody killed the child. What that had started may still use all this.
        std::mem::forget((stacks, job));
        return Err(io::Error::from(io::ErrorKind::Interrupted));
    }
    match job.errno.load(Ordering::Acquire) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Runs the child to its end.
fn start(
    run: extern "C" fn(*mut c_void) -> libc::c_int,
    stack: &mut Stack,
    job: &mut Job,
) -> io::Result<libc::pid_t> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    let argument: *mut c_void = std::ptr::from_mut(job).cast();
    // SAFETY: the stack is aligned, large enough and lives as long as the child: with CLONE_VFORK this thread goes on
    // only after it ended, or is killed with its whole process, and then nobody frees anything. So does what
    // the argument points to.
    let child = unsafe { libc::clone(run, stack.top(), flags, argument) };
    Ok(Errno::result(child)?)
}

/// The job of a child. Children make system calls and touch it, nothing else: locks and thread-local state are the
/// parent's.
fn job<'a>(argument: *mut c_void) -> &'a Job {
    // SAFETY: it is the job of `write`, which lives until the child is through, and is only read from then on.
    unsafe { &*argument.cast() }
}

/// A child that writes. Own copies of descriptors would keep files open, and locks held.
extern "C" fn alone(argument: *mut c_void) -> libc::c_int {
    let job = job(argument);
    match plain::keep_only(job.fd, job.fd) {
        Ok(()) => job.write(),
        Err(errno) => job.failed(errno),
    }
    job.is_through.store(true, Ordering::Release);
    0
}

/// A child that lets another write, and watches.
extern "C" fn guarded(argument: *mut c_void) -> libc::c_int {
    let job = job(argument);
    if let Err(errno) = watch(job, argument) {
        job.failed(errno);
    }
    job.is_through.store(true, Ordering::Release);
    0
}

fn watch(job: &Job, argument: *mut c_void) -> plain::Result<()> {
    let Some((life, deserted)) = job.guard else {
        return Err(libc::EINVAL);
    };
    plain::keep_only(job.fd, life)?;
    let mut done: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_PIDFD;
    // SAFETY: as in `start`: this process waits for the end of the other before it says that it is through.
    let writer = unsafe { libc::clone(writer, job.top, flags, argument, &raw mut done) };
    Errno::result(writer).map_err(|errno| errno as i32)?;
    if !ends_in_life(done, life) {
        deserted(job.fd, done);
    }
    plain::reap(writer);
    Ok(())
}

/// Has the copy of the guard's descriptors.
extern "C" fn writer(argument: *mut c_void) -> libc::c_int {
    job(argument).write();
    0
}

/// Waits until the writer is done; `false`: nobody lives any more.
fn ends_in_life(done: RawFd, life: RawFd) -> bool {
    let wait = |fd, events| libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    let mut fds = [wait(done, libc::POLLIN), wait(life, 0)];
    loop {
        if plain::poll(&mut fds).is_err() {
            continue;
        }
        match fds.map(|fd| fd.revents != 0) {
            [true, _] => return true,
            [false, true] => return false,
            [false, false] => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::life;

    #[test]
    fn what_is_written_apart_arrives_and_nothing_is_closed() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let other = std::fs::File::open("/proc/self/status").expect("opened");
        write(writer.as_fd(), b"apart", None).expect("written");
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
        let error = write(reader.as_fd(), b"x", None).expect_err("not for writing");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_write_that_waits_does_not_keep_descriptors() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (mut watched, held) = io::pipe().expect("a pipe");
        // More than a pipe takes: the write waits for a reader.
        let bytes = vec![1; 1 << 20];
        let waiting = std::thread::spawn(move || write(writer.as_fd(), &bytes, None));
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

    fn shut(socket: RawFd, _done: RawFd) {
        // SAFETY: two integers.
        unsafe { libc::shutdown(socket, libc::SHUT_RDWR) };
    }

    #[test]
    fn a_guarded_write_ends_like_any_other_while_somebody_lives() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let life = life::make().expect("a pipe");
        let watch = life::watch(life.as_fd()).expect("opened");
        let guard = Some(Guard {
            life: watch.as_fd(),
            deserted: shut,
        });
        write(writer.as_fd(), b"apart", guard).expect("written");
        let error = write(reader.as_fd(), b"x", guard).expect_err("not for writing");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        drop(writer);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("read");
        assert_eq!(bytes, b"apart");
    }

    #[test]
    fn a_guarded_write_does_not_wait_for_the_dead() {
        let (mut reader, writer) = UnixStream::pair().expect("sockets");
        let life = life::make().expect("a pipe");
        let watch = life::watch(life.as_fd()).expect("opened");
        let waiting = std::thread::spawn(move || {
            let guard = Guard {
                life: watch.as_fd(),
                deserted: shut,
            };
            write(writer.as_fd(), &vec![1; 1 << 24], Some(guard))
        });
        // It has begun, and can end by nothing else.
        reader.read_exact(&mut [0; 1]).expect("read");
        drop(life);
        // A part of it was written: that is no error.
        waiting.join().expect("it ends").expect("a part of it");
    }
}

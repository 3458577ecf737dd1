//! Processes: the clone that shares descriptors, exec, signals, what a daemon asks of the kernel for itself.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Which side of [`clone_sharing_files`] this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller; the child's process id.
    Parent(u32),
    /// The new process. Its main thread must do nothing but start another thread and wait for it:
    /// the C library still takes it for its parent.
    Child,
}

/// Makes a process that shares the descriptor table of this one: what it opens outlives it, and what
/// it closes is closed here. Refused (`WouldBlock`) while this process has other threads.
pub fn clone_sharing_files() -> io::Result<Side> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from(io::ErrorKind::WouldBlock));
    }
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: no new stack and no CLONE_VM: the child goes on here with a copy of the memory, as after
    // fork(2). There is no other thread that could hold a lock of the C library, as checked above.
    let made = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match Errno::result(made)? {
        0 => Ok(Side::Child),
        pid => Ok(Side::Parent(u32::try_from(pid).map_err(io::Error::other)?)),
    }
}

/// A descriptor that becomes readable when the process ends.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two integers.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until the descriptor is readable. `limit` `None`: without end. `false`: the limit passed.
pub fn wait_readable(fd: BorrowedFd<'_>, limit: Option<Duration>) -> io::Result<bool> {
    let limit = match limit {
        None => PollTimeout::NONE,
        Some(limit) => PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX),
    };
    loop {
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        match poll(&mut fds, limit) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits until the first descriptor is readable, which is `true`, or only the second one.
pub fn wait_readable_or(fd: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    loop {
        let mut fds = [
            PollFd::new(fd, PollFlags::POLLIN),
            PollFd::new(other, PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return Ok(fds[0].any().unwrap_or(true)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Replaces this process by a program. Returns only if that fails.
pub fn exec(program: &CString, arguments: &[CString]) -> io::Error {
    match nix::unistd::execv(program, arguments) {
        Ok(never) => match never {},
        Err(errno) => errno.into(),
    }
}

/// Ends this process without running anything of the C library's end.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes an integer and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Keeps a descriptor open over exec, or not.
pub fn set_inherit(fd: RawFd, inherit: bool) -> io::Result<()> {
    let flags = if inherit {
        FdFlag::empty()
    } else {
        FdFlag::FD_CLOEXEC
    };
    // SAFETY: only borrowed for the call; a number that is not open gives EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// A further descriptor for the same thing, with a number of at least `lowest`, open over exec.
pub fn duplicate_above(fd: BorrowedFd<'_>, lowest: RawFd) -> io::Result<OwnedFd> {
    let made = fcntl(fd, FcntlArg::F_DUPFD(lowest))?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Makes sure that nothing new gets this number: opens /dev/null as it. What it named is closed.
pub fn occupy(number: RawFd) -> io::Result<()> {
    use std::os::fd::{AsRawFd, IntoRawFd};
    let null = fs::File::open("/dev/null")?;
    if null.as_raw_fd() == number {
        let _ = null.into_raw_fd(); // It stays open, under the number it was to have.
        return Ok(());
    }
    // SAFETY: two integers; the caller names a number that no owner of ours has.
    Errno::result(unsafe { libc::dup2(null.as_raw_fd(), number) })?;
    Ok(())
}

/// Takes over a descriptor that this process got from its starter, or from its own image before exec.
/// `None` if the number is not open.
pub fn take_inherited(fd: RawFd) -> Option<OwnedFd> {
    set_inherit(fd, true).ok()?;
    // SAFETY: it is open, as fcntl above has shown, and each number is taken once, at the start.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes every descriptor that is not in `kept`. For the supervisor, between two workers: what the
/// dead worker owned is owned by nobody then.
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    kept.sort_unstable();
    kept.dedup();
    let mut first = 0;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: three integers; the caller of close_all_but vouches that nobody here owns the descriptors.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    Errno::result(done)?;
    Ok(())
}

/// Makes signals ready for [`wait_signal`], and undoes what an exec has handed down: of this thread and those that it
/// starts these are blocked and no others, and none is ignored. One that came over the exec, or comes meanwhile, is kept:
/// they are blocked before they have their default action, which is death.
pub fn take_signals(signals: &[Signal]) -> io::Result<()> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block()?;
    act(signals, SigHandler::SigDfl)?;
    Ok(set.thread_set_mask()?)
}

/// Ignores signals from now on.
pub fn ignore_signals(signals: &[Signal]) -> io::Result<()> {
    act(signals, SigHandler::SigIgn)
}

fn act(signals: &[Signal], handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    for signal in signals {
        // SAFETY: the action is "default" or "ignore": no code of ours runs in a handler.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(())
}

/// Waits for one of the blocked signals, at most for `limit`. `None`: none came.
pub fn wait_signal(signals: &[Signal], limit: Duration) -> io::Result<Option<Signal>> {
    let set: SigSet = signals.iter().copied().collect();
    let limit = libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    // SAFETY: both pointers are to live values; the siginfo is not asked for.
    let got = unsafe { libc::sigtimedwait(set.as_ref(), std::ptr::null_mut(), &limit) };
    match Errno::result(got) {
        Ok(number) => Ok(Signal::try_from(number).ok()),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    Ok(nix::sys::signal::kill(Pid::from_raw(pid), signal)?)
}

/// How the child ended, in words; `None` while it lives. `wait`: until it has ended.
pub fn reap(pid: u32, wait: bool) -> io::Result<Option<String>> {
    let flags = (!wait).then_some(WaitPidFlag::WNOHANG);
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    loop {
        return Ok(match waitpid(Pid::from_raw(pid), flags) {
            Ok(WaitStatus::Exited(_, code)) => Some(format!("exit code {code}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(format!("signal {signal}")),
            Ok(_) => None,
            Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => Some("gone".into()),
            Err(errno) => return Err(errno.into()),
        });
    }
}

/// Keeps all memory of this process resident, if it may: a daemon that the memory of a file system
/// waits for must not wait for memory itself. Without the capability a limit would make later
/// allocations fail, so it is not tried then.
pub fn lock_memory() {
    const CAP_IPC_LOCK: u32 = 14;
    if !has_capability(CAP_IPC_LOCK) {
        return;
    }
    let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
    // SAFETY: takes an integer. Refusal costs only the protection.
    let _ = unsafe { libc::mlockall(flags) };
}

/// Is the capability effective in this process?
pub fn has_capability(number: u32) -> bool {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .is_some_and(|set| set & (1 << number) != 0)
}

/// Is this process in the user namespace that the machine began with? Capabilities in others are good for less.
/// Where there are no namespaces there is no other.
pub fn is_in_first_user_namespace() -> bool {
    /// The kernel's number of it, the same on every machine.
    const FIRST: &str = "user:[4026531837]";
    fs::read_link("/proc/self/ns/user").map_or(true, |name| name.as_os_str() == FIRST)
}

/// Asks the kernel to kill anything else first when memory runs out, if that is permitted.
pub fn spare_from_oom() {
    // Lowering the value needs CAP_SYS_RESOURCE; without it the daemon runs like any process.
    let _ = fs::write("/proc/self/oom_score_adj", "-1000");
}

/// Raises the limit of open descriptors to what is permitted.
pub fn raise_fd_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    const WANTED: u64 = 1 << 20;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // With CAP_SYS_RESOURCE the hard limit may rise, too.
        if setrlimit(Resource::RLIMIT_NOFILE, WANTED, hard.max(WANTED)).is_err() && soft < hard {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
}

/// The name that people see in process lists; exec from /proc/self/exe would make it `exe`.
pub fn set_name(name: &CStr) {
    // A name is all that would be missing.
    let _ = nix::sys::prctl::set_name(name);
}

/// The effective user.
pub fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The parent's process id.
pub fn parent() -> u32 {
    nix::unistd::getppid().as_raw().unsigned_abs()
}

/// Tries to take a file for this process and those that inherit the descriptor. `false`: taken by another.
pub fn lock_file(file: &fs::File) -> io::Result<bool> {
    match nix_flock(file.as_fd()) {
        Ok(()) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn nix_flock(fd: BorrowedFd<'_>) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    // The lock must live as long as the open file, over clone and exec: nix's guard would end it.
    // SAFETY: a borrowed descriptor and an integer.
    Errno::result(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }).map(drop)
}

/// Lends a descriptor that the process keeps open under this number to a function.
pub fn with_borrowed<T>(fd: RawFd, work: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    // SAFETY: borrowed for the call only; the callers name descriptors of the kept list, which nobody
    // closes; should one be closed all the same, the kernel answers EBADF.
    work(unsafe { BorrowedFd::borrow_raw(fd) })
}

static GUARDIAN: AtomicU32 = AtomicU32::new(0);

/// Names the parent without which this process must not end by itself: its descriptors would end with it.
pub fn set_guardian(pid: u32) {
    GUARDIAN.store(pid, Ordering::Release);
}

/// Ends this process, whose state cannot be trusted any more. If its guardian is dead the calling thread
/// is parked instead: another thread is about to put a new guardian in place of this process.
pub fn die(code: i32) -> ! {
    let guardian = GUARDIAN.load(Ordering::Acquire);
    if guardian == 0 || parent() == guardian {
        exit_now(code);
    }
    loop {
        std::thread::park();
    }
}

/// Takes a file for this process as others do with flock(1); waits for it.
pub fn wait_for_lock(file: &fs::File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    loop {
        // SAFETY: a borrowed descriptor and an integer.
        match Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }) {
            Err(Errno::EINTR) => {}
            done => return done.map(drop).map_err(io::Error::from),
        }
    }
}

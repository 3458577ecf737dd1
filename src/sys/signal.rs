//! Quiet stretches of a call: no signal handler runs and no cancellation happens in them, and none is lost.
//!
//! A handler that leaves a call by longjmp, or a thread that is cancelled, must not leave an exchange with the
//! daemon half done. So signals are blocked for the call and let in only by [`Quiet::wait`], where nothing is in pieces.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::PollFd;
use nix::poll::PollFlags;
use nix::poll::ppoll;
use nix::sys::signal::SaFlags;
use nix::sys::signal::SigAction;
use nix::sys::signal::SigHandler;
use nix::sys::signal::SigSet;
use nix::sys::signal::SigmaskHow;
use nix::sys::signal::Signal;
use nix::sys::signal::sigaction;
use nix::sys::time::TimeSpec;

unsafe extern "C" {
    // In every Linux libc, but not declared by the libc crate for all of them.
    fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
}

const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;

/// Signals of the thread's own faults: a blocked one would kill the process without its handler.
const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGTRAP,
    Signal::SIGABRT,
    Signal::SIGSYS,
];

/// While it lives, this thread handles no signals but its own faults and is not cancelled.
#[derive(Debug)]
pub struct Quiet {
    before: SigSet,
    cancel_before: libc::c_int,
    // The mask is the thread's: the guard must be dropped where it was made.
    not_send: PhantomData<*const ()>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The descriptor has what was waited for, or its peer is gone.
    Ready,
    /// The time is over.
    Timeout,
    /// A handler ran.
    Signal,
}

impl Quiet {
    /// Begins a quiet stretch.
    pub fn begin() -> Self {
        let mut mask = SigSet::all();
        for fault in FAULTS {
            mask.remove(fault);
        }
        // The mask is valid, so this cannot fail; if it did, the empty mask would only let signals in.
        let before = mask
            .thread_swap_mask(SigmaskHow::SIG_SETMASK)
            .unwrap_or_else(|_| SigSet::empty());
        Self {
            before,
            cancel_before: set_cancel_state(PTHREAD_CANCEL_DISABLE),
            not_send: PhantomData,
        }
    }

    /// Waits until the descriptor is readable (or writable), or a handler ran. `timeout_ms` `None`: for ever.
    pub fn wait(
        &self,
        fd: Option<BorrowedFd<'_>>,
        writable: bool,
        timeout_ms: Option<u64>,
    ) -> io::Result<Woken> {
        let flags = if writable {
            PollFlags::POLLOUT
        } else {
            PollFlags::POLLIN
        };
        let mut fds: Vec<PollFd<'_>> = fd.map(|fd| PollFd::new(fd, flags)).into_iter().collect();
        let timeout =
            timeout_ms.map(|ms| TimeSpec::from_duration(std::time::Duration::from_millis(ms)));
        match ppoll(&mut fds, timeout, Some(self.before)) {
            Ok(0) => Ok(Woken::Timeout),
            Ok(_) => Ok(Woken::Ready),
            Err(Errno::EINTR) => Ok(Woken::Signal),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Runs the handlers of signals that came meanwhile.
    pub fn let_signals_in(&self) {
        // Each turn of ppoll runs all handlers of pending signals; whether one ran does not matter here.
        let _ = self.wait(None, false, Some(0));
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        set_cancel_state(self.cancel_before);
        // Fails only for an invalid mask, and this one came from the kernel.
        let _ = self.before.thread_set_mask();
    }
}

fn set_cancel_state(state: libc::c_int) -> libc::c_int {
    let mut before = 0;
    // SAFETY: `before` is valid for one write; the call changes only this thread's cancellation state.
    unsafe { pthread_setcancelstate(state, &mut before) };
    before
}

/// A thread of this process whose blocking calls can be interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Interruptible(libc::pthread_t);

extern "C" fn nothing(_: libc::c_int) {}

impl Interruptible {
    const SIGNAL: Signal = Signal::SIGUSR2;

    /// The calling thread. From now on SIGUSR2 only interrupts in this process.
    pub fn this_thread() -> Self {
        let action = SigAction::new(
            SigHandler::Handler(nothing),
            SaFlags::empty(),
            SigSet::empty(),
        );
        // SAFETY: the handler does nothing. It fails for no signal that can be caught.
        let _ = unsafe { sigaction(Self::SIGNAL, &action) };
        // SAFETY: always succeeds, changes nothing.
        Self(unsafe { libc::pthread_self() })
    }

    /// Interrupts what it waits in. To be called only while its handle is not joined.
    pub fn interrupt(self) {
        // SAFETY: the thread exists until it is joined, as the caller vouches.
        let _ = unsafe { libc::pthread_kill(self.0, Self::SIGNAL as libc::c_int) };
    }
}

#[cfg(test)]
/// For tests of other modules, too.
pub mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// How often the handler of [`handle`] ran.
    pub static RUNS: AtomicU32 = AtomicU32::new(0);

    extern "C" fn count(_: libc::c_int) {
        RUNS.fetch_add(1, Ordering::SeqCst);
    }

    /// Gives a signal a handler that only counts, with SA_RESTART.
    pub fn handle(signal: Signal) {
        let action = SigAction::new(
            SigHandler::Handler(count),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handler only adds to an atomic.
        unsafe { sigaction(signal, &action) }.expect("a handler");
    }

    /// A thread that can be signalled.
    #[derive(Clone, Copy)]
    pub struct Thread(libc::pthread_t);

    impl Thread {
        /// This one.
        pub fn this() -> Self {
            // SAFETY: always succeeds, changes nothing.
            Self(unsafe { libc::pthread_self() })
        }

        /// Sends it a signal; it must still run.
        pub fn signal(self, signal: Signal) {
            // SAFETY: the tests join or outlive what they signal, so the thread exists.
            let result = unsafe { libc::pthread_kill(self.0, signal as libc::c_int) };
            assert_eq!(result, 0);
        }
    }

    #[test]
    fn a_signal_is_held_until_the_wait() {
        handle(Signal::SIGURG);
        let raise = || nix::sys::signal::raise(Signal::SIGURG).expect("raised");
        let quiet = Quiet::begin();
        raise();
        assert_eq!(
            quiet.wait(None, false, Some(0)).expect("ppoll"),
            Woken::Signal
        );
        assert_eq!(
            quiet.wait(None, false, Some(0)).expect("ppoll"),
            Woken::Timeout
        );
        raise();
        drop(quiet);
        assert!(RUNS.load(Ordering::SeqCst) >= 2);
    }
}

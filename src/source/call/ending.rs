//! Whether the wait of a thread is about to end: by its death, or by a signal.

use super::first_page;

/// What becomes of the wait of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Nothing.
    GoesOn,
    /// The thread has a signal that it handles, of those by which people and timers end a wait.
    IsInterrupted,
    /// The thread is on its way out, or has a signal that will end it.
    Ends,
}

/// See [`Wait`].
pub fn wait_of(tid: u32) -> Wait {
    match first_page(&format!("/proc/{tid}/status")) {
        Some(status) if !ends(&status) => match interrupts(&status) {
            true => Wait::IsInterrupted,
            false => Wait::GoesOn,
        },
        _ => Wait::Ends,
    }
}

/// Does the wait of a thread end by its death?
pub fn is_ending(tid: u32) -> bool {
    wait_of(tid) == Wait::Ends
}

const fn set_of(signals: &[libc::c_int]) -> u64 {
    let mut set = 0;
    let mut index = 0;
    while index < signals.len() {
        set |= 1 << (signals[index] - 1);
        index += 1;
    }
    set
}

/// Signals that do nothing, or stop a process, unless it handles them.
const HARMLESS: u64 = set_of(&[
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
]);

/// Signals that say: do not wait. Of others a program does not expect that they end a read of a file.
const INTERRUPTING: u64 = set_of(&[
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGALRM,
]);

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim())
}

fn signals(status: &str, names: &[&str]) -> u64 {
    names.iter().fold(0, |all, name| {
        let set = field(status, name).and_then(|value| u64::from_str_radix(value, 16).ok());
        all | set.unwrap_or(0)
    })
}

fn pending(status: &str) -> u64 {
    signals(status, &["SigPnd:", "ShdPnd:"])
}

fn ends(status: &str) -> bool {
    if field(status, "State:").is_none_or(|state| state.starts_with(['Z', 'X'])) {
        return true;
    }
    let met = HARMLESS | signals(status, &["SigBlk:", "SigIgn:", "SigCgt:"]);
    let kill = 1 << (libc::SIGKILL - 1);
    pending(status) & (!met | kill) != 0
}

fn interrupts(status: &str) -> bool {
    let handled = signals(status, &["SigCgt:"]) & !signals(status, &["SigBlk:"]);
    pending(status) & handled & INTERRUPTING != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_that_kills_ends_a_thread() {
        let status = |pending: &str, caught: &str| {
            format!(
                "Name:\tx\nState:\tD (disk sleep)\nSigPnd:\t{pending}\nShdPnd:\t0000000000000000\n\
                 SigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\nSigCgt:\t{caught}\n"
            )
        };
        let none = "0000000000000000";
        assert!(!ends(&status(none, none)));
        assert!(ends(&status("0000000000000100", none)), "SIGKILL");
        assert!(ends(&status("0000000000000100", "ffffffffffffffff")));
        assert!(ends(&status("0000000000000002", none)), "SIGINT");
        assert!(
            !ends(&status("0000000000000002", "0000000000000002")),
            "caught"
        );
        assert!(!ends(&status("0000000000001000", none)), "ignored");
        assert!(!ends(&status("0000000000400000", none)), "SIGURG");
        assert!(ends("State:\tZ (zombie)\n"));
        assert!(!is_ending(nix::unistd::gettid().as_raw() as u32));
        assert!(is_ending(u32::MAX >> 1));
    }
}

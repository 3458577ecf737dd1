//! What a waiting thread is about to do: its system call and the call's arguments.
//!
//! The event does not tell reads from writes, and its range is rounded to pages. The thread is parked, so
//! `/proc/TID/syscall` is stable. What cannot be told, or does not name our file, becomes
//! [`Access::Unknown`](crate::source::judge::Access::Unknown) with the rounded range.

mod ending;
mod operation;

use std::cell::Cell;
use std::fs;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::time::{Duration, Instant};

pub use self::ending::{Wait, is_ending, wait_of};
pub use self::operation::{is_nonblocking, open_operation, operation};
use crate::sys::clock;

/// The call of a thread that waits in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number and arguments; `None`: not told, or no system call (kernel threads, io_uring's workers).
    pub number: Option<(i64, [u64; 6])>,
    /// Changes as soon as the thread goes on; 0: could not be read.
    pub hash: u64,
}

/// A file, to be found again among a process's descriptors, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// `st_size`.
    pub size: u64,
}

/// How long a thread may take from making its event to going to sleep: a loaded machine may have given
/// its processor to somebody else in between.
const SLEEP_MS_MAX: u64 = 500;
const RUNNING: &str = "running";
const PAGE_BYTES: usize = 4096;

/// Nothing is known of it.
pub const UNKNOWN: Call = Call {
    number: None,
    hash: 0,
};

/// The first page of a file of /proc, by one open and one read: this is done for every event.
fn first_page(path: &str) -> Option<String> {
    let mut page = [0; PAGE_BYTES];
    let length = File::open(path).ok()?.read(&mut page).ok()?;
    Some(String::from_utf8_lossy(page.get(..length)?).into_owned())
}

fn line_of(tid: u32) -> Option<String> {
    let mut line = first_page(&format!("/proc/{tid}/syscall"))?;
    line.truncate(line.trim_end().len());
    Some(line)
}

/// Reads the call that a thread waits in. Its event may be here before it sleeps: then it is waited for.
pub fn call_of(tid: u32) -> Call {
    if tid == 0 {
        return UNKNOWN;
    }
    let begin = Instant::now();
    let mut pause = Duration::from_micros(10);
    loop {
        match line_of(tid) {
            Some(line) if line != RUNNING => return parse(&line),
            Some(_) if begin.elapsed() < Duration::from_millis(SLEEP_MS_MAX) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
            _ => return UNKNOWN,
        }
    }
}

/// The call of a thread, if it waits in one already.
pub fn call_now(tid: u32) -> Call {
    if tid == 0 {
        return UNKNOWN;
    }
    match line_of(tid) {
        Some(line) if line != RUNNING => parse(&line),
        _ => UNKNOWN,
    }
}

/// How many reads and writes a thread has finished: a call that is in the same place with the same arguments and
/// the same counts is the same call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Done {
    reads: u64,
    writes: u64,
}

/// See [`Done`]; `None` if it cannot be told.
pub fn done(tid: u32) -> Option<Done> {
    // Below task/ it is of the thread, else of its whole process.
    let text = first_page(&format!("/proc/{tid}/task/{tid}/io"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some(Done {
        reads: value("syscr:")?,
        writes: value("syscw:")?,
    })
}

/// Reads a line of `/proc/TID/syscall`.
pub fn parse(line: &str) -> Call {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    let hash = hasher.finish().max(1);
    Call {
        number: parse_number(line),
        hash,
    }
}

fn parse_number(line: &str) -> Option<(i64, [u64; 6])> {
    let mut words = line.split(' ');
    let number: i64 = words.next()?.parse().ok()?;
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = hex()?;
    }
    let (stack, instruction) = (hex()?, hex()?);
    // A thread of the kernel shows call 0 and no user registers: that is no read(0, ...).
    (number >= 0 && stack != 0 && instruction != 0).then_some((number, arguments))
}

/// How long the process of a thread is taken for known. No id comes back that soon.
const PROCESS_MS: u64 = 1000;
const PROCESSES_KEPT: usize = 8;

/// A thread and its process.
#[derive(Clone, Copy)]
struct Member {
    tid: u32,
    pid: u32,
    /// When it was read, CLOCK_BOOTTIME ms.
    since_ms: u64,
}

const NOBODY: Member = Member {
    tid: 0,
    pid: 0,
    since_ms: 0,
};

thread_local! {
    /// Who makes one event makes more, and /proc/TID/status is dear. The next place to overwrite comes behind.
    static MEMBERS: Cell<([Member; PROCESSES_KEPT], usize)> =
        const { Cell::new(([NOBODY; PROCESSES_KEPT], 0)) };
}

/// The process of a thread, 0 if it cannot be told. For people: a thread that just ended may be told still.
pub fn process_of(tid: u32) -> u32 {
    let since_ms = clock::boottime_ms();
    let (mut kept, next) = MEMBERS.get();
    let is_it =
        |one: &&Member| one.tid == tid && since_ms.saturating_sub(one.since_ms) < PROCESS_MS;
    if let Some(found) = kept.iter().find(is_it) {
        return found.pid;
    }
    let pid = read_process_of(tid);
    if pid != 0 {
        kept[next] = Member { tid, pid, since_ms };
        MEMBERS.set((kept, (next + 1) % PROCESSES_KEPT));
    }
    pid
}

fn read_process_of(tid: u32) -> u32 {
    // Tgid is the fourth line.
    let Some(status) = first_page(&format!("/proc/{tid}/status")) else {
        return 0;
    };
    status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:"))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Does the thread still wait in that call?
pub fn still_waits(tid: u32, hash: u64) -> bool {
    if tid == 0 {
        return true; // Not ours to see; the answer goes nowhere if it is gone.
    }
    match hash {
        0 => fs::exists(format!("/proc/{tid}/stat")).unwrap_or(true),
        _ => line_of(tid).is_some_and(|line| line == RUNNING || parse(&line).hash == hash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_is_understood() {
        let line = "17 0x4 0x7ffd 0x64 0x3e8 0x0 0x0 0x7ffd12345678 0x7f0012345678";
        let call = parse(line);
        assert_eq!(call.number, Some((17, [4, 0x7ffd, 100, 1000, 0, 0])));
        assert_ne!(call.hash, 0);
        assert_ne!(call.hash, parse("running").hash);
    }

    #[test]
    fn lines_without_a_user_call_are_unknown() {
        for line in [
            "running",
            "",
            "-1 0x7ffd12345678 0x7f0012345678",
            "0 0x0 0x0 0x0 0x0 0x0 0x0 0x0 0x0",
            "17 0x4 0x7ffd 0x64",
        ] {
            assert_eq!(parse(line).number, None, "{line}");
        }
    }

    #[test]
    fn a_finished_read_is_counted() {
        let tid = nix::unistd::gettid().as_raw() as u32;
        let before = done(tid).expect("of the own thread");
        std::fs::read("/proc/self/stat").expect("it is there");
        assert_ne!(done(tid), Some(before));
    }

    #[test]
    fn the_own_process_waits_in_nothing() {
        let tid = nix::unistd::gettid().as_raw() as u32;
        assert_eq!(process_of(tid), std::process::id());
        assert!(still_waits(tid, 0));
        assert!(!still_waits(u32::MAX >> 1, 1));
        assert!(still_waits(0, 5));
        assert_eq!(call_of(0).number, None);
    }
}

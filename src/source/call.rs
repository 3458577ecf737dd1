//! What a waiting thread is about to do: its system call and the call's arguments.
//!
//! The event does not tell reads from writes, and its range is rounded to pages. The thread is parked, so
//! `/proc/TID/syscall` is stable. What cannot be told, or does not name our file, becomes
//! [`Access::Unknown`] with the rounded range.

use std::cell::Cell;
use std::fs;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::source::judge::{Access, Operation};
use crate::sys::clock;
use crate::sys::statx;
use crate::sys::thread_of;

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

const FICLONE: u64 = 0x4004_9409;
const FICLONERANGE: u64 = 0x4020_940d;
const FIDEDUPERANGE: u64 = 0xc018_9436;
const RWF_APPEND: u64 = 0x10;
const IOV_MAX: u64 = 1024;

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

/// Is the thread on its way out, or has it a signal that will end it?
pub fn is_ending(tid: u32) -> bool {
    first_page(&format!("/proc/{tid}/status")).is_none_or(|status| ends(&status))
}

/// Has the thread a signal that it handles, of those by which people and timers end a wait?
pub fn is_interrupted(tid: u32) -> bool {
    first_page(&format!("/proc/{tid}/status")).is_some_and(|status| interrupts(&status))
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

/// Is the thread's open file (or open call) non-blocking?
pub fn is_nonblocking(tid: u32, call: Call, file: FileId) -> bool {
    let Some((number, arguments)) = call.number else {
        return false;
    };
    if let Some(flags) = open_flags(tid, number, arguments) {
        return flags & libc::O_NONBLOCK as u64 != 0;
    }
    let descriptors: &[usize] = match number {
        libc::SYS_sendfile => &[1, 0],
        libc::SYS_copy_file_range | libc::SYS_splice => &[0, 2],
        libc::SYS_mmap => &[4],
        libc::SYS_truncate | libc::SYS_execve | libc::SYS_execveat => &[],
        _ => &[0],
    };
    descriptors
        .iter()
        .filter_map(|index| open_file(tid, arguments[*index], file))
        .filter_map(|fd| thread_of::flags(fd.as_fd()).ok())
        .any(|flags| flags & libc::O_NONBLOCK != 0)
}

/// What the call of a thread does with the file; `rounded` is (offset, bytes) as the kernel tells it. `None`: another
/// call, or one that does not name the file.
pub fn operation(tid: u32, call: Call, file: FileId, rounded: (u64, u64)) -> Option<Operation> {
    let (number, arguments) = call.number?;
    let (offset, length) = rounded;
    Caller { tid, file }.operation(number, &arguments, Rounded { offset, length })
}

/// What an open does: only by O_TRUNC anything.
pub fn open_operation(tid: u32, call: Call) -> Operation {
    let access = match call.number {
        Some((libc::SYS_execve | libc::SYS_execveat, _)) => Access::Open,
        Some((number, arguments)) => match open_flags(tid, number, arguments) {
            Some(flags) if flags & libc::O_TRUNC as u64 != 0 => Access::Truncate,
            Some(_) => Access::Open,
            None => Access::UnknownOpen,
        },
        None => Access::UnknownOpen,
    };
    Operation {
        access,
        offset: 0,
        length: 0,
    }
}

/// The flags of an open call; `None`: another call, or not readable.
fn open_flags(tid: u32, number: i64, arguments: [u64; 6]) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    match number {
        libc::SYS_open => return Some(arguments[1]),
        libc::SYS_creat => return Some((libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY) as u64),
        _ => {}
    }
    match number {
        libc::SYS_openat | libc::SYS_open_by_handle_at => Some(arguments[2]),
        // struct open_how begins with 64 bits of flags.
        libc::SYS_openat2 => thread_of::memory_word(tid, arguments[2]).ok(),
        _ => None,
    }
}

/// A copy of the thread's open file of that number, if it is the event's file. On a FUSE mount closing the copy must
/// not ask the server: the files there are opened with `FOPEN_NOFLUSH`.
fn open_file(tid: u32, number: u64, file: FileId) -> Option<OwnedFd> {
    let fd = thread_of::descriptor(tid, number as i32).ok()?;
    // No server is asked: on a FUSE mount that would be ourselves.
    let (device, inode) = statx::known_inode(fd.as_fd()).ok()?;
    (device == file.device && inode == file.inode).then_some(fd)
}

#[derive(Clone, Copy)]
struct Rounded {
    offset: u64,
    length: u64,
}

struct Caller {
    tid: u32,
    file: FileId,
}

impl Caller {
    fn operation(&self, number: i64, a: &[u64; 6], rounded: Rounded) -> Option<Operation> {
        match number {
            libc::SYS_read => self.read(a[0], None, a[2]),
            libc::SYS_pread64 => self.read(a[0], Some(a[3]), a[2]),
            libc::SYS_readv => self.read(a[0], None, self.vector(a[1], a[2])?),
            libc::SYS_preadv => self.read(a[0], Some(a[3]), self.vector(a[1], a[2])?),
            libc::SYS_preadv2 => self.read(a[0], position(a[3]), self.vector(a[1], a[2])?),
            libc::SYS_write => self.write(a[0], None, a[2], 0),
            libc::SYS_pwrite64 => self.write(a[0], Some(a[3]), a[2], 0),
            libc::SYS_writev => self.write(a[0], None, self.vector(a[1], a[2])?, 0),
            libc::SYS_pwritev => self.write(a[0], Some(a[3]), self.vector(a[1], a[2])?, 0),
            libc::SYS_pwritev2 => self.write(a[0], position(a[3]), self.vector(a[1], a[2])?, a[5]),
            // out, in, *offset of in, count
            libc::SYS_sendfile => self.copy((a[1], a[2]), (a[0], 0), a[3]),
            libc::SYS_copy_file_range | libc::SYS_splice => {
                self.copy((a[0], a[1]), (a[2], a[3]), a[4])
            }
            libc::SYS_truncate => one(Access::Truncate, a[1], 0),
            libc::SYS_ftruncate => {
                self.named(a[0])?;
                one(Access::Truncate, a[1], 0)
            }
            libc::SYS_fallocate => {
                self.named(a[0])?;
                one(Access::Write, a[2], a[3])
            }
            libc::SYS_mmap => self.map(a),
            libc::SYS_execve | libc::SYS_execveat => {
                // The mapping of a segment comes as an event like the reads of the head do.
                one(Access::MapRead, rounded.offset, rounded.length.max(1))
            }
            libc::SYS_ioctl => self.clone_range(a, rounded),
            _ => None,
        }
    }

    /// Is that number the event's file?
    fn named(&self, number: u64) -> Option<()> {
        let path = format!("/proc/{}/fd/{}", self.tid, number as i32);
        let found = statx::known_inode_at(Path::new(&path)).ok()?;
        (found == (self.file.device, self.file.inode)).then_some(())
    }

    fn file_position(&self, number: u64) -> Option<u64> {
        let fd = open_file(self.tid, number, self.file)?;
        thread_of::position(fd.as_fd()).ok()
    }

    fn read(&self, number: u64, offset: Option<u64>, length: u64) -> Option<Operation> {
        let offset = match offset {
            Some(offset) => {
                self.named(number)?;
                offset
            }
            None => self.file_position(number)?,
        };
        one(Access::Read, offset, length)
    }

    fn write(&self, number: u64, offset: Option<u64>, length: u64, rwf: u64) -> Option<Operation> {
        let fd = open_file(self.tid, number, self.file)?;
        let flags = thread_of::flags(fd.as_fd()).ok()?;
        // O_APPEND rules over the position and over the offset of pwrite(2).
        let append = flags & libc::O_APPEND != 0 || rwf & RWF_APPEND != 0;
        let offset = match offset {
            _ if append => self.file.size,
            Some(offset) => offset,
            None => thread_of::position(fd.as_fd()).ok()?,
        };
        one(Access::Write, offset, length)
    }

    fn vector(&self, address: u64, count: u64) -> Option<u64> {
        if count > IOV_MAX {
            return Some(0); // The kernel refuses it.
        }
        let mut bytes = vec![0; count as usize * 16];
        thread_of::memory(self.tid, address, &mut bytes).ok()?;
        let lengths = bytes.chunks_exact(16).map(|iov| {
            let length: [u8; 8] = iov[8..].try_into().expect("eight bytes of sixteen");
            u64::from_ne_bytes(length)
        });
        Some(lengths.fold(0, u64::saturating_add))
    }

    fn end_of_copy(&self, (number, pointer): (u64, u64)) -> Option<u64> {
        if pointer == 0 {
            return self.file_position(number);
        }
        self.named(number)?;
        thread_of::memory_word(self.tid, pointer).ok()
    }

    /// A copy between two descriptors, one or both of them the event's file.
    fn copy(&self, from: (u64, u64), to: (u64, u64), length: u64) -> Option<Operation> {
        let source = self.named(from.0).is_some();
        let target = self.named(to.0).is_some();
        match (source, target) {
            (true, false) => one(Access::Read, self.end_of_copy(from)?, length),
            (false, true) => one(Access::Write, self.end_of_copy(to)?, length),
            // Within one file the event may be of either end.
            _ => None,
        }
    }

    fn map(&self, a: &[u64; 6]) -> Option<Operation> {
        self.named(a[4])?;
        let kind = a[3] as i32 & libc::MAP_TYPE;
        let shared = kind == libc::MAP_SHARED || kind == libc::MAP_SHARED_VALIDATE;
        let write = a[2] as i32 & libc::PROT_WRITE != 0;
        let access = if shared && write {
            Access::MapWrite
        } else {
            Access::MapRead
        };
        one(access, a[5], a[1])
    }

    fn clone_range(&self, a: &[u64; 6], rounded: Rounded) -> Option<Operation> {
        let length = match rounded.length {
            // To the end of the file.
            0 => self.file.size.saturating_sub(rounded.offset).max(1),
            length => length,
        };
        let target = self.named(a[0]).is_some();
        match a[1] {
            FICLONE | FICLONERANGE if target => one(Access::Write, rounded.offset, length),
            FICLONE | FICLONERANGE => one(Access::Read, rounded.offset, length),
            // Compares only, but of which end the event is cannot be told.
            FIDEDUPERANGE => one(Access::Unknown, rounded.offset, length),
            _ => None,
        }
    }
}

fn position(argument: u64) -> Option<u64> {
    (argument != u64::MAX).then_some(argument)
}

fn one(access: Access, offset: u64, length: u64) -> Option<Operation> {
    Some(Operation {
        access,
        offset,
        length,
    })
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

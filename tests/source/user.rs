//! A user: a process of its own that does what it is told, one line at a time.
//!
//! It is this test program again, started with `DMAPI_TEST_USER`. It must never be the process that answers
//! the events.
#![allow(clippy::multiple_unsafe_ops_per_block)] // A run of plain system calls.

use std::ffi::CString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

#[path = "user_names.rs"]
mod user_names;
#[path = "user_storms.rs"]
mod user_storms;

use user_storms::{churn, faults, reopen, storm};

/// The byte that belongs at an offset: never zero.
pub fn pattern(offset: u64) -> u8 {
    (offset.wrapping_mul(31) % 255) as u8 + 1
}

/// A stretch of it.
pub fn patterns(offset: u64, length: usize) -> Vec<u8> {
    (offset..offset + length as u64).map(pattern).collect()
}

/// What an operation gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Return value, -1 for an error.
    pub result: i64,
    /// The error's number.
    pub errno: i32,
    /// Bytes that were zero though the pattern has none.
    pub zeros: usize,
    /// Bytes that were neither zero nor right.
    pub wrong: usize,
}

impl Done {
    /// All of these bytes were read, and are right.
    #[track_caller]
    pub fn is_right(&self, bytes: i64) {
        assert_eq!(
            (self.result, self.errno, self.zeros, self.wrong),
            (bytes, 0, 0, 0)
        );
    }

    /// It failed so.
    #[track_caller]
    pub fn failed(&self, errno: i32) {
        assert_eq!((self.result, self.errno), (-1, errno));
    }

    /// It succeeded.
    #[track_caller]
    pub fn ok(&self) -> i64 {
        assert!(self.result >= 0, "errno {}", self.errno);
        self.result
    }
}

/// A running user.
#[derive(Debug)]
pub struct User {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    last: Option<Done>,
}

impl User {
    /// Starts one.
    pub fn new() -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "user_process", "--nocapture", "--test-threads=1"])
            .env("DMAPI_TEST_USER", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        // SAFETY: only system calls that are allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Groups and event descriptors of the test must not live on in here.
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn().expect("a user starts");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if let Some((_, answer)) = line.split_once('@') {
                    let _ = sender.send(answer.to_owned());
                }
            }
        });
        let mut user = Self {
            child,
            input,
            answers,
            last: None,
        };
        assert_eq!(user.get("hello").result, 1);
        user
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to do something; it may block.
    pub fn tell(&mut self, line: &str) {
        self.last = None;
        writeln!(self.input, "{line}").expect("the user lives");
    }

    /// Is it through with what it was told?
    pub fn done(&self) -> Option<Done> {
        self.answers.try_recv().ok().map(|line| parse(&line))
    }

    /// The same, and it is remembered until it is told something else.
    pub fn done_soon(&mut self) -> Option<Done> {
        if self.last.is_none() {
            self.last = self.done();
        }
        self.last
    }

    /// What [`User::done_soon`] found.
    pub fn last(&self) -> Done {
        self.last.expect("it is through")
    }

    /// What came of it, found before or not.
    pub fn wait(&mut self) -> Done {
        match self.last.take() {
            Some(done) => done,
            None => self.result(),
        }
    }

    /// What came of it.
    pub fn result(&self) -> Done {
        let line = self
            .answers
            .recv_timeout(Duration::from_secs(60))
            .expect("the user is through within a minute");
        parse(&line)
    }

    /// Does something that may take so many seconds.
    pub fn get_within(&mut self, line: &str, seconds: u64) -> Done {
        self.tell(line);
        let line = self.answers.recv_timeout(Duration::from_secs(seconds));
        parse(&line.expect("the user is through in time"))
    }

    /// Does something that does not block for long.
    pub fn get(&mut self, line: &str) -> Done {
        self.tell(line);
        self.result()
    }

    /// Opens a file; flags as in C, joined by `|`.
    pub fn open(&mut self, path: &std::path::Path, flags: &str) -> i64 {
        self.get(&open_line(path, flags)).ok()
    }

    /// Maps so many bytes of an open file with MAP_SHARED; where they are.
    pub fn map(&mut self, fd: i64, bytes: usize, protection: i32) -> i64 {
        let shared = libc::MAP_SHARED;
        self.get(&format!("map {fd} 0 {bytes} {protection} {shared}"))
            .ok()
    }

    /// Kills it, as the system would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The line that opens a file.
pub fn open_line(path: &std::path::Path, flags: &str) -> String {
    format!("open {} {flags}", path.display())
}

impl Drop for User {
    fn drop(&mut self) {
        self.kill();
    }
}

fn parse(line: &str) -> Done {
    let mut words = line
        .split(' ')
        .map(|word| word.parse::<i64>().expect("numbers"));
    let mut next = || words.next().expect("four numbers");
    Done {
        result: next(),
        errno: next() as i32,
        zeros: next() as usize,
        wrong: next() as usize,
    }
}

// ---- the user's side

/// The life of a user.
pub fn live() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let done = act(&words);
        println!(
            "@{} {} {} {}",
            done.result, done.errno, done.zeros, done.wrong
        );
    }
}

fn plain(result: i64) -> Done {
    let errno = if result < 0 {
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
    } else {
        0
    };
    Done {
        result,
        errno,
        zeros: 0,
        wrong: 0,
    }
}

fn compared(result: i64, bytes: &[u8], offset: u64) -> Done {
    let mut done = plain(result);
    for (index, byte) in bytes.iter().take(result.max(0) as usize).enumerate() {
        if *byte == pattern(offset + index as u64) {
            continue;
        }
        if *byte == 0 {
            done.zeros += 1;
        } else {
            done.wrong += 1;
        }
    }
    done
}

fn flag(name: &str) -> i32 {
    match name {
        "RDONLY" => libc::O_RDONLY,
        "WRONLY" => libc::O_WRONLY,
        "RDWR" => libc::O_RDWR,
        "TRUNC" => libc::O_TRUNC,
        "CREAT" => libc::O_CREAT,
        "EXCL" => libc::O_EXCL,
        "APPEND" => libc::O_APPEND,
        "NONBLOCK" => libc::O_NONBLOCK,
        "DIRECT" => libc::O_DIRECT,
        other => panic!("flag {other}"),
    }
}

/// A buffer that O_DIRECT takes.
fn aligned(bytes: usize) -> &'static mut [u8] {
    let layout = std::alloc::Layout::from_size_align(bytes.max(1), 4096).expect("a layout");
    // SAFETY: the size is not zero; the memory is never freed: the process is short-lived.
    unsafe { std::slice::from_raw_parts_mut(std::alloc::alloc_zeroed(layout), bytes) }
}

fn act(words: &[&str]) -> Done {
    let text = |index: usize| CString::new(words[index]).expect("no NUL");
    let number = |index: usize| words[index].parse::<i64>().expect("a number");
    let fd = |index: usize| number(index) as i32;
    // SAFETY: each call gets live buffers of the lengths it is told.
    unsafe {
        match words[0] {
            "hello" => plain(1),
            "open" => {
                let flags = words[2].split('|').map(flag).fold(0, |all, one| all | one);
                plain(i64::from(libc::open(text(1).as_ptr(), flags, 0o644)))
            }
            "close" => plain(i64::from(libc::close(fd(1)))),
            "seek" => plain(libc::lseek(fd(1), number(2), libc::SEEK_SET)),
            // read FD LENGTH EXPECTED-OFFSET
            "read" => {
                let buffer = aligned(number(2) as usize);
                let got = libc::read(fd(1), buffer.as_mut_ptr().cast(), buffer.len());
                compared(got as i64, buffer, number(3) as u64)
            }
            // pread FD OFFSET LENGTH
            "pread" => {
                let buffer = aligned(number(3) as usize);
                let got = libc::pread(fd(1), buffer.as_mut_ptr().cast(), buffer.len(), number(2));
                compared(got as i64, buffer, number(2) as u64)
            }
            "readv" | "preadv" => {
                let at = words[0] == "preadv";
                let (one, two) = (aligned(100), aligned(number(3) as usize - 100));
                let vector = [&mut *one, &mut *two].map(|part| libc::iovec {
                    iov_base: part.as_mut_ptr().cast(),
                    iov_len: part.len(),
                });
                let got = if at {
                    libc::preadv(fd(1), vector.as_ptr(), 2, number(2))
                } else {
                    libc::readv(fd(1), vector.as_ptr(), 2)
                };
                compared(got as i64, &[&*one, &*two].concat(), number(2) as u64)
            }
            "pwrite" => {
                let bytes = super::user::patterns(number(2) as u64, number(3) as usize);
                plain(libc::pwrite(fd(1), bytes.as_ptr().cast(), bytes.len(), number(2)) as i64)
            }
            // write FD LENGTH PATTERN-OFFSET
            "write" => {
                let bytes = super::user::patterns(number(3) as u64, number(2) as usize);
                plain(libc::write(fd(1), bytes.as_ptr().cast(), bytes.len()) as i64)
            }
            "truncate" => plain(i64::from(libc::truncate(text(1).as_ptr(), number(2)))),
            "ftruncate" => plain(i64::from(libc::ftruncate(fd(1), number(2)))),
            // fallocate FD MODE OFFSET LENGTH
            "fallocate" => plain(i64::from(libc::fallocate(
                fd(1),
                number(2) as i32,
                number(3),
                number(4),
            ))),
            // mmap FD OFFSET LENGTH PROT FLAGS: maps, looks if it may read, keeps it mapped
            "mmap" => map(words),
            // store ADDRESS LENGTH PATTERN-OFFSET, load the same: through a mapping
            "store" => {
                let bytes = super::user::patterns(number(3) as u64, number(2) as usize);
                let to = number(1) as usize as *mut u8;
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                plain(number(2))
            }
            "load" => {
                let from = number(1) as usize as *const u8;
                let bytes = std::slice::from_raw_parts(from, number(2) as usize);
                compared(number(2), bytes, number(3) as u64)
            }
            // map FD OFFSET LENGTH PROT FLAGS: without looking
            "map" => plain(libc::mmap(
                std::ptr::null_mut(),
                number(3) as usize,
                number(4) as i32,
                number(5) as i32,
                fd(1),
                number(2),
            ) as i64),
            // handle SIGNAL: from now on, without restarting calls
            "handle" => {
                let mut action: libc::sigaction = std::mem::zeroed();
                let handler: extern "C" fn(libc::c_int) = nothing;
                action.sa_sigaction = handler as usize;
                plain(i64::from(libc::sigaction(
                    number(1) as libc::c_int,
                    &action,
                    std::ptr::null_mut(),
                )))
            }
            // lseek FD OFFSET WHENCE
            "lseek" => plain(libc::lseek(fd(1), number(2), number(3) as i32)),
            "fsync" => plain(i64::from(libc::fsync(fd(1)))),
            "munmap" => plain(i64::from(libc::munmap(
                number(1) as usize as *mut libc::c_void,
                number(2) as usize,
            ))),
            "sendfile" | "splice" => through_pipe(words),
            // copy FROM OFFSET LENGTH TO
            "copy" => {
                let (mut from, mut to) = (number(2), 0i64);
                let got =
                    libc::copy_file_range(fd(1), &mut from, fd(4), &mut to, number(3) as usize, 0);
                let buffer = aligned(number(3) as usize);
                libc::pread(fd(4), buffer.as_mut_ptr().cast(), buffer.len(), 0);
                compared(got as i64, buffer, number(2) as u64)
            }
            // watch PATH: an inotify watch; unwatch INOTIFY WATCH
            "watch" => {
                let inotify = libc::inotify_init();
                assert_eq!(
                    libc::inotify_add_watch(inotify, text(1).as_ptr(), libc::IN_ACCESS),
                    1
                );
                plain(i64::from(inotify))
            }
            "unwatch" => plain(i64::from(libc::inotify_rm_watch(fd(1), fd(2)))),
            // clone FROM TO LENGTH: FICLONE, and what is there then
            "clone" => {
                let done = libc::ioctl(fd(2), 0x4004_9409, fd(1));
                if done < 0 {
                    return plain(-1);
                }
                let buffer = aligned(number(3) as usize);
                let got = libc::pread(fd(2), buffer.as_mut_ptr().cast(), buffer.len(), 0);
                compared(got as i64, buffer, 0)
            }
            "exec" => match Command::new(words[1]).status() {
                Ok(status) => plain(i64::from(status.code().unwrap_or(-2))),
                Err(error) => Done {
                    result: -1,
                    errno: error.raw_os_error().unwrap_or(0),
                    zeros: 0,
                    wrong: 0,
                },
            },
            "uring" => super::uring::read(fd(1), number(2) as u64, number(3) as usize),
            // time FD COUNT: preads of 4 KiB at 0; the result is nanoseconds for each
            "time" => {
                let buffer = aligned(4096);
                let begin = std::time::Instant::now();
                for _ in 0..number(2) {
                    libc::pread(fd(1), buffer.as_mut_ptr().cast(), buffer.len(), 0);
                }
                plain(begin.elapsed().as_nanos() as i64 / number(2))
            }
            // storm FD SIZE MILLISECONDS: reads at changing places; the result is the number of reads
            "storm" => storm(fd(1), number(2) as u64, number(3) as u64),
            // churn PATH SIZE MILLISECONDS SEED: opens, reads, writes and maps; a mapping outlives its descriptor
            "churn" => churn(
                &text(1),
                number(2) as u64,
                number(3) as u64,
                number(4) as u64,
            ),
            // faults FD SIZE MILLISECONDS: looks at changing bytes, by turns through a mapping and by pread
            "faults" => faults(fd(1), number(2) as u64, number(3) as u64),
            // reopen PATH SIZE MILLISECONDS: the same with a fresh descriptor each time
            "reopen" => reopen(&text(1), number(2) as u64, number(3) as u64),
            _ => user_names::act(words),
        }
    }
}

extern "C" fn nothing(_: libc::c_int) {}

fn map(words: &[&str]) -> Done {
    let number = |index: usize| words[index].parse::<i64>().expect("a number");
    let (offset, length) = (number(2), number(3) as usize);
    let protection = number(4) as i32;
    // SAFETY: a fresh mapping; it is looked at only within the file, as the test says.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            protection,
            number(5) as i32,
            number(1) as i32,
            offset,
        )
    };
    if base == libc::MAP_FAILED {
        return plain(-1);
    }
    if protection & libc::PROT_READ == 0 {
        return plain(base as i64);
    }
    // SAFETY: mapped readable just now, and the test maps no more than the file has.
    let bytes = unsafe { std::slice::from_raw_parts(base.cast::<u8>(), length) };
    let mut done = compared(length as i64, bytes, offset as u64);
    done.result = base as i64;
    done
}

/// FD OFFSET LENGTH
fn through_pipe(words: &[&str]) -> Done {
    let number = |index: usize| words[index].parse::<i64>().expect("a number");
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    unsafe { libc::pipe(ends.as_mut_ptr()) };
    let mut offset = number(2);
    let length = number(3) as usize;
    let fd = number(1) as i32;
    let got = if words[0] == "sendfile" {
        // SAFETY: plain integers and a live offset.
        unsafe { libc::sendfile(ends[1], fd, &mut offset, length) }
    } else {
        // SAFETY: as above.
        unsafe { libc::splice(fd, &mut offset, ends[1], std::ptr::null_mut(), length, 0) }
    };
    let result = plain(got as i64);
    if got < 0 {
        return result;
    }
    let buffer = aligned(got as usize);
    // SAFETY: a live buffer.
    let read = unsafe { libc::read(ends[0], buffer.as_mut_ptr().cast(), buffer.len()) };
    for end in ends {
        // SAFETY: ours.
        unsafe { libc::close(end) };
    }
    compared(read as i64, buffer, number(2) as u64)
}

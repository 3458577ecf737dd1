//! Ignore marks while somebody waits: why a mark is never deleted.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use dmapi::sys::fanotify::{self, EventFd, FAN_OPEN_EXEC, FAN_OPEN_PERM, FAN_PRE_ACCESS, Response};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::common::{self, LoopFs};
use super::sink::alone;
use super::user::{User, patterns};

const ROUNDS: usize = 100;
const SIZE: usize = 64 * 1024;

/// How a mark that hides a file is taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unmark {
    /// As the source does it: one harmless bit stays.
    NeverEmpty,
    /// As must not be done.
    Deleted,
    /// A user's inotify watch goes, on a file as the source leaves it.
    Inotify,
}

/// A group on a file system, without any of the source's code around it.
struct Watch {
    group: OwnedFd,
}

struct Event {
    fd: RawFd,
    is_open: bool,
}

impl Watch {
    fn new(fs: &LoopFs) -> Self {
        let group = fanotify::permission_group().expect("a group");
        let root = std::fs::File::open(fs.path()).expect("the root");
        let mask = FAN_PRE_ACCESS | FAN_OPEN_PERM;
        fanotify::watch_filesystem(group.as_fd(), root.as_fd(), mask).expect("a mark");
        Self { group }
    }

    /// The next event, if one comes.
    fn next(&self, limit: Duration) -> Option<Event> {
        let end = Instant::now() + limit;
        loop {
            let mut bytes = [0u8; 48];
            // Two opens would fit as well, but each step of a test waits for one event only.
            if let Ok(got) = nix::unistd::read(self.group.as_fd(), &mut bytes) {
                assert!(got == 24 || got == 48, "{got} bytes");
                let word = |at: usize| {
                    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
                };
                return Some(Event {
                    fd: word(16) as RawFd,
                    is_open: word(8) & FAN_OPEN_PERM as u32 != 0,
                });
            }
            let left = end.checked_duration_since(Instant::now())?;
            let mut fds = [PollFd::new(self.group.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::try_from(left).expect("short"));
        }
    }

    fn allow(&self, event: &Event) {
        fanotify::respond(self.group.as_fd(), event.fd, Response::Allow).expect("an answer");
        EventFd::close(event.fd);
    }

    /// An access, which must come.
    fn access(&self) -> Event {
        let event = self.next(Duration::from_secs(30)).expect("an event");
        assert!(!event.is_open);
        event
    }

    fn open(&self, user: &mut User, fs: &LoopFs) -> i64 {
        user.tell(&super::user::open_line(&fs.join("f"), "RDONLY"));
        let event = self.next(Duration::from_secs(30)).expect("an event");
        assert!(event.is_open);
        self.allow(&event);
        user.wait().ok()
    }

    /// Does the user's access end without an event? The event is answered.
    fn is_unseen(&self, user: &mut User) -> bool {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            assert!(Instant::now() < end, "neither an event nor a result");
            if let Some(event) = self.next(Duration::from_millis(2)) {
                assert!(user.done_soon().is_none());
                self.allow(&event);
                return false;
            }
            if user.done_soon().is_some() {
                return true;
            }
        }
    }

    fn unmark(&self, file: &EventFd, how: Unmark) {
        fanotify::ignore_inode(self.group.as_fd(), file.as_fd()).expect("a mark");
        let done = match how {
            Unmark::NeverEmpty => fanotify::heed_inode(self.group.as_fd(), file.as_fd()),
            Unmark::Deleted => self.delete_mark(file),
            Unmark::Inotify => panic!("the user does it"),
        };
        done.expect("the mark changes");
    }

    fn delete_mark(&self, file: &EventFd) -> std::io::Result<()> {
        const FAN_MARK_REMOVE: u32 = 0x2;
        const FAN_MARK_IGNORE_SURV: u32 = 0x440;
        // SAFETY: integers and no path.
        let result = unsafe {
            libc::fanotify_mark(
                self.group.as_raw_fd(),
                FAN_MARK_REMOVE | FAN_MARK_IGNORE_SURV,
                FAN_PRE_ACCESS | FAN_OPEN_PERM | FAN_OPEN_EXEC,
                file.as_fd().as_raw_fd(),
                std::ptr::null(),
            )
        };
        nix::errno::Errno::result(result)?;
        Ok(())
    }
}

/// Two readers, and somebody who watches the file by inotify.
struct Scene {
    fs: LoopFs,
    watch: Watch,
    first: (User, i64),
    second: (User, i64),
    watcher: User,
}

impl Scene {
    fn new(kind: &'static str) -> Self {
        let (mut one, mut two, watcher) = (User::new(), User::new(), User::new());
        let fs = LoopFs::new(kind);
        std::fs::write(fs.join("f"), patterns(0, SIZE)).expect("a file");
        let watch = Watch::new(&fs);
        let first = (watch.open(&mut one, &fs), one);
        let second = (watch.open(&mut two, &fs), two);
        let scene = Self {
            fs,
            watch,
            first: (first.1, first.0),
            second: (second.1, second.0),
            watcher,
        };
        scene.stand_first();
        scene
    }

    /// Puts the mark that the source puts on every guarded file.
    fn stand_first(&self) {
        // Opened by a thread of its own: the open waits for this one to allow it.
        let path = self.fs.join("f");
        let opening = std::thread::spawn(move || std::fs::File::open(path));
        let event = self.watch.next(Duration::from_secs(30)).expect("an event");
        assert!(event.is_open);
        fanotify::stand_first(self.watch.group.as_fd(), EventFd::of(event.fd).as_fd())
            .expect("a mark");
        self.watch.allow(&event);
        opening.join().expect("it opens").expect("it opens");
    }

    /// One reader waits; a mark of the file goes; did a second reader get through unseen?
    fn passes_unseen(&mut self, how: Unmark) -> bool {
        let inotify = (how == Unmark::Inotify).then(|| {
            let line = format!("watch {}", self.fs.join("f").display());
            self.watcher.get(&line).ok()
        });
        let (first, first_fd) = &mut self.first;
        first.tell(&format!("pread {first_fd} 0 4096"));
        let waiting = self.watch.access();
        match inotify {
            Some(inotify) => {
                self.watcher.get(&format!("unwatch {inotify} 1")).ok();
                // Without our mark in front of it, the first reader would hold this up.
                self.watcher.get(&format!("close {inotify}")).ok();
            }
            None => self.watch.unmark(&EventFd::of(waiting.fd), how),
        }
        let (second, second_fd) = &mut self.second;
        second.tell(&format!("pread {second_fd} 0 4096"));
        let unseen = self.watch.is_unseen(second);
        self.watch.allow(&waiting);
        first.wait().is_right(4096);
        second.wait().is_right(4096);
        if how == Unmark::Deleted {
            self.stand_first();
        }
        unseen
    }
}

fn rounds(how: Unmark) -> Vec<(&'static str, usize)> {
    let mut found = Vec::new();
    for kind in common::KINDS {
        let mut scene = Scene::new(kind);
        let unseen = (0..ROUNDS).filter(|_| scene.passes_unseen(how)).count();
        eprintln!("{kind}: {how:?}: {unseen} of {ROUNDS} readers passed unseen");
        found.push((kind, unseen));
    }
    found
}

fn nobody_passes(how: Unmark) {
    let Some(_alone) = alone(120) else {
        return;
    };
    for (kind, unseen) in rounds(how) {
        assert_eq!(unseen, 0, "{kind}");
    }
}

#[test]
fn a_mark_that_is_never_empty_lets_nobody_pass_unseen() {
    nobody_passes(Unmark::NeverEmpty);
}

/// Shows the reason and asserts nothing: a kernel may well mend it.
#[test]
fn a_deleted_mark_lets_readers_pass_unseen_on_some_kernels() {
    let Some(_alone) = alone(120) else {
        return;
    };
    rounds(Unmark::Deleted);
}

#[test]
fn an_inotify_watch_can_end_while_somebody_waits_for_the_file() {
    nobody_passes(Unmark::Inotify);
}

//! What the tests share: a daemon with a managed file system, an application, readers.
#![allow(dead_code)]

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dmapi::model::{
    Answer, DmError, Event, EventBody, EventSet, EventType, FsId, Handle, Kinds, OpenFor, Region,
    Right, SessionId, Token,
};
use dmapi::proto::{Call, Reply, Request, Target};

use crate::common::{self, LoopFs};
use crate::support::{self, Client, Daemon, kill, until};

pub const BYTES: usize = 300_000;

pub fn content() -> Vec<u8> {
    (0..BYTES).map(|at| (at % 251) as u8 + 1).collect()
}

/// A daemon with one managed file system, and an application.
pub struct Service {
    pub daemon: Daemon,
    pub fs: LoopFs,
    pub client: Client,
    pub session: SessionId,
    pub id: FsId,
    /// Where users see the file system.
    pub users: PathBuf,
}

/// How long a program waits for the next worker, also one that begins while there is none and the disk is slow.
pub const PATIENCE_MS: &str = "60000";

pub fn dmctl(daemon: &Daemon, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dmctl"))
        .args(arguments)
        .env("DMAPI_SOCKET", daemon.socket())
        .env("DMAPI_WAIT_MS", PATIENCE_MS)
        .output()
        .expect("dmctl runs")
}

/// Tests run one after another: a descriptor that one leaves to a starting child, until that execs, would
/// be an open file to another.
pub fn serial() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
pub fn good(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary names are text")
}

impl Service {
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    pub fn start_with(environment: &[(&str, &str)]) -> Option<Self> {
        if !common::is_root() {
            return None;
        }
        let fs = LoopFs::new("xfs");
        let dir = tempfile::tempdir().expect("tempdir");
        let daemon = Daemon::start_in(dir, &support::program(), environment);
        let path = fs.path();
        good(&dmctl(&daemon, &["manage", text(&path)]));
        Some(Self::on(daemon, fs, path))
    }

    /// The same through a FUSE mount beside the file system.
    pub fn behind_fuse(options: &str, environment: &[(&str, &str)]) -> Option<Self> {
        if !common::is_root() {
            return None;
        }
        let fs = LoopFs::new("xfs");
        let dir = tempfile::tempdir().expect("tempdir");
        let daemon = Daemon::start_in(dir, &support::program(), environment);
        // Below the directory that the file system's janitor looks after.
        let users = fs.path().with_file_name("users");
        std::fs::create_dir(&users).expect("a mount point");
        let backing = fs.path();
        let (backing, shown) = (text(&backing), text(&users));
        let mount = ["mount", "--source", "fuse", "-o", options, backing, shown];
        good(&dmctl(&daemon, &mount));
        Some(Self::on(daemon, fs, users))
    }

    fn on(daemon: Daemon, fs: LoopFs, users: PathBuf) -> Self {
        let mut client = daemon.client();
        let session = client.create_session("recall");
        let id = fs.open().fs;
        let mut service = Self {
            daemon,
            fs,
            client,
            session,
            id,
            users,
        };
        service.take(&[EventType::Read, EventType::Write, EventType::Truncate]);
        service
    }

    pub fn take(&mut self, events: &[EventType]) {
        let target = self.target(Handle::Fs(self.id));
        let request = Request::SetDisposition {
            target,
            events: EventSet::of(events),
            mask: EventSet((1 << 23) - 1),
            answers_destroy: false,
        };
        assert_eq!(self.client.ask(request), Ok(Reply::Nothing));
    }

    pub fn target(&self, handle: Handle) -> Target {
        self.target_with(handle, None)
    }

    pub fn target_with(&self, handle: Handle, token: Option<Token>) -> Target {
        Target {
            session: self.session,
            handle,
            token,
        }
    }

    /// A resident file with the content.
    pub fn file(&mut self, name: &str) -> Handle {
        let path = self.users.join(name);
        std::fs::write(&path, content()).expect("written");
        let file = std::fs::File::open(&path).expect("opened");
        file.sync_all().expect("synced");
        drop(file);
        // The kernel closes it on behalf of its users a moment later.
        let file = std::fs::File::open(self.fs.join(name)).expect("opened");
        self.fs.open().handle_of(file.as_fd()).expect("its handle")
    }

    /// A migrated file: its blocks are gone, every access is an event.
    pub fn stub(&mut self, name: &str) -> Handle {
        let handle = self.file(name);
        self.guard(handle, 7);
        let target = self.target(handle);
        let punch = Request::PunchHole {
            target,
            offset: 0,
            length: 0,
        };
        self.when_not_in_use(&punch, &Reply::Nothing);
        handle
    }

    /// Through FUSE a file is open until its RELEASE came, which close(2) does not wait for.
    fn when_not_in_use(&mut self, request: &Request, reply: &Reply) {
        support::until("the file is not in use", || {
            match self.client.ask(request.clone()) {
                Err(DmError::Busy) => None,
                outcome => {
                    assert_eq!(outcome.as_ref(), Ok(reply));
                    Some(())
                }
            }
        });
    }

    pub fn guard(&mut self, handle: Handle, flags: u32) {
        let target = self.target(handle);
        let region = Region {
            offset: 0,
            size: 0,
            flags,
            opaque: 0,
        };
        let regions = if flags == 0 { vec![] } else { vec![region] };
        let sync = true;
        let request = Request::SetRegions {
            target,
            regions,
            sync,
        };
        self.when_not_in_use(&request, &Reply::Exact(true));
    }

    pub fn next_event(&mut self) -> Event {
        let events = self
            .client
            .get_events(self.session, true)
            .expect("an event");
        assert_eq!(events.len(), 1);
        events.into_iter().next().expect("one")
    }

    /// Brings the data back and answers.
    pub fn recall(&mut self, event: &Event) {
        let EventBody::Data { handle, .. } = event.body else {
            panic!("{event:?}");
        };
        let enter = Request::Enter {
            target: self.target(handle),
            right: Right::Exclusive,
            kinds: Kinds::REGULAR,
            open: OpenFor::Write,
        };
        let entered = self.client.ask(enter);
        assert_eq!(
            entered,
            Ok(Reply::Entered {
                kind: Kinds::REGULAR
            })
        );
        let file: OwnedFd = self.client.received.take().expect("a descriptor");
        let file = std::fs::File::from(file);
        file.write_all_at(&content(), 0).expect("written");
        file.sync_all().expect("synced");
        drop(file);
        // If the worker died meanwhile there is nothing to leave.
        let _ = self.client.send(&Call::Leave);
        self.guard(handle, 0);
        self.answer(event, Answer::Continue);
    }

    pub fn answer(&mut self, event: &Event, answer: Answer) {
        let respond = Request::RespondEvent {
            session: self.session,
            token: event.token.expect("it is synchronous"),
            answer,
        };
        assert_eq!(self.client.ask(respond), Ok(Reply::Nothing));
    }

    pub fn reader(&self, name: &str) -> Reader {
        Reader::start(&self.users.join(name))
    }

    /// Unmounts and ends the daemon: the reverse of start.
    pub fn end(self) {
        let unmounted = dmctl(&self.daemon, &["umount", text(&self.users)]);
        good(&unmounted);
        self.daemon.status();
    }
}

/// Two readers of migrated files: the event of the first was received, that of the second was not.
pub struct Two {
    reader: Reader,
    event: Event,
    late: Reader,
}

impl Two {
    pub fn wait(service: &mut Service) -> Self {
        service.stub("file");
        service.stub("other");
        let reader = service.reader("file");
        let event = service.next_event();
        let late = service.reader("other");
        until("two events", || {
            let status = service.daemon.status();
            (status.events_blocked == 2).then_some(())
        });
        Self {
            reader,
            event,
            late,
        }
    }

    pub fn are_blocked(&mut self) {
        self.reader.is_blocked();
        self.late.is_blocked();
    }

    /// Both get their bytes, and so does one who comes later.
    pub fn read_everything(mut self, service: &mut Service) {
        service.recall(&self.event);
        self.reader.read_everything();
        let event = service.next_event();
        self.late.is_blocked();
        service.recall(&event);
        self.late.read_everything();
        service.stub("third");
        let reader = service.reader("third");
        let event = service.next_event();
        service.recall(&event);
        reader.read_everything();
    }
}

/// A user that reads a file from its beginning to its end.
pub struct Reader {
    pub child: Child,
    pub output: Option<std::thread::JoinHandle<Vec<u8>>>,
}

impl Reader {
    pub fn start(path: &Path) -> Self {
        let mut child = Command::new("cat")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat runs");
        let mut stdout = child.stdout.take().expect("a pipe");
        let output = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).expect("read");
            bytes
        });
        Self {
            child,
            output: Some(output),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits in an access, and has got nothing.
    pub fn is_blocked(&mut self) {
        assert_eq!(self.child.try_wait().expect("it is ours"), None);
        let wchan = std::fs::read_to_string(format!("/proc/{}/wchan", self.pid()));
        let wchan = wchan.expect("it lives");
        // In the event of fanotify, in a request of FUSE, or for a page that such a request brings.
        let waits = ["fanotify", "fuse", "request_wait", "folio_wait"];
        assert!(waits.iter().any(|what| wchan.contains(what)), "{wchan}");
    }

    pub fn is_done(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    pub fn read_everything(mut self) {
        let output = self.output.take().expect("once");
        let bytes = output.join().expect("read");
        assert!(self.child.wait().expect("it ends").success());
        assert!(bytes == content(), "{} bytes, or others", bytes.len());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Readers of many migrated files, while one of the daemon's processes after the other is killed.
pub fn storm(mut service: Service) {
    const FILES: usize = 30;
    let names: Vec<String> = (0..FILES).map(|number| format!("file{number}")).collect();
    for name in &names {
        service.stub(name);
    }
    // Two for each file: the second may find it whole, or wait in an event of its own.
    let readers: Vec<Reader> = names
        .iter()
        .flat_map(|name| [service.reader(name), service.reader(name)])
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let killer = {
        let (over, path) = (Arc::clone(&over), service.daemon.socket());
        std::thread::spawn(move || {
            for round in 0..24 {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let before = Client::new(&path).status();
                // Never both: that is for the store.
                let victim = match round % 3 {
                    2 => before.supervisor_pid,
                    _ => before.worker_pid,
                };
                kill(victim);
                until("the next worker", || {
                    let now = Client::new(&path).status();
                    (now.generation > before.generation).then_some(())
                });
            }
        })
    };
    let mut waiting = readers;
    while !waiting.is_empty() {
        match service.client.get_events(service.session, false) {
            Ok(events) => {
                for event in &events {
                    service.recall(event);
                }
            }
            Err(DmError::Again) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
        let mut still = Vec::new();
        for mut reader in waiting {
            match reader.is_done() {
                true => reader.read_everything(),
                false => still.push(reader),
            }
        }
        waiting = still;
    }
    over.store(true, Ordering::Release);
    killer.join().expect("it ends");
    service.end();
}

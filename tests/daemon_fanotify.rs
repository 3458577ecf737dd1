//! The whole service on real files: a reader of a migrated file, and daemons that die meanwhile.
//! Needs root and Linux 6.14.

mod common;
mod support;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Deadline, LoopFs};
use dmapi::model::{
    Answer, DmError, Event, EventBody, EventSet, EventType, FsId, Handle, Kinds, OpenFor, Region,
    Right, SessionId,
};
use dmapi::proto::{Reply, Request, Target};
use dmapi::sys::socket;
use nix::sys::signal::Signal;
use support::{Client, Daemon, is_dead, kill, processes_of, until};

const BYTES: usize = 300_000;

fn content() -> Vec<u8> {
    (0..BYTES).map(|at| (at % 251) as u8 + 1).collect()
}

/// A daemon with one managed file system, and an application.
struct Service {
    daemon: Daemon,
    fs: LoopFs,
    client: Client,
    session: SessionId,
    id: FsId,
}

fn dmctl(daemon: &Daemon, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dmctl"))
        .args(arguments)
        .env("DMAPI_SOCKET", daemon.socket())
        .output()
        .expect("dmctl runs")
}

/// Tests run one after another: a descriptor that one leaves to a starting child, until that execs, would
/// be an open file to another.
fn serial() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
fn good(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary names are text")
}

impl Service {
    fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    fn start_with(environment: &[(&str, &str)]) -> Option<Self> {
        if !common::is_root() {
            return None;
        }
        let fs = LoopFs::new("xfs");
        let dir = tempfile::tempdir().expect("tempdir");
        let daemon = Daemon::start_in(dir, &support::program(), environment);
        let path = fs.path();
        good(&dmctl(&daemon, &["manage", text(&path)]));
        let mut client = daemon.client();
        let session = client.create_session("recall");
        let id = fs.open().fs;
        let mut service = Self {
            daemon,
            fs,
            client,
            session,
            id,
        };
        service.take(&[EventType::Read, EventType::Write, EventType::Truncate]);
        Some(service)
    }

    fn take(&mut self, events: &[EventType]) {
        let target = self.target(Handle::Fs(self.id));
        let request = Request::SetDisposition {
            target,
            events: EventSet::of(events),
            mask: EventSet((1 << 23) - 1),
        };
        assert_eq!(self.client.ask(request), Ok(Reply::Nothing));
    }

    fn target(&self, handle: Handle) -> Target {
        Target {
            session: self.session,
            handle,
            token: None,
        }
    }

    /// A migrated file: its blocks are gone, every access is an event.
    fn stub(&mut self, name: &str) -> Handle {
        let path = self.fs.join(name);
        std::fs::write(&path, content()).expect("written");
        let handle = {
            let file = std::fs::File::open(&path).expect("opened");
            file.sync_all().expect("synced");
            self.fs.open().handle_of(file.as_fd()).expect("its handle")
        };
        self.guard(handle, 7);
        let target = self.target(handle);
        let punch = Request::PunchHole {
            target,
            offset: 0,
            length: 0,
        };
        assert_eq!(self.client.ask(punch), Ok(Reply::Nothing));
        handle
    }

    fn guard(&mut self, handle: Handle, flags: u32) {
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
        assert_eq!(self.client.ask(request), Ok(Reply::Exact(true)));
    }

    fn next_event(&mut self) -> Event {
        let events = self
            .client
            .get_events(self.session, true)
            .expect("an event");
        assert_eq!(events.len(), 1);
        events.into_iter().next().expect("one")
    }

    /// Brings the data back and answers.
    fn recall(&mut self, event: &Event) {
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
        self.client.send(&dmapi::proto::Call::Leave).expect("sent");
        self.guard(handle, 0);
        self.answer(event, Answer::Continue);
    }

    fn answer(&mut self, event: &Event, answer: Answer) {
        let respond = Request::RespondEvent {
            session: self.session,
            token: event.token.expect("it is synchronous"),
            answer,
        };
        assert_eq!(self.client.ask(respond), Ok(Reply::Nothing));
    }

    fn reader(&self, name: &str) -> Reader {
        Reader::start(&self.fs.join(name))
    }

    /// Unmounts and ends the daemon: the reverse of start.
    fn end(self) {
        let path = self.fs.path();
        let unmounted = dmctl(&self.daemon, &["umount", text(&path)]);
        good(&unmounted);
        self.daemon.status();
    }
}

/// A user that reads a file from its beginning to its end.
struct Reader {
    child: Child,
    output: Option<std::thread::JoinHandle<Vec<u8>>>,
}

impl Reader {
    fn start(path: &Path) -> Self {
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

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits in an access, and has got nothing.
    fn is_blocked(&mut self) {
        assert_eq!(self.child.try_wait().expect("it is ours"), None);
        let wchan = std::fs::read_to_string(format!("/proc/{}/wchan", self.pid()));
        assert!(wchan.expect("it lives").contains("fanotify"));
    }

    fn read_everything(mut self) {
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

#[test]
fn a_reader_of_a_migrated_file_waits_over_every_death() {
    let _one = serial();
    let _deadline = Deadline::new("a_reader_of_a_migrated_file_waits_over_every_death", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    service.stub("file");
    let mut reader = service.reader("file");
    let event = service.next_event();
    assert_eq!(event.kind, EventType::Read);
    service.daemon.kill_worker();
    service.daemon.status();
    reader.is_blocked();
    let before = service.daemon.status();
    kill(before.supervisor_pid);
    until("a new supervisor", || {
        let now = service.daemon.status();
        (now.supervisor_pid != before.supervisor_pid).then_some(())
    });
    reader.is_blocked();
    let explained = dmctl(&service.daemon, &["explain", &reader.pid().to_string()]);
    let said = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(said.contains("READ") && said.contains("/file"), "{said}");
    service.recall(&event);
    reader.read_everything();
    service.reader("file").read_everything();
    service.end();
}

#[test]
fn an_event_that_nobody_fetched_survives_an_upgrade() {
    let _one = serial();
    let _deadline = Deadline::new("an_event_that_nobody_fetched_survives_an_upgrade", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    service.stub("file");
    let mut reader = service.reader("file");
    until("the event", || {
        let shown = dmctl(&service.daemon, &["events", "--json"]);
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
        shown
            .as_array()
            .is_some_and(|all| all.len() == 1)
            .then_some(())
    });
    let before = service.daemon.status();
    good(&dmctl(&service.daemon, &["upgrade"]));
    until("the next worker", || {
        let now = service.daemon.status();
        (now.worker_pid != before.worker_pid).then_some(())
    });
    reader.is_blocked();
    let event = service.next_event();
    service.recall(&event);
    reader.read_everything();
    service.end();
}

#[test]
fn an_abort_reaches_the_reader_and_a_killed_reader_is_forgotten() {
    let _one = serial();
    let _deadline = Deadline::new("an_abort_reaches_the_reader", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    service.stub("file");
    let mut refused = service.reader("file");
    let event = service.next_event();
    service.answer(&event, Answer::Abort(libc::EBUSY));
    let status = refused.child.wait().expect("it ends");
    assert!(!status.success());
    let killed = service.reader("file");
    let event = service.next_event();
    drop(killed);
    // It was delivered, so it must be answered; the answer goes nowhere.
    service.answer(&event, Answer::Continue);
    let reader = service.reader("file");
    let event = service.next_event();
    service.recall(&event);
    reader.read_everything();
    service.end();
}

#[test]
fn a_daemon_with_managed_file_systems_does_not_stop() {
    let _one = serial();
    let _deadline = Deadline::new("a_daemon_with_managed_file_systems_does_not_stop", 240);
    let Some(mut service) = Service::start() else {
        return;
    };
    let stopped = dmctl(&service.daemon, &["stop"]);
    assert_eq!(stopped.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("dmctl umount"));
    let pid = service.daemon.status().supervisor_pid;
    dmapi::sys::process::signal(pid, Signal::SIGTERM).expect("it lives");
    // A second signal of another kind is handled after it.
    let before = service.daemon.status();
    good(&dmctl(&service.daemon, &["upgrade"]));
    until("the next worker", || {
        let now = service.daemon.status();
        (now.worker_pid != before.worker_pid).then_some(())
    });
    assert_eq!(service.daemon.status().supervisor_pid, pid);
    let path = service.fs.path();
    good(&dmctl(&service.daemon, &["umount", text(&path)]));
    good(&dmctl(&service.daemon, &["stop"]));
    assert!(service.daemon.child.wait().expect("it ends").success());
}

/// A loop device for an image whose mount is gone.
struct LoopDevice(String);

impl LoopDevice {
    fn of(image: &Path) -> Self {
        let output = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(image)
            .output()
            .expect("losetup runs");
        good(&output);
        Self(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn mount_and_unmount_are_offered_to_their_handlers() {
    let _one = serial();
    let _deadline = Deadline::new("mount_and_unmount_are_offered_to_their_handlers", 240);
    if !common::is_root() {
        return;
    }
    let fs = LoopFs::new("ext4");
    let path = fs.path();
    fs.umount();
    let device = LoopDevice::of(&path.with_file_name("image"));
    let daemon = Daemon::start();
    let mut client = daemon.client();
    let session = client.create_session("mounts");
    let everything = EventSet((1 << 23) - 1);
    let interest = Request::SetDisposition {
        target: Target {
            session,
            handle: Handle::Global,
            token: None,
        },
        events: EventSet::of(&[EventType::Mount]),
        mask: everything,
    };
    assert_eq!(client.ask(interest), Ok(Reply::Nothing));
    let mount = |daemon: &Daemon| {
        let socket = daemon.socket();
        let (device, path) = (device.0.clone(), path.clone());
        std::thread::spawn(move || {
            Command::new(env!("CARGO_BIN_EXE_dmctl"))
                .arg("mount")
                .arg(device)
                .arg(path)
                .env("DMAPI_SOCKET", socket)
                .output()
                .expect("dmctl runs")
        })
    };
    let answer = |client: &mut Client, event: &Event, answer| {
        let token = event.token.expect("it is synchronous");
        let respond = Request::RespondEvent {
            session,
            token,
            answer,
        };
        assert_eq!(client.ask(respond), Ok(Reply::Nothing));
    };
    let next = |client: &mut Client| {
        client
            .get_events(session, true)
            .expect("an event")
            .remove(0)
    };

    let refused = mount(&daemon);
    let event = next(&mut client);
    assert_eq!(event.kind, EventType::Mount);
    answer(&mut client, &event, Answer::Abort(libc::EACCES));
    assert!(!refused.join().expect("dmctl ends").status.success());

    let mounting = mount(&daemon);
    let event = next(&mut client);
    let EventBody::Mount(body) = &event.body else {
        panic!("{event:?}");
    };
    assert_eq!(body.path, text(&path).as_bytes());
    assert_eq!(body.device, device.0.as_bytes());
    let Handle::Fs(id) = body.fs else {
        panic!("{body:?}");
    };
    let on_fs = |token| Target {
        session,
        handle: Handle::Fs(id),
        token,
    };
    // The handler may use the handle, with its token's right or without; other objects are not there yet.
    let right = Request::RequestRight {
        target: on_fs(event.token),
        wait: true,
        right: Right::Exclusive,
    };
    assert_eq!(client.ask(right), Ok(Reply::Nothing));
    let wanted = [EventType::PreUnmount, EventType::Unmount];
    for token in [event.token, None] {
        let target = on_fs(token);
        let (events, mask) = (EventSet::of(&wanted), everything);
        let disposition = Request::SetDisposition {
            target,
            events,
            mask,
        };
        assert_eq!(client.ask(disposition), Ok(Reply::Nothing));
        let list = Request::SetEventList {
            target,
            events,
            mask,
        };
        assert_eq!(client.ask(list), Ok(Reply::Nothing));
    }
    let root = Request::GetEventList {
        target: Target {
            session,
            handle: body.root,
            token: None,
        },
    };
    assert_eq!(client.ask(root), Err(DmError::BadHandle));
    let mounted = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounted.contains(text(&path)), "not before the answer");
    answer(&mut client, &event, Answer::Continue);
    good(&mounting.join().expect("dmctl ends"));
    let told = client.ask(Request::GetMountInfo {
        target: on_fs(None),
    });
    assert_eq!(told, Ok(Reply::MountInfo(body.clone())));
    std::fs::write(path.join("file"), b"seen").expect("it is there");

    let umount = |daemon: &Daemon| {
        let socket = daemon.socket();
        let path = path.clone();
        std::thread::spawn(move || {
            Command::new(env!("CARGO_BIN_EXE_dmctl"))
                .arg("umount")
                .arg(path)
                .env("DMAPI_SOCKET", socket)
                .output()
                .expect("dmctl runs")
        })
    };
    let refused = umount(&daemon);
    let event = next(&mut client);
    assert_eq!(event.kind, EventType::PreUnmount);
    answer(&mut client, &event, Answer::Abort(libc::EBUSY));
    assert!(!refused.join().expect("dmctl ends").status.success());

    // A hold keeps it mounted, whatever the handler says.
    let token = client.create_user_event(session, b"");
    let hold = Request::Hold {
        target: Target {
            session,
            handle: body.root,
            token: Some(token),
        },
    };
    assert_eq!(client.ask(hold), Ok(Reply::Nothing));
    let busy = umount(&daemon);
    let event = next(&mut client);
    answer(&mut client, &event, Answer::Continue);
    let busy = busy.join().expect("dmctl ends");
    assert!(String::from_utf8_lossy(&busy.stderr).contains("rights or holds"));
    let respond = Request::RespondEvent {
        session,
        token,
        answer: Answer::Continue,
    };
    assert_eq!(client.ask(respond), Ok(Reply::Nothing));

    let unmounting = umount(&daemon);
    let event = next(&mut client);
    assert_eq!(event.kind, EventType::PreUnmount);
    answer(&mut client, &event, Answer::Continue);
    let event = next(&mut client);
    assert_eq!(event.kind, EventType::Unmount);
    answer(&mut client, &event, Answer::Continue);
    good(&unmounting.join().expect("dmctl ends"));
    let gone = client.ask(Request::GetMountInfo {
        target: on_fs(None),
    });
    assert_eq!(gone, Err(DmError::BadHandle));
    assert_eq!(
        client.ask(Request::FileSystems),
        Ok(Reply::FileSystems(vec![]))
    );
}

/// What systemd is for a service with FileDescriptorStoreMax.
struct Keeper {
    socket: UnixDatagram,
    path: PathBuf,
    kept: Vec<(String, OwnedFd)>,
    is_ready: bool,
}

impl Keeper {
    fn new(dir: &Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        socket.set_nonblocking(true).expect("set");
        Self {
            socket,
            path,
            kept: Vec::new(),
            is_ready: false,
        }
    }

    /// Takes what was sent.
    fn look(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok((bytes, fds)) = socket::receive(self.socket.as_fd(), &mut buffer) {
            let said = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
            let name = said
                .lines()
                .find_map(|line| line.strip_prefix("FDNAME="))
                .unwrap_or("")
                .to_owned();
            if said.contains("FDSTORE=1") {
                self.kept
                    .extend(fds.into_iter().map(|fd| (name.clone(), fd)));
            } else if said.contains("FDSTOREREMOVE=1") {
                self.kept.retain(|(kept, _)| *kept != name);
            }
            self.is_ready |= said.contains("READY=1");
        }
    }

    /// Starts a daemon with everything that was kept, as systemd does.
    fn start(&self, dir: &Path) -> Child {
        let program = support::program();
        let daemon = support::command(&program, dir);
        let mut command = Command::new("sh");
        let names: Vec<&str> = self.kept.iter().map(|(name, _)| name.as_str()).collect();
        command
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""])
            .arg(&program)
            .args(daemon.get_args())
            .env("NOTIFY_SOCKET", &self.path)
            .env("DMAPI_LOG", "warn")
            .env("LISTEN_FDS", names.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .stdin(Stdio::null());
        // Numbers well above those that they are to get.
        let high: Vec<OwnedFd> = self
            .kept
            .iter()
            .map(|(_, fd)| dmapi::sys::process::duplicate_above(fd.as_fd(), 500).expect("room"))
            .collect();
        let raw: Vec<i32> = high
            .iter()
            .map(|fd| {
                use std::os::fd::AsRawFd;
                dmapi::sys::process::set_inherit(fd.as_raw_fd(), false).expect("set");
                fd.as_raw_fd()
            })
            .collect();
        let give = move || {
            for (number, fd) in (3..).zip(&raw) {
                // SAFETY: dup2 takes two integers and is async-signal-safe.
                if unsafe { libc::dup2(*fd, number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: between fork and exec only dup2 is called, on numbers that were made before.
        unsafe { command.pre_exec(give) };
        let child = command.spawn().expect("it starts");
        drop(high);
        child
    }
}

#[test]
fn the_store_keeps_readers_blocked_while_no_process_is_left() {
    let _one = serial();
    let _deadline = Deadline::new("the_store_keeps_readers_blocked", 240);
    if !common::is_root() {
        return;
    }
    let keeper_dir = tempfile::tempdir().expect("tempdir");
    let mut keeper = Keeper::new(keeper_dir.path());
    let address = text(&keeper.path).to_owned();
    let Some(mut service) = Service::start_with(&[("NOTIFY_SOCKET", &address)]) else {
        return;
    };
    service.stub("file");
    service.stub("other");
    let mut reader = service.reader("file");
    let event = service.next_event();
    let mut late = service.reader("other");
    until("two events", || {
        let status = service.daemon.status();
        (status.events_blocked == 2).then_some(())
    });
    until("everything is in the store", || {
        keeper.look();
        let has = |role: &str| keeper.kept.iter().any(|(name, _)| name.starts_with(role));
        // Arena, permission group, private mount, listener.
        (keeper.is_ready
            && ["dmapi-1-", "dmapi-2-", "dmapi-6-", "dmapi-8-"]
                .into_iter()
                .all(has))
        .then_some(())
    });
    let dir = service.daemon.dir.path().to_owned();
    until("nobody is left", || {
        let left = processes_of(&dir);
        for pid in &left {
            let _ = dmapi::sys::process::signal(*pid, Signal::SIGKILL);
        }
        left.is_empty().then_some(())
    });
    let _ = service.daemon.child.wait();
    reader.is_blocked();
    late.is_blocked();
    service.daemon.child = keeper.start(&dir);
    service.recall(&event);
    reader.read_everything();
    let event = service.next_event();
    late.is_blocked();
    service.recall(&event);
    late.read_everything();
    // The watch goes on, too.
    service.stub("third");
    let reader = service.reader("third");
    let event = service.next_event();
    service.recall(&event);
    reader.read_everything();
    assert!(!is_dead(service.daemon.status().worker_pid));
    service.end();
}

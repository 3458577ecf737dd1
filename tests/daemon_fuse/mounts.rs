//! MOUNT, PREUNMOUNT, UNMOUNT, and what mountinfo shows.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::JoinHandle;

use dmapi::model::{Answer, Event, EventBody, EventSet, EventType, Handle, SessionId};
use dmapi::proto::{Reply, Request, Target};
use dmapi::sys::mountinfo;

use crate::common::{self, Deadline, LoopFs};
use crate::deaths::fuse_mounts;
use crate::service::{PATIENCE_MS, Service, dmctl, good, serial, text};
use crate::support::{Client, Daemon, until};

const EVERYTHING: EventSet = EventSet((1 << 23) - 1);

/// Runs dmctl under a name while the test answers its events.
pub fn run(daemon: &Daemon, name: &str, arguments: &[&str]) -> JoinHandle<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmctl"));
    command
        .arg0(name)
        .args(arguments)
        .env("DMAPI_SOCKET", daemon.socket())
        .env("DMAPI_WAIT_MS", PATIENCE_MS);
    std::thread::spawn(move || command.output().expect("dmctl runs"))
}

/// A session that handles mounts.
pub struct Handler {
    pub client: Client,
    session: SessionId,
}

impl Handler {
    pub fn new(daemon: &Daemon) -> Self {
        let mut client = daemon.client();
        let session = client.create_session("mounts");
        let mut handler = Self { client, session };
        handler.take(Handle::Global, &[EventType::Mount]);
        handler
    }

    pub fn target(&self, handle: Handle) -> Target {
        Target {
            session: self.session,
            handle,
            token: None,
        }
    }

    pub fn take(&mut self, handle: Handle, events: &[EventType]) {
        let request = Request::SetDisposition {
            target: self.target(handle),
            events: EventSet::of(events),
            mask: EVERYTHING,
            answers_destroy: false,
        };
        assert_eq!(self.client.ask(request), Ok(Reply::Nothing));
    }

    pub fn list(&mut self, handle: Handle, events: &[EventType]) {
        let request = Request::SetEventList {
            target: self.target(handle),
            events: EventSet::of(events),
            mask: EVERYTHING,
            extra_on_fs: EventSet(0),
        };
        assert_eq!(self.client.ask(request), Ok(Reply::Nothing));
    }

    pub fn next(&mut self) -> Event {
        let events = self.client.get_events(self.session, true);
        events.expect("an event").remove(0)
    }

    pub fn answer(&mut self, event: &Event, answer: Answer) {
        let respond = Request::RespondEvent {
            session: self.session,
            token: event.token.expect("it is synchronous"),
            answer,
        };
        assert_eq!(self.client.ask(respond), Ok(Reply::Nothing));
    }
}

/// A file system, and a directory to show it on.
pub fn place() -> (LoopFs, PathBuf) {
    let fs = LoopFs::new("ext4");
    let users = fs.path().with_file_name("users");
    std::fs::create_dir(&users).expect("a mount point");
    (fs, users)
}

pub fn is_mounted(path: &Path) -> bool {
    !fuse_mounts(path).is_empty()
}

#[test]
fn mount_and_unmount_are_offered_to_their_handlers() {
    let _one = serial();
    let _deadline = Deadline::new("fuse_mount_and_unmount_are_offered", 240);
    if !common::is_root() {
        return;
    }
    let (fs, users) = place();
    let backing = fs.path();
    let (behind, shown) = (text(&backing), text(&users));
    let daemon = Daemon::start();
    let mut handler = Handler::new(&daemon);
    // As mount(8) calls it.
    let mount = ["-o", "rw,dmapi,source=fuse", behind, shown];

    let refused = run(&daemon, "/sbin/mount.dmapi", &mount);
    let event = handler.next();
    assert_eq!(event.kind, EventType::Mount);
    handler.answer(&event, Answer::Abort(libc::EACCES));
    assert!(!refused.join().expect("dmctl ends").status.success());
    assert!(!is_mounted(&users));

    let mounting = run(&daemon, "/sbin/mount.dmapi", &mount);
    let event = handler.next();
    // The requester asks the next worker, and waits on.
    daemon.kill_worker();
    let EventBody::Mount(body) = &event.body else {
        panic!("{event:?}");
    };
    assert_eq!(body.path, shown.as_bytes());
    assert_eq!(body.device, behind.as_bytes());
    assert_eq!(body.fs, Handle::Fs(fs.open().fs));
    handler.take(body.fs, &[EventType::PreUnmount, EventType::Unmount]);
    handler.list(body.fs, &[EventType::PreUnmount, EventType::Unmount]);
    assert!(!is_mounted(&users), "not before the answer");
    handler.answer(&event, Answer::Continue);
    good(&mounting.join().expect("dmctl ends"));
    let seen = fuse_mounts(&users).remove(0);
    assert_eq!(seen.source, behind);
    assert!(!seen.read_only);
    std::fs::write(users.join("file"), b"seen").expect("it is there");
    assert_eq!(
        std::fs::read(backing.join("file")).expect("behind"),
        b"seen"
    );

    let refused = run(&daemon, "dmctl", &["umount", shown]);
    let event = handler.next();
    assert_eq!(event.kind, EventType::PreUnmount);
    handler.answer(&event, Answer::Abort(libc::EBUSY));
    assert!(!refused.join().expect("dmctl ends").status.success());
    assert!(is_mounted(&users));

    let unmounting = run(&daemon, "umount.dmapi", &[shown]);
    let event = handler.next();
    daemon.kill_worker();
    handler.answer(&event, Answer::Continue);
    let event = handler.next();
    assert_eq!(event.kind, EventType::Unmount);
    handler.answer(&event, Answer::Continue);
    good(&unmounting.join().expect("dmctl ends"));
    assert!(!is_mounted(&users));
    let none = handler.client.ask(Request::FileSystems);
    assert_eq!(none, Ok(Reply::FileSystems(vec![])));
}

#[test]
fn a_mount_whose_requester_dies_is_none() {
    let _one = serial();
    let _deadline = Deadline::new("a_mount_whose_requester_dies_is_none", 240);
    if !common::is_root() {
        return;
    }
    let (fs, users) = place();
    let daemon = Daemon::start();
    let mut handler = Handler::new(&daemon);
    let mut requester = Command::new(env!("CARGO_BIN_EXE_dmctl"))
        .args(["mount", "--source", "fuse"])
        .args([fs.path(), users.clone()])
        .env("DMAPI_SOCKET", daemon.socket())
        .spawn()
        .expect("dmctl runs");
    let event = handler.next();
    assert_eq!(event.kind, EventType::Mount);
    requester.kill().expect("it waits");
    requester.wait().expect("it ends");
    until("it is served no more", || {
        let served = handler.client.ask(Request::FileSystems);
        (served == Ok(Reply::FileSystems(vec![]))).then_some(())
    });
    // It was delivered, so it must be answered; the answer goes nowhere.
    handler.answer(&event, Answer::Continue);
    assert!(!is_mounted(&users));
    let (backing, shown) = (fs.path(), text(&users).to_owned());
    let again = ["mount", "--source", "fuse", text(&backing), &shown];
    let again = run(&daemon, "dmctl", &again);
    let event = handler.next();
    handler.answer(&event, Answer::Continue);
    good(&again.join().expect("dmctl ends"));
    good(&dmctl(&daemon, &["umount", &shown]));
}

#[test]
fn an_unmount_past_dmctl_is_seen() {
    let _one = serial();
    let _deadline = Deadline::new("an_unmount_past_dmctl_is_seen", 240);
    let Some(service) = Service::behind_fuse("ro", &[]) else {
        return;
    };
    let mut handler = Handler::new(&service.daemon);
    let fs = Handle::Fs(service.id);
    handler.take(fs, &[EventType::Unmount]);
    handler.list(fs, &[EventType::Unmount]);
    let seen = fuse_mounts(&service.users).remove(0);
    assert!(seen.read_only);
    let refused = std::fs::write(service.users.join("file"), b"");
    let refused = refused.expect_err("it is read only").raw_os_error();
    assert_eq!(refused, Some(libc::EROFS));
    common::run("umount", &["-i", text(&service.users)]);
    let event = handler.next();
    assert_eq!(event.kind, EventType::Unmount);
    handler.answer(&event, Answer::Continue);
    until("it is served no more", || {
        let served = handler.client.ask(Request::FileSystems);
        (served == Ok(Reply::FileSystems(vec![]))).then_some(())
    });
}

#[test]
fn a_lazy_unmount_serves_who_has_files_open() {
    let _one = serial();
    let _deadline = Deadline::new("a_lazy_unmount_serves_who_has_files_open", 240);
    let Some(service) = Service::behind_fuse("data=cached", &[]) else {
        return;
    };
    let path = service.users.join("file");
    std::fs::write(&path, b"still here").expect("written");
    let open = std::fs::File::open(&path).expect("opened");
    let lazily = ["umount", "--lazy", text(&service.users)];
    good(&dmctl(&service.daemon, &lazily));
    assert!(!is_mounted(&service.users));
    assert_eq!(
        std::io::read_to_string(&open).expect("served"),
        "still here"
    );
    drop(open);
    let mut client = service.daemon.client();
    until("it is served no more", || {
        let served = client.ask(Request::FileSystems);
        (served == Ok(Reply::FileSystems(vec![]))).then_some(())
    });
}

#[test]
fn a_directory_may_be_shown_on_itself() {
    let _one = serial();
    let _deadline = Deadline::new("a_directory_may_be_shown_on_itself", 240);
    if !common::is_root() {
        return;
    }
    let fs = LoopFs::new("xfs");
    std::fs::write(fs.join("file"), b"before").expect("written");
    let mut daemon = Daemon::start();
    let path = fs.path();
    let shown = text(&path).to_owned();
    let mount = ["mount", "--source", "fuse", &shown, &shown];
    good(&dmctl(&daemon, &mount));
    assert_eq!(std::fs::read(fs.join("file")).expect("read"), b"before");
    let twice = dmctl(&daemon, &mount);
    assert!(!twice.status.success());
    // Also after both processes died.
    let dir = daemon.dir.path().to_owned();
    daemon.kill_everybody();
    daemon.child = crate::support::command(&crate::support::program(), &dir)
        .spawn()
        .expect("dmapid starts");
    daemon.status();
    assert_eq!(fuse_mounts(&path).len(), 1);
    assert_eq!(std::fs::read(fs.join("file")).expect("read"), b"before");
    good(&dmctl(&daemon, &["umount", &shown]));
    let left = mountinfo::mounted_on(&path).expect("mountinfo");
    assert_eq!(left.map(|seen| seen.kind).as_deref(), Some("xfs"));
}

#[test]
fn what_cannot_be_mounted_is_named() {
    let _one = serial();
    let _deadline = Deadline::new("what_cannot_be_mounted_is_named", 240);
    if !common::is_root() {
        return;
    }
    let daemon = Daemon::start();
    let dir = tempfile::tempdir().expect("tempdir");
    let shown = text(dir.path());
    for (arguments, word) in [
        (["-o", "logbsize=64k", shown, shown], "logbsize"),
        (["-o", "data=some", shown, shown], "data=cached"),
        (["-o", "", "/dev/null", shown], "no directory"),
        (["-o", "", "/nowhere", shown], "/nowhere"),
    ] {
        let all = [&["mount", "--source", "fuse"][..], &arguments].concat();
        let output = dmctl(&daemon, &all);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(word), "{said}");
    }
}

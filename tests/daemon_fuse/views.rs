//! One file system through several FUSE mounts, which come and go one by one.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use dmapi::client;
use dmapi::model::{Answer, EventBody, EventType, Handle};
use dmapi::proto::{FsEntry, Reply, Request};

use crate::common::{self, Deadline};
use crate::deaths::{fuse_mounts, start_again};
use crate::keeper::Keeper;
use crate::mounts::{Handler, is_mounted, place, run};
use crate::service::{BYTES, PATIENCE_MS, Reader, Service, content, dmctl, good, serial, text};
use crate::support::{Client, Daemon, until};

fn mount(daemon: &Daemon, options: &str, backing: &Path, path: &Path) -> Output {
    let (backing, path) = (text(backing), text(path));
    let arguments = ["mount", "--source", "fuse", "-o", options, backing, path];
    dmctl(daemon, &arguments)
}

/// A service, and more mounts of directories of its file system.
pub struct Shared {
    service: Service,
    points: Vec<PathBuf>,
}

impl Shared {
    fn new(options: &str) -> Option<Self> {
        Self::with(options, &[])
    }

    /// With these in the daemon's environment.
    pub fn with(options: &str, environment: &[(&str, &str)]) -> Option<Self> {
        let service = Service::behind_fuse(options, environment)?;
        let points = Vec::new();
        Some(Self { service, points })
    }

    /// A service manager keeps what it is given, as long as the directory lives.
    pub fn kept() -> Option<(tempfile::TempDir, Keeper, Self)> {
        let dir = tempfile::tempdir().expect("tempdir");
        let keeper = Keeper::new(dir.path());
        let shared = Self::with("shared", &[("NOTIFY_SOCKET", text(&keeper.path))])?;
        Some((dir, keeper, shared))
    }

    /// Shows a new directory on a new mount point.
    pub fn add(&mut self, options: &str, name: &str) -> PathBuf {
        let users = &self.service.users;
        std::fs::create_dir(users.join(name)).expect("a directory");
        let point = users.with_file_name(format!("shows-{name}"));
        std::fs::create_dir(&point).expect("a mount point");
        let backing = self.service.fs.join(name);
        good(&mount(&self.service.daemon, options, &backing, &point));
        self.points.push(point.clone());
        point
    }

    fn list(&mut self) -> Vec<FsEntry> {
        list(&mut self.service.client)
    }

    fn paths(&mut self) -> Vec<PathBuf> {
        paths(&self.list())
    }

    /// All mounts go, the youngest first; the daemon stays with what is returned.
    pub fn end(mut self) -> Service {
        while let Some(point) = self.points.pop() {
            good(&dmctl(&self.service.daemon, &["umount", text(&point)]));
            assert_eq!(self.paths().len(), 1 + self.points.len());
        }
        let users = self.service.users.clone();
        good(&dmctl(&self.service.daemon, &["umount", text(&users)]));
        assert_eq!(self.list(), vec![]);
        self.service
    }
}

fn list(client: &mut Client) -> Vec<FsEntry> {
    match client.ask(Request::FileSystems) {
        Ok(Reply::FileSystems(entries)) => entries,
        other => panic!("{other:?}"),
    }
}

fn paths(entries: &[FsEntry]) -> Vec<PathBuf> {
    let path = |entry: &FsEntry| String::from_utf8_lossy(&entry.mount.path).into_owned();
    entries.iter().map(|entry| path(entry).into()).collect()
}

const PATHS: &str = "DMAPI_TEST_PATHS";

/// What [`handles`] runs in a process of its own: a process has one daemon.
#[test]
#[ignore = "a part of other tests"]
fn tell_handles() {
    let Some(paths) = std::env::var_os(PATHS) else {
        return;
    };
    for path in std::env::split_paths(&paths) {
        let path = path.as_os_str().as_encoded_bytes();
        println!("handle {:?}", client::path_to_handle(path));
    }
}

/// What the library says of these paths.
fn handles(daemon: &Daemon, paths: &[PathBuf]) -> Vec<String> {
    let joined = std::env::join_paths(paths).expect("no colon in temporary names");
    let output = Command::new("/proc/self/exe")
        .args(["--ignored", "--exact", "views::tell_handles", "--nocapture"])
        .env(PATHS, joined)
        .env("DMAPI_SOCKET", daemon.socket())
        .env("DMAPI_WAIT_MS", PATIENCE_MS)
        .output()
        .expect("it runs");
    good(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = said.lines().filter_map(|line| line.strip_prefix("handle "));
    lines.map(str::to_owned).collect()
}

#[test]
fn each_mount_shows_the_same_objects_and_makes_their_events() {
    let _one = serial();
    let _deadline = Deadline::new("each_mount_shows_the_same_objects", 240);
    let Some(mut shared) = Shared::new("shared") else {
        return;
    };
    let one = shared.add("shared", "one");
    let two = shared.add("shared,data=cached", "two");
    let users = shared.service.users.clone();
    assert_eq!(shared.paths(), [users.clone(), one.clone(), two.clone()]);
    let entries = shared.list();
    assert!(
        entries
            .iter()
            .all(|entry| entry.fs == shared.service.id && entry.source == "fuse")
    );
    assert_ne!(entries[0].device, entries[1].device);
    assert_ne!(entries[1].device, entries[2].device);

    let file = shared.service.file("one/file");
    std::fs::hard_link(users.join("one/file"), users.join("two/link")).expect("linked");
    let daemon = &shared.service.daemon;
    let same = [
        users.join("one/file"),
        one.join("file"),
        two.join("link"),
        users.join("two/link"),
    ];
    let told = handles(daemon, &same);
    assert_eq!(told, vec![format!("Ok({file:?})"); 4]);
    // A root is the directory that it shows.
    let roots = [
        users.join("one"),
        one.clone(),
        users.join("two"),
        two.clone(),
    ];
    let told = handles(daemon, &roots);
    assert_eq!((&told[0], &told[2]), (&told[1], &told[3]));
    assert_eq!(told[1], format!("Ok({:?})", entries[1].mount.root));

    for path in &same[..3] {
        let name = "one/file";
        assert_eq!(shared.service.stub(name), file);
        let mut reader = Reader::start(path);
        let event = shared.service.next_event();
        assert_eq!(event.kind, EventType::Read);
        assert!(matches!(event.body, EventBody::Data { handle, .. } if handle == file));
        reader.is_blocked();
        let explained = dmctl(
            &shared.service.daemon,
            &["explain", &reader.pid().to_string()],
        );
        let said = String::from_utf8_lossy(&explained.stdout).into_owned();
        // Named by the mount whose root is the nearest above, by either name.
        let names = [text(&same[1]), text(&same[2])];
        assert!(names.iter().any(|name| said.contains(name)), "{said}");
        shared.service.recall(&event);
        reader.read_everything();
        for path in &same {
            Reader::start(path).read_everything();
        }
    }
    shared.end();
}

#[test]
fn whoever_has_a_file_open_in_any_mount_is_found() {
    let _one = serial();
    let _deadline = Deadline::new("whoever_has_a_file_open_in_any_mount", 240);
    let Some(mut shared) = Shared::new("shared") else {
        return;
    };
    let one = shared.add("shared", "one");
    let handle = shared.service.file("one/file");
    let is_open = |service: &mut Service| {
        let target = service.target(handle);
        match service.client.ask(Request::IsOpen { target }) {
            Ok(Reply::Open(is_open)) => is_open,
            other => panic!("{other:?}"),
        }
    };
    until("nobody has it open", || {
        (!is_open(&mut shared.service)).then_some(())
    });
    for path in [one.join("file"), shared.service.users.join("one/file")] {
        let open = std::fs::File::open(path).expect("opened");
        assert!(is_open(&mut shared.service));
        drop(open);
    }
    shared.end();
}

/// A process that opens a file and reads it when it is told to.
struct LateReader {
    child: Child,
    go: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl LateReader {
    fn open(path: &Path) -> Self {
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec 3<\"$1\"; echo open; read -r go; exec cat <&3",
                "sh",
            ])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let go = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it says that");
        assert_eq!(line, "open\n");
        Self { child, go, output }
    }

    fn go(&mut self) {
        let mut go = self.go.take().expect("once");
        go.write_all(b"\n").expect("it listens");
    }

    fn read_everything(mut self) {
        let mut bytes = Vec::new();
        self.output.read_to_end(&mut bytes).expect("read");
        assert!(self.child.wait().expect("it ends").success());
        assert!(bytes == content(), "{} bytes, or others", bytes.len());
    }
}

impl Drop for LateReader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_file_that_is_open_in_another_mount_is_migrated() {
    let _one = serial();
    let _deadline = Deadline::new("a_file_that_is_open_in_another_mount", 240);
    let Some(mut shared) = Shared::new("shared,data=cached") else {
        return;
    };
    let one = shared.add("shared,data=cached", "one");
    let users = shared.service.users.clone();
    for (opened, other) in [
        (one.join("file"), users.join("one/file")),
        (users.join("one/file"), one.join("file")),
    ] {
        shared.service.file("one/file");
        let mut late = LateReader::open(&opened);
        // Its pages are in the cache of each mount.
        Reader::start(&other).read_everything();
        shared.service.stub("one/file");
        let before = std::fs::metadata(&other).expect("it is there");
        assert_eq!(before.len(), BYTES as u64);
        late.go();
        let event = shared.service.next_event();
        assert_eq!(event.kind, EventType::Read);
        shared.service.recall(&event);
        late.read_everything();
        Reader::start(&other).read_everything();
    }
    shared.end();
}

#[test]
fn the_first_mount_and_the_last_are_told_and_none_between() {
    let _one = serial();
    let _deadline = Deadline::new("the_first_mount_and_the_last_are_told", 240);
    if !common::is_root() {
        return;
    }
    let (fs, first) = place();
    let backing = fs.path();
    std::fs::create_dir(backing.join("sub")).expect("a directory");
    let second = first.with_file_name("second");
    std::fs::create_dir(&second).expect("a mount point");
    let daemon = Daemon::start();
    let mut handler = Handler::new(&daemon);
    let options = "rw,dmapi,source=fuse,shared";
    let (behind, shown) = (text(&backing), text(&first));
    let mounting = run(
        &daemon,
        "/sbin/mount.dmapi",
        &["-o", options, behind, shown],
    );
    let event = handler.next();
    assert_eq!(event.kind, EventType::Mount);
    let EventBody::Mount(body) = &event.body else {
        panic!("{event:?}");
    };
    // Whether there will be a first one is open.
    let early = mount(&daemon, "shared", &backing.join("sub"), &second);
    assert!(!early.status.success());
    handler.take(body.fs, &[EventType::PreUnmount, EventType::Unmount]);
    handler.list(body.fs, &[EventType::PreUnmount, EventType::Unmount]);
    handler.answer(&event, Answer::Continue);
    good(&mounting.join().expect("dmctl ends"));

    // Nobody is asked: it would wait for the answer.
    good(&mount(&daemon, "shared", &backing.join("sub"), &second));
    assert_eq!(handler.mount_info(body.fs).path, text(&first).as_bytes());
    std::fs::write(first.join("sub/file"), b"seen").expect("written");
    assert_eq!(std::fs::read(second.join("file")).expect("read"), b"seen");

    good(&dmctl(&daemon, &["umount", text(&first)]));
    assert!(!is_mounted(&first));
    daemon.kill_worker();
    let told = handler.mount_info(body.fs);
    assert_eq!(told.path, text(&second).as_bytes());
    assert_ne!(told.root, body.root);
    assert_eq!(paths(&list(&mut handler.client)), vec![second.clone()]);
    assert_eq!(std::fs::read(second.join("file")).expect("read"), b"seen");
    // The place of the first is free.
    good(&mount(&daemon, "shared", &backing, &first));
    common::run("umount", &["-i", text(&first)]);
    good(&mount(&daemon, "shared", &backing, &first));
    good(&dmctl(&daemon, &["umount", text(&first)]));

    let unmounting = run(&daemon, "umount.dmapi", &[text(&second)]);
    let event = handler.next();
    assert_eq!(event.kind, EventType::PreUnmount);
    let EventBody::Namespace(body) = &event.body else {
        panic!("{event:?}");
    };
    assert_eq!(body.handle2, Some(told.root));
    // Nothing is added to what is about to go.
    let late = mount(&daemon, "shared", &backing, &first);
    assert!(!late.status.success());
    handler.answer(&event, Answer::Continue);
    let event = handler.next();
    assert_eq!(event.kind, EventType::Unmount);
    handler.answer(&event, Answer::Continue);
    good(&unmounting.join().expect("dmctl ends"));
    assert_eq!(list(&mut handler.client), vec![]);
}

#[test]
fn readers_in_each_mount_wait_over_the_death_of_the_worker() {
    let _one = serial();
    let _deadline = Deadline::new("readers_in_each_mount_wait", 240);
    let Some(mut shared) = Shared::new("shared") else {
        return;
    };
    let one = shared.add("shared,data=cached", "one");
    let users = shared.service.users.clone();
    shared.service.stub("file");
    shared.service.stub("one/file");
    let before = shared.list();
    let mut readers = Vec::new();
    for path in [users.join("file"), one.join("file")] {
        let mut reader = Reader::start(&path);
        let event = shared.service.next_event();
        shared.service.daemon.kill_worker();
        shared.service.daemon.status();
        reader.is_blocked();
        readers.push((reader, event));
    }
    let after = shared.list();
    let devices =
        |entries: &[FsEntry]| -> Vec<u64> { entries.iter().map(|entry| entry.device).collect() };
    assert_eq!(devices(&before), devices(&after));
    for (reader, event) in readers {
        shared.service.recall(&event);
        reader.read_everything();
    }
    Reader::start(&users.join("one/file")).read_everything();
    shared.end();
}

#[test]
fn mounts_come_and_go_while_workers_die() {
    let _one = serial();
    let _deadline = Deadline::new("mounts_come_and_go_while_workers_die", 240);
    let Some(mut shared) = Shared::new("shared") else {
        return;
    };
    let one = shared.add("shared", "one");
    let users = shared.service.users.clone();
    shared.service.file("one/file");
    let point = users.with_file_name("comes-and-goes");
    std::fs::create_dir(&point).expect("a mount point");
    let backing = shared.service.fs.join("one");
    let (backing, shown) = (text(&backing), text(&point));
    let mount = ["mount", "--source", "fuse", "-o", "shared", backing, shown];
    // Not more often: the daemon waits longer and longer before the next worker of many that die young.
    for _ in 0..4 {
        let daemon = &shared.service.daemon;
        let mounting = run(daemon, "dmctl", &mount);
        daemon.kill_worker();
        good(&mounting.join().expect("dmctl ends"));
        Reader::start(&point.join("file")).read_everything();
        assert_eq!(shared.paths(), [users.clone(), one.clone(), point.clone()]);
        let daemon = &shared.service.daemon;
        let unmounting = run(daemon, "dmctl", &["umount", shown]);
        daemon.kill_worker();
        good(&unmounting.join().expect("dmctl ends"));
        assert!(!is_mounted(&point));
        assert_eq!(shared.paths(), [users.clone(), one.clone()]);
    }
    Reader::start(&users.join("one/file")).read_everything();
    shared.end();
}

#[test]
fn all_mounts_are_back_after_the_death_of_both_processes() {
    let _one = serial();
    let _deadline = Deadline::new("all_mounts_are_back_after_the_death", 240);
    let Some(mut shared) = Shared::new("shared") else {
        return;
    };
    let one = shared.add("shared,data=cached", "one");
    let two = shared.add("shared", "two");
    let three = shared.add("shared", "three");
    let users = shared.service.users.clone();
    shared.service.stub("one/file");
    shared.service.daemon.kill_everybody();
    // One of them is taken away while nobody serves it.
    nix::mount::umount2(&two, nix::mount::MntFlags::MNT_DETACH).expect("it is there");
    start_again(&mut shared.service);
    assert_eq!(shared.paths(), [users.clone(), one.clone(), three.clone()]);
    shared.points.retain(|point| *point != two);
    for path in [&users, &one, &three] {
        assert_eq!(fuse_mounts(path).len(), 1, "{path:?}");
        std::fs::read_dir(path).expect("it is served");
    }
    assert!(!is_mounted(&two));
    let told = handles(&shared.service.daemon, &[users.join("one"), one.clone()]);
    assert_eq!(told[0], told[1]);
    let reader = Reader::start(&one.join("file"));
    let event = shared.service.next_event();
    shared.service.recall(&event);
    reader.read_everything();
    Reader::start(&users.join("one/file")).read_everything();

    // The oldest is the one that is gone: the next takes its place.
    shared.service.daemon.kill_everybody();
    nix::mount::umount2(&users, nix::mount::MntFlags::MNT_DETACH).expect("it is there");
    start_again(&mut shared.service);
    assert_eq!(shared.paths(), [one.clone(), three.clone()]);
    let told = handles(&shared.service.daemon, &[one.clone(), three.clone()]);
    assert!(told.iter().all(|told| told.starts_with("Ok(")), "{told:?}");
    good(&dmctl(&shared.service.daemon, &["umount", text(&three)]));
    good(&dmctl(&shared.service.daemon, &["umount", text(&one)]));
    assert_eq!(shared.list(), vec![]);
}

#[test]
fn a_stop_by_force_takes_all_mounts_away() {
    let _one = serial();
    let _deadline = Deadline::new("a_stop_by_force_takes_all_mounts_away", 240);
    let Some(mut shared) = Shared::new("shared") else {
        return;
    };
    let one = shared.add("shared", "one");
    let users = shared.service.users.clone();
    good(&dmctl(&shared.service.daemon, &["stop", "--force"]));
    assert!(
        shared
            .service
            .daemon
            .child
            .wait()
            .expect("it ends")
            .success()
    );
    assert!(!is_mounted(&users) && !is_mounted(&one));
    start_again(&mut shared.service);
    assert_eq!(shared.list(), vec![]);
}

fn said(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn mounts_that_are_not_shared_are_refused() {
    let _one = serial();
    let _deadline = Deadline::new("mounts_that_are_not_shared_are_refused", 240);
    let Some(mut alone) = Shared::new("") else {
        return;
    };
    let backing = alone.service.fs.path();
    let other = alone.service.users.with_file_name("other");
    std::fs::create_dir(&other).expect("a mount point");
    let refused = said(&mount(&alone.service.daemon, "shared", &backing, &other));
    assert!(refused.contains("-o shared on each"), "{refused}");
    assert_eq!(alone.paths().len(), 1);
    alone.end();

    let Some(mut shared) = Shared::new("shared") else {
        return;
    };
    let backing = shared.service.fs.path();
    let other = shared.service.users.with_file_name("other");
    std::fs::create_dir(&other).expect("a mount point");
    let refused = said(&mount(
        &shared.service.daemon,
        "data=cached",
        &backing,
        &other,
    ));
    assert!(refused.contains("-o shared on each"), "{refused}");
    let users = shared.service.users.clone();
    let refused = said(&mount(&shared.service.daemon, "shared", &backing, &users));
    assert!(refused.contains("same mount point"), "{refused}");
    assert_eq!(shared.paths(), vec![users.clone()]);

    // It is served, and cannot be put in its place: nothing of it is left, and the other goes on.
    let file = other.join("file");
    std::fs::write(&file, b"").expect("written");
    let refused = said(&mount(&shared.service.daemon, "shared", &backing, &file));
    assert!(refused.contains("mount point"), "{refused}");
    assert_eq!(shared.paths(), vec![users.clone()]);
    shared.service.file("file");
    Reader::start(&users.join("file")).read_everything();
    shared.end();
}

/// The handler of mounts asks what a new one would be told.
impl Handler {
    fn mount_info(&mut self, fs: Handle) -> dmapi::model::MountBody {
        let target = self.target(fs);
        match self.client.ask(Request::GetMountInfo { target }) {
            Ok(Reply::MountInfo(body)) => body,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_store_keeps_all_mounts_and_their_readers() {
    let _one = serial();
    let _deadline = Deadline::new("the_store_keeps_all_mounts", 240);
    let Some((_dir, mut keeper, mut shared)) = Shared::kept() else {
        return;
    };
    let one = shared.add("shared", "one");
    let users = shared.service.users.clone();
    shared.service.stub("file");
    shared.service.stub("one/file");
    let before = shared.list();
    let mut readers = Vec::new();
    for path in [users.join("file"), one.join("file")] {
        let reader = Reader::start(&path);
        readers.push((reader, shared.service.next_event()));
    }
    until("everything is in the store", || {
        keeper.look();
        // Of each mount its table, tree and root; the /dev/fuse of each, and the listener.
        let count = |role: &str| {
            let names = keeper.kept.iter().map(|(name, _)| name);
            names.filter(|name| name.starts_with(role)).count()
        };
        let parts = ["dmapi-9-", "dmapi-10-", "dmapi-11-"].map(count);
        let channels = count("dmapi-7-") + count("dmapi-8-");
        (keeper.is_ready && parts == [2; 3] && channels == 3).then_some(())
    });
    let dir = shared.service.daemon.dir.path().to_owned();
    shared.service.daemon.kill_everybody();
    for (reader, _) in &mut readers {
        reader.is_blocked();
    }
    shared.service.daemon.child = keeper.start(&dir);
    for (reader, event) in readers {
        shared.service.recall(&event);
        reader.read_everything();
    }
    // Nothing was mounted anew.
    assert_eq!(shared.list(), before);
    shared.end();
}

//! Readers wait over every death of one process, and get right bytes; after that of both the mount is dead,
//! and the next daemon mounts it again.

use std::path::Path;
use std::process::Child;

use dmapi::model::{Answer, EventType, Handle, Kinds, OpenFor, Right};
use dmapi::proto::{Call, Request};
use dmapi::sys::mountinfo::{self, Seen};
use dmapi::sys::process;
use nix::sys::signal::Signal;

use crate::common::Deadline;
use crate::service::{Service, content, dmctl, good, serial, storm, text};
use crate::support::{self, kill, until};

/// The FUSE mounts on a directory.
pub fn fuse_mounts(path: &Path) -> Vec<Seen> {
    let mounts = mountinfo::mounts().expect("mountinfo");
    let is_it = |seen: &Seen| seen.path == path && seen.kind == "fuse.dmapi";
    mounts.into_iter().filter(is_it).collect()
}

pub fn start_again(service: &mut Service) {
    let dir = service.daemon.dir.path().to_owned();
    service.daemon.child = spawn(&dir);
    service.daemon.status();
}

fn spawn(dir: &Path) -> Child {
    let mut command = support::command(&support::program(), dir);
    command.spawn().expect("dmapid starts")
}

#[test]
fn a_reader_waits_over_the_death_of_either_process_and_an_upgrade() {
    let _one = serial();
    let _deadline = Deadline::new("a_reader_waits_over_the_death_of_either_process", 240);
    for options in ["", "data=cached"] {
        let Some(mut service) = Service::behind_fuse(options, &[]) else {
            return;
        };
        service.stub("file");
        let mut reader = service.reader("file");
        let event = service.next_event();
        assert_eq!(event.kind, EventType::Read);
        service.daemon.kill_worker();
        let before = service.daemon.status();
        reader.is_blocked();
        kill(before.supervisor_pid);
        until("a new supervisor", || {
            let now = service.daemon.status();
            (now.supervisor_pid != before.supervisor_pid).then_some(())
        });
        reader.is_blocked();
        let before = service.daemon.status();
        good(&dmctl(&service.daemon, &["upgrade"]));
        until("the next worker", || {
            let now = service.daemon.status();
            (now.worker_pid != before.worker_pid).then_some(())
        });
        reader.is_blocked();
        let explained = dmctl(&service.daemon, &["explain", &reader.pid().to_string()]);
        let said = String::from_utf8_lossy(&explained.stdout).into_owned();
        let path = service.users.join("file");
        assert!(
            said.contains("READ") && said.contains(text(&path)),
            "{said}"
        );
        service.recall(&event);
        reader.read_everything();
        service.reader("file").read_everything();
        service.end();
    }
}

/// Makes the kernel drop the pages of a file, for which it waits for a reader.
fn drop_pages(service: &mut Service, handle: Handle) {
    // Written past its users: the pages that the kernel has of it are to go.
    let enter = Request::Enter {
        target: service.target(handle),
        right: Right::Exclusive,
        kinds: Kinds::REGULAR,
        open: OpenFor::Write,
    };
    assert!(service.client.ask(enter).is_ok());
    drop(service.client.received.take());
    service.client.send(&Call::Leave).expect("sent");
    until("a process that waits in the kernel", || {
        // Supervisor, worker, the one that tells the kernel, and the one that watches it.
        let all = support::processes_of(service.daemon.dir.path());
        (all.len() == 4 && all.into_iter().any(|pid| state(pid) == Some('D'))).then_some(())
    });
}

/// Of a process, as in ps(1); `None`: it is gone.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

/// Kills these two and no other: the one that takes the place of the first to die would start another.
fn kill_both(supervisor: u32, worker: u32) {
    // Reaped only when the supervisor goes on, which it does not.
    process::signal(supervisor, Signal::SIGSTOP).expect("it lives");
    until("a stopped supervisor", || {
        (state(supervisor) == Some('T')).then_some(())
    });
    kill(worker);
    until("a dead worker", || {
        (state(worker) == Some('Z')).then_some(())
    });
    kill(supervisor);
}

#[test]
fn a_worker_dies_although_the_kernel_waits_on_its_behalf() {
    let _one = serial();
    let _deadline = Deadline::new("a_worker_dies_although_the_kernel_waits", 240);
    let Some(mut service) = Service::behind_fuse("", &[]) else {
        return;
    };
    let handle = service.stub("file");
    let reader = service.reader("file");
    let event = service.next_event();
    drop_pages(&mut service, handle);
    let before = service.daemon.kill_worker();
    until("the next worker", || {
        let now = service.daemon.status();
        (now.worker_pid != before).then_some(())
    });
    service.recall(&event);
    reader.read_everything();
    service.end();
}

#[test]
fn nobody_waits_for_the_dead_although_the_kernel_does_on_their_behalf() {
    let _one = serial();
    let _deadline = Deadline::new("nobody_waits_for_the_dead", 240);
    for options in ["", "data=cached"] {
        let Some(mut service) = Service::behind_fuse(options, &[]) else {
            return;
        };
        let handle = service.stub("file");
        let mut reader = service.reader("file");
        service.next_event();
        drop_pages(&mut service, handle);
        // That either died before is nothing to it.
        let before = service.daemon.kill_worker();
        until("the next worker", || {
            let now = service.daemon.status();
            (now.worker_pid != before).then_some(())
        });
        reader.is_blocked();
        let before = service.daemon.status().supervisor_pid;
        kill(before);
        until("a new supervisor", || {
            let now = service.daemon.status();
            (now.supervisor_pid != before).then_some(())
        });
        reader.is_blocked();
        let status = service.daemon.status();
        kill_both(status.supervisor_pid, status.worker_pid);
        service.daemon.child.wait().expect("it ended");
        until("the end of the reader", || reader.is_done().then_some(()));
        assert!(!reader.child.wait().expect("it ended").success());
        let got = reader.output.take().expect("once").join().expect("read");
        assert_eq!(got, Vec::<u8>::new());
        let users = service.users.clone();
        // Before that ECONNABORTED is possible: the last one is just ending.
        until("a dead mount", || {
            let dead = std::fs::read_dir(&users).expect_err("nobody serves it");
            (dead.raw_os_error() == Some(libc::ENOTCONN)).then_some(())
        });
        // Who told the kernel on their behalf ends a moment after them.
        until("no process is left", || {
            let left = support::processes_of(service.daemon.dir.path());
            left.is_empty().then_some(())
        });
        assert_eq!(fuse_mounts(&users).len(), 1);
        start_again(&mut service);
        assert_eq!(fuse_mounts(&users).len(), 1);
        let reader = service.reader("file");
        let event = service.next_event();
        service.recall(&event);
        reader.read_everything();
        service.end();
    }
}

#[test]
fn an_abort_reaches_the_reader_and_a_killed_reader_is_forgotten() {
    let _one = serial();
    let _deadline = Deadline::new("an_abort_reaches_the_reader", 240);
    let Some(mut service) = Service::behind_fuse("", &[]) else {
        return;
    };
    service.stub("file");
    let mut refused = service.reader("file");
    let event = service.next_event();
    service.answer(&event, Answer::Abort(libc::EBUSY));
    assert!(!refused.child.wait().expect("it ends").success());
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
fn the_daemon_that_comes_after_both_processes_mounts_again() {
    let _one = serial();
    let _deadline = Deadline::new("the_daemon_that_comes_after_both_processes", 240);
    let Some(mut service) = Service::behind_fuse("nosuid,data=cached", &[]) else {
        return;
    };
    service.stub("file");
    let mut reader = service.reader("file");
    service.next_event();
    let users = service.users.clone();
    let before = fuse_mounts(&users);
    assert_eq!(before.len(), 1);
    service.daemon.kill_everybody();
    start_again(&mut service);
    // Nobody had its request any more: an error, and no byte.
    let mut rest = reader.output.take().expect("once").join().expect("read");
    assert!(!reader.child.wait().expect("it ends").success());
    assert_eq!(rest, Vec::<u8>::new());
    let after = fuse_mounts(&users);
    assert_eq!(after.len(), 1, "{after:?}");
    assert_eq!(after[0].source, before[0].source);
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let line = table.lines().find(|line| line.contains(text(&users)));
    assert!(line.is_some_and(|line| line.contains("nosuid")), "{line:?}");
    // Session and disposition are in the journal. What waited is over: its process got an error.
    let mut reader = service.reader("file");
    let event = service.next_event();
    reader.is_blocked();
    service.recall(&event);
    rest.extend(reader.output.take().expect("once").join().expect("read"));
    assert!(rest == content());
    service.end();
}

#[test]
fn a_mount_that_is_gone_is_not_made_again() {
    let _one = serial();
    let _deadline = Deadline::new("a_mount_that_is_gone_is_not_made_again", 240);
    let Some(mut service) = Service::behind_fuse("", &[]) else {
        return;
    };
    let users = service.users.clone();
    service.daemon.kill_everybody();
    let dead = std::fs::read_dir(&users).expect_err("nobody serves it");
    assert_eq!(dead.raw_os_error(), Some(libc::ENOTCONN));
    nix::mount::umount2(&users, nix::mount::MntFlags::MNT_DETACH).expect("it is there");
    start_again(&mut service);
    assert!(fuse_mounts(&users).is_empty());
    let shown = dmctl(&service.daemon, &["status", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["file_systems"], serde_json::json!([]));
    good(&dmctl(&service.daemon, &["stop"]));
    assert!(service.daemon.child.wait().expect("it ends").success());
}

#[test]
fn a_stop_by_force_leaves_no_dead_mount() {
    let _one = serial();
    let _deadline = Deadline::new("a_stop_by_force_leaves_no_dead_mount", 240);
    let Some(mut service) = Service::behind_fuse("", &[]) else {
        return;
    };
    let path = service.users.join("file");
    std::fs::write(&path, b"open").expect("written");
    let open = std::fs::File::open(&path).expect("opened");
    let refused = dmctl(&service.daemon, &["stop"]);
    assert_eq!(refused.status.code(), Some(2));
    let stopped = dmctl(&service.daemon, &["stop", "--force", "--json"]);
    good(&stopped);
    let said: serde_json::Value = serde_json::from_slice(&stopped.stdout).expect("JSON");
    assert_eq!(said["stopping"], true);
    assert!(service.daemon.child.wait().expect("it ends").success());
    assert!(fuse_mounts(&service.users).is_empty());
    drop(open);
    start_again(&mut service);
    assert!(fuse_mounts(&service.users).is_empty());
    good(&dmctl(&service.daemon, &["stop"]));
    assert!(service.daemon.child.wait().expect("it ends").success());
}

#[test]
fn a_storm_of_readers_gets_right_bytes_while_daemons_die() {
    let _one = serial();
    let _deadline = Deadline::new("a_storm_of_readers_gets_right_bytes", 500);
    for options in ["", "data=cached"] {
        if let Some(service) = Service::behind_fuse(options, &[]) {
            storm(service);
        }
    }
}

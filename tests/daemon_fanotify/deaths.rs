//! Readers wait over every death, and get right bytes.

use dmapi::model::{Answer, EventType};
use nix::sys::signal::Signal;

use crate::common::Deadline;
use crate::service::{Service, dmctl, good, serial, storm, text};
use crate::support::{kill, until};

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

#[test]
fn a_storm_of_readers_gets_right_bytes_while_daemons_die() {
    let _one = serial();
    let _deadline = Deadline::new("a_storm_of_readers_gets_right_bytes", 500);
    if let Some(service) = Service::start() {
        storm(service);
    }
}

//! Both processes die; the service manager has their descriptors.

use crate::common::{self, Deadline};
use crate::keeper::Keeper;
use crate::service::{Service, Two, serial, text};
use crate::support::{self, is_dead};

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
    let mut two = Two::wait(&mut service);
    // Arena, permission group, private mount, listener.
    keeper.takes_all(&["dmapi-1-", "dmapi-2-", "dmapi-6-", "dmapi-8-"]);
    let dir = service.daemon.dir.path().to_owned();
    service.daemon.kill_everybody();
    two.are_blocked();
    service.daemon.child = keeper.start(&dir);
    two.read_everything(&mut service);
    assert!(!is_dead(service.daemon.status().worker_pid));
    service.end();
}

#[test]
fn without_a_store_the_next_daemon_takes_up_what_is_mounted() {
    let _one = serial();
    let _deadline = Deadline::new(
        "without_a_store_the_next_daemon_takes_up_what_is_mounted",
        240,
    );
    let Some(mut service) = Service::start() else {
        return;
    };
    service.stub("file");
    let dir = service.daemon.dir.path().to_owned();
    service.daemon.kill_everybody();
    service.daemon.child = support::command(&support::program(), &dir)
        .spawn()
        .expect("dmapid starts");
    service.daemon.status();
    // Session and disposition are in the journal; the file system was found by its mount point.
    let mut reader = service.reader("file");
    let event = service.next_event();
    reader.is_blocked();
    service.recall(&event);
    reader.read_everything();
    service.end();
}

//! Both processes die; the service manager has their descriptors, so the connection of the mount stays.

use crate::common::{self, Deadline};
use crate::keeper::Keeper;
use crate::service::{Service, serial, text};
use crate::support::until;

#[test]
fn the_store_keeps_a_mount_and_its_readers() {
    let _one = serial();
    let _deadline = Deadline::new("the_store_keeps_a_mount_and_its_readers", 240);
    if !common::is_root() {
        return;
    }
    let keeper_dir = tempfile::tempdir().expect("tempdir");
    let mut keeper = Keeper::new(keeper_dir.path());
    let address = text(&keeper.path).to_owned();
    let Some(mut service) = Service::behind_fuse("", &[("NOTIFY_SOCKET", &address)]) else {
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
        // Arena, /dev/fuse, listener, table, tree, root.
        let names = [
            "dmapi-1-",
            "dmapi-7-",
            "dmapi-8-",
            "dmapi-9-",
            "dmapi-10-",
            "dmapi-11-",
        ];
        keeper.has_all(&names).then_some(())
    });
    let dir = service.daemon.dir.path().to_owned();
    service.daemon.kill_everybody();
    reader.is_blocked();
    late.is_blocked();
    service.daemon.child = keeper.start(&dir);
    service.recall(&event);
    reader.read_everything();
    let event = service.next_event();
    late.is_blocked();
    service.recall(&event);
    late.read_everything();
    service.stub("third");
    let reader = service.reader("third");
    let event = service.next_event();
    service.recall(&event);
    reader.read_everything();
    service.end();
}

//! Both processes die; the service manager has their descriptors, so the connection of the mount stays.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::common::{self, Deadline};
use crate::keeper::Keeper;
use crate::service::{Service, Two, serial, text};
use crate::support::until;
use crate::views::Shared;

#[test]
fn the_store_keeps_a_mount_and_its_readers() {
    let _one = serial();
    let _deadline = Deadline::new("the_store_keeps_a_mount_and_its_readers", 240);
    if !common::is_root() {
        return;
    }
    for options in ["", "data=cached"] {
        keeps(options);
    }
}

fn keeps(options: &str) {
    let keeper_dir = tempfile::tempdir().expect("tempdir");
    let mut keeper = Keeper::new(keeper_dir.path());
    let address = text(&keeper.path).to_owned();
    let Some(mut service) = Service::behind_fuse(options, &[("NOTIFY_SOCKET", &address)]) else {
        return;
    };
    let path = service.users.join("plain");
    std::fs::write(&path, b"before").expect("written");
    let open = File::options().read(true).write(true).open(&path);
    let open = open.expect("opened");
    let mut two = Two::wait(&mut service);
    // Arena, /dev/fuse, listener, table, tree, root, life.
    keeper.takes_all(&[
        "dmapi-1-",
        "dmapi-7-",
        "dmapi-8-",
        "dmapi-9-",
        "dmapi-10-",
        "dmapi-11-",
        "dmapi-12-",
    ]);
    let dir = service.daemon.dir.path().to_owned();
    service.daemon.kill_everybody();
    two.are_blocked();
    service.daemon.child = keeper.start(&dir);
    // What was open goes on.
    let mut bytes = [0; 6];
    open.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"before");
    open.write_all_at(b"after!", 0).expect("written");
    drop(open);
    assert_eq!(std::fs::read(&path).expect("read"), b"after!");
    let behind = std::fs::read(service.fs.join("plain")).expect("read");
    assert_eq!(behind, b"after!");
    two.read_everything(&mut service);
    service.end();
}

/// What a service manager has no time for is told again: its queue takes few messages, and it reads late.
#[test]
fn a_slow_service_manager_gets_everything() {
    let _one = serial();
    let _deadline = Deadline::new("a_slow_service_manager_gets_everything", 240);
    let Some((_dir, mut keeper, mut shared)) = Shared::kept() else {
        return;
    };
    const MORE: usize = 4;
    for index in 0..MORE {
        shared.add("shared", &format!("more{index}"));
    }
    until("every mount is in the store", || {
        keeper.look();
        let channels = keeper.kept.iter();
        let channels = channels.filter(|(name, _)| name.starts_with("dmapi-7-"));
        (channels.count() == 1 + MORE && keeper.is_ready).then_some(())
    });
    let _service = shared.end();
    until("nothing of them is in the store", || {
        keeper.look();
        let mut kept = keeper.kept.iter();
        (!kept.any(|(name, _)| name.starts_with("dmapi-7-"))).then_some(())
    });
}

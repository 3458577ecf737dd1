//! What users see of an object that DM calls change.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use dmapi::model::{AttrChange, Kinds, OpenFor};
use dmapi::proto::{Reply, Request};

use crate::common::Deadline;
use crate::service::{Service, serial};
use crate::support::until;

/// Seconds and nanoseconds of ctime, as users see them.
fn ctime(service: &Service, name: &str) -> (i64, i64) {
    let seen = std::fs::metadata(service.users.join(name)).expect("it is there");
    (seen.ctime(), seen.ctime_nsec())
}

#[test]
fn ctime_is_that_of_users_changes_or_what_was_asked_for() {
    let _one = serial();
    let _deadline = Deadline::new("ctime_is_that_of_users_changes", 240);
    let Some(mut service) = Service::behind_fuse("", &[]) else {
        return;
    };
    let handle = service.file("file");
    let before = ctime(&service, "file");
    let target = service.target(handle);
    let attribute = Request::SetAttribute {
        target,
        name: *b"tag\0\0\0\0\0",
        set_dtime: false,
        value: b"value".to_vec(),
        sync: false,
    };
    assert_eq!(service.client.ask(attribute), Ok(Reply::Nothing));
    service.guard(handle, 1);
    assert_eq!(ctime(&service, "file"), before);

    let change = AttrChange {
        mtime: Some((1_000_000_000, 5)),
        ctime: Some((1_100_000_000, 7)),
        ..AttrChange::default()
    };
    let change = Request::SetFileAttr { target, change };
    assert_eq!(service.client.ask(change), Ok(Reply::Nothing));
    // What the kernel has cached of it goes a moment later.
    until("the new ctime", || {
        (ctime(&service, "file") == (1_100_000_000, 7)).then_some(())
    });
    let seen = std::fs::metadata(service.users.join("file")).expect("it is there");
    assert_eq!((seen.mtime(), seen.mtime_nsec()), (1_000_000_000, 5));

    let mode = Permissions::from_mode(0o600);
    std::fs::set_permissions(service.users.join("file"), mode).expect("changed");
    assert!(ctime(&service, "file") > before);
    service.end();
}

#[test]
fn whoever_has_an_object_open_is_found() {
    let _one = serial();
    let _deadline = Deadline::new("whoever_has_an_object_open_is_found", 240);
    let Some(mut service) = Service::behind_fuse("", &[]) else {
        return;
    };
    let handle = service.file("file");
    let is_open = |service: &mut Service| {
        let target = service.target(handle);
        match service.client.ask(Request::IsOpen { target }) {
            Ok(Reply::Open(is_open)) => is_open,
            other => panic!("{other:?}"),
        }
    };
    until("nobody has it open", || {
        (!is_open(&mut service)).then_some(())
    });
    // Through the mount, and past it.
    for path in [service.users.join("file"), service.fs.join("file")] {
        let open = std::fs::File::open(path).expect("opened");
        assert!(is_open(&mut service));
        drop(open);
    }
    // It was opened for the look only.
    let look = Request::Look {
        handle,
        kinds: Kinds::REGULAR,
        open: OpenFor::Look,
    };
    let kind = Kinds::REGULAR;
    assert_eq!(service.client.ask(look), Ok(Reply::Entered { kind }));
    service.end();
}

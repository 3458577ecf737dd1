//! Events after the fact, and mounts.

use std::os::fd::OwnedFd;

use dmapi::model::{EventSet, EventType, OpenFor};
use dmapi::source::EventSource;
use nix::libc;

use super::common;
use super::rig::{Rig, alone, eventually, on_each_kind};
use super::user::User;

/// A shell that does something on the file system, as a user.
fn shell(rig: &Rig, script: &str) {
    common::run(
        "sh",
        &[
            "-c",
            &format!("cd '{}' && {script}", rig.fs.path().display()),
        ],
    );
}

#[test]
fn names_are_told_after_the_fact() {
    on_each_kind(90, |rig| {
        use EventType::{PostCreate, PostLink, PostRemove, PostRename, PostSymlink};
        rig.list(&[PostCreate, PostLink, PostRemove, PostRename, PostSymlink]);
        let root = rig
            .mount
            .handle_of(std::os::fd::AsFd::as_fd(&rig.mount.root))
            .expect("the root");
        shell(&rig, "mkdir d");
        let event = rig.sink.next();
        let dir = event.names().handle2.expect("the child");
        assert_eq!(event.kind, PostCreate);
        assert_eq!(event.names().handle1, Some(root));
        assert_eq!(event.names().name1, b"d");
        assert_eq!(event.names().mode & libc::S_IFMT, libc::S_IFDIR);
        assert_eq!((event.serial, event.names().retcode), (None, 0));

        shell(&rig, ": > d/a");
        let event = rig.sink.next();
        assert_eq!((event.kind, event.names().handle1), (PostCreate, Some(dir)));
        assert_eq!(event.names().mode & libc::S_IFMT, libc::S_IFREG);
        let file = event.names().handle2;

        shell(&rig, "ln d/a b");
        let event = rig.sink.next();
        assert_eq!((event.kind, event.names().handle2), (PostLink, file));
        assert_eq!(event.names().name1, b"b");

        shell(&rig, "ln -s target s");
        let event = rig.sink.next();
        assert_eq!(event.kind, PostSymlink);
        assert_eq!(event.names().name2, b"target");

        shell(&rig, "mv d/a c");
        let event = rig.sink.next();
        assert_eq!(event.kind, PostRename);
        let names = event.names();
        assert_eq!((names.handle1, names.handle2), (Some(dir), Some(root)));
        assert_eq!((&names.name1[..], &names.name2[..]), (&b"a"[..], &b"c"[..]));

        shell(&rig, "rm c && rmdir d");
        for name in [b"c", b"d"] {
            let event = rig.sink.next();
            assert_eq!(
                (event.kind, &event.names().name1[..]),
                (PostRemove, &name[..])
            );
        }
        rig.list(&[]);
        shell(&rig, "mkdir e && rmdir e");
        rig.is_quiet();
    });
}

#[test]
fn attributes_closes_and_ends_are_told() {
    on_each_kind(90, |rig| {
        use EventType::{Attribute, Close, Destroy};
        rig.list(&[Attribute]);
        let file = rig.file("f", 100);
        // Ours: no news.
        rig.guard(file, &[]);
        rig.source
            .set_event_list(file, EventSet::of(&[Destroy]), false)
            .expect("a list");
        shell(&rig, "chmod 600 f");
        let event = rig.sink.next();
        assert_eq!((event.kind, event.names().handle1), (Attribute, Some(file)));
        shell(&rig, "ln f g && rm g && echo more >> f");
        rig.is_quiet();

        rig.list(&[Close]);
        shell(&rig, "cat f > /dev/null");
        let event = rig.sink.next();
        assert_eq!((event.kind, event.names().handle1), (Close, Some(file)));
        // On the private mount: no news.
        drop(rig.mount.open(file, OpenFor::Read).expect("open"));
        rig.list(&[Destroy]);
        let mut user = User::new();
        let fd = user.open(&rig.join("f"), "RDONLY");
        let other = rig.file("unlisted", 1);
        shell(&rig, "rm f unlisted");
        eventually("the closed one is gone", || {
            rig.sink.destroyed().contains(&(other, false))
        });
        user.get(&format!("close {fd}")).ok();
        eventually("the open one is gone", || {
            rig.sink.destroyed().contains(&(file, true))
        });
    });
}

#[test]
fn the_list_of_an_object_is_enough() {
    on_each_kind(60, |rig| {
        shell(&rig, "mkdir d e");
        let dir = std::fs::File::open(rig.private("d")).expect("d");
        let dir = rig
            .mount
            .handle_of(std::os::fd::AsFd::as_fd(&dir))
            .expect("its handle");
        rig.source
            .set_event_list(dir, EventSet::of(&[EventType::PostCreate]), true)
            .expect("a list");
        shell(&rig, ": > e/x; : > d/y; : > z");
        let event = rig.sink.next();
        assert_eq!(
            (event.kind, event.names().handle1),
            (EventType::PostCreate, Some(dir))
        );
        assert_eq!(event.names().name1, b"y");
        shell(&rig, ": > d/last");
        assert_eq!(rig.sink.next().names().name1, b"last");
        rig.is_quiet();
    });
}

#[test]
fn the_last_unmount_is_noticed_and_frees_the_device() {
    on_each_kind(90, |rig| {
        let second = tempfile::tempdir().expect("a directory");
        let path = second.path().to_str().expect("text");
        common::run(
            "mount",
            &["--bind", rig.fs.path().to_str().expect("text"), path],
        );
        rig.fs.umount();
        // Still reachable by the other mount.
        assert!(rig.source.mount(rig.mount.fs).is_some());
        assert!(rig.sink.unmounted().is_empty());
        common::run("umount", &[path]);
        eventually("it is noticed", || {
            rig.sink.unmounted() == vec![rig.mount.fs]
        });
        assert!(rig.source.mount(rig.mount.fs).is_none());
    });
}

#[test]
fn other_file_systems_are_refused() {
    let Some(_alone) = alone(60) else {
        return;
    };
    let rig = Rig::new("ext4");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("text");
    common::run("mount", &["-t", "tmpfs", "none", path]);
    let root: OwnedFd = std::fs::File::open(path).expect("the root").into();
    let refused = rig.source.attach(root.into());
    common::run("umount", &[path]);
    assert_eq!(
        refused.map(|mount| mount.fs),
        Err(dmapi::model::DmError::NotSupported)
    );
}

#[test]
fn a_second_attach_gives_the_same_mount() {
    let Some(_alone) = alone(60) else {
        return;
    };
    let rig = Rig::new("xfs");
    let root: OwnedFd = std::fs::File::open(rig.fs.path()).expect("the root").into();
    let again = rig.source.attach(root.into()).expect("it is served");
    assert!(std::sync::Arc::ptr_eq(&again, &rig.mount));
    assert_eq!(rig.source.mounts().len(), 1);
}

//! Events of operations on names: their fields, their order, ABORT, and what failed.

use dmapi::model::{Answer, EventType};
use dmapi::source::EventSource;
use nix::libc;

use super::rig::{Rig, Seen, eventually, names, on_each_kind, on_xfs};
use super::user::User;

use EventType::{
    Create, Link, PostCreate, PostLink, PostRemove, PostRename, PostSymlink, Remove, Rename,
    Symlink, Truncate,
};

const DIR: u32 = libc::S_IFDIR;
const FILE: u32 = libc::S_IFREG;

/// A line for a user about paths on the mount: `{}` stands for its root.
pub fn line(rig: &Rig, text: &str) -> String {
    text.replace("{}", rig.point.to_str().expect("text"))
}

/// The user does it, and nobody has to answer anything.
#[track_caller]
pub fn does(rig: &Rig, user: &mut User, text: &str) -> i64 {
    user.get(&line(rig, text)).ok()
}

/// The user is told to do it; the event that it waits for.
#[track_caller]
pub fn asked(rig: &Rig, user: &mut User, text: &str) -> Seen {
    user.tell(&line(rig, text));
    let event = rig.sink.next();
    assert!(event.serial.is_some(), "{event:?}");
    assert!(user.done().is_none());
    event
}

/// The same, continued; then the event after, which was queued before the call returned.
#[track_caller]
fn pair(rig: &Rig, user: &mut User, text: &str) -> (Seen, Seen) {
    let before = asked(rig, user, text);
    rig.answer(&before, Answer::Continue);
    user.wait().ok();
    let after = rig.sink.next_within(std::time::Duration::ZERO);
    let after = after.expect("it is there when the call returns");
    assert!(after.serial.is_none());
    (before, after)
}

const ALL_NAMES: [EventType; 10] = [
    Create,
    PostCreate,
    Remove,
    PostRemove,
    Rename,
    PostRename,
    Link,
    PostLink,
    Symlink,
    PostSymlink,
];

#[test]
fn events_have_the_fields_of_the_standard() {
    on_each_kind(120, |rig| {
        rig.list(&ALL_NAMES);
        let mut user = User::new();
        let root = Some(rig.mount.root_handle());
        let (before, after) = pair(&rig, &mut user, "mkdir {}/d 750");
        let dir = Some(rig.handle("d"));
        assert_eq!(before.kind, Create);
        assert_eq!(before.body, names(DIR | 0o750, root, None, "d", "", 0));
        assert_eq!(after.kind, PostCreate);
        assert_eq!(after.body, names(DIR | 0o750, root, dir, "d", "", 0));

        let (before, after) = pair(&rig, &mut user, "mknod {}/d/f 100640 0");
        let file = Some(rig.handle("d/f"));
        assert_eq!((before.kind, after.kind), (Create, PostCreate));
        assert_eq!(before.body, names(FILE | 0o640, dir, None, "f", "", 0));
        assert_eq!(after.body, names(FILE | 0o640, dir, file, "f", "", 0));

        let (before, after) = pair(&rig, &mut user, "link {}/d/f {}/g");
        assert_eq!((before.kind, after.kind), (Link, PostLink));
        assert_eq!(before.body, names(0, root, file, "g", "", 0));
        assert_eq!(after.body, before.body);
        assert_eq!(does(&rig, &mut user, "links {}/d/f"), 2);

        let (before, after) = pair(&rig, &mut user, "symlink to/where {}/s");
        let link = Some(rig.handle("s"));
        assert_eq!((before.kind, after.kind), (Symlink, PostSymlink));
        assert_eq!(before.body, names(0, root, None, "s", "to/where", 0));
        assert_eq!(after.body, names(0, root, link, "s", "to/where", 0));

        let (before, after) = pair(&rig, &mut user, "rename {}/d/f {}/h 0");
        assert_eq!((before.kind, after.kind), (Rename, PostRename));
        assert_eq!(before.body, names(0, dir, root, "f", "h", 0));
        assert_eq!(after.body, before.body);

        let (before, after) = pair(&rig, &mut user, "unlink {}/h");
        assert_eq!((before.kind, after.kind), (Remove, PostRemove));
        assert_eq!(before.body, names(FILE | 0o640, root, None, "h", "", 0));
        assert_eq!(after.body, before.body);
        assert_eq!(does(&rig, &mut user, "links {}/g"), 1);
        assert!(rig.sink.destroyed().is_empty());

        let (before, _) = pair(&rig, &mut user, "rmdir {}/d");
        assert_eq!(before.body, names(DIR | 0o750, root, None, "d", "", 0));
        eventually("it is told that the directory is gone", || {
            rig.sink.destroyed().iter().any(|one| Some(one.0) == dir)
        });
        rig.is_quiet();
    });
}

#[test]
fn an_aborted_operation_leaves_nothing_and_is_told_of() {
    on_xfs(60, |rig| {
        rig.file("there", 10);
        std::fs::create_dir(rig.private("dir")).expect("a directory");
        rig.list(&ALL_NAMES);
        let mut user = User::new();
        let root = Some(rig.mount.root_handle());
        for (text, after, handle2) in [
            ("mkdir {}/d 755", PostCreate, None),
            ("mknod {}/p 10644 0", PostCreate, None),
            ("symlink x {}/s", PostSymlink, None),
            ("link {}/there {}/l", PostLink, Some(rig.handle("there"))),
            ("rename {}/there {}/r 0", PostRename, root),
            ("unlink {}/there", PostRemove, None),
            ("rmdir {}/dir", PostRemove, None),
        ] {
            let before = asked(&rig, &mut user, text);
            rig.answer(&before, Answer::Abort(libc::EPROTO));
            user.wait().failed(libc::EPROTO);
            let told = rig.sink.next();
            assert_eq!(told.kind, after, "{text}");
            assert_eq!(told.names().handle2, handle2, "{text}");
            assert_eq!(told.names().retcode, libc::EPROTO, "{text}");
        }
        let mut left: Vec<_> = std::fs::read_dir(rig.private("."))
            .expect("the root")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["dir", "there"]);
        // The names can be used all the same.
        let (_, after) = pair(&rig, &mut user, "mkdir {}/d 755");
        assert_eq!(after.names().retcode, 0);
        rig.is_quiet();
    });
}

#[test]
fn what_fails_after_its_event_is_told_of_and_what_fails_before_is_not() {
    on_xfs(60, |rig| {
        std::fs::create_dir_all(rig.private("full/inner")).expect("directories");
        rig.file("there", 10);
        rig.list(&ALL_NAMES);
        let mut user = User::new();
        for (text, errno) in [
            ("mkdir {}/there 755", libc::EEXIST),
            ("unlink {}/nothing", libc::ENOENT),
            ("rename {}/there {}/full 1", libc::EEXIST),
            ("link {}/there {}/full", libc::EEXIST),
        ] {
            user.get(&line(&rig, text)).failed(errno);
        }
        rig.is_quiet();
        let before = asked(&rig, &mut user, "rmdir {}/full");
        rig.answer(&before, Answer::Continue);
        user.wait().failed(libc::ENOTEMPTY);
        let told = rig.sink.next();
        assert_eq!(
            (told.kind, told.names().retcode),
            (PostRemove, libc::ENOTEMPTY)
        );
        // The kernel itself refuses this one.
        user.get(&line(&rig, "rename {}/full {}/full/inner/x 0"))
            .failed(libc::EINVAL);
        rig.is_quiet();
    });
}

#[test]
fn one_of_two_events_and_the_list_of_a_directory_are_enough() {
    on_xfs(60, |rig| {
        for dir in ["a", "b"] {
            std::fs::create_dir(rig.private(dir)).expect("a directory");
        }
        let (a, b) = (rig.handle("a"), rig.handle("b"));
        rig.list_of(a, &[PostCreate, Rename]);
        let mut user = User::new();
        does(&rig, &mut user, "mknod {}/a/f 100600 0");
        assert_eq!(rig.sink.next().kind, PostCreate);
        does(&rig, &mut user, "mknod {}/b/f 100600 0");
        rig.sink.is_empty();
        // Either directory, and one event only.
        let event = asked(&rig, &mut user, "rename {}/b/f {}/a/g 0");
        assert_eq!(event.body, names(0, Some(b), Some(a), "f", "g", 0));
        rig.answer(&event, Answer::Continue);
        user.wait().ok();
        let event = asked(&rig, &mut user, "rename {}/a/g {}/b/f 0");
        rig.answer(&event, Answer::Continue);
        user.wait().ok();
        rig.list_of(a, &[]);
        does(&rig, &mut user, "mknod {}/a/more 100600 0");
        rig.is_quiet();
    });
}

#[test]
fn a_truncation_of_a_guarded_file_waits_and_is_judged_again() {
    on_xfs(60, |rig| {
        let file = rig.file("f", 10_000);
        rig.guard(file, &[super::rig::region(1000, 500, 4)]);
        let mut user = User::new();
        does(&rig, &mut user, "truncate {}/f 1500");
        let event = asked(&rig, &mut user, "truncate {}/f 1499");
        assert_eq!((event.kind, event.range()), (Truncate, (1499, 0)));
        assert_eq!(event.file(), file);
        rig.answer(&event, Answer::Abort(libc::EBUSY));
        user.wait().failed(libc::EBUSY);
        let event = asked(&rig, &mut user, "truncate {}/f 10");
        rig.answer(&event, Answer::Continue);
        user.wait().ok();
        let size = std::fs::metadata(rig.private("f")).expect("f").len();
        assert_eq!(size, 10);
        rig.is_quiet();
    });
}

#[test]
fn a_file_that_an_open_makes_is_told_of() {
    on_each_kind(90, |rig| {
        rig.list(&[Create, PostCreate, Link, PostLink]);
        let mut user = User::new();
        let root = Some(rig.mount.root_handle());
        let mode = FILE | 0o644;
        let (before, after) = pair(&rig, &mut user, "open {}/f CREAT|EXCL|RDWR");
        let file = Some(rig.handle("f"));
        assert_eq!((before.kind, after.kind), (Create, PostCreate));
        assert_eq!(before.body, names(mode, root, None, "f", "", 0));
        assert_eq!(after.body, names(mode, root, file, "f", "", 0));
        let before = asked(&rig, &mut user, "open {}/g CREAT|WRONLY");
        rig.answer(&before, Answer::Abort(libc::EROFS));
        user.wait().failed(libc::EROFS);
        assert_eq!(rig.sink.next().names().retcode, libc::EROFS);
        assert!(!rig.private("g").exists());
        // What is there is opened without events.
        let fd = does(&rig, &mut user, "open {}/f CREAT|RDWR");
        assert_eq!(user.get(&format!("pwrite {fd} 0 100")).ok(), 100);
        user.get(&format!("pread {fd} 0 100")).is_right(100);
        rig.is_quiet();
        // One without a name makes none until it gets one.
        let fd = does(&rig, &mut user, "tmpfile {}");
        rig.is_quiet();
        let (before, after) = pair(&rig, &mut user, &format!("name {fd} {{}}/named"));
        let named = Some(rig.handle("named"));
        assert_eq!((before.kind, after.kind), (Link, PostLink));
        assert_eq!(before.body, names(0, root, named, "named", "", 0));
        user.get(&format!("close {fd}")).ok();
        assert_eq!(does(&rig, &mut user, "links {}/named"), 1);
        assert!(rig.sink.destroyed().is_empty());
        let fd = does(&rig, &mut user, "tmpfile {}");
        user.get(&format!("close {fd}")).ok();
        eventually("what never had a name is gone", || {
            rig.sink.destroyed().len() == 1
        });
    });
}

#[test]
fn the_event_of_a_killed_user_is_withdrawn() {
    on_xfs(60, |rig| {
        rig.list(&[Create, PostCreate]);
        let mut user = User::new();
        let event = asked(&rig, &mut user, "mkdir {}/d 755");
        user.kill();
        let serial = event.serial.expect("a serial");
        eventually("it is withdrawn", || rig.sink.withdrawn() == [serial]);
        // A late answer does no harm, and the directory can be used.
        rig.source.answer(serial, Answer::Continue);
        let mut user = User::new();
        let (_, after) = pair(&rig, &mut user, "mkdir {}/d 755");
        assert_eq!(after.names().retcode, 0);
        rig.is_quiet();
    });
}

//! Objects from their first lookup to their end, and their attributes.

use dmapi::model::{Answer, EventType};
use nix::libc;

use super::names::{asked, does, line};
use super::rig::{Rig, eventually, names, on_each_kind, on_xfs};
use super::user::User;

use EventType::{Attribute, Debut, Destroy, PostCreate, PostSymlink};

const DIR: u32 = libc::S_IFDIR;

#[test]
fn objects_end_once_and_attributes_are_told_of() {
    on_each_kind(120, |rig| {
        let mut user = User::new();
        does(&rig, &mut user, "mknod {}/listed 100600 0");
        does(&rig, &mut user, "mknod {}/other 100600 0");
        does(&rig, &mut user, "mknod {}/third 100600 0");
        let (listed, other) = (rig.handle("listed"), rig.handle("other"));
        rig.list_of(listed, &[Destroy, Attribute]);
        for text in [
            "chmod {}/listed 640",
            "chown {}/listed 1 1",
            "utimes {}/listed 5 7",
            "setxattr {}/listed user.x y 0",
            "removexattr {}/listed user.x",
        ] {
            does(&rig, &mut user, text);
            let event = rig.sink.next();
            assert_eq!(event.kind, Attribute, "{text}");
            assert_eq!(event.body, names(0, Some(listed), None, "", "", 0));
        }
        assert_eq!(does(&rig, &mut user, "mtime {}/listed"), 5_000_000_007);
        user.get(&line(&rig, "removexattr {}/listed user.x"))
            .failed(libc::ENODATA);
        does(&rig, &mut user, "truncate {}/listed 100");
        does(&rig, &mut user, "chmod {}/other 640");
        rig.is_quiet();
        // Renamed over, and removed with another name left.
        does(&rig, &mut user, "rename {}/third {}/other 0");
        assert_eq!(rig.sink.destroyed(), [(other, false)]);
        does(&rig, &mut user, "link {}/listed {}/again");
        does(&rig, &mut user, "unlink {}/listed");
        assert_eq!(does(&rig, &mut user, "links {}/again"), 1);
        assert_eq!(rig.sink.destroyed().len(), 1);
        does(&rig, &mut user, "unlink {}/again");
        assert_eq!(rig.sink.destroyed(), [(other, false), (listed, true)]);
    });
}

#[test]
fn a_removed_directory_that_is_used_stays_what_it_was() {
    on_each_kind(90, |rig| {
        let mut user = User::new();
        does(&rig, &mut user, "mkdir {}/d 755");
        let inode = does(&rig, &mut user, "inode {}/d");
        does(&rig, &mut user, "chdir {}/d");
        does(&rig, &mut user, "rmdir {}/d");
        assert_eq!(user.get("inode .").ok(), inode);
        assert_eq!(user.get("entries .").ok(), 0);
        user.get("mkdir x 755").failed(libc::ENOENT);
        // Its number is not given to another meanwhile.
        for index in 0..20 {
            does(&rig, &mut user, &format!("mkdir {{}}/n{index} 755"));
            let other = does(&rig, &mut user, &format!("inode {{}}/n{index}"));
            assert_ne!(other, inode);
        }
    });
}

#[test]
fn the_first_lookup_of_an_object_is_its_debut() {
    on_xfs(60, |rig| {
        let file = rig.file("f", 10);
        rig.file("g", 10);
        rig.list(&[Debut]);
        let mut user = User::new();
        let event = asked(&rig, &mut user, "links {}/f");
        assert_eq!(event.body, names(0, Some(file), None, "", "", 0));
        rig.answer(&event, Answer::Continue);
        assert_eq!(user.wait().ok(), 1);
        does(&rig, &mut user, "chmod {}/f 600");
        // Reading the directory uses no object.
        assert_eq!(does(&rig, &mut user, "entries {}"), 2);
        rig.is_quiet();
        let event = asked(&rig, &mut user, "links {}/g");
        rig.answer(&event, Answer::Abort(libc::EACCES));
        user.wait().failed(libc::EACCES);
        let event = asked(&rig, &mut user, "links {}/g");
        rig.answer(&event, Answer::Continue);
        user.wait().ok();
        // What a user makes is not new to him.
        does(&rig, &mut user, "mknod {}/made 100600 0");
        assert_eq!(does(&rig, &mut user, "links {}/made"), 1);
        rig.is_quiet();
    });
}

#[test]
fn a_new_object_inherits_before_it_is_told_of() {
    on_xfs(60, |rig| {
        rig.sink.inherit();
        rig.list(&[PostCreate, PostSymlink]);
        let mut user = User::new();
        does(&rig, &mut user, "mkdir {}/d 755");
        does(&rig, &mut user, "symlink x {}/d/s");
        let root = rig.mount.root_handle();
        let (dir, link) = (rig.handle("d"), rig.handle("d/s"));
        let seen = rig.sink.created();
        assert_eq!(
            seen[..],
            [(root, dir, DIR | 0o755), (dir, link, libc::S_IFLNK | 0o777)]
        );
    });
}

#[test]
fn open_files_end_when_they_are_closed() {
    on_each_kind(90, |rig| {
        let file = rig.file("f", 1000);
        let mut user = User::new();
        let fd = does(&rig, &mut user, "open {}/f RDWR");
        rig.list_of(file, &[Destroy]);
        does(&rig, &mut user, "unlink {}/f");
        user.get(&format!("pread {fd} 0 1000")).is_right(1000);
        assert_eq!(user.get(&format!("pwrite {fd} 1000 50")).ok(), 50);
        assert!(rig.sink.destroyed().is_empty());
        user.get(&format!("close {fd}")).ok();
        eventually("it is gone", || rig.sink.destroyed() == [(file, true)]);
    });
}

#[test]
fn an_object_is_found_by_its_number_alone() {
    on_each_kind(90, |mut rig| {
        use std::os::fd::AsFd;
        std::fs::create_dir(rig.private("d")).expect("a directory");
        rig.file("d/f", 100);
        let path = rig.join("d/f");
        let handle = {
            let file = std::fs::File::open(&path).expect("it opens");
            dmapi::sys::handle::name_to_handle(file.as_fd()).expect("a handle")
        };
        rig.next_worker();
        let forget = |rig: &Rig, parent: u64, name: &[u8]| {
            let kept = rig.arena.kept();
            let role = dmapi::source::arena::Role::FUSE;
            let channel = kept.iter().find(|one| one.role == role).expect("kept");
            let notice = dmapi::source::fuse::wire::Notice::inval_entry(parent, name);
            dmapi::sys::process::with_borrowed(channel.fd, |fd| {
                dmapi::sys::fuse::notify(fd, notice.code, &[&notice.body])
            })
            .expect("the kernel hears it");
        };
        let inode = nix::sys::stat::stat(&rig.private("d"))
            .expect("stat")
            .st_ino;
        forget(&rig, inode, b"f");
        forget(&rig, 1, b"d");
        let root = std::fs::File::open(&rig.point).expect("the root");
        let opened = dmapi::sys::handle::open_by_handle(root.as_fd(), &handle, libc::O_RDONLY);
        let file = std::fs::File::from(opened.expect("it is found"));
        assert_eq!(file.metadata().expect("stat").len(), 100);
        std::fs::remove_file(&path).expect("unlink");
        drop(file);
    });
}

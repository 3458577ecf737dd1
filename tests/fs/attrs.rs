//! File attributes and the change id.

use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::symlink;

use dmapi::fs::Want;
use dmapi::fs::attr;
use dmapi::fs::stat;
use dmapi::fs::state;
use dmapi::model::AttrChange;
use dmapi::model::DmError;
use dmapi::model::OpenFor;

use crate::Place;
use crate::on_each_kind;

on_each_kind!(with_place: looks_equal_stat, attributes_are_set_alone, changes_change_the_change_id);

fn looks_equal_stat(place: Place) {
    fs::write(place.join("file"), vec![1; 10_000]).unwrap();
    fs::hard_link(place.join("file"), place.join("link")).unwrap();
    symlink("nowhere", place.join("symlink")).unwrap();
    for name in ["file", "symlink", "."] {
        let fd = place.open(name, OpenFor::Look);
        let shown = place.mount.look(fd.as_fd(), &Want::default()).unwrap();
        let meta = fs::symlink_metadata(place.join(name)).unwrap();
        assert_eq!(shown.device, meta.dev());
        assert_eq!(shown.inode, meta.ino());
        assert_eq!(shown.mode, meta.mode());
        assert_eq!(u64::from(shown.links), meta.nlink());
        assert_eq!((shown.uid, shown.gid), (meta.uid(), meta.gid()));
        assert_eq!((shown.size, shown.rdev), (meta.size(), meta.rdev()));
        assert_eq!(shown.atime, meta.atime());
        assert_eq!((shown.mtime, shown.ctime), (meta.mtime(), meta.ctime()));
        assert_eq!(u64::from(shown.block_bytes), meta.blksize());
        assert_eq!(shown.blocks, meta.blocks());
        assert_eq!(shown.handle, Some(place.handle(name)));
    }
}

type Values = (u32, u32, u32, i64, i64, u64);
/// A change, and what it makes of the values.
type Change = (AttrChange, fn(Values) -> Values);

fn values(place: &Place, name: &str) -> Values {
    let meta = fs::symlink_metadata(place.join(name)).unwrap();
    (
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.atime(),
        meta.mtime(),
        meta.size(),
    )
}

fn attributes_are_set_alone(place: Place) {
    fs::write(place.join("file"), vec![1; 10_000]).unwrap();
    fs::create_dir(place.join("dir")).unwrap();
    let none = AttrChange::default();
    #[rustfmt::skip]
    let changes: [Change; 7] = [
        (AttrChange { mode: Some(0o6750), ..none }, |v| (v.0 & !0o7777 | 0o6750, v.1, v.2, v.3, v.4, v.5)),
        // The set-id bits stay.
        (AttrChange { uid: Some(12), ..none }, |v| (v.0, 12, v.2, v.3, v.4, v.5)),
        (AttrChange { gid: Some(13), ..none }, |v| (v.0, v.1, 13, v.3, v.4, v.5)),
        (AttrChange { atime: Some((1_000_000, 0)), ..none }, |v| (v.0, v.1, v.2, 1_000_000, v.4, v.5)),
        (AttrChange { mtime: Some((2_000_000, 0)), ..none }, |v| (v.0, v.1, v.2, v.3, 2_000_000, v.5)),
        (AttrChange { ctime: Some((3_000_000, 0)), ..none }, |v| v),
        (AttrChange { dtime: Some((4_000_000, 0)), ..none }, |v| v),
    ];
    for name in ["file", "dir"] {
        let fd = place.open(name, OpenFor::Look);
        for (change, expected) in &changes {
            let before = values(&place, name);
            stat::set(fd.as_fd(), change).unwrap();
            assert_eq!(values(&place, name), expected(before), "{name} {change:?}");
        }
    }
    let fd = place.open("file", OpenFor::Look);
    for size in [100, 0, 50_000] {
        let before = values(&place, "file");
        let change = AttrChange {
            size: Some(size),
            ..none
        };
        stat::set(fd.as_fd(), &change).unwrap();
        let (mode, uid, gid, atime, mtime, _) = before;
        assert_eq!(values(&place, "file"), (mode, uid, gid, atime, mtime, size));
    }
    let change = AttrChange {
        size: Some(0),
        ..none
    };
    let dir = place.open("dir", OpenFor::Look);
    assert_eq!(stat::set(dir.as_fd(), &change), Err(DmError::Invalid));
    symlink("nowhere", place.join("symlink")).unwrap();
    let symlink = place.open("symlink", OpenFor::Look);
    stat::set(symlink.as_fd(), &changes[1].0).unwrap();
    stat::set(symlink.as_fd(), &changes[4].0).unwrap();
    let (_, uid, _, _, mtime, _) = values(&place, "symlink");
    assert_eq!((uid, mtime), (12, 2_000_000));
}

fn changes_change_the_change_id(place: Place) {
    let path = place.join("file");
    let fd = place.file("file", &[1; 4096]);
    let fd = fd.as_fd();
    let id = || {
        let id = stat::change_id(fd).unwrap();
        let shown = place.mount.look(fd, &Want::ALL).unwrap();
        assert_eq!(shown.change, id, "one id");
        assert_eq!(stat::change_id(fd), Ok(id), "nothing happened");
        id
    };
    let mut ids = vec![id()];
    let mut note = |what: &str| {
        let id = id();
        assert!(!ids.contains(&id), "{what}");
        ids.push(id);
    };
    fs::read(&path).unwrap();
    File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"))
        .unwrap();
    note("a longer file");
    let file = File::options().write(true).open(&path).unwrap();
    // Many in a row: the clock's coarse step must not hide any.
    for round in 0..50u8 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[round], 7).unwrap();
        note("a write of the same length");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    note("chmod");
    attr::set(&place.mount, fd, b"name\0\0\0\0", b"1", false).unwrap();
    note("an attribute");
    attr::remove(fd, b"name\0\0\0\0", true).unwrap();
    note("a removed attribute");
    dmapi::sys::xattr::set(fd, c"user.own", b"1").unwrap();
    note("a user's xattr");
    state::update(fd, |state| {
        state.changes += 1;
        state.punched_from = Some(0);
    })
    .unwrap();
    note("a punch");
}

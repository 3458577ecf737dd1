//! What file systems of any kind need: objects by number, handles that do not fit, and what users see of ctime.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dmapi::fs::BulkScan;
use dmapi::fs::FsError;
use dmapi::fs::Mount;
use dmapi::fs::Want;
use dmapi::fs::attr;
use dmapi::fs::scan::LOCATION_START;
use dmapi::fs::stat;
use dmapi::fs::state;
use dmapi::model::DmError;
use dmapi::model::OpenFor;

use crate::Place;
use crate::common;
use crate::common::LoopFs;
use crate::handle;
use crate::look;
use crate::on_each_kind;

on_each_kind!(with_place: an_object_is_found_by_its_number, dm_changes_do_not_show_in_ctime);
on_each_kind!(with_fs: a_directory_alone_is_scanned_alone, the_next_worker_opens_old_handles);

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

fn an_object_is_found_by_its_number(place: Place) {
    fs::write(place.join("file"), "x").unwrap();
    fs::create_dir(place.join("dir")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.join("symlink")).unwrap();
    let mount = &place.mount;
    for name in ["file", "dir", "symlink"] {
        let found = mount.handle_of_inode(inode(&place.join(name)));
        assert_eq!(found, Ok(place.handle(name)), "{name}");
    }
    let root = stat::stat(mount.root.as_fd()).unwrap().ino;
    assert_eq!(mount.handle_of_inode(root), Ok(mount.root_handle()));

    // Held open, it is found without a name.
    let held = look(&place.join("file"));
    let (gone, number) = (place.handle("file"), inode(&place.join("file")));
    fs::remove_file(place.join("file")).unwrap();
    if mount.known.is_some() {
        mount.keep_unlinked(gone, held.try_clone().unwrap());
    }
    assert_eq!(mount.handle_of_inode(number), Ok(gone));
    mount.open(gone, OpenFor::Read).unwrap();
    mount.forget(gone);
    drop(held);
    // The number may have gone to nobody or, on another test's behalf, to another object.
    assert_ne!(mount.handle_of_inode(number), Ok(gone));
    assert_eq!(
        mount.handle_of_inode(0xffff_fff0).map(drop),
        Err(DmError::BadHandle)
    );
}

fn dm_changes_do_not_show_in_ctime(place: Place) {
    let fd = place.file("file", b"x");
    let fd = fd.as_fd();
    let real = || stat::stat(fd).unwrap().ctime;
    let shown = || stat::shown(fd).unwrap().ctime;
    let before = real();
    assert_eq!(shown(), before);
    state::keep_ctime(fd).unwrap();
    attr::set(&place.mount, fd, b"name\0\0\0\0", b"1", false).unwrap();
    state::keep_ctime(fd).unwrap();
    attr::set(&place.mount, fd, b"name\0\0\0\0", b"2", false).unwrap();
    assert_eq!(shown(), before);
    let looked = place.mount.look(fd, &Want::ALL).unwrap();
    assert_eq!(looked.ctime, before.0);
    let looked = place.mount.look(fd, &Want::default()).unwrap();
    assert_eq!(looked.ctime, before.0);
    state::clear_ctime(fd).unwrap();
    assert_eq!(shown(), real());
    assert!(real() >= before);
    state::clear_ctime(fd).unwrap();
}

fn inodes(mount: &Mount) -> Vec<u64> {
    let mut scan = BulkScan::new(mount, LOCATION_START, Want::ALL).unwrap();
    std::iter::from_fn(|| scan.next_object().unwrap())
        .map(|found| found.stat.inode)
        .collect()
}

fn a_directory_alone_is_scanned_alone(fs: LoopFs) {
    std::fs::create_dir_all(fs.join("a/b/c")).unwrap();
    for path in ["out", "a/in", "a/b/in", "a/b/c/in"] {
        std::fs::write(fs.join(path), "").unwrap();
    }
    std::fs::hard_link(fs.join("a/in"), fs.join("a/b/same")).unwrap();
    let root = File::open(fs.join("a")).unwrap();
    let mount = Mount::serving(root.into(), Some(&fs.state_dir())).unwrap();
    let expected = ["a", "a/in", "a/b", "a/b/in", "a/b/c", "a/b/c/in"];
    let expected: BTreeSet<u64> = expected.iter().map(|path| inode(&fs.join(path))).collect();
    assert_eq!(inodes(&mount), Vec::from_iter(expected));
}

fn the_next_worker_opens_old_handles(fs: LoopFs) {
    std::fs::create_dir(fs.join("dir")).unwrap();
    std::fs::write(fs.join("dir/file"), "x").unwrap();
    let mount = fs.open();
    let file = handle(&mount, &fs.join("dir/file"));
    drop(mount);
    std::fs::rename(fs.join("dir/file"), fs.join("renamed")).unwrap();
    let open = || fs.open().open(file, OpenFor::Read).map(drop);
    assert_eq!(open(), Ok(()), "from what is kept");
    let _ = std::fs::remove_dir_all(fs.state_dir());
    assert_eq!(open(), Ok(()), "from nothing");
    std::fs::remove_file(fs.join("renamed")).unwrap();
    assert_eq!(open(), Err(DmError::BadHandle));
    assert_eq!(open(), Err(DmError::BadHandle), "still");
}

#[test]
fn a_handle_of_overlayfs_outlives_copying_up() {
    if !common::is_root() {
        return;
    }
    let _deadline = common::Deadline::new("overlay", 120);
    let fs = LoopFs::new("overlay");
    let mount = fs.open();
    let below = handle(&mount, &fs.join("below"));
    std::fs::write(fs.join("below"), "above").unwrap();
    assert_eq!(handle(&mount, &fs.join("below")), below);
    mount.open(below, OpenFor::Write).unwrap();
    // A worker that never saw it, and one that finds what that one kept.
    for _ in 0..2 {
        fs.open().open(below, OpenFor::Write).unwrap();
    }
}

#[test]
fn an_overlay_without_handles_is_refused_with_what_to_do() {
    if !common::is_root() {
        return;
    }
    let _deadline = common::Deadline::new("overlay", 120);
    let fs = LoopFs::new("tmpfs");
    for name in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir(fs.join(name)).unwrap();
    }
    let layer = |name: &str| format!("{}", fs.join(name).display());
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        layer("lower"),
        layer("upper"),
        layer("work")
    );
    common::run(
        "mount",
        &["-t", "overlay", "-o", &options, "none", &layer("merged")],
    );
    let root = File::open(fs.join("merged")).unwrap();
    let refused = Mount::serving(root.into(), Some(&fs.state_dir())).map(drop);
    assert!(matches!(refused, Err(FsError::NoHandles { .. })));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("nfs_export=on"), "{text}");
}

//! Ids of file systems, handles of objects, names.

use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::process::Stdio;

use dmapi::fs::FsError;
use dmapi::fs::Mount;
use dmapi::fs::handle::kind_of;
use dmapi::fs::identify;
use dmapi::fs::users::User;
use dmapi::fs::users::in_use;
use dmapi::model::DmError;
use dmapi::model::FsId;
use dmapi::model::Handle;
use dmapi::model::Kinds;
use dmapi::model::OpenFor;

use crate::Place;
use crate::common::LoopFs;
use crate::handle;
use crate::look;
use crate::on_each_kind;

on_each_kind!(with_place: objects_have_handles, dead_handles_are_refused, kinds_open_as_they_may,
    objects_have_names, users_are_found, everything_can_be_synced);
on_each_kind!(with_fs: handles_outlive_a_remount);

fn with_generation(handle: Handle, change: impl Fn(u32) -> u32) -> Handle {
    match handle {
        Handle::Object {
            fs,
            inode,
            generation,
        } => Handle::Object {
            fs,
            inode,
            generation: change(generation),
        },
        other => other,
    }
}

fn objects_have_handles(place: Place) {
    fs::write(place.join("file"), "x").unwrap();
    fs::hard_link(place.join("file"), place.join("link")).unwrap();
    fs::write(place.join("other"), "x").unwrap();
    symlink("file", place.join("symlink")).unwrap();
    let file = place.handle("file");
    assert_eq!(file, place.handle("link"));
    assert_ne!(file, place.handle("other"));
    assert_ne!(file, place.handle("symlink"), "the link itself");
    assert_eq!(file.fs(), Some(place.mount.fs));
    // A data descriptor and one of another path give the same.
    let data = File::open(place.join("link")).unwrap();
    assert_eq!(place.mount.handle_of(data.as_fd()), Ok(file));
    fs::rename(place.join("file"), place.join("renamed")).unwrap();
    assert_eq!(place.handle("renamed"), file);
    let opened = place.mount.open(file, OpenFor::Read).unwrap();
    assert_eq!(place.mount.handle_of(opened.as_fd()), Ok(file));
    let elsewhere = File::open("/proc").unwrap();
    let refused = place.mount.handle_of(elsewhere.as_fd());
    assert_eq!(refused, Err(DmError::NotManaged));
}

fn dead_handles_are_refused(place: Place) {
    fs::write(place.join("file"), "x").unwrap();
    let file = place.handle("file");
    for open in [OpenFor::Look, OpenFor::Read, OpenFor::Write] {
        let refused = |handle| {
            let opened = place.mount.open(handle, open).map(drop);
            assert_eq!(opened, Err(DmError::BadHandle), "{handle:?} {open:?}");
        };
        refused(with_generation(file, |generation| generation ^ 0x100));
        // "Any generation" for ext4 and btrfs.
        refused(with_generation(file, |_| 0));
        refused(Handle::Global);
        refused(Handle::Fs(FsId(1)));
        refused(Handle::Object {
            fs: place.mount.fs,
            inode: u64::MAX >> 8,
            generation: 1,
        });
    }
    fs::remove_file(place.join("file")).unwrap();
    let opened = place.mount.open(file, OpenFor::Look).map(drop);
    assert_eq!(opened, Err(DmError::BadHandle));
    fs::write(place.join("file"), "x").unwrap();
    assert_ne!(place.handle("file"), file, "the name is used again");
}

fn kinds_open_as_they_may(place: Place) {
    fs::write(place.join("file"), "x").unwrap();
    fs::create_dir(place.join("dir")).unwrap();
    symlink("file", place.join("symlink")).unwrap();
    let pipe = place.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (name, kind) in [
        ("file", Kinds::REGULAR),
        ("dir", Kinds::DIRECTORY),
        ("symlink", Kinds::SYMLINK),
        ("pipe", Kinds::OTHER),
    ] {
        for open in [OpenFor::Look, OpenFor::Read] {
            let fd = place.open(name, open);
            assert_eq!(kind_of(fd.as_fd()), Ok(kind), "{name} {open:?}");
            assert_eq!(place.mount.handle_of(fd.as_fd()), Ok(place.handle(name)));
        }
    }
    let dir = place.mount.open(place.handle("dir"), OpenFor::Write);
    assert_eq!(dir.map(drop), Err(DmError::Invalid));
    // mkfs gave the root its generation, 0 on ext4.
    let root = place.mount.handle_of(place.mount.root.as_fd()).unwrap();
    for handle in [root, Handle::Fs(place.mount.fs)] {
        let fd = place.mount.open(handle, OpenFor::Read).unwrap();
        assert_eq!(place.mount.handle_of(fd.as_fd()), Ok(root));
    }
}

fn everything_can_be_synced(place: Place) {
    fs::write(place.join("file"), "x").unwrap();
    symlink("file", place.join("symlink")).unwrap();
    for (name, open) in [
        ("file", OpenFor::Write),
        ("file", OpenFor::Look),
        ("symlink", OpenFor::Look),
        (".", OpenFor::Read),
    ] {
        let fd = place.open(name, open);
        let synced = dmapi::fs::handle::sync(&place.mount, fd.as_fd());
        assert_eq!(synced, Ok(()), "{name} {open:?}");
    }
}

fn objects_have_names(place: Place) {
    fs::create_dir_all(place.join("a/b")).unwrap();
    fs::write(place.join("a/b/file"), "x").unwrap();
    fs::hard_link(place.join("a/b/file"), place.join("a/b/again")).unwrap();
    symlink("nowhere", place.join("a/b/symlink")).unwrap();
    for number in 0..300 {
        fs::write(place.join(&format!("a/b/{number:0100}")), "x").unwrap();
    }
    let dir = place.open("a/b", OpenFor::Read);
    let name = |path: &str| {
        let name = place.mount.name_in(dir.as_fd(), place.handle(path));
        name.map(|name| name.map(|name| String::from_utf8(name).unwrap()))
    };
    let file = name("a/b/file").unwrap().unwrap();
    assert!(["file", "again"].contains(&file.as_str()), "{file}");
    assert_eq!(name("a/b/symlink"), Ok(Some("symlink".into())));
    assert_eq!(name("a"), Ok(None), "a parent is no entry");
    let last = format!("{:0100}", 299);
    assert_eq!(name(&format!("a/b/{last}")), Ok(Some(last)));

    let own = place.path.file_name().unwrap().to_str().unwrap();
    let path = |fd: &dyn AsFd| String::from_utf8(place.mount.path_of(fd.as_fd()).unwrap()).unwrap();
    assert_eq!(path(&dir), format!("{own}/a/b"));
    assert_eq!(path(&place.mount.root), "");
    fs::rename(place.join("a"), place.join("c")).unwrap();
    assert_eq!(path(&dir), format!("{own}/c/b"));
    // The name cache shows another mount's path for this one: it is found by going up.
    let by_user = File::open(place.join("c/b")).unwrap();
    assert_eq!(path(&by_user), format!("{own}/c/b"));
    fs::create_dir(place.join("gone")).unwrap();
    let gone = place.open("gone", OpenFor::Read);
    fs::remove_dir(place.join("gone")).unwrap();
    let refused = place.mount.path_of(gone.as_fd());
    assert!(refused.is_err(), "{refused:?}");
}

fn users_are_found(place: Place) {
    fs::write(place.join("open"), "x").unwrap();
    // By another process: while a descriptor for writing is open in any child, the program cannot run.
    crate::common::run(
        "cp",
        &["/bin/sleep", place.join("program").to_str().unwrap()],
    );
    let mut child = Command::new(place.join("program"))
        .arg("600")
        .stdin(File::open(place.join("open")).unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let users = in_use(place.mount.device);
    child.kill().unwrap();
    child.wait().unwrap();
    let has = |name| {
        let (pid, path) = (child.id(), place.join(name));
        users.contains(&User { pid, path })
    };
    assert!(has("open") && has("program"), "{users:?}");
    assert!(users.iter().all(|user| user.pid != std::process::id()));
}

fn handles_outlive_a_remount(fs: LoopFs) {
    if fs.kind == "tmpfs" {
        // Nothing of it outlives one.
        return;
    }
    std::fs::write(fs.join("file"), "x").unwrap();
    let mount = fs.open();
    let (id, file) = (mount.fs, handle(&mount, &fs.join("file")));
    assert_ne!(id, FsId(0));
    drop(mount);
    fs.umount();
    fs.mount();
    let mount = fs.open();
    assert_eq!(mount.fs, id);
    assert_eq!(handle(&mount, &fs.join("file")), file);
    mount.open(file, OpenFor::Read).unwrap();
}

#[test]
fn file_systems_have_different_ids() {
    if !crate::common::is_root() {
        return;
    }
    let ids = crate::common::KINDS.map(|kind| crate::shared(kind).open().fs);
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
}

#[test]
fn a_subvolume_is_a_file_system_of_its_own() {
    if !crate::common::is_root() {
        return;
    }
    let fs = crate::shared("btrfs");
    let path = fs.join("subvolume");
    crate::common::run(
        "btrfs",
        &["-q", "subvolume", "create", path.to_str().unwrap()],
    );
    let top = fs.open();
    let refused = top.handle_of(look(&path).as_fd());
    assert_eq!(refused, Err(DmError::NotManaged));
    let mount = Mount::new(File::open(&path).unwrap().into()).unwrap();
    assert_ne!(mount.fs, top.fs);
    std::fs::write(path.join("file"), "x").unwrap();
    let file = handle(&mount, &path.join("file"));
    mount.open(file, OpenFor::Write).unwrap();
    let opened = top.open(file, OpenFor::Look).map(drop);
    assert_eq!(opened, Err(DmError::BadHandle));
}

#[test]
fn other_kinds_are_refused() {
    let refused = Mount::new(File::open("/proc").unwrap().into()).map(drop);
    assert_eq!(
        refused,
        Err(FsError::NoHandles {
            kind: "other",
            errno: libc::EOPNOTSUPP
        })
    );
    let shared_memory = File::open("/dev/shm").unwrap();
    let refused = identify::identify_for_fanotify(shared_memory.as_fd());
    assert!(matches!(refused, Err(FsError::Unsupported { .. })));
}

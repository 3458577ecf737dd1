//! File systems that come and go: before anybody can see them, without a source, one mount alone.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dmapi::fs::FsError;
use dmapi::fs::identify::identify_for_fanotify;
use dmapi::model::{Answer, DmError, EventType};
use dmapi::source::EventSource;
use dmapi::source::fanotify::{Config, Scope};
use dmapi::sys::fsmount::{self, Context};
use nix::libc;

use super::common::{self, LoopFs};
use super::rig::{ALL, Rig, alone, eventually, on_each_kind, region};
use super::user::User;

const SIZE: usize = 64 * 1024;

fn root_of(fs: &LoopFs) -> OwnedFd {
    std::fs::File::open(fs.path()).expect("the root").into()
}

fn text(path: &Path) -> CString {
    CString::new(path.to_str().expect("text")).expect("no NUL")
}

/// A loop device for the image of an unmounted file system; it goes with the last use.
fn loop_device(fs: &LoopFs) -> String {
    let image = fs.path().with_file_name("image");
    let output = std::process::Command::new("losetup")
        .args(["--find", "--show"])
        .arg(image)
        .output()
        .expect("losetup runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// A mount that has no place yet.
fn detached(fs: &LoopFs) -> OwnedFd {
    let device = loop_device(fs);
    let context = Context::open(&CString::new(fs.kind).expect("no NUL")).expect("fsopen");
    let made = context
        .set(c"source", Some(&text(Path::new(&device))))
        .and_then(|()| context.create())
        .and_then(|()| context.mount(0));
    // In use or not: detaches itself with the last use.
    common::run("losetup", &["-d", &device]);
    made.expect("a mount")
}

#[test]
fn a_file_system_is_served_before_anybody_can_see_it() {
    let Some(_alone) = alone(90) else {
        return;
    };
    for kind in common::KINDS {
        let mut user = User::new();
        let fs = LoopFs::new(kind);
        fs.umount();
        let mount = detached(&fs);
        let rig = Rig::with(fs, mount.try_clone().expect("a copy"), Config::default());
        rig.stub("f", SIZE);
        fsmount::put(mount.as_fd(), &text(&rig.fs.path())).expect("it has a place");
        drop(mount);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        rig.serve(EventType::Read, (0, 100));
        user.result().is_right(100);
        user.get(&format!("close {fd}")).ok();
        assert!(rig.sink.unmounted().is_empty());
        rig.fs.umount();
        eventually("it is noticed", || {
            rig.sink.unmounted() == vec![rig.mount.fs]
        });
    }
}

#[test]
fn a_stub_whose_file_system_is_not_served_waits_until_it_is() {
    on_each_kind(90, |rig| {
        let mut user = User::new();
        let mut other = User::new();
        rig.stub("f", SIZE);
        rig.file("whole", SIZE);
        let fs = rig.mount.fs;
        rig.source.detach(fs);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        let whole = other.open(&rig.join("whole"), "RDONLY");
        other.get(&format!("pread {whole} 0 100")).is_right(100);
        eventually("one waits", || rig.source.blocked().len() == 1);
        assert_eq!(rig.source.blocked()[0].1, user.pid());
        rig.sink.is_empty();
        let mount = rig
            .source
            .attach(root_of(&rig.fs).into())
            .expect("it is served");
        let event = rig.sink.next();
        assert_eq!((event.kind, event.range()), (EventType::Read, (0, 100)));
        super::rig::recall(rig.source.as_ref(), &mount, event.file());
        rig.answer(&event, Answer::Continue);
        user.result().is_right(100);

        // Killed while it waits so: forgotten.
        rig.stub("g", SIZE);
        rig.source.detach(fs);
        let fd = user.open(&rig.join("g"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        eventually("one waits", || rig.source.blocked().len() == 1);
        user.kill();
        eventually("it is forgotten", || rig.source.blocked().is_empty());
    });
}

#[test]
fn one_mount_alone_can_be_watched() {
    let Some(_alone) = alone(60) else {
        return;
    };
    let (mut inside, mut outside) = (User::new(), User::new());
    let fs = LoopFs::new("xfs");
    let second = fs.path().with_file_name("second");
    std::fs::create_dir(&second).expect("a directory");
    // Below the directory of the image: unmounted with it.
    let paths = [fs.path(), second.clone()].map(|path| path.to_str().expect("text").to_owned());
    common::run("mount", &["--bind", &paths[0], &paths[1]]);
    let config = Config {
        scope: Scope::Mount,
        ..Config::default()
    };
    let root = root_of(&fs);
    let rig = Rig::with(fs, root, config);
    let file = rig.file("f", SIZE);
    rig.guard(file, &[region(0, 0, ALL)]);
    let there = outside.open(&second.join("f"), "RDONLY");
    outside.get(&format!("pread {there} 0 100")).is_right(100);
    let here = inside.open(&rig.join("f"), "RDONLY");
    inside.tell(&format!("pread {here} 0 100"));
    rig.serve(EventType::Read, (0, 100));
    inside.result().is_right(100);
}

#[test]
fn a_nested_subvolume_is_served_for_itself() {
    let Some(_alone) = alone(60) else {
        return;
    };
    let mut user = User::new();
    let fs = LoopFs::new("btrfs");
    let nested = fs.join("nested");
    let path = nested.to_str().expect("text").to_owned();
    common::run("btrfs", &["-q", "subvolume", "create", &path]);
    let root = root_of(&fs);
    let mut rig = Rig::with(fs, root, Config::default());
    let top = rig.mount.fs;
    let dir = std::fs::File::open(&nested).expect("the subvolume");
    let mount = rig
        .source
        .attach(OwnedFd::from(dir).into())
        .expect("it is served");
    assert_ne!(mount.fs, top);
    assert_eq!(rig.source.mounts().len(), 2);
    rig.mount = mount;
    rig.stub("f", SIZE);
    let fd = user.open(&nested.join("f"), "RDONLY");
    user.tell(&format!("pread {fd} 0 100"));
    let event = rig.sink.next();
    assert_eq!(event.file().fs(), Some(rig.mount.fs));
    rig.recall(event.file());
    rig.answer(&event, Answer::Continue);
    user.result().is_right(100);
    user.get(&format!("close {fd}")).ok();
    // Unmounted together: it has no mount of its own.
    let fs = rig.mount.fs;
    rig.fs.umount();
    eventually("both are noticed", || {
        let gone = rig.sink.unmounted();
        gone.len() == 2 && gone.contains(&top) && gone.contains(&fs)
    });
}

#[test]
fn a_file_system_without_a_uuid_of_its_own_is_refused() {
    let Some(_alone) = alone(60) else {
        return;
    };
    // As a copy of an image has it.
    let same = ["-U", "7d1a6b52-0f3c-4f0e-9a55-0c1d2e3f4a5b"];
    let fs = LoopFs::with("ext4", &same);
    let root = root_of(&fs);
    let rig = Rig::with(fs, root, Config::default());
    let other = LoopFs::with("ext4", &same);
    let refused = rig.source.attach(root_of(&other).into());
    assert_eq!(refused.err(), Some(DmError::NotSupported));
    // It is not watched either: nobody would answer.
    std::fs::write(other.join("f"), b"free").expect("written");
    assert_eq!(std::fs::read(other.join("f")).expect("read"), b"free");
    // Zeros are none, and the kernel would not watch it.
    let none = LoopFs::with("ext4", &["-U", "00000000-0000-0000-0000-000000000000"]);
    let errno = libc::ENODATA;
    assert_eq!(
        identify_for_fanotify(root_of(&none).as_fd()),
        Err(FsError::NoUuid { errno })
    );
    let again = rig.source.attach(root_of(&rig.fs).into());
    assert_eq!(again.expect("the same one").fs, rig.mount.fs);
}

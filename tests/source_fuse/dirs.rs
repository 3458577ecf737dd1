//! Large directories, permissions of new objects, and what users see of attributes.

use std::os::fd::AsFd;

use dmapi::fs::state;
use dmapi::model::OpenFor;
use dmapi::source::EventSource;
use nix::libc;

use super::rig::{Rig, on_each_kind, on_xfs};
use super::user::User;

fn line(rig: &Rig, text: &str) -> String {
    text.replace("{}", rig.point.to_str().expect("text"))
}

#[track_caller]
fn does(rig: &Rig, user: &mut User, text: &str) -> i64 {
    user.get(&line(rig, text)).ok()
}

#[test]
fn a_large_directory_is_read_whole_and_once() {
    on_each_kind(120, |rig| {
        const NAMES: i64 = 5000;
        std::fs::create_dir(rig.private("d")).expect("a directory");
        for index in 0..NAMES {
            let name = format!("d/a-name-that-takes-some-room-{index}");
            std::fs::File::create(rig.private(&name)).expect("a file");
        }
        let mut user = User::new();
        // The second time from the kernel's cache.
        for _ in 0..2 {
            assert_eq!(does(&rig, &mut user, "entries {}/d"), NAMES);
        }
        does(&rig, &mut user, "mkdir {}/d/one-more 755");
        assert_eq!(does(&rig, &mut user, "entries {}/d"), NAMES + 1);
        does(&rig, &mut user, "rmdir {}/d/one-more");
        assert_eq!(does(&rig, &mut user, "entries {}/d"), NAMES);
        // While it is read it is changed.
        std::fs::remove_dir_all(rig.join("d")).expect("all of it goes");
        user.get(&line(&rig, "entries {}/d")).failed(libc::ENOENT);
    });
}

#[test]
fn new_objects_belong_to_who_made_them() {
    on_each_kind(90, |rig| {
        let mut root = User::new();
        does(&rig, &mut root, "mkdir {}/d 777");
        does(&rig, &mut root, "chmod {}/d 2777");
        does(&rig, &mut root, "chown {}/d 5 6");
        does(&rig, &mut root, "chmod {}/d 2777");
        let mut user = User::new();
        user.get("become 1000 1001").ok();
        user.get("umask 27").ok();
        does(&rig, &mut user, "mkdir {}/d/dir 777");
        assert_eq!(does(&rig, &mut user, "group {}/d/dir"), 6);
        assert_eq!(does(&rig, &mut user, "mode {}/d/dir"), 0o42750);
        does(&rig, &mut user, "mknod {}/d/file 100666 0");
        assert_eq!(does(&rig, &mut user, "group {}/d/file"), 6);
        assert_eq!(does(&rig, &mut user, "mode {}/d/file"), 0o100_640);
        let found = nix::sys::stat::stat(&rig.private("d/file")).expect("stat");
        assert_eq!((found.st_uid, found.st_gid), (1000, 6));
        // What he may not he cannot.
        user.get(&line(&rig, "chown {}/d/file 0 0"))
            .failed(libc::EPERM);
        user.get(&line(&rig, "mkdir {}/top 755"))
            .failed(libc::EACCES);
        does(&rig, &mut root, "chmod {}/d 3777");
        does(&rig, &mut root, "mknod {}/d/roots 100666 0");
        user.get(&line(&rig, "unlink {}/d/roots"))
            .failed(libc::EPERM);
        does(&rig, &mut user, "unlink {}/d/file");
    });
}

#[test]
fn what_the_service_keeps_in_xattrs_is_not_shown() {
    on_each_kind(60, |rig| {
        let file = rig.file("f", 100);
        rig.guard(file, &[super::rig::region(0, 0, 1)]);
        let mut user = User::new();
        user.get(&line(&rig, "xattr {}/f trusted.dmapi.state"))
            .failed(libc::ENODATA);
        user.get(&line(&rig, "setxattr {}/f trusted.dmapi.state x 0"))
            .failed(libc::EPERM);
        user.get(&line(&rig, "removexattr {}/f trusted.SGI_DMI_a"))
            .failed(libc::EPERM);
        does(&rig, &mut user, "setxattr {}/f user.x abc 1");
        assert_eq!(does(&rig, &mut user, "xattr {}/f user.x"), 3);
        user.get(&line(&rig, "setxattr {}/f user.x abc 1"))
            .failed(libc::EEXIST);
        let mut names = vec![0; 1000];
        let path = std::ffi::CString::new(line(&rig, "{}/f")).expect("no NUL");
        // SAFETY: a live path and a buffer of that size.
        let bytes = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), 1000) };
        let names = names.get(..bytes.max(0) as usize).expect("they fit");
        assert_eq!(names, b"user.x\0");
    });
}

#[test]
fn ctime_is_what_it_was_until_a_user_changes_the_object() {
    on_xfs(60, |rig| {
        let file = rig.file("f", 100);
        let mut user = User::new();
        let before = does(&rig, &mut user, "ctime {}/f");
        let open = rig.mount.open(file, OpenFor::Look).expect("open");
        // As the engine does it around each change.
        state::keep_ctime(open.as_fd()).expect("it is kept");
        dmapi::sys::xattr::set(open.as_fd(), c"trusted.SGI_DMI_a", b"x").expect("a DM attribute");
        rig.source.touched(file, false);
        assert_eq!(does(&rig, &mut user, "ctime {}/f"), before);
        does(&rig, &mut user, "chmod {}/f 600");
        let after = does(&rig, &mut user, "ctime {}/f");
        assert!(after > before);
        does(&rig, &mut user, "link {}/f {}/g");
        assert!(does(&rig, &mut user, "ctime {}/f") >= after);
        assert_eq!(
            state::read(open.as_fd()).expect("its state").shown_ctime,
            None
        );
    });
}

/// How long a directory of a million names takes: cargo test --test source_fuse -- --ignored --nocapture a_million
#[test]
#[ignore = "a measurement"]
fn a_million_names() {
    let _one = super::rig::serial();
    let _deadline = super::rig::Deadline::new(600);
    let rig = Rig::new("tmpfs");
    std::fs::create_dir(rig.private("d")).expect("a directory");
    const NAMES: i64 = 1_000_000;
    for index in 0..NAMES {
        let path = rig.private(&format!("d/{index}"));
        let bits = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::sys::stat::mknod(&path, nix::sys::stat::SFlag::S_IFREG, bits, 0).expect("mknod");
    }
    let mut user = User::new();
    for (what, path) in [
        ("behind", rig.fs.join("d")),
        ("mounted", rig.join("d")),
        ("mounted, again", rig.join("d")),
    ] {
        let begin = std::time::Instant::now();
        let found = user.get_within(&format!("entries {}", path.display()), 300);
        eprintln!("{what}: {found:?} in {:?}", begin.elapsed());
        assert_eq!(found.ok(), NAMES);
        let begin = std::time::Instant::now();
        let script = format!("ls -l '{}' | wc -l", path.display());
        super::common::run("sh", &["-c", &script]);
        eprintln!("{what}: ls -l in {:?}", begin.elapsed());
    }
    let begin = std::time::Instant::now();
    super::common::run("rm", &["-r", rig.join("d").to_str().expect("text")]);
    eprintln!("rm -r in {:?}", begin.elapsed());
}

//! The file layer for an ordinary user, in a user namespace of his own.

use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use dmapi::fs::BulkScan;
use dmapi::fs::Mount;
use dmapi::fs::Want;
use dmapi::fs::attr;
use dmapi::fs::hole;
use dmapi::fs::scan::LOCATION_START;
use dmapi::fs::state;
use dmapi::fs::store;
use dmapi::model::DmError;
use dmapi::model::OpenFor;

use crate::common;
use crate::common::LoopFs;
use crate::handle;
use crate::look;

const INSIDE: &str = "DMAPI_TEST_INSIDE";
const USER: &str = "1000";

/// Runs a test of this program as an ordinary user who is root in his own namespaces.
fn run_inside(test: &str, dir: &Path) {
    let program = std::env::current_exe().unwrap();
    // The user may not reach the program where it was built.
    let copy = dir.join("test");
    fs::copy(program, &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        .args(["unshare", "-Urm"])
        .arg(&copy)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn for_user(dir: &Path) {
    let user = USER.parse().unwrap();
    std::os::unix::fs::chown(dir, Some(user), Some(user)).unwrap();
}

fn has_user_namespaces() -> bool {
    let made = Command::new("setpriv")
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        .args(["unshare", "-Urm", "true"])
        .output();
    let works = made.is_ok_and(|made| made.status.success());
    if !works {
        common::skip("ordinary users may make no user namespaces here");
    }
    works
}

#[test]
fn an_ordinary_user_is_served_on_tmpfs_of_his_own() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        let dir = Path::new(&dir);
        let path = dir.join("tmpfs");
        fs::create_dir(&path).unwrap();
        common::run("mount", &["-t", "tmpfs", "none", path.to_str().unwrap()]);
        check(&path, &dir.join("state"));
        return;
    }
    if !common::is_root() || !has_user_namespaces() {
        return;
    }
    let _deadline = common::Deadline::new("tmpfs of a user", 120);
    let dir = tempfile::tempdir().unwrap();
    for_user(dir.path());
    let test = "namespace::an_ordinary_user_is_served_on_tmpfs_of_his_own";
    run_inside(test, dir.path());
}

#[test]
fn an_ordinary_user_is_served_on_a_directory_of_his_own() {
    if let Some(dir) = std::env::var_os(INSIDE) {
        let dir = Path::new(&dir);
        check(&dir.join("his"), &dir.join("state"));
        return;
    }
    if !common::is_root() || !has_user_namespaces() {
        return;
    }
    let _deadline = common::Deadline::new("directory of a user", 240);
    for kind in ["ext4", "xfs", "btrfs"] {
        let fs = LoopFs::new(kind);
        let dir = fs.join("home");
        for name in ["", "his"] {
            fs::create_dir(dir.join(name)).unwrap();
            for_user(&dir.join(name));
        }
        fs::set_permissions(
            fs.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let above = fs.path();
        let above = above.parent().unwrap();
        fs::set_permissions(above, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let test = "namespace::an_ordinary_user_is_served_on_a_directory_of_his_own";
        run_inside(test, &dir);
    }
}

/// What is true of each file system that an ordinary user serves.
fn check(path: &Path, state_dir: &Path) {
    let join = |name: &str| path.join(name);
    assert!(store::is_unprivileged());
    store::serve_from(state_dir);
    fs::create_dir_all(join("dir/sub")).unwrap();
    fs::write(join("dir/sub/file"), vec![7; 100_000]).unwrap();
    symlink("nowhere", join("dir/link")).unwrap();
    let serve = || Mount::serving(File::open(path).unwrap().into(), Some(state_dir)).unwrap();
    let mount = serve();
    let file = handle(&mount, &join("dir/sub/file"));
    let link = handle(&mount, &join("dir/link"));
    let open = |mount: &Mount, open| mount.open(file, open).map(drop);
    assert_eq!(open(&mount, OpenFor::Write), Ok(()), "found by a walk");

    // Its name is told, or found again.
    fs::rename(join("dir/sub"), join("dir/moved")).unwrap();
    assert_eq!(open(&mount, OpenFor::Look), Ok(()), "its directory moved");
    fs::rename(join("dir/moved/file"), join("there")).unwrap();
    mount.saw_name(mount.root_handle(), b"there", file);
    assert_eq!(open(&mount, OpenFor::Read), Ok(()), "told");
    assert_eq!(open(&serve(), OpenFor::Read), Ok(()), "the next worker");
    let number = look(&join("there"));
    let number = nix::sys::stat::fstat(&number).unwrap().st_ino;
    assert_eq!(mount.handle_of_inode(number), Ok(file));

    // What is kept with objects, also with links.
    for handle in [file, link] {
        let fd = mount.open(handle, OpenFor::Look).unwrap();
        let fd = fd.as_fd();
        attr::set(&mount, fd, b"name\0\0\0\0", b"value", true).unwrap();
        state::update(fd, |state| state.events.0 = 1 << 20).unwrap();
        assert_eq!(attr::get(fd, b"name\0\0\0\0"), Ok(b"value".to_vec()));
        assert_eq!(attr::names(fd), Ok(vec![*b"name\0\0\0\0"]));
        let shown = mount.look(fd, &Want::ALL).unwrap();
        assert!(shown.has_attributes);
        assert_eq!(shown.events.0, 1 << 20);
        attr::remove(fd, b"name\0\0\0\0", true).unwrap();
        assert_eq!(attr::get(fd, b"name\0\0\0\0"), Err(DmError::NotFound));
        state::update(fd, |state| state.events.0 = 0).unwrap();
        assert_eq!(state::read(fd), Ok(Default::default()));
    }

    let fd = mount.open(file, OpenFor::Write).unwrap();
    hole::punch(fd.as_fd(), mount.kind, mount.block_bytes, 0, 0).unwrap();
    assert_eq!(mount.look(fd.as_fd(), &Want::ALL).unwrap().blocks, 0);

    let mut scan = BulkScan::new(&mount, LOCATION_START, Want::ALL).unwrap();
    let mut found = 0;
    while let Some(object) = scan.next_object().unwrap() {
        mount
            .open(object.stat.handle.unwrap(), OpenFor::Look)
            .unwrap();
        found += 1;
    }
    assert_eq!(found, 5, "root, dir, moved, there, link");

    // Unlinked and open: the source keeps a descriptor.
    mount.keep_unlinked(file, look(&join("there")));
    fs::remove_file(join("there")).unwrap();
    assert_eq!(open(&mount, OpenFor::Write), Ok(()));
    mount.forget(file);
    assert_eq!(open(&mount, OpenFor::Write), Err(DmError::BadHandle));
}

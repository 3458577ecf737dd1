//! What is kept with objects: state and DM attributes.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;

use dmapi::fs::ObjectState;
use dmapi::fs::StateError;
use dmapi::fs::Want;
use dmapi::fs::attr;
use dmapi::fs::stat;
use dmapi::fs::state;
use dmapi::model::AttrChange;
use dmapi::model::DmError;
use dmapi::model::EventSet;
use dmapi::model::OpenFor;
use dmapi::model::Region;

use crate::Place;
use crate::common::LoopFs;
use crate::look;
use crate::on_each_kind;

on_each_kind!(with_place: state_is_kept_on_every_kind_of_object, damaged_state_is_an_error,
    threads_do_not_lose_state, attributes_are_kept, attribute_limits_hold, dtime_moves_only_when_asked);

const NAMES: [&str; 4] = ["file", "dir", "symlink", "pipe"];

fn make_all(place: &Place) {
    fs::write(place.join("file"), "x").unwrap();
    fs::create_dir(place.join("dir")).unwrap();
    symlink("nowhere", place.join("symlink")).unwrap();
    nix::unistd::mkfifo(&place.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
}

fn some_state() -> ObjectState {
    ObjectState {
        regions: vec![Region {
            offset: 0,
            size: 0,
            flags: 5,
            opaque: 3,
        }],
        events: EventSet(1 << 20),
        punched_from: Some(0),
        ..ObjectState::default()
    }
}

fn xattrs(place: &Place, name: &str) -> String {
    let list = dmapi::sys::xattr::list(look(&place.join(name)).as_fd()).unwrap();
    String::from_utf8(list).unwrap()
}

fn state_is_kept_on_every_kind_of_object(place: Place) {
    make_all(&place);
    for name in NAMES {
        let fd = place.open(name, OpenFor::Look);
        assert_eq!(state::read(fd.as_fd()), Ok(ObjectState::default()));
        state::write(fd.as_fd(), &some_state()).unwrap();
        let again = place.open(name, OpenFor::Read);
        assert_eq!(state::read(again.as_fd()), Ok(some_state()), "{name}");
        let shown = place.mount.look(fd.as_fd(), &Want::ALL).unwrap();
        assert!(shown.has_regions && !shown.has_attributes);
        assert_eq!(shown.events, EventSet(1 << 20 | 1 << 16 | 1 << 18));
        assert_eq!(attr::names(fd.as_fd()), Ok(vec![]), "state is no attribute");
        state::write(fd.as_fd(), &ObjectState::default()).unwrap();
        assert!(!xattrs(&place, name).contains("dmapi"), "{name}");
    }
}

fn damaged_state_is_an_error(place: Place) {
    let fd = place.file("file", b"x");
    for (bytes, error) in [
        (&b"\x01garbage"[..], StateError::Damaged),
        (b"", StateError::Damaged),
    ] {
        dmapi::sys::xattr::set(fd.as_fd(), c"trusted.dmapi.state", bytes).unwrap();
        assert_eq!(state::read(fd.as_fd()), Err(error.clone()));
        assert_eq!(state::update(fd.as_fd(), |_| ()), Err(error));
        let refused = place.mount.look(fd.as_fd(), &Want::ALL);
        assert_eq!(refused, Err(DmError::Io));
    }
}

fn threads_do_not_lose_state(place: Place) {
    let fd = place.file("file", b"x");
    state::write(fd.as_fd(), &some_state()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    state::update(fd.as_fd(), |state| state.changes += 1).unwrap();
                }
            });
        }
    });
    assert_eq!(state::read(fd.as_fd()).unwrap().changes, 100);
}

fn attributes_are_kept(place: Place) {
    make_all(&place);
    for name in NAMES {
        let fd = place.open(name, OpenFor::Look);
        let fd = fd.as_fd();
        let set = |name: &[u8; 8], value: &[u8]| attr::set(&place.mount, fd, name, value, false);
        assert_eq!(attr::list(fd), Ok(vec![]));
        assert_eq!(attr::get(fd, b"absent\0\0"), Err(DmError::NotFound));
        assert_eq!(
            attr::remove(fd, b"absent\0\0", false),
            Err(DmError::NotFound)
        );
        assert_eq!(set(&[0; 8], b""), Err(DmError::Invalid));
        assert_eq!(attr::get(fd, &[0; 8]), Err(DmError::Invalid));
        set(b"12345678", b"eight").unwrap();
        set(b"empty\0\0\0", b"").unwrap();
        set(b"cut\0\0\0\0\0", b"a long value").unwrap();
        set(b"cut\0\0\0\0\0", b"short").unwrap();
        dmapi::sys::xattr::set(fd, c"trusted.other", b"x").unwrap();
        assert!(xattrs(&place, name).contains("trusted.SGI_DMI_12345678\0"));
        let all = vec![
            (*b"12345678", b"eight".to_vec()),
            (*b"cut\0\0\0\0\0", b"short".to_vec()),
            (*b"empty\0\0\0", vec![]),
        ];
        assert_eq!(attr::list(fd), Ok(all), "{name}");
        assert!(place.mount.look(fd, &Want::ALL).unwrap().has_attributes);
        attr::remove(fd, b"empty\0\0\0", false).unwrap();
        assert_eq!(attr::names(fd).unwrap().len(), 2);
    }
}

fn attribute_limits_hold(place: Place) {
    let fd = place.file("file", b"x");
    let fd = fd.as_fd();
    let limit = place.mount.limits.value_bytes_max as usize;
    assert!(limit >= 900, "{limit}");
    let set = |value: &[u8]| attr::set(&place.mount, fd, b"max45678", value, true);
    set(&vec![7; limit]).unwrap();
    assert_eq!(attr::get(fd, b"max45678"), Ok(vec![7; limit]));
    assert_eq!(
        set(&vec![8; limit + 1]),
        Err(DmError::TooBig { need: None })
    );
    assert_eq!(attr::get(fd, b"max45678"), Ok(vec![7; limit]));
}

#[test]
fn a_full_object_keeps_its_old_values() {
    if !crate::common::is_root() {
        return;
    }
    // Small inodes and blocks: all xattrs of a file share one block.
    let fs = LoopFs::with("ext4", &["-b", "1024", "-I", "128"]);
    std::fs::write(fs.join("file"), "x").unwrap();
    let mount = fs.open();
    assert_eq!(mount.limits.value_bytes_max, 956);
    let fd = look(&fs.join("file"));
    let set = |name: &[u8; 8], bytes| attr::set(&mount, fd.as_fd(), name, &vec![1; bytes], true);
    set(b"first\0\0\0", 100).unwrap();
    set(b"second\0\0", 700).unwrap();
    assert_eq!(set(b"first\0\0\0", 900), Err(DmError::NoSpace));
    assert_eq!(attr::get(fd.as_fd(), b"first\0\0\0").unwrap().len(), 100);
    let region = Region {
        offset: 1 << 40,
        size: 1 << 40,
        flags: 7,
        opaque: u32::MAX,
    };
    let large = ObjectState {
        regions: vec![region; 30],
        ..ObjectState::default()
    };
    let refused = state::write(fd.as_fd(), &large);
    assert_eq!(refused, Err(StateError::Call(DmError::NoSpace)));
    assert_eq!(state::read(fd.as_fd()), Ok(ObjectState::default()));
}

#[test]
fn ext4_with_value_inodes_tells_the_large_limit() {
    if !crate::common::is_root() {
        return;
    }
    let fs = LoopFs::with("ext4", &["-O", "ea_inode"]);
    let mount = fs.open();
    assert_eq!(mount.limits.value_bytes_max, 65536);
    std::fs::write(fs.join("file"), "x").unwrap();
    let fd = look(&fs.join("file"));
    let value = vec![1; 65536];
    attr::set(&mount, fd.as_fd(), b"large\0\0\0", &value, true).unwrap();
    assert_eq!(attr::get(fd.as_fd(), b"large\0\0\0"), Ok(value));
    // The inode that holds the value is no object.
    let found = crate::scans::bulk(&mount, Want::default());
    let inodes = found.iter().filter(|found| found.stat.inode >= 12);
    assert_eq!(inodes.count(), 1);
}

fn dtime_moves_only_when_asked(place: Place) {
    let fd = place.file("file", b"x");
    let fd = fd.as_fd();
    let dtime = || place.mount.look(fd, &Want::ALL).unwrap().dtime;
    let wish = |seconds| AttrChange {
        dtime: Some((seconds, 0)),
        ..AttrChange::default()
    };
    let mtime = stat::stat(fd).unwrap().mtime;
    stat::set(fd, &wish(1000)).unwrap();
    assert_eq!(dtime(), 0, "without attributes there is none");
    attr::set(&place.mount, fd, b"one\0\0\0\0\0", b"1", true).unwrap();
    assert_eq!(dtime(), stat::stat(fd).unwrap().ctime.0, "overloaded");
    stat::set(fd, &wish(1000)).unwrap();
    assert_eq!(dtime(), 1000);
    attr::set(&place.mount, fd, b"two\0\0\0\0\0", b"2", false).unwrap();
    attr::remove(fd, b"one\0\0\0\0\0", false).unwrap();
    assert_eq!(dtime(), 1000, "not asked to move");
    attr::set(&place.mount, fd, b"two\0\0\0\0\0", b"3", true).unwrap();
    assert_eq!(dtime(), stat::stat(fd).unwrap().ctime.0);
    stat::set(
        fd,
        &AttrChange {
            ctime: Some((2000, 0)),
            ..wish(1000)
        },
    )
    .unwrap();
    assert_eq!(dtime(), 2000, "ctime wins over dtime");
    attr::remove(fd, b"two\0\0\0\0\0", false).unwrap();
    assert_eq!(dtime(), 0);
    assert_eq!(state::read(fd), Ok(ObjectState::default()));
    assert_eq!(stat::stat(fd).unwrap().mtime, mtime);
}

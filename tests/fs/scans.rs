//! Scans of directories and of whole file systems.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use dmapi::fs::BulkScan;
use dmapi::fs::DirScan;
use dmapi::fs::Found;
use dmapi::fs::Mount;
use dmapi::fs::Want;
use dmapi::fs::attr;
use dmapi::fs::scan::LOCATION_START;
use dmapi::fs::state;
use dmapi::model::DmError;
use dmapi::model::OpenFor;

use crate::Place;
use crate::common::LoopFs;
use crate::handle;
use crate::look;
use crate::on_each_kind;

on_each_kind!(with_place: a_directory_is_read_whole, a_directory_is_read_in_pieces,
    garbage_is_no_location, a_damaged_object_does_not_end_a_scan);
on_each_kind!(with_fs: every_object_is_found_once, the_root_is_its_own_parent);

fn dir_scan(place: &Place, name: &str, location: u64, want: Want) -> Vec<Found> {
    let dir = place.open(name, OpenFor::Read);
    let mut scan = DirScan::new(&place.mount, dir, location, want).unwrap();
    let mut all = Vec::new();
    while let Some(found) = scan.next_entry().unwrap() {
        all.push(found);
    }
    assert_eq!(scan.next_entry(), Ok(None), "it stays at its end");
    all
}

fn names(found: &[Found]) -> Vec<String> {
    let text = |found: &Found| String::from_utf8(found.name.clone()).unwrap();
    found.iter().map(text).collect()
}

fn a_directory_is_read_whole(place: Place) {
    let dir = place.join("dir");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "12345").unwrap();
    fs::hard_link(dir.join("file"), dir.join("same")).unwrap();
    symlink("nowhere", dir.join("symlink")).unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    nix::unistd::mkfifo(&dir.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let file = look(&dir.join("file"));
    attr::set(&place.mount, file.as_fd(), b"name\0\0\0\0", b"value", true).unwrap();
    let want = Want {
        value: Some(*b"name\0\0\0\0"),
        ..Want::ALL
    };
    let found = dir_scan(&place, "dir", LOCATION_START, want);
    assert_eq!(names(&found[..2]), [".", ".."]);
    let all: BTreeSet<String> = names(&found).into_iter().collect();
    let expected = ["..", ".", "file", "pipe", "same", "sub", "symlink"];
    assert_eq!(all, expected.map(String::from).into());
    assert_eq!(found.len(), expected.len());
    for found in &found {
        let name = std::str::from_utf8(&found.name).unwrap();
        let path = dir.join(name);
        assert_eq!(
            found.stat.handle,
            Some(handle(&place.mount, &path)),
            "{name}"
        );
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!(found.stat.mode, meta.mode());
        assert_eq!(found.stat.size, meta.size());
        let is_file = name == "file" || name == "same";
        assert_eq!(found.stat.has_attributes, is_file, "{name}");
        assert_eq!(found.value, is_file.then(|| b"value".to_vec()), "{name}");
        assert_ne!(found.stat.change, 0);
    }
}

fn a_directory_is_read_in_pieces(place: Place) {
    fs::create_dir(place.join("dir")).unwrap();
    let long = "x".repeat(60);
    for number in 0..900 {
        fs::write(place.join(&format!("dir/{number}-{long}")), "").unwrap();
    }
    let whole = names(&dir_scan(&place, "dir", LOCATION_START, Want::default()));
    assert_eq!(whole.len(), 902);
    assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), 902);
    // A new scan for each piece; the last object of each is given back once, as if it had no room.
    let mut pieces = Vec::new();
    let mut location = LOCATION_START;
    loop {
        let dir = place.open("dir", OpenFor::Read);
        let mut scan = DirScan::new(&place.mount, dir, location, Want::default()).unwrap();
        let start = pieces.len();
        while pieces.len() < start + 50 {
            match scan.next_entry().unwrap() {
                Some(found) => pieces.push(found),
                None => break,
            }
        }
        location = match scan.next_entry().unwrap() {
            Some(too_much) => too_much.location,
            None => {
                location = scan.location();
                break;
            }
        };
    }
    assert_eq!(names(&pieces), whole);
    assert_eq!(dir_scan(&place, "dir", location, Want::default()), []);
}

fn garbage_is_no_location(place: Place) {
    fs::create_dir(place.join("dir")).unwrap();
    for garbage in [3, 12_345, 0xdead_beef, u64::MAX] {
        let dir = place.open("dir", OpenFor::Read);
        let scan = DirScan::new(&place.mount, dir, garbage, Want::default());
        assert_eq!(scan.map(drop).unwrap_err(), DmError::Invalid, "{garbage}");
        let scan = BulkScan::new(&place.mount, garbage, Want::default());
        assert_eq!(scan.map(drop).unwrap_err(), DmError::Invalid, "{garbage}");
    }
}

fn a_damaged_object_does_not_end_a_scan(place: Place) {
    fs::create_dir(place.join("dir")).unwrap();
    fs::write(place.join("dir/file"), "").unwrap();
    let file = look(&place.join("dir/file"));
    dmapi::sys::xattr::set(file.as_fd(), c"trusted.dmapi.state", b"?").unwrap();
    let found = dir_scan(&place, "dir", LOCATION_START, Want::ALL);
    let damaged = found.iter().find(|found| found.name == b"file").unwrap();
    assert!(damaged.stat.has_regions, "it is not shown as harmless");
}

/// All objects by one scan.
pub fn bulk(mount: &Mount, want: Want) -> Vec<Found> {
    let mut scan = BulkScan::new(mount, LOCATION_START, want).unwrap();
    let mut all = Vec::new();
    while let Some(found) = scan.next_object().unwrap() {
        all.push(found);
    }
    all
}

/// All objects by their names: what the scan must find.
fn walk(path: &Path, found: &mut BTreeMap<u64, fs::Metadata>) {
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), found);
        }
    }
    found.insert(meta.ino(), fs::symlink_metadata(path).unwrap());
}

fn every_object_is_found_once(fs: LoopFs) {
    for number in 0..40 {
        let dir = fs.join(format!("dir{number}"));
        std::fs::create_dir(&dir).unwrap();
        for number in 0..50 {
            std::fs::write(dir.join(number.to_string()), vec![1; number]).unwrap();
        }
        // Holes in the numbers.
        for number in (0..50).step_by(3) {
            std::fs::remove_file(dir.join(number.to_string())).unwrap();
        }
    }
    let path = fs.join("dir7/1");
    std::fs::hard_link(&path, fs.join("hard")).unwrap();
    symlink("nowhere", fs.join("symlink")).unwrap();
    nix::unistd::mkfifo(&fs.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mode = nix::sys::stat::SFlag::S_IFCHR;
    let null = nix::sys::stat::makedev(1, 3);
    nix::sys::stat::mknod(&fs.join("null"), mode, nix::sys::stat::Mode::S_IRUSR, null).unwrap();
    let mount = fs.open();
    attr::set(&mount, look(&path).as_fd(), b"name\0\0\0\0", b"value", true).unwrap();
    state::update(look(&path).as_fd(), |state| state.punched_from = Some(0)).unwrap();
    // Unlinked and still open: no object any more.
    let unlinked = std::fs::File::create(fs.join("unlinked")).unwrap();
    std::fs::remove_file(fs.join("unlinked")).unwrap();
    // Blocks of data that is not on the disk yet are counted in another way than later.
    nix::unistd::syncfs(&mount.root).unwrap();
    let mut expected = BTreeMap::new();
    walk(&fs.path(), &mut expected);

    let want = Want {
        value: Some(*b"name\0\0\0\0"),
        ..Want::default()
    };
    let all = bulk(&mount, want);
    let inodes: Vec<u64> = all.iter().map(|found| found.stat.inode).collect();
    let expected_inodes: Vec<u64> = expected.keys().copied().collect();
    assert_eq!(inodes, expected_inodes, "in order, each once");
    for found in &all {
        let (stat, meta) = (&found.stat, &expected[&found.stat.inode]);
        let shown = (stat.mode, u64::from(stat.links), stat.size, stat.rdev);
        let real = (meta.mode(), meta.nlink(), meta.size(), meta.rdev());
        assert_eq!(shown, real, "{}", stat.inode);
        assert_eq!((stat.mtime, stat.ctime), (meta.mtime(), meta.ctime()));
        assert_eq!(stat.blocks, meta.blocks(), "{}", stat.inode);
        assert_eq!(u64::from(stat.block_bytes), meta.blksize());
        assert_eq!(stat.device, meta.dev());
        let fd = mount.open(stat.handle.unwrap(), OpenFor::Look).unwrap();
        assert_eq!(mount.look(fd.as_fd(), &Want::default()).as_ref(), Ok(stat));
    }
    let with_value: Vec<_> = all.iter().filter(|found| found.value.is_some()).collect();
    assert_eq!(with_value.len(), 1);
    assert_eq!(with_value[0].stat.handle, Some(handle(&mount, &path)));

    // The same in pieces, with a new scan for each, and everything wanted.
    let mut pieces = Vec::new();
    let mut location = LOCATION_START;
    loop {
        let mut scan = BulkScan::new(&mount, location, Want::ALL).unwrap();
        let mut more = true;
        for _ in 0..700 {
            match scan.next_object().unwrap() {
                Some(found) => pieces.push(found.stat.inode),
                None => more = false,
            }
        }
        location = scan.location();
        if !more {
            break;
        }
    }
    assert_eq!(pieces, inodes);
    let mut scan = BulkScan::new(&mount, location, Want::ALL).unwrap();
    assert_eq!(scan.next_object(), Ok(None));
    drop(unlinked);
}

fn the_root_is_its_own_parent(fs: LoopFs) {
    let mount = fs.open();
    let root = mount.open(dmapi::model::Handle::Fs(mount.fs), OpenFor::Read);
    let mut scan = DirScan::new(&mount, root.unwrap(), LOCATION_START, Want::ALL).unwrap();
    let dot = scan.next_entry().unwrap().unwrap();
    let dot_dot = scan.next_entry().unwrap().unwrap();
    assert_eq!((dot.name, dot_dot.name), (b".".to_vec(), b"..".to_vec()));
    assert_eq!(dot.stat, dot_dot.stat);
}

/// CPU time of this thread in user space and in the kernel, in microseconds.
fn cpu_us() -> (i64, i64) {
    use nix::sys::time::TimeValLike;
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD);
    let usage = usage.unwrap();
    (
        usage.user_time().num_microseconds(),
        usage.system_time().num_microseconds(),
    )
}

/// `cargo test --release --test fs -- --ignored --nocapture speed`
#[test]
#[ignore = "measures"]
fn speed_of_a_bulk_scan() {
    for kind in crate::common::KINDS {
        let more: &[&str] = match kind {
            "ext4" => &["-N", "60000"],
            _ => &[],
        };
        let fs = LoopFs::with(kind, more);
        for dir in 0..50 {
            std::fs::create_dir(fs.join(dir.to_string())).unwrap();
            for file in 0..1000 {
                std::fs::write(fs.join(format!("{dir}/{file}")), "").unwrap();
            }
        }
        let mount = fs.open();
        for want in [Want::default(), Want::ALL] {
            bulk(&mount, want);
            let (start, cpu) = (std::time::Instant::now(), cpu_us());
            let count = bulk(&mount, want).len() as f64;
            let (rate, now) = (count / start.elapsed().as_secs_f64(), cpu_us());
            let (user, kernel) = ((now.0 - cpu.0) as f64, (now.1 - cpu.1) as f64);
            let all = if want.change { "everything" } else { "stat" };
            println!(
                "{kind}, {all}: {rate:.0} inodes/s, each {:.2} us user, {:.2} us kernel",
                user / count,
                kernel / count
            );
        }
    }
}

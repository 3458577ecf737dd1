//! Two mounts of one file system: what is done to a file is prepared on both, and each sees what the other does.

use std::path::{Path, PathBuf};

use dmapi::model::{Answer, DmError, EventType, FuseOptions, Handle};
use dmapi::source::EventSource;
use dmapi::source::arena::Role;
use dmapi::source::fuse::skip::Skip;
use dmapi::sys::fsmount;
use nix::libc;

use super::common::{self, LoopFs};
use super::rig::{ALL, Deadline, Rig, eventually, region, serial, serve, text};
use super::user::{User, open_line, patterns};

const SIZE: usize = 64 * 1024;

/// Both show the same directory, unless `second` is another one.
struct Pair {
    rig: Rig,
    point: PathBuf,
    device: u64,
}

impl Pair {
    fn new(kind: &'static str, options: FuseOptions, second: &str) -> Self {
        let options = options.with(FuseOptions::SHARED);
        let mut rig = Rig::chosen(LoopFs::new(kind), options);
        let (point, device) = rig.add(second, options);
        Self { rig, point, device }
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.join(name)
    }

    fn both(&self, name: &str) -> [PathBuf; 2] {
        [self.rig.join(name), self.join(name)]
    }
}

fn on_pair(options: FuseOptions, test: impl Fn(Pair)) {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(240);
    test(Pair::new("xfs", options, ""));
}

#[test]
fn another_file_system_with_the_same_uuid_is_no_further_mount() {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(60);
    let same = ["-U", "7d1a6b52-0f3c-4f0e-9a55-0c1d2e3f4a5c"];
    let options = FuseOptions::default().with(FuseOptions::SHARED);
    let rig = Rig::chosen(LoopFs::with("ext4", &same), options);
    let other = LoopFs::with("ext4", &same);
    let point = other.path().with_file_name("fuse");
    let refused = serve(&rig.source, &other.path(), &point, options);
    assert_eq!(refused.err(), Some(DmError::NotSupported));
}

#[test]
fn a_stub_is_one_through_each_mount() {
    on_pair(FuseOptions::default(), |pair| {
        let rig = &pair.rig;
        let views = rig.source.views(rig.mount.fs);
        assert_eq!((views.len(), views[1].device), (2, pair.device));
        let mut users = [User::new(), User::new()];
        for (index, user) in users.iter_mut().enumerate() {
            let name = format!("f{index}");
            let file = rig.stub(&name, SIZE);
            let fd = user.open(&pair.both(&name)[index], "RDONLY");
            user.tell(&format!("pread {fd} 100 50"));
            let event = rig.sink.next();
            assert_eq!((event.kind, event.file()), (EventType::Read, file));
            rig.recall(file);
            rig.answer(&event, Answer::Continue);
            user.result().is_right(50);
        }
        for (index, user) in users.iter_mut().enumerate() {
            let name = format!("f{}", 1 - index);
            let fd = user.open(&pair.both(&name)[index], "RDONLY");
            user.get(&format!("pread {fd} 0 {SIZE}"))
                .is_right(SIZE as i64);
        }
        rig.is_quiet();
    });
}

#[test]
fn one_that_is_open_and_mapped_in_both_is_migrated() {
    on_pair(FuseOptions::CACHED, |pair| {
        let rig = &pair.rig;
        let file = rig.file("f", SIZE);
        let mut users = [User::new(), User::new()];
        let mut bases = Vec::new();
        for (user, path) in users.iter_mut().zip(pair.both("f")) {
            let fd = user.open(&path, "RDWR");
            let base = user.map(fd, SIZE, libc::PROT_READ);
            user.get(&format!("load {base} {SIZE} 0"))
                .is_right(SIZE as i64);
            bases.push(base);
        }
        rig.guard(file, &[region(0, 0, ALL)]);
        rig.punch(file).expect("nobody has it open past us");
        for (user, base) in users.iter_mut().zip(&bases) {
            user.tell(&format!("load {base} 4096 0"));
        }
        let (first, second) = (rig.sink.next(), rig.sink.next());
        rig.recall(file);
        for event in [first, second] {
            assert_eq!((event.kind, event.file()), (EventType::Read, file));
            rig.answer(&event, Answer::Continue);
        }
        for user in &users {
            user.result().is_right(4096);
        }
        rig.is_quiet();
    });
}

/// A file that is in use through the second mount is not migrated, and who uses it through the first one goes on.
#[test]
fn each_mount_has_a_say() {
    on_pair(FuseOptions::default(), |pair| {
        let rig = &pair.rig;
        let file = rig.file("f", SIZE);
        let mut users = [User::new(), User::new()];
        let passing = users[1].open(&pair.join("f"), "RDWR");
        assert_eq!(rig.punch(file), Err(DmError::Busy));
        let guarded = rig.source.set_regions(file, &[region(0, 0, 1)], true);
        assert_eq!(guarded, Err(DmError::Busy));
        let fd = users[0].open(&rig.join("f"), "RDWR");
        for (user, fd) in users.iter_mut().zip([fd, passing]) {
            user.get(&format!("pread {fd} 0 {SIZE}"))
                .is_right(SIZE as i64);
            user.get(&format!("close {fd}")).ok();
        }
        eventually("it is free", || rig.punch(file).is_ok());
        rig.is_quiet();
    });
}

#[test]
fn what_a_mapping_in_the_other_mount_stored_is_a_change() {
    on_pair(FuseOptions::CACHED, |pair| {
        let rig = &pair.rig;
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        // Both have one backing file, so the lease test finds no stranger.
        user.open(&rig.join("f"), "RDWR");
        let fd = user.open(&pair.join("f"), "RDWR");
        let base = user.map(fd, SIZE, libc::PROT_READ | libc::PROT_WRITE);
        let store = format!("store {} 5 777", base + 20_000);
        // The kernel may have written it back by itself before: then it is stored once more.
        let refused = (0..20).any(|_| {
            user.get(&store).ok();
            rig.punch(file) == Err(DmError::Busy)
        });
        assert!(refused);
        let there = || std::fs::read(rig.private("f")).expect("the backing file");
        assert_eq!(there()[20_000..20_005], patterns(777, 5));
        rig.source.leave_out(Skip::OTHER_MOUNTS);
        let lost = (0..20).any(|_| {
            user.get(&store).ok();
            rig.punch(file).is_ok()
        });
        assert!(lost, "the other mount is asked all the same");
    });
}

/// It is open in the cached way in the first mount, and a mapping past the second one is left of an open there.
#[test]
fn a_mapping_that_outlives_the_close_in_the_other_mount_is_found() {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(240);
    let shared = FuseOptions::SHARED;
    let mut rig = Rig::chosen(LoopFs::new("xfs"), shared.with(FuseOptions::CACHED));
    let (point, _) = rig.add("", shared);
    let file = rig.file("f", SIZE);
    let mut users = [User::new(), User::new()];
    let passing = users[1].open(&point.join("f"), "RDWR");
    let base = users[1].map(passing, SIZE, libc::PROT_READ);
    rig.list(&[EventType::Close]);
    users[1].get(&format!("close {passing}")).ok();
    assert_eq!(rig.sink.next().kind, EventType::Close);
    users[0].open(&rig.join("f"), "RDWR");
    let guard = || rig.source.set_regions(file, &[region(0, 0, 1)], true);
    assert_eq!(guard(), Err(DmError::Busy));
    assert_eq!(rig.punch(file), Err(DmError::Busy));
    users[1].get(&format!("load {base} 4096 0")).is_right(4096);
    users[1].kill();
    eventually("the mapping is gone", || guard().is_ok());
    rig.punch(file).expect("nothing keeps it");
}

/// Opens through either mount wait for the end of a migration.
#[test]
fn an_open_through_the_other_mount_waits() {
    on_pair(FuseOptions::default(), |pair| {
        let rig = &pair.rig;
        let mut users = [User::new(), User::new()];
        let file = rig.file("f", SIZE);
        let paths = pair.both("f");
        let cell = std::sync::Mutex::new(&mut users);
        let decided = || {
            let mut users = cell.lock().expect("not poisoned");
            for (user, path) in users.iter_mut().zip(&paths) {
                user.tell(&open_line(path, "RDONLY"));
                assert!(user.done().is_none());
            }
            Ok(())
        };
        rig.source
            .punch(file, 0, 0, &decided)
            .expect("nothing keeps it");
        for user in &users {
            assert!(user.result().ok() > 0);
        }
    });
}

#[test]
fn the_end_of_an_object_comes_with_its_last_close_wherever_that_is() {
    on_pair(FuseOptions::default(), |pair| {
        let mut pair = pair;
        let mut users = [User::new(), User::new()];
        for (name, dies) in [("f", false), ("g", true)] {
            let file = pair.rig.file(name, SIZE);
            pair.rig.list(&[EventType::Destroy]);
            let told = |pair: &Pair| {
                let all = pair.rig.sink.destroyed();
                all.iter().filter(|(of, _)| *of == file).count()
            };
            let paths = pair.both(name);
            let fd = users[1].open(&paths[1], "RDWR");
            users[0].get(&format!("unlink {}", paths[0].display())).ok();
            assert_eq!(told(&pair), 0);
            if dies {
                pair.rig.next_worker();
            }
            assert_eq!(told(&pair), 0);
            users[1]
                .get(&format!("pread {fd} 0 {SIZE}"))
                .is_right(SIZE as i64);
            users[1].get(&format!("close {fd}")).ok();
            eventually("the end is told of", || told(&pair) == 1);
            pair.rig.next_worker();
            assert_eq!(told(&pair), 1);
        }
    });
}

#[test]
fn each_sees_what_the_other_does() {
    on_pair(FuseOptions::default(), |pair| {
        let mut user = User::new();
        for (here, there) in [(0, 1), (1, 0)] {
            let at = |name: &str, side: usize| pair.both(name)[side].clone();
            let missing = std::fs::metadata(at("new", there)).map(drop);
            assert!(missing.is_err());
            std::fs::write(at("new", here), b"four").expect("written");
            assert_eq!(
                std::fs::metadata(at("new", there))
                    .expect("it is there")
                    .len(),
                4
            );
            std::fs::rename(at("new", here), at("other", here)).expect("renamed");
            assert!(std::fs::metadata(at("new", there)).is_err());
            assert_eq!(std::fs::read(at("other", there)).expect("read"), b"four");
            std::os::unix::fs::symlink("one", at("link", here)).expect("a link");
            let target = |side| std::fs::read_link(at("link", side)).expect("a link");
            assert_eq!(target(there), Path::new("one"));
            std::fs::remove_file(at("link", here)).expect("removed");
            std::os::unix::fs::symlink("two", at("link", here)).expect("a link");
            assert_eq!(target(there), Path::new("two"));
            std::fs::remove_file(at("link", there)).expect("removed");
            // O_APPEND and a file that is open on the other side in the meantime.
            let fd = user.open(&at("other", there), "RDWR");
            std::fs::write(at("other", here), b"longer than four").expect("written");
            assert_eq!(
                std::fs::read(at("other", there)).expect("read"),
                b"longer than four"
            );
            user.get(&format!("close {fd}")).ok();
            std::fs::remove_file(at("other", there)).expect("removed");
            assert!(std::fs::metadata(at("other", here)).is_err());
        }
    });
}

/// Data that are in the page cache of one mount are those of the file when it is opened again.
#[test]
fn an_open_finds_what_others_wrote() {
    on_pair(FuseOptions::CACHED, |pair| {
        let rig = &pair.rig;
        rig.file("f", SIZE);
        let mut users = [User::new(), User::new()];
        let reads = |user: &mut User, path: &Path| {
            let fd = user.open(path, "RDONLY");
            let done = user.get(&format!("pread {fd} 8192 100"));
            user.get(&format!("close {fd}")).ok();
            (done.zeros, done.wrong)
        };
        let [first, second] = pair.both("f");
        assert_eq!(reads(&mut users[0], &first), (0, 0));
        assert_eq!(reads(&mut users[1], &second), (0, 0));
        // Through the other mount, and then past both.
        let fd = users[0].open(&first, "RDWR");
        users[0].get(&format!("seek {fd} 8192")).ok();
        users[0].get(&format!("write {fd} 100 9000")).ok();
        users[0].get(&format!("close {fd}")).ok();
        let as_written = (0, 100 - same_bytes(8192, 9000));
        assert_eq!(reads(&mut users[1], &second), as_written);
        let behind = std::fs::OpenOptions::new()
            .write(true)
            .open(rig.private("f"));
        let behind = behind.expect("the backing file");
        std::os::unix::fs::FileExt::write_all_at(&behind, &patterns(8192, 100), 8192)
            .expect("written");
        drop(behind);
        // The clock that mtime is taken from moves on before the next look.
        eventually("both see it", || {
            let mut late = [User::new(), User::new()];
            reads(&mut late[0], &first) == (0, 0) && reads(&mut late[1], &second) == (0, 0)
        });
        rig.is_quiet();
    });
}

/// How many of 100 bytes are the same in the pattern at two offsets.
fn same_bytes(one: u64, other: u64) -> usize {
    let (one, other) = (patterns(one, 100), patterns(other, 100));
    one.iter()
        .zip(&other)
        .filter(|(one, other)| one == other)
        .count()
}

#[test]
fn the_death_of_a_worker_ends_no_wait_in_either() {
    on_pair(FuseOptions::default(), |pair| {
        let mut pair = pair;
        let file = pair.rig.stub("f", SIZE);
        let mut users = [User::new(), User::new()];
        for (user, path) in users.iter_mut().zip(pair.both("f")) {
            let fd = user.open(&path, "RDONLY");
            user.tell(&format!("pread {fd} 0 100"));
        }
        let events = [pair.rig.sink.next(), pair.rig.sink.next()];
        pair.rig.next_worker();
        assert_eq!(pair.rig.source.views(pair.rig.mount.fs).len(), 2);
        pair.rig.recall(file);
        for event in &events {
            assert_eq!(event.file(), file);
            pair.rig.answer(event, Answer::Continue);
        }
        for user in &users {
            user.result().is_right(100);
        }
        pair.rig.is_quiet();
    });
}

#[test]
fn one_goes_and_the_other_stays() {
    on_pair(FuseOptions::default(), |pair| {
        let rig = &pair.rig;
        let first = rig.source.views(rig.mount.fs)[0].device;
        let mut user = User::new();
        rig.stub("f", SIZE);
        fsmount::unmount(&text(&rig.point), false, false).expect("unmounted");
        eventually("it is told of", || rig.sink.views_gone() == [first]);
        assert!(rig.sink.unmounted().is_empty());
        eventually("nothing of it is kept", || {
            assert_eq!(rig.source.views(rig.mount.fs).len(), 1);
            let kept = rig.arena.kept();
            kept.iter().filter(|one| one.role == Role::FUSE).count() == 1
        });
        let fd = user.open(&pair.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        rig.serve(EventType::Read, (0, 100));
        user.result().is_right(100);
        user.get(&format!("close {fd}")).ok();
        fsmount::unmount(&text(&pair.point), false, false).expect("unmounted");
        eventually("it was the last", || rig.sink.unmounted() == [rig.mount.fs]);
        assert_eq!(rig.sink.views_gone(), [first]);
    });
}

/// A forced unmount of one: who waits there gets an error, its event is withdrawn, the other mount goes on.
#[test]
fn who_waits_in_a_mount_that_is_torn_down_goes() {
    on_pair(FuseOptions::default(), |pair| {
        let rig = &pair.rig;
        rig.stub("f", SIZE);
        let mut user = User::new();
        let fd = user.open(&pair.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        let event = rig.sink.next();
        let _ = fsmount::unmount(&text(&pair.point), true, false);
        assert_eq!(user.result().result, -1);
        eventually("it is withdrawn", || {
            rig.sink.withdrawn() == [event.serial.expect("it waits")]
        });
        eventually("it is told of", || rig.sink.views_gone() == [pair.device]);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        rig.serve(EventType::Read, (0, 100));
        user.result().is_right(100);
        rig.is_quiet();
    });
}

#[test]
fn several_mounts_are_a_choice_of_all_of_them() {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(240);
    let shared = FuseOptions::SHARED;
    for (first, second) in [
        (FuseOptions::default(), shared),
        (shared, FuseOptions::default()),
    ] {
        let rig = Rig::chosen(LoopFs::new("xfs"), first);
        let point = rig.fs.path().with_file_name("second");
        let refused = serve(&rig.source, &rig.fs.path(), &point, second).map(drop);
        assert_eq!(refused, Err(DmError::Exists));
        assert_eq!(rig.source.views(rig.mount.fs).len(), 1);
    }
}

/// Each shows a directory of its own; a file with a name in both has one handle.
#[test]
fn each_may_show_a_directory_of_its_own() {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(240);
    for kind in common::KINDS {
        let pair = Pair::new(kind, FuseOptions::default(), "below");
        let rig = &pair.rig;
        let file: Handle = rig.stub("below/f", SIZE);
        let mut user = User::new();
        let fd = user.open(&pair.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        let event = rig.sink.next();
        assert_eq!(event.file(), file);
        rig.recall(file);
        rig.answer(&event, Answer::Continue);
        user.result().is_right(100);
        assert_eq!(
            std::fs::read(rig.join("below/f")).expect("read").len(),
            SIZE
        );
        rig.is_quiet();
    }
}

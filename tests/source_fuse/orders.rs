//! Each step of a migration protects something: left out, that is lost.

use std::os::fd::AsFd;
use std::sync::Mutex;

use dmapi::model::{DmError, EventType, Handle};
use dmapi::source::EventSource;
use dmapi::source::fuse::skip::Skip;
use dmapi::sys::lease::Lease;
use nix::libc;

use super::common::LoopFs;
use super::rig::{Rig, alone, eventually, lock, on_xfs, region};
use super::user::{User, open_line};

const SIZE: usize = 64 * 1024;
/// Guards neither reads nor writes: the steps are alone with the file.
const TRUNCATE: u32 = 4;

fn on_cached(test: impl Fn(Rig)) {
    let Some(_alone) = alone(120) else {
        return;
    };
    test(Rig::with(LoopFs::new("xfs"), true));
}

/// Its CLOSE was told of.
fn is_closed(rig: &Rig, file: Handle) {
    let event = rig.sink.next();
    assert_eq!(event.kind, EventType::Close);
    assert_eq!(event.names().handle1, Some(file));
}

/// The lease test of a migration turns nobody away who opens the file meanwhile.
#[test]
fn an_open_waits_for_a_lease() {
    on_xfs(60, |rig| {
        rig.file("f", SIZE);
        for flags in ["RDONLY", "RDWR"] {
            let mut options = std::fs::OpenOptions::new();
            let file = options.read(true).write(true).open(rig.private("f"));
            let file = file.expect("the backing file");
            eventually("nobody else has it", || Lease::take(file.as_fd()).is_ok());
            let lease = Lease::take(file.as_fd()).expect("a lease");
            let mut user = User::new();
            user.tell(&open_line(&rig.join("f"), flags));
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(lease);
            assert!(user.result().result >= 0, "{flags}");
        }
    });
}

/// The kernel tells the holder of a lease by SIGIO that somebody opens the file.
#[test]
fn a_broken_lease_kills_nobody() {
    on_xfs(60, |_rig| {
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGIO).expect("a signal");
    });
}

#[test]
fn a_mapping_that_outlives_the_close_is_found_by_the_lease() {
    on_xfs(120, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        rig.list(&[EventType::Close]);
        let fd = user.open(&rig.join("f"), "RDWR");
        let base = user.map(fd, SIZE, libc::PROT_READ);
        let look = format!("load {base} 4096 0");
        user.get(&look).is_right(4096);
        user.get(&format!("close {fd}")).ok();
        is_closed(&rig, file);
        assert_eq!(rig.punch(file), Err(DmError::Busy));
        let guarded = rig.source.set_regions(file, &[region(0, 0, 1)], true);
        assert_eq!(guarded, Err(DmError::Busy));
        user.get(&look).is_right(4096);
        rig.source.leave_out(Skip::LEASE);
        eventually("nothing keeps it", || rig.punch(file).is_ok());
        assert_eq!(user.get(&look).zeros, 4096);
    });
}

#[test]
fn a_file_that_is_open_past_us_is_in_use() {
    on_xfs(120, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDWR");
        let look = format!("pread {fd} 0 4096");
        user.get(&look).is_right(4096);
        assert_eq!(rig.punch(file), Err(DmError::Busy));
        let guarded = rig.source.set_regions(file, &[region(0, 0, 1)], true);
        assert_eq!(guarded, Err(DmError::Busy));
        // The lease alone finds it, too.
        rig.source.leave_out(Skip::OPEN_COUNT);
        assert_eq!(rig.punch(file), Err(DmError::Busy));
        user.get(&look).is_right(4096);
        rig.source.leave_out(Skip::OPEN_COUNT.and(Skip::LEASE));
        rig.punch(file).expect("nothing keeps it");
        assert_eq!(user.get(&look).zeros, 4096);
    });
}

#[test]
fn the_kernel_keeps_a_backing_file_until_it_is_told() {
    on_xfs(120, |rig| {
        let mut user = User::new();
        rig.list(&[EventType::Close]);
        let file = rig.file("closed", SIZE);
        let fd = user.open(&rig.join("closed"), "RDWR");
        user.get(&format!("close {fd}")).ok();
        is_closed(&rig, file);
        eventually("it is free", || rig.punch(file).is_ok());

        rig.source.leave_out(Skip::BACKING_CLOSE);
        let file = rig.file("kept", SIZE);
        let fd = user.open(&rig.join("kept"), "RDWR");
        user.get(&format!("close {fd}")).ok();
        is_closed(&rig, file);
        for _ in 0..100 {
            assert_eq!(rig.punch(file), Err(DmError::Busy));
        }
    });
}

#[test]
fn the_pages_of_the_mount_go_with_the_blocks() {
    on_cached(|rig| {
        let mut user = User::new();
        for (name, skip) in [
            ("stay", Skip::PAGES_BEFORE.and(Skip::PAGES_AFTER)),
            ("before", Skip::PAGES_AFTER),
            ("after", Skip::PAGES_BEFORE),
        ] {
            let file = rig.file(name, SIZE);
            let fd = user.open(&rig.join(name), "RDONLY");
            let look = format!("pread {fd} 0 4096");
            user.get(&look).is_right(4096);
            rig.source.leave_out(skip);
            rig.punch(file).expect("it is open in the cached way only");
            // Nothing guards it, so what is not in the cache reads as it is: punched.
            match name {
                "stay" => user.get(&look).is_right(4096),
                _ => {
                    let user = Mutex::new(&mut user);
                    let zeros = || lock(&user).get(&look).zeros;
                    eventually("the page is gone", || zeros() == 4096);
                }
            }
        }
    });
}

#[test]
fn what_a_mapping_stored_is_a_change() {
    on_cached(|rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDWR");
        let base = user.map(fd, SIZE, libc::PROT_READ | libc::PROT_WRITE);
        let store = format!("store {} 5 777", base + 20_000);
        // The kernel may have written it back by itself before: then it is stored once more.
        let refused = (0..20).any(|_| {
            user.get(&store).ok();
            rig.punch(file) == Err(DmError::Busy)
        });
        assert!(refused);
        let there = |file: &str| std::fs::read(rig.private(file)).expect("the backing file");
        assert_eq!(there("f")[20_000..20_005], super::user::patterns(777, 5));
        rig.source.leave_out(Skip::CHANGES);
        user.get(&store).ok();
        rig.punch(file).expect("nothing keeps it");
        assert_eq!(there("f")[20_000..20_005], [0; 5]);
    });
}

#[test]
fn a_write_comes_before_the_punch_or_after_it() {
    on_cached(|rig| {
        let user = Mutex::new(User::new());
        for (name, skip) in [("locked", Skip::default()), ("lost", Skip::IO_LOCK)] {
            let file = rig.file(name, SIZE);
            rig.guard(file, &[region(0, 0, TRUNCATE)]);
            let fd = lock(&user).open(&rig.join(name), "RDWR");
            rig.source.leave_out(skip);
            let decided = || {
                lock(&user).tell(&format!("pwrite {fd} 8192 100"));
                match name {
                    "locked" => assert!(lock(&user).done().is_none()),
                    _ => assert_eq!(lock(&user).result().ok(), 100),
                }
                Ok(())
            };
            rig.source
                .punch(file, 0, 0, &decided)
                .expect("nothing keeps it");
            let wanted = match name {
                "locked" => {
                    assert_eq!(lock(&user).result().ok(), 100);
                    super::user::patterns(8192, 100)
                }
                _ => vec![0; 100],
            };
            let bytes = std::fs::read(rig.private(name)).expect("the backing file");
            assert_eq!(bytes[8192..8292], wanted);
        }
    });
}

#[test]
fn an_open_waits_for_the_end_of_a_migration() {
    on_xfs(120, |rig| {
        let user = Mutex::new(User::new());
        for (name, skip) in [("held", Skip::default()), ("passes", Skip::HOLD_OPENS)] {
            let file = rig.file(name, SIZE);
            rig.source.leave_out(skip);
            let decided = || {
                lock(&user).tell(&open_line(&rig.join(name), "RDONLY"));
                match name {
                    "held" => assert!(lock(&user).done().is_none()),
                    _ => assert!(lock(&user).result().ok() > 0),
                }
                Ok(())
            };
            rig.source
                .punch(file, 0, 0, &decided)
                .expect("nothing keeps it");
            if name == "held" {
                assert!(lock(&user).result().ok() > 0);
            }
        }
    });
}

#[test]
fn what_is_refused_leaves_the_file_as_it_was() {
    on_xfs(120, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        let refused = rig.source.punch(file, 0, 0, &|| Err(DmError::Busy));
        assert_eq!(refused, Err(DmError::Busy));
        assert!(matches!(
            rig.source.punch(file, 1, 0, &|| Ok(())),
            Err(DmError::Again)
        ));
        let fd = user.open(&rig.join("f"), "RDWR");
        user.get(&format!("pread {fd} 0 {SIZE}"))
            .is_right(SIZE as i64);
        rig.is_quiet();
    });
}

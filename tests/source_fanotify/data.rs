//! Reads, writes, truncations and mappings, with their exact ranges.

use dmapi::model::{Answer, DmError, EventType};
use dmapi::source::EventSource;
use nix::libc;

use super::both::{SIZE, is_exact, pending_frees_the_hasty, two_events};
use super::recaller::{Recaller, Rights};
use super::rig::{ALL, eventually, on_each_kind, region};
use super::user::User;

#[test]
fn a_clone_and_a_mapping_of_a_stub_wait_for_all_of_it() {
    on_each_kind(120, |rig| {
        let mut user = User::new();
        let (size, read) = (SIZE as u64, EventType::Read);
        if rig.fs.kind != "ext4" {
            rig.stub("cloned", SIZE);
            let from = user.open(&rig.join("cloned"), "RDONLY");
            let to = user.open(&rig.join("clone"), "RDWR|CREAT");
            let line = format!("clone {from} {to} {SIZE}");
            rig.served(&mut user, &line, read, (0, size))
                .is_right(SIZE as i64);
        }

        // A punched file that is mapped in part can grow: all of it.
        rig.stub("mapped", SIZE);
        let fd = user.open(&rig.join("mapped"), "RDONLY");
        let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        let line = format!("mmap {fd} 8192 4096 {protection} {flags}");
        let done = rig.served(&mut user, &line, read, (0, size));
        assert_eq!((done.zeros, done.wrong), (0, 0));
        assert!(done.result > 0, "errno {}", done.errno);
    });
}

#[test]
fn io_uring_reads_wait() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        rig.stub("ring", SIZE);
        let fd = user.open(&rig.join("ring"), "RDONLY");
        user.tell(&format!("uring {fd} 5000 100"));
        let recaller = Recaller::new(&rig, &Rights::default());
        let done = user.result();
        if done.result < 0 && matches!(done.errno, libc::ENOSYS | libc::EPERM) {
            super::common::skip("io_uring is not to be had here");
            return;
        }
        done.is_right(100);
        eventually("an event was answered", || recaller.count() >= 1);
    });
}

#[test]
fn a_program_that_is_a_stub_is_recalled_and_runs() {
    on_each_kind(60, |rig| {
        use std::os::fd::AsFd;
        use std::os::unix::fs::PermissionsExt;
        let mut user = User::new();
        let program = std::fs::read("/bin/true").expect("/bin/true");
        let path = rig.private("true");
        std::fs::write(&path, &program).expect("a copy");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let file = std::fs::File::open(&path).expect("the copy");
        let handle = rig.mount.handle_of(file.as_fd()).expect("its handle");
        drop(file);
        rig.guard(handle, &[region(0, 0, ALL)]);
        rig.punch(handle).expect("punched");
        user.tell(&format!("exec {}", rig.join("true").display()));
        let event = rig.sink.next();
        assert_eq!(event.kind, EventType::Read);
        let fd = rig
            .mount
            .open(handle, dmapi::model::OpenFor::Write)
            .expect("open");
        dmapi::fs::invisible::write_at(fd.as_fd(), rig.mount.kind, 0, &program, true)
            .expect("recalled");
        dmapi::fs::handle::sync(&rig.mount, fd.as_fd()).expect("synced");
        drop(fd);
        rig.guard(handle, &[]);
        rig.answer(&event, Answer::Continue);
        assert_eq!(user.result().result, 0);
        rig.is_quiet();
    });
}

#[test]
fn regions_are_exact_to_the_byte() {
    on_each_kind(90, |rig| {
        is_exact(
            &rig,
            &mut User::new(),
            &[region(10_000, 500, 1), region(20_000, 100, 2)],
            &[
                "pread FD 9000 1000",
                "pread FD 10500 10",
                "pread FD 20000 100",
                "pread FD 10100 0",
                "pread FD 300000 10",
                "pwrite FD 10000 500",
                "pwrite FD 19000 1000",
                "pwrite FD 20100 1",
            ],
            &[
                ("pread FD 9000 1001", EventType::Read, (9000, 1001)),
                ("pread FD 10499 1", EventType::Read, (10_499, 1)),
                ("pwrite FD 20099 5", EventType::Write, (20_099, 5)),
                ("pwrite FD 0 100000", EventType::Write, (0, 100_000)),
                ("fallocate FD 1 19990 11", EventType::Write, (19_990, 11)),
            ],
        );
    });
}

#[test]
fn mappings_are_events_by_their_kind_and_block_new_regions() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDWR");
        let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        let (shared, private) = (libc::MAP_SHARED, libc::MAP_PRIVATE);
        rig.guard(file, &[region(16_384, 4096, 1)]);
        let mut maps = Vec::new();
        let mut map = |user: &mut User, offset, prot, flags, event: Option<EventType>| {
            user.tell(&format!("mmap {fd} {offset} 8192 {prot} {flags}"));
            if let Some(kind) = event {
                let event = rig.sink.next();
                assert_eq!((event.kind, event.range()), (kind, (offset, 8192)));
                rig.answer(&event, Answer::Continue);
            }
            let done = user.result();
            assert!(done.ok() > 0);
            rig.is_quiet();
            maps.push(done.result);
        };
        map(&mut user, 0, read, shared, None);
        map(&mut user, 16_384, read, shared, Some(EventType::Read));
        map(&mut user, 12_288, read, private, Some(EventType::Read));
        map(&mut user, 12_288, write, shared, None);
        rig.guard(file, &[region(0, 0, 1)][..0]);
        // All these maps end at 24576.
        let set = |regions: &[_]| rig.source.set_regions(file, regions, true);
        assert_eq!(set(&[region(20_480, 0, 1)]), Err(DmError::Busy));
        assert!(set(&[region(24_576, 0, 1)]).is_ok());
        assert_eq!(rig.punch(file), Err(DmError::Busy));
        for base in &maps {
            user.get(&format!("munmap {base} 8192")).ok();
        }
        assert!(set(&[region(0, 0, 1)]).is_ok());
        // Still open.
        assert_eq!(rig.punch(file), Err(DmError::Busy));
        user.get(&format!("close {fd}")).ok();
        eventually("the file is closed", || rig.punch(file).is_ok());
    });
}

#[test]
fn a_descriptor_opened_before_the_regions_makes_events() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDONLY");
        // Ignored from here on.
        user.get(&format!("pread {fd} 0 100")).is_right(100);
        user.get(&format!("pread {fd} 0 100")).is_right(100);
        rig.guard(file, &[region(0, 0, 1)]);
        user.tell(&format!("pread {fd} 50 100"));
        let event = rig.sink.next();
        assert_eq!((event.kind, event.range()), (EventType::Read, (50, 100)));
        rig.answer(&event, Answer::Continue);
        user.result().is_right(100);
    });
}

#[test]
fn a_killed_reader_is_withdrawn_and_a_late_answer_harms_nobody() {
    on_each_kind(60, |rig| {
        let mut killed = User::new();
        let mut other = User::new();
        rig.stub("f", SIZE);
        for user in [&mut killed, &mut other] {
            let fd = user.open(&rig.join("f"), "RDONLY");
            user.tell(&format!("pread {fd} 0 100"));
        }
        let (gone, stays) = two_events(&rig, &killed);
        assert_eq!(rig.source.blocked().len(), 2);
        killed.kill();
        let serial = gone.serial.expect("a serial");
        eventually("it is withdrawn", || rig.sink.withdrawn() == vec![serial]);
        rig.source.answer(serial, Answer::Continue);
        assert!(other.done().is_none());
        rig.recall(stays.file());
        rig.answer(&stays, Answer::Continue);
        other.result().is_right(100);
        rig.is_quiet();
    });
}

#[test]
fn pending_frees_only_the_non_blocking_reader_of_a_file() {
    on_each_kind(60, |rig| pending_frees_the_hasty(&rig, ["f", "f"]));
}

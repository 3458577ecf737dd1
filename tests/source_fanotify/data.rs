//! Reads, writes, truncations and mappings, with their exact ranges.

use dmapi::model::{Answer, DmError, EventType};
use dmapi::source::EventSource;
use nix::libc;

use super::rig::{ALL, Rig, eventually, on_each_kind, region};
use super::user::{User, open_line};

const SIZE: usize = 256 * 1024;

/// Tells, serves the one event that must come, and gives the result.
fn served(
    rig: &Rig,
    user: &mut User,
    line: &str,
    kind: EventType,
    range: (u64, u64),
) -> super::user::Done {
    user.tell(line);
    rig.serve(kind, range);
    let done = user.result();
    rig.is_quiet();
    done
}

#[test]
fn every_way_of_reading_a_stub_waits_and_is_right() {
    on_each_kind(120, |rig| {
        let mut user = User::new();
        let size = SIZE as u64;
        let read = EventType::Read;
        for (index, (line, range, bytes)) in [
            ("pread FD 1000 5000", (1000, 5000), 5000),
            ("read FD 100 0", (0, 100), 100),
            ("preadv FD 4097 3000", (4097, 3000), 3000),
            ("readv FD 0 3000", (0, 3000), 3000),
            ("sendfile FD 10 2000", (10, 2000), 2000),
            ("splice FD 20 2000", (20, 2000), 2000),
            ("pread FD 262140 100", (262_140, 100), 4),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("way{index}");
            rig.stub(&name, SIZE);
            let fd = user.open(&rig.fs.join(&name), "RDONLY");
            let line = line.replace("FD", &fd.to_string());
            served(rig, &mut user, &line, read, range).is_right(bytes);
            // Resident now: no more events, also not of other ways.
            user.get(&format!("pread {fd} 0 {SIZE}"))
                .is_right(SIZE as i64);
            user.get(&format!("close {fd}"));
            rig.is_quiet();
        }
        // A position in the middle.
        rig.stub("middle", SIZE);
        let fd = user.open(&rig.fs.join("middle"), "RDONLY");
        user.get(&format!("seek {fd} 70001"));
        served(
            rig,
            &mut user,
            &format!("read {fd} 33 70001"),
            read,
            (70_001, 33),
        )
        .is_right(33);

        rig.stub("direct", SIZE);
        let fd = user.open(&rig.fs.join("direct"), "RDONLY|DIRECT");
        let line = format!("pread {fd} 8192 4096");
        served(rig, &mut user, &line, read, (8192, 4096)).is_right(4096);

        rig.stub("copied", SIZE);
        let from = user.open(&rig.fs.join("copied"), "RDONLY");
        let to = user.open(&rig.fs.join("copy"), "RDWR|CREAT");
        let line = format!("copy {from} 4096 8192 {to}");
        served(rig, &mut user, &line, read, (4096, 8192)).is_right(8192);

        if rig.fs.kind != "ext4" {
            rig.stub("cloned", SIZE);
            let from = user.open(&rig.fs.join("cloned"), "RDONLY");
            let to = user.open(&rig.fs.join("clone"), "RDWR|CREAT");
            let line = format!("clone {from} {to} {SIZE}");
            served(rig, &mut user, &line, read, (0, size)).is_right(SIZE as i64);
        }

        // A punched file that is mapped in part can grow: all of it.
        rig.stub("mapped", SIZE);
        let fd = user.open(&rig.fs.join("mapped"), "RDONLY");
        let line = format!(
            "mmap {fd} 8192 4096 {} {}",
            libc::PROT_READ,
            libc::MAP_SHARED
        );
        let done = served(rig, &mut user, &line, read, (0, size));
        assert_eq!((done.zeros, done.wrong), (0, 0));
        assert!(done.result > 0, "errno {}", done.errno);
    });
}

#[test]
fn io_uring_reads_wait() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        rig.stub("ring", SIZE);
        let fd = user.open(&rig.fs.join("ring"), "RDONLY");
        user.tell(&format!("uring {fd} 5000 100"));
        let recaller = rig.recaller();
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
        user.tell(&format!("exec {}", rig.fs.join("true").display()));
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
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        let fd = user.open(&rig.fs.join("f"), "RDWR");
        rig.guard(file, &[region(10_000, 500, 1), region(20_000, 100, 2)]);
        for line in [
            "pread FD 9000 1000",
            "pread FD 10500 10",
            "pread FD 20000 100",
            "pread FD 10100 0",
            "pread FD 300000 10",
            "pwrite FD 10000 500",
            "pwrite FD 19000 1000",
            "pwrite FD 20100 1",
            "truncate PATH 262144",
        ] {
            let line = line
                .replace("FD", &fd.to_string())
                .replace("PATH", &rig.fs.join("f").display().to_string());
            user.get(&line).ok();
            rig.is_quiet();
        }
        for (line, kind, range) in [
            ("pread FD 9000 1001", EventType::Read, (9000, 1001)),
            ("pread FD 10499 1", EventType::Read, (10_499, 1)),
            ("pwrite FD 20099 5", EventType::Write, (20_099, 5)),
            ("pwrite FD 0 100000", EventType::Write, (0, 100_000)),
            ("fallocate FD 1 19990 11", EventType::Write, (19_990, 11)),
        ] {
            user.tell(&line.replace("FD", &fd.to_string()));
            let event = rig.sink.next();
            assert_eq!((event.kind, event.range()), (kind, range), "{line}");
            assert_eq!(event.pid, user.pid());
            assert!(user.done().is_none(), "{line}: it waits");
            rig.answer(&event, Answer::Continue);
            user.result().ok();
            rig.is_quiet();
        }
    });
}

#[test]
fn writes_report_where_they_go() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", 5000);
        rig.guard(file, &[region(0, 0, 2)]);
        let append = user.open(&rig.fs.join("f"), "WRONLY|APPEND");
        let plain = user.open(&rig.fs.join("f"), "RDWR");
        for (line, range) in [
            (format!("write {append} 10 5000"), (5000, 10)),
            (format!("write {plain} 7 0"), (0, 7)),
            (format!("write {plain} 7 7"), (7, 7)),
            (format!("pwrite {plain} 6000 3"), (6000, 3)),
        ] {
            user.tell(&line);
            let event = rig.sink.next();
            assert_eq!(
                (event.kind, event.range()),
                (EventType::Write, range),
                "{line}"
            );
            rig.answer(&event, Answer::Continue);
            user.result().ok();
        }
        // Refused: nothing is written.
        user.tell(&format!("pwrite {plain} 0 100"));
        let event = rig.sink.next();
        rig.answer(&event, Answer::Abort(libc::ENOSPC));
        user.result().failed(libc::ENOSPC);
        user.tell(&format!("pwrite {plain} 0 100"));
        let event = rig.sink.next();
        // An errno that the kernel does not hand on.
        rig.answer(&event, Answer::Abort(libc::ESTALE));
        user.result().failed(libc::EIO);
        rig.is_quiet();
    });
}

#[test]
fn truncations_fire_iff_a_region_ends_behind_the_new_size() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", 100_000);
        let path = rig.fs.join("f");
        let fd = user.open(&path, "RDWR");
        rig.guard(file, &[region(1000, 500, 4)]);
        user.get(&format!("ftruncate {fd} 1500")).ok();
        user.get(&format!("truncate {} 200000", path.display()))
            .ok();
        rig.is_quiet();
        let name = path.display();
        for (line, size) in [
            (format!("ftruncate {fd} 1499"), 1499),
            (format!("truncate {name} 700"), 700),
            (open_line(&path, "WRONLY|TRUNC"), 0),
        ] {
            user.tell(&line);
            let event = rig.sink.next();
            assert_eq!(
                (event.kind, event.range()),
                (EventType::Truncate, (size, 0)),
                "{line}"
            );
            rig.answer(&event, Answer::Continue);
            user.result().ok();
            rig.is_quiet();
        }
        let size = std::fs::metadata(rig.private("f")).expect("stat").len();
        assert_eq!(size, 0);
        // Refused before anything is cut; a plain open asks nothing.
        rig.file("f", 3000);
        rig.guard(file, &[region(0, 0, 4)]);
        user.tell(&open_line(&path, "RDWR|TRUNC"));
        let event = rig.sink.next();
        rig.answer(&event, Answer::Abort(libc::EBUSY));
        user.result().failed(libc::EBUSY);
        user.open(&path, "RDWR");
        let size = std::fs::metadata(rig.private("f")).expect("stat").len();
        assert_eq!(size, 3000);
        rig.is_quiet();
    });
}

#[test]
fn mappings_are_events_by_their_kind_and_block_new_regions() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        let fd = user.open(&rig.fs.join("f"), "RDWR");
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
        let fd = user.open(&rig.fs.join("f"), "RDONLY");
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
            let fd = user.open(&rig.fs.join("f"), "RDONLY");
            user.tell(&format!("pread {fd} 0 100"));
        }
        let (one, two) = (rig.sink.next(), rig.sink.next());
        let (gone, stays) = if one.pid == killed.pid() {
            (one, two)
        } else {
            (two, one)
        };
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
fn pending_frees_only_non_blocking_readers() {
    on_each_kind(60, |rig| {
        let (mut patient, mut hasty) = (User::new(), User::new());
        rig.stub("f", SIZE);
        let path = rig.fs.join("f");
        for (user, flags) in [(&mut patient, "RDONLY"), (&mut hasty, "RDONLY|NONBLOCK")] {
            let fd = user.open(&path, flags);
            user.tell(&format!("pread {fd} 0 100"));
        }
        let (one, two) = (rig.sink.next(), rig.sink.next());
        let (blocking, other) = if one.pid == patient.pid() {
            (one, two)
        } else {
            (two, one)
        };
        assert!(!rig.source.pending(blocking.serial.expect("a serial")));
        assert!(rig.source.pending(other.serial.expect("a serial")));
        hasty.result().failed(libc::EAGAIN);
        assert!(patient.done().is_none());
        rig.recall(blocking.file());
        rig.answer(&blocking, Answer::Continue);
        patient.result().is_right(100);
    });
}

#[test]
fn a_stub_that_is_unlinked_while_somebody_waits_is_still_recalled() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        rig.stub("f", SIZE);
        rig.stub("victim", SIZE);
        rig.file("new", 10);
        for name in ["f", "victim"] {
            let fd = user.open(&rig.fs.join(name), "RDONLY");
            user.tell(&format!("pread {fd} 0 100"));
            let event = rig.sink.next();
            match name {
                "f" => std::fs::remove_file(rig.private("f")),
                _ => std::fs::rename(rig.private("new"), rig.private("victim")),
            }
            .expect("the name goes");
            rig.recall(event.file());
            rig.answer(&event, Answer::Continue);
            user.result().is_right(100);
        }
    });
}

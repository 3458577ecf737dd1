//! Reads, writes, truncations and mappings of files that are open through the mount, with their exact ranges.

use dmapi::model::{Answer, DmError, EventType};
use dmapi::source::EventSource;
use nix::libc;

use super::rig::{ALL, Rig, eventually, on_each_kind, on_xfs, region};
use super::user::{Done, User, open_line};

const SIZE: usize = 256 * 1024;
const PAGE: u64 = 4096;

/// Tells, serves the one event that must come, and gives the result.
fn served(rig: &Rig, user: &mut User, line: &str, kind: EventType, range: (u64, u64)) -> Done {
    user.tell(line);
    rig.serve(kind, range);
    let done = user.result();
    rig.is_quiet();
    done
}

/// Tells, and lets the one event that must come pass with the regions in place.
fn passed(rig: &Rig, user: &mut User, line: &str, kind: EventType, range: (u64, u64)) -> Done {
    user.tell(line);
    let event = rig.sink.next();
    assert_eq!((event.kind, event.range()), (kind, range), "{line}");
    assert_eq!(event.pid, user.pid());
    assert!(user.done().is_none(), "{line}: it waits");
    rig.answer(&event, Answer::Continue);
    let done = user.result();
    rig.is_quiet();
    done
}

#[test]
fn every_way_of_reading_a_stub_waits_and_is_right() {
    on_each_kind(120, |rig| {
        let mut user = User::new();
        let read = EventType::Read;
        for (index, (line, range, bytes)) in [
            ("pread FD 1000 5000", (1000, 5000), 5000),
            ("read FD 100 0", (0, 100), 100),
            ("preadv FD 4097 3000", (4097, 3000), 3000),
            ("readv FD 0 3000", (0, 3000), 3000),
            ("sendfile FD 10 2000", (10, 2000), 2000),
            ("splice FD 20 2000", (20, 2000), 2000),
            ("pread FD 0 262144", (0, 262_144), 262_144),
            ("pread FD 262140 100", (262_140, 100), 4),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("way{index}");
            rig.stub(&name, SIZE);
            let fd = user.open(&rig.join(&name), "RDONLY");
            let line = line.replace("FD", &fd.to_string());
            served(&rig, &mut user, &line, read, range).is_right(bytes);
            // Resident now: no more events, also not of other ways.
            user.get(&format!("pread {fd} 0 {SIZE}"))
                .is_right(SIZE as i64);
            user.get(&format!("close {fd}"));
            rig.is_quiet();
        }
        // A position in the middle.
        rig.stub("middle", SIZE);
        let fd = user.open(&rig.join("middle"), "RDONLY");
        user.get(&format!("seek {fd} 70001"));
        let line = format!("read {fd} 33 70001");
        served(&rig, &mut user, &line, read, (70_001, 33)).is_right(33);

        rig.stub("direct", SIZE);
        let fd = user.open(&rig.join("direct"), "RDONLY|DIRECT");
        let line = format!("pread {fd} 8192 8192");
        served(&rig, &mut user, &line, read, (8192, 8192)).is_right(8192);

        rig.stub("copied", SIZE);
        let from = user.open(&rig.join("copied"), "RDONLY");
        let to = user.open(&rig.join("copy"), "RDWR|CREAT");
        let line = format!("copy {from} 4096 8192 {to}");
        served(&rig, &mut user, &line, read, (4096, 8192)).is_right(8192);
    });
}

#[test]
fn io_uring_reads_wait() {
    on_xfs(60, |rig| {
        let mut user = User::new();
        rig.stub("ring", SIZE);
        let fd = user.open(&rig.join("ring"), "RDONLY");
        user.tell(&format!("uring {fd} 5000 100"));
        let Some(event) = rig.sink.next_within(std::time::Duration::from_secs(20)) else {
            let done = user.result();
            assert!(matches!(done.errno, libc::ENOSYS | libc::EPERM));
            super::common::skip("io_uring is not to be had here");
            return;
        };
        assert_eq!(event.kind, EventType::Read);
        rig.recall(event.file());
        rig.answer(&event, Answer::Continue);
        user.result().is_right(100);
    });
}

#[test]
fn a_fault_of_a_mapping_is_an_event_of_its_page() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        let file = rig.stub("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDWR");
        let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        let line = format!("map {fd} 0 {SIZE} {read} {}", libc::MAP_SHARED);
        let base = user.get(&line).ok();
        rig.is_quiet();
        let line = format!("load {} 10 9000", base + 9000);
        served(&rig, &mut user, &line, EventType::Read, (8192, PAGE)).is_right(10);
        // Migrated again while it is open and mapped: the old mapping sees the next recall.
        eventually("it can be migrated", || {
            rig.guard(file, &[region(0, 0, ALL)]);
            rig.punch(file).is_ok()
        });
        served(&rig, &mut user, &line, EventType::Read, (8192, PAGE)).is_right(10);

        // What is stored through a mapping goes to the file, and into a stub only after a recall.
        let line = format!("map {fd} 0 {SIZE} {write} {}", libc::MAP_SHARED);
        let base = user.get(&line).ok();
        user.get(&format!("store {} 5 777", base + 20_000)).ok();
        user.get(&format!("fsync {fd}")).ok();
        let bytes = std::fs::read(rig.private("f")).expect("the backing file");
        assert_eq!(bytes[20_000..20_005], super::user::patterns(777, 5));
        rig.is_quiet();
    });
}

#[test]
fn regions_are_exact_where_pages_are_not_shared() {
    on_each_kind(90, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        rig.guard(file, &[region(16_384, 8192, 1), region(40_000, 100, 2)]);
        let fd = user.open(&rig.join("f"), "RDWR");
        for line in [
            "pread FD 0 16384",
            "pread FD 24576 200000",
            "pread FD 40000 100",
            "pread FD 20000 0",
            "pread FD 300000 10",
            "pwrite FD 16384 500",
            "pwrite FD 39000 1000",
            "pwrite FD 40100 1",
        ] {
            user.get(&line.replace("FD", &fd.to_string())).ok();
            rig.is_quiet();
        }
        user.get(&format!("truncate {} 262144", rig.join("f").display()))
            .ok();
        rig.is_quiet();
        for (line, kind, range) in [
            ("pread FD 9000 8000", EventType::Read, (9000, 8000)),
            ("pread FD 24575 1", EventType::Read, (24_575, 1)),
            ("pwrite FD 40099 5", EventType::Write, (40_099, 5)),
            ("pwrite FD 0 100000", EventType::Write, (0, 100_000)),
            ("fallocate FD 1 39990 11", EventType::Write, (39_990, 11)),
        ] {
            let line = line.replace("FD", &fd.to_string());
            passed(&rig, &mut user, &line, kind, range).ok();
        }
        // A page that holds guarded bytes does not get into the cache unseen, whoever asks for it.
        rig.guard(file, &[region(10_000, 500, 1)]);
        let line = format!("pread {fd} 9000 10");
        passed(&rig, &mut user, &line, EventType::Read, (8192, PAGE)).is_right(10);
    });
}

#[test]
fn one_event_for_a_call_of_many_requests() {
    on_xfs(60, |rig| {
        const LARGE: usize = 5 << 20;
        let mut user = User::new();
        let file = rig.file("f", LARGE);
        rig.guard(file, &[region(0, 0, 3)]);
        let fd = user.open(&rig.join("f"), "RDWR");
        let line = format!("pread {fd} 100000 65536");
        passed(&rig, &mut user, &line, EventType::Read, (100_000, 65_536)).is_right(65_536);
        let line = format!("pwrite {fd} 0 {LARGE}");
        let range = (0, LARGE as u64);
        let done = passed(&rig, &mut user, &line, EventType::Write, range);
        assert_eq!(done.result, LARGE as i64);
        // The same call once more is another call.
        passed(&rig, &mut user, &line, EventType::Write, range).ok();
        // In the cache at most for a moment: the next access is seen.
        user.get(&format!("close {fd}")).ok();
        let fd = user.open(&rig.join("f"), "RDONLY|DIRECT");
        let line = format!("pread {fd} 0 3145728");
        passed(&rig, &mut user, &line, EventType::Read, (0, 3 << 20)).is_right(3 << 20);
    });
}

#[test]
fn writes_report_where_they_go() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", 5000);
        rig.guard(file, &[region(0, 0, 2)]);
        let append = user.open(&rig.join("f"), "WRONLY|APPEND");
        let plain = user.open(&rig.join("f"), "RDWR");
        for (line, range) in [
            (format!("write {append} 10 5000"), (5000, 10)),
            (format!("write {plain} 7 0"), (0, 7)),
            (format!("write {plain} 7 7"), (7, 7)),
            (format!("pwrite {plain} 6000 3"), (6000, 3)),
        ] {
            passed(&rig, &mut user, &line, EventType::Write, range).ok();
        }
        // Refused: nothing is written.
        for errno in [libc::ENOSPC, libc::ESTALE] {
            user.tell(&format!("pwrite {plain} 0 100"));
            let event = rig.sink.next();
            rig.answer(&event, Answer::Abort(errno));
            user.result().failed(errno);
        }
        rig.is_quiet();
        let size = std::fs::metadata(rig.private("f")).expect("stat").len();
        assert_eq!(size, 6003);
    });
}

#[test]
fn truncations_fire_iff_a_region_ends_behind_the_new_size() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        let file = rig.file("f", 100_000);
        let path = rig.join("f");
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
            passed(&rig, &mut user, &line, EventType::Truncate, (size, 0)).ok();
        }
        let size = std::fs::metadata(rig.private("f")).expect("stat").len();
        assert_eq!(size, 0);
        // Refused before anything is cut; a plain open asks nothing.
        std::fs::write(rig.private("f"), super::user::patterns(0, 3000)).expect("a file");
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
fn a_stub_has_no_holes_for_users() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        rig.stub("stub", SIZE);
        let fd = user.open(&rig.join("stub"), "RDONLY");
        let (data, hole) = (libc::SEEK_DATA, libc::SEEK_HOLE);
        assert_eq!(user.get(&format!("lseek {fd} 0 {data}")).ok(), 0);
        assert_eq!(user.get(&format!("lseek {fd} 0 {hole}")).ok(), SIZE as i64);
        // A sparse file of the user's own has its holes.
        let file = rig.file("sparse", SIZE);
        rig.punch(file).expect("punched, without regions");
        let fd = user.open(&rig.join("sparse"), "RDONLY");
        user.get(&format!("lseek {fd} 0 {data}"))
            .failed(libc::ENXIO);
        assert_eq!(user.get(&format!("lseek {fd} 0 {hole}")).ok(), 0);
        rig.is_quiet();
    });
}

#[test]
fn a_killed_reader_is_withdrawn_and_a_late_answer_harms_nobody() {
    on_each_kind(60, |rig| {
        // By read(2), by a fault, and by an O_DIRECT read.
        for way in 0..3 {
            let mut killed = User::new();
            let mut other = User::new();
            let name = format!("f{way}");
            rig.stub(&name, SIZE);
            let flags = if way == 2 { "RDONLY|DIRECT" } else { "RDONLY" };
            let fd = killed.open(&rig.join(&name), flags);
            match way {
                1 => {
                    let line = format!("map {fd} 0 8192 {} {}", libc::PROT_READ, libc::MAP_SHARED);
                    let base = killed.get(&line).ok();
                    killed.tell(&format!("load {base} 10 0"));
                }
                _ => killed.tell(&format!("pread {fd} 0 4096")),
            }
            let gone = rig.sink.next();
            assert_eq!(rig.source.blocked().len(), 1);
            let serial = gone.serial.expect("a serial");
            killed.kill();
            eventually("it is withdrawn", || rig.sink.withdrawn().contains(&serial));
            rig.source.answer(serial, Answer::Continue);
            let fd = other.open(&rig.join(&name), "RDONLY");
            other.tell(&format!("pread {fd} 0 100"));
            rig.serve(EventType::Read, (0, 100));
            other.result().is_right(100);
            rig.is_quiet();
        }
    });
}

#[test]
fn who_waits_for_long_is_not_taken_for_dead() {
    on_xfs(60, |rig| {
        let mut user = User::new();
        for (index, (flags, line)) in [
            ("RDONLY", "pread FD 0 100"),
            ("RDONLY", "pread FD 0 262144"),
            ("RDONLY", "sendfile FD 10 2000"),
            ("RDONLY|DIRECT", "pread FD 0 8192"),
            ("RDWR", "pwrite FD 0 100"),
            ("RDWR", "ftruncate FD 5"),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("f{index}");
            rig.stub(&name, SIZE);
            let fd = user.open(&rig.join(&name), flags);
            user.tell(&line.replace("FD", &fd.to_string()));
            let event = rig.sink.next();
            rig.source.look_after_callers();
            rig.recall(event.file());
            rig.answer(&event, Answer::Continue);
            user.result().ok();
        }
        rig.stub("mapped", SIZE);
        let fd = user.open(&rig.join("mapped"), "RDONLY");
        let line = format!("map {fd} 0 8192 {} {}", libc::PROT_READ, libc::MAP_SHARED);
        let base = user.get(&line).ok();
        user.tell(&format!("load {base} 10 0"));
        let event = rig.sink.next();
        rig.source.look_after_callers();
        rig.recall(event.file());
        rig.answer(&event, Answer::Continue);
        user.result().is_right(10);
        assert_eq!(rig.sink.withdrawn(), vec![]);
        rig.is_quiet();
    });
}

#[test]
fn a_signal_that_says_nothing_of_waiting_ends_no_wait() {
    on_xfs(60, |rig| {
        let mut user = User::new();
        rig.stub("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.get(&format!("handle {}", libc::SIGUSR1)).ok();
        user.tell(&format!("pread {fd} 0 100"));
        let event = rig.sink.next();
        let pid = nix::unistd::Pid::from_raw(user.pid() as i32);
        for _ in 0..3 {
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).expect("a signal");
            std::thread::yield_now();
        }
        rig.recall(event.file());
        rig.answer(&event, Answer::Continue);
        user.result().is_right(100);
        assert_eq!(rig.sink.withdrawn(), vec![]);
        rig.is_quiet();
    });
}

#[test]
fn a_signal_that_ends_waits_ends_a_call_but_no_fault() {
    on_xfs(60, |rig| {
        let (mut caller, mut mapper) = (User::new(), User::new());
        let handle = format!("handle {}", libc::SIGALRM);
        for user in [&mut caller, &mut mapper] {
            user.get(&handle).ok();
        }
        // The thread that waits is not the main one.
        let signal = |user: &User| {
            let threads =
                std::fs::read_dir(format!("/proc/{}/task", user.pid())).expect("it lives");
            let ids = threads
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            for id in ids.filter(|id: &u32| *id != user.pid()) {
                // SAFETY: three integers.
                unsafe { libc::syscall(libc::SYS_tgkill, user.pid(), id, libc::SIGALRM) };
            }
        };
        rig.stub("called", SIZE);
        let fd = caller.open(&rig.join("called"), "RDONLY");
        caller.tell(&format!("pread {fd} 0 100"));
        let event = rig.sink.next();
        signal(&caller);
        assert_eq!(caller.result().errno, libc::EINTR);
        assert_eq!(rig.sink.withdrawn(), vec![event.serial.expect("it waits")]);

        rig.stub("mapped", SIZE);
        let fd = mapper.open(&rig.join("mapped"), "RDONLY");
        let map = format!("map {fd} 0 {SIZE} {} {}", libc::PROT_READ, libc::MAP_SHARED);
        let base = mapper.get(&map).ok();
        mapper.tell(&format!("load {base} 10 0"));
        let event = rig.sink.next();
        signal(&mapper);
        rig.source.look_after_callers();
        rig.recall(event.file());
        rig.answer(&event, Answer::Continue);
        mapper.result().is_right(10);
        rig.is_quiet();
    });
}

#[test]
fn pending_frees_only_non_blocking_readers() {
    on_xfs(60, |rig| {
        let (mut patient, mut hasty) = (User::new(), User::new());
        for (name, user, flags) in [
            ("patient", &mut patient, "RDONLY"),
            ("hasty", &mut hasty, "RDONLY|NONBLOCK"),
        ] {
            rig.stub(name, SIZE);
            let fd = user.open(&rig.join(name), flags);
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
fn a_file_for_which_somebody_waits_is_not_migrated() {
    on_xfs(60, |rig| {
        let mut user = User::new();
        let file = rig.stub("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        let event = rig.sink.next();
        // No migration begins while somebody waits.
        assert_eq!(rig.punch(file), Err(DmError::Busy));
        rig.recall(file);
        rig.guard(file, &[region(0, 0, ALL)]);
        rig.answer(&event, Answer::Continue);
        // Not punched since: the answer stands.
        user.result().is_right(100);
        rig.is_quiet();
    });
}

#[test]
fn a_stub_that_is_unlinked_while_somebody_waits_is_still_recalled() {
    on_each_kind(60, |rig| {
        let mut user = User::new();
        rig.stub("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        let event = rig.sink.next();
        let mut other = User::new();
        other
            .get(&format!("unlink {}", rig.join("f").display()))
            .ok();
        rig.recall(event.file());
        rig.answer(&event, Answer::Continue);
        user.result().is_right(100);
    });
}

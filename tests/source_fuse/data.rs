//! Reads, writes, truncations and mappings of files that are open through the mount, with their exact ranges.

use dmapi::model::{Answer, DmError, EventType};
use dmapi::source::EventSource;
use nix::libc;

use super::both::{SIZE, is_exact};
use super::rig::{ALL, eventually, on_each_kind, on_xfs, region};
use super::user::User;

const PAGE: u64 = 4096;

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
        let base = user.map(fd, SIZE, read);
        rig.is_quiet();
        let line = format!("load {} 10 9000", base + 9000);
        rig.served(&mut user, &line, EventType::Read, (8192, PAGE))
            .is_right(10);
        // Migrated again while it is open and mapped: the old mapping sees the next recall.
        eventually("it can be migrated", || {
            rig.guard(file, &[region(0, 0, ALL)]);
            rig.punch(file).is_ok()
        });
        rig.served(&mut user, &line, EventType::Read, (8192, PAGE))
            .is_right(10);

        // What is stored through a mapping goes to the file, and into a stub only after a recall.
        let base = user.map(fd, SIZE, write);
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
        is_exact(
            &rig,
            &mut user,
            &[region(16_384, 8192, 1), region(40_000, 100, 2)],
            &[
                "pread FD 0 16384",
                "pread FD 24576 200000",
                "pread FD 40000 100",
                "pread FD 20000 0",
                "pread FD 300000 10",
                "pwrite FD 16384 500",
                "pwrite FD 39000 1000",
                "pwrite FD 40100 1",
            ],
            &[
                ("pread FD 9000 8000", EventType::Read, (9000, 8000)),
                ("pread FD 24575 1", EventType::Read, (24_575, 1)),
                ("pwrite FD 40099 5", EventType::Write, (40_099, 5)),
                ("pwrite FD 0 100000", EventType::Write, (0, 100_000)),
                ("fallocate FD 1 39990 11", EventType::Write, (39_990, 11)),
            ],
        );
        // A page that holds guarded bytes does not get into the cache unseen, whoever asks for it.
        rig.guard(rig.handle("f"), &[region(10_000, 500, 1)]);
        let fd = user.open(&rig.join("f"), "RDWR");
        let line = format!("pread {fd} 9000 10");
        rig.passed(&mut user, &line, EventType::Read, (8192, PAGE))
            .is_right(10);
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
        rig.passed(&mut user, &line, EventType::Read, (100_000, 65_536))
            .is_right(65_536);
        let line = format!("pwrite {fd} 0 {LARGE}");
        let range = (0, LARGE as u64);
        let done = rig.passed(&mut user, &line, EventType::Write, range);
        assert_eq!(done.result, LARGE as i64);
        // The same call once more is another call.
        rig.passed(&mut user, &line, EventType::Write, range).ok();
        // In the cache at most for a moment: the next access is seen.
        user.get(&format!("close {fd}")).ok();
        let fd = user.open(&rig.join("f"), "RDONLY|DIRECT");
        let line = format!("pread {fd} 0 3145728");
        rig.passed(&mut user, &line, EventType::Read, (0, 3 << 20))
            .is_right(3 << 20);
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
                    let base = killed.map(fd, 8192, libc::PROT_READ);
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
        let base = user.map(fd, 8192, libc::PROT_READ);
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
        let serial = event.serial.expect("it waits");
        // The caller may be through before that.
        eventually("it is withdrawn", || rig.sink.withdrawn() == [serial]);

        rig.stub("mapped", SIZE);
        let fd = mapper.open(&rig.join("mapped"), "RDONLY");
        let base = mapper.map(fd, SIZE, libc::PROT_READ);
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

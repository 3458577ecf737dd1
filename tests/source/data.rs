//! Reads, writes, truncations and mappings, with their exact ranges: what holds for both sources.

use dmapi::model::{Answer, EventType, Region};
use dmapi::source::EventSource;
use nix::libc;

use super::deeds::{on_each_kind, region};
use super::rig::Rig;
use super::sink::Seen;
use super::user::{User, open_line};

pub const SIZE: usize = 256 * 1024;

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
            rig.served(&mut user, &line, read, range).is_right(bytes);
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
        rig.served(&mut user, &line, read, (70_001, 33))
            .is_right(33);

        rig.stub("direct", SIZE);
        let fd = user.open(&rig.join("direct"), "RDONLY|DIRECT");
        let line = format!("pread {fd} 8192 8192");
        rig.served(&mut user, &line, read, (8192, 8192))
            .is_right(8192);

        rig.stub("copied", SIZE);
        let from = user.open(&rig.join("copied"), "RDONLY");
        let to = user.open(&rig.join("copy"), "RDWR|CREAT");
        let line = format!("copy {from} 4096 8192 {to}");
        rig.served(&mut user, &line, read, (4096, 8192))
            .is_right(8192);
    });
}

/// What may be done to the open file `f` with these regions, and what makes which event. FD stands for its descriptor.
pub fn is_exact(
    rig: &Rig,
    user: &mut User,
    regions: &[Region],
    free: &[&str],
    guarded: &[(&str, EventType, (u64, u64))],
) {
    let file = rig.file("f", SIZE);
    rig.guard(file, regions);
    let fd = user.open(&rig.join("f"), "RDWR").to_string();
    for line in free {
        user.get(&line.replace("FD", &fd)).ok();
        rig.is_quiet();
    }
    user.get(&format!("truncate {} {SIZE}", rig.join("f").display()))
        .ok();
    rig.is_quiet();
    for (line, kind, range) in guarded {
        rig.passed(user, &line.replace("FD", &fd), *kind, *range)
            .ok();
    }
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
            rig.passed(&mut user, &line, EventType::Write, range).ok();
        }
        // Refused: nothing is written.
        for errno in [libc::ENOSPC, libc::ESTALE] {
            user.tell(&format!("pwrite {plain} 0 100"));
            let event = rig.sink.next();
            rig.answer(&event, Answer::Abort(errno));
            user.result().failed(Rig::errno_of_abort(errno));
        }
        rig.is_quiet();
        assert_eq!(rig.size("f"), 6003);
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
            rig.passed(&mut user, &line, EventType::Truncate, (size, 0))
                .ok();
        }
        assert_eq!(rig.size("f"), 0);
        // Refused before anything is cut; a plain open asks nothing.
        rig.file("f", 3000);
        rig.guard(file, &[region(0, 0, 4)]);
        user.tell(&open_line(&path, "RDWR|TRUNC"));
        let event = rig.sink.next();
        rig.answer(&event, Answer::Abort(libc::EBUSY));
        user.result().failed(libc::EBUSY);
        user.open(&path, "RDWR");
        assert_eq!(rig.size("f"), 3000);
        rig.is_quiet();
    });
}

/// The next two events, that of this user first.
#[track_caller]
pub fn two_events(rig: &Rig, first: &User) -> (Seen, Seen) {
    let (one, two) = (rig.sink.next(), rig.sink.next());
    assert_ne!(one.pid, two.pid);
    match one.pid == first.pid() {
        true => (one, two),
        false => (two, one),
    }
}

/// Two readers, of these two files.
pub fn pending_frees_the_hasty(rig: &Rig, names: [&str; 2]) {
    let (mut patient, mut hasty) = (User::new(), User::new());
    for name in names {
        rig.stub(name, SIZE);
    }
    for (name, user, flags) in [
        (names[0], &mut patient, "RDONLY"),
        (names[1], &mut hasty, "RDONLY|NONBLOCK"),
    ] {
        let fd = user.open(&rig.join(name), flags);
        user.tell(&format!("pread {fd} 0 100"));
    }
    let (blocking, other) = two_events(rig, &patient);
    assert!(!rig.source.pending(blocking.serial.expect("a serial")));
    assert!(rig.source.pending(other.serial.expect("a serial")));
    hasty.result().failed(libc::EAGAIN);
    assert!(patient.done().is_none());
    rig.recall(blocking.file());
    rig.answer(&blocking, Answer::Continue);
    patient.result().is_right(100);
}

#[test]
fn pending_frees_only_non_blocking_readers() {
    on_each_kind(60, |rig| {
        pending_frees_the_hasty(&rig, ["patient", "hasty"])
    });
}

#[test]
fn a_stub_that_is_unlinked_while_somebody_waits_is_still_recalled() {
    on_each_kind(60, |rig| {
        let (mut user, mut other) = (User::new(), User::new());
        rig.stub("f", SIZE);
        rig.stub("victim", SIZE);
        rig.file("new", 10);
        let [f, victim, new] = ["f", "victim", "new"].map(|name| rig.join(name));
        for (path, line) in [
            (&f, format!("unlink {}", f.display())),
            (
                &victim,
                format!("rename {} {} 0", new.display(), victim.display()),
            ),
        ] {
            let fd = user.open(path, "RDONLY");
            user.tell(&format!("pread {fd} 0 100"));
            let event = rig.sink.next();
            other.get(&line).ok();
            rig.recall(event.file());
            rig.answer(&event, Answer::Continue);
            user.result().is_right(100);
        }
    });
}

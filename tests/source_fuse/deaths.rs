//! Files that are open, and reads that wait, when the worker dies.

use dmapi::model::{Answer, DmError, EventType};
use dmapi::source::EventSource;
use dmapi::source::arena::Role;
use dmapi::source::fuse::wire::Notice;
use dmapi::sys::{fuse, process};
use nix::libc;

use super::rig::{ALL, eventually, on_each_kind, on_xfs, region};
use super::user::{User, open_line};

const SIZE: usize = 64 * 1024;

#[test]
fn open_files_go_on_in_their_way() {
    on_each_kind(120, |mut rig| {
        let mut user = User::new();
        let passed = rig.file("passed", SIZE);
        let cached = rig.file("cached", SIZE);
        rig.guard(cached, &[region(0, 0, 2)]);
        let past = user.open(&rig.join("passed"), "RDWR");
        let through = user.open(&rig.join("cached"), "RDWR");
        let removed = user.open(&rig.join("removed"), "RDWR|CREAT");
        user.get(&format!("pwrite {removed} 0 5000")).ok();
        user.get(&format!("unlink {}", rig.join("removed").display()))
            .ok();
        rig.next_worker();
        for fd in [past, through] {
            user.get(&format!("pread {fd} 100 5000")).is_right(5000);
        }
        user.get(&format!("pread {removed} 0 5000")).is_right(5000);
        // A further open has the same way, and with it the same backing file.
        let more = user.open(&rig.join("passed"), "RDONLY");
        user.get(&format!("pread {more} 0 4096")).is_right(4096);
        assert_eq!(rig.punch(passed), Err(DmError::Busy));
        user.tell(&format!("pwrite {through} 0 100"));
        let event = rig.sink.next();
        assert_eq!((event.kind, event.range()), (EventType::Write, (0, 100)));
        rig.answer(&event, Answer::Continue);
        user.result().ok();
        for fd in [past, more, through, removed] {
            user.get(&format!("close {fd}")).ok();
        }
        // Nothing is left of the opens, neither here nor in the kernel.
        for file in [passed, cached] {
            eventually("it is closed", || rig.punch(file).is_ok());
        }
        rig.is_quiet();
    });
}

#[test]
fn reads_and_truncations_that_wait_are_answered_by_the_next_worker() {
    on_each_kind(120, |mut rig| {
        let (mut reader, mut direct, mut mapper, mut cutter) =
            (User::new(), User::new(), User::new(), User::new());
        for name in ["read", "direct", "mapped", "cut"] {
            rig.stub(name, SIZE);
        }
        let fd = reader.open(&rig.join("read"), "RDONLY");
        reader.tell(&format!("pread {fd} 10 100"));
        let fd = direct.open(&rig.join("direct"), "RDONLY|DIRECT");
        direct.tell(&format!("pread {fd} 4096 8192"));
        let fd = mapper.open(&rig.join("mapped"), "RDONLY");
        let base = mapper.map(fd, SIZE, libc::PROT_READ);
        mapper.tell(&format!("load {} 10 5000", base + 5000));
        cutter.tell(&open_line(&rig.join("cut"), "RDWR|TRUNC"));
        let events: Vec<_> = (0..4).map(|_| rig.sink.next()).collect();
        rig.next_worker();
        for event in &events {
            match event.kind {
                EventType::Truncate => {}
                _ => rig.recall(event.file()),
            }
            rig.answer(event, Answer::Continue);
        }
        reader.result().is_right(100);
        direct.result().is_right(8192);
        mapper.result().is_right(10);
        assert!(cutter.result().ok() > 0);
        let size = std::fs::metadata(rig.private("cut")).expect("stat").len();
        assert_eq!(size, 0);
        rig.is_quiet();
    });
}

#[test]
fn a_reader_that_was_killed_meanwhile_is_withdrawn_by_the_next_worker() {
    on_xfs(120, |mut rig| {
        let mut user = User::new();
        rig.stub("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        let event = rig.sink.next();
        let serial = event.serial.expect("a serial");
        rig.next_worker();
        user.kill();
        eventually("it is withdrawn", || rig.sink.withdrawn().contains(&serial));
        let mut user = User::new();
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        rig.serve(EventType::Read, (0, 100));
        user.result().is_right(100);
        rig.is_quiet();
    });
}

#[test]
fn a_reader_that_takes_its_request_along_is_withdrawn() {
    on_xfs(120, |mut rig| {
        let mut user = User::new();
        rig.stub("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        let serial = rig.sink.next().serial.expect("a serial");
        rig.source.stop();
        // The kernel is about to send it again, and nobody reads: who is killed now goes, and his request with him.
        let channel = rig.arena.kept_fd(Role::FUSE).expect("a channel");
        let notice = Notice::resend();
        process::with_borrowed(channel, |channel| {
            fuse::notify(channel, notice.code, &[&notice.body])
        })
        .expect("the kernel sends again");
        user.kill();
        rig.next_worker();
        eventually("it is withdrawn", || rig.sink.withdrawn().contains(&serial));
        assert!(rig.source.blocked().is_empty());
        rig.is_quiet();
    });
}

#[test]
fn a_migration_that_was_cut_off_is_a_stub_or_whole() {
    on_xfs(120, |mut rig| {
        // The worker died between the mark and the last block: a stub of which a part is there.
        let file = rig.file("f", SIZE);
        rig.guard(file, &[region(0, 0, ALL)]);
        let backing = std::fs::OpenOptions::new()
            .write(true)
            .open(rig.private("f"))
            .expect("the backing file");
        let mode = nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
            | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
        nix::fcntl::fallocate(&backing, mode, 8192, 8192).expect("punched");
        drop(backing);
        rig.next_worker();
        let mut user = User::new();
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.tell(&format!("pread {fd} 0 65536"));
        rig.serve(EventType::Read, (0, 65_536));
        user.result().is_right(65_536);
        rig.is_quiet();
    });
}

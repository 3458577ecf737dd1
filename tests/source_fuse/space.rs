//! NOSPACE: who finds the file system full waits until the application has made room, or said no.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use dmapi::model::{Answer, EventType, Handle};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;

use super::common::LoopFs;
use super::names::{asked, line};
use super::rig::{Rig, Seen, alone, names, on_kinds};
use super::user::{User, patterns};

use EventType::{NoSpace, PostCreate};

const BLOCK: usize = 4096;
const PIECE: usize = 64 * 1024;

/// Takes all blocks that are left, past the mount.
fn fill(rig: &Rig) {
    let path = rig.private("filler");
    let file = File::create(&path).expect("a file");
    let room = nix::sys::statvfs::fstatvfs(&file).expect("statvfs");
    let left = room.blocks_available() * room.fragment_size();
    let most = left.saturating_sub(8 * PIECE as u64);
    if most > 0 {
        let done = fallocate(file.as_fd(), FallocateFlags::empty(), 0, most as i64);
        assert!(matches!(done, Ok(()) | Err(Errno::ENOSPC)), "{done:?}");
    }
    // What is only reserved is given back when a file is written to the disk and closed.
    while append(&path) > 0 {}
}

/// Appends blocks until none is left, and says how many bytes.
fn append(path: &std::path::Path) -> usize {
    let mut file = File::options().append(true).open(path).expect("the file");
    let mut bytes = 0;
    let error = loop {
        match file.write(&[b'x'; BLOCK]) {
            Ok(more) => bytes += more,
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    nix::unistd::fsync(file.as_fd()).expect("fsync");
    bytes
}

/// The NOSPACE of that user, for that file.
#[track_caller]
fn no_space(rig: &Rig, user: &User, file: Handle) -> Seen {
    let event = rig.sink.next();
    assert_eq!((event.kind, event.pid), (NoSpace, user.pid()));
    let fs = Some(Handle::Fs(rig.mount.fs));
    assert_eq!(event.body, names(0, fs, Some(file), "", "", 0));
    assert!(event.serial.is_some());
    event
}

#[test]
fn a_write_without_room_is_held_and_done_again() {
    on_kinds(&["xfs", "ext4", "tmpfs"], 60, |rig| {
        let file = rig.file("f", 2 * BLOCK);
        rig.file("spare", 32 * PIECE);
        rig.list(&[NoSpace]);
        fill(&rig);
        let mut user = User::new();
        let plain = user.open(&rig.join("f"), "RDWR");
        let append = user.open(&rig.join("f"), "WRONLY|APPEND");

        // Refused: with the errno of the answer, and nothing is written.
        for (text, errno) in [
            (format!("pwrite {plain} 8192 {PIECE}"), libc::ENOSPC),
            (format!("write {append} {PIECE} 8192"), libc::EDQUOT),
            (format!("fallocate {plain} 0 8192 {PIECE}"), libc::EIO),
        ] {
            user.tell(&text);
            let event = no_space(&rig, &user, file);
            assert!(user.done().is_none(), "{text}");
            rig.answer(&event, Answer::Abort(errno));
            user.result().failed(errno);
            let size = std::fs::metadata(rig.join("f")).expect("stat").len();
            assert_eq!(size, 2 * BLOCK as u64, "{text}");
            rig.is_quiet();
        }
        // What needs no room asks nobody.
        assert_eq!(user.get(&format!("pwrite {plain} 0 100")).ok(), 100);
        rig.is_quiet();

        // Done again after each CONTINUE: in vain, and when there is room.
        user.tell(&format!("write {append} {PIECE} 8192"));
        let event = no_space(&rig, &user, file);
        rig.answer(&event, Answer::Continue);
        let event = no_space(&rig, &user, file);
        assert!(user.done().is_none());
        std::fs::remove_file(rig.private("spare")).expect("unlink");
        rig.answer(&event, Answer::Continue);
        // Some file systems give the room back a moment later.
        while user.done_soon().is_none() {
            let limit = std::time::Duration::from_millis(20);
            if let Some(event) = rig.sink.next_within(limit) {
                assert_eq!(event.kind, NoSpace);
                rig.answer(&event, Answer::Continue);
            }
        }
        assert_eq!(user.wait().ok(), PIECE as i64);
        let bytes = std::fs::read(rig.private("f")).expect("the file behind");
        assert!(bytes == patterns(0, 2 * BLOCK + PIECE));
        rig.is_quiet();

        // Whoever does not want to know is told nothing.
        fill(&rig);
        rig.list(&[]);
        user.get(&format!("pwrite {plain} 1048576 {PIECE}"))
            .failed(libc::ENOSPC);
        rig.is_quiet();
    });
}

#[test]
fn without_room_the_application_is_asked_first() {
    let Some(_alone) = alone(90) else {
        return;
    };
    let fs = LoopFs::with("ext4", &["-N", "64"]);
    let rig = Rig::with(fs, false);
    let mut user = User::new();
    let mut filler = 0;
    while std::fs::File::create(rig.private(&format!("filler{filler}"))).is_ok() {
        filler += 1;
    }
    rig.list(&[EventType::NoSpace, PostCreate]);
    let event = asked(&rig, &mut user, "mkdir {}/d 755");
    assert_eq!(event.kind, EventType::NoSpace);
    let fs = dmapi::model::Handle::Fs(rig.mount.fs);
    assert_eq!(event.names().handle1, Some(fs));
    // In vain: it is asked again.
    rig.answer(&event, Answer::Continue);
    let event = rig.sink.next();
    assert_eq!(event.kind, EventType::NoSpace);
    std::fs::remove_file(rig.private("filler0")).expect("unlink");
    rig.answer(&event, Answer::Continue);
    user.wait().ok();
    assert_eq!(rig.pass(PostCreate).names().retcode, 0);
    let event = asked(&rig, &mut user, "mknod {}/f 100600 0");
    rig.answer(&event, Answer::Abort(libc::EDQUOT));
    user.wait().failed(libc::EDQUOT);
    assert_eq!(rig.pass(PostCreate).names().retcode, libc::EDQUOT);
    rig.list(&[]);
    user.get(&line(&rig, "mknod {}/f 100600 0"))
        .failed(libc::ENOSPC);
    rig.is_quiet();
}

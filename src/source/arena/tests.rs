use std::io::Write;

use super::*;
use crate::model::handle::{FsId, Handle};
use crate::model::{Answer, EventType};

const EVENT: RawEvent = RawEvent {
    fd: 9,
    tid: 77,
    mask: 0x10_0000,
    range: Some((4096, 8192)),
};
const FILE: Handle = Handle::Object {
    fs: FsId(5),
    inode: 131,
    generation: 2,
};

fn raw(fd: i32, tid: i32, mask: u64, range: Option<(u64, u64)>) -> Vec<u8> {
    let len = if range.is_some() { 48u32 } else { 24 };
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend([3, 0, 24, 0]);
    bytes.extend(mask.to_ne_bytes());
    bytes.extend(fd.to_ne_bytes());
    bytes.extend(tid.to_ne_bytes());
    if let Some((offset, count)) = range {
        bytes.extend([6, 0, 24, 0, 0, 0, 0, 0]);
        bytes.extend(offset.to_ne_bytes());
        bytes.extend(count.to_ne_bytes());
    }
    bytes
}

fn arena() -> Arena {
    Arena::create(16).expect("an arena")
}

#[test]
fn what_the_kernel_wrote_is_found_by_the_next_worker() {
    let arena = arena();
    let (reader, writer) = nix::unistd::pipe().expect("pipe");
    let mut bytes = raw(9, 77, 0x10_0000, Some((4096, 8192)));
    bytes.extend(raw(11, 78, 0x1_0000, None));
    std::fs::File::from(writer)
        .write_all(&bytes)
        .expect("write");
    arena
        .fill(reader.as_fd(), 1, INBOX_BYTES)
        .expect("events are read");

    let again = Arena::open(arena.fd().try_clone_to_owned().expect("dup")).expect("opens");
    let events = again.inbox(1);
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], EVENT);
    assert_eq!(events[1].range, None);
    assert_eq!(again.event_numbers(), vec![9, 11]);
    again.empty_inbox(1);
    assert!(arena.inbox(1).is_empty());
}

#[test]
fn a_slot_round_trips() {
    let arena = arena();
    let serial = arena.put(3, EVENT, 1000);
    arena.set_file(3, FILE);
    arena.set_caller(3, 70, 42);
    assert_eq!(arena.set_queued(3, EventType::Read, 8), serial);
    arena.set_intended(3, Some(Answer::Abort(28)));
    let slot = arena.slot_of(serial).expect("it is there");
    assert_eq!(slot.event, EVENT);
    assert_eq!(slot.file, Some(FILE));
    assert_eq!(slot.kind, Some(EventType::Read));
    assert_eq!((slot.punches, slot.call, slot.since_ms), (8, 42, 1000));
    assert_eq!((slot.pid, slot.stale), (70, false));
    arena.descriptors_lost(0);
    let slot = arena.slot_of(serial).expect("it is there");
    assert_eq!((slot.event, slot.stale), (EVENT, true));
    assert_eq!(slot.intended, Some(Answer::Abort(28)));
}

#[test]
fn serials_are_never_given_twice() {
    let arena = arena();
    let first = arena.put(0, EVENT, 0);
    arena.set_queued(0, EventType::Read, 0);
    let second = arena.set_queued(0, EventType::Read, 0);
    assert_ne!(first, second);
    assert!(arena.slot_of(first).is_none());
    arena.free(0);
    let third = arena.put(0, EVENT, 0);
    assert!(third != first && third != second);
    assert!(arena.slot_of(second).is_none());
}

#[test]
fn one_thread_wins_a_step() {
    let arena = arena();
    arena.put(0, EVENT, 0);
    assert!(arena.step(0, SlotState::Fresh, SlotState::Queued));
    assert!(arena.step(0, SlotState::Queued, SlotState::Answering));
    assert!(!arena.step(0, SlotState::Queued, SlotState::Answering));
}

#[test]
fn the_kept_list_names_what_stays_open() {
    let arena = arena();
    let kept = Kept {
        role: Role::GROUP,
        fd: 30,
        key: 1,
        more: 2,
    };
    arena.keep(kept).expect("room");
    arena.put(0, EVENT, 0);
    assert_eq!(arena.kept(), vec![kept]);
    assert_eq!(arena.kept_fd(Role::GROUP), Some(30));
    assert_eq!(arena.must_stay_open(), vec![9, 30]);
    arena.unkeep(30);
    assert!(arena.kept().is_empty());
}

#[test]
fn a_full_kept_list_is_an_error() {
    let arena = arena();
    let kept = Kept {
        role: Role::OTHERS,
        fd: 3,
        key: 0,
        more: 0,
    };
    for _ in 0..KEPT_MAX {
        arena.keep(kept).expect("room");
    }
    assert!(arena.keep(kept).is_err());
}

#[test]
fn other_memory_is_no_arena() {
    let fd = memfd(c"dmapi-test", 1 << 20).expect("memfd");
    assert!(Arena::open(fd).is_err());
}

#[test]
fn notes_that_were_passed_on_are_counted() {
    let arena = arena();
    let (reader, writer) = nix::unistd::pipe().expect("pipe");
    std::fs::File::from(writer)
        .write_all(&[7; 40])
        .expect("write");
    assert_eq!(arena.fill_notes(reader.as_fd()).expect("read"), 40);
    arena.note_done();
    let (bytes, done) = arena.notes();
    assert_eq!(
        (&bytes[..41], done),
        (&[[7; 40].as_slice(), &[0]].concat()[..], 1)
    );
    arena.empty_notes();
    assert_eq!(arena.notes().0, vec![0; NOTES_BYTES]);
}

#[test]
fn workers_know_their_predecessors() {
    let arena = arena();
    assert_eq!((arena.worker_started(), arena.worker_started()), (1, 2));
    arena.note_worker(500);
    arena.note_worker(501);
    assert!(arena.is_worker(500) && arena.is_worker(501));
    assert!(!arena.is_worker(0) && !arena.is_worker(502));
}

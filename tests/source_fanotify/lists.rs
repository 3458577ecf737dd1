//! The list of a file system: DEBUT, and events of data without regions.

use dmapi::model::{Answer, EventType, Handle};
use dmapi::source::EventSource;
use dmapi::source::arena::SlotState;
use nix::libc;

use super::rig::{Rig, Seen, eventually, on_each_kind, region};
use super::user::{User, open_line};

const SIZE: usize = 64 * 1024;

/// The next event, which must be this object's DEBUT.
#[track_caller]
fn debut_of(rig: &Rig, object: Handle) -> Seen {
    let event = rig.sink.next();
    assert_eq!(event.kind, EventType::Debut);
    assert_eq!(event.names().handle1, Some(object));
    assert!(event.pid != 0);
    event
}

/// So many accesses wait without an event of their own.
#[track_caller]
fn held(rig: &Rig, count: usize) {
    eventually("they are held", || {
        let held = |slot: &dmapi::source::arena::Slot| slot.state == SlotState::Held;
        rig.arena.occupied().filter(held).count() == count
    });
}

#[test]
fn the_first_access_to_a_file_is_its_debut() {
    on_each_kind(90, |rig| {
        let (mut user, mut other) = (User::new(), User::new());
        let file = rig.file("f", SIZE);
        rig.list(&[EventType::Debut]);
        let path = rig.join("f");
        user.tell(&open_line(&path, "RDONLY"));
        let first = debut_of(&rig, file);
        // Who comes meanwhile waits for the same answer.
        other.tell(&open_line(&path, "RDONLY"));
        held(&rig, 1);
        rig.sink.is_empty();
        rig.answer(&first, Answer::Continue);
        let fd = user.result().ok();
        other.result().ok();
        user.get(&format!("pread {fd} 0 100")).is_right(100);
        user.open(&path, "RDONLY");
        rig.is_quiet();
        // A change of its regions does not make it new.
        rig.guard(file, &[region(0, 0, 2)]);
        rig.guard(file, &[]);
        user.get(&format!("pread {fd} 0 100")).is_right(100);
        rig.is_quiet();

        // Refused, it is not in: the next access asks again.
        let file = rig.file("g", SIZE);
        let path = rig.join("g");
        user.tell(&open_line(&path, "RDONLY"));
        rig.answer(&debut_of(&rig, file), Answer::Abort(libc::EBUSY));
        user.result().failed(libc::EBUSY);
        user.tell(&open_line(&path, "RDONLY"));
        rig.answer(&debut_of(&rig, file), Answer::Continue);
        user.result().ok();

        // Not in the list: nobody is asked.
        rig.list(&[]);
        rig.file("h", SIZE);
        user.open(&rig.join("h"), "RDONLY");
        rig.is_quiet();
    });
}

#[test]
fn after_its_debut_a_file_makes_its_other_events() {
    on_each_kind(90, |rig| {
        let mut user = User::new();
        rig.list(&[EventType::Debut]);
        let file = rig.stub("f", SIZE);
        user.tell(&open_line(&rig.join("f"), "RDONLY"));
        rig.answer(&debut_of(&rig, file), Answer::Continue);
        let fd = user.result().ok();
        user.tell(&format!("pread {fd} 10 100"));
        rig.serve(EventType::Read, (10, 100));
        user.result().is_right(100);
        rig.is_quiet();
        // Both by one call.
        let file = rig.stub("g", SIZE);
        user.tell(&open_line(&rig.join("g"), "RDWR|TRUNC"));
        rig.answer(&debut_of(&rig, file), Answer::Continue);
        let event = rig.sink.next();
        assert_eq!((event.kind, event.range()), (EventType::Truncate, (0, 0)));
        rig.guard(file, &[]);
        rig.answer(&event, Answer::Continue);
        user.result().ok();
        rig.is_quiet();
    });
}

#[test]
fn a_debut_outlives_the_worker_and_its_process() {
    on_each_kind(90, |mut rig| {
        let (mut user, mut other, mut third) = (User::new(), User::new(), User::new());
        let file = rig.file("f", SIZE);
        rig.list(&[EventType::Debut]);
        let line = open_line(&rig.join("f"), "RDONLY");
        user.tell(&line);
        let first = debut_of(&rig, file);
        other.tell(&line);
        held(&rig, 1);
        rig.next_worker();
        third.tell(&line);
        held(&rig, 2);
        rig.sink.is_empty();
        // Whoever waits next asks for itself.
        user.kill();
        let second = debut_of(&rig, file);
        let serial = first.serial.expect("a serial");
        eventually("it is withdrawn", || rig.sink.withdrawn() == [serial]);
        held(&rig, 1);
        // An answer that the last worker recorded and did not give.
        let serial = second.serial.expect("a serial");
        rig.source.intend(serial, Answer::Continue);
        rig.sink.forget(serial);
        rig.next_worker();
        other.result().ok();
        third.result().ok();
        rig.is_quiet();
    });
}

const DATA: [EventType; 3] = [EventType::Read, EventType::Write, EventType::Truncate];

/// The next event is that one, and is allowed; nothing else comes.
#[track_caller]
fn allowed(rig: &Rig, kind: EventType, range: (u64, u64)) {
    let event = rig.sink.next();
    assert_eq!((event.kind, event.range()), (kind, range));
    rig.answer(&event, Answer::Continue);
}

#[test]
fn a_list_with_events_of_data_is_for_files_without_regions() {
    on_each_kind(120, |rig| {
        let mut user = User::new();
        rig.file("f", SIZE);
        let plain = rig.file("own", SIZE);
        rig.guard(plain, &[region(0, 0, 0)]);
        // Marked to be ignored, and open.
        let fd = user.open(&rig.join("f"), "RDWR");
        let own = user.open(&rig.join("own"), "RDWR");
        user.get(&format!("pread {fd} 0 100")).is_right(100);
        rig.is_quiet();

        rig.list(&DATA);
        for _ in 0..2 {
            user.tell(&format!("pread {fd} 4090 10"));
            allowed(&rig, EventType::Read, (4090, 10));
            user.result().is_right(10);
        }
        user.tell(&format!("pwrite {fd} 100 50"));
        allowed(&rig, EventType::Write, (100, 50));
        user.result().ok();
        user.tell(&format!("ftruncate {fd} 1000"));
        allowed(&rig, EventType::Truncate, (1000, 0));
        user.result().ok();
        user.tell(&format!("pread {fd} 0 10"));
        let event = rig.sink.next();
        rig.answer(&event, Answer::Abort(libc::EBUSY));
        user.result().failed(libc::EBUSY);
        // Regions of its own decide alone.
        user.get(&format!("pread {own} 0 10")).is_right(10);
        rig.guard(plain, &[]);
        user.tell(&format!("pread {own} 0 10"));
        allowed(&rig, EventType::Read, (0, 10));
        user.result().is_right(10);
        // A new file.
        let fresh = user.open(&rig.join("fresh"), "RDWR|CREAT");
        user.tell(&format!("pwrite {fresh} 0 10"));
        allowed(&rig, EventType::Write, (0, 10));
        user.result().ok();
        rig.is_quiet();

        rig.list(&[]);
        user.get(&format!("pread {own} 0 10")).is_right(10);
        user.get(&format!("pread {fd} 0 10")).is_right(10);
        rig.is_quiet();
    });
}

#[test]
fn a_list_with_events_of_data_outlives_the_worker() {
    on_each_kind(90, |mut rig| {
        let mut user = User::new();
        rig.file("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDONLY");
        user.get(&format!("pread {fd} 0 100")).is_right(100);
        // Recorded, and the worker dies before it is applied.
        rig.sink.set_list(&[EventType::Read]);
        rig.next_worker();
        user.tell(&format!("pread {fd} 0 100"));
        allowed(&rig, EventType::Read, (0, 100));
        user.result().is_right(100);
        rig.next_worker();
        user.tell(&format!("pread {fd} 0 100"));
        allowed(&rig, EventType::Read, (0, 100));
        user.result().is_right(100);
        // A stub needs no region of its own under such a list.
        rig.file("g", SIZE);
        let stub = rig.stub("s", SIZE);
        rig.guard(stub, &[]);
        let fd = user.open(&rig.join("s"), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
        rig.serve(EventType::Read, (0, 100));
        user.result().is_right(100);
        rig.is_quiet();
    });
}

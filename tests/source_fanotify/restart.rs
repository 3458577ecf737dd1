//! The death of a worker, played by a second source on the same arena.

use dmapi::model::{Answer, EventType};
use dmapi::source::EventSource;

use super::rig::{Rig, Seen, on_each_kind};
use super::user::User;

const SIZE: usize = 64 * 1024;

/// Readers of files of their own, and what they wait for, in the same order.
fn waiting(rig: &Rig) -> (Vec<User>, Vec<Seen>) {
    let mut users: Vec<User> = (0..3).map(|_| User::new()).collect();
    for (index, user) in users.iter_mut().enumerate() {
        rig.stub(&format!("f{index}"), SIZE);
        let fd = user.open(&rig.join(format!("f{index}")), "RDONLY");
        user.tell(&format!("pread {fd} 0 100"));
    }
    let mut events: Vec<_> = (0..3).map(|_| rig.sink.next()).collect();
    events.sort_by_key(|event| event.pid);
    users.sort_by_key(User::pid);
    (users, events)
}

#[test]
fn waiting_readers_outlive_the_worker() {
    on_each_kind(90, |mut rig| {
        let (users, events) = waiting(&rig);
        // The first: recalled, its answer recorded and not given. The second: known to the engine. The
        // third: the engine never recorded it.
        let [answered, known, unknown] = &events[..] else {
            panic!("three events");
        };
        let serial = |event: &Seen| event.serial.expect("a serial");
        rig.recall(answered.file());
        rig.source.intend(serial(answered), Answer::Continue);
        rig.sink.forget(serial(answered));
        rig.sink.forget(serial(unknown));
        rig.exchange_worker();
        assert!(users.iter().all(|user| user.done().is_none()));
        rig.start();
        users[0].result().is_right(100);
        let again = rig.sink.next();
        assert_eq!((again.pid, again.kind), (unknown.pid, EventType::Read));
        assert_ne!(again.serial, unknown.serial);
        for event in [known, &again] {
            rig.recall(event.file());
            rig.answer(event, Answer::Continue);
        }
        users[1].result().is_right(100);
        users[2].result().is_right(100);
        rig.is_quiet();
    });
}

#[test]
fn what_comes_between_two_workers_waits_for_the_next() {
    on_each_kind(90, |mut rig| {
        let mut user = User::new();
        rig.stub("f", SIZE);
        let free = rig.file("resident", SIZE);
        rig.source.stop();
        user.tell(&super::user::open_line(&rig.join("f"), "RDONLY"));
        rig.exchange_worker();
        // Nobody reads events: it waits, however long this takes.
        assert!(user.done().is_none());
        rig.start();
        let fd = user.result().ok();
        user.tell(&format!("pread {fd} 0 100"));
        rig.serve(EventType::Read, (0, 100));
        user.result().is_right(100);
        rig.source
            .set_regions(free, &[], false)
            .expect("the next worker has the mount");
        rig.is_quiet();
    });
}

#[test]
fn events_are_answered_by_their_numbers_when_the_descriptors_are_lost() {
    on_each_kind(90, |mut rig| {
        let (users, events) = waiting(&rig);
        rig.source.stop();
        // As after a start from systemd's store: other files, or none, have the numbers.
        for number in rig.arena.event_numbers() {
            dmapi::sys::process::occupy(number).expect("/dev/null");
        }
        rig.arena.descriptors_lost(0);
        rig.sink.forget(events[2].serial.expect("a serial"));
        rig.next_worker();
        // The engine knew two of them; the third is looked at anew.
        let again = rig.sink.next();
        assert_eq!((again.pid, again.kind), (events[2].pid, EventType::Read));
        assert_eq!(again.range(), (0, 100));
        // New events in between do not get an old number.
        let mut fresh = User::new();
        rig.stub("fresh", SIZE);
        let fd = fresh.open(&rig.join("fresh"), "RDONLY");
        fresh.tell(&format!("pread {fd} 0 100"));
        rig.serve(EventType::Read, (0, 100));
        fresh.result().is_right(100);
        assert!(users.iter().all(|user| user.done().is_none()));
        for (user, event) in users.iter().zip([&events[0], &events[1], &again]) {
            rig.recall(event.file());
            rig.answer(event, Answer::Continue);
            user.result().is_right(100);
        }
        rig.is_quiet();
    });
}

//! The death of a worker, played by a second source on the same arena.

use std::sync::Arc;

use dmapi::model::{Answer, EventType};
use dmapi::source::fanotify::{Config, Fanotify};
use dmapi::source::{EventSink, EventSource};

use super::rig::Rig;
use super::user::User;

const SIZE: usize = 64 * 1024;

/// The worker dies and the next one starts: nothing of the old one is closed.
fn next_worker(rig: &mut Rig) {
    rig.source.stop();
    std::mem::forget(Arc::clone(&rig.source));
    std::mem::forget(Arc::clone(&rig.mount));
    let next = Fanotify::new(Arc::clone(&rig.arena), Config::default()).expect("a source");
    assert_eq!(next.mounts().len(), 1);
    rig.mount = next.mounts().remove(0);
    rig.source = next;
}

fn start(rig: &Rig) {
    Arc::clone(&rig.source)
        .start(Arc::clone(&rig.sink) as Arc<dyn EventSink>)
        .expect("it starts");
}

#[test]
fn waiting_readers_outlive_the_worker() {
    super::rig::on_each_new_kind(90, |mut rig| {
        let mut users: Vec<User> = (0..3).map(|_| User::new()).collect();
        for (index, user) in users.iter_mut().enumerate() {
            rig.stub(&format!("f{index}"), SIZE);
            let fd = user.open(&rig.fs.join(format!("f{index}")), "RDONLY");
            user.tell(&format!("pread {fd} 0 100"));
        }
        let mut events: Vec<_> = (0..3).map(|_| rig.sink.next()).collect();
        events.sort_by_key(|event| event.pid);
        users.sort_by_key(User::pid);
        // The first: recalled, its answer recorded and not given. The second: known to the engine. The
        // third: the engine never recorded it.
        let [answered, known, unknown] = &events[..] else {
            panic!("three events");
        };
        let serial = |event: &super::rig::Seen| event.serial.expect("a serial");
        rig.recall(answered.file());
        rig.source.intend(serial(answered), Answer::Continue);
        rig.sink.forget(serial(answered));
        rig.sink.forget(serial(unknown));
        next_worker(&mut rig);
        assert!(users.iter().all(|user| user.done().is_none()));
        start(&rig);
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
    super::rig::on_each_new_kind(90, |mut rig| {
        let mut user = User::new();
        rig.stub("f", SIZE);
        let free = rig.file("resident", SIZE);
        rig.source.stop();
        user.tell(&super::user::open_line(&rig.fs.join("f"), "RDONLY"));
        next_worker(&mut rig);
        // Nobody reads events: it waits, however long this takes.
        assert!(user.done().is_none());
        start(&rig);
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
    super::rig::on_each_new_kind(90, |mut rig| {
        let mut users: Vec<User> = (0..3).map(|_| User::new()).collect();
        for (index, user) in users.iter_mut().enumerate() {
            rig.stub(&format!("f{index}"), SIZE);
            let fd = user.open(&rig.fs.join(format!("f{index}")), "RDONLY");
            user.tell(&format!("pread {fd} 0 100"));
        }
        let mut events: Vec<_> = (0..3).map(|_| rig.sink.next()).collect();
        events.sort_by_key(|event| event.pid);
        users.sort_by_key(User::pid);
        rig.source.stop();
        // As after a start from systemd's store: other files, or none, have the numbers.
        for number in rig.arena.event_numbers() {
            dmapi::sys::process::occupy(number).expect("/dev/null");
        }
        rig.arena.descriptors_lost(0);
        rig.sink.forget(events[2].serial.expect("a serial"));
        next_worker(&mut rig);
        start(&rig);
        // The engine knew two of them; the third is looked at anew.
        let again = rig.sink.next();
        assert_eq!((again.pid, again.kind), (events[2].pid, EventType::Read));
        assert_eq!(again.range(), (0, 100));
        // New events in between do not get an old number.
        let mut fresh = User::new();
        rig.stub("fresh", SIZE);
        let fd = fresh.open(&rig.fs.join("fresh"), "RDONLY");
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

//! Figures, not checks: `cargo test --release --test source_fanotify -- --ignored --nocapture measure`.

use dmapi::model::Answer;
use dmapi::source::EventSource;

use super::rig::{on_each_kind, region};
use super::user::User;

const COUNT: usize = 20_000;
const SIZE: usize = 64 * 1024;

#[test]
#[ignore = "prints figures"]
fn measure() {
    on_each_kind(300, |rig| {
        let mut user = User::new();
        let file = rig.file("f", SIZE);
        let fd = user.open(&rig.join("f"), "RDONLY");
        let time = |user: &mut User, count: usize| user.get(&format!("time {fd} {count}")).ok();
        time(&mut user, COUNT);
        let resident = time(&mut user, 20 * COUNT);
        rig.guard(file, &[region(SIZE as u64, 0, 1)]);
        let beside = time(&mut user, COUNT);
        // An application that only lets through: the whole way but journal and socket.
        rig.guard(file, &[region(0, 0, 1)]);
        user.tell(&format!("time {fd} {COUNT}"));
        for _ in 0..COUNT {
            let event = rig.sink.next();
            rig.answer(&event, Answer::Continue);
        }
        let answered = user.result().ok();
        rig.guard(file, &[]);
        user.get(&format!("close {fd}")).ok();

        let begin = std::time::Instant::now();
        let mut punched = 0;
        for round in 0..200 {
            let changed = rig.source.set_regions(file, &[region(0, 0, 7)], round == 0);
            changed.expect("regions");
            rig.punch(file).expect("a punch");
            punched += 1;
        }
        let punch_us = begin.elapsed().as_micros() / punched;
        eprintln!(
            "{}: pread 4 KiB of a resident file {resident} ns, of a guarded file beside its regions {beside} ns, \
             with an event that is let through {answered} ns; region and punch {punch_us} us",
            rig.fs.kind
        );
    });
}

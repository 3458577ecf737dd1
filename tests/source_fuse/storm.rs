//! Users against an endless loop of migrations and recalls, in both ways in which a file can be open: not one zero, no
//! error. `DMAPI_STORM_SECONDS` makes it longer; docs/testing.md has the command, and the one that leaves out steps.

use dmapi::model::FuseOptions;
use dmapi::source::fuse::skip::Skip;

use super::common::LoopFs;
use super::recaller::{Recaller, Rights, migrate_all_the_time};
use super::rig::{Rig, alone};
use super::user::User;

const SIZE: usize = 128 * 1024;

fn milliseconds() -> u64 {
    let seconds = std::env::var("DMAPI_STORM_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse::<u64>().ok());
    seconds.map_or(2500, |seconds| seconds * 1000)
}

/// What a storm came to.
#[derive(Debug, Default)]
struct Outcome {
    migrated: usize,
    recalled: usize,
    accesses: i64,
    zeros: usize,
    wrong: usize,
    errors: Vec<i32>,
}

/// How many mounts the users are spread over.
#[derive(Clone, Copy, Debug)]
enum Through {
    One,
    Two,
}

fn options(cached: bool, through: Through) -> FuseOptions {
    let chosen = match cached {
        true => FuseOptions::CACHED,
        false => FuseOptions::default(),
    };
    match through {
        Through::One => chosen,
        Through::Two => chosen.with(FuseOptions::SHARED),
    }
}

fn storm(cached: bool, through: Through, skip: Skip) -> Outcome {
    let mut rig = Rig::chosen(LoopFs::new("xfs"), options(cached, through));
    let points = match through {
        Through::One => vec![rig.point.clone()],
        Through::Two => vec![rig.point.clone(), rig.add("", options(cached, through)).0],
    };
    let names = ["s0", "s1", "s2"];
    let rights = Rights::on(names.map(|name| rig.file(name, SIZE)));
    let recaller = Recaller::new(&rig, &rights);
    let ms = milliseconds();
    rig.source.leave_out(skip);
    let mut users: Vec<User> = (0..6).map(|_| User::new()).collect();
    for (index, user) in users.iter_mut().enumerate() {
        // With two mounts each file is used through both.
        let path = points[index / names.len() % points.len()].join(names[index % names.len()]);
        // Cached files are open and mapped all the time, the others now and then: only then they can be migrated.
        match (cached, index) {
            (true, 0..=2) => {
                let fd = user.open(&path, "RDONLY");
                user.tell(&format!("faults {fd} {SIZE} {ms}"));
            }
            _ => user.tell(&format!("churn {} {SIZE} {ms} {index}", path.display())),
        }
    }
    let migrated = migrate_all_the_time(&rig, &rights, ms);
    let mut outcome = Outcome {
        migrated,
        ..Outcome::default()
    };
    for user in &users {
        let done = user.result();
        outcome.accesses += done.result.max(0);
        outcome.zeros += done.zeros;
        outcome.wrong += done.wrong;
        if done.result < 0 {
            outcome.errors.push(done.errno);
        }
    }
    outcome.recalled = recaller.count();
    drop(users);
    drop(recaller);
    eprintln!("cached: {cached}, mounts: {through:?}, left out: {skip:?}: {outcome:?}");
    outcome
}

/// Several storms; `None`: without root.
fn one_after_another<T>(count: u64, run: impl FnOnce() -> T) -> Option<T> {
    let _alone = alone(count * (90 + milliseconds() / 1000))?;
    Some(run())
}

#[track_caller]
fn is_calm(outcome: &Outcome) {
    // How much is done in a short time depends on the machine.
    assert!(
        outcome.migrated > 0 || milliseconds() < 10_000,
        "{outcome:?}"
    );
    assert_eq!((outcome.zeros, outcome.wrong), (0, 0), "{outcome:?}");
    assert!(outcome.errors.is_empty(), "{outcome:?}");
}

#[test]
fn users_of_files_that_come_and_go_see_no_zero() {
    one_after_another(1, || is_calm(&storm(false, Through::One, Skip::default())));
}

#[test]
fn users_of_open_and_mapped_files_see_no_zero() {
    one_after_another(1, || is_calm(&storm(true, Through::One, Skip::default())));
}

#[test]
fn users_of_two_mounts_see_no_zero() {
    one_after_another(2, || {
        is_calm(&storm(false, Through::Two, Skip::default()));
        is_calm(&storm(true, Through::Two, Skip::default()));
    });
}

/// Protections left out: what is lost is shown. Each has a test of a fixed outcome in `orders`; here it takes a machine
/// that is quiet enough for migrations between the accesses.
#[test]
#[ignore = "10 s for each step; see docs/testing.md"]
fn each_step_left_out_is_missed() {
    one_after_another(5, || {
        for skip in [Skip::LEASE, Skip::OPEN_COUNT.and(Skip::LEASE)] {
            let outcome = storm(false, Through::One, skip);
            let is_missed = outcome.zeros + outcome.wrong + outcome.errors.len() > 0;
            assert!(is_missed, "{skip:?} is not needed? {outcome:?}");
        }
        let skip = Skip::OTHER_MOUNTS.and(Skip::LEASE);
        let outcome = storm(false, Through::Two, skip);
        let is_missed = outcome.zeros + outcome.wrong + outcome.errors.len() > 0;
        assert!(is_missed, "{skip:?} is not needed? {outcome:?}");
        // A matter of microseconds, so it may show nothing.
        storm(true, Through::One, Skip::IO_LOCK);
        storm(
            true,
            Through::One,
            Skip::PAGES_BEFORE.and(Skip::PAGES_AFTER),
        );
    });
}

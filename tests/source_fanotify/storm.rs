//! Readers against an endless loop of migrations and recalls: not one zero.

use std::time::{Duration, Instant};

use dmapi::model::DmError;
use dmapi::source::EventSource;

use super::common;
use super::rig::{ALL, Deadline, Rig, eventually, lock, on_each_kind, region, serial};
use super::user::User;

const SIZE: usize = 128 * 1024;
const MILLISECONDS: u64 = 3000;

/// Migrates as often as it can until the time is over; returns how often it could.
fn migrate_all_the_time(rig: &Rig, files: &[dmapi::model::Handle]) -> usize {
    let end = Instant::now() + Duration::from_millis(MILLISECONDS);
    let mut migrated = 0;
    while Instant::now() < end {
        for file in files {
            let _right = lock(&rig.right);
            match rig.source.set_regions(*file, &[region(0, 0, ALL)], false) {
                Ok(_) => {}
                Err(DmError::Busy) => continue,
                Err(error) => panic!("regions: {error}"),
            }
            match rig.punch(*file) {
                Ok(()) => migrated += 1,
                Err(DmError::Busy) => {
                    // Whoever waits meanwhile recalls it; it is whole.
                }
                Err(error) => panic!("punch: {error}"),
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    migrated
}

#[test]
fn readers_never_see_a_zero_while_files_come_and_go() {
    on_each_kind(150, |rig| {
        let mut users: Vec<User> = (0..4).map(|_| User::new()).collect();
        let files: Vec<_> = (0..3)
            .map(|index| rig.file(&format!("s{index}"), SIZE))
            .collect();
        let recaller = rig.recaller();
        for (index, user) in users.iter_mut().enumerate() {
            let path = rig.fs.join(format!("s{}", index % files.len()));
            user.tell(&format!("reopen {} {SIZE} {MILLISECONDS}", path.display()));
        }
        let migrated = migrate_all_the_time(rig, &files);
        let mut reads = 0;
        for user in &users {
            let done = user.result();
            assert_eq!((done.errno, done.zeros, done.wrong), (0, 0, 0));
            reads += done.ok();
        }
        eprintln!(
            "{migrated} migrations, {} recalls, {reads} opens and reads",
            recaller.count()
        );
        assert!(reads > 0);
        if migrated == 0 {
            // A machine so slow that the files were always in use; now they are not.
            let _right = lock(&rig.right);
            rig.guard(files[0], &[region(0, 0, ALL)]);
            eventually("a migration", || rig.punch(files[0]).is_ok());
        }
        drop(recaller);
        rig.is_quiet();
    });
}

#[test]
fn an_open_file_is_never_punched_and_reads_right() {
    on_each_kind(90, |rig| {
        let mut users: Vec<User> = (0..3).map(|_| User::new()).collect();
        let file = rig.file("open", SIZE);
        let recaller = rig.recaller();
        for user in &mut users {
            let fd = user.open(&rig.fs.join("open"), "RDONLY");
            user.tell(&format!("storm {fd} {SIZE} {MILLISECONDS}"));
        }
        assert_eq!(migrate_all_the_time(rig, &[file]), 0);
        for user in &users {
            let done = user.result();
            assert_eq!((done.errno, done.zeros, done.wrong), (0, 0, 0));
            assert!(done.ok() > 0);
        }
        drop(recaller);
        rig.is_quiet();
    });
}

#[test]
fn more_readers_than_slots_wait_and_all_get_through() {
    if !common::is_root() {
        return;
    }
    let _one = serial();
    let _deadline = Deadline::new(120);
    for kind in common::KINDS {
        let mut users: Vec<User> = (0..8).map(|_| User::new()).collect();
        let rig = Rig::with_slots(kind, 4);
        let mut fds = Vec::new();
        for (index, user) in users.iter_mut().enumerate() {
            rig.stub(&format!("m{index}"), SIZE);
            fds.push(user.open(&rig.fs.join(format!("m{index}")), "RDONLY"));
        }
        for (user, fd) in users.iter_mut().zip(fds) {
            user.tell(&format!("pread {fd} 0 {SIZE}"));
        }
        // Two slots are always kept for the next read(2), so three operations at most are taken up.
        eventually("the slots are used", || rig.source.blocked().len() >= 3);
        assert!(rig.source.blocked().len() <= 4);
        let recaller = rig.recaller();
        for user in &users {
            user.result().is_right(SIZE as i64);
        }
        eventually("all are counted", || recaller.count() == 8);
        drop(recaller);
        rig.is_quiet();
    }
}

//! Readers against an endless loop of migrations and recalls: not one zero.

use dmapi::source::EventSource;

use super::common;
use super::recaller::{Recaller, Rights, migrate_all_the_time};
use super::rig::{ALL, Rig, alone, eventually, on_each_kind, region};
use super::user::User;

const SIZE: usize = 128 * 1024;
const MILLISECONDS: u64 = 3000;

#[test]
fn readers_never_see_a_zero_while_files_come_and_go() {
    on_each_kind(150, |rig| {
        let mut users: Vec<User> = (0..4).map(|_| User::new()).collect();
        let names = ["s0", "s1", "s2"];
        let rights = Rights::on(names.map(|name| rig.file(name, SIZE)));
        let recaller = Recaller::new(&rig, &rights);
        for (index, user) in users.iter_mut().enumerate() {
            let path = rig.join(names[index % names.len()]);
            user.tell(&format!("reopen {} {SIZE} {MILLISECONDS}", path.display()));
        }
        let migrated = migrate_all_the_time(&rig, &rights, MILLISECONDS);
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
            let file = rig.handle(names[0]);
            let _right = rights.of(file);
            rig.guard(file, &[region(0, 0, ALL)]);
            eventually("a migration", || rig.punch(file).is_ok());
        }
        drop(recaller);
        rig.is_quiet();
    });
}

#[test]
fn an_open_file_is_never_punched_and_reads_right() {
    on_each_kind(90, |rig| {
        let mut users: Vec<User> = (0..3).map(|_| User::new()).collect();
        let rights = Rights::on([rig.file("open", SIZE)]);
        let recaller = Recaller::new(&rig, &rights);
        for user in &mut users {
            let fd = user.open(&rig.join("open"), "RDONLY");
            user.tell(&format!("storm {fd} {SIZE} {MILLISECONDS}"));
        }
        assert_eq!(migrate_all_the_time(&rig, &rights, MILLISECONDS), 0);
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
    let Some(_alone) = alone(120) else {
        return;
    };
    for kind in common::KINDS {
        let mut users: Vec<User> = (0..8).map(|_| User::new()).collect();
        let rig = Rig::with_slots(kind, 4);
        let mut fds = Vec::new();
        for (index, user) in users.iter_mut().enumerate() {
            rig.stub(&format!("m{index}"), SIZE);
            fds.push(user.open(&rig.join(format!("m{index}")), "RDONLY"));
        }
        for (user, fd) in users.iter_mut().zip(fds) {
            user.tell(&format!("pread {fd} 0 {SIZE}"));
        }
        // Two slots are always kept for the next read(2), so three operations at most are taken up.
        eventually("the slots are used", || rig.source.blocked().len() >= 3);
        assert!(rig.source.blocked().len() <= 4);
        let recaller = Recaller::new(&rig, &Rights::default());
        for user in &users {
            user.result().is_right(SIZE as i64);
        }
        eventually("all are counted", || recaller.count() == 8);
        drop(recaller);
        rig.is_quiet();
    }
}

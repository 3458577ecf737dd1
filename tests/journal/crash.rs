//! Crashes at each step of a life with checkpoints.

use std::sync::Arc;

use dmapi::journal::{Journal, JournalError, Lsn, Sizes};

use crate::disk::{Disk, History};
use crate::{append, check_prefix, options, state};

const TINY: Sizes = Sizes {
    log_bytes: 8 << 10,
    checkpoint_bytes: 4 << 10,
};

/// What was promised, and when: after so many operations of the disk, records up to this are durable.
struct Promise {
    done: usize,
    lsn: u64,
}

/// A life over several checkpoints, with its promises.
fn life() -> (History, Vec<Promise>) {
    let disk = Disk::empty(TINY.file_bytes());
    let mut journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(TINY), None, Lsn(0)).expect("made");
    disk.settle();
    let mut promises = vec![Promise { done: 0, lsn: 0 }];
    for round in 0..4 {
        for step in 0..9 {
            append(&mut journal);
            if step % 3 == round % 3 {
                let lsn = journal.lsn();
                journal.syncer().sync_to(lsn).expect("synced");
                promises.push(Promise {
                    done: disk.ops(),
                    lsn: lsn.0,
                });
            }
        }
        let lsn = journal.lsn().0;
        journal.checkpoint(&state(lsn)).expect("made");
        promises.push(Promise {
            done: disk.ops(),
            lsn,
        });
    }
    append(&mut journal);
    (disk.history(), promises)
}

fn promised(promises: &[Promise], done: usize) -> u64 {
    let kept = promises.iter().filter(|promise| promise.done <= done);
    kept.map(|promise| promise.lsn)
        .max()
        .expect("the first is 0")
}

fn recover(image: Vec<u8>) -> Result<u64, JournalError> {
    let (mut journal, recovered) = Journal::open_on(Disk::of(image))?;
    let last = check_prefix(&recovered);
    append(&mut journal);
    Ok(last)
}

/// Power is lost after each write and each sync of appends and checkpoints, with any unsynced sector lost.
#[test]
fn power_loss_anywhere_keeps_a_prefix_with_all_that_was_promised() {
    let (history, promises) = life();
    for done in 0..=history.len() {
        let floor = promised(&promises, done);
        for image in history.power_loss(done).images(250, done as u64 + 1) {
            let last = recover(image).expect("it opens");
            assert!(
                last >= floor,
                "after {done} operations: {last}, promised {floor}"
            );
        }
    }
}

/// The writer dies in each write, after any part of it: every record whose write returned is there.
#[test]
fn process_death_anywhere_keeps_every_record() {
    let (history, _) = life();
    let mut written = 0;
    for done in 0..history.len() {
        let bytes = history.op_bytes(done);
        for part in (0..=bytes).step_by(61).chain([bytes]) {
            let last = recover(history.process_death(done, part)).expect("it opens");
            assert!(last >= written, "in operation {done}, after {part} bytes");
            written = last;
        }
    }
    assert_eq!(written, 37);
}

/// The test of the test: on a disk whose sync does nothing, the same check finds losses.
#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let (history, promises) = life();
    let history = history.without_syncs();
    let broken = (0..=history.len()).any(|done| {
        let floor = promised(&promises, done);
        let images = history.power_loss(done).images(50, done as u64 + 1);
        images
            .into_iter()
            .any(|image| recover(image).map_or(true, |last| last < floor))
    });
    assert!(broken);
}

//! A disk that refuses, and a log that is full.

use std::sync::Arc;

use dmapi::journal::{Journal, JournalError, Lsn, Priority};

use crate::disk::{Disk, Fault};
use crate::{SMALL, append, body, check_prefix, options, state};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn new_journal() -> (Arc<Disk>, Journal) {
    let disk = Disk::empty(SMALL.file_bytes());
    let journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(SMALL), None, Lsn(0)).expect("made");
    (disk, journal)
}

#[test]
fn a_failed_sync_is_final() {
    let (disk, mut journal) = new_journal();
    append(&mut journal);
    let syncer = journal.syncer();
    syncer.sync_to(Lsn(1)).expect("synced");
    append(&mut journal);
    disk.break_at(Fault::At { op: 0, errno: EIO });
    let error = syncer.sync_to(Lsn(2)).expect_err("the disk refuses");
    assert!(
        error.is_fatal() && error.to_string().contains("fdatasync"),
        "{error}"
    );
    assert!(disk.marked(), "for the next process");
    disk.mend();
    // The disk works again, and that proves nothing about the pages that failed.
    assert!(syncer.sync_to(Lsn(2)).is_err_and(|error| error.is_fatal()));
    assert!(
        journal
            .append(b"x", Priority::Normal)
            .is_err_and(|error| error.is_fatal())
    );
    assert!(
        journal
            .checkpoint(&state(2))
            .is_err_and(|error| error.is_fatal())
    );
    assert_eq!(syncer.durable(), Lsn(1));
}

#[test]
fn a_failed_append_is_final_and_publishes_nothing() {
    let (disk, mut journal) = new_journal();
    append(&mut journal);
    disk.break_at(Fault::At { op: 0, errno: EIO });
    assert!(
        journal
            .append(b"x", Priority::Normal)
            .is_err_and(|error| error.is_fatal())
    );
    disk.mend();
    assert!(
        journal
            .append(b"x", Priority::Normal)
            .is_err_and(|error| error.is_fatal())
    );
    assert_eq!(journal.lsn(), Lsn(1));
}

/// Each of the four steps of a checkpoint fails: the daemon must end, and the next one finds everything.
#[test]
fn a_checkpoint_that_fails_at_any_step_loses_nothing() {
    for op in 0..4 {
        let (disk, mut journal) = new_journal();
        for _ in 0..5 {
            append(&mut journal);
        }
        disk.break_at(Fault::At { op, errno: EIO });
        let error = journal.checkpoint(&state(5)).expect_err("the disk refuses");
        assert!(error.is_fatal(), "step {op}: {error}");
        assert!(disk.marked());
        let (_, recovered) = Journal::open_on(Disk::of(disk.live())).expect("it opens");
        assert_eq!(check_prefix(&recovered), 5, "step {op}");
    }
}

#[test]
fn no_room_at_any_step_of_creation_is_told_as_such() {
    let (disk, _) = new_journal();
    for op in 0..disk.ops() {
        let disk = Disk::empty(SMALL.file_bytes());
        disk.break_at(Fault::At { op, errno: ENOSPC });
        let error = Journal::create_on(disk, &options(SMALL), None, Lsn(0));
        let error = error.err().expect("there is no room");
        assert!(
            matches!(error, JournalError::NoSpace { .. }),
            "step {op}: {error}"
        );
        assert!(error.to_string().contains("no room"), "{error}");
    }
}

#[test]
fn the_reserve_is_left_for_records_that_drain() {
    let (_, mut journal) = new_journal();
    let body = vec![1; 100];
    let fill = |journal: &mut Journal, priority| {
        let mut count = 0;
        loop {
            match journal.append(&body, priority) {
                Ok(_) => count += 1,
                Err(JournalError::Full) => return count,
                Err(error) => panic!("{error}"),
            }
        }
    };
    assert!(fill(&mut journal, Priority::Normal) > 0);
    assert!(journal.needs_checkpoint());
    let drained = fill(&mut journal, Priority::Reserved);
    assert!(drained >= SMALL.reserve_bytes() / 144 - 1, "{drained}");
    journal.checkpoint(b"drained").expect("made");
    assert!(!journal.needs_checkpoint());
    assert!(fill(&mut journal, Priority::Normal) > 0);
}

#[test]
fn a_state_that_is_too_big_changes_nothing() {
    let (disk, mut journal) = new_journal();
    while !journal.needs_checkpoint() {
        append(&mut journal);
    }
    let before = disk.live();
    let error = journal.checkpoint(&vec![1; 5000]).expect_err("too big");
    assert!(matches!(
        error,
        JournalError::StateTooBig {
            bytes: 5000,
            bytes_max: 4096
        }
    ));
    assert_eq!(disk.live(), before);
    // Not asked for again at once: the engine would encode its state for each event.
    assert!(!journal.needs_checkpoint());
    let last = append(&mut journal).0;
    let (_, recovered) = Journal::open_on(Disk::of(disk.live())).expect("it opens");
    assert_eq!(check_prefix(&recovered), last);
    while !journal.needs_checkpoint() {
        append(&mut journal);
    }
}

/// Many callers at once: each finds its record durable, and none syncs after it has.
#[test]
fn a_group_shares_its_syncs() {
    let disk = Disk::empty((1 << 20) + SMALL.log_offset());
    let sizes = dmapi::journal::Sizes {
        log_bytes: 1 << 20,
        ..SMALL
    };
    let journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(sizes), None, Lsn(0)).expect("made");
    let journal = std::sync::Mutex::new(journal);
    disk.settle();
    let appends = 8 * 50;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let (lsn, syncer) = {
                        let mut journal = journal.lock().expect("no panic");
                        (append(&mut journal), journal.syncer())
                    };
                    syncer.sync_to(lsn).expect("synced");
                    assert!(syncer.durable() >= lsn);
                }
            });
        }
    });
    let syncs = disk.ops() - appends;
    assert!(
        (1..=appends).contains(&syncs),
        "{syncs} syncs for {appends} appends"
    );
    let image = disk.history().power_loss(disk.ops()).images(1, 1).remove(0);
    let (_, recovered) = Journal::open_on(Disk::of(image)).expect("it opens");
    assert_eq!(check_prefix(&recovered), appends as u64);
    assert_eq!(recovered.entries[0].1, body(1));
}

//! The end of the log is torn: recovery must end at the last whole record, and go on from there.

use std::sync::Arc;

use dmapi::journal::record::{HEADER_BYTES, record_bytes};
use dmapi::journal::{Journal, Lsn, Priority};

use crate::disk::Disk;
use crate::{SMALL, append, body, check_prefix, options, state};

/// Opens an image, checks what it holds, appends to it, and opens it again.
fn check_image(image: Vec<u8>, at_least: u64, at_most: u64) -> u64 {
    let disk = Disk::of(image);
    let (mut journal, recovered) = Journal::open_on(Arc::clone(&disk) as _).expect("it opens");
    let last = check_prefix(&recovered);
    assert!(
        (at_least..=at_most).contains(&last),
        "{last} is not in {at_least}..={at_most}: {}",
        recovered.tail
    );
    assert_eq!(append(&mut journal), Lsn(last + 1));
    drop(journal);
    let (_, again) = Journal::open_on(disk).expect("it opens again");
    assert_eq!(check_prefix(&again), last + 1, "{}", again.tail);
    last
}

/// A log of its second generation: its end is followed by bytes of the first.
fn second_generation() -> (Arc<Disk>, Journal) {
    let disk = Disk::empty(SMALL.file_bytes());
    let mut journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(SMALL), None, Lsn(0)).expect("made");
    while !journal.needs_checkpoint() {
        append(&mut journal);
    }
    journal.checkpoint(&state(journal.lsn().0)).expect("made");
    (disk, journal)
}

/// The writer dies, or the power goes, after each byte of the last records; what should follow is zeros,
/// ones, or what lay there before.
#[test]
fn every_cut_of_the_last_records_gives_the_records_before_it() {
    let (disk, mut journal) = second_generation();
    for _ in 0..5 {
        append(&mut journal);
    }
    let synced = journal.lsn();
    journal.syncer().sync_to(synced).expect("synced");
    let log = SMALL.log_offset();
    let mut ends = vec![(log + journal.log_used()) as usize];
    let old = disk.live();
    for _ in 0..4 {
        append(&mut journal);
        ends.push((log + journal.log_used()) as usize);
    }
    let new = disk.live();
    let end = *ends.last().expect("there are some");
    for cut in ends[0]..=end {
        for fill in [Some(0), Some(0xff), None] {
            let mut image = old.clone();
            image[ends[0]..cut].copy_from_slice(&new[ends[0]..cut]);
            if let Some(byte) = fill {
                image[cut..end].fill(byte);
            }
            // What was filled in may happen to be right, and the bytes after a body are in no checksum.
            let whole = (0..4).take_while(|index| {
                let bytes = HEADER_BYTES + body(synced.0 + 1 + *index as u64).len();
                let range = ends[*index]..ends[*index] + bytes;
                image[range.clone()] == new[range]
            });
            let last = synced.0 + whole.count() as u64;
            check_image(image, last, last);
        }
    }
}

/// Power is lost with several records unsynced: each of their sectors may be there in any version.
#[test]
fn every_subset_of_unsynced_sectors_gives_a_prefix_with_all_that_was_synced() {
    let (disk, mut journal) = second_generation();
    append(&mut journal);
    let synced = journal.lsn();
    journal.syncer().sync_to(synced).expect("synced");
    disk.settle();
    for _ in 0..9 {
        append(&mut journal);
    }
    let last = journal.lsn().0;
    let history = disk.history();
    for done in 0..=history.len() {
        let images = history.power_loss(done).images(3000, 1);
        let found: Vec<u64> = images
            .into_iter()
            .map(|image| check_image(image, synced.0, last))
            .collect();
        let best = found.iter().max().expect("at least one image");
        assert_eq!(
            *best,
            synced.0 + done as u64,
            "all sectors there: all records"
        );
    }
}

/// Power is lost, a record is torn and the one after it is whole. The same bytes are appended again: the
/// second one must not come back with them, as recovery said that it never was.
#[test]
fn a_record_that_recovery_dropped_never_returns() {
    let disk = Disk::empty(SMALL.file_bytes());
    let mut journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(SMALL), None, Lsn(0)).expect("made");
    append(&mut journal);
    // So that the record that is appended again has the very same bytes.
    journal.syncer().sync_to(Lsn(1)).expect("synced");
    let torn_at = (SMALL.log_offset() + journal.log_used()) as usize;
    append(&mut journal);
    append(&mut journal);
    drop(journal);
    let mut image = disk.live();
    image[torn_at] ^= 1;
    let disk = Disk::of(image);
    let (mut journal, recovered) = Journal::open_on(Arc::clone(&disk) as _).expect("it opens");
    assert_eq!(check_prefix(&recovered), 1);
    assert!(
        recovered.tail.contains("1 later record"),
        "{}",
        recovered.tail
    );
    append(&mut journal);
    drop(journal);
    let (_, recovered) = Journal::open_on(disk).expect("it opens");
    assert_eq!(check_prefix(&recovered), 2, "{}", recovered.tail);
}

/// A record that is whole, has the right number and lies in the right place counts only after the very
/// record that it was appended to.
#[test]
fn a_record_after_another_history_does_not_count() {
    let disk = Disk::empty(SMALL.file_bytes());
    let journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(SMALL), None, Lsn(0)).expect("made");
    drop(journal);
    let begun = disk.live();
    let history = |first: &[u8]| {
        let disk = Disk::of(begun.clone());
        let (mut journal, _) = Journal::open_on(Arc::clone(&disk) as _).expect("it opens");
        for body in [first, b"the second one"] {
            journal
                .append(body, Priority::Normal)
                .expect("there is room");
        }
        disk.live()
    };
    let (ours, other) = (history(b"ours"), history(b"else"));
    let second = (SMALL.log_offset() + record_bytes(4)) as usize;
    let mut image = ours.clone();
    image[second..].copy_from_slice(&other[second..]);
    let (_, recovered) = Journal::open_on(Disk::of(image)).expect("it opens");
    assert_eq!(recovered.entries, [(Lsn(1), b"ours".to_vec())]);
    assert!(
        recovered.tail.contains("does not continue"),
        "{}",
        recovered.tail
    );
}

#[test]
fn bodies_of_every_length_come_back() {
    let sizes = dmapi::journal::Sizes {
        log_bytes: 1 << 20,
        checkpoint_bytes: 4096,
    };
    let disk = Disk::empty(sizes.file_bytes());
    let mut journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(sizes), None, Lsn(0)).expect("made");
    let longest = dmapi::journal::record::BODY_BYTES_MAX;
    let bodies: Vec<Vec<u8>> = (0..40)
        .chain([longest - 1, longest])
        .map(|bytes| vec![0x5a; bytes])
        .collect();
    for body in &bodies {
        journal
            .append(body, Priority::Normal)
            .expect("there is room");
    }
    let error = journal.append(&vec![0; longest + 1], Priority::Normal);
    assert!(error.is_err_and(|error| error.to_string().contains("longer")));
    drop(journal);
    let (_, recovered) = Journal::open_on(disk).expect("it opens");
    let found: Vec<Vec<u8>> = recovered
        .entries
        .into_iter()
        .map(|(_, body)| body)
        .collect();
    assert_eq!(found, bodies);
}

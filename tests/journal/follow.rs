//! Readers beside a writer.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use dmapi::journal::{CaughtUp, Control, Follower, Journal, JournalError, Lsn, Sizes};

use crate::{SMALL, append, body, options, state};

/// What a reader knows: the number of the last record. Asserts that it gets whole records in order.
fn advance(known: u64, found: &CaughtUp) -> u64 {
    let mut last = known;
    if let Some(checkpoint) = &found.restarted {
        last = checkpoint.as_ref().map_or(0, |bytes| {
            let (lsn, _) = bytes.split_first_chunk::<8>().expect("a whole state");
            let lsn = u64::from_le_bytes(*lsn);
            assert_eq!(bytes, &state(lsn));
            lsn
        });
        let reached = last + found.entries.len() as u64;
        assert!(reached >= known, "went back from {known} to {reached}");
    }
    for (lsn, bytes) in &found.entries {
        assert_eq!(lsn.0, last + 1);
        assert_eq!(bytes, &body(lsn.0));
        last = lsn.0;
    }
    assert_eq!(found.lsn, Lsn(last));
    last
}

fn published(dir: &Path, sizes: Sizes) -> (Journal, std::path::PathBuf) {
    let page = dir.join("control");
    let mut journal = Journal::create(&dir.join("1.dmj"), &options(sizes)).expect("made");
    journal
        .publish_on(Control::create(&page).expect("made"))
        .expect("published");
    (journal, page)
}

#[test]
fn a_reader_sees_what_was_published_since_its_last_look() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, page) = published(dir.path(), SMALL);
    let mut follower = Follower::open(&page).expect("opened");
    let found = follower.catch_up().expect("read");
    assert_eq!(found.restarted, Some(None), "the empty state");
    append(&mut journal);
    append(&mut journal);
    let found = follower.catch_up().expect("read");
    assert_eq!(found.restarted, None);
    assert_eq!(advance(0, &found), 2);
    assert_eq!(advance(2, &follower.catch_up().expect("read")), 2);
    // Seen to its end: the restart of the log costs this reader nothing, and a new one the checkpoint.
    journal.checkpoint(&state(2)).expect("made");
    append(&mut journal);
    let found = follower.catch_up().expect("read");
    assert_eq!(found.restarted, None);
    assert_eq!(advance(2, &found), 3);
    let mut late = Follower::open(&page).expect("opened");
    let found = late.catch_up().expect("read");
    assert_eq!(found.restarted, Some(Some(state(2))));
    assert_eq!(advance(0, &found), 3);
}

#[test]
fn a_reader_that_is_behind_a_restart_begins_with_the_checkpoint() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, page) = published(dir.path(), SMALL);
    let mut follower = Follower::open(&page).expect("opened");
    append(&mut journal);
    let known = advance(0, &follower.catch_up().expect("read"));
    append(&mut journal);
    journal.checkpoint(&state(2)).expect("made");
    append(&mut journal);
    let found = follower.catch_up().expect("read");
    assert_eq!(found.restarted, Some(Some(state(2))));
    assert_eq!(advance(known, &found), 3);
}

/// The log restarts hundreds of times under readers that look all the time.
#[test]
fn under_load_every_look_is_whole_and_none_goes_back() {
    const LAST: u64 = 6000;
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, page) = published(dir.path(), SMALL);
    let done = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut follower = Follower::open(&page).expect("opened");
                    let mut known = 0;
                    loop {
                        let finished = done.load(Ordering::Acquire);
                        let floor = written.load(Ordering::Acquire);
                        match follower.catch_up() {
                            Ok(found) => {
                                known = advance(known, &found);
                                assert!(known >= floor, "published before the look");
                            }
                            // So small a log can overtake a reader that the machine does not run.
                            Err(JournalError::Unsettled { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        if finished && known == LAST {
                            return;
                        }
                    }
                })
            })
            .collect();
        while journal.lsn() < Lsn(LAST) {
            if journal.needs_checkpoint() {
                let state = state(journal.lsn().0);
                journal.checkpoint(&state).expect("made");
            }
            let lsn = append(&mut journal);
            written.store(lsn.0, Ordering::Release);
            if readers.iter().any(|reader| reader.is_finished()) {
                break;
            }
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn a_reader_goes_over_to_the_next_worker_and_the_next_journal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, page) = published(dir.path(), SMALL);
    let mut follower = Follower::open(&page).expect("opened");
    append(&mut journal);
    let known = advance(0, &follower.catch_up().expect("read"));
    let worker = follower.worker_generation();
    drop(journal);
    let (mut journal, _) = Journal::open(&dir.path().join("1.dmj")).expect("opened");
    journal
        .publish_on(Control::create(&page).expect("opened"))
        .expect("published");
    append(&mut journal);
    let found = follower.catch_up().expect("read");
    assert_eq!(found.restarted, None, "the same log");
    let known = advance(known, &found);
    assert_eq!(follower.worker_generation(), worker + 1);
    drop(journal);
    let next = dir.path().join("2.dmj");
    let adopted = state(2);
    let mut journal =
        Journal::create_with(&next, &options(SMALL), Some(&adopted), Lsn(2)).expect("made");
    journal
        .publish_on(Control::create(&page).expect("opened"))
        .expect("published");
    std::fs::remove_file(dir.path().join("1.dmj")).expect("removed");
    append(&mut journal);
    let found = follower.catch_up().expect("read");
    assert_eq!(found.restarted, Some(Some(adopted)));
    assert_eq!(advance(known, &found), 3);
}

#[test]
fn a_shortened_journal_is_an_error_and_no_signal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, page) = published(dir.path(), SMALL);
    let mut follower = Follower::open(&page).expect("opened");
    append(&mut journal);
    follower.catch_up().expect("read");
    let file = std::fs::File::options()
        .write(true)
        .open(dir.path().join("1.dmj"))
        .expect("opened");
    file.set_len(4096).expect("shortened");
    let error = follower.catch_up().expect_err("it is too short");
    assert!(error.to_string().contains("shortened"), "{error}");
    let error = Follower::open(&page)
        .expect("opened")
        .catch_up()
        .expect_err("it is too short");
    assert!(error.to_string().contains("shortened"), "{error}");
}

#[test]
fn a_page_that_is_not_there_or_none_is_told_as_such() {
    let dir = tempfile::tempdir().expect("a directory");
    let page = dir.path().join("control");
    assert!(matches!(
        Follower::open(&page),
        Err(JournalError::Missing { .. })
    ));
    std::fs::write(&page, b"short").expect("written");
    assert!(matches!(
        Follower::open(&page),
        Err(JournalError::Unsettled { .. })
    ));
    std::fs::write(&page, [7; 4096]).expect("written");
    assert!(matches!(
        Control::create(&page),
        Err(JournalError::Foreign { .. })
    ));
    let begun = Instant::now();
    let error = Follower::open(&page).expect("opened").catch_up();
    assert!(error.is_err());
    assert!(begun.elapsed() < Duration::from_secs(60), "it gives up");
}

#[test]
fn a_page_that_points_out_of_the_journal_is_an_error_and_no_panic() {
    /// Words of the page, as docs/journal-format.md has them.
    const FILE_BYTES_AT: u64 = 6 * 8;
    const TAIL_AT: u64 = 8 * 8;
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, page) = published(dir.path(), SMALL);
    append(&mut journal);
    drop(journal);
    let good = std::fs::read(&page).expect("the page");
    let file_bytes = SMALL.file_bytes();
    let after_the_end = (file_bytes / 8 + 1) as u32;
    for (at, bytes) in [
        (TAIL_AT, after_the_end.to_le_bytes().to_vec()),
        (TAIL_AT, u32::MAX.to_le_bytes().to_vec()),
        (FILE_BYTES_AT, 0u64.to_le_bytes().to_vec()),
        (FILE_BYTES_AT, 4096u64.to_le_bytes().to_vec()),
        (FILE_BYTES_AT, (file_bytes - 4).to_le_bytes().to_vec()),
        (FILE_BYTES_AT, u64::MAX.to_le_bytes().to_vec()),
    ] {
        let mut bad = good.clone();
        bad[at as usize..][..bytes.len()].copy_from_slice(&bytes);
        std::fs::write(&page, &bad).expect("written");
        let mut follower = Follower::open(&page).expect("opened");
        assert!(follower.catch_up().is_err(), "{at}: {bytes:?}");
    }
    std::fs::write(&page, &good).expect("written");
    let mut follower = Follower::open(&page).expect("opened");
    assert_eq!(advance(0, &follower.catch_up().expect("read")), 1);
}

//! One start of a daemon after the other: which file counts, and what it holds.

use std::fs;
use std::path::{Path, PathBuf};

use dmapi::journal::{
    FileStorage, Journal, JournalError, Lsn, Opened, Options, Priority, Sizes, Start, State,
    Storage,
};
use dmapi::model::{Entry, Model, Record, SessionId};

use crate::SMALL;

fn session(number: u32) -> Entry {
    Entry {
        records: vec![Record::SessionCreated {
            session: SessionId(number),
            info: format!("session {number}").into_bytes(),
        }],
        reply: None,
    }
}

fn open(dir: &Path, start: Start) -> Opened<Model> {
    Journal::open_in(dir, "n1", start, &SMALL).expect("opened")
}

/// Appends and applies, as the engine does.
fn add(opened: &mut Opened<Model>, number: u32) {
    let entry = session(number);
    opened
        .journal
        .append_entry(&entry, Priority::Normal)
        .expect("there is room");
    opened.state.apply_entry(&entry).expect("it follows");
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("nodes/n1"))
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

fn path(dir: &Path, incarnation: u64) -> PathBuf {
    dir.join(format!("nodes/n1/{incarnation}.dmj"))
}

#[test]
fn a_worker_goes_on_and_a_daemon_begins_anew_with_the_same_state() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = open(dir.path(), Start::Daemon);
    assert_eq!(first.journal.incarnation(), 1);
    add(&mut first, 1);
    add(&mut first, 2);
    let state = first.state.clone();
    drop(first);
    let mut second = open(dir.path(), Start::Worker);
    assert_eq!(second.state, state);
    assert_eq!(
        (second.journal.incarnation(), second.journal.lsn()),
        (1, Lsn(2))
    );
    add(&mut second, 3);
    let state = second.state.clone();
    drop(second);
    let third = open(dir.path(), Start::Daemon);
    assert_eq!(third.state, state);
    assert_eq!(
        (third.journal.incarnation(), third.journal.lsn()),
        (2, Lsn(3))
    );
    assert_eq!(third.journal.path(), path(dir.path(), 2));
    assert_eq!(files(dir.path()), ["2.dmj", "lock"]);
    drop(third);
    assert_eq!(
        open(dir.path(), Start::Daemon).state,
        state,
        "from a checkpoint alone"
    );
}

#[test]
fn two_daemons_of_one_node_exclude_each_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let held = open(dir.path(), Start::Daemon);
    for start in [Start::Daemon, Start::Worker] {
        let error = Journal::open_in::<Model>(dir.path(), "n1", start, &SMALL);
        assert!(matches!(error, Err(JournalError::Busy { .. })));
    }
    let other = Journal::open_in::<Model>(dir.path(), "n2", Start::Daemon, &SMALL);
    assert!(other.is_ok(), "another node is none of its business");
    drop(held);
    open(dir.path(), Start::Worker);
}

/// A worker ended as an fdatasync had failed: what reads back need not be on the disk, so the next one
/// writes all of it into a new file.
#[test]
fn a_journal_that_failed_is_not_written_any_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = open(dir.path(), Start::Daemon);
    add(&mut first, 1);
    let state = first.state.clone();
    let path = path(dir.path(), 1);
    let storage = FileStorage::open_to_read(&path).expect("opened");
    storage.mark_failed();
    drop(first);
    assert_eq!(files(dir.path()), ["1.dmj", "1.dmj.failed", "lock"]);
    let second = open(dir.path(), Start::Worker);
    assert_eq!(second.state, state);
    assert_eq!(second.journal.incarnation(), 2);
    assert_eq!(files(dir.path()), ["2.dmj", "lock"]);
}

/// The daemon dies before the rename: the file that it was making never counts.
#[test]
fn an_unfinished_journal_is_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = open(dir.path(), Start::Daemon);
    add(&mut first, 1);
    let state = first.state.clone();
    drop(first);
    fs::write(dir.path().join("nodes/n1/2.dmj.new"), [0; 100]).expect("written");
    let second = open(dir.path(), Start::Daemon);
    assert_eq!(second.state, state);
    assert_eq!(files(dir.path()), ["2.dmj", "lock"]);
}

/// The daemon dies between the rename and the removal: the higher file counts, and holds all of the lower.
#[test]
fn of_two_journals_the_higher_one_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = open(dir.path(), Start::Daemon);
    add(&mut first, 1);
    drop(first);
    let old = fs::read(path(dir.path(), 1)).expect("read");
    let mut second = open(dir.path(), Start::Daemon);
    add(&mut second, 2);
    let state = second.state.clone();
    drop(second);
    fs::write(path(dir.path(), 1), old).expect("written");
    let third = open(dir.path(), Start::Daemon);
    assert_eq!(third.state, state);
    assert_eq!(files(dir.path()), ["3.dmj", "lock"]);
}

#[test]
fn a_worker_without_a_journal_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = Journal::open_in::<Model>(dir.path(), "n1", Start::Worker, &SMALL);
    assert!(matches!(error, Err(JournalError::Missing { .. })));
}

#[test]
fn a_bad_name_of_a_node_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["", ".", "..", "../x", "a/b", "a b", &"n".repeat(65)] {
        let error = Journal::open_in::<Model>(dir.path(), name, Start::Daemon, &SMALL);
        assert!(error.is_err(), "{name:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 0);
}

/// A damaged journal stops the start of the daemon; it is neither changed nor replaced.
#[test]
fn a_damaged_journal_is_not_adopted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut first = open(dir.path(), Start::Daemon);
    for number in 1..4 {
        add(&mut first, number);
        let lsn = first.journal.lsn();
        first.journal.syncer().sync_to(lsn).expect("synced");
    }
    drop(first);
    let mut bytes = fs::read(path(dir.path(), 1)).expect("read");
    bytes[SMALL.log_offset() as usize + 50] ^= 1;
    fs::write(path(dir.path(), 1), &bytes).expect("written");
    let error = Journal::open_in::<Model>(dir.path(), "n1", Start::Daemon, &SMALL);
    let error = error.err().expect("it is damaged");
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(path(dir.path(), 1)).expect("read"), bytes);
    assert_eq!(files(dir.path()), ["1.dmj", "lock"]);
}

/// A state that outgrew its checkpoint areas makes the next journal bigger.
#[test]
fn a_state_that_outgrew_its_areas_is_adopted_into_bigger_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let sizes = Sizes {
        log_bytes: 64 << 10,
        checkpoint_bytes: 4 << 10,
    };
    let mut first =
        Journal::open_in::<Model>(dir.path(), "n1", Start::Daemon, &sizes).expect("opened");
    for number in 1..400 {
        add(&mut first, number);
    }
    let state = first.state.clone();
    let encoded = state.encode();
    assert!(matches!(
        first.journal.checkpoint(&encoded),
        Err(JournalError::StateTooBig { .. })
    ));
    drop(first);
    let mut second =
        Journal::open_in::<Model>(dir.path(), "n1", Start::Daemon, &sizes).expect("opened");
    assert_eq!(second.state, state);
    second.journal.checkpoint(&encoded).expect("it fits now");
}

#[test]
fn a_replica_has_the_state_of_the_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let page = dir.path().join("control");
    // A short log, so that it starts anew now and then, and room for all of the state.
    let sizes = Sizes {
        log_bytes: 16 << 10,
        checkpoint_bytes: 64 << 10,
    };
    let mut opened =
        Journal::open_in::<Model>(dir.path(), "n1", Start::Daemon, &sizes).expect("opened");
    opened
        .journal
        .publish_on(dmapi::journal::Control::create(&page).expect("made"))
        .expect("published");
    let mut replica = dmapi::journal::Replica::<Model>::open(&page).expect("opened");
    for number in 1..300 {
        if opened.journal.needs_checkpoint() {
            opened
                .journal
                .checkpoint(&opened.state.encode())
                .expect("made");
        }
        add(&mut opened, number);
        if number % 7 == 0 {
            let lsn = opened.journal.lsn();
            assert_eq!(replica.state_at(lsn).expect("read"), Some(&opened.state));
            assert_eq!(replica.state_at(lsn.next()).expect("read"), None);
        }
    }
}

#[test]
fn options_that_make_no_journal_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options {
        node: "n1".to_owned(),
        incarnation: 1,
        epoch: 1,
        sizes: Sizes {
            log_bytes: 1000,
            checkpoint_bytes: 4096,
        },
    };
    let path = dir.path().join("1.dmj");
    assert!(Journal::create(&path, &options).is_err());
    assert!(!path.exists());
}

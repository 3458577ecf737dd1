//! `dmctl journal`: what it says of good, torn and damaged files, and of one that is being written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dmapi::journal::{Journal, Opened, Priority, Start, State};
use dmapi::model::{Entry, Model, Record, SessionId};
use serde_json::Value;

use crate::SMALL;

fn dmctl(arguments: &[&str], file: &Path) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dmctl"))
        .arg("journal")
        .args(arguments)
        .arg(file)
        .output()
        .expect("started");
    let words = String::from_utf8(output.stdout.clone()).expect("text");
    (output, words)
}

fn open(dir: &Path, sizes: &dmapi::journal::Sizes) -> (Opened<Model>, PathBuf) {
    let opened = Journal::open_in::<Model>(dir, "n1", Start::Daemon, sizes).expect("opened");
    let path = opened.journal.path().to_owned();
    (opened, path)
}

fn add(opened: &mut Opened<Model>, number: u32) {
    let entry = Entry {
        records: vec![Record::SessionCreated {
            session: SessionId(number),
            info: b"a session\0".to_vec(),
        }],
        reply: None,
    };
    opened
        .journal
        .append_entry(&entry, Priority::Normal)
        .expect("there is room");
    opened.state.apply_entry(&entry).expect("it follows");
}

/// A journal with a checkpoint of 3 sessions and 4 more in the log, each confirmed.
fn journal(dir: &Path) -> PathBuf {
    let (mut opened, path) = open(dir, &SMALL);
    for number in 1..=7 {
        add(&mut opened, number);
        if number == 3 {
            opened
                .journal
                .checkpoint(&opened.state.encode())
                .expect("made");
        }
        let lsn = opened.journal.lsn();
        opened.journal.syncer().sync_to(lsn).expect("synced");
    }
    path
}

fn change(path: &Path, at: u64, bytes: usize) {
    let mut image = fs::read(path).expect("read");
    for byte in &mut image[at as usize..][..bytes] {
        *byte ^= 0x55;
    }
    fs::write(path, image).expect("written");
}

#[test]
fn a_good_journal_is_called_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = journal(dir.path());
    let before = fs::read(&path).expect("read");
    let (output, words) = dmctl(&["verify"], &path);
    assert_eq!(output.status.code(), Some(0), "{words}");
    for part in [
        "superblock A: generation 2",
        "superblock B: generation 3",
        "it counts",
        "4 records, LSN 4 to 7",
        "up to LSN 3",
        "replays to its end",
    ] {
        assert!(words.contains(part), "{part:?} is not in:\n{words}");
    }
    let (output, words) = dmctl(&["verify", "--json"], &path);
    assert_eq!(output.status.code(), Some(0));
    let object: Value = serde_json::from_str(&words).expect("JSON");
    assert_eq!(object["good"], true);
    assert_eq!(object["log"]["lsn"], 7);
    assert_eq!(
        fs::read(&path).expect("read"),
        before,
        "nothing was changed"
    );
}

#[test]
fn a_dump_shows_every_record() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = journal(dir.path());
    let (output, words) = dmctl(&["dump"], &path);
    assert_eq!(output.status.code(), Some(0));
    assert!(words.contains("LSN 4 "), "{words}");
    assert!(words.contains("SessionCreated"), "{words}");
    assert!(words.contains("session=7"), "{words}");
    assert!(words.contains("info=\"a session\""), "{words}");
    let (_, lines) = dmctl(&["dump", "--json"], &path);
    let objects: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(objects.len(), 4);
    assert_eq!(objects[3]["lsn"], 7);
    assert_eq!(objects[3]["records"][0]["SessionCreated"]["session"], 7);
}

#[test]
fn damage_is_named_with_its_place_and_the_rest_is_shown() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = journal(dir.path());
    let log = SMALL.log_offset();
    change(&path, log + 44, 1);
    let (output, words) = dmctl(&["verify"], &path);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(
        words.contains(&format!("record 4 at offset {log} was durable")),
        "{words}"
    );
    assert!(words.contains("NOT GOOD"), "{words}");
    let (output, words) = dmctl(&["dump"], &path);
    assert_eq!(output.status.code(), Some(1));
    assert!(words.contains("does not count: LSN 7"), "{words}");
    change(&path, 0, 512);
    change(&path, 4096, 512);
    let (output, words) = dmctl(&["verify", "--json"], &path);
    assert_eq!(output.status.code(), Some(1));
    let object: Value = serde_json::from_str(&words).expect("JSON");
    assert_eq!(object["good"], false);
}

#[test]
fn a_torn_end_is_good_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut opened, path) = open(dir.path(), &SMALL);
    add(&mut opened, 1);
    let end = SMALL.log_offset() + opened.journal.log_used();
    add(&mut opened, 2);
    drop(opened);
    change(&path, end + 41, 1);
    let (output, words) = dmctl(&["verify"], &path);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(words.contains("1 records, LSN 1 to 1"), "{words}");
    assert!(words.contains("is not whole"), "{words}");
}

#[test]
fn what_is_no_journal_is_told_as_such() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("x.dmj");
    let (output, _) = dmctl(&["verify"], &path);
    assert_eq!(output.status.code(), Some(2));
    for bytes in [&b""[..], &[b'x'; 20_000]] {
        fs::write(&path, bytes).expect("written");
        let (output, words) = dmctl(&["verify"], &path);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains("not a journal"), "{words}");
    }
}

/// The file grows under the command, and its log restarts: still nothing bad is found.
#[test]
fn a_journal_that_is_being_written_is_good() {
    const LOOKS: u64 = 5;
    let dir = tempfile::tempdir().expect("a directory");
    let (mut opened, path) = open(dir.path(), &dmapi::journal::Sizes::default());
    add(&mut opened, 1);
    let looked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            for _ in 0..LOOKS {
                let (output, words) = dmctl(&["verify"], &path);
                if output.status.code() != Some(0) {
                    return Err(words);
                }
                looked.fetch_add(1, Ordering::Release);
            }
            Ok(())
        });
        let mut checkpoints = 0;
        let mut number = 2;
        while !looks.is_finished() {
            if opened.journal.needs_checkpoint() {
                // A slow machine: what was written is enough.
                std::thread::yield_now();
                continue;
            }
            add(&mut opened, number);
            destroy(&mut opened, number);
            if number.is_multiple_of(4) {
                let lsn = opened.journal.lsn();
                opened.journal.syncer().sync_to(lsn).expect("synced");
            }
            if looked.load(Ordering::Acquire) > checkpoints {
                checkpoints += 1;
                opened
                    .journal
                    .checkpoint(&opened.state.encode())
                    .expect("made");
            }
            number += 1;
        }
        looks
            .join()
            .expect("no panic")
            .unwrap_or_else(|words| panic!("{words}"));
    });
}

fn destroy(opened: &mut Opened<Model>, number: u32) {
    let entry = Entry {
        records: vec![Record::SessionDestroyed {
            session: SessionId(number),
        }],
        reply: None,
    };
    opened
        .journal
        .append_entry(&entry, Priority::Reserved)
        .expect("there is room");
    opened.state.apply_entry(&entry).expect("it follows");
}

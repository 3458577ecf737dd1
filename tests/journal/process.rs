//! A real writer process, killed at random under load.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use dmapi::journal::{Control, Follower, Journal, Lsn};

use crate::{SMALL, append, check_prefix, options, state};

const WRITER_DIR: &str = "DMAPI_TEST_JOURNAL_WRITER";

/// Not a test by itself: the process that [`a_killed_writer_loses_nothing_that_it_told`] kills.
#[test]
fn writer_process() {
    let Ok(dir) = std::env::var(WRITER_DIR) else {
        return;
    };
    let (mut journal, _) = Journal::open(&Path::new(&dir).join("1.dmj")).expect("opened");
    journal
        .publish_on(Control::create(&Path::new(&dir).join("control")).expect("opened"))
        .expect("published");
    let mut told = std::io::stderr().lock();
    loop {
        if journal.needs_checkpoint() {
            let state = state(journal.lsn().0);
            journal.checkpoint(&state).expect("made");
        }
        let lsn = append(&mut journal);
        if lsn.0.is_multiple_of(5) {
            journal.syncer().sync_to(lsn).expect("synced");
        }
        writeln!(told, "{lsn}").expect("the parent listens until it kills");
    }
}

/// kill -9 while it appends, syncs and makes checkpoints: whatever it told is there, for the next writer
/// and for a reader that had the page mapped all the time.
#[test]
fn a_killed_writer_loses_nothing_that_it_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("1.dmj");
    let mut journal = Journal::create(&path, &options(SMALL)).expect("made");
    let page = dir.path().join("control");
    journal
        .publish_on(Control::create(&page).expect("made"))
        .expect("published");
    drop(journal);
    let mut follower = Follower::open(&page).expect("opened");
    let mut known = 0;
    for round in 0..12_usize {
        let mut writer = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "process::writer_process", "--nocapture"])
            .env(WRITER_DIR, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let told = BufReader::new(writer.stderr.take().expect("piped"));
        // Killed after so many lines, which is at any instant of the records that follow.
        let lines = 20 + round * 97 % 211;
        let mut lines = told.lines().map(|line| line.expect("read")).take(lines);
        let mut last: u64 = 0;
        for line in lines.by_ref() {
            last = line
                .parse()
                .unwrap_or_else(|_| panic!("the writer said: {line}"));
        }
        writer.kill().expect("killed");
        let status = writer.wait().expect("it was ours");
        assert_eq!(status.signal(), Some(9), "it wrote until it was killed");
        let (journal, recovered) = Journal::open(&path).expect("it opens");
        let found = check_prefix(&recovered);
        assert!(found >= last && last > known, "told {last}, found {found}");
        assert_eq!(journal.lsn(), Lsn(found));
        let mut journal = journal;
        journal
            .publish_on(Control::create(&page).expect("opened"))
            .expect("published");
        let seen = follower.catch_up().expect("read").lsn.0;
        assert_eq!(seen, found);
        known = found;
    }
}

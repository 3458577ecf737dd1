//! What is on disks does not change by accident: the bytes of journal entries, of checkpoints and of the state kept
//! with objects, against tests/golden/*.txt.
//!
//! A failure means that files and volumes which exist would be read wrongly. A wanted change is a new format
//! (docs/journal-format.md, section 7; the version byte of `trusted.dmapi.state`), and old bytes must still be read:
//! then the old lines stay, and new ones are added. `UPDATE_GOLDEN=1 cargo test --test golden` writes lines
//! that are not there yet; it never changes one.

mod samples;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use dmapi::fs::ObjectState;
use dmapi::fs::state;
use dmapi::journal::State;
use dmapi::journal::replay::{decode_entry, encode_entry};
use dmapi::model::{Entry, EventSet, EventType, Model, Record, Region};

use samples::{LIVED, entries, entry, records, reply, view};

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing into a string cannot fail.
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// The lines of a file: name and bytes.
fn golden(file: &str) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_to_string(path(file))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, hex)| (name.to_owned(), bytes(hex)))
        .collect()
}

/// Compares with the file; adds what is missing if asked to.
fn check(file: &str, found: &[(String, Vec<u8>)]) {
    let mut known = golden(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (name, bytes) in found {
            known.entry(name.clone()).or_insert_with(|| bytes.clone());
        }
        let lines: String = known
            .iter()
            .map(|(name, bytes)| format!("{name} {}\n", hex(bytes)))
            .collect();
        std::fs::write(path(file), lines).expect("tests/golden can be written");
    }
    for (name, bytes) in found {
        let wanted = known.get(name).map(|bytes| hex(bytes));
        assert_eq!(
            Some(hex(bytes)),
            wanted,
            "{name} is written in another form than tests/golden/{file} says: see the head of tests/golden/main.rs"
        );
    }
}

#[test]
fn entries_keep_their_form() {
    let found: Vec<(String, Vec<u8>)> = entries()
        .iter()
        .map(|(name, entry)| (name.clone(), encode_entry(entry)))
        .collect();
    check("entries.txt", &found);
    for (name, bytes) in golden("entries.txt") {
        let entry = decode_entry(&bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        if let Some((_, wanted)) = entries().into_iter().find(|(of, _)| *of == name) {
            assert_eq!(entry, wanted, "{name}");
        }
    }
}

/// `behind_fuse`: with what format 1 does not have.
fn model(behind_fuse: bool) -> Model {
    let mut model = Model::default();
    let lived = records().into_iter().take(LIVED);
    let known =
        lived.filter(|record| behind_fuse || !matches!(record, Record::FsThroughFuse { .. }));
    for (at, record) in known.enumerate() {
        let with_reply = Entry {
            records: vec![record],
            reply: reply().filter(|_| at == 3),
        };
        model.apply(&with_reply).expect("it follows");
    }
    model.check().expect("the invariants hold");
    model
}

#[test]
fn checkpoints_keep_their_form() {
    let mut shown = model(true);
    shown.apply(&entry(view())).expect("it follows");
    let models = [
        ("empty", Model::default()),
        ("lived", model(true)),
        ("lived-format-1", model(false)),
        ("empty-format-3", Model::default()),
        ("lived-format-3", shown),
    ];
    let mut found: Vec<(String, Vec<u8>)> = models
        .iter()
        .map(|(name, model)| ((*name).to_owned(), State::encode(model)))
        .collect();
    // Formats 1 and 2 ended before the tables that were added later, of which there is nothing here.
    for (at, tables) in [(0, 1), (1, 1), (2, 2)] {
        let bytes = &mut found[at].1;
        bytes.truncate(bytes.len() - tables);
    }
    check("checkpoints.txt", &found);
    for (name, bytes) in golden("checkpoints.txt") {
        let read: Model = State::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some((_, wanted)) = models.iter().find(|(of, _)| *of == name) {
            assert_eq!(read, *wanted, "{name}");
        }
    }
}

fn states() -> Vec<(&'static str, ObjectState)> {
    let region = Region {
        offset: 4096,
        size: u64::MAX,
        flags: 7,
        opaque: 0xffff,
    };
    let all = ObjectState {
        regions: vec![region, Region { size: 0, ..region }],
        events: EventSet::of(&[EventType::Attribute, EventType::Destroy]),
        punched_from: Some(1 << 40),
        changes: 300,
        dtime: Some((-1, 999_999_999)),
        shown_ctime: None,
    };
    let shown = ObjectState {
        shown_ctime: Some((1_700_000_000, 5)),
        ..all.clone()
    };
    vec![
        ("empty", ObjectState::default()),
        ("all", all),
        ("shown-ctime", shown),
    ]
}

#[test]
fn states_of_objects_keep_their_form() {
    let found: Vec<(String, Vec<u8>)> = states()
        .iter()
        .map(|(name, state)| ((*name).to_owned(), state::encode(state).expect("bytes")))
        .collect();
    check("states.txt", &found);
    for (name, bytes) in golden("states.txt") {
        let read = state::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some((_, wanted)) = states().iter().find(|(of, _)| *of == name) {
            assert_eq!(read, *wanted, "{name}");
        }
    }
}

//! What is on disks does not change by accident: the bytes of journal entries, of checkpoints and of the state kept
//! with objects, against tests/golden/*.txt.
//!
//! A failure means that files and volumes which exist would be read wrongly. A wanted change is a new format
//! (docs/journal-format.md, section 7; the version byte of `trusted.dmapi.state`), and old bytes must still be read:
//! then the old lines stay, and new ones are added. `UPDATE_GOLDEN=1 cargo test --test golden` writes lines
//! that are not there yet; it never changes one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use dmapi::fs::ObjectState;
use dmapi::fs::state;
use dmapi::journal::State;
use dmapi::journal::replay::{decode_entry, encode_entry};
use dmapi::model::file::{FuseMount, FuseOptions};
use dmapi::model::{
    Answer, ClientId, Entry, Event, EventBody, EventSet, EventType, FsId, Handle, Inherit, Model,
    MountBody, NamespaceBody, Origin, Record, Region, RequestId, Right, Sequence, Serial,
    SessionId, Token,
};

const FS: FsId = FsId(0x1122_3344_5566_7788);
const FILE: Handle = Handle::Object {
    fs: FS,
    inode: 0x1_0000_0001,
    generation: 0xdead_beef,
};
const ROOT: Handle = Handle::Object {
    fs: FS,
    inode: 128,
    generation: 0,
};
const ONE: SessionId = SessionId(1);
const TWO: SessionId = SessionId(2);

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
            "{name} is written in another form than tests/golden/{file} says: see the head of tests/golden.rs"
        );
    }
}

fn mount() -> MountBody {
    MountBody {
        mode: 1,
        fs: Handle::Fs(FS),
        mount_point: Some(ROOT),
        path: b"/data".to_vec(),
        device: b"/dev/vdb".to_vec(),
        root: ROOT,
    }
}

fn event(sequence: u64, token: Option<u32>, kind: EventType, body: EventBody) -> Event {
    Event {
        sequence: Sequence(sequence),
        token: token.map(Token),
        kind,
        body,
        origin: Origin::Source(Serial(0x1_0000_0000 + sequence)),
        pid: 4242,
        made_ms: 1_700_000_000_123,
    }
}

fn read_event() -> Event {
    let body = EventBody::Data {
        handle: FILE,
        offset: 4096,
        length: 100,
        mapped: None,
    };
    event(1, Some(1), EventType::Read, body)
}

/// The name of a record, and so of its line. No wildcard: a new record needs one in `records`.
fn name(record: &Record) -> &'static str {
    match record {
        Record::SessionCreated { .. } => "session-created",
        Record::SessionAssumed { .. } => "session-assumed",
        Record::SessionDestroyed { .. } => "session-destroyed",
        Record::EventQueued { .. } => "event-queued",
        Record::UserEventCreated { .. } => "user-event-created",
        Record::EventsReceived { .. } => "events-received",
        Record::EventAnswered { .. } => "event-answered",
        Record::EventMoved { .. } => "event-moved",
        Record::EventWithdrawn { .. } => "event-withdrawn",
        Record::EventOrphaned { .. } => "event-orphaned",
        Record::DispositionSet { .. } => "disposition-set",
        Record::MountInterestSet { .. } => "mount-interest-set",
        Record::EventListSet { .. } => "event-list-set",
        Record::ReturnOnDestroySet { .. } => "return-on-destroy-set",
        Record::RightSet { .. } => "right-set",
        Record::HoldSet { .. } => "hold-set",
        Record::FsAdded { .. } => "fs-added",
        Record::FsDropped { .. } => "fs-dropped",
        Record::MountAsked { .. } => "mount-asked",
        Record::ClientGone { .. } => "client-gone",
        Record::EventUnwanted { .. } => "event-unwanted",
        Record::InheritSet { .. } => "inherit-set",
        Record::InheritCleared { .. } => "inherit-cleared",
        Record::DestroyAnswered { .. } => "destroy-answered",
        Record::SessionRenamed { .. } => "session-renamed",
        Record::CancelInterestSet { .. } => "cancel-interest-set",
        Record::FsThroughFuse { .. } => "fs-through-fuse",
        Record::FuseViewAdded { .. } => "fuse-view-added",
        Record::FuseViewGone { .. } => "fuse-view-gone",
    }
}

/// How many records [`name`] knows.
const RECORDS: usize = 29;

fn records() -> Vec<Record> {
    let (session, fs, token) = (ONE, FS, Token(1));
    let info = b"one".to_vec();
    vec![
        Record::SessionCreated {
            session,
            info: info.clone(),
        },
        Record::FsAdded { fs, mount: mount() },
        Record::FsThroughFuse {
            fs,
            fuse: FuseMount {
                options: FuseOptions::CACHED,
                attributes: 0x0010_0001,
            },
        },
        Record::DispositionSet {
            session,
            fs,
            events: EventSet::of(&[EventType::Read, EventType::Destroy]),
            mask: EventSet((1 << 23) - 1),
        },
        Record::MountInterestSet {
            session,
            interested: true,
        },
        Record::CancelInterestSet {
            session,
            interested: true,
        },
        Record::EventListSet {
            fs,
            events: EventSet::of(&[EventType::PostCreate]),
        },
        Record::ReturnOnDestroySet {
            fs,
            registration: Some((session, *b"place\0\0\0")),
        },
        Record::DestroyAnswered { fs, answered: true },
        Record::InheritSet {
            fs,
            inherit: Inherit {
                name: *b"class\0\0\0",
                file_type: 0o100_000,
            },
        },
        Record::EventUnwanted {
            fs,
            kind: EventType::PostRemove,
            count: 300,
        },
        Record::EventQueued {
            session: Some(session),
            fs: Some(fs),
            event: read_event(),
        },
        Record::EventsReceived {
            session,
            sequences: vec![Sequence(1)],
        },
        Record::RightSet {
            token,
            handle: FILE,
            right: Right::Exclusive,
        },
        Record::HoldSet {
            token,
            handle: FILE,
            held: true,
        },
        Record::UserEventCreated {
            session,
            event: Event {
                origin: Origin::Nobody,
                ..event(
                    2,
                    Some(2),
                    EventType::User,
                    EventBody::User(b"mine".to_vec()),
                )
            },
        },
        Record::SessionCreated {
            session: TWO,
            info: b"two".to_vec(),
        },
        Record::EventMoved {
            from: session,
            token: Token(2),
            to: TWO,
        },
        Record::SessionRenamed {
            session: TWO,
            info: b"second".to_vec(),
        },
        // From here on they follow from no state.
        Record::EventAnswered {
            session,
            token,
            answer: Answer::Abort(16),
        },
        Record::SessionAssumed {
            old: session,
            new: SessionId(3),
            info,
        },
        Record::SessionDestroyed { session: TWO },
        Record::EventWithdrawn {
            sequence: Sequence(300),
        },
        Record::EventOrphaned {
            sequence: Sequence(1),
        },
        Record::MountAsked {
            sequence: Sequence(9),
            session,
            next: Some((TWO, Token(77))),
        },
        Record::ClientGone {
            client: ClientId(u64::MAX),
        },
        Record::InheritCleared {
            fs,
            name: *b"class\0\0\0",
        },
        view(),
        Record::FuseViewGone { fs, device: None },
        Record::FsDropped { fs },
    ]
}

/// A further mount of the file system.
fn view() -> Record {
    Record::FuseViewAdded {
        fs: FS,
        device: 300,
        mount: MountBody {
            path: b"/shown".to_vec(),
            ..mount()
        },
        fuse: FuseMount {
            options: FuseOptions::CACHED.with(FuseOptions::SHARED),
            attributes: 0x0010_0000,
        },
    }
}

/// Those of [`records`] that make a state, one after the other.
const LIVED: usize = 19;

fn reply() -> Option<(RequestId, Vec<u8>)> {
    let id = RequestId {
        client: ClientId(0x0102_0304_0506_0708),
        number: 300,
    };
    Some((id, vec![1, 2, 3]))
}

fn bodies() -> Vec<(&'static str, EventBody)> {
    let namespace = NamespaceBody {
        mode: 0o100_644,
        handle1: Some(ROOT),
        handle2: Some(FILE),
        name1: b"old".to_vec(),
        name2: b"new".to_vec(),
        retcode: 2,
    };
    let mapping = EventBody::Data {
        handle: FILE,
        offset: 0,
        length: 8192,
        mapped: Some(100_000),
    };
    let cancel = EventBody::Cancel {
        sequence: Sequence(7),
        token: Token(8),
    };
    let destroy = EventBody::Destroy {
        handle: FILE,
        copy: Some((*b"place\0\0\0", vec![9; 3])),
    };
    vec![
        ("body-cancel", cancel),
        ("body-mount", EventBody::Mount(mount())),
        ("body-data", mapping),
        ("body-namespace", EventBody::Namespace(namespace)),
        ("body-destroy", destroy),
        ("body-user", EventBody::User(Vec::new())),
    ]
}

fn entry(record: Record) -> Entry {
    Entry {
        records: vec![record],
        reply: None,
    }
}

/// Entries by the name of their line.
fn entries() -> Vec<(String, Entry)> {
    let mut all: Vec<(String, Entry)> = Vec::new();
    for record in records() {
        let line = name(&record).to_owned();
        if !all.iter().any(|(known, _)| *known == line) {
            all.push((line, entry(record)));
        }
    }
    assert_eq!(all.len(), RECORDS, "each record has a line");
    for (line, body) in bodies() {
        let event = event(5, None, EventType::Attribute, body);
        let (session, fs) = (None, None);
        all.push((
            line.into(),
            entry(Record::EventQueued { session, fs, event }),
        ));
    }
    for kind in EventType::ALL {
        let (fs, count) = (FS, 1);
        let line = format!("kind-{}", kind.name().to_lowercase());
        all.push((line, entry(Record::EventUnwanted { fs, kind, count })));
    }
    for (line, answer) in [
        ("continue", Answer::Continue),
        ("dontcare", Answer::DontCare),
    ] {
        let (session, token) = (ONE, Token(1));
        let record = Record::EventAnswered {
            session,
            token,
            answer,
        };
        all.push((format!("answer-{line}"), entry(record)));
    }
    let waiting = Event {
        origin: Origin::Request(RequestId {
            client: ClientId(3),
            number: 4,
        }),
        ..read_event()
    };
    let (session, fs, event) = (None, Some(FS), waiting);
    all.push((
        "origin-request".into(),
        entry(Record::EventQueued { session, fs, event }),
    ));
    let global = Record::RightSet {
        token: Token(5),
        handle: Handle::Global,
        right: Right::Shared,
    };
    let file_system = Record::RightSet {
        token: Token(5),
        handle: Handle::Fs(FS),
        right: Right::Null,
    };
    let several = Entry {
        records: vec![global, file_system],
        reply: reply(),
    };
    all.push(("several-with-reply".into(), several));
    all
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

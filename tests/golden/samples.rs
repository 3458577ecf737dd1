//! One of each: records, events, answers, and a model made of them.

use dmapi::model::file::{FuseMount, FuseOptions};
use dmapi::model::{
    Answer, ClientId, Entry, Event, EventBody, EventSet, EventType, FsId, Handle, Inherit,
    MountBody, NamespaceBody, Origin, Record, RequestId, Right, Sequence, Serial, SessionId, Token,
};

pub const FS: FsId = FsId(0x1122_3344_5566_7788);
pub const FILE: Handle = Handle::Object {
    fs: FS,
    inode: 0x1_0000_0001,
    generation: 0xdead_beef,
};
pub const ROOT: Handle = Handle::Object {
    fs: FS,
    inode: 128,
    generation: 0,
};
pub const ONE: SessionId = SessionId(1);
pub const TWO: SessionId = SessionId(2);

pub fn mount() -> MountBody {
    MountBody {
        mode: 1,
        fs: Handle::Fs(FS),
        mount_point: Some(ROOT),
        path: b"/data".to_vec(),
        device: b"/dev/vdb".to_vec(),
        root: ROOT,
    }
}

pub fn event(sequence: u64, token: Option<u32>, kind: EventType, body: EventBody) -> Event {
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

pub fn read_event() -> Event {
    let body = EventBody::Data {
        handle: FILE,
        offset: 4096,
        length: 100,
        mapped: None,
    };
    event(1, Some(1), EventType::Read, body)
}

/// The name of a record, and so of its line. No wildcard: a new record needs one in `records`.
pub fn name(record: &Record) -> &'static str {
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
pub const RECORDS: usize = 29;

pub fn records() -> Vec<Record> {
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
pub fn view() -> Record {
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
pub const LIVED: usize = 19;

pub fn reply() -> Option<(RequestId, Vec<u8>)> {
    let id = RequestId {
        client: ClientId(0x0102_0304_0506_0708),
        number: 300,
    };
    Some((id, vec![1, 2, 3]))
}

pub fn bodies() -> Vec<(&'static str, EventBody)> {
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

pub fn entry(record: Record) -> Entry {
    Entry {
        records: vec![record],
        reply: None,
    }
}

/// Entries by the name of their line.
pub fn entries() -> Vec<(String, Entry)> {
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

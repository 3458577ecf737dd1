//! Bodies of records and checkpoints: from bytes to the state.

use dmapi::journal::State;
use dmapi::journal::replay::{decode_entry, encode_entry};
use dmapi::model::{
    Answer, ClientId, Entry, Event, EventBody, EventSet, EventType, FuseMount, FuseOptions, Model,
    MountBody, Origin, Record, RequestId, Right, Sequence, Serial, SessionId, Token,
};

use super::stand_in::{FILE, FS, mount};
use super::{Target, join, pieces};

/// The targets of this module.
pub fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "entries",
            run: entries,
            seeds: entries_seeds,
            slice: 4000,
        },
        Target {
            name: "checkpoint",
            run: checkpoint,
            seeds: checkpoint_seeds,
            slice: 8000,
        },
    ]
}

fn view(device: u64, path: &[u8]) -> Record {
    Record::FuseViewAdded {
        fs: FS,
        device,
        mount: MountBody {
            path: path.to_vec(),
            ..mount()
        },
        fuse: FuseMount {
            options: FuseOptions::SHARED,
            attributes: 0,
        },
    }
}

fn event(sequence: u64, token: Option<u32>, kind: EventType, body: EventBody) -> Event {
    Event {
        sequence: Sequence(sequence),
        token: token.map(Token),
        kind,
        body,
        origin: match kind {
            EventType::Read => Origin::Source(Serial(sequence + 100)),
            _ => Origin::Nobody,
        },
        pid: 9,
        made_ms: 1_000_000,
    }
}

/// A life: each entry follows from those before it.
pub fn life() -> Vec<Entry> {
    let session = SessionId(1);
    let read = EventBody::Data {
        handle: FILE,
        offset: 0,
        length: 4096,
        mapped: None,
    };
    let reads = EventSet::of(&[EventType::Read]);
    let steps = vec![
        vec![Record::SessionCreated {
            session,
            info: b"one".to_vec(),
        }],
        vec![Record::FsAdded {
            fs: FS,
            mount: mount(),
        }],
        vec![Record::DispositionSet {
            session,
            fs: FS,
            events: reads,
            mask: reads,
        }],
        vec![Record::EventQueued {
            session: Some(session),
            fs: Some(FS),
            event: event(1, Some(1), EventType::Read, read),
        }],
        vec![Record::EventsReceived {
            session,
            sequences: vec![Sequence(1)],
        }],
        vec![
            Record::RightSet {
                token: Token(1),
                handle: FILE,
                right: Right::Exclusive,
            },
            Record::HoldSet {
                token: Token(1),
                handle: FILE,
                held: true,
            },
        ],
        vec![Record::UserEventCreated {
            session,
            event: event(
                2,
                Some(2),
                EventType::User,
                EventBody::User(b"mine".to_vec()),
            ),
        }],
        vec![Record::SessionCreated {
            session: SessionId(2),
            info: b"two".to_vec(),
        }],
        vec![Record::EventMoved {
            from: session,
            token: Token(2),
            to: SessionId(2),
        }],
        vec![Record::EventListSet {
            fs: FS,
            events: EventSet(1 << 20),
        }],
        vec![Record::ReturnOnDestroySet {
            fs: FS,
            registration: Some((session, *b"attrname")),
        }],
        vec![Record::EventUnwanted {
            fs: FS,
            kind: EventType::PostCreate,
            count: 3,
        }],
        vec![Record::EventAnswered {
            session,
            token: Token(1),
            answer: Answer::Abort(5),
        }],
        vec![Record::SessionAssumed {
            old: session,
            new: SessionId(3),
            info: b"three".to_vec(),
        }],
        vec![Record::FsThroughFuse {
            fs: FS,
            fuse: FuseMount {
                options: FuseOptions::CACHED.with(FuseOptions::SHARED),
                attributes: 1,
            },
        }],
        vec![view(50, b"/mnt2"), view(51, b"/mnt3")],
        vec![Record::FuseViewGone {
            fs: FS,
            device: None,
        }],
        vec![Record::FuseViewGone {
            fs: FS,
            device: Some(51),
        }],
        vec![view(52, b"/mnt4")],
        vec![Record::FsDropped { fs: FS }],
    ];
    let with_reply = |(at, records)| Entry {
        records,
        reply: (at % 3 == 0).then(|| {
            let id = RequestId {
                client: ClientId(8),
                number: at as u64 + 1,
            };
            (id, vec![0, 1, 2])
        }),
    };
    steps.into_iter().enumerate().map(with_reply).collect()
}

/// An entry that is refused changes nothing; one that is taken leaves a state that holds its invariants and
/// is the same after a checkpoint.
fn entries(bytes: &[u8]) {
    let mut model = Model::default();
    for piece in pieces(bytes).into_iter().take(64) {
        let Ok(entry) = decode_entry(piece) else {
            continue;
        };
        let before = model.clone();
        match model.apply(&entry) {
            Ok(_) => {
                if let Err(corrupt) = model.check() {
                    panic!("{corrupt}, after {entry:?}");
                }
            }
            Err(_) => assert_eq!(model, before, "{entry:?}"),
        }
    }
    assert_eq!(Model::decode(&State::encode(&model)), Ok(model));
}

fn entries_seeds() -> Vec<Vec<u8>> {
    let all: Vec<Vec<u8>> = life().iter().map(encode_entry).collect();
    vec![join(&all), join(&all[..6])]
}

/// A checkpoint that is taken as a state holds what the state promises, and goes on.
fn checkpoint(bytes: &[u8]) {
    let Ok(mut model) = Model::decode(bytes) else {
        return;
    };
    if model.check().is_err() {
        return;
    }
    for entry in life() {
        let _ = model.apply(&entry);
    }
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let mut model = Model::default();
    let mut seeds = vec![State::encode(&model)];
    for entry in life() {
        model.apply(&entry).expect("it follows");
        seeds.push(State::encode(&model));
    }
    seeds
}

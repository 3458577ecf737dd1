//! Entries: what cannot follow is refused and changes nothing; limits and earlier formats.

use dmapi::model::limits;
use dmapi::model::{
    Answer, DmError, Entry, Event, EventBody, EventSet, EventType, FsId, Model, Origin, Record,
    Right, Sequence, SessionId, Token,
};

use crate::node::{ALL, FS, NAME, Node, file, mount_body, request};

#[test]
fn an_entry_that_fails_in_the_middle_changes_nothing() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let before = node.model.clone();
    let entry = Entry {
        records: vec![
            Record::SessionCreated {
                session: SessionId(50),
                info: b"new".to_vec(),
            },
            Record::RightSet {
                token,
                handle: file(5),
                right: Right::Shared,
            },
            Record::EventAnswered {
                session,
                token,
                answer: Answer::Continue,
            },
            Record::FsDropped { fs: FS },
            Record::EventAnswered {
                session,
                token,
                answer: Answer::Continue,
            },
        ],
        reply: Some((request(3), vec![1])),
    };
    let corrupt = node.model.apply(&entry).unwrap_err();
    assert!(corrupt.why.contains("not outstanding"), "{corrupt}");
    assert_eq!(node.model, before);
}

#[test]
fn records_that_cannot_follow_are_corrupt() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let old = node.user_event(session);
    let stranger = SessionId(999);
    let event = node.model.find_event(session, token).unwrap().clone();
    let records = [
        Record::SessionCreated {
            session,
            info: Vec::new(),
        },
        Record::SessionAssumed {
            old: stranger,
            new: SessionId(1000),
            info: Vec::new(),
        },
        Record::SessionDestroyed { session },
        Record::EventQueued {
            session: Some(session),
            fs: None,
            event: event.clone(),
        },
        Record::EventQueued {
            session: None,
            fs: None,
            event: Event {
                sequence: Sequence(900),
                token: Some(Token(900)),
                origin: Origin::Nobody,
                ..event.clone()
            },
        },
        Record::EventQueued {
            session: Some(session),
            fs: None,
            event: Event {
                sequence: Sequence(900),
                token: Some(old),
                origin: Origin::Nobody,
                ..event.clone()
            },
        },
        Record::EventQueued {
            session: Some(session),
            fs: None,
            event: Event {
                sequence: Sequence(900),
                token: Some(Token(900)),
                ..event.clone()
            },
        },
        Record::EventsReceived {
            session,
            sequences: vec![event.sequence],
        },
        Record::EventAnswered {
            session,
            token,
            answer: Answer::DontCare,
        },
        Record::EventMoved {
            from: session,
            token,
            to: stranger,
        },
        Record::EventWithdrawn {
            sequence: event.sequence,
        },
        Record::EventOrphaned {
            sequence: Sequence(900),
        },
        Record::DispositionSet {
            session: stranger,
            fs: FS,
            events: EventSet(0),
            mask: ALL,
        },
        Record::MountInterestSet {
            session: stranger,
            interested: true,
        },
        Record::EventListSet {
            fs: FsId(1),
            events: EventSet(0),
        },
        Record::ReturnOnDestroySet {
            fs: FS,
            registration: Some((stranger, NAME)),
        },
        Record::RightSet {
            token: Token(900),
            handle: file(1),
            right: Right::Shared,
        },
        Record::HoldSet {
            token,
            handle: file(1),
            held: false,
        },
        Record::FsAdded {
            fs: FS,
            mount: mount_body(),
        },
        Record::FsDropped { fs: FsId(1) },
        Record::MountAsked {
            sequence: event.sequence,
            session,
            next: None,
        },
    ];
    let before = node.model.clone();
    for record in records {
        let entry = Entry {
            records: vec![record.clone()],
            reply: None,
        };
        assert!(node.model.apply(&entry).is_err(), "{record:?}");
        assert_eq!(node.model, before, "{record:?}");
    }
}

#[test]
fn token_numbers_go_round_and_skip_live_ones() {
    let mut node = Node::new();
    let session = node.session("round");
    let first = node.user_event(session);
    let event = |number: u32, sequence: u64| Entry {
        records: vec![Record::UserEventCreated {
            session,
            event: Event {
                sequence: Sequence(sequence),
                token: Some(Token(number)),
                kind: EventType::User,
                body: EventBody::User(Vec::new()),
                origin: Origin::Nobody,
                pid: 0,
                made_ms: 0,
            },
        }],
        reply: None,
    };
    // A range ahead may be skipped, but not so far that numbers come back early.
    assert!(node.model.apply(&event(limits::ID_MAX, 10)).is_err());
    node.model.apply(&event(limits::ID_MAX / 2, 10)).unwrap();
    node.model.apply(&event(limits::ID_MAX - 1, 11)).unwrap();
    assert_eq!(node.user_event(session).0, limits::ID_MAX);
    assert_eq!(first, Token(1));
    assert_eq!(node.user_event(session), Token(2));
    assert_eq!(
        node.model.check_token(session, Token(1000)),
        Err(DmError::TokenGone)
    );
}

#[test]
fn checkpoints_of_earlier_formats_are_read() {
    use dmapi::journal::State;
    let node = Node::with_fs();
    let bytes = postcard::to_stdvec(&node.model).unwrap();
    assert_eq!(Model::decode(&bytes), Ok(node.model.clone()));
    let (later, views) = node.model.later();
    let second = postcard::to_extend(later, bytes.clone()).unwrap();
    assert_eq!(Model::decode(&second), Ok(node.model.clone()));
    let third = postcard::to_extend(views, second.clone()).unwrap();
    assert_eq!(third, node.model.encode());
    assert!(second.len() < third.len() && bytes.len() < second.len());
    assert!(Model::decode(&bytes[..bytes.len() - 1]).is_err());
    let too_long = [&node.model.encode()[..], &[0]].concat();
    assert!(Model::decode(&too_long).is_err());
}

#[test]
fn full_queues_refuse_messages_of_applications() {
    let mut node = Node::with_fs();
    let session = node.session("full");
    let data = vec![0; limits::MESSAGE_DATA_BYTES_MAX];
    while node.model.has_room() {
        let plan = node
            .model
            .plan_send_message(session, None, data.clone(), 0, 0)
            .unwrap();
        node.model.apply(&plan.into_entry()).unwrap();
    }
    node.model.check().unwrap();
    assert_eq!(
        node.model.plan_user_event(session, Vec::new(), 0, 0),
        Err(DmError::NoMemory)
    );
    // Answers and deliveries always go on.
    assert_eq!(node.receive(session).unwrap().len(), 24);
    assert!(node.model.has_room());
}

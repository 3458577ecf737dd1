//! Sessions: their text, their end, and taking over.

use dmapi::model::limits;
use dmapi::model::{Answer, DmError, Effect, Entry, EventSet, EventType, Record, Right, SessionId};

use crate::node::{FS, FS_HANDLE, Node, file};

#[test]
fn a_string_of_255_bytes_is_kept_whole_and_256_are_too_big() {
    let mut node = Node::new();
    let longest = "x".repeat(255);
    let session = node.session(&longest);
    assert_eq!(node.model.session_info(session), Ok(longest.as_bytes()));
    let too_long = [b'x'; 256];
    assert_eq!(
        node.model.plan_create_session(None, &too_long),
        Err(DmError::TooBig { need: None })
    );
    assert_eq!(node.model.session_ids(), vec![session]);
}

#[test]
fn two_sessions_with_one_string_have_growing_ids() {
    let mut node = Node::new();
    let (one, two) = (node.session("same"), node.session("same"));
    assert!(one.0 >= 1 && one < two);
    assert_eq!(node.model.session_ids(), vec![one, two]);
}

#[test]
fn an_assumed_session_keeps_everything_but_its_id_and_string() {
    let mut node = Node::with_fs();
    let (old, token) = node.with_read();
    let answered = node.user_event(old);
    node.respond(old, answered, Answer::Continue).unwrap();
    node.send(old, None, b"queued");
    node.want_mounts(old);
    node.right(old, file(5), token, Right::Exclusive, false)
        .unwrap();
    let other = node.session("other");
    let new = node.assume(old, "again").unwrap();
    assert!(node.effects.contains(&Effect::Renamed { old, new }));
    assert_eq!(node.model.session_ids(), vec![other, new]);
    assert_eq!(node.model.session_info(new), Ok(&b"again"[..]));
    assert_eq!(node.model.tokens(new), Ok(vec![token]));
    assert_eq!(node.query(new, file(5), token), Right::Exclusive);
    assert_eq!(
        node.model.check_token(new, answered),
        Err(DmError::TokenGone)
    );
    assert!(node.model.wants_mounts(new));
    assert_eq!(node.model.disposition(FS, EventType::Read), Some(new));
    assert_eq!(node.receive(new).unwrap().len(), 1);
    assert_eq!(node.respond(new, token, Answer::Continue), Ok(()));
}

#[test]
fn a_superseded_id_is_invalid_everywhere() {
    let mut node = Node::with_fs();
    let old = node.session("old");
    let token = node.user_event(old);
    node.assume(old, "new").unwrap();
    let invalid = DmError::Invalid;
    assert_eq!(node.assume(old, "twice"), Err(invalid));
    assert_eq!(node.destroy(old), Err(invalid));
    let model = &node.model;
    assert_eq!(model.session_info(old), Err(invalid));
    assert_eq!(model.tokens(old), Err(invalid));
    assert_eq!(model.check_token(old, token), Err(invalid));
    assert_eq!(model.event_list(old, FS_HANDLE, None), Err(invalid));
    assert_eq!(model.dispositions_of(old), Err(invalid));
    assert_eq!(model.next_messages(old, 0, 100, &|_| false), Err(invalid));
}

#[test]
fn a_session_ends_only_without_messages() {
    let mut node = Node::with_fs();
    let session = node.session("ends");
    node.send(session, None, b"asynchronous");
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    node.receive(session).unwrap();
    let token = node.user_event(session);
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    node.respond(session, token, Answer::Continue).unwrap();
    node.set_disp(session, EventSet::of(&[EventType::Read]))
        .unwrap();
    node.source_event(EventType::Read);
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    let events = node.receive(session).unwrap();
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    node.respond(session, events[0].token.unwrap(), Answer::Continue)
        .unwrap();
    assert_eq!(node.destroy(session), Ok(()));
    assert_eq!(node.destroy(session), Err(DmError::Invalid));
    assert_eq!(node.model.disposition(FS, EventType::Read), None);
}

#[test]
fn the_number_of_sessions_is_limited() {
    let mut node = Node::new();
    let records = (1..=limits::SESSIONS_MAX as u32)
        .map(|id| Record::SessionCreated {
            session: SessionId(id),
            info: Vec::new(),
        })
        .collect();
    node.model
        .apply(&Entry {
            records,
            reply: None,
        })
        .unwrap();
    assert_eq!(
        node.model.plan_create_session(None, b"one more"),
        Err(DmError::NoMemory)
    );
    assert_eq!(node.assume(SessionId(1), "still").map(|id| id.0), Ok(8193));
}

//! Messages: order, room, reservations.

use dmapi::model::limits;
use dmapi::model::{DmError, Event, EventBody, EventType, Sequence, SessionId};

use crate::node::{Node, request};

#[test]
fn an_empty_queue_says_again() {
    let mut node = Node::new();
    let session = node.session("empty");
    assert_eq!(
        node.model.next_messages(session, 0, 100, &|_| false),
        Err(DmError::Again)
    );
}

#[test]
fn messages_come_in_order_and_by_count() {
    let mut node = Node::new();
    let session = node.session("queue");
    let sent: Vec<Sequence> = (0..3).map(|_| node.send(session, None, b"x")).collect();
    let sequences = |events: Vec<Event>| -> Vec<Sequence> {
        events.iter().map(|event| event.sequence).collect()
    };
    let take = |count| {
        node.model
            .next_messages(session, count, 4096, &|_| false)
            .map(sequences)
    };
    assert_eq!(take(1), Ok(sent[..1].to_vec()));
    assert_eq!(take(2), Ok(sent[..2].to_vec()));
    assert_eq!(take(0), Ok(sent));
}

#[test]
fn a_buffer_that_is_too_small_is_told_what_is_needed_and_the_message_stays() {
    let mut node = Node::new();
    let session = node.session("small");
    node.send(session, None, b"123456789");
    node.send(session, None, b"");
    let take = |bytes| node.model.next_messages(session, 0, bytes, &|_| false);
    assert_eq!(take(0), Err(DmError::need(48)));
    assert_eq!(take(47), Err(DmError::need(48)));
    assert_eq!(take(48).map(|events| events.len()), Ok(1));
    assert_eq!(take(79).map(|events| events.len()), Ok(1));
    assert_eq!(take(80).map(|events| events.len()), Ok(2));
    assert_eq!(take(u64::MAX).map(|events| events.len()), Ok(2));
}

#[test]
fn a_reserved_message_is_not_given_twice() {
    let mut node = Node::new();
    let session = node.session("reserved");
    let first = node.send(session, None, b"a");
    let second = node.send(session, None, b"b");
    let events = node
        .model
        .next_messages(session, 0, 4096, &|sequence| sequence == first)
        .unwrap();
    assert_eq!(events[0].sequence, second);
    assert_eq!(
        node.model.next_messages(session, 0, 4096, &|_| true),
        Err(DmError::Again)
    );
}

#[test]
fn receiving_makes_synchronous_messages_outstanding_and_ends_others() {
    let mut node = Node::new();
    let session = node.session("both");
    node.send(session, None, b"asynchronous");
    node.send(session, Some(request(1)), b"synchronous");
    assert_eq!(node.model.tokens(session), Ok(Vec::new()));
    let events = node.receive(session).unwrap();
    assert_eq!(events[0].token, None);
    let token = events[1].token.unwrap();
    assert_eq!(node.model.tokens(session), Ok(vec![token]));
    assert_eq!(node.model.find_event(session, token), Ok(&events[1]));
    assert_eq!(node.model.queued_count(session), 0);
}

#[test]
fn a_reservation_that_was_lost_cannot_be_committed() {
    let mut node = Node::new();
    let session = node.session("lost");
    let sequence = node.send(session, None, b"a");
    let twice = [sequence, sequence];
    assert_eq!(node.model.plan_commit(session, &twice), Err(DmError::Again));
    node.receive(session).unwrap();
    assert_eq!(
        node.model.plan_commit(session, &[sequence]),
        Err(DmError::Again)
    );
}

#[test]
fn a_message_may_be_as_long_as_the_limit() {
    let mut node = Node::new();
    let session = node.session("long");
    let longest = vec![7; limits::MESSAGE_DATA_BYTES_MAX];
    node.send(session, None, &longest);
    assert_eq!(
        node.receive(session).unwrap()[0].body,
        EventBody::User(longest)
    );
    let longer = vec![7; limits::MESSAGE_DATA_BYTES_MAX + 1];
    let too_big = DmError::TooBig { need: None };
    let model = &node.model;
    assert_eq!(
        model.plan_send_message(session, None, longer.clone(), 0, 0),
        Err(too_big)
    );
    assert_eq!(model.plan_user_event(session, longer, 0, 0), Err(too_big));
    assert_eq!(
        model.plan_send_message(SessionId(99), None, Vec::new(), 0, 0),
        Err(DmError::Invalid)
    );
}

#[test]
fn a_user_event_is_outstanding_at_once_and_never_queued() {
    let mut node = Node::new();
    let session = node.session("user");
    let token = node.user_event(session);
    assert!(token.0 > 0);
    assert_eq!(node.model.tokens(session), Ok(vec![token]));
    assert_eq!(node.receive(session), Err(DmError::Again));
    let event = node.model.find_event(session, token).unwrap();
    assert_eq!(event.body, EventBody::User(b"data".to_vec()));
    assert_eq!(event.kind, EventType::User);
}

#[test]
fn a_batch_fits_a_packet() {
    let mut node = Node::new();
    let session = node.session("batch");
    for _ in 0..limits::BATCH_EVENTS_MAX + 5 {
        node.model
            .plan_send_message(session, None, Vec::new(), 0, 0)
            .map(|plan| node.model.apply(&plan.into_entry()).unwrap())
            .unwrap();
    }
    let take = |node: &Node| {
        let events = node
            .model
            .next_messages(session, 0, u64::MAX, &|_| false)
            .unwrap();
        let reply = dmapi::proto::Back::Done {
            number: u64::MAX,
            outcome: Ok(dmapi::proto::Reply::Events(events.clone())),
        };
        assert!(dmapi::proto::encode(&reply).len() < dmapi::proto::PACKET_BYTES_MAX);
        events.len()
    };
    assert_eq!(take(&node), limits::BATCH_EVENTS_MAX);
    let other = node.session("bytes");
    for _ in 0..40 {
        node.send(other, None, &[1; limits::MESSAGE_DATA_BYTES_MAX]);
    }
    node.receive(session).unwrap();
    node.receive(session).unwrap();
    let events = node
        .model
        .next_messages(other, 0, u64::MAX, &|_| false)
        .unwrap();
    assert_eq!(events.len(), 24);
}

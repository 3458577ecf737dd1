//! Events of file systems, and mounts.

use dmapi::model::machine::Place;
use dmapi::model::{
    Answer, DmError, Effect, EventBody, EventSet, EventType, Fate, NewEvent, Origin, Right, Serial,
};

use crate::node::{ALL, FS, FS_HANDLE, Node, file, mount_body, request};

#[test]
fn a_data_event_without_a_disposition_waits_for_one() {
    let mut node = Node::with_fs();
    let (serial, fate) = node.source_event(EventType::Read);
    let Fate::Waits { sequence } = fate else {
        panic!("{fate:?}");
    };
    assert!(node.model.knows(serial));
    assert_eq!(node.model.event(sequence).unwrap().1, Place::Waiting(FS));
    let session = node.session("late");
    node.set_disp(session, EventSet::of(&[EventType::Write]))
        .unwrap();
    assert_eq!(node.receive(session), Err(DmError::Again));
    node.set_disp(session, EventSet::of(&[EventType::Read]))
        .unwrap();
    assert!(node.effects.contains(&Effect::Queued { session }));
    assert_eq!(node.receive(session).unwrap()[0].sequence, sequence);
}

#[test]
fn an_asynchronous_event_without_a_disposition_is_dropped_and_counted() {
    let mut node = Node::with_fs();
    let fate = node.event_of(EventType::Attribute, Origin::Nobody);
    assert_eq!(fate, Fate::Dropped);
    let counts: Vec<_> = node.model.unwanted().collect();
    assert_eq!(counts, vec![(FS, EventType::Attribute, 1)]);
    assert_eq!(node.model.live_events().count(), 0);
}

#[test]
fn an_unmount_without_a_disposition_proceeds() {
    let mut node = Node::with_fs();
    let waiter = Origin::Request(request(1));
    assert_eq!(node.event_of(EventType::PreUnmount, waiter), Fate::Proceeds);
    assert_eq!(
        node.event_of(EventType::Unmount, Origin::Nobody),
        Fate::Dropped
    );
}

#[test]
fn an_unmount_event_has_a_token_that_must_be_answered() {
    let mut node = Node::with_fs();
    let session = node.session("unmount");
    node.set_disp(session, EventSet::of(&[EventType::Unmount]))
        .unwrap();
    node.event_of(EventType::Unmount, Origin::Nobody);
    node.run(|model| model.plan_drop_fs(FS)).unwrap();
    let token = node.receive(session).unwrap()[0].token.unwrap();
    assert_eq!(node.destroy(session), Err(DmError::Busy));
    node.respond(session, token, Answer::Continue).unwrap();
    assert_eq!(node.effects, Vec::new());
}

#[test]
fn an_event_of_an_unknown_file_system_is_refused() {
    let node = Node::new();
    let new = NewEvent {
        fs: FS,
        kind: EventType::Read,
        body: EventBody::User(Vec::new()),
        origin: Origin::Source(Serial(1)),
        pid: 0,
        made_ms: 0,
    };
    assert_eq!(node.model.plan_event(new), Err(DmError::BadHandle));
}

#[test]
fn a_source_that_tells_an_event_again_makes_no_second_one() {
    let mut node = Node::with_fs();
    let (serial, fate) = node.source_event(EventType::Read);
    let again = node.event_of(EventType::Read, Origin::Source(serial));
    let (Fate::Waits { sequence }, Fate::Known { sequence: known }) = (fate, again) else {
        panic!("{fate:?} {again:?}");
    };
    assert_eq!(sequence, known);
    assert_eq!(node.model.source_events(), vec![(serial, sequence)]);
}

#[test]
fn an_undelivered_event_is_withdrawn_and_a_delivered_one_is_orphaned() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let delivered = Serial(node.serial);
    let (queued, _) = node.source_event(EventType::Read);
    let (reserved, _) = node.source_event(EventType::Read);
    let (waiting, _) = node.source_event(EventType::Truncate);
    for (serial, is_reserved) in [
        (delivered, false),
        (queued, false),
        (reserved, true),
        (waiting, false),
    ] {
        let plan = node.model.plan_withdraw(serial, &|_| is_reserved).unwrap();
        node.run(|_| Ok(plan)).unwrap();
        assert!(!node.model.knows(serial));
        assert_eq!(node.model.plan_withdraw(serial, &|_| false), None);
    }
    assert_eq!(node.model.queued_count(session), 1);
    assert_eq!(node.respond(session, token, Answer::Continue), Ok(()));
    assert_eq!(node.effects, Vec::new());
}

#[test]
fn a_dropped_file_system_ends_what_belongs_to_it() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let (waiting, _) = node.source_event(EventType::Write);
    node.right(session, FS_HANDLE, token, Right::Shared, false)
        .unwrap();
    let list = EventSet::of(&[EventType::Attribute]);
    node.run(|model| model.plan_set_event_list(session, FS_HANDLE, None, list, ALL, EventSet(0)))
        .unwrap();
    node.run(|model| model.plan_drop_fs(FS)).unwrap();
    let origin = Origin::Source(waiting);
    let answer = Answer::Abort(5);
    assert!(node.effects.contains(&Effect::Answered { origin, answer }));
    assert!(node.effects.contains(&Effect::RightsReleased {
        handles: vec![FS_HANDLE]
    }));
    assert_eq!(node.model.dispositions_of(session), Ok(Vec::new()));
    assert_eq!(
        node.model.event_list(session, FS_HANDLE, None),
        Err(DmError::BadHandle)
    );
    assert_eq!(
        node.model.query_right(session, file(1), Some(token)),
        Err(DmError::BadHandle)
    );
    assert_eq!(node.respond(session, token, Answer::Continue), Ok(()));
    node.run(|model| model.plan_add_fs(FS, mount_body()))
        .unwrap();
    assert_eq!(
        node.model.event_list(session, FS_HANDLE, None),
        Ok(EventSet(0))
    );
}

#[test]
fn a_mount_is_offered_in_order_of_creation_until_somebody_cares() {
    let mut node = Node::with_fs();
    let (one, _none, three) = (node.session("1"), node.session("2"), node.session("3"));
    node.want_mounts(three);
    node.want_mounts(one);
    let origin = Origin::Request(request(1));
    node.event_of(EventType::Mount, origin);
    let first = node.receive(one).unwrap()[0].clone();
    assert_eq!(node.receive(three), Err(DmError::Again));
    let token = first.token.unwrap();
    node.right(one, FS_HANDLE, token, Right::Exclusive, true)
        .unwrap();
    node.respond(one, token, Answer::DontCare).unwrap();
    assert!(node.effects.contains(&Effect::Queued { session: three }));
    assert_eq!(node.model.check_token(one, token), Err(DmError::TokenGone));
    let second = node.receive(three).unwrap()[0].clone();
    assert_eq!(second.sequence, first.sequence);
    assert_ne!(second.token, first.token);
    let answer = Answer::Abort(13);
    node.respond(three, second.token.unwrap(), answer).unwrap();
    assert_eq!(node.effects, vec![Effect::Answered { origin, answer }]);
}

#[test]
fn a_mount_that_nobody_cares_for_proceeds() {
    let mut node = Node::with_fs();
    let origin = Origin::Request(request(1));
    assert_eq!(node.event_of(EventType::Mount, origin), Fate::Proceeds);
    let session = node.session("careless");
    node.want_mounts(session);
    node.event_of(EventType::Mount, origin);
    let token = node.receive(session).unwrap()[0].token.unwrap();
    // Assumption must not have the same application asked twice.
    let session = node.assume(session, "careless").unwrap();
    node.respond(session, token, Answer::DontCare).unwrap();
    let answer = Answer::Continue;
    assert_eq!(node.effects, vec![Effect::Answered { origin, answer }]);
    assert_eq!(node.model.live_events().count(), 0);
}

#[test]
fn a_session_that_was_assumed_is_not_asked_again() {
    let mut node = Node::with_fs();
    let (one, two) = (node.session("1"), node.session("2"));
    node.want_mounts(one);
    node.want_mounts(two);
    node.event_of(EventType::Mount, Origin::Request(request(1)));
    let token = node.receive(one).unwrap()[0].token.unwrap();
    node.respond(one, token, Answer::DontCare).unwrap();
    node.assume(one, "1 again").unwrap();
    let token = node.receive(two).unwrap()[0].token.unwrap();
    node.respond(two, token, Answer::DontCare).unwrap();
    assert_eq!(node.model.live_events().count(), 0);
}

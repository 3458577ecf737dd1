//! Tokens and their answers, and events that move to another session.

use dmapi::model::limits;
use dmapi::model::machine::Kept;
use dmapi::model::{
    Answer, ClientId, DmError, Effect, Entry, EventSet, EventType, Model, Origin, RequestId, Right,
    SessionId, Token,
};

use crate::node::{FS, Node, file, request};

#[test]
fn a_token_is_good_once() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    assert_eq!(node.respond(session, token, Answer::Continue), Ok(()));
    assert_eq!(
        node.respond(session, token, Answer::Continue),
        Err(DmError::TokenGone)
    );
    assert_eq!(
        node.model.find_event(session, token),
        Err(DmError::TokenGone)
    );
    assert_eq!(
        node.model.query_right(session, file(1), Some(token)),
        Err(DmError::TokenGone)
    );
}

#[test]
fn a_token_never_issued_is_invalid() {
    let mut node = Node::new();
    let session = node.session("guess");
    node.user_event(session);
    for number in [0, 2, 100, limits::ID_MAX, u32::MAX] {
        assert_eq!(
            node.model.check_token(session, Token(number)),
            Err(DmError::Invalid)
        );
    }
}

#[test]
fn a_token_of_another_session_is_invalid_alive_and_answered() {
    let mut node = Node::new();
    let (owner, other) = (node.session("owner"), node.session("other"));
    let token = node.user_event(owner);
    assert_eq!(node.model.check_token(other, token), Err(DmError::Invalid));
    node.respond(owner, token, Answer::Continue).unwrap();
    assert_eq!(node.model.check_token(other, token), Err(DmError::Invalid));
    assert_eq!(
        node.model.check_token(owner, token),
        Err(DmError::TokenGone)
    );
}

#[test]
fn the_token_of_an_undelivered_event_is_gone_for_its_session() {
    let mut node = Node::new();
    let session = node.session("undelivered");
    let sequence = node.send(session, Some(request(1)), b"x");
    let token = node.model.event(sequence).unwrap().0.token.unwrap();
    assert_eq!(
        node.model.find_event(session, token),
        Err(DmError::TokenGone)
    );
    assert_eq!(
        node.respond(session, token, Answer::Continue),
        Err(DmError::TokenGone)
    );
    assert_eq!(
        node.model.plan_move(session, token, session),
        Err(DmError::TokenGone)
    );
}

#[test]
fn tokens_answered_long_ago_are_still_known_as_issued() {
    let mut node = Node::new();
    let session = node.session("many");
    let first = node.user_event(session);
    node.respond(session, first, Answer::Continue).unwrap();
    for _ in 0..limits::ANSWERED_MAX + 10 {
        for step in 0..2 {
            let model = &mut node.model;
            let entry = match step {
                0 => model
                    .plan_user_event(session, Vec::new(), 0, 0)
                    .unwrap()
                    .into_entry(),
                _ => {
                    let token = model.tokens(session).unwrap()[0];
                    model
                        .plan_respond(session, token, Answer::Continue)
                        .unwrap()
                        .into_entry()
                }
            };
            model.apply(&entry).unwrap();
        }
    }
    node.model.check().unwrap();
    assert_eq!(
        node.model.check_token(session, first),
        Err(DmError::TokenGone)
    );
}

#[test]
fn an_answer_reaches_the_operation_unchanged() {
    let mut node = Node::with_fs();
    let session = node.session("answers");
    node.set_disp(session, EventSet::of(&[EventType::Write]))
        .unwrap();
    for answer in [Answer::Continue, Answer::Abort(1), Answer::Abort(133)] {
        let (serial, _) = node.source_event(EventType::Write);
        assert!(node.model.knows(serial));
        let token = node.receive(session).unwrap()[0].token.unwrap();
        node.respond(session, token, answer).unwrap();
        let origin = Origin::Source(serial);
        assert_eq!(node.effects, vec![Effect::Answered { origin, answer }]);
        assert!(!node.model.knows(serial));
    }
}

#[test]
fn a_bad_answer_leaves_the_event_outstanding() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    for answer in [Answer::Abort(0), Answer::Abort(-5), Answer::DontCare] {
        assert_eq!(node.respond(session, token, answer), Err(DmError::Invalid));
    }
    assert_eq!(node.respond(session, token, Answer::Continue), Ok(()));
}

#[test]
fn an_answer_ends_rights_and_holds() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    node.right(session, file(5), token, Right::Exclusive, false)
        .unwrap();
    node.run(|model| model.plan_hold(session, file(6), Some(token)))
        .unwrap();
    assert!(node.model.is_fs_in_use(FS));
    node.respond(session, token, Answer::Continue).unwrap();
    assert!(node.effects.contains(&Effect::RightsReleased {
        handles: vec![file(5), file(6)]
    }));
    assert!(!node.model.is_fs_in_use(FS));
}

#[test]
fn a_synchronous_message_answers_its_sender_also_after_a_restart() {
    let mut node = Node::new();
    let session = node.session("sender");
    let sequence = node.send(session, Some(request(5)), b"ask");
    assert_eq!(node.model.kept(request(5)), Kept::Waits(sequence));
    assert_eq!(node.model.kept(request(6)), Kept::Unknown);
    let token = node.receive(session).unwrap()[0].token.unwrap();
    node.respond(session, token, Answer::Abort(28)).unwrap();
    let origin = Origin::Request(request(5));
    let answer = Answer::Abort(28);
    assert_eq!(node.effects, vec![Effect::Answered { origin, answer }]);
    assert_eq!(node.model.kept(request(5)), Kept::Answered(answer));
    let client = ClientId(77);
    assert_eq!(node.model.clients(), vec![client]);
    node.run(|model| Ok(model.plan_client_gone(client)))
        .unwrap();
    assert_eq!(node.model.kept(request(5)), Kept::Unknown);
    assert!(node.model.plan_client_gone(client).records.is_empty());
}

#[test]
fn a_kept_reply_lasts_until_the_next_one() {
    let mut model = Model::default();
    let entry = |number| Entry {
        records: Vec::new(),
        reply: Some((request(number), vec![number as u8])),
    };
    model.apply(&entry(1)).unwrap();
    assert_eq!(model.kept(request(1)), Kept::Reply(vec![1]));
    model.apply(&entry(2)).unwrap();
    assert_eq!(model.kept(request(1)), Kept::Unknown);
    assert_eq!(model.kept(request(2)), Kept::Reply(vec![2]));
}

#[test]
fn kept_replies_are_limited_and_the_oldest_goes() {
    let mut model = Model::default();
    for client in 0..=limits::KEPT_REPLIES_MAX as u64 {
        let id = RequestId {
            client: ClientId(u64::MAX - client),
            number: 1,
        };
        model
            .apply(&Entry {
                records: Vec::new(),
                reply: Some((id, Vec::new())),
            })
            .unwrap();
    }
    model.check().unwrap();
    assert_eq!(model.clients().len(), limits::KEPT_REPLIES_MAX);
    assert!(!model.clients().contains(&ClientId(u64::MAX)));
}

#[test]
fn a_moved_event_belongs_to_the_new_session_with_its_rights() {
    let mut node = Node::with_fs();
    let (from, token) = node.with_read();
    let to = node.session("target");
    node.right(from, file(5), token, Right::Shared, false)
        .unwrap();
    assert_eq!(
        node.run(|model| model.plan_move(from, token, to)),
        Ok(token)
    );
    assert_eq!(node.model.find_event(from, token), Err(DmError::Invalid));
    assert_eq!(node.query(to, file(5), token), Right::Shared);
    assert_eq!(node.respond(to, token, Answer::Continue), Ok(()));
    assert!(matches!(
        node.effects[..],
        [Effect::RightsReleased { .. }, Effect::Answered { .. }]
    ));
    assert_eq!(node.model.check_token(from, token), Err(DmError::Invalid));
}

#[test]
fn moving_to_the_same_session_changes_nothing() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let before = node.model.clone();
    node.run(|model| model.plan_move(session, token, session))
        .unwrap();
    assert_eq!(node.model, before);
}

#[test]
fn moving_tells_whose_fault_it_is() {
    let mut node = Node::new();
    let (one, two) = (node.session("one"), node.session("two"));
    let token = node.user_event(one);
    let gone = node.user_event(one);
    node.respond(one, gone, Answer::Continue).unwrap();
    let stranger = SessionId(1000);
    let model = &node.model;
    assert_eq!(model.plan_move(one, token, stranger), Err(DmError::Invalid));
    assert_eq!(model.plan_move(stranger, token, one), Err(DmError::Invalid));
    assert_eq!(model.plan_move(two, token, one), Err(DmError::NotFound));
    assert_eq!(model.plan_move(one, gone, two), Err(DmError::TokenGone));
    assert_eq!(
        model.plan_move(one, Token(1000), two),
        Err(DmError::Invalid)
    );
    assert_eq!(model.check_token(one, token), Ok(()));
}

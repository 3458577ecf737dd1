//! Rights and holds.

use dmapi::model::{Answer, DmError, Effect, FsId, Handle, Right};

use crate::node::{FS_HANDLE, Node, file};

#[test]
fn one_token_asks_for_rights_in_every_order() {
    use Right::{Exclusive, Null, Shared};
    for handle in [file(5), FS_HANDLE] {
        let mut node = Node::with_fs();
        let session = node.session("rights");
        let token = node.user_event(session);
        let mut ask = |right, wait| node.right(session, handle, token, right, wait);
        assert_eq!(ask(Null, false), Err(DmError::Invalid));
        assert_eq!(ask(Shared, false), Ok(true));
        assert_eq!(ask(Shared, true), Ok(true));
        assert_eq!(ask(Exclusive, true), Err(DmError::NoRight));
        assert_eq!(ask(Exclusive, false), Ok(true));
        assert_eq!(ask(Exclusive, true), Ok(true));
        assert_eq!(ask(Shared, true), Ok(true));
    }
}

#[test]
fn right_calls_need_a_token_and_a_handle_that_can_be_held() {
    let mut node = Node::with_fs();
    let session = node.session("rights");
    let token = Some(node.user_event(session));
    let model = &node.model;
    let shared = Right::Shared;
    let ask = |handle, token| {
        model
            .plan_request_right(session, handle, token, shared, false, Right::Null)
            .map(|_| ())
    };
    assert_eq!(ask(file(1), None), Err(DmError::Invalid));
    assert_eq!(ask(Handle::Global, token), Err(DmError::BadHandle));
    assert_eq!(ask(Handle::Fs(FsId(3)), token), Err(DmError::BadHandle));
    assert_eq!(
        model.query_right(session, file(1), None),
        Err(DmError::Invalid)
    );
    assert_eq!(
        model.plan_hold(session, FS_HANDLE, token).map(|_| ()),
        Err(DmError::BadHandle)
    );
    assert_eq!(
        model.plan_hold(session, Handle::Global, token).map(|_| ()),
        Err(DmError::BadHandle)
    );
    assert_eq!(
        model.plan_hold(session, file(1), None).map(|_| ()),
        Err(DmError::Invalid)
    );
}

#[test]
fn tokens_of_one_session_conflict_like_those_of_two() {
    use Right::{Exclusive, Shared};
    let mut node = Node::with_fs();
    let session = node.session("two tokens");
    let other = node.session("third token");
    let (one, two) = (node.user_event(session), node.user_event(session));
    let three = node.user_event(other);
    node.right(session, file(5), one, Shared, false).unwrap();
    assert_eq!(node.right(session, file(5), two, Shared, false), Ok(true));
    assert_eq!(
        node.right(other, file(5), three, Exclusive, false),
        Err(DmError::Again)
    );
    assert_eq!(
        node.right(other, file(5), three, Exclusive, true),
        Ok(false)
    );
    assert_eq!(
        node.right(session, file(5), one, Exclusive, false),
        Err(DmError::Again)
    );
    node.respond(session, one, Answer::Continue).unwrap();
    let handles = vec![file(5)];
    assert!(node.effects.contains(&Effect::RightsReleased { handles }));
    node.run(|model| model.plan_release_right(session, file(5), Some(two)))
        .unwrap();
    assert_eq!(node.right(other, file(5), three, Exclusive, true), Ok(true));
    for right in [Shared, Exclusive] {
        assert_eq!(
            node.right(session, file(5), two, right, false),
            Err(DmError::Again)
        );
    }
}

#[test]
fn rights_of_running_calls_conflict_with_those_of_tokens() {
    use Right::{Exclusive, Null, Shared};
    let mut node = Node::with_fs();
    let session = node.session("calls");
    let token = node.user_event(session);
    let ask = |right, calls| {
        node.model
            .plan_request_right(session, file(5), Some(token), right, false, calls)
            .map(|_| ())
    };
    assert_eq!(ask(Shared, Shared), Ok(()));
    assert_eq!(ask(Shared, Exclusive), Err(DmError::Again));
    assert_eq!(ask(Exclusive, Shared), Err(DmError::Again));
    assert_eq!(ask(Exclusive, Null), Ok(()));
    node.right(session, file(5), token, Shared, false).unwrap();
    let upgrade = |calls| {
        node.model
            .plan_upgrade_right(session, file(5), Some(token), calls)
            .map(|_| ())
    };
    assert_eq!(upgrade(Shared), Err(DmError::Again));
    assert_eq!(upgrade(Null), Ok(()));
    assert_eq!(node.model.strongest_right(file(5), None), Shared);
    assert_eq!(node.model.strongest_right(file(5), Some(token)), Null);
}

#[test]
fn upgrade_downgrade_and_release_need_what_they_change() {
    use Right::{Exclusive, Null, Shared};
    let mut node = Node::with_fs();
    let session = node.session("steps");
    let token = node.user_event(session);
    let t = Some(token);
    let up =
        |node: &mut Node| node.run(|model| model.plan_upgrade_right(session, file(5), t, Null));
    let down = |node: &mut Node| node.run(|model| model.plan_downgrade_right(session, file(5), t));
    let release = |node: &mut Node| node.run(|model| model.plan_release_right(session, file(5), t));
    assert_eq!(node.query(session, file(5), token), Null);
    assert_eq!(up(&mut node), Err(DmError::NotPermitted));
    assert_eq!(down(&mut node), Err(DmError::NotPermitted));
    assert_eq!(release(&mut node), Err(DmError::NoRight));
    node.right(session, file(5), token, Shared, false).unwrap();
    assert_eq!(down(&mut node), Err(DmError::NotPermitted));
    assert_eq!(up(&mut node), Ok(()));
    assert_eq!(up(&mut node), Ok(()));
    assert_eq!(node.query(session, file(5), token), Exclusive);
    assert_eq!(down(&mut node), Ok(()));
    let handles = vec![file(5)];
    assert_eq!(node.effects, vec![Effect::RightsReleased { handles }]);
    assert_eq!(node.query(session, file(5), token), Shared);
    assert_eq!(release(&mut node), Ok(()));
    assert_eq!(node.query(session, file(5), token), Null);
    assert_eq!(release(&mut node), Err(DmError::NoRight));
}

#[test]
fn rights_on_a_directory_or_file_system_cover_nothing_else() {
    let mut node = Node::with_fs();
    let session = node.session("cover");
    let (one, two) = (node.user_event(session), node.user_event(session));
    for handle in [FS_HANDLE, file(2)] {
        node.right(session, handle, one, Right::Exclusive, false)
            .unwrap();
    }
    assert_eq!(
        node.right(session, file(3), two, Right::Exclusive, false),
        Ok(true)
    );
}

#[test]
fn a_hold_is_per_token_and_conveys_no_right() {
    let mut node = Node::with_fs();
    let session = node.session("hold");
    let (one, two) = (node.user_event(session), node.user_event(session));
    let hold =
        |node: &mut Node, token| node.run(|model| model.plan_hold(session, file(5), Some(token)));
    let release = |node: &mut Node, token| {
        node.run(|model| model.plan_release_hold(session, file(5), Some(token)))
    };
    let held = |node: &Node, token| node.model.query_hold(session, file(5), Some(token));
    assert_eq!(held(&node, one), Ok(false));
    assert_eq!(release(&mut node, one), Err(DmError::NoRight));
    assert_eq!(hold(&mut node, one), Ok(()));
    assert_eq!(hold(&mut node, one), Err(DmError::Busy));
    assert_eq!(hold(&mut node, two), Ok(()));
    assert_eq!(held(&node, one), Ok(true));
    assert_eq!(node.query(session, file(5), one), Right::Null);
    node.right(session, file(5), one, Right::Shared, false)
        .unwrap();
    node.run(|model| model.plan_release_right(session, file(5), Some(one)))
        .unwrap();
    assert_eq!(held(&node, one), Ok(true));
    assert_eq!(release(&mut node, one), Ok(()));
    assert_eq!(held(&node, one), Ok(false));
    assert_eq!(release(&mut node, one), Err(DmError::NoRight));
    assert!(node.model.is_in_use(file(5)));
    node.respond(session, two, Answer::Continue).unwrap();
    assert!(!node.model.is_in_use(file(5)));
}

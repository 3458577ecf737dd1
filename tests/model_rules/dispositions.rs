//! Dispositions, event lists, and what a destroyed file leaves.

use dmapi::model::machine::changed_list;
use dmapi::model::{DmError, Effect, EventSet, EventType, FsId, Handle, Kinds, Right, SessionId};

use crate::node::{ALL, FS, FS_HANDLE, NAME, Node, file};

#[test]
fn dispositions_on_a_file_system_take_what_can_happen_on_it() {
    let mut node = Node::with_fs();
    let session = node.session("disp");
    for kind in EventType::ALL
        .into_iter()
        .filter(|kind| kind.bit() < 1 << 23)
    {
        let expected = match kind {
            EventType::Mount | EventType::User | EventType::Cancel => Err(DmError::Invalid),
            _ => Ok(()),
        };
        assert_eq!(
            node.set_disp(session, EventSet::of(&[kind])),
            expected,
            "{kind:?}"
        );
    }
}

#[test]
fn dispositions_on_the_global_handle_take_mount_only() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let set = |node: &Node, events, token| {
        node.model
            .plan_set_disposition(session, Handle::Global, token, events, ALL)
            .map(|_| ())
    };
    let mount = EventSet::of(&[EventType::Mount]);
    assert_eq!(set(&node, mount, None), Ok(()));
    assert_eq!(set(&node, EventSet(0), None), Ok(()));
    for kind in EventType::ALL
        .into_iter()
        .filter(|kind| kind.bit() < 1 << 23)
    {
        if kind != EventType::Mount {
            let events = EventSet::of(&[kind]);
            assert_eq!(set(&node, events, None), Err(DmError::Invalid), "{kind:?}");
        }
    }
    assert_eq!(set(&node, mount, Some(token)), Err(DmError::Invalid));
    node.want_mounts(session);
    assert!(node.model.wants_mounts(session));
    // Mount interest is not among the dispositions that are told.
    let read = EventSet::of(&[EventType::Read]);
    assert_eq!(node.model.dispositions_of(session), Ok(vec![(FS, read)]));
}

#[test]
fn dispositions_are_not_for_objects() {
    let mut node = Node::with_fs();
    let session = node.session("object");
    let read = EventSet::of(&[EventType::Read]);
    let set = |handle| {
        node.model
            .plan_set_disposition(session, handle, None, read, ALL)
            .map(|_| ())
    };
    assert_eq!(set(file(4)), Err(DmError::WrongKind));
    assert_eq!(set(Handle::Fs(FsId(1))), Err(DmError::BadHandle));
}

#[test]
fn bits_from_maxevent_on_are_ignored() {
    let mut node = Node::with_fs();
    let session = node.session("mask");
    let kind = EventType::Read;
    let events = EventSet::of(&[kind, EventType::User]);
    let mask = |maxevent: u32| EventSet((1 << maxevent) - 1);
    for (maxevent, expected) in [(kind as u32 + 1, Some(session)), (kind as u32, None)] {
        node.run(|model| {
            model.plan_set_disposition(session, FS_HANDLE, None, events, mask(maxevent))
        })
        .unwrap();
        assert_eq!(node.model.disposition(FS, kind), expected);
    }
}

#[test]
fn the_newest_registration_takes_over() {
    let mut node = Node::with_fs();
    let (one, two) = (node.session("1"), node.session("2"));
    node.set_disp(one, EventSet::of(&[EventType::Read, EventType::Write]))
        .unwrap();
    node.source_event(EventType::Read);
    node.set_disp(two, EventSet::of(&[EventType::Read]))
        .unwrap();
    assert!(node.effects.contains(&Effect::InterestChanged { fs: FS }));
    let write = EventSet::of(&[EventType::Write]);
    let read = EventSet::of(&[EventType::Read]);
    assert_eq!(node.model.dispositions_of(one), Ok(vec![(FS, write)]));
    assert_eq!(node.model.dispositions_of(two), Ok(vec![(FS, read)]));
    // What was queued stays with the old one.
    assert_eq!(node.receive(one).unwrap().len(), 1);
    node.source_event(EventType::Read);
    assert_eq!(node.receive(two).unwrap().len(), 1);
    // Dropping what is not one's own leaves it alone.
    node.set_disp(one, EventSet(0)).unwrap();
    assert_eq!(node.model.dispositions_of(one), Ok(Vec::new()));
    assert_eq!(node.model.dispositions_of(two), Ok(vec![(FS, read)]));
}

#[test]
fn event_lists_take_what_the_kind_of_object_can_have() {
    use EventType::*;
    let namespace = [
        Create,
        PostCreate,
        Remove,
        PostRemove,
        Rename,
        PostRename,
        Link,
        PostLink,
        Symlink,
        PostSymlink,
    ];
    let object = [Attribute, Destroy, Close];
    let fs = [PreUnmount, Unmount, NoSpace];
    for kind in EventType::ALL
        .into_iter()
        .filter(|kind| kind.bit() < 1 << 23)
    {
        let of = |kinds| changed_list(kinds, EventSet(0), EventSet::of(&[kind]), ALL).is_ok();
        let on_object = object.contains(&kind);
        let on_directory = on_object || namespace.contains(&kind);
        assert_eq!(of(Kinds::REGULAR), on_object, "{kind:?}");
        assert_eq!(of(Kinds::SYMLINK), on_object, "{kind:?}");
        assert_eq!(of(Kinds::DIRECTORY), on_directory, "{kind:?}");
        assert_eq!(
            of(Kinds::FS),
            on_directory || fs.contains(&kind),
            "{kind:?}"
        );
        assert!(!of(Kinds::GLOBAL), "{kind:?}");
    }
}

#[test]
fn a_list_keeps_the_bits_that_are_not_replaced() {
    use EventType::{Attribute, Close, Destroy, Read};
    let old = EventSet::of(&[Close, Destroy, Read]);
    let mask = EventSet((1 << (Attribute as u32 + 1)) - 1);
    let new = changed_list(Kinds::REGULAR, old, EventSet::of(&[Attribute]), mask);
    assert_eq!(new, Ok(EventSet::of(&[Attribute, Destroy, Read])));
}

#[test]
fn the_list_of_a_file_system_is_read_back_and_stays_when_a_change_fails() {
    let mut node = Node::with_fs();
    let session = node.session("list");
    let set = EventSet::of(&[EventType::Create, EventType::NoSpace]);
    assert_eq!(
        node.run(|model| model.plan_set_event_list(
            session,
            FS_HANDLE,
            None,
            set,
            ALL,
            EventSet(0)
        )),
        Ok(set)
    );
    for kind in [
        EventType::Debut,
        EventType::Read,
        EventType::Mount,
        EventType::User,
    ] {
        let bad = EventSet::of(&[kind]);
        assert_eq!(
            node.run(|model| model.plan_set_event_list(
                session,
                FS_HANDLE,
                None,
                bad,
                ALL,
                EventSet(0)
            )),
            Err(DmError::Invalid)
        );
    }
    assert_eq!(node.model.event_list(session, FS_HANDLE, None), Ok(set));
    assert_eq!(
        node.model.event_list(session, Handle::Global, None),
        Err(DmError::Invalid)
    );
}

#[test]
fn calls_on_a_file_system_check_the_right_of_the_token() {
    let mut node = Node::with_fs();
    let (session, token) = node.with_read();
    let set = |node: &Node| {
        node.model
            .plan_set_disposition(session, FS_HANDLE, Some(token), EventSet(0), ALL)
            .map(|_| ())
    };
    let look = |node: &Node| node.model.event_list(session, FS_HANDLE, Some(token));
    assert_eq!(set(&node), Err(DmError::NoRight));
    assert_eq!(look(&node), Err(DmError::NoRight));
    node.right(session, FS_HANDLE, token, Right::Shared, false)
        .unwrap();
    assert_eq!(set(&node), Err(DmError::NoRight));
    assert_eq!(look(&node), Ok(EventSet(0)));
    assert!(
        node.model
            .mount_info(session, FS_HANDLE, Some(token))
            .is_ok()
    );
    node.right(session, FS_HANDLE, token, Right::Exclusive, false)
        .unwrap();
    assert_eq!(set(&node), Ok(()));
    // Rights on the file system do not cover its objects.
    assert_eq!(node.query(session, file(2), token), Right::Null);
}

fn set_return(node: &mut Node, session: SessionId, enable: bool) -> Result<(), DmError> {
    node.run(|model| model.plan_return_on_destroy(session, FS_HANDLE, None, NAME, enable))
}

#[test]
fn return_on_destroy_takes_the_disposition_and_ends_only_by_its_owner() {
    let mut node = Node::with_fs();
    let (one, two) = (node.session("1"), node.session("2"));
    assert_eq!(set_return(&mut node, one, false), Err(DmError::Invalid));
    set_return(&mut node, one, true).unwrap();
    assert_eq!(node.model.disposition(FS, EventType::Destroy), Some(one));
    assert_eq!(node.model.return_on_destroy(FS), Some(NAME));
    assert_eq!(set_return(&mut node, two, false), Err(DmError::Invalid));
    set_return(&mut node, two, true).unwrap();
    assert_eq!(node.model.disposition(FS, EventType::Destroy), Some(two));
    assert_eq!(set_return(&mut node, one, false), Err(DmError::Invalid));
    set_return(&mut node, two, false).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), None);
    assert_eq!(node.model.disposition(FS, EventType::Destroy), Some(two));
}

#[test]
fn return_on_destroy_needs_a_name_and_a_file_system() {
    let mut node = Node::with_fs();
    let session = node.session("name");
    let plan = |handle, name| {
        node.model
            .plan_return_on_destroy(session, handle, None, name, true)
            .map(|_| ())
    };
    assert_eq!(plan(FS_HANDLE, [0; 8]), Err(DmError::Invalid));
    assert_eq!(plan(file(3), NAME), Err(DmError::WrongKind));
    assert_eq!(plan(Handle::Global, NAME), Err(DmError::BadHandle));
}

#[test]
fn the_returned_attribute_follows_the_disposition_of_destroy() {
    let mut node = Node::with_fs();
    let (one, two) = (node.session("1"), node.session("2"));
    let destroy = EventSet::of(&[EventType::Destroy]);
    set_return(&mut node, one, true).unwrap();
    // Renewed by its owner: kept.
    node.set_disp(one, destroy).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), Some(NAME));
    // Dropped by its owner: cleared.
    node.set_disp(one, EventSet(0)).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), None);
    // Taken over by dm_set_disp: cleared.
    set_return(&mut node, one, true).unwrap();
    node.set_disp(two, destroy).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), None);
    // Ends with the session.
    set_return(&mut node, two, true).unwrap();
    node.destroy(two).unwrap();
    assert_eq!(node.model.return_on_destroy(FS), None);
    assert_eq!(node.model.disposition(FS, EventType::Destroy), None);
}

#[test]
fn the_returned_attribute_goes_on_with_an_assumed_session() {
    let mut node = Node::with_fs();
    let session = node.session("owner");
    set_return(&mut node, session, true).unwrap();
    let session = node.assume(session, "owner").unwrap();
    assert_eq!(node.model.return_on_destroy(FS), Some(NAME));
    assert_eq!(set_return(&mut node, session, false), Ok(()));
}

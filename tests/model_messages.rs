//! The bytes of event messages: offsets are written out here, apart from the code that is tested.

use dmapi::model::message::{body_bytes, encode, mount_body, mount_bytes};
use dmapi::model::{
    Event, EventBody, EventType, FsId, Handle, MountBody, NamespaceBody, Origin, Sequence, Token,
};

const FS: FsId = FsId(0x1122_3344_5566_7788);

fn object(inode: u64) -> Handle {
    Handle::Object {
        fs: FS,
        inode,
        generation: 3,
    }
}

fn event(kind: EventType, token: Option<u32>, body: EventBody) -> Event {
    Event {
        sequence: Sequence(0x1_0000_0005),
        token: token.map(Token),
        kind,
        body,
        origin: Origin::Nobody,
        pid: 1,
        made_ms: 2,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The variable part that the `dm_vardata_t` at `base + field` names, counted from `base`.
fn part(bytes: &[u8], base: usize, field: usize) -> &[u8] {
    let offset = u32_at(bytes, base + field) as usize;
    let length = u32_at(bytes, base + field + 4) as usize;
    if length == 0 {
        assert_eq!(offset, 0, "an absent part is all zero");
        return &[];
    }
    &bytes[base + offset..base + offset + length]
}

#[test]
fn a_data_event_is_laid_out_as_c_has_it() {
    let body = EventBody::Data {
        handle: object(9),
        offset: 4096,
        length: u64::MAX,
        mapped: None,
    };
    let bytes = encode(&[event(EventType::Write, Some(77), body)], 6);
    assert_eq!(bytes.len(), 32 + 24 + 24);
    assert_eq!(u32_at(&bytes, 0), 0);
    assert_eq!(u32_at(&bytes, 4), 17);
    assert_eq!(u32_at(&bytes, 8), 77);
    assert_eq!(u32_at(&bytes, 12), 5);
    assert_eq!((u32_at(&bytes, 16), u32_at(&bytes, 20)), (32, 48));
    assert_eq!(u32_at(&bytes, 24), 6);
    assert_eq!(part(&bytes, 32, 0), object(9).to_bytes());
    assert_eq!(u64_at(&bytes, 32 + 8), 4096);
    assert_eq!(u64_at(&bytes, 32 + 16), u64::MAX);
}

#[test]
fn a_namespace_event_has_its_names_with_nul() {
    let body = NamespaceBody {
        mode: 0o100644,
        handle1: Some(object(2)),
        handle2: None,
        name1: b"old".to_vec(),
        name2: b"new name".to_vec(),
        retcode: 17,
    };
    let bytes = encode(
        &[event(
            EventType::PostRename,
            None,
            EventBody::Namespace(body),
        )],
        0,
    );
    assert_eq!(bytes.len(), (32 + 40 + 24 + 4 + 9usize).next_multiple_of(8));
    assert_eq!(u32_at(&bytes, 8), 0, "DM_INVALID_TOKEN");
    assert_eq!(u32_at(&bytes, 32), 0o100644);
    assert_eq!(part(&bytes, 32, 4), object(2).to_bytes());
    assert_eq!(part(&bytes, 32, 12), b"");
    assert_eq!(part(&bytes, 32, 20), b"old\0");
    assert_eq!(part(&bytes, 32, 28), b"new name\0");
    assert_eq!(u32_at(&bytes, 32 + 36), 17);
}

#[test]
fn a_mount_event_ends_with_the_root_handle() {
    let mount = MountBody {
        mode: 1,
        fs: Handle::Fs(FS),
        mount_point: Some(object(40)),
        path: b"/mnt".to_vec(),
        device: b"/dev/loop0".to_vec(),
        root: object(128),
    };
    let alone = mount_body(&mount);
    assert_eq!(alone.len(), mount_bytes(&mount));
    assert_eq!(u32_at(&alone, 0), 1);
    assert_eq!(part(&alone, 0, 4), FS.0.to_ne_bytes());
    assert_eq!(part(&alone, 0, 12), object(40).to_bytes());
    assert_eq!(part(&alone, 0, 20), b"/mnt\0");
    assert_eq!(part(&alone, 0, 28), b"/dev/loop0\0");
    assert_eq!(part(&alone, 0, 36), object(128).to_bytes());
    let root_end = u32_at(&alone, 36) + u32_at(&alone, 40);
    assert_eq!(root_end as usize, alone.len());
    let message = encode(
        &[event(EventType::Mount, Some(1), EventBody::Mount(mount))],
        0,
    );
    assert_eq!(message[32..32 + alone.len()], alone[..]);
    assert_eq!(u32_at(&message, 20) as usize, alone.len());
}

#[test]
fn a_destroy_event_has_the_attribute_or_nothing() {
    let destroy = |copy| {
        let body = EventBody::Destroy {
            handle: object(5),
            copy,
        };
        encode(&[event(EventType::Destroy, None, body)], 0)
    };
    let with = destroy(Some((*b"location", b"tape 7".to_vec())));
    assert_eq!(part(&with, 32, 0), object(5).to_bytes());
    assert_eq!(&with[40..48], b"location");
    assert_eq!(part(&with, 32, 16), b"tape 7");
    let empty = destroy(Some((*b"location", Vec::new())));
    assert_eq!(&empty[40..48], b"location");
    assert_eq!(part(&empty, 32, 16), b"");
    let without = destroy(None);
    assert_eq!(&without[40..48], &[0; 8]);
    assert_eq!(part(&without, 32, 16), b"");
}

#[test]
fn a_cancel_event_names_the_withdrawn_one() {
    let body = EventBody::Cancel {
        sequence: Sequence(12),
        token: Token(34),
    };
    let bytes = encode(&[event(EventType::Cancel, None, body)], 0);
    assert_eq!(bytes.len(), 40);
    assert_eq!((u32_at(&bytes, 32), u32_at(&bytes, 36)), (12, 34));
}

#[test]
fn user_data_begins_at_ev_data() {
    for length in [0usize, 1, 7, 8, 9, 3960] {
        let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let one = event(EventType::User, Some(3), EventBody::User(data.clone()));
        let bytes = encode(std::slice::from_ref(&one), 0);
        assert_eq!(part(&bytes, 0, 16), data);
        assert_eq!(bytes.len(), one.message_bytes());
        assert_eq!(bytes.len() % 8, 0);
    }
}

#[test]
fn the_list_is_linked_and_its_last_link_is_zero() {
    let events: Vec<Event> = [3usize, 8, 0]
        .into_iter()
        .map(|length| event(EventType::User, Some(1), EventBody::User(vec![9; length])))
        .collect();
    let bytes = encode(&events, 0);
    let mut at = 0;
    for one in &events[..2] {
        let link = u32_at(&bytes, at) as usize;
        assert_eq!(link, one.message_bytes());
        assert_eq!(
            one.message_bytes() - 32,
            body_bytes(&one.body).next_multiple_of(8)
        );
        at += link;
    }
    assert_eq!(u32_at(&bytes, at), 0);
    assert_eq!(at + events[2].message_bytes(), bytes.len());
    assert_eq!(encode(&[], 0), Vec::<u8>::new());
}

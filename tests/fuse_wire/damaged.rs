//! Frames that are cut or changed: a request or an error, never a panic.

use dmapi::source::fuse::wire::Malformed;
use dmapi::source::fuse::wire::Op;
use dmapi::source::fuse::wire::Request;
use dmapi::source::fuse::wire::abi;
use proptest::prelude::Just;
use proptest::prelude::Strategy;
use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::proptest;

use crate::recorded;

const HEADER_BYTES: usize = 40;

/// Says its own length.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len()).expect("short");
    if let Some(field) = frame.get_mut(..4) {
        field.copy_from_slice(&length.to_ne_bytes());
    }
    frame
}

fn frame(opcode: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEADER_BYTES];
    frame[4..8].copy_from_slice(&opcode.to_ne_bytes());
    frame[8..16].copy_from_slice(&77u64.to_ne_bytes());
    frame.extend(body);
    sealed(frame)
}

#[test]
fn each_cut_of_each_recorded_frame_is_answered_with_its_number() {
    for (name, frame, _) in recorded::read() {
        let whole = Request::parse(&frame).expect("a whole one");
        for bytes in 0..frame.len() {
            // The length in the header is wrong then.
            let error = Request::parse(&frame[..bytes]).expect_err(&name);
            let reply_to = (bytes >= HEADER_BYTES).then(|| whole.reply_to());
            assert_eq!(error.reply_to, reply_to, "{name} cut to {bytes}");
            // The length is right: it may still be a request, with a shorter name or fewer flags.
            let cut = sealed(frame[..bytes].to_vec());
            if let Ok(request) = Request::parse(&cut) {
                assert_eq!(request.unique, whole.unique, "{name} cut to {bytes}");
            }
        }
    }
}

#[test]
fn names_end_with_nul() {
    assert!(Request::parse(&frame(abi::FUSE_LOOKUP, b"name\0")).is_ok());
    for (opcode, body) in [
        (abi::FUSE_LOOKUP, &b"name"[..]),
        (abi::FUSE_UNLINK, b""),
        (abi::FUSE_SYMLINK, b"one\0two"),
        (abi::FUSE_RENAME, b"12345678one\0"),
    ] {
        let error = Malformed {
            reply_to: Some(77),
            opcode,
        };
        assert_eq!(Request::parse(&frame(opcode, body)), Err(error));
    }
}

#[test]
fn counts_that_say_more_than_there_is_are_refused() {
    let huge = u32::MAX.to_ne_bytes();
    let forget = [&huge[..], &[0; 4], &[1; 16]].concat();
    assert!(Request::parse(&frame(abi::FUSE_BATCH_FORGET, &forget)).is_err());
    let write = [&[0; 16][..], &huge, &[0; 20], b"data"].concat();
    assert!(Request::parse(&frame(abi::FUSE_WRITE, &write)).is_err());
    let set = [&huge[..], &[0; 12], b"user.a\0value"].concat();
    assert!(Request::parse(&frame(abi::FUSE_SETXATTR, &set)).is_err());
    let ioctl = [&[0; 24][..], &huge, &huge].concat();
    assert!(Request::parse(&frame(abi::FUSE_IOCTL, &ioctl)).is_err());
}

#[test]
fn extensions_are_no_part_of_the_body() {
    let mut groups = 24u32.to_ne_bytes().to_vec();
    groups.extend(abi::FUSE_EXT_GROUPS.to_ne_bytes());
    groups.extend(2u32.to_ne_bytes());
    groups.extend([7u32.to_ne_bytes(), 9u32.to_ne_bytes(), [0; 4]].concat());
    let body = [&[0; 8][..], b"name\0", &groups].concat();
    let mut made = frame(abi::FUSE_MKDIR, &body);
    made[36..38].copy_from_slice(&3u16.to_ne_bytes());
    let request = Request::parse(&made).expect("a request");
    assert_eq!(request.groups, [7, 9]);
    let Op::Mkdir { name, .. } = request.op else {
        panic!("{:?}", request.op);
    };
    assert_eq!(name.as_c_str(), c"name");
    made[36..38].copy_from_slice(&300u16.to_ne_bytes());
    assert!(Request::parse(&made).is_err());
}

#[test]
fn many_nodes_are_forgotten_at_once() {
    let numbers = [3u64, 1, 4, 15].map(u64::to_ne_bytes).concat();
    let body = [&2u32.to_ne_bytes()[..], &[0; 4], &numbers].concat();
    let made = frame(abi::FUSE_BATCH_FORGET, &body);
    let request = Request::parse(&made).expect("a request");
    assert_eq!(request.op, Op::BatchForget(vec![(3, 1), (4, 15)]));
    assert!(!request.op.wants_reply());
}

#[test]
fn an_old_kernel_s_short_init_has_no_high_flags() {
    let words = [7u32, 31, 65536, 0x7fff_ffff]
        .map(u32::to_ne_bytes)
        .concat();
    let made = frame(abi::FUSE_INIT, &words);
    let request = Request::parse(&made).expect("a request");
    let Op::Init { minor, flags, .. } = request.op else {
        panic!("{:?}", request.op);
    };
    assert_eq!((minor, flags), (31, 0x7fff_ffff));
}

#[test]
fn what_is_not_known_is_told() {
    let request = frame(4000, b"anything");
    let request = Request::parse(&request).expect("a request");
    assert_eq!(request.op, Op::Unknown(4000));
}

#[test]
fn an_owned_request_is_the_same() {
    for (name, frame, _) in recorded::read() {
        let request = Request::parse(&frame).expect("a request");
        assert_eq!(request.clone().into_owned(), request, "{name}");
    }
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Request::parse(&sealed(bytes));
    }

    #[test]
    fn any_body_of_any_operation(
        opcode in 0..60u32,
        extension_words in prop_oneof(),
        body in prop::collection::vec(prop::num::u8::ANY, 0..200),
    ) {
        let mut frame = frame(opcode, &body);
        frame[36..38].copy_from_slice(&extension_words.to_ne_bytes());
        let _ = Request::parse(&frame);
    }
}

/// Extensions are rare, and seldom longer than the frame.
fn prop_oneof() -> impl Strategy<Value = u16> {
    proptest::prop_oneof![4 => Just(0), 3 => 0..30u16, 1 => any::<u16>()]
}

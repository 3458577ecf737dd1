//! What the kernel gives as text or bytes, and what is kept in extended attributes.

use std::io::Seek;
use std::io::Write;
use std::os::fd::AsFd;

use dmapi::ctl;
use dmapi::fs::ObjectState;
use dmapi::fs::state;
use dmapi::model::{EventSet, Handle, Region};
use dmapi::source::arena::Arena;
use dmapi::source::fanotify::parsers;
use dmapi::source::fuse::wire::Request;

use super::Target;

/// The targets of this module.
pub fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "handle",
            run: handle,
            seeds: handle_seeds,
            slice: 20_000,
        },
        Target {
            name: "object_state",
            run: object_state,
            seeds: object_state_seeds,
            slice: 20_000,
        },
        Target {
            name: "syscall_line",
            run: syscall_line,
            seeds: syscall_line_seeds,
            slice: 20_000,
        },
        Target {
            name: "mountinfo",
            run: mountinfo,
            seeds: mountinfo_seeds,
            slice: 20_000,
        },
        Target {
            name: "events",
            run: events,
            seeds: events_seeds,
            slice: 500,
        },
        Target {
            name: "notifications",
            run: notifications,
            seeds: notifications_seeds,
            slice: 20_000,
        },
        Target {
            name: "fuse_request",
            run: fuse_request,
            seeds: fuse_request_seeds,
            slice: 50_000,
        },
    ]
}

/// What is taken for a handle comes out as the same bytes.
fn handle(bytes: &[u8]) {
    if let Some(handle) = Handle::from_bytes(bytes) {
        assert_eq!(handle.to_bytes(), bytes);
    }
}

fn handle_seeds() -> Vec<Vec<u8>> {
    let fs = dmapi::model::FsId(0x1234_5678_9abc_def0);
    let object = Handle::Object {
        fs,
        inode: 1 << 40 | 7,
        generation: 9,
    };
    vec![Handle::Fs(fs).to_bytes(), object.to_bytes()]
}

/// First as it is, then with a right checksum: else nothing would get past that.
fn object_state(bytes: &[u8]) {
    let _ = state::decode(bytes);
    let mut sealed = bytes.to_vec();
    sealed.extend(crc32c::crc32c(bytes).to_le_bytes());
    if let Ok(found) = state::decode(&sealed) {
        let again = state::encode(&found).expect("what was read can be written");
        assert_eq!(state::decode(&again), Ok(found));
    }
}

fn object_state_seeds() -> Vec<Vec<u8>> {
    let region = |offset, size| Region {
        offset,
        size,
        flags: 7,
        opaque: 9,
    };
    let full = ObjectState {
        regions: vec![region(0, 4096), region(1 << 40, 0)],
        events: EventSet(1 << 20),
        punched_from: Some(4096),
        changes: 3,
        dtime: Some((-5, 999_999_999)),
        shown_ctime: None,
    };
    let shown = ObjectState {
        shown_ctime: Some((1_700_000_000, 1)),
        ..full.clone()
    };
    let mut seeds = Vec::new();
    for state in [ObjectState::default(), full, shown] {
        let bytes = state::encode(&state).expect("a state can be written");
        seeds.push(bytes[..bytes.len() - 4].to_vec());
        seeds.push(bytes);
    }
    seeds
}

fn syscall_line(bytes: &[u8]) {
    let call = parsers::syscall_line(&String::from_utf8_lossy(bytes));
    assert_ne!(call.hash, 0, "0 is: not known");
}

fn syscall_line_seeds() -> Vec<Vec<u8>> {
    let lines = [
        "0 0x3 0x7ffc0 0x1000 0x0 0x0 0x0 0x7ffc1234 0x7f001234",
        "-1 0x7ffc1234 0x7f001234",
        "running",
    ];
    lines.map(|line| line.as_bytes().to_vec()).to_vec()
}

/// Both readers agree on which device a line tells.
fn mountinfo(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let of_source = parsers::mountinfo_line(&String::from_utf8_lossy(line));
        let of_dmctl = ctl::mountinfo_line(line);
        if let (Some(source), Some(_)) = (of_source, of_dmctl) {
            assert!(source.path.as_os_str().len() <= 3 * line.len());
        }
    }
}

fn mountinfo_seeds() -> Vec<Vec<u8>> {
    let lines = [
        "36 35 98:0 /a /mnt\\040two rw,noatime master:1 - ext4 /dev/root rw,errors=continue",
        "1 1 0:1 / / ro - btrfs none ro\n2 1 4095:1048575 / /\\134\\011 rw shared:1 unbindable - xfs a\\040b rw",
    ];
    lines.map(|line| line.as_bytes().to_vec()).to_vec()
}

/// The buffer of permission events. Where the kernel has put it another worker may have to read it.
fn events(bytes: &[u8]) {
    let arena = Arena::create(64).expect("an arena");
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("written");
    file.rewind().expect("rewound");
    arena.fill(file.as_fd(), 0, bytes.len()).expect("read");
    let found = arena.inbox(0);
    arena.take_up_inboxes(1);
    let slots: Vec<_> = arena.occupied().map(|slot| slot.event).collect();
    assert_eq!(slots, found.into_iter().take(64).collect::<Vec<_>>());
    assert!(arena.inbox(0).is_empty());
}

fn event(fd: i32, records: &[u8]) -> Vec<u8> {
    let mut event = ((24 + records.len()) as u32).to_ne_bytes().to_vec();
    event.extend([3, 0, 24, 0]);
    event.extend(0x0010_0000u64.to_ne_bytes());
    event.extend(fd.to_ne_bytes());
    event.extend(77u32.to_ne_bytes());
    event.extend(records);
    event
}

fn events_seeds() -> Vec<Vec<u8>> {
    let mut range = vec![6, 0, 24, 0, 0, 0, 0, 0];
    range.extend(4096u64.to_ne_bytes());
    range.extend(512u64.to_ne_bytes());
    let two = [event(8, &range), event(9, &[])].concat();
    vec![event(7, &[]), event(7, &range), two]
}

fn notifications(bytes: &[u8]) {
    for note in parsers::notifications(bytes) {
        let _ = (note.is_link_count(), note.is_overflow());
    }
}

fn record(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut body = vec![9; 8];
    body.extend(8u32.to_ne_bytes());
    body.extend(0x81i32.to_ne_bytes());
    body.extend([5; 8]);
    body.extend(name);
    body.resize(body.len().next_multiple_of(4), 0);
    let mut record = vec![kind, 0];
    record.extend(((body.len() + 4) as u16).to_ne_bytes());
    record.extend(body);
    record
}

fn notifications_seeds() -> Vec<Vec<u8>> {
    let rename = [record(10, b"old\0"), record(12, b"new\0"), record(1, b"")].concat();
    let two = [event(-1, &rename), event(-1, &record(2, b"."))].concat();
    vec![event(-1, &record(1, b"")), two]
}

/// First as it is, then with the right length: else nothing would get past that.
fn fuse_request(bytes: &[u8]) {
    let _ = Request::parse(bytes);
    let mut sealed = bytes.to_vec();
    if let Some(length) = sealed.first_chunk_mut() {
        *length = (bytes.len() as u32).to_ne_bytes();
    }
    match Request::parse(&sealed) {
        Ok(request) => {
            assert!(request.data.len() < bytes.len());
            assert_eq!(request.clone().into_owned(), request);
        }
        Err(malformed) => assert_eq!(malformed.reply_to.is_some(), bytes.len() >= 40),
    }
}

/// What a kernel sent: the second line of each three.
fn fuse_request_seeds() -> Vec<Vec<u8>> {
    let recorded = include_str!("../../tests/fuse_wire/frames.txt");
    let frames = recorded.lines().skip(1).step_by(3).map(str::trim);
    frames
        .map(|hex| {
            let pairs = hex.as_bytes().chunks_exact(2).map(String::from_utf8_lossy);
            pairs
                .map(|pair| u8::from_str_radix(&pair, 16).expect("two hex digits"))
                .collect()
        })
        .collect()
}

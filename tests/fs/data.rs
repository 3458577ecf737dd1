//! Invisible I/O and holes.

use std::fs;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;

use dmapi::fs::AllocInfo;
use dmapi::fs::FsKind;
use dmapi::fs::hole;
use dmapi::fs::invisible::read_at;
use dmapi::fs::invisible::write_at;
use dmapi::model::DmError;
use dmapi::model::OpenFor;
use dmapi::model::file::Extent;

use crate::Place;
use crate::on_each_kind;

on_each_kind!(with_place: reading_is_invisible, writing_is_invisible, capabilities_outlive_writes,
    the_map_tells_data_and_holes, the_map_comes_in_pieces, a_punch_frees_and_shows_nothing,
    a_punch_frees_what_lies_beyond_the_end);

/// atime, mtime and, where the file system allows, ctime.
fn times(place: &Place, name: &str) -> [(i64, i64); 3] {
    let meta = fs::metadata(place.join(name)).unwrap();
    let ctime = match place.mount.kind {
        FsKind::Xfs => (meta.ctime(), meta.ctime_nsec()),
        _ => (0, 0),
    };
    [
        (meta.atime(), meta.atime_nsec()),
        (meta.mtime(), meta.mtime_nsec()),
        ctime,
    ]
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8 + 1).collect()
}

fn reading_is_invisible(place: Place) {
    fs::write(place.join("file"), pattern(10_000)).unwrap();
    fs::create_dir(place.join("dir")).unwrap();
    let before = times(&place, "file");
    let fd = place.open("file", OpenFor::Read);
    let mut buffer = vec![0; 20_000];
    let mut read = |offset, bytes| {
        let bytes = read_at(fd.as_fd(), offset, &mut buffer[..bytes])?;
        Ok(buffer[..bytes].to_vec())
    };
    assert_eq!(read(0, 20_000), Ok(pattern(10_000)), "short at the end");
    assert_eq!(read(5000, 7), Ok(pattern(10_000)[5000..5007].to_vec()));
    assert_eq!(read(10_000, 10), Ok(vec![]));
    assert_eq!(read(0, 0), Ok(vec![]));
    assert_eq!(read(10_001, 10), Err(DmError::Invalid));
    assert_eq!(read(u64::MAX, 1), Err(DmError::Invalid));
    assert_eq!(times(&place, "file"), before);
    let dir = place.open("dir", OpenFor::Read);
    assert_eq!(
        read_at(dir.as_fd(), 0, &mut [0]),
        Err(DmError::Invalid),
        "a directory"
    );
}

fn writing_is_invisible(place: Place) {
    let fd = place.file("file", &[9; 100]);
    fs::set_permissions(
        place.join("file"),
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    let before = times(&place, "file");
    let kind = place.mount.kind;
    let write = |offset, data: &[u8], sync| write_at(fd.as_fd(), kind, offset, data, sync);
    assert_eq!(write(0, b"start", false), Ok(5));
    assert_eq!(write(50, b"middle", true), Ok(6));
    assert_eq!(write(9000, b"end", false), Ok(3), "it grows");
    assert_eq!(times(&place, "file"), before);
    let now = fs::read(place.join("file")).unwrap();
    assert_eq!(now.len(), 9003);
    assert_eq!(
        (&now[..6], &now[50..56]),
        (&b"start\x09"[..], &b"middle"[..])
    );
    assert_eq!(&now[100..9000], [0; 8900]);
    assert_eq!(write(u64::MAX, b"x", false), Err(DmError::Invalid));
    let last = i64::MAX as u64;
    assert_eq!(write(last, b"x", false), Err(DmError::FileTooBig));
    assert_eq!(write(last - 1, b"xy", false), Err(DmError::FileTooBig));
    if kind == FsKind::Ext4 {
        // Its own limit is lower.
        assert_eq!(write(1 << 50, b"x", false), Err(DmError::FileTooBig));
    }
    // What a user wrote and did not sync is seen, and the other way round.
    let user = File::options()
        .write(true)
        .open(place.join("file"))
        .unwrap();
    user.write_all_at(b"USER", 20).unwrap();
    let mut seen = [0; 4];
    assert_eq!(read_at(fd.as_fd(), 20, &mut seen), Ok(4));
    assert_eq!(&seen, b"USER");
}

fn capabilities_outlive_writes(place: Place) {
    let fd = place.file("file", &[1; 8192]);
    // VFS_CAP_REVISION_2 with CAP_NET_RAW permitted.
    let capability: Vec<u8> = [0x0200_0000_u32, 1 << 13, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let name = c"security.capability";
    dmapi::sys::xattr::set(fd.as_fd(), name, &capability).unwrap();
    let kind = place.mount.kind;
    write_at(fd.as_fd(), kind, 0, b"data", false).unwrap();
    hole::punch(fd.as_fd(), kind, place.mount.block_bytes, 0, 0).unwrap();
    let now = dmapi::sys::xattr::get(fd.as_fd(), name).unwrap();
    assert_eq!(now, Some(capability));
}

fn map(place: &Place, name: &str, punched_from: Option<u64>) -> Vec<(bool, u64, u64)> {
    let fd = place.open(name, OpenFor::Read);
    let block = place.mount.block_bytes;
    let info = hole::alloc_info(fd.as_fd(), block, punched_from, 0, 1000).unwrap();
    assert_eq!(info.next, None);
    let parts = |extent: &Extent| (extent.resident, extent.offset, extent.length);
    info.extents.iter().map(parts).collect()
}

fn the_map_tells_data_and_holes(place: Place) {
    // More than any block size, and than what is kept in an inode.
    const STEP: u64 = 128 * 1024;
    File::create(place.join("empty")).unwrap();
    assert_eq!(map(&place, "empty", None), []);
    let file = File::create(place.join("hole")).unwrap();
    file.set_len(STEP + 1).unwrap();
    assert_eq!(map(&place, "hole", None), [(false, 0, STEP + 1)]);
    assert_eq!(map(&place, "hole", Some(0)), [], "a punched tail");
    // Not yet on disk, and yet resident.
    fs::write(place.join("dense"), pattern(STEP as usize + 5)).unwrap();
    assert_eq!(map(&place, "dense", None), [(true, 0, STEP + 5)]);
    let file = File::create(place.join("mixed")).unwrap();
    file.write_all_at(&pattern(STEP as usize), 0).unwrap();
    file.write_all_at(&pattern(STEP as usize), 2 * STEP)
        .unwrap();
    file.sync_all().unwrap();
    file.set_len(5 * STEP).unwrap();
    let head = [(true, 0, STEP), (false, STEP, STEP), (true, 2 * STEP, STEP)];
    let tail = |bytes| (false, 3 * STEP, bytes);
    assert_eq!(
        map(&place, "mixed", None),
        [&head[..], &[tail(2 * STEP)]].concat()
    );
    // The part of the tail that was sparse before the punch is still told.
    assert_eq!(
        map(&place, "mixed", Some(4 * STEP)),
        [&head[..], &[tail(STEP)]].concat()
    );
    assert_eq!(map(&place, "mixed", Some(STEP)), head);
}

fn the_map_comes_in_pieces(place: Place) {
    // More holes than one question to the kernel answers.
    const STEP: u64 = 64 * 1024;
    const PARTS: u64 = 150;
    let file = File::create(place.join("file")).unwrap();
    for part in 0..PARTS {
        file.write_all_at(&[1; 4096], part * STEP).unwrap();
    }
    file.set_len(PARTS * STEP).unwrap();
    let fd = place.open("file", OpenFor::Read);
    let block = place.mount.block_bytes;
    let ask = |offset, count| hole::alloc_info(fd.as_fd(), block, None, offset, count);
    let mut all: Vec<Extent> = Vec::new();
    let mut next = Some(0);
    while let Some(offset) = next {
        let AllocInfo {
            extents,
            next: more,
        } = ask(offset, 7).unwrap();
        assert!(!extents.is_empty());
        assert_eq!(extents[0].offset, offset);
        assert!(more.is_none() || extents.len() == 7);
        all.extend(extents);
        next = more;
    }
    assert_eq!(all.len() as u64, 2 * PARTS);
    let mut at = 0;
    for (number, extent) in all.iter().enumerate() {
        assert_eq!((extent.offset, extent.resident), (at, number % 2 == 0));
        at += extent.length;
    }
    assert_eq!(at, PARTS * STEP);
    assert_eq!(ask(0, 0), Err(DmError::Invalid));
    assert_eq!(ask(1, 7), Err(DmError::Invalid));
    assert_eq!(ask(at + block, 7), Err(DmError::Invalid));
    assert_eq!(ask(at, 7), Ok(AllocInfo::default()));
}

fn blocks(place: &Place, name: &str) -> u64 {
    // btrfs counts blocks when they are written.
    let file = File::open(place.join(name)).unwrap();
    file.sync_all().unwrap();
    file.metadata().unwrap().blocks()
}

fn punch(place: &Place, fd: &OwnedFd, offset: u64, length: u64) -> Result<(), DmError> {
    let mount = &place.mount;
    hole::punch(fd.as_fd(), mount.kind, mount.block_bytes, offset, length)
}

fn a_punch_frees_and_shows_nothing(place: Place) {
    const BYTES: usize = 1_000_001;
    let block = place.mount.block_bytes;
    let fd = place.file("file", &pattern(BYTES));
    let size = BYTES as u64;
    let full = blocks(&place, "file");
    let before = times(&place, "file");
    assert_eq!(punch(&place, &fd, 1, 0), Err(DmError::Again));
    assert_eq!(punch(&place, &fd, 0, block + 1), Err(DmError::Again));
    let big = Err(DmError::TooBig { need: None });
    assert_eq!(punch(&place, &fd, 0, size + 1), big);
    assert_eq!(blocks(&place, "file"), full, "nothing was done");

    punch(&place, &fd, block, 16 * block).unwrap();
    let mut expected = pattern(BYTES);
    expected[block as usize..17 * block as usize].fill(0);
    let mut now = vec![0; BYTES];
    read_at(fd.as_fd(), 0, &mut now).unwrap();
    assert!(now == expected, "neighbours are intact");
    let rest = size - 17 * block;
    assert_eq!(
        map(&place, "file", None),
        [
            (true, 0, block),
            (false, block, 16 * block),
            (true, 17 * block, rest)
        ]
    );

    // To the end, whether it is said by 0 or by a length.
    punch(&place, &fd, 32 * block, size - 32 * block).unwrap();
    assert_eq!(
        map(&place, "file", Some(32 * block)),
        [
            (true, 0, block),
            (false, block, 16 * block),
            (true, 17 * block, 15 * block)
        ]
    );
    punch(&place, &fd, 0, 0).unwrap();
    assert_eq!(map(&place, "file", Some(0)), []);
    assert_eq!(map(&place, "file", None), [(false, 0, size)]);
    assert_eq!(times(&place, "file"), before);
    assert_eq!(fs::metadata(place.join("file")).unwrap().len(), size);
    assert_eq!(blocks(&place, "file"), 0);
    punch(&place, &fd, 0, 0).unwrap();
}

fn a_punch_frees_what_lies_beyond_the_end(place: Place) {
    let fd = place.file("file", &pattern(100_001));
    let full = blocks(&place, "file");
    let file = File::options()
        .write(true)
        .open(place.join("file"))
        .unwrap();
    let keep = nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
    nix::fcntl::fallocate(&file, keep, 0, 4 << 20).unwrap();
    let more = blocks(&place, "file");
    assert!(more >= full + (3 << 20) / 512, "{more} {full}");
    let before = times(&place, "file");
    punch(&place, &fd, 65536, 0).unwrap();
    assert_eq!(times(&place, "file"), before);
    // ext4 may need a block more for its tree of extents.
    let left = blocks(&place, "file");
    assert!((128..=136).contains(&left), "{left} blocks");
    assert_eq!(
        fs::read(place.join("file")).unwrap()[..65536],
        pattern(100_001)[..65536]
    );
    assert_eq!(file.metadata().unwrap().len(), 100_001);
}

//! Journals that must not be used: each is refused in words and left as it was.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use dmapi::journal::format::{FoundSuperblock, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSETS, Superblock};
use dmapi::journal::record::{Expected, encode_record};
use dmapi::journal::recover::LogBytes;
use dmapi::journal::{Journal, JournalError, Lsn, Priority};

use crate::disk::Disk;
use crate::{SMALL, append, body, check_prefix, options, state};

/// The error of opening these bytes, which must not be changed by it.
fn refused(image: &[u8]) -> JournalError {
    let disk = Disk::of(image.to_vec());
    let error = Journal::open_on(Arc::clone(&disk) as _)
        .err()
        .expect("it is refused");
    assert_eq!(disk.live(), image, "it is left as it was");
    error
}

/// Twelve records, each but the last confirmed; in the second generation.
fn confirmed() -> Vec<u8> {
    let disk = Disk::empty(SMALL.file_bytes());
    let mut journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(SMALL), None, Lsn(0)).expect("made");
    append(&mut journal);
    journal.checkpoint(&state(1)).expect("made");
    for _ in 0..12 {
        append(&mut journal);
        let lsn = journal.lsn();
        journal.syncer().sync_to(lsn).expect("synced");
    }
    disk.live()
}

fn superblock(image: &[u8], slot: usize) -> Superblock {
    let at = SUPERBLOCK_OFFSETS[slot] as usize;
    let bytes = image[at..at + SUPERBLOCK_BYTES].try_into().expect("whole");
    match Superblock::decode(bytes) {
        FoundSuperblock::Valid(superblock) => superblock,
        other => panic!("{other:?}"),
    }
}

/// A bit of a durable record is lost, with durable ones after it: not one byte may be believed away.
#[test]
fn a_damaged_durable_record_is_refused() {
    let image = confirmed();
    let log = SMALL.log_offset() as usize;
    let first = dmapi::journal::record::record_bytes(body(2).len()) as usize;
    let content = dmapi::journal::record::HEADER_BYTES + body(2).len();
    for at in (0..content)
        .step_by(3)
        .map(|at| log + at)
        .chain([log + first + 8])
    {
        let mut image = image.clone();
        image[at] ^= 0x10;
        let error = refused(&image);
        assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("was durable"), "{error}");
        assert!(
            error.to_string().contains("dmctl journal verify"),
            "{error}"
        );
    }
}

#[test]
fn a_lost_superblock_of_the_newest_log_is_refused() {
    let mut image = confirmed();
    let newest = (0..2)
        .max_by_key(|slot| superblock(&image, *slot).generation)
        .expect("two");
    image[SUPERBLOCK_OFFSETS[newest] as usize + 100] ^= 1;
    let error = refused(&image);
    assert!(error.to_string().contains("superblock is lost"), "{error}");
    // Both lost.
    image[SUPERBLOCK_OFFSETS[1 - newest] as usize + 100] ^= 1;
    let error = refused(&image);
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
}

#[test]
fn the_older_superblock_may_be_lost() {
    let mut image = confirmed();
    let oldest = (0..2)
        .min_by_key(|slot| superblock(&image, *slot).generation)
        .expect("two");
    image[SUPERBLOCK_OFFSETS[oldest] as usize..][..SUPERBLOCK_BYTES].fill(0xff);
    let (_, recovered) = Journal::open_on(Disk::of(image)).expect("it opens");
    assert_eq!(check_prefix(&recovered), 13);
}

#[test]
fn a_damaged_checkpoint_is_refused() {
    let mut image = confirmed();
    let area = superblock(&image, 1).checkpoint_area;
    image[SMALL.area_offset(area) as usize + 20] ^= 1;
    let error = refused(&image);
    assert!(error.to_string().contains("checkpoint"), "{error}");
}

#[test]
fn a_later_format_is_refused_and_named() {
    let mut image = confirmed();
    for offset in SUPERBLOCK_OFFSETS {
        let bytes = &mut image[offset as usize..][..SUPERBLOCK_BYTES];
        bytes[8..12].copy_from_slice(&7_u32.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..SUPERBLOCK_BYTES - 4]);
        bytes[SUPERBLOCK_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    }
    let error = refused(&image);
    assert!(
        matches!(error, JournalError::TooNew { format: 7, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("newer dmapid"), "{error}");
}

#[test]
fn foreign_and_unfinished_files_are_refused() {
    for image in [vec![], vec![1; 100], vec![0; 100], vec![b'x'; 1 << 16]] {
        let error = refused(&image);
        assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
    }
    let error = refused(&vec![0; SMALL.file_bytes() as usize]);
    assert!(error.to_string().contains("not finished"), "{error}");
}

#[test]
fn a_shortened_file_is_refused() {
    let mut image = confirmed();
    image.truncate(image.len() - 1);
    let error = refused(&image);
    assert!(error.to_string().contains("shortened"), "{error}");
}

/// Bytes anywhere in the file are changed: the answer is a refusal or a prefix, never a wrong record and
/// never a panic, and reading for people works on.
#[test]
fn no_damage_makes_a_wrong_record() {
    let image = confirmed();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("1.dmj");
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: usize| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        (chance >> 11) as usize % below
    };
    let used = (end(&image).offset + 64) as usize;
    let log = SMALL.log_offset() as usize;
    for round in 0..1500 {
        let mut damaged = image.clone();
        for _ in 0..=draw(3) {
            // Half of them in the log, where most can go wrong.
            let at = match draw(2) {
                0 => log + draw(used - log),
                _ => draw(used),
            };
            let bytes = 1 + draw(20);
            let value = draw(256) as u8;
            damaged[at..(at + bytes).min(used)].fill(value);
        }
        if let Ok((_, recovered)) = Journal::open_on(Disk::of(damaged.clone())) {
            assert!(check_prefix(&recovered) <= 13);
        }
        if round % 10 == 0 {
            fs::write(&path, &damaged).expect("written");
            let found = dmapi::journal::inspect::inspect(&path).expect("read");
            if let Ok(log) = found.log {
                assert!(!log.end_words().is_empty());
            }
        }
    }
}

/// The layout of docs/journal-format.md, byte by byte: a change of it is a new format.
#[test]
fn the_bytes_are_those_of_the_document() {
    let superblock = Superblock {
        generation: 3,
        identity: 0x1122_3344_5566_7788,
        incarnation: 4,
        epoch: 5,
        checkpoint_lsn: Lsn(6),
        checkpoint_bytes: 7,
        checkpoint_crc: 8,
        checkpoint_area: 1,
        chain: 9,
        sizes: SMALL,
        node: "n1".to_owned(),
    };
    let bytes = superblock.encode();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    assert_eq!(&bytes[..8], b"DMAPIJNL");
    let expected = [
        (8, 3),
        (16, 3),
        (24, 0x1122_3344_5566_7788),
        (32, 4),
        (40, 5),
        (48, 6),
        (56, 7),
        (64, 8 | 1 << 32),
        (72, 9 | 2 << 32),
        (80, SMALL.checkpoint_bytes),
        (88, SMALL.log_bytes),
    ];
    for (at, value) in expected {
        assert_eq!(word(at), value, "offset {at}");
    }
    assert_eq!(&bytes[96..99], b"n1\0");
    assert_eq!(bytes[508..], crc32c::crc32c(&bytes[..508]).to_le_bytes());

    let mut record = Vec::new();
    let place = Expected {
        epoch_min: 5,
        ..superblock.start()
    };
    let crc = encode_record(&mut record, &place, 6, Lsn(4), b"body!");
    assert_eq!(record.len(), 48);
    let mut by_hand = b"DMJR\x05\0\0\0".to_vec();
    by_hand.extend(6_u64.to_le_bytes());
    by_hand.extend(7_u64.to_le_bytes());
    by_hand.extend([1, 0, 2, 0, 3, 0, 0, 0]);
    by_hand.extend([0, 0, 0, 0, 9, 0, 0, 0]);
    by_hand.extend(b"body!");
    let mut covered = superblock.identity.to_le_bytes().to_vec();
    covered.extend(SMALL.log_offset().to_le_bytes());
    covered.extend(&by_hand);
    assert_eq!(crc, crc32c::crc32c(&covered));
    by_hand[32..36].copy_from_slice(&crc.to_le_bytes());
    by_hand.extend([0; 3]);
    assert_eq!(record, by_hand);
}

/// Two journals mixed up by a copy.
#[test]
fn superblocks_of_different_journals_are_refused() {
    let mut image = confirmed();
    let other = confirmed();
    image[..SUPERBLOCK_BYTES].copy_from_slice(&other[..SUPERBLOCK_BYTES]);
    let error = refused(&image);
    assert!(error.to_string().contains("different journals"), "{error}");
}

/// Where the log of an image ends.
fn end(image: &[u8]) -> Expected {
    let newest = (0..2)
        .filter_map(|slot| {
            let at = SUPERBLOCK_OFFSETS[slot] as usize;
            match Superblock::decode(image[at..at + SUPERBLOCK_BYTES].try_into().expect("whole")) {
                FoundSuperblock::Valid(superblock) => Some(superblock),
                _ => None,
            }
        })
        .max_by_key(|superblock| superblock.generation)
        .expect("one");
    let log = LogBytes {
        bytes: &image[SMALL.log_offset() as usize..],
        offset: SMALL.log_offset(),
    };
    let mut next = newest.start();
    while let Ok((verified, _)) = log.next(&next) {
        next = verified.next;
    }
    next
}

/// A writer of an old epoch wakes up and appends with all that it knows: what it writes does not count.
#[test]
fn a_record_of_an_old_epoch_does_not_count() {
    let disk = Disk::empty(SMALL.file_bytes());
    let mut journal =
        Journal::create_on(Arc::clone(&disk) as _, &options(SMALL), None, Lsn(0)).expect("made");
    append(&mut journal);
    journal.raise_epoch(5);
    append(&mut journal);
    drop(journal);
    let mut image = disk.live();
    for (epoch, counts) in [(4, false), (5, true), (6, true)] {
        let mut image = image.clone();
        let at = end(&image);
        assert_eq!(at.epoch_min, 5);
        let old = Expected { epoch_min: 0, ..at };
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &old, epoch, Lsn(0), &body(3));
        image[at.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        let (_, recovered) = Journal::open_on(Disk::of(image)).expect("it opens");
        assert_eq!(check_prefix(&recovered), if counts { 3 } else { 2 });
        assert_eq!(
            recovered.tail.contains("old epoch 4"),
            !counts,
            "{}",
            recovered.tail
        );
    }
    // The epoch survives a checkpoint too.
    let disk = Disk::of(std::mem::take(&mut image));
    let (mut journal, _) = Journal::open_on(Arc::clone(&disk) as _).expect("it opens");
    assert_eq!(journal.epoch(), 5);
    journal.checkpoint(&state(2)).expect("made");
    drop(journal);
    let (journal, _) = Journal::open_on(disk).expect("it opens");
    assert_eq!(journal.epoch(), 5);
}

#[test]
fn two_writers_exclude_each_other_and_readers_do_not_mind() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("1.dmj");
    let mut journal = Journal::create(&path, &options(SMALL)).expect("made");
    append(&mut journal);
    let error = Journal::open(&path).err().expect("it is locked");
    assert!(matches!(error, JournalError::Busy { .. }), "{error}");
    let recovered = dmapi::journal::recover::read(&path).expect("read");
    assert_eq!(check_prefix(&recovered), 1);
    // A syncer that is still about keeps no lock.
    let _syncer = journal.syncer();
    drop(journal);
    Journal::open(&path).expect("free again");
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("1.dmj");
    fs::write(&path, b"precious").expect("written");
    assert!(Journal::create(&path, &options(SMALL)).is_err());
    assert_eq!(fs::read(&path).expect("read"), b"precious");
    assert!(matches!(
        Journal::open(&dir.path().join("2.dmj")),
        Err(JournalError::Missing { .. })
    ));
}

/// A mounted file system, unmounted again whatever happens.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// A real full file system: a clear error, and no half file that fills it.
#[test]
fn a_full_file_system_is_told_and_nothing_is_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let mounted = nix::mount::mount(
        Some("tmpfs"),
        dir.path(),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=64k"),
    );
    if let Err(errno) = mounted {
        crate::common::skip(&format!("no tmpfs can be mounted here: {errno}"));
        return;
    }
    let mounted = Mounted(dir.path());
    let path = dir.path().join("1.dmj");
    let sizes = dmapi::journal::Sizes {
        log_bytes: 1 << 20,
        ..SMALL
    };
    let error = Journal::create(&path, &options(sizes))
        .err()
        .expect("no room");
    assert!(matches!(error, JournalError::NoSpace { .. }), "{error}");
    assert!(!path.exists());
    // What fits is made, and goes on when the rest of the file system fills up.
    let mut journal = Journal::create(&path, &options(SMALL)).expect("made");
    assert!(fs::write(dir.path().join("filler"), vec![1; 1 << 20]).is_err());
    while journal.append(&body(1), Priority::Normal).is_ok() {}
    journal.checkpoint(&state(1)).expect("made");
    journal
        .append(&body(2), Priority::Normal)
        .expect("there is room");
    drop(journal);
    drop(mounted);
}

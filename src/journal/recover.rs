//! Reads a journal as it lies on disk: superblocks, checkpoint, log up to the first bad place.
//!
//! Nothing is changed here. A journal that lost what was durable is refused, and one that merely lost
//! its unsynced end is not: the difference is what later records say of their predecessors.

use std::io;
use std::path::Path;

use super::Lsn;
use super::error::JournalError;
use super::format::{
    AREAS_OFFSET, FoundSuperblock, SUPERBLOCK_BYTES, SUPERBLOCK_OFFSETS, Superblock,
};
use super::inspect::Log;
use super::record::{BODY_BYTES_MAX, RECORD_ALIGN, RECORD_MAGIC};
use super::record::{Expected, HEADER_BYTES, Header, RawRecord, Reject, Verified, record_bytes};
use super::storage::{FileStorage, Storage};

/// What a journal holds, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The state before the entries; `None`: the empty one.
    pub checkpoint: Option<Vec<u8>>,
    /// The last record that the checkpoint holds.
    pub checkpoint_lsn: Lsn,
    /// The records after it, in order.
    pub entries: Vec<(Lsn, Vec<u8>)>,
    /// How the log ended, for people.
    pub tail: String,
}

impl Recovered {
    /// The last record.
    pub fn lsn(&self) -> Lsn {
        self.entries
            .last()
            .map_or(self.checkpoint_lsn, |(lsn, _)| *lsn)
    }
}

/// Reads a journal without becoming its writer: the journal of a dead node, or a copy.
pub fn read(path: &Path) -> Result<Recovered, JournalError> {
    Ok(Survey::of(&open_to_read(path)?)?.recovered)
}

pub(super) fn open_to_read(path: &Path) -> Result<FileStorage, JournalError> {
    let name = path.display().to_string();
    FileStorage::open_to_read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => JournalError::Missing { name },
        _ => JournalError::io(&name, "open", error),
    })
}

/// The bytes of a stretch of the log, copied to where nobody changes them.
#[derive(Clone, Copy, Debug)]
pub struct LogBytes<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Where in the file they begin.
    pub offset: u64,
}

impl<'a> LogBytes<'a> {
    /// The record that must come next, with its body.
    pub fn next(&self, expected: &Expected) -> Result<(Verified, &'a [u8]), Reject> {
        let at = usize::try_from(expected.offset - self.offset).map_err(|_| Reject::EndOfLog)?;
        let rest = self.bytes.get(at..).unwrap_or(&[]);
        let Some((header, after)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Reject::EndOfLog);
        };
        let raw = RawRecord::of(header, expected, rest.len() as u64)?;
        let body = &after[..raw.body_bytes()];
        Ok((raw.verify(body)?, body))
    }

    /// Whole records at and after the place where the log ended, with where they lie: those of this
    /// log and of later ones. (What is left of earlier ones is nothing to speak of.)
    pub fn later(&self, expected: &Expected) -> Vec<(u64, Header)> {
        let mut found = Vec::new();
        let mut at = (expected.offset - self.offset) as usize;
        while let Some(distance) = self.bytes.get(at..).and_then(distance_to_magic) {
            at += distance;
            let offset = self.offset + at as u64;
            match whole_record(&self.bytes[at..], expected, offset) {
                Some(header) => {
                    if header.generations_after(expected.generation) >= 0 {
                        found.push((offset, header));
                    }
                    at += record_bytes(header.body_bytes as usize) as usize;
                }
                None => at += RECORD_ALIGN,
            }
        }
        found
    }
}

/// Bytes to the next place where a record may begin.
fn distance_to_magic(bytes: &[u8]) -> Option<usize> {
    /// Compared as a whole: most of a log is most of the time what it was at its creation.
    const ZEROS: [u8; 4096] = [0; 4096];
    let magic = RECORD_MAGIC.to_le_bytes();
    let mut distance = 0;
    for block in bytes.chunks(ZEROS.len()) {
        if *block != ZEROS[..block.len()] {
            let units = &mut block.chunks_exact(RECORD_ALIGN);
            if let Some(unit) = units.position(|unit| unit[..4] == magic) {
                return Some(distance + unit * RECORD_ALIGN);
            }
        }
        distance += block.len();
    }
    None
}

/// A record of this file with a right checksum, whatever its number.
fn whole_record(bytes: &[u8], expected: &Expected, offset: u64) -> Option<Header> {
    let (bytes, after) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header::decode(bytes)?;
    let body = after.get(..header.body_bytes as usize)?;
    let sound = body.len() <= BODY_BYTES_MAX
        && header.checksum(expected.identity, offset, body) == header.crc;
    sound.then_some(header)
}

/// Whole records at or after the place where the log ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beyond {
    /// How many there are of this log.
    pub records: usize,
    /// The highest number among them.
    pub lsn_max: Lsn,
    /// The highest number that one of them knew to be durable.
    pub durable_max: Lsn,
    /// There are some of a later log: its superblock is lost.
    pub newer: bool,
}

impl Beyond {
    /// Sums up what [`LogBytes::later`] found.
    pub fn of(later: &[(u64, Header)], expected: &Expected) -> Self {
        let mut beyond = Self::default();
        for (_, header) in later {
            if header.generation == expected.generation {
                let durable = header.durable().unwrap_or_default();
                beyond.records += 1;
                beyond.lsn_max = beyond.lsn_max.max(header.lsn);
                beyond.durable_max = beyond.durable_max.max(durable);
            } else {
                beyond.newer = true;
            }
        }
        beyond
    }
}

/// Reads both superblocks; a file that is too short for them has none.
pub fn read_superblocks(storage: &dyn Storage) -> io::Result<[FoundSuperblock; 2]> {
    if storage.len()? < AREAS_OFFSET {
        return Ok([FoundSuperblock::Foreign, FoundSuperblock::Foreign]);
    }
    let mut found = [FoundSuperblock::Empty, FoundSuperblock::Empty];
    for (slot, offset) in found.iter_mut().zip(SUPERBLOCK_OFFSETS) {
        let mut bytes = [0; SUPERBLOCK_BYTES];
        storage.read_at(&mut bytes, offset)?;
        *slot = Superblock::decode(&bytes);
    }
    Ok(found)
}

/// The superblock that counts.
pub fn choose(
    name: &str,
    found: &[FoundSuperblock; 2],
    file_bytes: u64,
) -> Result<Superblock, JournalError> {
    let mut best: Option<&Superblock> = None;
    for superblock in found {
        match superblock {
            FoundSuperblock::TooNew(format) => {
                return Err(JournalError::TooNew {
                    name: name.to_owned(),
                    format: *format,
                });
            }
            FoundSuperblock::Valid(valid) => match best {
                Some(other) if other.identity != valid.identity => {
                    return Err(JournalError::damaged(
                        name,
                        "its two superblocks are of different journals",
                    ));
                }
                Some(other) if other.generation >= valid.generation => {}
                _ => best = Some(valid),
            },
            _ => {}
        }
    }
    let Some(best) = best else {
        return Err(no_superblock(name, found));
    };
    if file_bytes < best.sizes.file_bytes() {
        return Err(JournalError::damaged(
            name,
            format!(
                "shortened: it has {file_bytes} of {} bytes",
                best.sizes.file_bytes()
            ),
        ));
    }
    Ok(best.clone())
}

fn no_superblock(name: &str, found: &[FoundSuperblock; 2]) -> JournalError {
    let torn = found.iter().find_map(|superblock| match superblock {
        FoundSuperblock::Torn(why) => Some(*why),
        _ => None,
    });
    if let Some(why) = torn {
        return JournalError::damaged(name, format!("no superblock is whole: {why}"));
    }
    let empty = found
        .iter()
        .all(|superblock| *superblock == FoundSuperblock::Empty);
    JournalError::Foreign {
        name: name.to_owned(),
        found: if empty {
            "it begins with zeros: its creation was not finished".to_owned()
        } else {
            "it does not begin as one".to_owned()
        },
    }
}

/// Everything that the bytes of a journal tell.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    pub(super) recovered: Recovered,
    pub(super) superblock: Superblock,
    /// Where the next record goes.
    pub(super) next: Expected,
    /// What follows there.
    pub(super) beyond: Beyond,
}

impl Survey {
    pub(super) fn of(storage: &dyn Storage) -> Result<Self, JournalError> {
        let name = storage.name();
        let io = |error| JournalError::io(&name, "read", error);
        let found = read_superblocks(storage).map_err(io)?;
        let superblock = choose(&name, &found, storage.len().map_err(io)?)?;
        let log = Log::read(storage, superblock)?;
        log.judge(&name)?;
        let tail = log.end_words();
        let beyond = Beyond::of(&log.later, &log.end);
        let entries = log.records.into_iter();
        Ok(Self {
            recovered: Recovered {
                checkpoint: log.checkpoint?,
                checkpoint_lsn: log.superblock.checkpoint_lsn,
                entries: entries
                    .map(|(verified, body)| (verified.header.lsn, body))
                    .collect(),
                tail,
            },
            superblock: log.superblock,
            next: log.end,
            beyond,
        })
    }
}

/// The state of the checkpoint; `None`: the empty one.
pub fn read_checkpoint(
    storage: &dyn Storage,
    superblock: &Superblock,
) -> Result<Option<Vec<u8>>, JournalError> {
    if superblock.checkpoint_bytes == 0 {
        return Ok(None);
    }
    let mut state = vec![0; superblock.checkpoint_bytes as usize];
    let offset = superblock.sizes.area_offset(superblock.checkpoint_area);
    storage
        .read_at(&mut state, offset)
        .map_err(|error| JournalError::io(&storage.name(), "read the checkpoint", error))?;
    if crc32c::crc32c(&state) != superblock.checkpoint_crc {
        return Err(JournalError::damaged(
            &storage.name(),
            format!("the checkpoint at offset {offset} has a wrong checksum"),
        ));
    }
    Ok(Some(state))
}

/// Refuses a log whose end is not the unsynced end of a crash.
pub fn refuse_loss(
    name: &str,
    next: &Expected,
    stop: Reject,
    beyond: &Beyond,
) -> Result<(), JournalError> {
    let place = next.offset;
    if let Reject::UnknownKind(_) = stop {
        return Err(JournalError::TooNew {
            name: name.to_owned(),
            format: super::format::FORMAT + 1,
        });
    }
    if beyond.newer {
        return Err(JournalError::damaged(
            name,
            format!("the newest superblock is lost: records of a later log follow offset {place}"),
        ));
    }
    if beyond.durable_max >= next.lsn {
        return Err(JournalError::damaged(
            name,
            format!(
                "record {} at offset {place} was durable and is not whole ({stop}); \
                 a later one confirms records up to {}",
                next.lsn, beyond.durable_max
            ),
        ));
    }
    Ok(())
}

/// How a log ended, in words.
pub fn tail_words(next: &Expected, stop: Reject, beyond: &Beyond) -> String {
    let mut words = format!("the log ends at offset {}: {stop}", next.offset);
    if beyond.records > 0 {
        words.push_str(&format!(
            "; {} later records, up to LSN {}, were written out of order before a power loss and never \
             confirmed, so they do not count",
            beyond.records, beyond.lsn_max
        ));
    }
    words
}

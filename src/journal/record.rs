//! The bytes of a record (docs/journal-format.md).
//!
//! Read, verify, then use: [`RawRecord`] is bytes, only [`RawRecord::verify`] makes a [`Verified`].

use super::Lsn;
use super::format::{get_u32, get_u64, put};

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 40;
/// The longest body of a record.
pub const BODY_BYTES_MAX: usize = 160 << 10;
/// Every record begins at a multiple of this.
pub const RECORD_ALIGN: usize = 8;
/// The first bytes of a record.
pub const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"DMJR");

const RECORD_MAGIC_AT: usize = 0;
const RECORD_BODY_BYTES_AT: usize = 4;
const RECORD_EPOCH_AT: usize = 8;
const RECORD_LSN_AT: usize = 16;
const RECORD_KIND_AT: usize = 24;
const RECORD_FLAGS_AT: usize = 25;
const RECORD_LAG_AT: usize = 26;
const RECORD_GENERATION_AT: usize = 28;
const RECORD_CRC_AT: usize = 32;
const RECORD_CHAIN_AT: usize = 36;

const _: () = {
    assert!(RECORD_CHAIN_AT + 4 == HEADER_BYTES);
    assert!(HEADER_BYTES.is_multiple_of(RECORD_ALIGN));
    assert!(BODY_BYTES_MAX.is_multiple_of(RECORD_ALIGN));
};

/// The only kind of record so far: an entry of the model.
pub const KIND_ENTRY: u8 = 1;
/// A lag of at least this says nothing about what was durable.
const LAG_UNKNOWN: u16 = u16::MAX;

fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// What the next record of a log must be, or it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Of the file.
    pub identity: u64,
    /// Low half of the superblock's generation.
    pub generation: u32,
    /// Epochs only rise.
    pub epoch_min: u64,
    /// Exactly this number.
    pub lsn: Lsn,
    /// The checksum of the record before it.
    pub chain: u32,
    /// Where it lies in the file.
    pub offset: u64,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body.
    pub body_bytes: u32,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Its number.
    pub lsn: Lsn,
    /// What the body is.
    pub kind: u8,
    /// None is defined.
    pub flags: u8,
    /// How many records before it were not known to be durable when it was written.
    pub lag: u16,
    /// Low half of the generation of the log.
    pub generation: u32,
    /// CRC32C over the file's identity, the offset, the header with zero here, and the body.
    pub crc: u32,
    /// The checksum of the record before it.
    pub chain: u32,
}

/// Bytes that a record takes in the log.
pub fn record_bytes(body_bytes: usize) -> u64 {
    (HEADER_BYTES + body_bytes.next_multiple_of(RECORD_ALIGN)) as u64
}

impl Header {
    /// Judges the first bytes of what may be a record; `None`: no record begins here.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        (get_u32(bytes, RECORD_MAGIC_AT) == RECORD_MAGIC).then(|| Self {
            body_bytes: get_u32(bytes, RECORD_BODY_BYTES_AT),
            epoch: get_u64(bytes, RECORD_EPOCH_AT),
            lsn: Lsn(get_u64(bytes, RECORD_LSN_AT)),
            kind: bytes[RECORD_KIND_AT],
            flags: bytes[RECORD_FLAGS_AT],
            lag: get_u16(bytes, RECORD_LAG_AT),
            generation: get_u32(bytes, RECORD_GENERATION_AT),
            crc: get_u32(bytes, RECORD_CRC_AT),
            chain: get_u32(bytes, RECORD_CHAIN_AT),
        })
    }

    fn encode_with_crc(&self, crc: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, RECORD_MAGIC_AT, &RECORD_MAGIC.to_le_bytes());
        put(
            &mut bytes,
            RECORD_BODY_BYTES_AT,
            &self.body_bytes.to_le_bytes(),
        );
        put(&mut bytes, RECORD_EPOCH_AT, &self.epoch.to_le_bytes());
        put(&mut bytes, RECORD_LSN_AT, &self.lsn.0.to_le_bytes());
        put(&mut bytes, RECORD_KIND_AT, &[self.kind]);
        put(&mut bytes, RECORD_FLAGS_AT, &[self.flags]);
        put(&mut bytes, RECORD_LAG_AT, &self.lag.to_le_bytes());
        put(
            &mut bytes,
            RECORD_GENERATION_AT,
            &self.generation.to_le_bytes(),
        );
        put(&mut bytes, RECORD_CRC_AT, &crc.to_le_bytes());
        put(&mut bytes, RECORD_CHAIN_AT, &self.chain.to_le_bytes());
        bytes
    }

    /// The checksum that this header must carry for a body at this place of this file.
    pub fn checksum(&self, identity: u64, offset: u64, body: &[u8]) -> u32 {
        let mut crc = crc32c::crc32c(&identity.to_le_bytes());
        crc = crc32c::crc32c_append(crc, &offset.to_le_bytes());
        crc = crc32c::crc32c_append(crc, &self.encode_with_crc(0));
        crc32c::crc32c_append(crc, body)
    }

    /// How many log restarts after that generation it was written; negative: before it.
    pub fn generations_after(&self, generation: u32) -> i32 {
        // Wrapping, as only the low half is kept: right for logs less than 2^31 restarts apart.
        self.generation.wrapping_sub(generation) as i32
    }

    /// The last record that was known to be durable when this one was written, if it says so.
    pub fn durable(&self) -> Option<Lsn> {
        (self.lag != LAG_UNKNOWN).then(|| Lsn(self.lsn.0.saturating_sub(1 + u64::from(self.lag))))
    }

    /// The lag to write for a record whose predecessors are durable up to `durable`.
    pub fn lag_of(lsn: Lsn, durable: Lsn) -> u16 {
        u16::try_from(lsn.0 - 1 - durable.0).unwrap_or(LAG_UNKNOWN)
    }
}

/// Puts a record into `buffer`: header, body, zeros up to the next unit. Returns its checksum.
pub fn encode_record(
    buffer: &mut Vec<u8>,
    expected: &Expected,
    epoch: u64,
    durable: Lsn,
    body: &[u8],
) -> u32 {
    assert!(body.len() <= BODY_BYTES_MAX, "the length was checked");
    assert!(epoch >= expected.epoch_min, "epochs only rise");
    let mut header = Header {
        body_bytes: body.len() as u32,
        epoch,
        lsn: expected.lsn,
        kind: KIND_ENTRY,
        flags: 0,
        lag: Header::lag_of(expected.lsn, durable),
        generation: expected.generation,
        crc: 0,
        chain: expected.chain,
    };
    header.crc = header.checksum(expected.identity, expected.offset, body);
    buffer.clear();
    buffer.extend_from_slice(&header.encode_with_crc(header.crc));
    buffer.extend_from_slice(body);
    buffer.resize(record_bytes(body.len()) as usize, 0);
    header.crc
}

/// Why bytes are not the next record of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// No room for a header before the end of the log.
    EndOfLog,
    /// All zero: nothing was ever written here.
    Zeros,
    /// No record begins here.
    NoMagic,
    /// A record of an earlier log, not yet overwritten.
    OldGeneration(u32),
    /// A record of a log that begins with a later superblock.
    NewGeneration(u32),
    /// The number is not the next one.
    WrongLsn(Lsn),
    /// The epoch is lower than that of a record before it.
    OldEpoch(u64),
    /// It follows another record.
    WrongChain,
    /// The body would pass the end of the log, or is longer than a body may be.
    TooLong(u32),
    /// The checksum does not fit: part of it was never written, or it was damaged.
    WrongChecksum,
    /// Whole, and of a kind or with flags that a later version defined.
    UnknownKind(u8),
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::EndOfLog => write!(f, "the log is full to its end"),
            Self::Zeros => write!(f, "nothing was written after it"),
            Self::NoMagic => write!(f, "no record begins there"),
            Self::OldGeneration(found) => {
                write!(f, "bytes of an earlier log (generation {found}) follow")
            }
            Self::NewGeneration(found) => {
                write!(f, "bytes of a later log (generation {found}) follow")
            }
            Self::WrongLsn(found) => write!(f, "the record there has LSN {found}"),
            Self::OldEpoch(found) => write!(f, "the record there has the old epoch {found}"),
            Self::WrongChain => write!(f, "the record there does not continue the one before it"),
            Self::TooLong(found) => {
                write!(f, "the record there says {found} bytes, which cannot be")
            }
            Self::WrongChecksum => write!(f, "the record there is not whole (checksum)"),
            Self::UnknownKind(found) => {
                write!(
                    f,
                    "the record there is of kind {found}, made by a later version"
                )
            }
        }
    }
}

/// A header that was read, with nothing believed but its length, which fits.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord {
    header: Header,
    expected: Expected,
}

/// A record whose every field and byte was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its header.
    pub header: Header,
    /// Where it lies.
    pub offset: u64,
    /// What must follow it.
    pub next: Expected,
}

impl RawRecord {
    /// Takes a header; `room` is the number of bytes from its offset to the end of the log.
    pub fn of(bytes: &[u8; HEADER_BYTES], expected: &Expected, room: u64) -> Result<Self, Reject> {
        let Some(header) = Header::decode(bytes) else {
            let zeros = bytes.iter().all(|byte| *byte == 0);
            return Err(if zeros {
                Reject::Zeros
            } else {
                Reject::NoMagic
            });
        };
        let ahead = header.generations_after(expected.generation);
        if ahead != 0 {
            return Err(if ahead < 0 {
                Reject::OldGeneration(header.generation)
            } else {
                Reject::NewGeneration(header.generation)
            });
        }
        let body_bytes = header.body_bytes as usize;
        if body_bytes > BODY_BYTES_MAX || record_bytes(body_bytes) > room {
            return Err(Reject::TooLong(header.body_bytes));
        }
        Ok(Self {
            header,
            expected: *expected,
        })
    }

    /// Bytes of the body to be read for [`RawRecord::verify`].
    pub fn body_bytes(&self) -> usize {
        self.header.body_bytes as usize
    }

    /// Checks everything against what was expected.
    pub fn verify(self, body: &[u8]) -> Result<Verified, Reject> {
        let Self { header, expected } = self;
        assert_eq!(body.len(), self.body_bytes(), "the whole body is given");
        if header.crc != header.checksum(expected.identity, expected.offset, body) {
            return Err(Reject::WrongChecksum);
        }
        if header.lsn != expected.lsn {
            return Err(Reject::WrongLsn(header.lsn));
        }
        if header.epoch < expected.epoch_min {
            return Err(Reject::OldEpoch(header.epoch));
        }
        if header.chain != expected.chain {
            return Err(Reject::WrongChain);
        }
        if header.kind != KIND_ENTRY || header.flags != 0 {
            return Err(Reject::UnknownKind(header.kind));
        }
        Ok(Verified {
            header,
            offset: expected.offset,
            next: Expected {
                epoch_min: header.epoch,
                lsn: header.lsn.next(),
                chain: header.crc,
                offset: expected.offset + record_bytes(body.len()),
                ..expected
            },
        })
    }
}

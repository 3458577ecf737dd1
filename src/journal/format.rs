//! The bytes of the file (docs/journal-format.md): offsets and superblock.
//!
//! All integers are little endian and of fixed width.
//! Together with `record` the only place that turns bytes into fields.

use super::Lsn;
use super::record::Expected;
use super::writer::Sizes;

/// The format that this version writes, and the highest it reads.
pub const FORMAT: u32 = 3;

/// The unit of every place in the file: a page, so that no two parts share one.
pub const PAGE_BYTES: u64 = 4096;
/// Where superblock A and B begin.
pub const SUPERBLOCK_OFFSETS: [u64; 2] = [0, PAGE_BYTES];
/// Where the first checkpoint area begins.
pub const AREAS_OFFSET: u64 = 2 * PAGE_BYTES;
/// Bytes of a superblock: one sector, so that it is torn as rarely as a disk can tear.
pub const SUPERBLOCK_BYTES: usize = 512;
/// The longest name of a node.
pub const NODE_BYTES_MAX: usize = 64;

/// No node lives that long; a number above it is nonsense, and arithmetic below it cannot overflow.
const LSN_MAX: u64 = 1 << 62;

const SUPERBLOCK_MAGIC: &[u8; 8] = b"DMAPIJNL";
const MAGIC_AT: usize = 0;
const FORMAT_AT: usize = 8;
const FLAGS_AT: usize = 12;
const GENERATION_AT: usize = 16;
const IDENTITY_AT: usize = 24;
const INCARNATION_AT: usize = 32;
const EPOCH_AT: usize = 40;
const CHECKPOINT_LSN_AT: usize = 48;
const CHECKPOINT_BYTES_AT: usize = 56;
const CHECKPOINT_CRC_AT: usize = 64;
const CHECKPOINT_AREA_AT: usize = 68;
const CHAIN_AT: usize = 72;
const NODE_BYTES_AT: usize = 76;
const AREA_BYTES_AT: usize = 80;
const LOG_BYTES_AT: usize = 88;
const NODE_AT: usize = 96;
const UNUSED_AT: usize = NODE_AT + NODE_BYTES_MAX;
/// The same in every format, so that a later one is told from a torn one.
const SUPERBLOCK_CRC_AT: usize = SUPERBLOCK_BYTES - 4;

const _: () = {
    assert!(FORMAT_AT == MAGIC_AT + SUPERBLOCK_MAGIC.len());
    assert!(NODE_AT.is_multiple_of(8) && LOG_BYTES_AT.is_multiple_of(8));
    assert!(UNUSED_AT <= SUPERBLOCK_CRC_AT);
    assert!(SUPERBLOCK_BYTES as u64 <= PAGE_BYTES);
};

pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

pub(super) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

pub(super) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Where the parts of a file of these sizes lie.
impl Sizes {
    /// Where a checkpoint area begins.
    pub fn area_offset(&self, area: u32) -> u64 {
        assert!(area < 2, "there are two checkpoint areas");
        AREAS_OFFSET + u64::from(area) * self.checkpoint_bytes
    }

    /// Where the log begins.
    pub fn log_offset(&self) -> u64 {
        AREAS_OFFSET + 2 * self.checkpoint_bytes
    }

    /// The size of the file.
    pub fn file_bytes(&self) -> u64 {
        self.log_offset() + self.log_bytes
    }

    /// Why a journal cannot have these sizes.
    pub fn complaint(&self) -> Option<&'static str> {
        /// Recovery reads each part as a whole.
        const BYTES_MAX: u64 = 1 << 30;
        let whole =
            |bytes: u64| bytes > 0 && bytes.is_multiple_of(PAGE_BYTES) && bytes <= BYTES_MAX;
        if !whole(self.log_bytes) || !whole(self.checkpoint_bytes) {
            return Some("sizes are whole pages of 4096 bytes, and at most 1 GiB");
        }
        None
    }
}

/// A superblock: which checkpoint counts, and where the log goes on from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// The higher of two valid ones counts; the log's records carry its low half.
    pub generation: u64,
    /// Random, of this file.
    pub identity: u64,
    /// Which start of the node's daemon made the file.
    pub incarnation: u64,
    /// Records of the log have at least this epoch.
    pub epoch: u64,
    /// The last record that the checkpoint holds.
    pub checkpoint_lsn: Lsn,
    /// Length of the checkpoint; 0: the empty state.
    pub checkpoint_bytes: u64,
    /// CRC32C of the checkpoint.
    pub checkpoint_crc: u32,
    /// The area it is in.
    pub checkpoint_area: u32,
    /// What the first record of the log has as chain: the CRC of the record before it.
    pub chain: u32,
    /// The layout.
    pub sizes: Sizes,
    /// Name of the node.
    pub node: String,
}

/// What the bytes of a superblock turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundSuperblock {
    /// Whole and understood.
    Valid(Superblock),
    /// Whole, and of a later format.
    TooNew(u32),
    /// All zero: never written.
    Empty,
    /// It begins as one, and is not whole: why.
    Torn(&'static str),
    /// Something else.
    Foreign,
}

impl Superblock {
    /// The bytes on disk.
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        assert!(
            self.node.len() <= NODE_BYTES_MAX,
            "the node's name was checked"
        );
        assert!(self.checkpoint_bytes <= self.sizes.checkpoint_bytes);
        let mut bytes = [0; SUPERBLOCK_BYTES];
        put(&mut bytes, MAGIC_AT, SUPERBLOCK_MAGIC);
        put(&mut bytes, FORMAT_AT, &FORMAT.to_le_bytes());
        put(&mut bytes, GENERATION_AT, &self.generation.to_le_bytes());
        put(&mut bytes, IDENTITY_AT, &self.identity.to_le_bytes());
        put(&mut bytes, INCARNATION_AT, &self.incarnation.to_le_bytes());
        put(&mut bytes, EPOCH_AT, &self.epoch.to_le_bytes());
        put(
            &mut bytes,
            CHECKPOINT_LSN_AT,
            &self.checkpoint_lsn.0.to_le_bytes(),
        );
        put(
            &mut bytes,
            CHECKPOINT_BYTES_AT,
            &self.checkpoint_bytes.to_le_bytes(),
        );
        put(
            &mut bytes,
            CHECKPOINT_CRC_AT,
            &self.checkpoint_crc.to_le_bytes(),
        );
        put(
            &mut bytes,
            CHECKPOINT_AREA_AT,
            &self.checkpoint_area.to_le_bytes(),
        );
        put(&mut bytes, CHAIN_AT, &self.chain.to_le_bytes());
        put(
            &mut bytes,
            NODE_BYTES_AT,
            &(self.node.len() as u32).to_le_bytes(),
        );
        put(
            &mut bytes,
            AREA_BYTES_AT,
            &self.sizes.checkpoint_bytes.to_le_bytes(),
        );
        put(
            &mut bytes,
            LOG_BYTES_AT,
            &self.sizes.log_bytes.to_le_bytes(),
        );
        put(&mut bytes, NODE_AT, self.node.as_bytes());
        let crc = crc32c::crc32c(&bytes[..SUPERBLOCK_CRC_AT]);
        put(&mut bytes, SUPERBLOCK_CRC_AT, &crc.to_le_bytes());
        bytes
    }

    /// Judges bytes.
    pub fn decode(bytes: &[u8; SUPERBLOCK_BYTES]) -> FoundSuperblock {
        if bytes.iter().all(|byte| *byte == 0) {
            return FoundSuperblock::Empty;
        }
        if &bytes[..FORMAT_AT] != SUPERBLOCK_MAGIC {
            return FoundSuperblock::Foreign;
        }
        if crc32c::crc32c(&bytes[..SUPERBLOCK_CRC_AT]) != get_u32(bytes, SUPERBLOCK_CRC_AT) {
            return FoundSuperblock::Torn("its checksum is wrong");
        }
        let format = get_u32(bytes, FORMAT_AT);
        if format > FORMAT || get_u32(bytes, FLAGS_AT) != 0 {
            return FoundSuperblock::TooNew(format);
        }
        match Self::decode_fields(bytes) {
            Some(superblock) => FoundSuperblock::Valid(superblock),
            None => FoundSuperblock::Torn("its checksum is right and its fields make no sense"),
        }
    }

    fn decode_fields(bytes: &[u8; SUPERBLOCK_BYTES]) -> Option<Self> {
        let node_bytes = get_u32(bytes, NODE_BYTES_AT) as usize;
        if node_bytes > NODE_BYTES_MAX {
            return None;
        }
        let node = std::str::from_utf8(&bytes[NODE_AT..NODE_AT + node_bytes]).ok()?;
        let superblock = Self {
            generation: get_u64(bytes, GENERATION_AT),
            identity: get_u64(bytes, IDENTITY_AT),
            incarnation: get_u64(bytes, INCARNATION_AT),
            epoch: get_u64(bytes, EPOCH_AT),
            checkpoint_lsn: Lsn(get_u64(bytes, CHECKPOINT_LSN_AT)),
            checkpoint_bytes: get_u64(bytes, CHECKPOINT_BYTES_AT),
            checkpoint_crc: get_u32(bytes, CHECKPOINT_CRC_AT),
            checkpoint_area: get_u32(bytes, CHECKPOINT_AREA_AT),
            chain: get_u32(bytes, CHAIN_AT),
            sizes: Sizes {
                log_bytes: get_u64(bytes, LOG_BYTES_AT),
                checkpoint_bytes: get_u64(bytes, AREA_BYTES_AT),
            },
            node: node.to_owned(),
        };
        let sound = superblock.sizes.complaint().is_none()
            && superblock.checkpoint_area < 2
            && superblock.checkpoint_lsn.0 < LSN_MAX
            && superblock.checkpoint_bytes <= superblock.sizes.checkpoint_bytes;
        sound.then_some(superblock)
    }

    /// What its log begins with.
    pub fn start(&self) -> Expected {
        Expected {
            identity: self.identity,
            generation: self.generation as u32,
            epoch_min: self.epoch,
            lsn: self.checkpoint_lsn.next(),
            chain: self.chain,
            offset: self.sizes.log_offset(),
        }
    }
}

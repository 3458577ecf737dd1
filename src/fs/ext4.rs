//! ext4 read from its block device: features, and which inodes are in use.
//!
//! The kernel gives no list of inodes. Opening every number by handle is dangerous: the kernel takes a
//! number that was never used (the table may hold old garbage), or an inode that carries the value of
//! an xattr, for damage, and stops the file system. So bitmaps and tables are read here; the block
//! device shows the very pages that ext4 writes to, and only what is alive is opened, by its generation.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const SUPERBLOCK_OFFSET: u64 = 1024;
const SUPERBLOCK_BYTES: usize = 1024;
const MAGIC: u16 = 0xef53;
const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_EA_INODE: u32 = 0x400;
const RO_COMPAT_SPARSE_SUPER: u32 = 1;
const GROUP_INODE_UNINIT: u16 = 1;
const XATTR_MAGIC: u32 = 0xea02_0000;
const INODE_EA_INODE: u32 = 0x20_0000;
/// The root directory's.
pub const ROOT_INODE: u64 = 2;
const SMALL_DESCRIPTOR_BYTES: u64 = 32;
/// The part of an inode that each one has.
const SMALL_INODE_BYTES: usize = 128;
/// Inodes whose table is read at once.
const STRETCH: u64 = 256;

fn le16(bytes: &[u8], offset: usize) -> u16 {
    let field = bytes.get(offset..offset + 2);
    field.map_or(0, |field| u16::from_le_bytes([field[0], field[1]]))
}

fn le32(bytes: &[u8], offset: usize) -> u32 {
    u32::from(le16(bytes, offset)) | u32::from(le16(bytes, offset + 2)) << 16
}

/// The block device with this number.
fn device_path(device: u64) -> PathBuf {
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    let uevent = std::fs::read_to_string(format!("/sys/dev/block/{number}/uevent"));
    let named = uevent.ok().and_then(|text| {
        let name = text
            .lines()
            .find_map(|line| line.strip_prefix("DEVNAME="))?;
        Some(PathBuf::from("/dev").join(name))
    });
    named.unwrap_or_else(|| PathBuf::from("/dev/block").join(number))
}

/// An inode in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveInode {
    /// Inode number.
    pub inode: u64,
    /// Its generation.
    pub generation: u32,
    /// It may have xattrs.
    pub has_xattrs: bool,
}

/// An ext4 file system on its block device.
#[derive(Debug)]
pub struct Volume {
    file: File,
    superblock: Vec<u8>,
    block_bytes: u64,
    inodes: u64,
    inodes_per_group: u64,
    inode_bytes: u64,
    descriptor_bytes: u64,
}

/// Where a group keeps its inodes.
struct Group {
    bitmap_block: u64,
    table_block: u64,
    unused: bool,
}

impl Volume {
    /// Opens the block device that a file system is mounted from (`st_dev` of its files).
    pub fn open(device: u64) -> io::Result<Self> {
        let file = File::open(device_path(device))?;
        let mut superblock = vec![0; SUPERBLOCK_BYTES];
        file.read_exact_at(&mut superblock, SUPERBLOCK_OFFSET)?;
        let damaged = || io::Error::from_raw_os_error(libc::EUCLEAN);
        let inodes_per_group = u64::from(le32(&superblock, 0x28));
        let log_block = le32(&superblock, 0x18);
        if le16(&superblock, 0x38) != MAGIC || inodes_per_group == 0 || log_block > 6 {
            return Err(damaged());
        }
        let is_64bit = le32(&superblock, 0x60) & INCOMPAT_64BIT != 0;
        Ok(Self {
            file,
            block_bytes: 1024 << log_block,
            inodes: u64::from(le32(&superblock, 0)),
            inodes_per_group,
            inode_bytes: u64::from(le16(&superblock, 0x58)).max(128),
            descriptor_bytes: if is_64bit {
                u64::from(le16(&superblock, 0xfe)).max(64)
            } else {
                SMALL_DESCRIPTOR_BYTES
            },
            superblock,
        })
    }

    fn incompat(&self, feature: u32) -> bool {
        le32(&self.superblock, 0x60) & feature != 0
    }

    /// May an xattr be as long as 64 KiB?
    pub fn has_ea_inode(&self) -> bool {
        self.incompat(INCOMPAT_EA_INODE)
    }

    fn has_superblock(&self, group: u64) -> bool {
        let power_of = |base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        };
        if le32(&self.superblock, 0x5c) & COMPAT_SPARSE_SUPER2 != 0 {
            let backups = [0x24c, 0x250].map(|at| u64::from(le32(&self.superblock, at)));
            return group == 0 || backups.contains(&group);
        }
        let sparse = le32(&self.superblock, 0x64) & RO_COMPAT_SPARSE_SUPER != 0;
        group <= 1 || !sparse || [3, 5, 7].into_iter().any(power_of)
    }

    fn descriptor_offset(&self, group: u64) -> u64 {
        let per_block = self.block_bytes / self.descriptor_bytes;
        let (table_block, within) = (group / per_block, group % per_block);
        let first_data_block = u64::from(le32(&self.superblock, 0x14));
        let first_meta = u64::from(le32(&self.superblock, 0x104));
        let block = if self.incompat(INCOMPAT_META_BG) && table_block >= first_meta {
            let group = table_block * per_block;
            let blocks_per_group = u64::from(le32(&self.superblock, 0x20));
            first_data_block + group * blocks_per_group + u64::from(self.has_superblock(group))
        } else {
            first_data_block + 1 + table_block
        };
        block * self.block_bytes + within * self.descriptor_bytes
    }

    fn group(&self, group: u64) -> io::Result<Group> {
        let mut bytes = vec![0; self.descriptor_bytes as usize];
        self.file
            .read_exact_at(&mut bytes, self.descriptor_offset(group))?;
        let wide = self.descriptor_bytes > SMALL_DESCRIPTOR_BYTES;
        let block = |low: usize, high: usize| {
            let high = if wide { le32(&bytes, high) } else { 0 };
            u64::from(le32(&bytes, low)) | u64::from(high) << 32
        };
        Ok(Group {
            bitmap_block: block(4, 0x24),
            table_block: block(8, 0x28),
            unused: le16(&bytes, 0x12) & GROUP_INODE_UNINIT != 0,
        })
    }

    /// Is there a block of xattrs, or the head of those inside the inode?
    fn has_xattrs(&self, raw: &[u8]) -> bool {
        let block = le32(raw, 0x68) != 0 || le16(raw, 0x76) != 0;
        let end_of_fields = SMALL_INODE_BYTES + usize::from(le16(raw, SMALL_INODE_BYTES));
        let has_room = self.inode_bytes > (SMALL_INODE_BYTES + 2) as u64
            && end_of_fields as u64 + 4 <= self.inode_bytes;
        block || has_room && le32(raw, end_of_fields) == XATTR_MAGIC
    }

    fn is_for_users(&self, inode: u64) -> bool {
        let first = u64::from(le32(&self.superblock, 0x54));
        inode == ROOT_INODE || inode >= first.max(11)
    }

    /// Reads one stretch of the table of a group; `bitmap` says what is in use.
    fn read_stretch(
        &self,
        group: &Group,
        bitmap: &[u8],
        indexes: std::ops::Range<u64>,
        first_inode: u64,
        found: &mut Vec<LiveInode>,
    ) -> io::Result<()> {
        let used = |index: u64| bitmap[(index / 8) as usize] & (1 << (index % 8)) != 0;
        if !indexes.clone().any(used) {
            return Ok(());
        }
        let bytes = (indexes.end - indexes.start) * self.inode_bytes;
        let mut table = vec![0; bytes as usize];
        let offset = group.table_block * self.block_bytes + indexes.start * self.inode_bytes;
        self.file.read_exact_at(&mut table, offset)?;
        let start = indexes.start;
        for index in indexes.filter(|index| used(*index)) {
            let raw = &table[((index - start) * self.inode_bytes) as usize..];
            let inode = first_inode + index;
            let is_live = le16(raw, 0) != 0 && le16(raw, 0x1a) != 0;
            if is_live && le32(raw, 0x20) & INODE_EA_INODE == 0 && self.is_for_users(inode) {
                found.push(LiveInode {
                    inode,
                    generation: le32(raw, 0x64),
                    has_xattrs: self.has_xattrs(raw),
                });
            }
        }
        Ok(())
    }

    /// The generation of the inode with this number, be it linked or only open; `None`: it is not in use, or none of
    /// the users'.
    pub fn generation_of(&self, inode: u64) -> io::Result<Option<u32>> {
        if inode > self.inodes || !self.is_for_users(inode) {
            return Ok(None);
        }
        let (number, index) = (
            (inode - 1) / self.inodes_per_group,
            (inode - 1) % self.inodes_per_group,
        );
        let group = self.group(number)?;
        if group.unused {
            return Ok(None);
        }
        let mut bits = [0];
        let bitmap = group.bitmap_block * self.block_bytes;
        self.file.read_exact_at(&mut bits, bitmap + index / 8)?;
        let mut raw = [0; SMALL_INODE_BYTES];
        let offset = group.table_block * self.block_bytes + index * self.inode_bytes;
        self.file.read_exact_at(&mut raw, offset)?;
        let is_live = bits[0] & (1 << (index % 8)) != 0 && le16(&raw, 0) != 0;
        let is_plain = le32(&raw, 0x20) & INODE_EA_INODE == 0;
        Ok((is_live && is_plain).then(|| le32(&raw, 0x64)))
    }

    /// Inodes in use with numbers from `start` on, in order: those of a part of one group. Returns where the
    /// next call begins; `None` at the end. May find nothing and yet not be at the end.
    pub fn live_inodes(&self, start: u64, found: &mut Vec<LiveInode>) -> io::Result<Option<u64>> {
        found.clear();
        let start = start.max(1);
        if start > self.inodes {
            return Ok(None);
        }
        let number = (start - 1) / self.inodes_per_group;
        let first_inode = number * self.inodes_per_group + 1;
        let group = self.group(number)?;
        let next_group = Some(first_inode + self.inodes_per_group);
        if group.unused {
            return Ok(next_group);
        }
        let mut bitmap = vec![0; self.inodes_per_group.div_ceil(8) as usize];
        self.file
            .read_exact_at(&mut bitmap, group.bitmap_block * self.block_bytes)?;
        let mut index = start - first_inode;
        while index < self.inodes_per_group {
            let end = (index + STRETCH).min(self.inodes_per_group);
            self.read_stretch(&group, &bitmap, index..end, first_inode, found)?;
            if !found.is_empty() {
                return Ok(Some(first_inode + end));
            }
            index = end;
        }
        Ok(next_group)
    }
}

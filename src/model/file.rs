//! What calls on files carry: regions, attributes, kinds of object.

use serde::{Deserialize, Serialize};

use super::event::{EventSet, EventType};
use super::handle::Handle;

/// A managed region (`dm_region_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First byte.
    pub offset: u64,
    /// Bytes; 0: without end.
    pub size: u64,
    /// READ 1, WRITE 2, TRUNCATE 4, DIRECT_READ 8.
    pub flags: u32,
    /// `rg_opaque`.
    pub opaque: u32,
}

/// How a file system is mounted that is served through FUSE: with this and its [`super::event::MountBody`]
/// (the device is the directory behind) it can be mounted again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuseMount {
    /// What its mount options chose.
    pub options: FuseOptions,
    /// Attributes of the mount, as fsmount(2) takes them.
    pub attributes: u32,
}

/// Choices of a FUSE mount, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FuseOptions(pub u8);

impl FuseOptions {
    /// Every file is opened in the cached mode (`data=cached`).
    pub const CACHED: Self = Self(1);
    /// Others change the file system behind it, too (`shared`): another mount, another node. What the kernel
    /// has of it is asked for again at each use.
    pub const SHARED: Self = Self(2);

    /// Is that chosen?
    pub fn has(self, choice: Self) -> bool {
        self.0 & choice.0 == choice.0
    }

    /// With that choice as well.
    #[must_use]
    pub fn with(self, choice: Self) -> Self {
        Self(self.0 | choice.0)
    }
}

/// Flags of a region that guard what is read. Who asks for DIRECT_READ gets READ: the bytes may be gone.
pub const READ_FLAGS: u32 = 1 | 8;

impl Region {
    /// The events that its flags ask for.
    pub fn events(&self) -> EventSet {
        let wanted = [
            (READ_FLAGS, EventType::Read),
            (2, EventType::Write),
            (4, EventType::Truncate),
        ];
        EventSet(wanted.iter().fold(0, |set, (flag, event)| {
            set | if self.flags & flag != 0 {
                event.bit()
            } else {
                0
            }
        }))
    }
}

/// `dm_inherit_t`: new objects get this attribute from the directory they are made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Inherit {
    /// The attribute, padded with NULs.
    pub name: [u8; 8],
    /// `ih_filetype`: `S_IFREG`, `S_IFDIR` or `S_IFLNK`; 0: all three.
    pub file_type: u32,
}

/// `S_IFMT`, and the types of objects that can have DM attributes.
const TYPE_BITS: u32 = 0o170_000;
const HOLDERS: [u32; 3] = [0o100_000, 0o040_000, 0o120_000];

impl Inherit {
    /// Of the arguments of `dm_set_inherit`; permission bits do not count. `None`: no such objects can have it.
    pub fn new(name: [u8; 8], mode: u32) -> Option<Self> {
        let file_type = mode & TYPE_BITS;
        let is_good = name[0] != 0 && (file_type == 0 || HOLDERS.contains(&file_type));
        is_good.then_some(Self { name, file_type })
    }

    /// Does a new object of this mode get it?
    pub fn covers(&self, mode: u32) -> bool {
        let new_type = mode & TYPE_BITS;
        match self.file_type {
            0 => HOLDERS.contains(&new_type),
            wanted => wanted == new_type,
        }
    }
}

/// Attributes to set (`dm_set_fileattr`); `None`: left alone. Times are seconds and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AttrChange {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<(i64, u32)>,
    pub mtime: Option<(i64, u32)>,
    pub ctime: Option<(i64, u32)>,
    pub dtime: Option<(i64, u32)>,
    pub size: Option<u64>,
    /// `dtime` is kept also for an object without DM attributes.
    pub dtime_alone: bool,
}

/// Which kinds of object a call takes (reference section 2.0, "Kinds").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds(pub u8);

#[allow(missing_docs)]
impl Kinds {
    pub const REGULAR: Self = Self(1);
    pub const DIRECTORY: Self = Self(2);
    pub const SYMLINK: Self = Self(4);
    pub const OTHER: Self = Self(8);
    pub const FS: Self = Self(16);
    pub const GLOBAL: Self = Self(32);
    /// R D L O.
    pub const OBJECT: Self = Self(15);
    /// Both sets together.
    pub const fn or(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }
    /// Does the set hold that one?
    pub const fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}

/// `DM_AT_*`, SGI numbering: what a call should fill in or set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrMask(pub u32);

#[allow(missing_docs)]
impl AttrMask {
    pub const MODE: Self = Self(0x0001);
    pub const UID: Self = Self(0x0002);
    pub const GID: Self = Self(0x0004);
    pub const ATIME: Self = Self(0x0008);
    pub const MTIME: Self = Self(0x0010);
    pub const CTIME: Self = Self(0x0020);
    pub const SIZE: Self = Self(0x0040);
    pub const DTIME: Self = Self(0x0080);
    pub const HANDLE: Self = Self(0x0100);
    pub const EMASK: Self = Self(0x0200);
    pub const PMANR: Self = Self(0x0400);
    pub const PATTR: Self = Self(0x0800);
    pub const STAT: Self = Self(0x1000);
    pub const CFLAG: Self = Self(0x2000);
    pub const FOPEN: Self = Self(0x4000);
    /// What `dm_set_fileattr` takes.
    pub const SETTABLE: Self = Self(0x00ff);
    /// What `dm_get_fileattr` takes.
    pub const READABLE: Self = Self(0x7e80);
    /// What the bulk calls take.
    pub const SCANNABLE: Self = Self(0x3f80);

    /// Does the mask have that bit?
    pub const fn has(self, bit: Self) -> bool {
        self.0 & bit.0 != 0
    }
    /// Has it no bits but those?
    pub const fn is_within(self, bits: Self) -> bool {
        self.0 & !bits.0 == 0
    }
}

/// What `dm_stat_t` says of an object. Times are whole seconds, as there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ObjectStat {
    /// `dt_handle`.
    pub handle: Option<Handle>,
    /// `dt_emask`: its own list and the flags of its regions.
    pub events: EventSet,
    /// `dt_pers`: it has DM attributes.
    pub has_attributes: bool,
    /// `dt_pmanreg`.
    pub has_regions: bool,
    pub dtime: i64,
    /// `dt_change`.
    pub change: u64,
    pub device: u64,
    pub inode: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    pub block_bytes: u32,
    /// Of 512 bytes.
    pub blocks: u64,
    pub generation: u32,
    /// `dt_fopen`: somebody has it open.
    pub is_open: bool,
}

/// A piece of a file, of `dm_get_allocinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// It has blocks (`DM_EXTENT_RES`), or it is a hole.
    pub resident: bool,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// `dm_dioinfo_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DioInfo {
    /// Alignment of memory.
    pub memory_bytes: u32,
    /// Smallest transfer and alignment of the offset.
    pub transfer_bytes_min: u32,
    /// Largest transfer.
    pub transfer_bytes_max: u32,
    /// Nothing but direct I/O works.
    pub direct_only: bool,
}

/// How an object is opened for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenFor {
    /// O_PATH: stat and xattrs by /proc/self/fd; any kind.
    Look,
    /// Reading data or a directory.
    Read,
    /// Writing data.
    Write,
}

//! What calls on files carry: regions, attributes, kinds of object.

use serde::{Deserialize, Serialize};

/// A managed region (`dm_region_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First byte.
    pub offset: u64,
    /// Bytes; 0: without end.
    pub size: u64,
    /// READ 1, WRITE 2, TRUNCATE 4.
    pub flags: u32,
    /// `rg_opaque`.
    pub opaque: u32,
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

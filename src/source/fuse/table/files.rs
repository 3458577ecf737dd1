//! Open files and directories.

use std::os::fd::RawFd;

use super::{FILE, FILES, FREE, ROW_WORDS, Table, USED, minus, plus};

const F_STATE: usize = 0;
const F_UNIQUE: usize = 1;
const F_NODE: usize = 2;
pub(super) const F_FD: usize = 3;
const F_FLAGS: usize = 4;
const F_WAY: usize = 5;
const F_CTIME: usize = 6;
const F_CTIME_NS: usize = 7;
const F_USES: usize = 8;

/// Rows in the number of an open file; above them is how often the row was used, so that a request which comes
/// again for a file that is closed meanwhile does not name another.
const FH_ROW_BITS: u32 = 20;
const _: () = assert!(FILES < 1 << FH_ROW_BITS);

/// How a file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The kernel reads and writes the backing file itself.
    Passthrough,
    /// Through the kernel's cache of the mount; we read and write.
    Cached,
    /// A directory.
    Directory,
}

/// An open file or directory. Its number in the kernel is [`OpenFile::fh`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Its place.
    pub row: usize,
    /// How often its place was used.
    pub uses: u64,
    /// The request that opened it.
    pub unique: u64,
    /// Its node.
    pub node: u64,
    /// Our descriptor of a directory; `None`: the one of the object is used.
    pub fd: Option<RawFd>,
    /// Flags of the user's open.
    pub flags: u32,
    /// How it is open.
    pub way: Way,
    /// ctime of the backing file when it was opened to be written past us.
    pub ctime: (i64, u32),
}

impl OpenFile {
    /// What the kernel calls it.
    pub fn fh(&self) -> u64 {
        self.uses << FH_ROW_BITS | (self.row as u64 + 1)
    }
}

impl Table {
    /// Enters an open file; the table has its descriptor from now on. `None`: too many are open.
    pub fn add_file(&self, file: OpenFile) -> Option<OpenFile> {
        let row = Self::take(&self.free_files)?;
        let word = FILE + row * ROW_WORDS;
        let set = |field: usize, value: u64| self.memory.set(word + field, value);
        set(F_UNIQUE, file.unique);
        set(F_NODE, file.node);
        let uses = self.memory.get(word + F_USES) + 1;
        set(F_USES, uses);
        set(F_FD, plus(file.fd));
        set(F_FLAGS, u64::from(file.flags));
        set(F_WAY, file.way as u64);
        set(F_CTIME, file.ctime.0 as u64);
        set(F_CTIME_NS, u64::from(file.ctime.1));
        set(F_STATE, USED);
        Some(OpenFile { row, uses, ..file })
    }

    /// The open file that the kernel calls so.
    pub fn file(&self, fh: u64) -> Option<OpenFile> {
        let place = fh & ((1 << FH_ROW_BITS) - 1);
        let row = usize::try_from(place.checked_sub(1)?).ok()?;
        let file = (row < FILES).then(|| self.file_in(row)).flatten()?;
        (file.fh() == fh).then_some(file)
    }

    fn file_in(&self, row: usize) -> Option<OpenFile> {
        let word = FILE + row * ROW_WORDS;
        let get = |field: usize| self.memory.get(word + field);
        (get(F_STATE) == USED).then(|| OpenFile {
            row,
            uses: get(F_USES),
            unique: get(F_UNIQUE),
            node: get(F_NODE),
            fd: minus(get(F_FD)),
            flags: get(F_FLAGS) as u32,
            way: match get(F_WAY) {
                0 => Way::Passthrough,
                1 => Way::Cached,
                _ => Way::Directory,
            },
            ctime: (get(F_CTIME) as i64, get(F_CTIME_NS) as u32),
        })
    }

    /// All open files.
    pub fn files(&self) -> impl Iterator<Item = OpenFile> {
        (0..FILES).filter_map(|row| self.file_in(row))
    }

    /// The open file that a request made; for one that comes again.
    pub fn file_of_request(&self, unique: u64) -> Option<OpenFile> {
        self.files().find(|file| file.unique == unique)
    }

    /// Forgets an open file. To be done before its descriptor is closed, which is the caller's.
    pub fn remove_file(&self, file: &OpenFile) {
        self.memory.set(FILE + file.row * ROW_WORDS + F_STATE, FREE);
        Self::give(&self.free_files, file.row);
    }
}

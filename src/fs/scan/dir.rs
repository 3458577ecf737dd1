//! The entries of one directory.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use super::Found;
use super::Want;
use super::location::Space;
use super::location::VALUE_END;
use super::location::seal;
use super::location::unseal;
use super::open_entry;
use crate::fs::FsKind;
use crate::fs::Mount;
use crate::fs::error::dm;
use crate::model::DmError;
use crate::sys::dirent;

/// Where a scan of a directory stands. `.` and `..` come first on every file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Dot,
    DotDot,
    /// The cookie of the kernel.
    At(i64),
    End,
}

/// Cookies of ext4, and of what may lie on it, have 63 bits and leave no room for check bits: the sign bit
/// marks them.
const EXT4_COOKIE: u64 = 1 << 63;
const EXT4_DOT_DOT: u64 = 1;
const EXT4_END: u64 = 2;
const DOT_DOT: u64 = 1;
const FIRST_COOKIE: u64 = 2;

fn has_long_cookies(kind: FsKind) -> bool {
    matches!(kind, FsKind::Ext4 | FsKind::Other(_))
}

fn location_of(kind: FsKind, place: Place) -> u64 {
    match (has_long_cookies(kind), place) {
        (_, Place::Dot) => super::LOCATION_START,
        (true, Place::DotDot) => EXT4_DOT_DOT,
        (true, Place::At(i64::MAX) | Place::End) => EXT4_END,
        (true, Place::At(cookie)) => EXT4_COOKIE | cookie as u64,
        (_, Place::DotDot) => seal(DOT_DOT, Space::Directory),
        (_, Place::At(cookie)) => seal(cookie as u64 + FIRST_COOKIE, Space::Directory),
        (_, Place::End) => seal(VALUE_END, Space::Directory),
    }
}

fn place_of(kind: FsKind, location: u64) -> Option<Place> {
    if has_long_cookies(kind) {
        return match location {
            super::LOCATION_START => Some(Place::Dot),
            EXT4_DOT_DOT => Some(Place::DotDot),
            EXT4_END => Some(Place::End),
            u64::MAX => None,
            _ if location & EXT4_COOKIE == 0 => None,
            _ => Some(Place::At((location & !EXT4_COOKIE) as i64)),
        };
    }
    match unseal(location, Space::Directory)? {
        0 => Some(Place::Dot),
        DOT_DOT => Some(Place::DotDot),
        VALUE_END => Some(Place::End),
        value => Some(Place::At((value - FIRST_COOKIE) as i64)),
    }
}

/// The entries of a directory: `.`, `..`, then the others.
#[derive(Debug)]
pub struct DirScan<'a> {
    mount: &'a Mount,
    dir: OwnedFd,
    want: Want,
    /// Where the next entry is.
    place: Place,
    read: VecDeque<dirent::Entry>,
}

impl<'a> DirScan<'a> {
    /// Begins at a location; `Invalid` if it is none. `dir` was opened for reading and is the scan's own.
    pub fn new(mount: &'a Mount, dir: OwnedFd, location: u64, want: Want) -> Result<Self, DmError> {
        let place = place_of(mount.kind, location).ok_or(DmError::Invalid)?;
        if let Place::At(cookie) = place {
            dirent::seek(dir.as_fd(), cookie).map_err(|_| DmError::Invalid)?;
        }
        Ok(Self {
            mount,
            dir,
            want,
            place,
            read: VecDeque::new(),
        })
    }

    /// The next entry; `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Found>, DmError> {
        loop {
            let location = self.location();
            let (fd, name) = match self.place {
                Place::End => return Ok(None),
                Place::Dot => {
                    self.place = Place::DotDot;
                    (open_entry(self.dir.as_fd(), b".").map_err(dm)?, b".".into())
                }
                Place::DotDot => {
                    dirent::seek(self.dir.as_fd(), 0)?;
                    self.place = Place::At(0);
                    (self.parent()?, b"..".into())
                }
                Place::At(_) => {
                    let Some(entry) = self.read_entry()? else {
                        self.place = Place::End;
                        return Ok(None);
                    };
                    self.place = Place::At(entry.next);
                    if entry.name == b"." || entry.name == b".." {
                        continue;
                    }
                    match open_entry(self.dir.as_fd(), &entry.name) {
                        Ok(fd) => (fd, entry.name),
                        // Removed since the directory was read.
                        Err(Errno::ENOENT) => continue,
                        Err(errno) => return Err(dm(errno)),
                    }
                }
            };
            let found = self.mount.found(fd.as_fd(), &self.want, location, &name)?;
            return Ok(Some(found));
        }
    }

    fn read_entry(&mut self) -> Result<Option<dirent::Entry>, DmError> {
        if self.read.is_empty() {
            self.read.extend(dirent::read(self.dir.as_fd())?);
        }
        Ok(self.read.pop_front())
    }

    /// The root is its own parent; the way up from it would lead out of the file system.
    fn parent(&self) -> Result<OwnedFd, DmError> {
        let own = self.mount.handle_of(self.dir.as_fd())?;
        let is_root = own == self.mount.handle_of(self.mount.root.as_fd())?;
        let name: &[u8] = if is_root { b"." } else { b".." };
        open_entry(self.dir.as_fd(), name).map_err(dm)
    }

    /// Where a scan goes on after the last entry that was returned.
    pub fn location(&self) -> u64 {
        location_of(self.mount.kind, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_locations_and_come_back() {
        let other = FsKind::Other(0);
        for kind in [
            FsKind::Xfs,
            FsKind::Ext4,
            FsKind::Btrfs,
            FsKind::Tmpfs,
            other,
        ] {
            let places = [0, 1, 12, 1 << 40].map(Place::At);
            for place in [Place::Dot, Place::DotDot, Place::End]
                .iter()
                .chain(&places)
            {
                let location = location_of(kind, *place);
                assert_eq!(place_of(kind, location), Some(*place));
            }
            let last = location_of(kind, Place::At(i64::MAX));
            assert_eq!(place_of(kind, last), Some(Place::End));
            for garbage in [77, 0x1234_5678, u64::MAX] {
                assert_eq!(place_of(kind, garbage), None, "{kind} {garbage}");
            }
        }
    }
}

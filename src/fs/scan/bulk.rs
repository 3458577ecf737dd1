//! All objects of a file system in the order of their inode numbers.
//!
//! xfs tells its inodes with their attributes (bulkstat); btrfs has its tree searched, ext4 its tables read
//! (see [`crate::fs::ext4`]), and each inode found there is opened by its handle. Other kinds, part of a file
//! system, and one whose lists this process may not read, are walked over.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use super::Found;
use super::Want;
use super::location::Space;
use super::location::VALUE_END;
use super::location::seal;
use super::location::unseal;
use super::tree::Tree;
use crate::fs::FsKind;
use crate::fs::Mount;
use crate::fs::attr;
use crate::fs::ext4;
use crate::fs::ext4::Volume;
use crate::fs::handle::kind_of_mode;
use crate::fs::stat;
use crate::fs::state;
use crate::model::DmError;
use crate::model::Handle;
use crate::model::Kinds;
use crate::model::ObjectStat;
use crate::model::OpenFor;
use crate::sys::btrfs;
use crate::sys::xfs;

/// An inode that was in use when the list was read.
#[derive(Debug)]
struct Candidate {
    inode: u64,
    generation: u32,
    /// It may have xattrs.
    has_xattrs: bool,
    stat: Option<xfs::BulkStat>,
}

/// What lists the inodes.
#[derive(Debug)]
enum List {
    Xfs,
    Ext4(Volume),
    Btrfs,
    /// Nothing: names are walked over. `None`: not yet.
    Tree(Option<Tree>),
}

impl List {
    fn of(mount: &Mount) -> Self {
        let root = mount.root.as_fd();
        let list = match mount.kind {
            FsKind::Xfs => xfs::root_inode(root).map(|inode| (inode, Self::Xfs)),
            FsKind::Ext4 => {
                Volume::open(mount.device).map(|volume| (ext4::ROOT_INODE, Self::Ext4(volume)))
            }
            FsKind::Btrfs => btrfs::inode_items(root, VALUE_END, &mut Vec::new())
                .map(|_| (btrfs::ROOT_INODE, Self::Btrfs)),
            FsKind::Tmpfs | FsKind::Other(_) => return Self::Tree(None),
        };
        match list {
            Ok((inode, list)) if inode == mount.root_object.0 => list,
            // A directory of it, or no right to read its lists.
            _ => Self::Tree(None),
        }
    }
}

/// All live objects of a file system, each once, in inode order.
#[derive(Debug)]
pub struct BulkScan<'a> {
    mount: &'a Mount,
    want: Want,
    space: Space,
    /// The inode number where the scan goes on.
    next: u64,
    /// Where the next part of the list begins; `None`: there is no more.
    next_part: Option<u64>,
    read: VecDeque<Candidate>,
    list: List,
    block_bytes_shown: u64,
}

impl<'a> BulkScan<'a> {
    /// Begins at a location; `Invalid` if it is none.
    pub fn new(mount: &'a Mount, location: u64, want: Want) -> Result<Self, DmError> {
        let space = Space::of_bulk(mount.kind);
        let next = unseal(location, space).ok_or(DmError::Invalid)?;
        Ok(Self {
            mount,
            want,
            space,
            next,
            next_part: (next < space.end()).then_some(next),
            read: VecDeque::new(),
            list: List::of(mount),
            block_bytes_shown: stat::stat(mount.root.as_fd())?.blksize,
        })
    }

    /// The next object; `None` at the end.
    pub fn next_object(&mut self) -> Result<Option<Found>, DmError> {
        if matches!(self.list, List::Tree(_)) {
            return self.next_in_tree();
        }
        loop {
            let Some(candidate) = self.candidate()? else {
                self.next = self.space.end();
                return Ok(None);
            };
            let location = seal(candidate.inode, self.space);
            self.next = candidate.inode + 1;
            let found = match self.shown(&candidate) {
                Some(stat) => Some(Found {
                    location,
                    name: Vec::new(),
                    stat,
                    value: None,
                }),
                None => self.look(&candidate, location)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Where a scan goes on after the last object that was returned.
    pub fn location(&self) -> u64 {
        seal(self.next, self.space)
    }

    fn next_in_tree(&mut self) -> Result<Option<Found>, DmError> {
        let List::Tree(tree) = &mut self.list else {
            return Ok(None);
        };
        if self.next >= self.space.end() {
            return Ok(None);
        }
        let tree = match tree {
            Some(tree) => tree,
            None => tree.insert(Tree::from(self.mount, self.next)?),
        };
        while let Some((inode, fd)) = tree.next(self.mount)? {
            let location = seal(inode, self.space);
            self.next = inode + 1;
            let found = self.mount.found(fd.as_fd(), &self.want, location, &[])?;
            // A subvolume or another layer is not of this file system.
            if found.stat.handle.is_some() && found.stat.links > 0 {
                return Ok(Some(found));
            }
        }
        self.next = self.space.end();
        Ok(None)
    }

    fn candidate(&mut self) -> Result<Option<Candidate>, DmError> {
        while self.read.is_empty() {
            let Some(start) = self.next_part else {
                return Ok(None);
            };
            self.next_part = self.read_part(start)?;
        }
        Ok(self.read.pop_front())
    }

    /// Reads the list from an inode number on; returns where the next part begins.
    fn read_part(&mut self, start: u64) -> Result<Option<u64>, DmError> {
        match &self.list {
            List::Xfs => self.read_xfs(start),
            List::Ext4(volume) => {
                let mut found = Vec::new();
                let next = volume.live_inodes(start, &mut found)?;
                self.read.extend(found.iter().map(|live| Candidate {
                    inode: live.inode,
                    generation: live.generation,
                    has_xattrs: live.has_xattrs,
                    stat: None,
                }));
                Ok(next)
            }
            List::Btrfs => {
                let mut found = Vec::new();
                let next = btrfs::inode_items(self.mount.root.as_fd(), start, &mut found)?;
                let live = found.iter().filter(|item| item.links > 0);
                self.read.extend(live.map(|item| Candidate {
                    inode: item.inode,
                    // What the handle has of it.
                    generation: item.generation as u32,
                    has_xattrs: item.has_xattrs,
                    stat: None,
                }));
                Ok(next)
            }
            List::Tree(_) => Ok(None),
        }
    }

    fn read_xfs(&mut self, start: u64) -> Result<Option<u64>, DmError> {
        let mut found = Vec::new();
        let next = xfs::bulk_stat(self.mount.root.as_fd(), start, &mut found)?;
        let is_end = found.is_empty() || next <= start;
        let live = found.into_iter().filter(|raw| raw.links > 0);
        self.read.extend(live.map(|raw| Candidate {
            inode: raw.inode,
            generation: raw.generation,
            has_xattrs: raw.xflags & xfs::XFLAG_HAS_ATTR != 0,
            stat: Some(raw),
        }));
        Ok((!is_end).then_some(next))
    }

    /// What bulkstat told, where that is all. A state must be read from the object; so must a change id, as
    /// only a real stat(2) makes the next change of ctime visible; and devices are shown in another way.
    fn shown(&self, candidate: &Candidate) -> Option<ObjectStat> {
        let raw = candidate.stat.as_ref()?;
        let mode = u32::from(raw.mode);
        let is_plain = !Kinds::OTHER.has(kind_of_mode(mode));
        if self.want.change || !is_plain {
            return None;
        }
        let names = self.names(candidate)?;
        let is_wanted = |name: &Vec<u8>| {
            let value = self.want.value;
            name == state::NAME || value.is_some() && attr::attribute_name(name) == value
        };
        if names.iter().any(is_wanted) {
            return None;
        }
        let has_attributes = attr::is_any_in(&names);
        Some(ObjectStat {
            handle: Some(Handle::Object {
                fs: self.mount.fs,
                inode: raw.inode,
                generation: raw.generation,
            }),
            device: self.mount.device,
            inode: raw.inode,
            mode,
            links: raw.links,
            uid: raw.uid,
            gid: raw.gid,
            size: raw.size,
            atime: raw.atime,
            mtime: raw.mtime,
            ctime: raw.ctime,
            block_bytes: self.block_bytes_shown as u32,
            blocks: raw.blocks * (self.mount.block_bytes / 512),
            generation: raw.generation,
            has_attributes: self.want.attributes && has_attributes,
            dtime: if self.want.dtime && (has_attributes || self.want.dtime_alone) {
                raw.ctime
            } else {
                0
            },
            ..ObjectStat::default()
        })
    }

    /// Names of what may be kept with it; `None`: not told. On xfs new inodes may have the flag though they have no
    /// xattr (where a security module could give them some).
    fn names(&self, candidate: &Candidate) -> Option<Vec<Vec<u8>>> {
        let root = self.mount.root.as_fd();
        match candidate.stat {
            _ if !candidate.has_xattrs => Some(Vec::new()),
            None => None,
            Some(_) => xfs::trusted_names(root, candidate.inode, candidate.generation).ok()?,
        }
    }

    /// Opens the object; `None` if it is gone by now.
    fn look(&self, candidate: &Candidate, location: u64) -> Result<Option<Found>, DmError> {
        let handle = Handle::Object {
            fs: self.mount.fs,
            inode: candidate.inode,
            generation: candidate.generation,
        };
        let fd = match self.mount.open(handle, OpenFor::Look) {
            Err(DmError::BadHandle) => return Ok(None),
            other => other?,
        };
        let ours = |name: &Vec<u8>| name == state::NAME || attr::attribute_name(name).is_some();
        let has_xattrs = self
            .names(candidate)
            .is_none_or(|names| names.iter().any(ours));
        let fd = fd.as_fd();
        let stat = stat::look_opened(fd, &self.want, handle, has_xattrs)?;
        let value = match self.want.value {
            Some(name) if has_xattrs => attr::get_if_any(fd, &name)?,
            _ => None,
        };
        let found = Found {
            location,
            name: Vec::new(),
            stat,
            value,
        };
        Ok((found.stat.links > 0).then_some(found))
    }
}

impl Drop for BulkScan<'_> {
    fn drop(&mut self) {
        if let List::Tree(tree) = &mut self.list
            && let Some(tree) = tree.take()
        {
            tree.keep(self.mount.fs);
        }
    }
}

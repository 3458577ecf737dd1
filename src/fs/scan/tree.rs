//! The objects of a file system in the order of their inode numbers where nothing lists them: by walks over the tree.
//!
//! One walk collects the names of the objects with the lowest numbers from where the scan stands, at most
//! [`LIST_MAX`] of them; when they are used up the next walk collects those behind. What is left of a
//! list when a call of the application ends waits in this process for the call that goes on there.
//!
//! A name that leads elsewhere by now was removed or renamed, and a new walk tells which. Walks for that take
//! a part of the time at most, so a scan may miss an object that is renamed while the scan comes to it.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;

use nix::fcntl::OFlag;

use crate::fs::Mount;
use crate::fs::walk;
use crate::model::DmError;
use crate::model::FsId;
use crate::sys::clock;

/// Objects of one list: with names of usual length some 5 MB.
const LIST_MAX: usize = 65_536;
/// Lists that wait for the next call of their scan.
const WAITING_MAX: usize = 4;
/// What was seen longer ago is looked at anew.
const FRESH_MS: u64 = 30_000;
/// A new walk for a lost name is made when that many times the length of the last walk passed since.
const REST: u64 = 4;
/// Walks for one list: a directory that is renamed under the walk may hide what is in it.
const WALKS_MAX: u32 = 3;

/// Directory and name.
type Name = (Arc<[u8]>, Box<[u8]>);

/// Where an object was seen.
#[derive(Clone, Debug)]
struct Seen {
    inode: u64,
    dir: Arc<[u8]>,
    name: Box<[u8]>,
}

/// A list of objects with ascending inode numbers.
#[derive(Debug)]
pub(super) struct Tree {
    list: VecDeque<Seen>,
    /// There may be more behind the list.
    full: bool,
    /// The number behind the last object that was taken.
    next: u64,
    /// That object: the application may have had no room for it.
    taken: Option<Seen>,
    read_ms: u64,
    walk_ms: u64,
}

static WAITING: Mutex<Vec<(FsId, Tree)>> = Mutex::new(Vec::new());

impl Tree {
    /// The list from an inode number on.
    pub(super) fn from(mount: &Mount, start: u64) -> Result<Self, DmError> {
        let now_ms = clock::boottime_ms();
        // Locked for ever in a child of fork(2), perhaps: nothing is lost but the shortcut.
        if let Ok(mut waiting) = WAITING.try_lock() {
            waiting.retain(|(_, tree)| now_ms.saturating_sub(tree.read_ms) < FRESH_MS);
            let mine = waiting
                .iter()
                .position(|(fs, tree)| *fs == mount.fs && tree.goes_on_at(start));
            if let Some(found) = mine {
                let (_, mut tree) = waiting.swap_remove(found);
                let again = tree.taken.take().filter(|seen| seen.inode == start);
                if let Some(seen) = again {
                    tree.list.push_front(seen);
                }
                return Ok(tree);
            }
        }
        Self::read(mount, start)
    }

    fn goes_on_at(&self, start: u64) -> bool {
        let taken = self.taken.as_ref();
        taken.is_some_and(|seen| seen.inode == start || self.next == start)
    }

    /// Keeps what is left for the next call.
    pub(super) fn keep(self, fs: FsId) {
        if let Ok(mut waiting) = WAITING.try_lock() {
            if waiting.len() >= WAITING_MAX {
                waiting.remove(0);
            }
            waiting.push((fs, self));
        }
    }

    fn read(mount: &Mount, start: u64) -> Result<Self, DmError> {
        let began_ms = clock::boottime_ms();
        let mut lowest = Lowest::new(mount, start);
        for _ in 0..WALKS_MAX {
            if walk::walk(mount, &mut |dir, entry| {
                lowest.add(dir, entry.inode, &entry.name);
                Ok(())
            })? {
                break;
            }
        }
        let read_ms = clock::boottime_ms();
        Ok(Self {
            full: lowest.full,
            list: lowest.into_list(),
            next: start,
            taken: None,
            read_ms,
            walk_ms: read_ms.saturating_sub(began_ms).max(1),
        })
    }

    /// The next object: its number, open to look at it; `None` at the end.
    pub(super) fn next(&mut self, mount: &Mount) -> Result<Option<(u64, OwnedFd)>, DmError> {
        loop {
            let Some(seen) = self.list.pop_front() else {
                if !self.full {
                    return Ok(None);
                }
                *self = Self::read(mount, self.next)?;
                continue;
            };
            if let Some(fd) = open(mount, &seen) {
                let inode = seen.inode;
                self.next = inode + 1;
                self.taken = Some(seen);
                return Ok(Some((inode, fd)));
            }
            let passed_ms = clock::boottime_ms().saturating_sub(self.read_ms);
            if passed_ms > REST * self.walk_ms {
                *self = Self::read(mount, seen.inode)?;
            }
        }
    }
}

fn open(mount: &Mount, seen: &Seen) -> Option<OwnedFd> {
    let path = match seen.dir.is_empty() {
        true => seen.name.to_vec(),
        false => [&*seen.dir, b"/", &*seen.name].concat(),
    };
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    let fd = walk::open_below(mount.root.as_fd(), &path, flags).ok()?;
    let stat = nix::sys::stat::fstat(&fd).ok()?;
    (stat.st_ino == seen.inode).then_some(fd)
}

/// The path of a directory as the walk has it, and a copy that may go to other threads.
type Shared = (Rc<[u8]>, Arc<[u8]>);

/// The lowest inode numbers of a walk.
struct Lowest {
    start: u64,
    found: BTreeMap<u64, Name>,
    full: bool,
    /// The directory that was met last, shared by its entries.
    dir: Option<Shared>,
}

impl Lowest {
    fn new(mount: &Mount, start: u64) -> Self {
        let mut found = BTreeMap::new();
        let root = mount.root_object.0;
        if root >= start {
            // The root has no name; "." does as well.
            found.insert(root, (Arc::from(&b""[..]), Box::from(&b"."[..])));
        }
        Self {
            start,
            found,
            full: false,
            dir: None,
        }
    }

    fn add(&mut self, dir: &walk::Dir, inode: u64, name: &[u8]) {
        if inode < self.start {
            return;
        }
        let last = self.found.last_key_value().map_or(0, |(last, _)| *last);
        if self.found.len() >= LIST_MAX && inode > last {
            self.full = true;
            return;
        }
        let path = self.shared(&dir.path);
        self.found.insert(inode, (path, name.into()));
        if self.found.len() > LIST_MAX {
            self.found.pop_last();
            self.full = true;
        }
    }

    fn shared(&mut self, path: &Rc<[u8]>) -> Arc<[u8]> {
        match &self.dir {
            Some((of, shared)) if Rc::ptr_eq(of, path) => Arc::clone(shared),
            _ => {
                let shared: Arc<[u8]> = Arc::from(&**path);
                self.dir = Some((Rc::clone(path), Arc::clone(&shared)));
                shared
            }
        }
    }

    fn into_list(self) -> VecDeque<Seen> {
        let found = self.found.into_iter();
        found
            .map(|(inode, (dir, name))| Seen { inode, dir, name })
            .collect()
    }
}

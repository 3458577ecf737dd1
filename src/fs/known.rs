//! What the worker remembers of objects, where the kernel does not open each one by our 24 bytes:
//!
//! * kinds whose own handles are longer (overlayfs, NFS): our generation is a hash, and the kernel's handle is
//!   kept in memory and in `<state>/handles/<fsid>`;
//! * tmpfs: the kernel opens by number and generation, but does not tell the generation of a number;
//! * a user namespace: the kernel opens directories by handle at most, so each object is found by a name.
//!
//! All of it can be found again by a walk over the tree, which is done once whenever something is not known;
//! so nothing here has to be durable. The table has as many rows as the file system has objects that were met.

use std::collections::HashMap;
use std::collections::HashSet;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use nix::fcntl::OFlag;
use nix::fcntl::open;
use nix::sys::stat::Mode;

use crate::fs::FsError;
use crate::fs::FsKind;
use crate::fs::Mount;
use crate::fs::error::dm;
use crate::fs::handle::flags_for;
use crate::fs::handle::has_data;
use crate::fs::handle_file::HandleFile;
use crate::fs::walk;
use crate::model::DmError;
use crate::model::OpenFor;
use crate::sys::handle::KernelHandle;
use crate::sys::handle::open_by_handle;

/// Inode number and generation.
pub(super) type Object = (u64, u32);

/// Dead handles that are remembered, so that asking for one again does not cost a walk.
const ABSENT_MAX: usize = 4096;
/// Deeper than any path that is walked.
const DEPTH_MAX: usize = 2048;

/// How the objects of a file system are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The kernel's handle is made of ours.
    Built,
    /// The kernel's handle has to be known.
    Kept,
    /// By a name.
    Named,
}

#[derive(Debug)]
struct Row {
    generation: u32,
    /// [`Way::Kept`]: type and bytes of the kernel's handle.
    kernel: Option<(i32, Box<[u8]>)>,
    /// [`Way::Named`]: a directory's inode number, and the name in it.
    name: Option<(u64, Box<[u8]>)>,
}

#[derive(Debug, Default)]
struct Table {
    rows: HashMap<u64, Row>,
    absent: HashSet<Object>,
    unlinked: HashMap<Object, OwnedFd>,
}

/// What the worker remembers of the objects of one file system.
#[derive(Debug)]
pub struct Known {
    way: Way,
    table: RwLock<Table>,
    file: Option<Mutex<HandleFile>>,
    walking: Mutex<()>,
    walks: AtomicU64,
}

impl Known {
    /// What has to be remembered of a mount; `None`: the kernel opens everything.
    pub(super) fn open(mount: &Mount, state_dir: Option<&Path>) -> Result<Option<Self>, FsError> {
        let refused = |errno| FsError::NoHandles {
            kind: mount.kind.name(),
            errno,
        };
        let root = crate::sys::handle::name_to_handle(mount.root.as_fd())
            .map_err(|error| refused(error.raw_os_error().unwrap_or(libc::EIO)))?;
        let way = match open_by_handle(mount.root.as_fd(), &root, libc::O_PATH) {
            Ok(_) if mount.kind.has_content_events() => return Ok(None),
            Ok(_) if mount.kind == FsKind::Tmpfs => Way::Built,
            Ok(_) => Way::Kept,
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Way::Named,
            Err(error) => return Err(refused(error.raw_os_error().unwrap_or(libc::EIO))),
        };
        let mut table = Table::default();
        let file = match (way, state_dir) {
            (Way::Kept, Some(state_dir)) => {
                let (file, kept) = HandleFile::open(state_dir, mount.fs);
                table.rows = kept
                    .into_iter()
                    .map(|one| (one.inode, row(one.generation, Some(one.kernel))))
                    .collect();
                Some(Mutex::new(file))
            }
            _ => None,
        };
        Ok(Some(Self {
            way,
            table: RwLock::new(table),
            file,
            walking: Mutex::new(()),
            walks: AtomicU64::new(0),
        }))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        // Each change is one call on a map: a thread that died in it left nothing half done.
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut table)
    }

    fn look<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// An object was met.
    pub(super) fn saw(&self, (inode, generation): Object, kernel: &KernelHandle) {
        let is_known = self.look(|table| {
            let row = table.rows.get(&inode);
            let absent = !table.absent.is_empty() && table.absent.contains(&(inode, generation));
            row.is_some_and(|row| row.generation == generation) && !absent
        });
        if is_known {
            return;
        }
        let kept = (self.way == Way::Kept).then(|| (kernel.kind(), kernel.bytes().into()));
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.add(inode, generation, kernel.kind(), kernel.bytes());
        }
        self.change(|table| {
            table.absent.remove(&(inode, generation));
            match table.rows.get_mut(&inode) {
                Some(found) if found.generation == generation => found.kernel = kept,
                _ => drop(table.rows.insert(inode, row(generation, kept))),
            }
        });
    }

    /// An object has that name.
    pub(super) fn saw_name(&self, parent: u64, name: &[u8], (inode, generation): Object) {
        if self.way != Way::Named {
            return;
        }
        let is_known = self.look(|table| {
            let row = table.rows.get(&inode);
            row.is_some_and(|row| {
                let known = row.name.as_ref();
                row.generation == generation
                    && known.is_some_and(|(dir, known)| *dir == parent && **known == *name)
            })
        });
        if is_known {
            return;
        }
        self.change(|table| {
            table.absent.remove(&(inode, generation));
            let mut found = row(generation, None);
            found.name = Some((parent, name.into()));
            table.rows.insert(inode, found);
        });
    }

    pub(super) fn keep_unlinked(&self, object: Object, fd: OwnedFd) {
        self.change(|table| table.unlinked.insert(object, fd));
    }

    pub(super) fn forget(&self, object: Object) {
        let had_row = self.change(|table| {
            table.unlinked.remove(&object);
            let is_it = table
                .rows
                .get(&object.0)
                .is_some_and(|row| row.generation == object.1);
            if is_it {
                table.rows.remove(&object.0);
            }
            is_it
        });
        if let (true, Some(file)) = (had_row, &self.file) {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.add(object.0, object.1, 0, &[]);
        }
    }

    /// Opens an object; see [`Mount::open`].
    pub(super) fn open_object(
        &self,
        mount: &Mount,
        object: Object,
        open: OpenFor,
    ) -> Result<OwnedFd, DmError> {
        let found = self.try_open(mount, object, open);
        if found.as_ref().err() != Some(&DmError::BadHandle) || self.is_gone(object) {
            return found;
        }
        self.walk(mount)?;
        let found = self.try_open(mount, object, open);
        if found.as_ref().err() == Some(&DmError::BadHandle) {
            self.change(|table| {
                if table.absent.len() >= ABSENT_MAX {
                    table.absent.clear();
                }
                table.absent.insert(object);
            });
        }
        found
    }

    /// The object could not be opened: is that the last word?
    fn is_gone(&self, object: Object) -> bool {
        self.look(|table| {
            let row = table.rows.get(&object.0);
            let has_handle = row.is_some_and(|row| row.generation == object.1);
            match self.way {
                Way::Built => true,
                // The kernel was asked with the very handle.
                Way::Kept => has_handle || table.absent.contains(&object),
                Way::Named => table.absent.contains(&object),
            }
        })
    }

    fn try_open(&self, mount: &Mount, object: Object, open: OpenFor) -> Result<OwnedFd, DmError> {
        let unlinked = self.look(|table| {
            let fd = table.unlinked.get(&object)?;
            Some(fd.as_fd().try_clone_to_owned())
        });
        if let Some(fd) = unlinked {
            return reopen(fd?, open);
        }
        match self.way {
            Way::Built => mount.open_fid(mount.fid(object), open),
            Way::Kept => {
                let kernel = self.look(|table| {
                    let row = table.rows.get(&object.0)?;
                    let (kind, bytes) = row.kernel.as_ref()?;
                    (row.generation == object.1)
                        .then(|| KernelHandle::new(*kind, bytes))
                        .flatten()
                });
                mount.open_kernel(&kernel.ok_or(DmError::BadHandle)?, open)
            }
            Way::Named => {
                let path = self.path_of(mount, object.0).ok_or(DmError::BadHandle)?;
                let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
                let fd = walk::open_below(mount.root.as_fd(), &path, flags);
                let fd = fd.map_err(|_| DmError::BadHandle)?;
                match mount.identity().object(fd.as_fd()) {
                    Ok((found, _)) if found == object => reopen(fd, open),
                    _ => Err(DmError::BadHandle),
                }
            }
        }
    }

    /// Where an object was seen last, below the root.
    fn path_of(&self, mount: &Mount, mut inode: u64) -> Option<Vec<u8>> {
        self.look(|table| {
            let mut names: Vec<&[u8]> = Vec::new();
            while inode != mount.root_object.0 {
                let (parent, name) = table.rows.get(&inode)?.name.as_ref()?;
                names.push(name);
                inode = *parent;
                if names.len() > DEPTH_MAX {
                    return None;
                }
            }
            names.reverse();
            Some(names.join(&b'/'))
        })
    }

    /// The generation of the object that has the number now.
    pub(super) fn generation_of(&self, mount: &Mount, inode: u64) -> Result<u32, DmError> {
        if let Some(generation) = self.living(mount, inode) {
            return Ok(generation);
        }
        self.walk(mount)?;
        self.living(mount, inode).ok_or(DmError::BadHandle)
    }

    fn living(&self, mount: &Mount, inode: u64) -> Option<u32> {
        let generation = self.look(|table| {
            let row = table.rows.get(&inode).map(|row| row.generation);
            let mut unlinked = table.unlinked.keys();
            row.or_else(|| {
                unlinked
                    .find(|(kept, _)| *kept == inode)
                    .map(|(_, generation)| *generation)
            })
        })?;
        let opened = self.try_open(mount, (inode, generation), OpenFor::Look);
        opened.is_ok().then_some(generation)
    }

    /// Looks at the whole tree. Threads that ask while one walks share the next walk.
    fn walk(&self, mount: &Mount) -> Result<(), DmError> {
        let asked = self.walks.load(Ordering::SeqCst);
        let _one = self.walking.lock().unwrap_or_else(PoisonError::into_inner);
        if self.walks.load(Ordering::SeqCst) > asked + 1 {
            return Ok(());
        }
        let started = self.walks.fetch_add(1, Ordering::SeqCst);
        tracing::debug!(fs = mount.fs.0, started, "looking for objects by a walk");
        let identity = mount.identity();
        let complete = walk::walk(mount, &mut |dir, entry| {
            let Ok(fd) = walk::open_entry(dir.fd.as_fd(), &entry.name) else {
                return Ok(());
            };
            if let Ok((object, kernel)) = identity.object(fd.as_fd()) {
                self.saw(object, &kernel);
                self.saw_name(dir.inode, &entry.name, object);
            }
            Ok(())
        })?;
        if !complete {
            tracing::debug!(
                fs = mount.fs.0,
                "directories were renamed under the walk; some may be missed"
            );
        }
        Ok(())
    }
}

fn row(generation: u32, kernel: Option<(i32, Box<[u8]>)>) -> Row {
    Row {
        generation,
        kernel,
        name: None,
    }
}

/// Opens what an O_PATH descriptor names as [`Mount::open`] would.
fn reopen(fd: OwnedFd, purpose: OpenFor) -> Result<OwnedFd, DmError> {
    let Some(flags) = flags_for(purpose) else {
        return Ok(fd);
    };
    if !has_data(fd.as_fd())? {
        return Ok(fd);
    }
    // The link of /proc is to be followed; it leads to the object itself.
    let flags = (OFlag::from_bits_retain(flags) | OFlag::O_CLOEXEC) - OFlag::O_NOFOLLOW;
    match open_again(fd.as_fd(), flags) {
        // Only owners may ask for that.
        Err(nix::errno::Errno::EPERM) => open_again(fd.as_fd(), flags - OFlag::O_NOATIME),
        other => other,
    }
    .map_err(|errno| match errno {
        nix::errno::Errno::EISDIR => DmError::Invalid,
        other => dm(other),
    })
}

fn open_again(fd: BorrowedFd<'_>, flags: OFlag) -> nix::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open(path.as_str(), flags, Mode::empty())
}

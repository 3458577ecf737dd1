//! Handles of objects, and objects of handles.
//!
//! Inode number and generation come out of the kernel's own file handle and go back into it on xfs, ext4, btrfs and
//! tmpfs: that is what name_to_handle_at(2) gives there, and it needs no walk. Elsewhere the generation is a
//! hash of the kernel's handle, which the worker remembers (see `known`).

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::PoisonError;

use nix::sys::stat::SFlag;
use nix::sys::stat::fstat;

use crate::fs::FsKind;
use crate::fs::Mount;
use crate::fs::ext4::Volume;
use crate::fs::identify::Identity;
use crate::fs::identify::fnv;
use crate::fs::known::Object;
use crate::fs::store;
use crate::model::DmError;
use crate::model::Handle;
use crate::model::Kinds;
use crate::model::OpenFor;
use crate::sys::handle::KernelHandle;
use crate::sys::handle::name_to_handle;
use crate::sys::handle::open_by_handle;
use crate::sys::xfs;

/// Inode u32, generation u32: ext4, and xfs without 64-bit inode numbers.
const INO32: i32 = 1;
/// The same with the parent's behind it.
const INO32_PARENT: i32 = 2;
/// Inode u64, generation u32: xfs.
const XFS_INO64: i32 = 0x81;
const XFS_INO64_PARENT: i32 = 0x82;
/// Inode u64, subvolume u64, generation u32: btrfs, alone and with the parent's behind it.
const BTRFS: i32 = 0x4d;
const BTRFS_PARENT: i32 = 0x4e;
const BTRFS_PARENT_ROOT: i32 = 0x4f;

/// Generation u32, inode u64: tmpfs.
const TMPFS: i32 = 1;

/// What is taken out of a handle of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fid {
    inode: u64,
    generation: u32,
    subvolume: u64,
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let field = bytes.get(offset..offset + 8)?;
    Some(u64::from_ne_bytes(field.try_into().ok()?))
}

fn parse(fs: FsKind, kind: i32, bytes: &[u8]) -> Option<Fid> {
    match (fs, kind) {
        (FsKind::Xfs | FsKind::Ext4, INO32 | INO32_PARENT) => Some(Fid {
            inode: u64::from(u32_at(bytes, 0)?),
            generation: u32_at(bytes, 4)?,
            subvolume: 0,
        }),
        (FsKind::Xfs, XFS_INO64 | XFS_INO64_PARENT) => Some(Fid {
            inode: u64_at(bytes, 0)?,
            generation: u32_at(bytes, 8)?,
            subvolume: 0,
        }),
        (FsKind::Btrfs, BTRFS | BTRFS_PARENT | BTRFS_PARENT_ROOT) => Some(Fid {
            inode: u64_at(bytes, 0)?,
            generation: u32_at(bytes, 16)?,
            subvolume: u64_at(bytes, 8)?,
        }),
        (FsKind::Tmpfs, TMPFS) => Some(Fid {
            inode: u64::from(u32_at(bytes, 4)?) | u64::from(u32_at(bytes, 8)?) << 32,
            generation: u32_at(bytes, 0)?,
            subvolume: 0,
        }),
        _ => None,
    }
}

fn fid_of(fs: FsKind, kernel: &KernelHandle, st_ino: u64) -> Option<Fid> {
    // fanotify may put flags above the type that the file system gave.
    let kind = kernel.kind() & 0xffff;
    match fs {
        FsKind::Other(_) => Some(Fid {
            inode: st_ino,
            generation: hash_of(kind, kernel.bytes()),
            subvolume: 0,
        }),
        fs => parse(fs, kind, kernel.bytes()),
    }
}

/// Inode number and generation of what has that handle and `st_ino`, whatever subvolume it is in.
pub(super) fn object_of(fs: FsKind, kernel: &KernelHandle, st_ino: u64) -> Option<(u64, u32)> {
    fid_of(fs, kernel, st_ino).map(|fid| (fid.inode, fid.generation))
}

/// The generation where the kernel's handle does not fit into ours: a hash of it, never 0.
fn hash_of(kind: i32, bytes: &[u8]) -> u32 {
    let hash = fnv(&[&kind.to_le_bytes(), bytes].concat());
    ((hash >> 32) as u32 ^ hash as u32).max(1)
}

fn build(fs: FsKind, fid: Fid) -> Option<KernelHandle> {
    let mut bytes = Vec::with_capacity(20);
    let kind = match fs {
        FsKind::Xfs => {
            bytes.extend_from_slice(&fid.inode.to_ne_bytes());
            XFS_INO64
        }
        FsKind::Ext4 => {
            bytes.extend_from_slice(&u32::try_from(fid.inode).ok()?.to_ne_bytes());
            INO32
        }
        FsKind::Btrfs => {
            bytes.extend_from_slice(&fid.inode.to_ne_bytes());
            bytes.extend_from_slice(&fid.subvolume.to_ne_bytes());
            BTRFS
        }
        FsKind::Tmpfs => {
            bytes.extend_from_slice(&fid.generation.to_ne_bytes());
            bytes.extend_from_slice(&(fid.inode as u32).to_ne_bytes());
            bytes.extend_from_slice(&((fid.inode >> 32) as u32).to_ne_bytes());
            return KernelHandle::new(TMPFS, &bytes);
        }
        FsKind::Other(_) => return None,
    };
    bytes.extend_from_slice(&fid.generation.to_ne_bytes());
    KernelHandle::new(kind, &bytes)
}

/// A handle that the file system does not know is dead, whatever words it finds for that.
pub(super) fn lookup_error(error: std::io::Error) -> DmError {
    match error.raw_os_error() {
        Some(libc::ESTALE | libc::ENOENT | libc::EINVAL) => DmError::BadHandle,
        Some(libc::EISDIR) => DmError::Invalid,
        _ => error.into(),
    }
}

impl Identity {
    /// The handle of an open object (O_PATH will do). `NotManaged` if it lies in another file system.
    /// `fd` may come from any mount of the file system.
    pub fn handle_of(&self, fd: BorrowedFd<'_>) -> Result<Handle, DmError> {
        Ok(self.named(self.object(fd)?.0))
    }

    fn named(&self, (inode, generation): (u64, u32)) -> Handle {
        Handle::Object {
            fs: self.fs,
            inode,
            generation,
        }
    }

    /// Inode number and generation of an open object, and the kernel's handle of it.
    pub(super) fn object(&self, fd: BorrowedFd<'_>) -> Result<((u64, u32), KernelHandle), DmError> {
        let stat = fstat(fd).map_err(std::io::Error::from)?;
        self.object_with(fd, (stat.st_dev, stat.st_ino))
    }

    fn object_with(
        &self,
        fd: BorrowedFd<'_>,
        (device, st_ino): (u64, u64),
    ) -> Result<((u64, u32), KernelHandle), DmError> {
        if device != self.device {
            return Err(DmError::NotManaged);
        }
        let kernel = name_to_handle(fd)?;
        Ok((self.object_of(&kernel, st_ino)?, kernel))
    }

    /// Inode number and generation of what has that handle and `st_ino`.
    pub(super) fn object_of(
        &self,
        kernel: &KernelHandle,
        st_ino: u64,
    ) -> Result<(u64, u32), DmError> {
        let fid = fid_of(self.kind, kernel, st_ino).ok_or(DmError::Io)?;
        if fid.subvolume != self.subvolume {
            return Err(DmError::NotManaged);
        }
        Ok((fid.inode, fid.generation))
    }

    fn handle_from_kernel(&self, kind: i32, bytes: &[u8]) -> Result<Handle, DmError> {
        if let FsKind::Other(_) = self.kind {
            // It has no inode number in it.
            return Err(DmError::NotSupported);
        }
        let kernel = KernelHandle::new(kind, bytes).ok_or(DmError::Io)?;
        Ok(self.named(self.object_of(&kernel, 0)?))
    }
}

impl Mount {
    /// What its file system is, without the mount.
    pub fn identity(&self) -> Identity {
        Identity {
            fs: self.fs,
            kind: self.kind,
            device: self.device,
            subvolume: self.subvolume,
            root_object: self.root_object,
        }
    }

    /// See [`Identity::handle_of`]. The worker remembers what it takes to open the object again.
    pub fn handle_of(&self, fd: BorrowedFd<'_>) -> Result<Handle, DmError> {
        let stat = fstat(fd).map_err(std::io::Error::from)?;
        self.handle_with(fd, (stat.st_dev, stat.st_ino))
    }

    /// The same where `st_dev` and `st_ino` are known.
    pub fn handle_with(&self, fd: BorrowedFd<'_>, place: (u64, u64)) -> Result<Handle, DmError> {
        let identity = self.identity();
        let (object, kernel) = identity.object_with(fd, place)?;
        if let Some(known) = &self.known {
            known.saw(object, &kernel);
        }
        Ok(identity.named(object))
    }

    /// The handle that a file handle of the kernel (an event record of fanotify: type and bytes) stands for.
    pub fn handle_from_kernel(&self, kind: i32, bytes: &[u8]) -> Result<Handle, DmError> {
        self.identity().handle_from_kernel(kind, bytes)
    }

    /// The root directory's.
    pub fn root_handle(&self) -> Handle {
        self.identity().named(self.root_object)
    }

    /// The handle of the object that has that inode number now, also if it is unlinked and only held open where the
    /// kernel can tell that (xfs, ext4, btrfs). `BadHandle`: there is none. Worker only.
    pub fn handle_of_inode(&self, inode: u64) -> Result<Handle, DmError> {
        let handle = |generation| self.identity().named((inode, generation));
        if inode == self.root_object.0 {
            return Ok(self.root_handle());
        }
        if let Some(known) = &self.known {
            return known.generation_of(self, inode).map(handle);
        }
        let generation = match self.kind {
            FsKind::Xfs => xfs::generation_of(self.root.as_fd(), inode).map_err(lookup_error)?,
            FsKind::Ext4 => Volume::open(self.device)?.generation_of(inode)?,
            FsKind::Btrfs => {
                let any = build(self.kind, self.fid((inode, 0))).ok_or(DmError::BadHandle)?;
                let flags = libc::O_PATH | libc::O_NOFOLLOW;
                let fd = open_by_handle(self.root.as_fd(), &any, flags).map_err(lookup_error)?;
                return self.handle_of(fd.as_fd());
            }
            FsKind::Tmpfs | FsKind::Other(_) => return Err(DmError::NotSupported),
        };
        generation.map(handle).ok_or(DmError::BadHandle)
    }

    pub(super) fn fid(&self, (inode, generation): (u64, u32)) -> Fid {
        Fid {
            inode,
            generation,
            subvolume: self.subvolume,
        }
    }

    /// A name of an object was seen or made. Where the kernel opens nothing by handle (a user namespace) this is how
    /// it is found again; elsewhere nothing happens. Worker only.
    pub fn saw_name(&self, parent: Handle, name: &[u8], child: Handle) {
        if let (Some(known), Some(parent), Some(child)) =
            (&self.known, object_in(parent), object_in(child))
        {
            known.saw_name(parent.0, name, child);
        }
    }

    /// The last name of an object was removed while it is open: `fd` (O_PATH will do) is how it is found from now
    /// on, where the kernel cannot. To be ended by [`Mount::forget`]. Worker only.
    pub fn keep_unlinked(&self, handle: Handle, fd: OwnedFd) {
        if let (Some(known), Some(object)) = (&self.known, object_in(handle)) {
            known.keep_unlinked(object, fd);
        }
    }

    /// The end of an object was told (DESTROY), though the kernel may hold it a moment longer: its handle is dead.
    /// To be ended by [`Mount::forget`]. Worker only. `false`: that was said before.
    pub fn set_destroyed(&self, handle: Handle) -> bool {
        let Some(object) = object_in(handle) else {
            return false;
        };
        let all = self.destroyed.write();
        all.unwrap_or_else(PoisonError::into_inner).insert(object)
    }

    fn is_destroyed(&self, object: Object) -> bool {
        let all = self.destroyed.read();
        all.unwrap_or_else(PoisonError::into_inner)
            .contains(&object)
    }

    /// An object is gone: nothing has to be remembered of it. Worker only.
    pub fn forget(&self, handle: Handle) {
        store::forget(self.root.as_fd(), handle);
        if let Some(object) = object_in(handle) {
            let all = self.destroyed.write();
            all.unwrap_or_else(PoisonError::into_inner).remove(&object);
        }
        if let (Some(known), Some(object)) = (&self.known, object_in(handle)) {
            known.forget(object);
        }
    }

    /// Opens the object of a handle on this mount; the file system's own handle opens its root directory.
    ///
    /// `Look`, and every symbolic link and special file: O_PATH. Else a descriptor that makes no events
    /// (on xfs no time changes either) and never waits for a lease (`Again`). A dead handle is `BadHandle`.
    /// `Write` on a directory is `Invalid`.
    pub fn open(&self, handle: Handle, open: OpenFor) -> Result<OwnedFd, DmError> {
        match handle {
            Handle::Fs(fs) if fs == self.fs => {
                let flags = nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC;
                let mode = nix::sys::stat::Mode::empty();
                let root = nix::fcntl::openat(&self.root, ".", flags, mode);
                Ok(root.map_err(std::io::Error::from)?)
            }
            Handle::Object {
                fs,
                inode,
                generation,
            } if fs == self.fs => {
                if self.is_destroyed((inode, generation)) {
                    return Err(DmError::BadHandle);
                }
                if open == OpenFor::Look && (inode, generation) == self.root_object {
                    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_CLOEXEC;
                    let mode = nix::sys::stat::Mode::empty();
                    let root = nix::fcntl::openat(&self.root, ".", flags, mode);
                    return Ok(root.map_err(std::io::Error::from)?);
                }
                if let Some(known) = &self.known {
                    return known.open_object(self, (inode, generation), open);
                }
                let fd = self.open_fid(self.fid((inode, generation)), open)?;
                // Generation 0 is "any" for ext4 and btrfs, and that of objects which mkfs made.
                if generation == 0 && self.handle_of(fd.as_fd())? != handle {
                    return Err(DmError::BadHandle);
                }
                Ok(fd)
            }
            _ => Err(DmError::BadHandle),
        }
    }

    /// Opens the data of a file as its users would: times move, and events are made. `None`: it takes more than the
    /// handle.
    pub fn open_as_user(
        &self,
        handle: Handle,
        flags: libc::c_int,
    ) -> Option<std::io::Result<OwnedFd>> {
        let object = object_in(handle).filter(|(_, generation)| *generation != 0)?;
        if self.known.is_some() || handle.fs() != Some(self.fs) || self.is_destroyed(object) {
            return None;
        }
        let kernel = build(self.kind, self.fid(object))?;
        Some(open_by_handle(self.root.as_fd(), &kernel, flags))
    }

    pub(super) fn open_fid(&self, fid: Fid, open: OpenFor) -> Result<OwnedFd, DmError> {
        let kernel = build(self.kind, fid).ok_or(DmError::BadHandle)?;
        let flags = match flags_for(open) {
            Some(flags) if self.kind == FsKind::Xfs => flags,
            _ => return self.open_kernel(&kernel, open),
        };
        match xfs::open_by_handle(self.root.as_fd(), fid.inode, fid.generation, flags) {
            // EPERM: it is neither a file nor a directory, or an immutable file.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                let fd = self.open_kernel(&kernel, OpenFor::Look)?;
                match has_data(fd.as_fd())? {
                    true => Err(DmError::NotPermitted),
                    false => Ok(fd),
                }
            }
            other => other.map_err(lookup_error),
        }
    }

    pub(super) fn open_kernel(
        &self,
        kernel: &KernelHandle,
        open: OpenFor,
    ) -> Result<OwnedFd, DmError> {
        let root = self.root.as_fd();
        // Opening a pipe or a device has effects, so the kind is looked at first.
        let fd = open_by_handle(root, kernel, libc::O_PATH | libc::O_NOFOLLOW);
        let fd = fd.map_err(lookup_error)?;
        match flags_for(open) {
            Some(flags) if has_data(fd.as_fd())? => {
                open_by_handle(root, kernel, flags).map_err(lookup_error)
            }
            _ => Ok(fd),
        }
    }
}

/// How to open a file for a purpose; `None`: O_PATH.
pub(super) fn flags_for(open: OpenFor) -> Option<libc::c_int> {
    let access = match open {
        OpenFor::Look => return None,
        OpenFor::Read => libc::O_RDONLY,
        OpenFor::Write => libc::O_RDWR,
    };
    Some(access | libc::O_NOATIME | libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_LARGEFILE)
}

fn object_in(handle: Handle) -> Option<(u64, u32)> {
    match handle {
        Handle::Object {
            inode, generation, ..
        } => Some((inode, generation)),
        _ => None,
    }
}

pub(super) fn has_data(fd: BorrowedFd<'_>) -> Result<bool, DmError> {
    Ok(Kinds::REGULAR.or(Kinds::DIRECTORY).has(kind_of(fd)?))
}

/// What kind of object has this `st_mode`.
pub fn kind_of_mode(mode: u32) -> Kinds {
    match SFlag::from_bits_truncate(mode & libc::S_IFMT) {
        SFlag::S_IFREG => Kinds::REGULAR,
        SFlag::S_IFDIR => Kinds::DIRECTORY,
        SFlag::S_IFLNK => Kinds::SYMLINK,
        _ => Kinds::OTHER,
    }
}

/// What kind of object is open.
pub fn kind_of(fd: BorrowedFd<'_>) -> Result<Kinds, DmError> {
    let stat = fstat(fd).map_err(std::io::Error::from)?;
    Ok(kind_of_mode(stat.st_mode))
}

/// Makes data and attributes of an object durable; any descriptor will do.
pub fn sync(mount: &Mount, fd: BorrowedFd<'_>) -> Result<(), DmError> {
    match nix::unistd::fsync(fd) {
        Ok(()) => return Ok(()),
        Err(nix::errno::Errno::EBADF) => {}
        Err(errno) => return Err(DmError::from_errno(errno as i32)),
    }
    if has_data(fd)? {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let file = options.open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        return Ok(file.sync_all()?);
    }
    // A link or special file cannot be synced alone.
    nix::unistd::syncfs(&mount.root).map_err(|errno| DmError::from_errno(errno as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_kernel_handle_comes_out() {
        for fs in [FsKind::Xfs, FsKind::Ext4, FsKind::Btrfs, FsKind::Tmpfs] {
            let subvolume = if fs == FsKind::Btrfs { 5 } else { 0 };
            let fid = Fid {
                inode: 131,
                generation: 0xdead_beef,
                subvolume,
            };
            let kernel = build(fs, fid).expect("fits");
            assert_eq!(parse(fs, kernel.kind(), kernel.bytes()), Some(fid));
            assert_eq!(parse(fs, kernel.kind(), &kernel.bytes()[1..]), None);
        }
    }

    #[test]
    fn a_number_that_ext4_cannot_have_is_no_handle() {
        let fid = Fid {
            inode: 1 << 32,
            generation: 1,
            subvolume: 0,
        };
        assert!(build(FsKind::Ext4, fid).is_none());
    }
}

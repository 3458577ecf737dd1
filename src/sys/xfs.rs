//! XFS: descriptors by handle that make no time changes, and the walk over all inodes.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

/// `struct xfs_handle`. The kernel does not look at the first 8 bytes, the mount says which file system it is.
#[repr(C)]
struct XfsHandle {
    fsid: u64,
    fid_bytes: u16,
    pad: u16,
    generation: u32,
    inode: u64,
}

/// `struct xfs_fsop_handlereq`.
#[repr(C)]
struct HandleRequest {
    fd: u32,
    path: *const libc::c_void,
    flags: u32,
    handle: *const XfsHandle,
    handle_bytes: u32,
    out_handle: *const libc::c_void,
    out_bytes: *const u32,
}

const OPEN_BY_HANDLE: libc::c_ulong =
    nix::request_code_readwrite!(b'X', 107, size_of::<HandleRequest>());
const FID_BYTES: u16 = 14;

/// Opens a regular file or directory so that reading and writing move no times. Other kinds give EPERM.
/// `mount` is a descriptor of the mount that is not O_PATH.
pub fn open_by_handle(
    mount: BorrowedFd<'_>,
    inode: u64,
    generation: u32,
    flags: libc::c_int,
) -> io::Result<OwnedFd> {
    let handle = XfsHandle {
        fsid: 0,
        fid_bytes: FID_BYTES,
        pad: 0,
        generation,
        inode,
    };
    let request = HandleRequest {
        fd: 0,
        path: std::ptr::null(),
        flags: (flags | libc::O_CLOEXEC) as u32,
        handle: &raw const handle,
        handle_bytes: size_of::<XfsHandle>() as u32,
        out_handle: std::ptr::null(),
        out_bytes: std::ptr::null(),
    };
    // SAFETY: the kernel reads the request and the handle that it points to, both alive during the call.
    let fd = unsafe { libc::ioctl(mount.as_raw_fd(), OPEN_BY_HANDLE, &raw const request) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct xfs_fsop_attrlist_handlereq`.
#[repr(C)]
struct AttrListRequest {
    object: HandleRequest,
    cursor: [u32; 4],
    flags: u32,
    bytes: u32,
    buffer: *mut u8,
}

const ATTR_LIST_BY_HANDLE: libc::c_ulong =
    nix::request_code_write!(b'X', 122, size_of::<AttrListRequest>());
const _: () = assert!(size_of::<AttrListRequest>() == 88);
/// `XFS_IOC_ATTR_ROOT`: xattrs that are called `trusted.*` elsewhere.
const ATTR_TRUSTED: u32 = 2;
/// What few names need.
const NAMES_BYTES: usize = 1024;

/// Names of the trusted xattrs of an inode, without that prefix, and without opening it; `None`: too many to tell. A
/// dead handle is ESTALE. `mount` is a directory descriptor that is not O_PATH.
pub fn trusted_names(
    mount: BorrowedFd<'_>,
    inode: u64,
    generation: u32,
) -> io::Result<Option<Vec<Vec<u8>>>> {
    let handle = XfsHandle {
        fsid: 0,
        fid_bytes: FID_BYTES,
        pad: 0,
        generation,
        inode,
    };
    let mut list = [0u32; NAMES_BYTES / 4];
    let mut request = AttrListRequest {
        object: HandleRequest {
            fd: 0,
            path: std::ptr::null(),
            flags: libc::O_CLOEXEC as u32,
            handle: &raw const handle,
            handle_bytes: size_of::<XfsHandle>() as u32,
            out_handle: std::ptr::null(),
            out_bytes: std::ptr::null(),
        },
        cursor: [0; 4],
        flags: ATTR_TRUSTED,
        bytes: NAMES_BYTES as u32,
        buffer: list.as_mut_ptr().cast(),
    };
    let request_ptr: *mut AttrListRequest = &raw mut request;
    // SAFETY: the kernel reads the request and its handle and fills at most `bytes` bytes of `list`; all live on.
    let result = unsafe { libc::ioctl(mount.as_raw_fd(), ATTR_LIST_BY_HANDLE, request_ptr) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes: Vec<u8> = list.iter().flat_map(|word| word.to_ne_bytes()).collect();
    Ok(names_in(&bytes))
}

/// Reads a `struct xfs_attrlist`: count, more, offsets; at each offset the length of a value and a name with NUL.
fn names_in(list: &[u8]) -> Option<Vec<Vec<u8>>> {
    let word = |at: usize| {
        let bytes = list.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?) as usize)
    };
    let (count, more) = (word(0)?, word(4)?);
    if more != 0 || count > NAMES_BYTES / 4 {
        return None;
    }
    (0..count)
        .map(|index| {
            let name = list.get(word(8 + 4 * index)? + 4..)?;
            let end = name.iter().position(|byte| *byte == 0)?;
            Some(name[..end].to_vec())
        })
        .collect()
}

/// `struct xfs_bulkstat` (version 5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct BulkStat {
    pub inode: u64,
    pub size: u64,
    /// File-system blocks.
    pub blocks: u64,
    pub xflags: u64,
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    pub btime: i64,
    pub generation: u32,
    pub uid: u32,
    pub gid: u32,
    pub project: u32,
    pub atime_nsec: u32,
    pub mtime_nsec: u32,
    pub ctime_nsec: u32,
    pub btime_nsec: u32,
    pub block_bytes: u32,
    pub rdev: u32,
    pub cow_extent_blocks: u32,
    pub extent_blocks: u32,
    pub links: u32,
    pub extents: u32,
    pub attr_extents: u32,
    pub version: u16,
    pub fork_offset: u16,
    pub sick: u16,
    pub checked: u16,
    pub mode: u16,
    pub pad2: u16,
    pub extents64: u64,
    pub pad: [u64; 6],
}

/// `FS_XFLAG_HASATTR`: the inode has xattrs.
pub const XFLAG_HAS_ATTR: u64 = 0x8000_0000;
/// Inodes of one call of [`bulk_stat`].
pub const BULK_COUNT: usize = 512;

/// `struct xfs_bulkstat_req` with its room.
#[repr(C)]
struct BulkRequest {
    inode: u64,
    flags: u32,
    room: u32,
    filled: u32,
    group: u32,
    reserved: [u64; 5],
    found: [BulkStat; BULK_COUNT],
}

/// The same with room for one.
#[repr(C)]
struct OneRequest {
    inode: u64,
    flags: u32,
    room: u32,
    filled: u32,
    group: u32,
    reserved: [u64; 5],
    found: BulkStat,
}

const BULK_HEADER_BYTES: usize = 64;
const BULKSTAT: libc::c_ulong = nix::request_code_read!(b'X', 127, BULK_HEADER_BYTES);
const _: () = assert!(size_of::<BulkStat>() == 192);
const _: () = assert!(std::mem::offset_of!(BulkRequest, found) == BULK_HEADER_BYTES);

/// `XFS_BULK_IREQ_SPECIAL`, `XFS_BULK_IREQ_SPECIAL_ROOT`.
const REQUEST_SPECIAL: u32 = 1 << 1;
const SPECIAL_ROOT: u64 = 1;

/// One inode at or behind a number, or a special one; `None`: there is none.
fn first_from(mount: BorrowedFd<'_>, inode: u64, flags: u32) -> io::Result<Option<BulkStat>> {
    let mut request = OneRequest {
        inode,
        flags,
        room: 1,
        filled: 0,
        group: 0,
        reserved: [0; 5],
        found: BulkStat::default(),
    };
    // SAFETY: the kernel fills at most the one element behind the header.
    let result = unsafe { libc::ioctl(mount.as_raw_fd(), BULKSTAT, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((request.filled == 1).then_some(request.found))
}

/// The generation of the inode with this number, be it linked or only open; `None`: it is not in use.
pub fn generation_of(mount: BorrowedFd<'_>, inode: u64) -> io::Result<Option<u32>> {
    let found = first_from(mount, inode, 0)?;
    Ok(found
        .filter(|found| found.inode == inode)
        .map(|found| found.generation))
}

/// The inode number of the root directory.
pub fn root_inode(mount: BorrowedFd<'_>) -> io::Result<u64> {
    let found = first_from(mount, SPECIAL_ROOT, REQUEST_SPECIAL)?;
    Ok(found.map_or(0, |found| found.inode))
}

/// The inodes in use from `start` on, in order; fewer than [`BULK_COUNT`] or none: the end.
/// Returns the inode where the next call begins.
pub fn bulk_stat(mount: BorrowedFd<'_>, start: u64, found: &mut Vec<BulkStat>) -> io::Result<u64> {
    found.clear();
    let mut request = Box::new(BulkRequest {
        inode: start,
        flags: 0,
        room: BULK_COUNT as u32,
        filled: 0,
        group: 0,
        reserved: [0; 5],
        found: [BulkStat::default(); BULK_COUNT],
    });
    let request_ptr: *mut BulkRequest = &raw mut *request;
    // SAFETY: the kernel fills at most `room` elements behind the header, and there are as many.
    let result = unsafe { libc::ioctl(mount.as_raw_fd(), BULKSTAT, request_ptr) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let filled = (request.filled as usize).min(BULK_COUNT);
    found.extend_from_slice(&request.found[..filled]);
    Ok(request.inode)
}

//! btrfs: node size and UUID, and the search for inode items.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// `struct btrfs_ioctl_fs_info_args`.
#[repr(C)]
struct FsInfo {
    max_id: u64,
    devices: u64,
    fsid: [u8; 16],
    node_bytes: u32,
    sector_bytes: u32,
    clone_alignment: u32,
    csum_type: u16,
    csum_bytes: u16,
    flags: u64,
    rest: [u8; 968],
}

const FS_INFO: libc::c_ulong = nix::request_code_read!(0x94, 31, size_of::<FsInfo>());
const _: () = assert!(size_of::<FsInfo>() == 1024);

/// UUID and node size.
pub fn fs_info(dir: BorrowedFd<'_>) -> io::Result<([u8; 16], u32)> {
    let mut info = FsInfo {
        max_id: 0,
        devices: 0,
        fsid: [0; 16],
        node_bytes: 0,
        sector_bytes: 0,
        clone_alignment: 0,
        csum_type: 0,
        csum_bytes: 0,
        flags: 0,
        rest: [0; 968],
    };
    // SAFETY: the kernel fills a struct btrfs_ioctl_fs_info_args, whose layout `info` has.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FS_INFO, &raw mut info) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.fsid, info.node_bytes))
}

/// `struct btrfs_ioctl_search_key`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SearchKey {
    tree: u64,
    objectid_min: u64,
    objectid_max: u64,
    offset_min: u64,
    offset_max: u64,
    transid_min: u64,
    transid_max: u64,
    type_min: u32,
    type_max: u32,
    items: u32,
    unused: u32,
    unused_more: [u64; 4],
}

/// More than the largest item: a node has at most 64 KiB.
const SEARCH_BYTES: usize = 128 * 1024;

/// `struct btrfs_ioctl_search_args_v2` with its buffer.
#[repr(C)]
struct Search {
    key: SearchKey,
    bytes: u64,
    buffer: [u8; SEARCH_BYTES],
}

const SEARCH_V2: libc::c_ulong = nix::request_code_readwrite!(0x94, 17, 112);
const _: () = assert!(size_of::<SearchKey>() == 104);
const _: () = assert!(std::mem::offset_of!(Search, buffer) == 112);

/// Inode number of the root of each subvolume.
pub const ROOT_INODE: u64 = 256;
const INODE_ITEM: u32 = 1;
const XATTR_ITEM: u32 = 24;
const ITEM_HEADER_BYTES: usize = 32;
/// The first and last inode numbers of files; what lies outside belongs to the file system itself.
const FIRST_INODE: u64 = 256;
const LAST_INODE: u64 = (-256i64) as u64;

/// An inode item of a subvolume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodeItem {
    /// Inode number.
    pub inode: u64,
    /// Its generation; handles keep the low 32 bits.
    pub generation: u64,
    /// Names that it has; 0 for one that is being deleted.
    pub links: u32,
    /// It may have xattrs.
    pub has_xattrs: bool,
}

fn number<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn inode_item(inode: u64, data: &[u8]) -> Option<InodeItem> {
    Some(InodeItem {
        inode,
        generation: u64::from_le_bytes(number(data, 0)?),
        links: u32::from_le_bytes(number(data, 40)?),
        has_xattrs: false,
    })
}

/// Inode items of the subvolume of `dir` with numbers from `start` on, in order. Returns where the next
/// search begins; `None` at the end. A search may find nothing and yet not be at the end.
pub fn inode_items(
    dir: BorrowedFd<'_>,
    start: u64,
    found: &mut Vec<InodeItem>,
) -> io::Result<Option<u64>> {
    found.clear();
    let mut search = Box::new(Search {
        key: SearchKey {
            tree: 0,
            objectid_min: start.max(FIRST_INODE),
            objectid_max: LAST_INODE,
            offset_min: 0,
            offset_max: u64::MAX,
            transid_min: 0,
            transid_max: u64::MAX,
            type_min: INODE_ITEM,
            type_max: INODE_ITEM,
            items: u32::MAX,
            unused: 0,
            unused_more: [0; 4],
        },
        bytes: SEARCH_BYTES as u64,
        buffer: [0; SEARCH_BYTES],
    });
    let search_ptr: *mut Search = &raw mut *search;
    // SAFETY: the kernel fills at most `bytes` of the buffer behind the header.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), SEARCH_V2, search_ptr) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if search.key.items == 0 {
        return Ok(None);
    }
    let mut at = 0;
    let mut last = start;
    for _ in 0..search.key.items {
        // transid u64 | objectid u64 | offset u64 | type u32 | length u32 | data, native order.
        let header = search.buffer.get(at..at + ITEM_HEADER_BYTES);
        let item = header.and_then(|header| {
            let inode = u64::from_ne_bytes(number(header, 8)?);
            let kind = u32::from_ne_bytes(number(header, 24)?);
            let bytes = u32::from_ne_bytes(number(header, 28)?) as usize;
            Some((inode, kind, bytes))
        });
        let Some((inode, kind, bytes)) = item else {
            break;
        };
        at += ITEM_HEADER_BYTES;
        let data = search.buffer.get(at..at + bytes).unwrap_or(&[]);
        if kind == INODE_ITEM {
            found.extend(inode_item(inode, data));
        } else if kind == XATTR_ITEM
            && let Some(of) = found.last_mut().filter(|of| of.inode == inode)
        {
            // Whatever lies between two inode items comes along.
            of.has_xattrs = true;
        }
        at += bytes;
        last = inode;
    }
    // Its items may go on behind the buffer.
    if let Some(of) = found.last_mut() {
        of.has_xattrs = true;
    }
    // Names and extents of the last inode may remain; the next inode item has a greater number.
    Ok(last.checked_add(1))
}

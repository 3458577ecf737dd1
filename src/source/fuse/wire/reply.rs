//! What follows the header of an answer.

use std::time::Duration;

use super::abi;
use super::layout::AttrOut;
use super::layout::BmapOut;
use super::layout::CopyFileRangeOut;
use super::layout::EntryOut;
use super::layout::FileLock;
use super::layout::GetxattrOut;
use super::layout::InitOut;
use super::layout::IoctlOut;
use super::layout::Kstatfs;
use super::layout::LkOut;
use super::layout::LseekOut;
use super::layout::OpenOut;
use super::layout::PollOut;
use super::layout::RawAttr;
use super::layout::RawStatx;
use super::layout::StatxOut;
use super::layout::SxTime;
use super::layout::Wire;
use super::layout::WriteOut;
use super::request::Lock;
use super::request::Time;

/// The attributes of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    /// Of 512 bytes.
    pub blocks: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    /// Kind and permissions, as `st_mode`.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// As the kernel packs it, see [`pack_device`].
    pub rdev: u32,
    pub block_bytes: u32,
}

impl Attr {
    fn raw(&self) -> RawAttr {
        RawAttr {
            ino: self.ino,
            size: self.size,
            blocks: self.blocks,
            atime: self.atime.seconds.cast_unsigned(),
            mtime: self.mtime.seconds.cast_unsigned(),
            ctime: self.ctime.seconds.cast_unsigned(),
            atimensec: self.atime.nanoseconds,
            mtimensec: self.mtime.nanoseconds,
            ctimensec: self.ctime.nanoseconds,
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            blksize: self.block_bytes,
            flags: 0,
        }
    }
}

/// A device number as ATTR and MKNOD have it.
pub fn pack_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// (major, minor) of a packed device number.
pub fn unpack_device(packed: u32) -> (u32, u32) {
    (
        (packed & 0xf_ff00) >> 8,
        (packed & 0xff) | ((packed >> 12) & 0xf_ff00),
    )
}

/// An object with a name: the answer of LOOKUP and of what makes objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its number; 0 says that there is no such name, for as long as `entry_valid`.
    pub node: u64,
    /// With the number unique for ever.
    pub generation: u64,
    /// How long the name holds.
    pub entry_valid: Duration,
    /// How long the attributes hold.
    pub attr_valid: Duration,
    /// Attributes.
    pub attr: Attr,
}

impl Entry {
    pub(super) fn raw(&self) -> EntryOut {
        EntryOut {
            nodeid: self.node,
            generation: self.generation,
            entry_valid: self.entry_valid.as_secs(),
            attr_valid: self.attr_valid.as_secs(),
            entry_valid_nsec: self.entry_valid.subsec_nanos(),
            attr_valid_nsec: self.attr_valid.subsec_nanos(),
            attr: self.attr.raw(),
        }
    }
}

/// An open file: the answer of OPEN and OPENDIR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The number by which later requests name it.
    pub fh: u64,
    /// `FOPEN_...`; with a backing file `FOPEN_PASSTHROUGH` comes by itself, and what does not go with it is left out.
    pub flags: u32,
    /// The kernel does the I/O on this backing file.
    pub backing: Option<i32>,
}

/// The kernel refuses an open for passthrough that has any other flag, as KEEP_CACHE.
const WITH_PASSTHROUGH: u32 =
    abi::FOPEN_DIRECT_IO | abi::FOPEN_PARALLEL_DIRECT_WRITES | abi::FOPEN_NOFLUSH;

impl Opened {
    fn raw(&self) -> OpenOut {
        let open_flags = match self.backing {
            Some(_) => self.flags & WITH_PASSTHROUGH | abi::FOPEN_PASSTHROUGH,
            None => self.flags,
        };
        OpenOut {
            fh: self.fh,
            open_flags,
            backing_id: self.backing.unwrap_or(0),
        }
    }
}

/// LOOKUP, MKDIR, MKNOD, SYMLINK, LINK.
pub fn entry(entry: &Entry) -> Vec<u8> {
    entry.raw().bytes()
}

/// CREATE, TMPFILE.
pub fn created(entry: &Entry, opened: &Opened) -> Vec<u8> {
    let mut out = Vec::with_capacity(EntryOut::BYTES + OpenOut::BYTES);
    entry.raw().put(&mut out);
    opened.raw().put(&mut out);
    out
}

/// GETATTR, SETATTR.
pub fn attr(valid: Duration, attr: &Attr) -> Vec<u8> {
    AttrOut {
        attr_valid: valid.as_secs(),
        attr_valid_nsec: valid.subsec_nanos(),
        dummy: 0,
        attr: attr.raw(),
    }
    .bytes()
}

/// OPEN, OPENDIR.
pub fn opened(opened: &Opened) -> Vec<u8> {
    opened.raw().bytes()
}

/// WRITE, COPY_FILE_RANGE.
pub fn written(bytes: u32) -> Vec<u8> {
    WriteOut {
        size: bytes,
        padding: 0,
    }
    .bytes()
}

/// COPY_FILE_RANGE_64.
pub fn copied(bytes: u64) -> Vec<u8> {
    CopyFileRangeOut {
        bytes_copied: bytes,
    }
    .bytes()
}

/// STATFS: numbers of `struct statfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Statfs {
    pub blocks: u64,
    pub blocks_free: u64,
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
    pub block_bytes: u32,
    pub name_max_bytes: u32,
    pub fragment_bytes: u32,
}

/// STATFS.
pub fn statfs(found: &Statfs) -> Vec<u8> {
    Kstatfs {
        blocks: found.blocks,
        bfree: found.blocks_free,
        bavail: found.blocks_available,
        files: found.files,
        ffree: found.files_free,
        bsize: found.block_bytes,
        namelen: found.name_max_bytes,
        frsize: found.fragment_bytes,
        ..Kstatfs::default()
    }
    .bytes()
}

/// GETXATTR and LISTXATTR that asked for the size.
pub fn xattr_size(bytes: u32) -> Vec<u8> {
    GetxattrOut {
        size: bytes,
        padding: 0,
    }
    .bytes()
}

/// LSEEK.
pub fn sought(offset: u64) -> Vec<u8> {
    LseekOut { offset }.bytes()
}

/// IOCTL; the data of the caller follow it.
pub fn ioctl(result: i32) -> Vec<u8> {
    IoctlOut {
        result,
        ..IoctlOut::default()
    }
    .bytes()
}

/// GETLK.
pub fn lock(found: &Lock) -> Vec<u8> {
    LkOut {
        lk: FileLock {
            start: found.start,
            end: found.end,
            r#type: found.kind,
            pid: found.pid,
        },
    }
    .bytes()
}

/// POLL.
pub fn poll(events: u32) -> Vec<u8> {
    PollOut {
        revents: events,
        padding: 0,
    }
    .bytes()
}

/// BMAP.
pub fn block(block: u64) -> Vec<u8> {
    BmapOut { block }.bytes()
}

/// What the server wants, for INIT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InitReply {
    /// `FUSE_ASYNC_READ` ...; a part of what was offered.
    pub flags: u64,
    /// Most bytes of readahead.
    pub max_readahead: u32,
    /// Most background requests (readahead, asynchronous I/O).
    pub max_background: u16,
    /// From so many on the mount counts as congested.
    pub congestion_threshold: u16,
    /// Most bytes of a WRITE.
    pub max_write: u32,
    /// Most pages of a request, with `FUSE_MAX_PAGES`.
    pub max_pages: u16,
    /// Steps of time stamps.
    pub time_step_ns: u32,
    /// With `FUSE_PASSTHROUGH`: how many file systems may be stacked below; 1 if backing files may not
    /// lie on a stacked one.
    pub max_stack_depth: u32,
}

/// INIT.
pub fn init(reply: &InitReply) -> Vec<u8> {
    let high = (reply.flags >> 32) as u32;
    let mut low = reply.flags as u32;
    if high != 0 {
        low |= abi::FUSE_INIT_EXT as u32;
    }
    InitOut {
        major: abi::FUSE_KERNEL_VERSION,
        minor: abi::FUSE_KERNEL_MINOR_VERSION,
        max_readahead: reply.max_readahead,
        flags: low,
        max_background: reply.max_background,
        congestion_threshold: reply.congestion_threshold,
        max_write: reply.max_write,
        time_gran: reply.time_step_ns,
        max_pages: reply.max_pages,
        flags2: high,
        max_stack_depth: reply.max_stack_depth,
        ..InitOut::default()
    }
    .bytes()
}

/// The attributes that STATX gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Statx {
    /// `STATX_...` of the fields that count.
    pub mask: u32,
    /// `rdev` and `ino` count; the rest of the device is not sent.
    pub attr: Attr,
    pub btime: Time,
    /// `STATX_ATTR_...`
    pub attributes: u64,
    pub attributes_mask: u64,
}

fn sx_time(time: Time) -> SxTime {
    SxTime {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds,
        __reserved: 0,
    }
}

/// STATX.
pub fn statx(valid: Duration, found: &Statx) -> Vec<u8> {
    let attr = &found.attr;
    let (rdev_major, rdev_minor) = unpack_device(attr.rdev);
    StatxOut {
        attr_valid: valid.as_secs(),
        attr_valid_nsec: valid.subsec_nanos(),
        stat: RawStatx {
            mask: found.mask,
            blksize: attr.block_bytes,
            attributes: found.attributes,
            attributes_mask: found.attributes_mask,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            // 16 bits have a place for all of it.
            mode: attr.mode as u16,
            ino: attr.ino,
            size: attr.size,
            blocks: attr.blocks,
            atime: sx_time(attr.atime),
            btime: sx_time(found.btime),
            ctime: sx_time(attr.ctime),
            mtime: sx_time(attr.mtime),
            rdev_major,
            rdev_minor,
            ..RawStatx::default()
        },
        ..StatxOut::default()
    }
    .bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_packed_as_the_kernel_does() {
        for (major, minor, packed) in [(0, 0, 0), (1, 3, 0x103), (0x123, 0x45678, 0x4561_2378)] {
            assert_eq!(pack_device(major, minor), packed);
            assert_eq!(unpack_device(packed), (major, minor));
        }
    }

    #[test]
    fn high_flags_are_announced() {
        let low = init(&InitReply {
            flags: abi::FUSE_ASYNC_READ,
            ..InitReply::default()
        });
        assert_eq!(low[12..16], 1u32.to_ne_bytes());
        let high = init(&InitReply {
            flags: abi::FUSE_PASSTHROUGH,
            max_stack_depth: 1,
            ..InitReply::default()
        });
        assert_eq!(high[12..16], (1u32 << 30).to_ne_bytes());
        assert_eq!(high[32..40], [32u8, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(high.len(), 64);
    }

    #[test]
    fn only_what_goes_with_it_is_left_beside_passthrough() {
        let wanted = Opened {
            fh: 1,
            flags: abi::FOPEN_KEEP_CACHE | abi::FOPEN_NOFLUSH,
            backing: Some(3),
        };
        let bytes = opened(&wanted);
        let flags = abi::FOPEN_PASSTHROUGH | abi::FOPEN_NOFLUSH;
        assert_eq!(bytes[8..12], flags.to_ne_bytes());
        assert_eq!(bytes[12..], 3i32.to_ne_bytes());
    }
}

//! The structures of linux/fuse.h, and their bytes. None has a gap, so their bytes are those of their fields.

#![allow(missing_docs)]

/// The bytes of a request that are not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn get<T: Wire>(&mut self) -> Option<T> {
        T::get(self)
    }
}

/// What has a fixed number of bytes in the protocol.
pub trait Wire: Sized {
    const BYTES: usize;
    fn put(&self, out: &mut Vec<u8>);
    fn get(from: &mut Cursor<'_>) -> Option<Self>;

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        self.put(&mut out);
        out
    }
}

macro_rules! integers {
    ($($type:ty)*) => {
        $(impl Wire for $type {
            const BYTES: usize = size_of::<$type>();
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_ne_bytes());
            }
            fn get(from: &mut Cursor<'_>) -> Option<Self> {
                let bytes = from.take(Self::BYTES)?;
                Some(Self::from_ne_bytes(bytes.try_into().ok()?))
            }
        })*
    };
}

integers!(u16 u32 u64 i32 i64);

impl<T: Wire + Copy + Default, const N: usize> Wire for [T; N] {
    const BYTES: usize = N * T::BYTES;
    fn put(&self, out: &mut Vec<u8>) {
        for item in self {
            item.put(out);
        }
    }
    fn get(from: &mut Cursor<'_>) -> Option<Self> {
        let mut all = [T::default(); N];
        for item in &mut all {
            *item = T::get(from)?;
        }
        Some(all)
    }
}

/// Where the fields of a structure are.
#[derive(Clone, Debug)]
pub struct Layout {
    pub name: &'static str,
    pub bytes: usize,
    /// Name, offset, bytes.
    pub fields: Vec<(&'static str, usize, usize)>,
}

macro_rules! structures {
    ($($name:ident = $c:literal { $($field:ident: $type:ty,)* })*) => {
        $(
        #[doc = concat!("`struct ", $c, "`")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $(pub $field: $type,)* }

        impl Wire for $name {
            const BYTES: usize = 0 $(+ <$type as Wire>::BYTES)*;
            fn put(&self, out: &mut Vec<u8>) {
                $(self.$field.put(out);)*
            }
            fn get(from: &mut Cursor<'_>) -> Option<Self> {
                Some(Self { $($field: <$type as Wire>::get(from)?,)* })
            }
        }
        )*

        /// All of them, for the test against the system's header.
        pub fn layouts() -> Vec<Layout> {
            vec![$({
                let fields = [$((stringify!($field), <$type as Wire>::BYTES)),*];
                layout($c, &fields)
            }),*]
        }
    };
}

fn layout(name: &'static str, sizes: &[(&'static str, usize)]) -> Layout {
    let mut bytes = 0;
    let mut fields = Vec::new();
    for (field, size) in sizes {
        fields.push((*field, bytes, *size));
        bytes += size;
    }
    Layout {
        name,
        bytes,
        fields,
    }
}

structures! {
    InHeader = "fuse_in_header" {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32,
        total_extlen: u16, padding: u16,
    }
    OutHeader = "fuse_out_header" { len: u32, error: i32, unique: u64, }
    RawAttr = "fuse_attr" {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64,
        atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, nlink: u32, uid: u32, gid: u32,
        rdev: u32, blksize: u32, flags: u32,
    }
    Kstatfs = "fuse_kstatfs" {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64,
        bsize: u32, namelen: u32, frsize: u32, padding: u32, spare: [u32; 6],
    }
    FileLock = "fuse_file_lock" { start: u64, end: u64, r#type: u32, pid: u32, }
    EntryOut = "fuse_entry_out" {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nsec: u32, attr_valid_nsec: u32, attr: RawAttr,
    }
    ForgetIn = "fuse_forget_in" { nlookup: u64, }
    ForgetOne = "fuse_forget_one" { nodeid: u64, nlookup: u64, }
    BatchForgetIn = "fuse_batch_forget_in" { count: u32, dummy: u32, }
    GetattrIn = "fuse_getattr_in" { getattr_flags: u32, dummy: u32, fh: u64, }
    AttrOut = "fuse_attr_out" { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: RawAttr, }
    SxTime = "fuse_sx_time" { tv_sec: i64, tv_nsec: u32, __reserved: i32, }
    RawStatx = "fuse_statx" {
        mask: u32, blksize: u32, attributes: u64, nlink: u32, uid: u32, gid: u32, mode: u16, __spare0: [u16; 1],
        ino: u64, size: u64, blocks: u64, attributes_mask: u64,
        atime: SxTime, btime: SxTime, ctime: SxTime, mtime: SxTime,
        rdev_major: u32, rdev_minor: u32, dev_major: u32, dev_minor: u32, __spare2: [u64; 14],
    }
    StatxIn = "fuse_statx_in" { getattr_flags: u32, reserved: u32, fh: u64, sx_flags: u32, sx_mask: u32, }
    StatxOut = "fuse_statx_out" {
        attr_valid: u64, attr_valid_nsec: u32, flags: u32, spare: [u64; 2], stat: RawStatx,
    }
    MknodIn = "fuse_mknod_in" { mode: u32, rdev: u32, umask: u32, padding: u32, }
    MkdirIn = "fuse_mkdir_in" { mode: u32, umask: u32, }
    RenameIn = "fuse_rename_in" { newdir: u64, }
    Rename2In = "fuse_rename2_in" { newdir: u64, flags: u32, padding: u32, }
    LinkIn = "fuse_link_in" { oldnodeid: u64, }
    SetattrIn = "fuse_setattr_in" {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64, atime: u64, mtime: u64, ctime: u64,
        atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, unused4: u32, uid: u32, gid: u32,
        unused5: u32,
    }
    OpenIn = "fuse_open_in" { flags: u32, open_flags: u32, }
    CreateIn = "fuse_create_in" { flags: u32, mode: u32, umask: u32, open_flags: u32, }
    OpenOut = "fuse_open_out" { fh: u64, open_flags: u32, backing_id: i32, }
    ReleaseIn = "fuse_release_in" { fh: u64, flags: u32, release_flags: u32, lock_owner: u64, }
    FlushIn = "fuse_flush_in" { fh: u64, unused: u32, padding: u32, lock_owner: u64, }
    ReadIn = "fuse_read_in" {
        fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32,
    }
    WriteIn = "fuse_write_in" {
        fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32,
    }
    WriteOut = "fuse_write_out" { size: u32, padding: u32, }
    FsyncIn = "fuse_fsync_in" { fh: u64, fsync_flags: u32, padding: u32, }
    SetxattrIn = "fuse_setxattr_in" { size: u32, flags: u32, setxattr_flags: u32, padding: u32, }
    GetxattrIn = "fuse_getxattr_in" { size: u32, padding: u32, }
    GetxattrOut = "fuse_getxattr_out" { size: u32, padding: u32, }
    LkIn = "fuse_lk_in" { fh: u64, owner: u64, lk: FileLock, lk_flags: u32, padding: u32, }
    LkOut = "fuse_lk_out" { lk: FileLock, }
    AccessIn = "fuse_access_in" { mask: u32, padding: u32, }
    InitIn = "fuse_init_in" {
        major: u32, minor: u32, max_readahead: u32, flags: u32, flags2: u32, unused: [u32; 11],
    }
    InitOut = "fuse_init_out" {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16,
        congestion_threshold: u16, max_write: u32, time_gran: u32, max_pages: u16, map_alignment: u16,
        flags2: u32, max_stack_depth: u32, request_timeout: u16, unused: [u16; 11],
    }
    InterruptIn = "fuse_interrupt_in" { unique: u64, }
    BmapIn = "fuse_bmap_in" { block: u64, blocksize: u32, padding: u32, }
    BmapOut = "fuse_bmap_out" { block: u64, }
    IoctlIn = "fuse_ioctl_in" { fh: u64, flags: u32, cmd: u32, arg: u64, in_size: u32, out_size: u32, }
    IoctlOut = "fuse_ioctl_out" { result: i32, flags: u32, in_iovs: u32, out_iovs: u32, }
    PollIn = "fuse_poll_in" { fh: u64, kh: u64, flags: u32, events: u32, }
    PollOut = "fuse_poll_out" { revents: u32, padding: u32, }
    FallocateIn = "fuse_fallocate_in" { fh: u64, offset: u64, length: u64, mode: u32, padding: u32, }
    LseekIn = "fuse_lseek_in" { fh: u64, offset: u64, whence: u32, padding: u32, }
    LseekOut = "fuse_lseek_out" { offset: u64, }
    CopyFileRangeIn = "fuse_copy_file_range_in" {
        fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64,
    }
    CopyFileRangeOut = "fuse_copy_file_range_out" { bytes_copied: u64, }
    SyncfsIn = "fuse_syncfs_in" { padding: u64, }
    Dirent = "fuse_dirent" { ino: u64, off: u64, namelen: u32, r#type: u32, }
    ExtHeader = "fuse_ext_header" { size: u32, r#type: u32, }
    NotifyInvalInodeOut = "fuse_notify_inval_inode_out" { ino: u64, off: i64, len: i64, }
    NotifyInvalEntryOut = "fuse_notify_inval_entry_out" { parent: u64, namelen: u32, flags: u32, }
    NotifyDeleteOut = "fuse_notify_delete_out" { parent: u64, child: u64, namelen: u32, padding: u32, }
    NotifyStoreOut = "fuse_notify_store_out" { nodeid: u64, offset: u64, size: u32, padding: u32, }
}

//! The numbers of linux/fuse.h.

#![allow(missing_docs)]

macro_rules! numbers {
    ($($name:ident: $type:ty = $value:expr;)*) => {
        $(pub const $name: $type = $value;)*

        /// All of them, for the test against the system's header.
        pub const NUMBERS: &[(&str, u64)] = &[$((stringify!($name), $name as u64)),*];
    };
}

/// In `unique`: the request was read before, by this process or by one that is gone.
pub const FUSE_UNIQUE_RESEND: u64 = 1 << 63;
/// In `unique`: an INTERRUPT; the rest is the number of the request that it is for.
pub const FUSE_INT_REQ_BIT: u64 = 1;

numbers! {
    FUSE_KERNEL_VERSION: u32 = 7;
    FUSE_KERNEL_MINOR_VERSION: u32 = 45;
    FUSE_ROOT_ID: u64 = 1;
    FUSE_MIN_READ_BUFFER: usize = 8192;

    FUSE_LOOKUP: u32 = 1;
    FUSE_FORGET: u32 = 2;
    FUSE_GETATTR: u32 = 3;
    FUSE_SETATTR: u32 = 4;
    FUSE_READLINK: u32 = 5;
    FUSE_SYMLINK: u32 = 6;
    FUSE_MKNOD: u32 = 8;
    FUSE_MKDIR: u32 = 9;
    FUSE_UNLINK: u32 = 10;
    FUSE_RMDIR: u32 = 11;
    FUSE_RENAME: u32 = 12;
    FUSE_LINK: u32 = 13;
    FUSE_OPEN: u32 = 14;
    FUSE_READ: u32 = 15;
    FUSE_WRITE: u32 = 16;
    FUSE_STATFS: u32 = 17;
    FUSE_RELEASE: u32 = 18;
    FUSE_FSYNC: u32 = 20;
    FUSE_SETXATTR: u32 = 21;
    FUSE_GETXATTR: u32 = 22;
    FUSE_LISTXATTR: u32 = 23;
    FUSE_REMOVEXATTR: u32 = 24;
    FUSE_FLUSH: u32 = 25;
    FUSE_INIT: u32 = 26;
    FUSE_OPENDIR: u32 = 27;
    FUSE_READDIR: u32 = 28;
    FUSE_RELEASEDIR: u32 = 29;
    FUSE_FSYNCDIR: u32 = 30;
    FUSE_GETLK: u32 = 31;
    FUSE_SETLK: u32 = 32;
    FUSE_SETLKW: u32 = 33;
    FUSE_ACCESS: u32 = 34;
    FUSE_CREATE: u32 = 35;
    FUSE_INTERRUPT: u32 = 36;
    FUSE_BMAP: u32 = 37;
    FUSE_DESTROY: u32 = 38;
    FUSE_IOCTL: u32 = 39;
    FUSE_POLL: u32 = 40;
    FUSE_NOTIFY_REPLY: u32 = 41;
    FUSE_BATCH_FORGET: u32 = 42;
    FUSE_FALLOCATE: u32 = 43;
    FUSE_READDIRPLUS: u32 = 44;
    FUSE_RENAME2: u32 = 45;
    FUSE_LSEEK: u32 = 46;
    FUSE_COPY_FILE_RANGE: u32 = 47;
    FUSE_SETUPMAPPING: u32 = 48;
    FUSE_REMOVEMAPPING: u32 = 49;
    FUSE_SYNCFS: u32 = 50;
    FUSE_TMPFILE: u32 = 51;
    FUSE_STATX: u32 = 52;
    FUSE_COPY_FILE_RANGE_64: u32 = 53;

    FUSE_NOTIFY_POLL: i32 = 1;
    FUSE_NOTIFY_INVAL_INODE: i32 = 2;
    FUSE_NOTIFY_INVAL_ENTRY: i32 = 3;
    FUSE_NOTIFY_STORE: i32 = 4;
    FUSE_NOTIFY_RETRIEVE: i32 = 5;
    FUSE_NOTIFY_DELETE: i32 = 6;
    FUSE_NOTIFY_RESEND: i32 = 7;
    FUSE_NOTIFY_INC_EPOCH: i32 = 8;
    FUSE_NOTIFY_PRUNE: i32 = 9;
    FUSE_EXPIRE_ONLY: u32 = 1;

    FATTR_MODE: u32 = 1;
    FATTR_UID: u32 = 1 << 1;
    FATTR_GID: u32 = 1 << 2;
    FATTR_SIZE: u32 = 1 << 3;
    FATTR_ATIME: u32 = 1 << 4;
    FATTR_MTIME: u32 = 1 << 5;
    FATTR_FH: u32 = 1 << 6;
    FATTR_ATIME_NOW: u32 = 1 << 7;
    FATTR_MTIME_NOW: u32 = 1 << 8;
    FATTR_LOCKOWNER: u32 = 1 << 9;
    FATTR_CTIME: u32 = 1 << 10;
    FATTR_KILL_SUIDGID: u32 = 1 << 11;

    FOPEN_DIRECT_IO: u32 = 1;
    FOPEN_KEEP_CACHE: u32 = 1 << 1;
    FOPEN_NONSEEKABLE: u32 = 1 << 2;
    FOPEN_CACHE_DIR: u32 = 1 << 3;
    FOPEN_STREAM: u32 = 1 << 4;
    FOPEN_NOFLUSH: u32 = 1 << 5;
    FOPEN_PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
    FOPEN_PASSTHROUGH: u32 = 1 << 7;

    FUSE_ASYNC_READ: u64 = 1;
    FUSE_POSIX_LOCKS: u64 = 1 << 1;
    FUSE_FILE_OPS: u64 = 1 << 2;
    FUSE_ATOMIC_O_TRUNC: u64 = 1 << 3;
    FUSE_EXPORT_SUPPORT: u64 = 1 << 4;
    FUSE_BIG_WRITES: u64 = 1 << 5;
    FUSE_DONT_MASK: u64 = 1 << 6;
    FUSE_SPLICE_WRITE: u64 = 1 << 7;
    FUSE_SPLICE_MOVE: u64 = 1 << 8;
    FUSE_SPLICE_READ: u64 = 1 << 9;
    FUSE_FLOCK_LOCKS: u64 = 1 << 10;
    FUSE_HAS_IOCTL_DIR: u64 = 1 << 11;
    FUSE_AUTO_INVAL_DATA: u64 = 1 << 12;
    FUSE_DO_READDIRPLUS: u64 = 1 << 13;
    FUSE_READDIRPLUS_AUTO: u64 = 1 << 14;
    FUSE_ASYNC_DIO: u64 = 1 << 15;
    FUSE_WRITEBACK_CACHE: u64 = 1 << 16;
    FUSE_NO_OPEN_SUPPORT: u64 = 1 << 17;
    FUSE_PARALLEL_DIROPS: u64 = 1 << 18;
    FUSE_HANDLE_KILLPRIV: u64 = 1 << 19;
    FUSE_POSIX_ACL: u64 = 1 << 20;
    FUSE_ABORT_ERROR: u64 = 1 << 21;
    FUSE_MAX_PAGES: u64 = 1 << 22;
    FUSE_CACHE_SYMLINKS: u64 = 1 << 23;
    FUSE_NO_OPENDIR_SUPPORT: u64 = 1 << 24;
    FUSE_EXPLICIT_INVAL_DATA: u64 = 1 << 25;
    FUSE_MAP_ALIGNMENT: u64 = 1 << 26;
    FUSE_SUBMOUNTS: u64 = 1 << 27;
    FUSE_HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    FUSE_SETXATTR_EXT: u64 = 1 << 29;
    FUSE_INIT_EXT: u64 = 1 << 30;
    FUSE_INIT_RESERVED: u64 = 1 << 31;
    FUSE_SECURITY_CTX: u64 = 1 << 32;
    FUSE_HAS_INODE_DAX: u64 = 1 << 33;
    FUSE_CREATE_SUPP_GROUP: u64 = 1 << 34;
    FUSE_HAS_EXPIRE_ONLY: u64 = 1 << 35;
    FUSE_DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
    FUSE_PASSTHROUGH: u64 = 1 << 37;
    FUSE_NO_EXPORT_SUPPORT: u64 = 1 << 38;
    FUSE_HAS_RESEND: u64 = 1 << 39;
    FUSE_ALLOW_IDMAP: u64 = 1 << 40;
    FUSE_OVER_IO_URING: u64 = 1 << 41;
    FUSE_REQUEST_TIMEOUT: u64 = 1 << 42;

    FUSE_RELEASE_FLUSH: u32 = 1;
    FUSE_RELEASE_FLOCK_UNLOCK: u32 = 1 << 1;
    FUSE_GETATTR_FH: u32 = 1;
    FUSE_LK_FLOCK: u32 = 1;
    FUSE_WRITE_CACHE: u32 = 1;
    FUSE_WRITE_LOCKOWNER: u32 = 1 << 1;
    FUSE_WRITE_KILL_SUIDGID: u32 = 1 << 2;
    FUSE_READ_LOCKOWNER: u32 = 1 << 1;
    FUSE_IOCTL_COMPAT: u32 = 1;
    FUSE_IOCTL_UNRESTRICTED: u32 = 1 << 1;
    FUSE_IOCTL_RETRY: u32 = 1 << 2;
    FUSE_IOCTL_32BIT: u32 = 1 << 3;
    FUSE_IOCTL_DIR: u32 = 1 << 4;
    FUSE_IOCTL_COMPAT_X32: u32 = 1 << 5;
    FUSE_POLL_SCHEDULE_NOTIFY: u32 = 1;
    FUSE_FSYNC_FDATASYNC: u32 = 1;
    FUSE_ATTR_SUBMOUNT: u32 = 1;
    FUSE_ATTR_DAX: u32 = 1 << 1;
    FUSE_OPEN_KILL_SUIDGID: u32 = 1;
    FUSE_SETXATTR_ACL_KILL_SGID: u32 = 1;
    FUSE_MAX_NR_SECCTX: u32 = 31;
    FUSE_EXT_GROUPS: u32 = 32;
}

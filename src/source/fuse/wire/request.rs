//! A request of the kernel, as values.

use std::borrow::Cow;
use std::ffi::CString;

use super::abi;

/// A point in time, as in `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// A time that is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// To what the clock says.
    Now,
    /// To this.
    To(Time),
}

/// What SETATTR changes; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    pub ctime: Option<Time>,
    /// The open file that it came through (ftruncate).
    pub fh: Option<u64>,
    /// The set-id bits are to be cleared, as the caller has no CAP_FSETID.
    pub kill_suidgid: bool,
}

/// A record lock or flock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Lock {
    pub fh: u64,
    pub owner: u64,
    pub start: u64,
    /// Last byte.
    pub end: u64,
    /// `F_RDLCK`, `F_WRLCK`, `F_UNLCK`.
    pub kind: u32,
    /// Process that holds it.
    pub pid: u32,
    pub is_flock: bool,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Its number, unique in the connection; the same when it is sent again.
    pub unique: u64,
    /// It was given to a reader before.
    pub resent: bool,
    /// Object that it is about; of operations on a name the directory.
    pub node: u64,
    /// File-system user of the caller.
    pub uid: u32,
    /// File-system group of the caller.
    pub gid: u32,
    /// Thread of the caller, in the namespace of who mounted; 0 if it has none there.
    pub pid: u32,
    /// Groups that came with a new object (CREATE_SUPP_GROUP), usually none.
    pub groups: Vec<u32>,
    /// What is asked.
    pub op: Op,
    /// The bytes of a WRITE; of others empty.
    pub data: Cow<'a, [u8]>,
}

/// What a request asks. Names have their bytes as the user gave them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Lookup {
        name: CString,
    },
    /// No reply.
    Forget {
        count: u64,
    },
    /// (node, count) each. No reply.
    BatchForget(Vec<(u64, u64)>),
    Getattr {
        fh: Option<u64>,
    },
    Setattr(SetAttr),
    Readlink,
    Symlink {
        name: CString,
        target: CString,
    },
    Mknod {
        name: CString,
        mode: u32,
        /// As the kernel packs it: `new_encode_dev`.
        rdev: u32,
        umask: u32,
    },
    Mkdir {
        name: CString,
        mode: u32,
        umask: u32,
    },
    Unlink {
        name: CString,
    },
    Rmdir {
        name: CString,
    },
    /// RENAME and RENAME2.
    Rename {
        new_parent: u64,
        /// `RENAME_NOREPLACE` ...
        flags: u32,
        name: CString,
        new_name: CString,
    },
    /// The request's node is the directory of the new name.
    Link {
        target_node: u64,
        name: CString,
    },
    Open {
        /// `O_...`
        flags: u32,
        kill_suidgid: bool,
    },
    Read {
        fh: u64,
        offset: u64,
        size: u32,
        /// `O_...` of the open file.
        flags: u32,
        lock_owner: Option<u64>,
    },
    /// The bytes are [`Request::data`].
    Write {
        fh: u64,
        offset: u64,
        /// `O_...` of the open file.
        flags: u32,
        /// Written back from the page cache: `fh` and the caller are guessed.
        from_cache: bool,
        kill_suidgid: bool,
        lock_owner: Option<u64>,
    },
    Statfs,
    Release {
        fh: u64,
        flags: u32,
        /// flock locks are to go.
        flock_unlock: bool,
        lock_owner: u64,
    },
    Fsync {
        fh: u64,
        data_only: bool,
    },
    Setxattr {
        name: CString,
        value: Vec<u8>,
        /// `XATTR_CREATE`, `XATTR_REPLACE`.
        flags: u32,
        /// `FUSE_SETXATTR_ACL_KILL_SGID`.
        setxattr_flags: u32,
    },
    /// Size 0 asks for the size.
    Getxattr {
        name: CString,
        size: u32,
    },
    /// Size 0 asks for the size.
    Listxattr {
        size: u32,
    },
    Removexattr {
        name: CString,
    },
    Flush {
        fh: u64,
        lock_owner: u64,
    },
    Init {
        major: u32,
        minor: u32,
        max_readahead: u32,
        /// `FUSE_ASYNC_READ` ...: what the kernel offers.
        flags: u64,
    },
    Opendir {
        flags: u32,
    },
    Readdir {
        fh: u64,
        /// Cookie of the last entry that was read, or 0.
        offset: u64,
        size: u32,
    },
    Readdirplus {
        fh: u64,
        offset: u64,
        size: u32,
    },
    Releasedir {
        fh: u64,
        flags: u32,
    },
    Fsyncdir {
        fh: u64,
        data_only: bool,
    },
    Access {
        mask: u32,
    },
    Create {
        name: CString,
        flags: u32,
        mode: u32,
        umask: u32,
        kill_suidgid: bool,
    },
    /// A signal came for the caller of request `unique` (its number without the bit of a resent one).
    Interrupt {
        unique: u64,
    },
    Destroy,
    Ioctl {
        fh: u64,
        cmd: u32,
        arg: u64,
        flags: u32,
        in_data: Vec<u8>,
        out_size: u32,
    },
    Fallocate {
        fh: u64,
        offset: u64,
        length: u64,
        mode: u32,
    },
    Lseek {
        fh: u64,
        offset: u64,
        whence: u32,
    },
    CopyFileRange {
        fh_in: u64,
        off_in: u64,
        node_out: u64,
        fh_out: u64,
        off_out: u64,
        length: u64,
        flags: u64,
        /// COPY_FILE_RANGE_64: the reply is [`super::reply::copied`], else [`super::reply::written`].
        wide: bool,
    },
    Syncfs,
    Statx {
        fh: Option<u64>,
        flags: u32,
        mask: u32,
    },
    Tmpfile {
        flags: u32,
        mode: u32,
        umask: u32,
    },
    Getlk(Lock),
    Setlk(Lock),
    Setlkw(Lock),
    Poll {
        fh: u64,
        kh: u64,
        flags: u32,
        events: u32,
    },
    Bmap {
        block: u64,
        block_bytes: u32,
    },
    /// An operation that is not known here: ENOSYS.
    Unknown(u32),
}

/// Bytes that are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// `unique` for an error reply, as it came; `None` if there is not even a header.
    pub reply_to: Option<u64>,
    /// Its operation; 0 without a header.
    pub opcode: u32,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reply_to {
            None => write!(f, "bytes from /dev/fuse are no request: there is no header"),
            Some(unique) => write!(
                f,
                "FUSE request {unique:#x} of operation {} has not the form of that operation",
                self.opcode
            ),
        }
    }
}

impl std::error::Error for Malformed {}

impl Request<'_> {
    /// What the reply must carry: the kernel knows a resent request with its mark only.
    pub fn reply_to(&self) -> u64 {
        match self.resent {
            true => self.unique | abi::FUSE_UNIQUE_RESEND,
            false => self.unique,
        }
    }

    /// The same, independent of the buffer that it was parsed from.
    pub fn into_owned(self) -> Request<'static> {
        Request {
            unique: self.unique,
            resent: self.resent,
            node: self.node,
            uid: self.uid,
            gid: self.gid,
            pid: self.pid,
            groups: self.groups,
            op: self.op,
            data: Cow::Owned(self.data.into_owned()),
        }
    }
}

impl Op {
    /// Does it open a file?
    pub fn opens(&self) -> bool {
        matches!(
            self,
            Self::Open { .. } | Self::Create { .. } | Self::Tmpfile { .. }
        )
    }

    /// Does the kernel wait for a reply? (To an INTERRUPT one may be sent.)
    pub fn wants_reply(&self) -> bool {
        !matches!(
            self,
            Self::Forget { .. } | Self::BatchForget(_) | Self::Interrupt { .. }
        )
    }
}

//! Bytes of `/dev/fuse` to a request. Whatever the bytes are, the result is a request or [`Malformed`].

mod files;

use std::borrow::Cow;
use std::ffi::CStr;
use std::ffi::CString;

use self::files::of_open_file;
use super::abi::*;
use super::layout::AccessIn;
use super::layout::BatchForgetIn;
use super::layout::BmapIn;
use super::layout::CreateIn;
use super::layout::Cursor;
use super::layout::ExtHeader;
use super::layout::ForgetIn;
use super::layout::ForgetOne;
use super::layout::GetattrIn;
use super::layout::GetxattrIn;
use super::layout::InHeader;
use super::layout::InitIn;
use super::layout::InterruptIn;
use super::layout::LinkIn;
use super::layout::MkdirIn;
use super::layout::MknodIn;
use super::layout::ReadIn;
use super::layout::Rename2In;
use super::layout::RenameIn;
use super::layout::SetattrIn;
use super::layout::SetxattrIn;
use super::layout::StatxIn;
use super::layout::WriteIn;
use super::request::Malformed;
use super::request::Op;
use super::request::Request;
use super::request::SetAttr;
use super::request::SetTime;
use super::request::Time;

impl<'a> Request<'a> {
    /// Reads one request: all the bytes that one read(2) gave.
    pub fn parse(frame: &'a [u8]) -> Result<Self, Malformed> {
        let mut body = Cursor(frame);
        let Some(header) = body.get::<InHeader>() else {
            return Err(Malformed {
                reply_to: None,
                opcode: 0,
            });
        };
        request(&header, frame.len(), body).ok_or(Malformed {
            reply_to: Some(header.unique),
            opcode: header.opcode,
        })
    }
}

fn request<'a>(header: &InHeader, bytes: usize, body: Cursor<'a>) -> Option<Request<'a>> {
    if usize::try_from(header.len) != Ok(bytes) {
        return None;
    }
    let extension_bytes = usize::from(header.total_extlen) * 8;
    let (body, extensions) = body
        .0
        .split_at_checked(body.0.len().checked_sub(extension_bytes)?)?;
    let mut data: &[u8] = &[];
    let op = operation(header.opcode, Cursor(body), &mut data)?;
    Some(Request {
        unique: header.unique & !FUSE_UNIQUE_RESEND,
        resent: header.unique & FUSE_UNIQUE_RESEND != 0,
        node: header.nodeid,
        uid: header.uid,
        gid: header.gid,
        pid: header.pid,
        groups: groups(Cursor(extensions))?,
        op,
        data: Cow::Borrowed(data),
    })
}

/// The supplementary groups among the extensions; others are passed over.
fn groups(mut extensions: Cursor<'_>) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    while !extensions.0.is_empty() {
        let header: ExtHeader = extensions.get()?;
        let rest = usize::try_from(header.size).ok()?.checked_sub(8)?;
        let mut body = Cursor(extensions.take(rest)?);
        if header.r#type != FUSE_EXT_GROUPS {
            continue;
        }
        let count: u32 = body.get()?;
        for _ in 0..count {
            found.push(body.get()?);
        }
    }
    Some(found)
}

fn name(body: &mut Cursor<'_>) -> Option<CString> {
    let name = CStr::from_bytes_until_nul(body.0).ok()?;
    body.take(name.count_bytes() + 1)?;
    Some(name.to_owned())
}

fn counted<'a>(body: &mut Cursor<'a>, count: u32) -> Option<&'a [u8]> {
    body.take(usize::try_from(count).ok()?)
}

/// `data` becomes the bytes of a WRITE.
fn operation<'a>(opcode: u32, mut body: Cursor<'a>, data: &mut &'a [u8]) -> Option<Op> {
    let body = &mut body;
    Some(match opcode {
        FUSE_WRITE => {
            let write: WriteIn = body.get()?;
            *data = counted(body, write.size)?;
            Op::Write {
                fh: write.fh,
                offset: write.offset,
                flags: write.flags,
                from_cache: write.write_flags & FUSE_WRITE_CACHE != 0,
                kill_suidgid: write.write_flags & FUSE_WRITE_KILL_SUIDGID != 0,
                lock_owner: (write.write_flags & FUSE_WRITE_LOCKOWNER != 0)
                    .then_some(write.lock_owner),
            }
        }
        FUSE_READ | FUSE_READDIR | FUSE_READDIRPLUS => read(opcode, body.get()?),
        FUSE_LOOKUP | FUSE_SYMLINK | FUSE_MKNOD | FUSE_MKDIR | FUSE_UNLINK | FUSE_RMDIR
        | FUSE_RENAME | FUSE_RENAME2 | FUSE_LINK | FUSE_CREATE | FUSE_TMPFILE => {
            naming(opcode, body)?
        }
        FUSE_SETXATTR | FUSE_GETXATTR | FUSE_LISTXATTR | FUSE_REMOVEXATTR => {
            extended(opcode, body)?
        }
        FUSE_OPEN
        | FUSE_OPENDIR
        | FUSE_RELEASE
        | FUSE_RELEASEDIR
        | FUSE_FLUSH
        | FUSE_FSYNC
        | FUSE_FSYNCDIR
        | FUSE_GETLK
        | FUSE_SETLK
        | FUSE_SETLKW
        | FUSE_POLL
        | FUSE_IOCTL
        | FUSE_FALLOCATE
        | FUSE_LSEEK
        | FUSE_COPY_FILE_RANGE
        | FUSE_COPY_FILE_RANGE_64 => of_open_file(opcode, body)?,
        _ => other(opcode, body)?,
    })
}

fn read(opcode: u32, read: ReadIn) -> Op {
    let ReadIn {
        fh, offset, size, ..
    } = read;
    match opcode {
        FUSE_READDIR => Op::Readdir { fh, offset, size },
        FUSE_READDIRPLUS => Op::Readdirplus { fh, offset, size },
        _ => Op::Read {
            fh,
            offset,
            size,
            flags: read.flags,
            lock_owner: (read.read_flags & FUSE_READ_LOCKOWNER != 0).then_some(read.lock_owner),
        },
    }
}

/// What makes, finds, moves and removes names.
fn naming(opcode: u32, body: &mut Cursor<'_>) -> Option<Op> {
    Some(match opcode {
        FUSE_LOOKUP => Op::Lookup { name: name(body)? },
        FUSE_UNLINK => Op::Unlink { name: name(body)? },
        FUSE_RMDIR => Op::Rmdir { name: name(body)? },
        FUSE_SYMLINK => Op::Symlink {
            name: name(body)?,
            target: name(body)?,
        },
        FUSE_MKNOD => {
            let MknodIn {
                mode, rdev, umask, ..
            } = body.get()?;
            Op::Mknod {
                mode,
                rdev,
                umask,
                name: name(body)?,
            }
        }
        FUSE_MKDIR => {
            let MkdirIn { mode, umask } = body.get()?;
            let name = name(body)?;
            Op::Mkdir { name, mode, umask }
        }
        FUSE_RENAME => {
            let rename: RenameIn = body.get()?;
            renaming(rename.newdir, 0, body)?
        }
        FUSE_RENAME2 => {
            let rename: Rename2In = body.get()?;
            renaming(rename.newdir, rename.flags, body)?
        }
        FUSE_LINK => Op::Link {
            target_node: body.get::<LinkIn>()?.oldnodeid,
            name: name(body)?,
        },
        _ => creating(opcode, body)?,
    })
}

fn renaming(new_parent: u64, flags: u32, body: &mut Cursor<'_>) -> Option<Op> {
    Some(Op::Rename {
        new_parent,
        flags,
        name: name(body)?,
        new_name: name(body)?,
    })
}

fn creating(opcode: u32, body: &mut Cursor<'_>) -> Option<Op> {
    let CreateIn {
        flags,
        mode,
        umask,
        open_flags,
    } = body.get()?;
    // A TMPFILE has one as well, which means nothing.
    let name = name(body)?;
    Some(match opcode {
        FUSE_TMPFILE => Op::Tmpfile { flags, mode, umask },
        _ => Op::Create {
            name,
            flags,
            mode,
            umask,
            kill_suidgid: open_flags & FUSE_OPEN_KILL_SUIDGID != 0,
        },
    })
}

fn extended(opcode: u32, body: &mut Cursor<'_>) -> Option<Op> {
    Some(match opcode {
        // The long form, as INIT asks for SETXATTR_EXT.
        FUSE_SETXATTR => {
            let set: SetxattrIn = body.get()?;
            Op::Setxattr {
                name: name(body)?,
                value: counted(body, set.size)?.to_vec(),
                flags: set.flags,
                setxattr_flags: set.setxattr_flags,
            }
        }
        FUSE_GETXATTR => {
            let size = body.get::<GetxattrIn>()?.size;
            let name = name(body)?;
            Op::Getxattr { name, size }
        }
        FUSE_LISTXATTR => Op::Listxattr {
            size: body.get::<GetxattrIn>()?.size,
        },
        _ => Op::Removexattr { name: name(body)? },
    })
}

/// What is about an object, the whole file system or the connection.
fn other(opcode: u32, body: &mut Cursor<'_>) -> Option<Op> {
    Some(match opcode {
        FUSE_GETATTR => {
            let GetattrIn {
                getattr_flags, fh, ..
            } = body.get()?;
            Op::Getattr {
                fh: (getattr_flags & FUSE_GETATTR_FH != 0).then_some(fh),
            }
        }
        FUSE_STATX => {
            let statx: StatxIn = body.get()?;
            Op::Statx {
                fh: (statx.getattr_flags & FUSE_GETATTR_FH != 0).then_some(statx.fh),
                flags: statx.sx_flags,
                mask: statx.sx_mask,
            }
        }
        FUSE_SETATTR => Op::Setattr(set_attr(&body.get()?)),
        FUSE_FORGET => Op::Forget {
            count: body.get::<ForgetIn>()?.nlookup,
        },
        FUSE_BATCH_FORGET => batch_forget(body)?,
        FUSE_INTERRUPT => Op::Interrupt {
            unique: body.get::<InterruptIn>()?.unique & !FUSE_UNIQUE_RESEND,
        },
        FUSE_INIT => init(body)?,
        FUSE_ACCESS => Op::Access {
            mask: body.get::<AccessIn>()?.mask,
        },
        FUSE_BMAP => {
            let BmapIn {
                block, blocksize, ..
            } = body.get()?;
            Op::Bmap {
                block,
                block_bytes: blocksize,
            }
        }
        FUSE_READLINK => Op::Readlink,
        FUSE_STATFS => Op::Statfs,
        FUSE_SYNCFS => Op::Syncfs,
        FUSE_DESTROY => Op::Destroy,
        _ => Op::Unknown(opcode),
    })
}

fn batch_forget(body: &mut Cursor<'_>) -> Option<Op> {
    let count = body.get::<BatchForgetIn>()?.count;
    let mut all = Vec::new();
    for _ in 0..count {
        let ForgetOne { nodeid, nlookup } = body.get()?;
        all.push((nodeid, nlookup));
    }
    Some(Op::BatchForget(all))
}

/// The structure grew: old kernels send 16 bytes of it, and of a version that is too new only two words count.
fn init(body: &mut Cursor<'_>) -> Option<Op> {
    let mut whole = [0; <InitIn as super::layout::Wire>::BYTES];
    let sent = body.0.len().min(whole.len());
    if sent < 8 {
        return None;
    }
    whole[..sent].copy_from_slice(body.take(sent)?);
    let init: InitIn = Cursor(&whole).get()?;
    let mut flags = u64::from(init.flags);
    if flags & FUSE_INIT_EXT != 0 {
        flags |= u64::from(init.flags2) << 32;
    }
    Some(Op::Init {
        major: init.major,
        minor: init.minor,
        max_readahead: init.max_readahead,
        flags,
    })
}

fn set_attr(set: &SetattrIn) -> SetAttr {
    let has = |bit: u32| set.valid & bit != 0;
    let time = |bit, now, seconds: u64, nanoseconds| match (has(bit), has(now)) {
        (false, _) => None,
        (true, true) => Some(SetTime::Now),
        // Before 1970 it is negative.
        (true, false) => Some(SetTime::To(Time {
            seconds: seconds.cast_signed(),
            nanoseconds,
        })),
    };
    SetAttr {
        mode: has(FATTR_MODE).then_some(set.mode),
        uid: has(FATTR_UID).then_some(set.uid),
        gid: has(FATTR_GID).then_some(set.gid),
        size: has(FATTR_SIZE).then_some(set.size),
        atime: time(FATTR_ATIME, FATTR_ATIME_NOW, set.atime, set.atimensec),
        mtime: time(FATTR_MTIME, FATTR_MTIME_NOW, set.mtime, set.mtimensec),
        ctime: has(FATTR_CTIME).then_some(Time {
            seconds: set.ctime.cast_signed(),
            nanoseconds: set.ctimensec,
        }),
        fh: has(FATTR_FH).then_some(set.fh),
        kill_suidgid: has(FATTR_KILL_SUIDGID),
    }
}

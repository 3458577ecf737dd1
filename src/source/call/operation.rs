//! What a system call does with a file, by its number and arguments.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::{Call, FileId};
use crate::source::judge::{Access, Operation};
use crate::sys::statx;
use crate::sys::thread_of;

const FICLONE: u64 = 0x4004_9409;
const FICLONERANGE: u64 = 0x4020_940d;
const FIDEDUPERANGE: u64 = 0xc018_9436;
const RWF_APPEND: u64 = 0x10;
const IOV_MAX: u64 = 1024;

/// Is the thread's open file (or open call) non-blocking?
pub fn is_nonblocking(tid: u32, call: Call, file: FileId) -> bool {
    let Some((number, arguments)) = call.number else {
        return false;
    };
    if let Some(flags) = open_flags(tid, number, arguments) {
        return flags & libc::O_NONBLOCK as u64 != 0;
    }
    let descriptors: &[usize] = match number {
        libc::SYS_sendfile => &[1, 0],
        libc::SYS_copy_file_range | libc::SYS_splice => &[0, 2],
        libc::SYS_mmap => &[4],
        libc::SYS_truncate | libc::SYS_execve | libc::SYS_execveat => &[],
        _ => &[0],
    };
    descriptors
        .iter()
        .filter_map(|index| open_file(tid, arguments[*index], file))
        .filter_map(|fd| thread_of::flags(fd.as_fd()).ok())
        .any(|flags| flags & libc::O_NONBLOCK != 0)
}

/// What the call of a thread does with the file; `rounded` is (offset, bytes) as the kernel tells it. `None`: another
/// call, or one that does not name the file.
pub fn operation(tid: u32, call: Call, file: FileId, rounded: (u64, u64)) -> Option<Operation> {
    let (number, arguments) = call.number?;
    let (offset, length) = rounded;
    Caller { tid, file }.operation(number, &arguments, Rounded { offset, length })
}

/// What an open does: only by O_TRUNC anything.
pub fn open_operation(tid: u32, call: Call) -> Operation {
    let access = match call.number {
        Some((libc::SYS_execve | libc::SYS_execveat, _)) => Access::Open,
        Some((number, arguments)) => match open_flags(tid, number, arguments) {
            Some(flags) if flags & libc::O_TRUNC as u64 != 0 => Access::Truncate,
            Some(_) => Access::Open,
            None => Access::UnknownOpen,
        },
        None => Access::UnknownOpen,
    };
    Operation {
        access,
        offset: 0,
        length: 0,
    }
}

/// The flags of an open call; `None`: another call, or not readable.
fn open_flags(tid: u32, number: i64, arguments: [u64; 6]) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    match number {
        libc::SYS_open => return Some(arguments[1]),
        libc::SYS_creat => return Some((libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY) as u64),
        _ => {}
    }
    match number {
        libc::SYS_openat | libc::SYS_open_by_handle_at => Some(arguments[2]),
        // struct open_how begins with 64 bits of flags.
        libc::SYS_openat2 => thread_of::memory_word(tid, arguments[2]).ok(),
        _ => None,
    }
}

/// A copy of the thread's open file of that number, if it is the event's file. On a FUSE mount closing the copy must
/// not ask the server: the files there are opened with `FOPEN_NOFLUSH`.
fn open_file(tid: u32, number: u64, file: FileId) -> Option<OwnedFd> {
    let fd = thread_of::descriptor(tid, number as i32).ok()?;
    // No server is asked: on a FUSE mount that would be ourselves.
    let (device, inode) = statx::known_inode(fd.as_fd()).ok()?;
    (device == file.device && inode == file.inode).then_some(fd)
}

#[derive(Clone, Copy)]
struct Rounded {
    offset: u64,
    length: u64,
}

struct Caller {
    tid: u32,
    file: FileId,
}

impl Caller {
    fn operation(&self, number: i64, a: &[u64; 6], rounded: Rounded) -> Option<Operation> {
        match number {
            libc::SYS_read => self.read(a[0], None, a[2]),
            libc::SYS_pread64 => self.read(a[0], Some(a[3]), a[2]),
            libc::SYS_readv => self.read(a[0], None, self.vector(a[1], a[2])?),
            libc::SYS_preadv => self.read(a[0], Some(a[3]), self.vector(a[1], a[2])?),
            libc::SYS_preadv2 => self.read(a[0], position(a[3]), self.vector(a[1], a[2])?),
            libc::SYS_write => self.write(a[0], None, a[2], 0),
            libc::SYS_pwrite64 => self.write(a[0], Some(a[3]), a[2], 0),
            libc::SYS_writev => self.write(a[0], None, self.vector(a[1], a[2])?, 0),
            libc::SYS_pwritev => self.write(a[0], Some(a[3]), self.vector(a[1], a[2])?, 0),
            libc::SYS_pwritev2 => self.write(a[0], position(a[3]), self.vector(a[1], a[2])?, a[5]),
            // out, in, *offset of in, count
            libc::SYS_sendfile => self.copy((a[1], a[2]), (a[0], 0), a[3]),
            libc::SYS_copy_file_range | libc::SYS_splice => {
                self.copy((a[0], a[1]), (a[2], a[3]), a[4])
            }
            libc::SYS_truncate => one(Access::Truncate, a[1], 0),
            libc::SYS_ftruncate => {
                self.named(a[0])?;
                one(Access::Truncate, a[1], 0)
            }
            libc::SYS_fallocate => {
                self.named(a[0])?;
                one(Access::Write, a[2], a[3])
            }
            libc::SYS_mmap => self.map(a),
            libc::SYS_execve | libc::SYS_execveat => {
                // The mapping of a segment comes as an event like the reads of the head do.
                one(Access::MapRead, rounded.offset, rounded.length.max(1))
            }
            libc::SYS_ioctl => self.clone_range(a, rounded),
            _ => None,
        }
    }

    /// Is that number the event's file?
    fn named(&self, number: u64) -> Option<()> {
        let path = format!("/proc/{}/fd/{}", self.tid, number as i32);
        let found = statx::known_inode_at(Path::new(&path)).ok()?;
        (found == (self.file.device, self.file.inode)).then_some(())
    }

    fn file_position(&self, number: u64) -> Option<u64> {
        let fd = open_file(self.tid, number, self.file)?;
        thread_of::position(fd.as_fd()).ok()
    }

    fn read(&self, number: u64, offset: Option<u64>, length: u64) -> Option<Operation> {
        let offset = match offset {
            Some(offset) => {
                self.named(number)?;
                offset
            }
            None => self.file_position(number)?,
        };
        one(Access::Read, offset, length)
    }

    fn write(&self, number: u64, offset: Option<u64>, length: u64, rwf: u64) -> Option<Operation> {
        let fd = open_file(self.tid, number, self.file)?;
        let flags = thread_of::flags(fd.as_fd()).ok()?;
        // O_APPEND rules over the position and over the offset of pwrite(2).
        let append = flags & libc::O_APPEND != 0 || rwf & RWF_APPEND != 0;
        let offset = match offset {
            _ if append => self.file.size,
            Some(offset) => offset,
            None => thread_of::position(fd.as_fd()).ok()?,
        };
        one(Access::Write, offset, length)
    }

    fn vector(&self, address: u64, count: u64) -> Option<u64> {
        if count > IOV_MAX {
            return Some(0); // The kernel refuses it.
        }
        let mut bytes = vec![0; count as usize * 16];
        thread_of::memory(self.tid, address, &mut bytes).ok()?;
        let lengths = bytes.chunks_exact(16).map(|iov| {
            let length: [u8; 8] = iov[8..].try_into().expect("eight bytes of sixteen");
            u64::from_ne_bytes(length)
        });
        Some(lengths.fold(0, u64::saturating_add))
    }

    fn end_of_copy(&self, (number, pointer): (u64, u64)) -> Option<u64> {
        if pointer == 0 {
            return self.file_position(number);
        }
        self.named(number)?;
        thread_of::memory_word(self.tid, pointer).ok()
    }

    /// A copy between two descriptors, one or both of them the event's file.
    fn copy(&self, from: (u64, u64), to: (u64, u64), length: u64) -> Option<Operation> {
        let source = self.named(from.0).is_some();
        let target = self.named(to.0).is_some();
        match (source, target) {
            (true, false) => one(Access::Read, self.end_of_copy(from)?, length),
            (false, true) => one(Access::Write, self.end_of_copy(to)?, length),
            // Within one file the event may be of either end.
            _ => None,
        }
    }

    fn map(&self, a: &[u64; 6]) -> Option<Operation> {
        self.named(a[4])?;
        let kind = a[3] as i32 & libc::MAP_TYPE;
        let shared = kind == libc::MAP_SHARED || kind == libc::MAP_SHARED_VALIDATE;
        let write = a[2] as i32 & libc::PROT_WRITE != 0;
        let access = if shared && write {
            Access::MapWrite
        } else {
            Access::MapRead
        };
        one(access, a[5], a[1])
    }

    fn clone_range(&self, a: &[u64; 6], rounded: Rounded) -> Option<Operation> {
        let length = match rounded.length {
            // To the end of the file.
            0 => self.file.size.saturating_sub(rounded.offset).max(1),
            length => length,
        };
        let target = self.named(a[0]).is_some();
        match a[1] {
            FICLONE | FICLONERANGE if target => one(Access::Write, rounded.offset, length),
            FICLONE | FICLONERANGE => one(Access::Read, rounded.offset, length),
            // Compares only, but of which end the event is cannot be told.
            FIDEDUPERANGE => one(Access::Unknown, rounded.offset, length),
            _ => None,
        }
    }
}

fn position(argument: u64) -> Option<u64> {
    (argument != u64::MAX).then_some(argument)
}

fn one(access: Access, offset: u64, length: u64) -> Option<Operation> {
    Some(Operation {
        access,
        offset,
        length,
    })
}

//! Requests about open files.

use super::super::abi::*;
use super::super::layout::CopyFileRangeIn;
use super::super::layout::Cursor;
use super::super::layout::FallocateIn;
use super::super::layout::FlushIn;
use super::super::layout::FsyncIn;
use super::super::layout::IoctlIn;
use super::super::layout::LkIn;
use super::super::layout::LseekIn;
use super::super::layout::OpenIn;
use super::super::layout::PollIn;
use super::super::layout::ReleaseIn;
use super::super::request::Lock;
use super::super::request::Op;
use super::counted;

/// What has the number of an open file, or makes one.
pub fn of_open_file(opcode: u32, body: &mut Cursor<'_>) -> Option<Op> {
    Some(match opcode {
        FUSE_OPEN | FUSE_OPENDIR => opening(opcode, body.get()?),
        FUSE_RELEASE | FUSE_RELEASEDIR => releasing(opcode, body.get()?),
        FUSE_FLUSH => {
            let FlushIn { fh, lock_owner, .. } = body.get()?;
            Op::Flush { fh, lock_owner }
        }
        FUSE_FSYNC | FUSE_FSYNCDIR => {
            let FsyncIn {
                fh, fsync_flags, ..
            } = body.get()?;
            let data_only = fsync_flags & FUSE_FSYNC_FDATASYNC != 0;
            match opcode {
                FUSE_FSYNC => Op::Fsync { fh, data_only },
                _ => Op::Fsyncdir { fh, data_only },
            }
        }
        FUSE_GETLK => Op::Getlk(lock(body.get()?)),
        FUSE_SETLK => Op::Setlk(lock(body.get()?)),
        FUSE_SETLKW => Op::Setlkw(lock(body.get()?)),
        FUSE_POLL => {
            let PollIn {
                fh,
                kh,
                flags,
                events,
            } = body.get()?;
            Op::Poll {
                fh,
                kh,
                flags,
                events,
            }
        }
        FUSE_IOCTL => {
            let ioctl: IoctlIn = body.get()?;
            Op::Ioctl {
                fh: ioctl.fh,
                cmd: ioctl.cmd,
                arg: ioctl.arg,
                flags: ioctl.flags,
                in_data: counted(body, ioctl.in_size)?.to_vec(),
                out_size: ioctl.out_size,
            }
        }
        _ => ranging(opcode, body)?,
    })
}

fn opening(opcode: u32, open: OpenIn) -> Op {
    let flags = open.flags;
    match opcode {
        FUSE_OPENDIR => Op::Opendir { flags },
        _ => Op::Open {
            flags,
            kill_suidgid: open.open_flags & FUSE_OPEN_KILL_SUIDGID != 0,
        },
    }
}

fn releasing(opcode: u32, release: ReleaseIn) -> Op {
    let ReleaseIn {
        fh,
        flags,
        lock_owner,
        ..
    } = release;
    match opcode {
        FUSE_RELEASEDIR => Op::Releasedir { fh, flags },
        _ => Op::Release {
            fh,
            flags,
            flock_unlock: release.release_flags & FUSE_RELEASE_FLOCK_UNLOCK != 0,
            lock_owner,
        },
    }
}

fn lock(lock: LkIn) -> Lock {
    Lock {
        fh: lock.fh,
        owner: lock.owner,
        start: lock.lk.start,
        end: lock.lk.end,
        kind: lock.lk.r#type,
        pid: lock.lk.pid,
        is_flock: lock.lk_flags & FUSE_LK_FLOCK != 0,
    }
}

fn ranging(opcode: u32, body: &mut Cursor<'_>) -> Option<Op> {
    Some(match opcode {
        FUSE_FALLOCATE => {
            let FallocateIn {
                fh,
                offset,
                length,
                mode,
                ..
            } = body.get()?;
            Op::Fallocate {
                fh,
                offset,
                length,
                mode,
            }
        }
        FUSE_LSEEK => {
            let LseekIn {
                fh, offset, whence, ..
            } = body.get()?;
            Op::Lseek { fh, offset, whence }
        }
        _ => {
            let copy: CopyFileRangeIn = body.get()?;
            Op::CopyFileRange {
                fh_in: copy.fh_in,
                off_in: copy.off_in,
                node_out: copy.nodeid_out,
                fh_out: copy.fh_out,
                off_out: copy.off_out,
                length: copy.len,
                flags: copy.flags,
                wide: opcode == FUSE_COPY_FILE_RANGE_64,
            }
        }
    })
}

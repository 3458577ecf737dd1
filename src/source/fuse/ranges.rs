//! Changes and looks at ranges of a file that are no reads or writes.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;

use super::connection::Connection;
use super::data::caller;
use super::serve::{Served, Stop, Task};
use super::wire::{Op, reply};
use crate::source::judge::Access;

/// A copy takes a thread as long as it lasts; the caller asks again for what is left.
const COPY_BYTES_MAX: u64 = 128 << 20;

impl Connection {
    /// FALLOCATE.
    pub(super) fn fallocate(&self, task: &mut Task<'_>) -> Served {
        let Op::Fallocate {
            offset,
            length,
            mode,
            ..
        } = task.request.op
        else {
            return Err(Stop::Errno(libc::EINVAL));
        };
        let node = self.node(task.request.node)?;
        let file = self.target(&node)?;
        let fd = file.as_fd();
        let (_steady, ()) = self.settle(&node, |state| {
            match Self::guarded(&node, state, || Self::size_of(fd))? {
                Some(file) => self.ask_to_write(task, &file, offset, length),
                None => Ok(()),
            }
        })?;
        let signed = |value: u64| i64::try_from(value).map_err(|_| Stop::Errno(libc::EFBIG));
        let mode = FallocateFlags::from_bits_retain(mode as i32);
        {
            let _caller = caller(task, false)?;
            nix::fcntl::fallocate(fd, mode, signed(offset)?, signed(length)?)?;
        }
        self.changed(&node, fd)?;
        Ok(Vec::new())
    }

    /// FSYNC.
    pub(super) fn fsync(&self, task: &Task<'_>, data_only: bool) -> Served {
        let node = self.node(task.request.node)?;
        let file = self.readable(&node)?;
        match data_only {
            true => nix::unistd::fdatasync(file.as_fd())?,
            false => nix::unistd::fsync(file.as_fd())?,
        }
        Ok(Vec::new())
    }

    /// LSEEK: only SEEK_DATA and SEEK_HOLE come here. What is guarded for reading counts as data, whether its
    /// blocks are there or not: who copies a file by its data must not leave out what would be recalled.
    pub(super) fn lseek(&self, task: &Task<'_>, offset: u64, whence: u32) -> Served {
        let node = self.node(task.request.node)?;
        let _steady = self.io(&node)?;
        let file = self.readable(&node)?;
        let state = self.under_list(&self.state_of(&node)?);
        let size = Self::size_of(file.as_fd())?;
        let found = super::seek::seek(&state, size, offset, whence, &|from, whence| {
            let from = i64::try_from(from).map_err(|_| Errno::ENXIO)?;
            nix::unistd::lseek(file.as_fd(), from, whence).map(|at| at as u64)
        })?;
        Ok(reply::sought(found))
    }

    /// COPY_FILE_RANGE: reads one file and writes another, or another part of the same.
    pub(super) fn copy_range(&self, task: &mut Task<'_>) -> Served {
        let Op::CopyFileRange {
            off_in,
            node_out,
            off_out,
            length,
            wide,
            ..
        } = task.request.op
        else {
            return Err(Stop::Errno(libc::EINVAL));
        };
        let (from, to) = (self.node(task.request.node)?, self.node(node_out)?);
        let (source, target) = (self.backing(&from)?, self.backing(&to)?);
        let (fd_in, fd_out) = (source.as_fd(), target.as_fd());
        let (_in, ()) = self.settle(&from, |state| {
            match Self::guarded(&from, state, || Self::size_of(fd_in))? {
                Some(file) => self.ask_to_copy(task, &file, Access::Read, off_in, length),
                None => Ok(()),
            }
        })?;
        let (_out, ()) = self.settle(&to, |state| {
            match Self::guarded(&to, state, || Self::size_of(fd_out))? {
                Some(file) => self.ask_to_copy(task, &file, Access::Write, off_out, length),
                None => Ok(()),
            }
        })?;
        let copied = {
            let _caller = caller(task, false)?;
            copy(fd_in, off_in, fd_out, off_out, length)?
        };
        self.changed(&to, fd_out)?;
        Ok(match wide {
            true => reply::copied(copied as u64),
            // The kernel asks for no more than fits.
            false => reply::written(copied as u32),
        })
    }
}

fn copy(
    fd_in: BorrowedFd<'_>,
    off_in: u64,
    fd_out: BorrowedFd<'_>,
    off_out: u64,
    length: u64,
) -> Result<usize, Stop> {
    let offset = |value: u64| i64::try_from(value).map_err(|_| Stop::Errno(libc::EINVAL));
    let (mut from, mut to) = (offset(off_in)?, offset(off_out)?);
    let length = length.min(COPY_BYTES_MAX) as usize;
    Ok(nix::fcntl::copy_file_range(
        fd_in,
        Some(&mut from),
        fd_out,
        Some(&mut to),
        length,
    )?)
}

//! What both sources do when a file is punched: the test that nobody uses it, and the punch.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::fs::{Mount, handle, hole, state};
use crate::model::DmError;
use crate::sys::lease::Lease;

/// A file that was just closed may still be on its way out of another processor's hands, and an event of
/// it that is about to be allowed counts as an opener: the lease is tried a few times.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    /// At most.
    pub count: u32,
    /// Between two.
    pub pause: Duration,
}

/// Nobody but `fd` has the file open or mapped, else `Busy`. `before` runs before each try, `under` while the lease is
/// held.
pub fn test_unused(
    fd: BorrowedFd<'_>,
    tries: Tries,
    before: impl Fn(),
    under: impl Fn(),
) -> Result<(), DmError> {
    for tried in 1.. {
        before();
        match Lease::take(fd) {
            Ok(lease) => {
                under();
                drop(lease);
                return Ok(());
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.into()),
            Err(_) if tried >= tries.count => return Err(DmError::Busy),
            Err(_) => std::thread::sleep(tries.pause),
        }
    }
    Err(DmError::Busy)
}

/// Makes the file a stub and frees the range. Nobody uses it.
pub fn punch_unused(
    mount: &Mount,
    fd: BorrowedFd<'_>,
    offset: u64,
    length: u64,
    to_end: bool,
) -> Result<(), DmError> {
    make_stub(mount, fd, offset, to_end)?;
    hole::punch(fd, mount.kind, mount.block_bytes, offset, length)
}

fn make_stub(mount: &Mount, fd: BorrowedFd<'_>, offset: u64, to_end: bool) -> Result<(), DmError> {
    state::update(fd, |state| {
        state.changes = state.changes.wrapping_add(1).max(1);
        if to_end {
            let from = state
                .punched_from
                .map_or(offset, |before| before.min(offset));
            state.punched_from = Some(from);
        }
    })?;
    // Before the first byte is freed: after a power failure the file must not look resident.
    handle::sync(mount, fd)
}

/// Leased by a user (EAGAIN) or being executed (ETXTBSY): in use.
pub fn in_use(error: DmError) -> DmError {
    match error {
        DmError::Again | DmError::Os(libc::ETXTBSY) => DmError::Busy,
        other => other,
    }
}

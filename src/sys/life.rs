//! A pipe that nobody writes to: who has its writing end lives, and who has another end sees when nobody does any more.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// A new one: the writing end.
pub fn make() -> io::Result<OwnedFd> {
    let (_, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok(writer)
}

/// A descriptor for poll(2): POLLHUP when the last copy of the writing end is closed.
pub fn watch(writer: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // The kernel opens the pipe itself; an end of it that exists already need not be handed around.
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    Ok(File::open(path)?.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn has_hung_up(fd: BorrowedFd<'_>, limit: PollTimeout) -> bool {
        let mut fds = [PollFd::new(fd, PollFlags::empty())];
        poll(&mut fds, limit).expect("poll") == 1
    }

    #[test]
    fn the_end_of_the_last_copy_is_seen() {
        let life = make().expect("a pipe");
        let watch = watch(life.as_fd()).expect("opened");
        let copy = life.try_clone().expect("copied");
        drop(life);
        assert!(!has_hung_up(watch.as_fd(), PollTimeout::ZERO));
        drop(copy);
        assert!(has_hung_up(watch.as_fd(), PollTimeout::MAX));
    }
}

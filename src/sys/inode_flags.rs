//! Flags of inodes that chattr(1) and xfs_io(8) show: immutable, append only, project id ...

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `FS_IOC_GETFLAGS`: a u32.
pub const GET_FLAGS: u32 = 0x8008_6601;
/// `FS_IOC_SETFLAGS`: a u32.
pub const SET_FLAGS: u32 = 0x4008_6602;
/// `FS_IOC_FSGETXATTR`: `struct fsxattr`.
pub const GET_XATTR: u32 = 0x801c_581f;
/// `FS_IOC_FSSETXATTR`: `struct fsxattr`.
pub const SET_XATTR: u32 = 0x401c_5820;

/// Bytes of the longest argument, with room to spare.
const ROOM: usize = 64;

/// How many bytes the command takes and gives; `None`: it is none of the four.
pub fn bytes_of(command: u32) -> Option<usize> {
    match command {
        GET_FLAGS | SET_FLAGS => Some(size_of::<u32>()),
        GET_XATTR | SET_XATTR => Some(28),
        _ => None,
    }
}

/// Carries one of the four commands out on an open file or directory (not O_PATH). What the kernel gives is
/// returned; of a command that sets it is what was set.
pub fn carry_out(fd: BorrowedFd<'_>, command: u32, argument: &[u8]) -> io::Result<Vec<u8>> {
    let Some(bytes) = bytes_of(command) else {
        return Err(io::Error::from_raw_os_error(libc::ENOTTY));
    };
    let mut room = [0u8; ROOM];
    let given = argument.len().min(bytes);
    room[..given].copy_from_slice(&argument[..given]);
    // SAFETY: each of the four commands reads and writes at most 28 bytes, and there is room for more.
    let result = unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            libc::c_ulong::from(command),
            room.as_mut_ptr(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(room[..bytes].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn other_commands_are_refused() {
        let dir = std::fs::File::open("/").expect("the root");
        let refused = carry_out(dir.as_fd(), 0x5401, &[]).expect_err("TCGETS");
        assert_eq!(refused.raw_os_error(), Some(libc::ENOTTY));
    }
}

//! What a file system tells about itself.

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// `struct fsuuid2`.
#[repr(C)]
struct FsUuid {
    bytes: u8,
    uuid: [u8; 16],
}

const FS_IOC_GETFSUUID: libc::c_ulong = nix::request_code_read!(0x15, 0, size_of::<FsUuid>());

/// The UUID of the file system (kernel 6.9 and newer). O_PATH does not do.
pub fn uuid(dir: BorrowedFd<'_>) -> io::Result<[u8; 16]> {
    let mut answer = FsUuid {
        bytes: 0,
        uuid: [0; 16],
    };
    // SAFETY: the kernel fills a struct fsuuid2, whose layout `answer` has.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_GETFSUUID, &raw mut answer) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if answer.bytes != 16 {
        return Err(io::Error::from_raw_os_error(libc::ENOTTY));
    }
    Ok(answer.uuid)
}

/// statfs(2): `f_type`, `f_bsize`, `f_files`, `f_fsid`.
#[derive(Clone, Copy, Debug)]
pub struct StatFs {
    /// The magic number of its kind.
    pub magic: u64,
    /// Block size.
    pub block_bytes: u64,
    /// Inodes, free ones too.
    pub inodes: u64,
    /// What the kernel calls it; 0 if it calls it nothing. xfs makes it of the device's number.
    pub fsid: [u8; 8],
}

/// statfs(2) of an open directory.
pub fn statfs(dir: BorrowedFd<'_>) -> io::Result<StatFs> {
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the kernel fills a struct statfs.
    let result = unsafe { libc::fstatfs(dir.as_raw_fd(), answer.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel filled it.
    let answer = unsafe { answer.assume_init() };
    Ok(StatFs {
        magic: answer.f_type as u64,
        block_bytes: answer.f_bsize as u64,
        inodes: answer.f_files,
        // SAFETY: fsid_t is two 32-bit integers.
        fsid: unsafe { std::mem::transmute::<libc::fsid_t, [u8; 8]>(answer.f_fsid) },
    })
}

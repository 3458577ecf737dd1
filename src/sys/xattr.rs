//! Extended attributes of any open object. An O_PATH descriptor (symbolic links, special files) is reached
//! through /proc/self/fd, which names the object itself.

use std::ffi::CStr;
use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

/// `XATTR_SIZE_MAX` and `XATTR_LIST_MAX`: no value and no list is longer.
pub const BYTES_MAX: usize = 65536;
const FIRST_TRY_BYTES: usize = 1024;

fn proc_path(fd: BorrowedFd<'_>) -> CString {
    // The text has no NUL, so this cannot fail; an empty path would give ENOENT.
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

fn checked(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn is_o_path(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADF)
}

fn get_into(fd: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> io::Result<usize> {
    let (room, bytes) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: `room` is `bytes` long and the name ends with NUL.
    let result = unsafe { libc::fgetxattr(fd.as_raw_fd(), name.as_ptr(), room, bytes) };
    match checked(result) {
        Err(error) if is_o_path(&error) => {
            let path = proc_path(fd);
            // SAFETY: as above; the path ends with NUL.
            checked(unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), room, bytes) })
        }
        other => other,
    }
}

fn list_into(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (room, bytes) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: `room` is `bytes` long.
    match checked(unsafe { libc::flistxattr(fd.as_raw_fd(), room, bytes) }) {
        Err(error) if is_o_path(&error) => {
            let path = proc_path(fd);
            // SAFETY: `room` is `bytes` long; the path ends with NUL.
            checked(unsafe { libc::listxattr(path.as_ptr(), room, bytes) })
        }
        other => other,
    }
}

fn read_all(mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut small = [0; FIRST_TRY_BYTES];
    match read(&mut small) {
        Ok(bytes) => return Ok(small[..bytes].to_vec()),
        Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {}
        Err(error) => return Err(error),
    }
    let mut large = vec![0; BYTES_MAX];
    let bytes = read(&mut large)?;
    large.truncate(bytes);
    Ok(large)
}

/// The value of an attribute; `None` if the object has no such one.
pub fn get(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    match read_all(|buffer| get_into(fd, name, buffer)) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets or replaces an attribute.
pub fn set(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    set_with(fd, name, value, 0)
}

/// The same with the flags of setxattr(2): `XATTR_CREATE`, `XATTR_REPLACE`.
pub fn set_with(fd: BorrowedFd<'_>, name: &CStr, value: &[u8], flags: u32) -> io::Result<()> {
    let (data, bytes) = (value.as_ptr().cast(), value.len());
    let flags = flags.cast_signed();
    // SAFETY: `data` is `bytes` long and the name ends with NUL.
    let result = unsafe { libc::fsetxattr(fd.as_raw_fd(), name.as_ptr(), data, bytes, flags) };
    match checked(result as isize) {
        Err(error) if is_o_path(&error) => {
            let path = proc_path(fd);
            // SAFETY: as above; the path ends with NUL.
            let result =
                unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), data, bytes, flags) };
            checked(result as isize).map(drop)
        }
        other => other.map(drop),
    }
}

/// Removes an attribute; `false` if the object had no such one.
pub fn remove(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    // SAFETY: the name ends with NUL.
    let result = unsafe { libc::fremovexattr(fd.as_raw_fd(), name.as_ptr()) };
    let result = match checked(result as isize) {
        Err(error) if is_o_path(&error) => {
            let path = proc_path(fd);
            // SAFETY: both texts end with NUL.
            checked(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) } as isize)
        }
        other => other,
    };
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENODATA) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Names of all attributes, each ended by NUL.
pub fn list(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    read_all(|buffer| list_into(fd, buffer))
}

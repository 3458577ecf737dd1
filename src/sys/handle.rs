//! name_to_handle_at(2) and open_by_handle_at(2).

use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::os::fd::FromRawFd;
use std::os::fd::OwnedFd;

/// `MAX_HANDLE_SZ` of the kernel.
pub const BYTES_MAX: usize = 128;

/// `struct file_handle` with room for the longest handle.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawHandle {
    bytes: u32,
    kind: i32,
    data: [u8; BYTES_MAX],
}

/// What the kernel calls an object: a type and bytes that only the file system understands.
#[derive(Clone, Copy)]
pub struct KernelHandle {
    raw: RawHandle,
}

impl KernelHandle {
    /// A handle of that type and those bytes; `None` if they are too long.
    pub fn new(kind: i32, bytes: &[u8]) -> Option<Self> {
        let mut data = [0; BYTES_MAX];
        data.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let bytes = u32::try_from(bytes.len()).ok()?;
        Some(Self {
            raw: RawHandle { bytes, kind, data },
        })
    }

    /// Its type.
    pub fn kind(&self) -> i32 {
        self.raw.kind
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.raw.data[..(self.raw.bytes as usize).min(BYTES_MAX)]
    }
}

/// The kernel's handle of an open object; O_PATH will do.
pub fn name_to_handle(fd: BorrowedFd<'_>) -> io::Result<KernelHandle> {
    let mut raw = RawHandle {
        bytes: BYTES_MAX as u32,
        kind: 0,
        data: [0; BYTES_MAX],
    };
    let mut mount_id: libc::c_int = 0;
    // SAFETY: `raw` has the layout of struct file_handle and the room that its first field tells.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            fd.as_raw_fd(),
            c"".as_ptr(),
            &raw mut raw,
            &raw mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(KernelHandle { raw })
}

/// Opens the object of a handle on the mount that `mount` (not O_PATH) lies in.
pub fn open_by_handle(
    mount: BorrowedFd<'_>,
    handle: &KernelHandle,
    flags: libc::c_int,
) -> io::Result<OwnedFd> {
    let mut raw = handle.raw;
    // SAFETY: `raw` has the layout of struct file_handle; the kernel reads it during the call only.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_open_by_handle_at,
            mount.as_raw_fd(),
            &raw mut raw,
            flags | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

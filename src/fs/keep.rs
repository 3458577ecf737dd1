//! What the kernel takes from a file when it is written, punched or cut, and what must come back.

use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::FchmodatFlags;
use nix::sys::stat::Mode;
use nix::sys::stat::fchmodat;
use nix::sys::stat::fstat;
use nix::sys::stat::futimens;
use nix::sys::time::TimeSpec;

use crate::fs::FsKind;
use crate::fs::error::dm;
use crate::model::DmError;
use crate::sys::xattr;

/// Every write removes it, so a recall would disable an executable that has capabilities.
const CAPABILITY: &std::ffi::CStr = c"security.capability";

const SET_ID: Mode = Mode::S_ISUID.union(Mode::S_ISGID);

/// What [`Kept::put_back`] puts back. `invisible::write_at` does it itself; who writes straight from
/// somebody's memory does it around each write.
#[derive(Debug)]
pub struct Kept {
    mtime: Option<TimeSpec>,
    /// The mode, if it has bits that a write may clear: where we are root of a user namespace only it does.
    mode: Option<Mode>,
    capability: Option<Vec<u8>>,
}

impl Kept {
    /// Looks before the change. On xfs the descriptors of `Mount::open` move no times, but ftruncate(2) does.
    pub(super) fn look(fd: BorrowedFd<'_>, times_move: bool) -> Result<Self, DmError> {
        let stat = fstat(fd).map_err(dm)?;
        let mode = Mode::from_bits_truncate(stat.st_mode);
        Ok(Self {
            mtime: times_move.then(|| TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec)),
            mode: mode.intersects(SET_ID).then_some(mode),
            capability: match xattr::get(fd, CAPABILITY) {
                // A kind without xattrs.
                Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => None,
                found => found?,
            },
        })
    }

    /// Looks before a write or punch on a descriptor of `Mount::open`.
    pub fn of(fd: BorrowedFd<'_>, kind: FsKind) -> Result<Self, DmError> {
        Self::look(fd, kind != FsKind::Xfs)
    }

    /// Puts back what was there.
    pub fn put_back(self, fd: BorrowedFd<'_>) -> Result<(), DmError> {
        if let Some(mode) = self.mode {
            let now = Mode::from_bits_truncate(fstat(fd).map_err(dm)?.st_mode);
            if now & SET_ID != mode & SET_ID {
                // Any descriptor will do, by its name.
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)
                    .map_err(dm)?;
            }
        }
        if let Some(capability) = &self.capability {
            xattr::set(fd, CAPABILITY, capability)?;
        }
        if let Some(mtime) = self.mtime {
            futimens(fd, &TimeSpec::UTIME_OMIT, &mtime).map_err(dm)?;
        }
        Ok(())
    }
}

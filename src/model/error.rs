//! What a call may fail with. Each variant is one errno of the standard's lists.

use serde::{Deserialize, Serialize};

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DmError {
    /// `EPERM`: privilege is missing, or a right to upgrade or downgrade is not held.
    NotPermitted,
    /// `ENOENT`: no such attribute, name or token.
    NotFound,
    /// `ESRCH`: the token was answered.
    TokenGone,
    /// `EINTR`: a signal arrived while the call waited.
    Interrupted,
    /// `EIO`.
    Io,
    /// `ENXIO`: the path or descriptor is on no managed file system.
    NotManaged,
    /// `E2BIG`: the caller's room is too small, or its data too long.
    TooBig {
        /// What would be enough (bytes or elements, as the call says), where the standard stores it.
        need: Option<u64>,
    },
    /// `EBADF`: the handle names nothing, or nothing that may be named here.
    BadHandle,
    /// `EAGAIN`.
    Again,
    /// `ENOMEM`.
    NoMemory,
    /// `EACCES`: the token holds no right, or too low a one.
    NoRight,
    /// `EFAULT`.
    BadAddress,
    /// `EBUSY`.
    Busy,
    /// `EEXIST`.
    Exists,
    /// `EINVAL`.
    Invalid,
    /// `EFBIG`.
    FileTooBig,
    /// `ENOSPC`.
    NoSpace,
    /// `ENOSYS`.
    NotImplemented,
    /// `EINVAL`, in the SGI dialect `EOPNOTSUPP`: the call does not work on objects of this kind.
    WrongKind,
    /// `ENOTCONN`: no daemon serves this node.
    NoService,
    /// `EOPNOTSUPP`.
    NotSupported,
    /// Any other errno, passed through from the kernel.
    Os(i32),
}

impl DmError {
    /// A size that was too small, with what is needed.
    pub fn need(amount: usize) -> Self {
        Self::TooBig {
            need: Some(amount as u64),
        }
    }

    /// The errno that a C caller sees.
    pub fn errno(self) -> i32 {
        match self {
            Self::NotPermitted => 1,
            Self::NotFound => 2,
            Self::TokenGone => 3,
            Self::Interrupted => 4,
            Self::Io => 5,
            Self::NotManaged => 6,
            Self::TooBig { .. } => 7,
            Self::BadHandle => 9,
            Self::Again => 11,
            Self::NoMemory => 12,
            Self::NoRight => 13,
            Self::BadAddress => 14,
            Self::Busy => 16,
            Self::Exists => 17,
            Self::Invalid | Self::WrongKind => 22,
            Self::FileTooBig => 27,
            Self::NoSpace => 28,
            Self::NotImplemented => 38,
            Self::NotSupported => 95,
            Self::NoService => 107,
            Self::Os(errno) => errno,
        }
    }

    /// The variant of an errno of the kernel.
    pub fn from_errno(errno: i32) -> Self {
        match errno {
            1 => Self::NotPermitted,
            2 => Self::NotFound,
            3 => Self::TokenGone,
            4 => Self::Interrupted,
            5 => Self::Io,
            6 => Self::NotManaged,
            7 => Self::TooBig { need: None },
            9 => Self::BadHandle,
            11 => Self::Again,
            12 => Self::NoMemory,
            13 => Self::NoRight,
            14 => Self::BadAddress,
            16 => Self::Busy,
            17 => Self::Exists,
            22 => Self::Invalid,
            27 => Self::FileTooBig,
            28 => Self::NoSpace,
            38 => Self::NotImplemented,
            95 => Self::NotSupported,
            107 => Self::NoService,
            other => Self::Os(other),
        }
    }
}

impl std::fmt::Display for DmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooBig { need: Some(need) } => write!(f, "too small, {need} needed"),
            other => write!(f, "{}", std::io::Error::from_raw_os_error(other.errno())),
        }
    }
}

impl std::error::Error for DmError {}

impl From<std::io::Error> for DmError {
    fn from(error: std::io::Error) -> Self {
        Self::from_errno(error.raw_os_error().unwrap_or(5))
    }
}

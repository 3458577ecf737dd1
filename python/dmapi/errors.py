"""One exception for each errno of the standard; all are `DmapiError` and `OSError`."""

from __future__ import annotations

import errno
import os
from typing import Dict, Optional, Type


class DmapiError(OSError):
    """A DMAPI call failed. `errno` says why, `function` where."""

    function: Optional[str] = None


class NotPermitted(DmapiError, PermissionError):
    """EPERM: privilege is missing, or no right is held that could be changed."""


class NoRight(DmapiError, PermissionError):
    """EACCES: the token holds no right on the object, or too low a one."""


class NotFound(DmapiError, FileNotFoundError):
    """ENOENT: no such path, attribute or token."""


class TokenGone(DmapiError, ProcessLookupError):
    """ESRCH: the event was answered."""


class Interrupted(DmapiError, InterruptedError):
    """EINTR: a signal ended the wait for the answer to a message. (Other calls go on by themselves.)"""


class NotManaged(DmapiError):
    """ENXIO: the path is on no managed file system."""


class TooBig(DmapiError):
    """E2BIG: the data is too long. (Room for results is found by the package itself.)"""


class BadHandle(DmapiError):
    """EBADF: the handle names nothing, or nothing that may be named here."""


class WouldBlock(DmapiError, BlockingIOError):
    """EAGAIN: no event is queued, the right is taken, or the range is not exact."""


class BadAddress(DmapiError):
    """EFAULT."""


class Busy(DmapiError):
    """EBUSY: the session has events, or the file is mapped."""


class Exists(DmapiError, FileExistsError):
    """EEXIST."""


class Invalid(DmapiError, ValueError):
    """EINVAL: the session, token or another argument is unknown or does not fit."""


class NoSpace(DmapiError):
    """ENOSPC."""


class NotImplementedHere(DmapiError, NotImplementedError):
    """ENOSYS: an optional function that this implementation does not have."""


class NoService(DmapiError, ConnectionError):
    """ENOTCONN: no daemon serves this node."""


_CLASSES: Dict[int, Type[DmapiError]] = {
    errno.EPERM: NotPermitted,
    errno.EACCES: NoRight,
    errno.ENOENT: NotFound,
    errno.ESRCH: TokenGone,
    errno.EINTR: Interrupted,
    errno.ENXIO: NotManaged,
    errno.E2BIG: TooBig,
    errno.EBADF: BadHandle,
    errno.EAGAIN: WouldBlock,
    errno.EFAULT: BadAddress,
    errno.EBUSY: Busy,
    errno.EEXIST: Exists,
    errno.EINVAL: Invalid,
    errno.ENOSPC: NoSpace,
    errno.ENOSYS: NotImplementedHere,
    errno.ENOTCONN: NoService,
}


def error_of(number: int, function: str) -> DmapiError:
    """The exception for an errno of a function."""
    kind = _CLASSES.get(number, DmapiError)
    error = kind(number, f"{function}: {os.strerror(number)}")
    error.function = function
    return error

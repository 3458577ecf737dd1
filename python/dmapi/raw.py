"""The C interface as it is: every structure, constant and function of <dmapi.h>.

Names are those of the standard. `call("dm_...", ...)` raises the exception of the errno (see `errors`). The
library is loaded with the first call, so that importing the package needs neither daemon nor library.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import (
    POINTER,
    Structure,
    Union,
    c_char_p,
    c_int,
    c_int64,
    c_long,
    c_size_t,
    c_ubyte,
    c_uint,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

from .errors import error_of

# ---- constants ----

DM_NO_SESSION = 0
DM_NO_TOKEN = -1
DM_INVALID_TOKEN = 0
DM_GLOBAL_HLEN = 1
DM_INVALID_HLEN = 0
DM_TRUE = 1
DM_FALSE = 0
DM_SESSION_INFO_LEN = 256
DM_ATTR_NAME_SIZE = 8
DM_EV_WAIT = 1
DM_RR_WAIT = 1
DM_PCACHE_EVICT = 0x10
DM_WRITE_SYNC = 1
DM_MOUNT_RDONLY = 1
DM_UNMOUNT_FORCE = 1
DM_LOCAL_MOUNT = 4
DM_REMOTE_MOUNT = 8
DM_SNAP_ROOT = 0
DM_SNAP_INVALID = (1 << 64) - 1
DM_FSHSIZE = 8
DM_MAX_HANDLE_SIZE = 56
MAXDMFSFIDSZ = 46
DM_REGION_NOEVENT = 0
DM_REGION_READ = 1
DM_REGION_WRITE = 2
DM_REGION_TRUNCATE = 4
DM_REGION_DIRECT_READ = 8
DM_AT_MODE = 0x0001
DM_AT_UID = 0x0002
DM_AT_GID = 0x0004
DM_AT_ATIME = 0x0008
DM_AT_MTIME = 0x0010
DM_AT_CTIME = 0x0020
DM_AT_SIZE = 0x0040
DM_AT_DTIME = 0x0080
DM_AT_HANDLE = 0x0100
DM_AT_EMASK = 0x0200
DM_AT_PMANR = 0x0400
DM_AT_PATTR = 0x0800
DM_AT_STAT = 0x1000
DM_AT_CFLAG = 0x2000
DM_AT_FOPEN = 0x4000
DM_XFLAG_REALTIME = 0x1
DM_XFLAG_PREALLOC = 0x2
DM_XFLAG_IMMUTABLE = 0x8
DM_XFLAG_APPEND = 0x10
DM_XFLAG_SYNC = 0x20
DM_XFLAG_NOATIME = 0x40
DM_XFLAG_NODUMP = 0x80
DM_XFLAG_HASATTR = 0x8000_0000
DM_EXTENT_INVALID = 0
DM_EXTENT_RES = 1
DM_EXTENT_HOLE = 2
DM_MSGTYPE_INVALID = 0
DM_MSGTYPE_SYNC = 1
DM_MSGTYPE_ASYNC = 2
DM_RESP_INVALID = 0
DM_RESP_CONTINUE = 1
DM_RESP_ABORT = 2
DM_RESP_DONTCARE = 3
DM_RIGHT_NULL = 0
DM_RIGHT_SHARED = 1
DM_RIGHT_EXCL = 2
DM_CONFIG_INVALID = 0
DM_CONFIG_BULKALL = 1
DM_CONFIG_CREATE_BY_HANDLE = 2
DM_CONFIG_DTIME_OVERLOAD = 3
DM_CONFIG_LEGACY = 4
DM_CONFIG_LOCK_UPGRADE = 5
DM_CONFIG_MAX_ATTR_ON_DESTROY = 6
DM_CONFIG_MAX_ATTRIBUTE_SIZE = 7
DM_CONFIG_MAX_HANDLE_SIZE = 8
DM_CONFIG_MAX_MANAGED_REGIONS = 9
DM_CONFIG_MAX_MESSAGE_DATA = 10
DM_CONFIG_OBJ_REF = 11
DM_CONFIG_PENDING = 12
DM_CONFIG_PERS_ATTRIBUTES = 13
DM_CONFIG_PERS_EVENTS = 14
DM_CONFIG_PERS_INHERIT_ATTRIBS = 15
DM_CONFIG_PERS_MANAGED_REGIONS = 16
DM_CONFIG_PUNCH_HOLE = 17
DM_CONFIG_TOTAL_ATTRIBUTE_SPACE = 18
DM_CONFIG_WILL_RETRY = 19
DM_CONFIG_MAX = 20
DM_CONFIG_LOWEST = 1
DM_CONFIG_HIGHEST = 19
DM_EVENT_INVALID = -1
DM_EVENT_CANCEL = 0
DM_EVENT_MOUNT = 1
DM_EVENT_PREUNMOUNT = 2
DM_EVENT_UNMOUNT = 3
DM_EVENT_DEBUT = 4
DM_EVENT_CREATE = 5
DM_EVENT_CLOSE = 6
DM_EVENT_POSTCREATE = 7
DM_EVENT_REMOVE = 8
DM_EVENT_POSTREMOVE = 9
DM_EVENT_RENAME = 10
DM_EVENT_POSTRENAME = 11
DM_EVENT_LINK = 12
DM_EVENT_POSTLINK = 13
DM_EVENT_SYMLINK = 14
DM_EVENT_POSTSYMLINK = 15
DM_EVENT_READ = 16
DM_EVENT_WRITE = 17
DM_EVENT_TRUNCATE = 18
DM_EVENT_ATTRIBUTE = 19
DM_EVENT_DESTROY = 20
DM_EVENT_NOSPACE = 21
DM_EVENT_USER = 22
DM_EVENT_MAX = 23
DM_EVENT_PREPERMCHANGE = 24
DM_EVENT_POSTPERMCHANGE = 25
DM_EVENT_DIRECT_READ = 26
DM_EVENT_LOWEST = 0
DM_EVENT_HIGHEST = 22
DM_EVENT_BASE_MAX = 23
DM_EVENT_MAX_POSSIBLE = 64

# ---- structures ----

class dm_vardata(Structure):
    """Where a part of variable length lies."""

    _fields_ = [
        ("vd_offset", c_int),
        ("vd_length", c_uint),
    ]


class dm_attrname(Structure):
    """Name of a DM attribute: `DM_ATTR_NAME_SIZE` bytes, padded with NUL, without NUL where all are used."""

    _fields_ = [
        ("an_chars", c_ubyte * 8),
    ]


class dm_attrlist(Structure):
    """One attribute of `dm_getall_dmattr`."""

    _fields_ = [
        ("_link", c_int),
        ("al_name", dm_attrname),
        ("al_data", dm_vardata),
    ]


class dm_dispinfo(Structure):
    """One file system of `dm_getall_disp`."""

    _fields_ = [
        ("_link", c_int),
        ("di_pad1", c_uint),
        ("di_fshandle", dm_vardata),
        ("di_eventset", c_uint64),
    ]


class dm_eventmsg(Structure):
    """The head of each message of `dm_get_events`."""

    _fields_ = [
        ("_link", c_int),
        ("ev_type", c_int),
        ("ev_token", c_int),
        ("ev_sequence", c_uint32),
        ("ev_data", dm_vardata),
        ("ev_nodeid", c_uint32),
        ("ev_pad1", c_uint),
    ]


class dm_cancel_event(Structure):
    """Body of CANCEL."""

    _fields_ = [
        ("ce_sequence", c_uint32),
        ("ce_token", c_int),
    ]


class dm_data_event(Structure):
    """Body of READ, WRITE and TRUNCATE."""

    _fields_ = [
        ("de_handle", dm_vardata),
        ("de_offset", c_int64),
        ("de_length", c_uint64),
    ]


class dm_destroy_event(Structure):
    """Body of DESTROY."""

    _fields_ = [
        ("ds_handle", dm_vardata),
        ("ds_attrname", dm_attrname),
        ("ds_attrcopy", dm_vardata),
    ]


class dm_mount_event(Structure):
    """Body of MOUNT, and what `dm_get_mountinfo` gives."""

    _fields_ = [
        ("me_mode", c_int),
        ("me_handle1", dm_vardata),
        ("me_handle2", dm_vardata),
        ("me_name1", dm_vardata),
        ("me_name2", dm_vardata),
        ("me_roothandle", dm_vardata),
    ]


class dm_namesp_event(Structure):
    """Body of the namespace and administration events."""

    _fields_ = [
        ("ne_mode", c_int),
        ("ne_handle1", dm_vardata),
        ("ne_handle2", dm_vardata),
        ("ne_name1", dm_vardata),
        ("ne_name2", dm_vardata),
        ("ne_retcode", c_int),
    ]


class dm_extent(Structure):
    """A stretch of a file, allocated or hole."""

    _fields_ = [
        ("ex_type", c_int),
        ("ex_pad1", c_uint),
        ("ex_offset", c_int64),
        ("ex_length", c_uint64),
    ]


class dm_region(Structure):
    """A managed region."""

    _fields_ = [
        ("rg_offset", c_int64),
        ("rg_size", c_uint64),
        ("rg_flags", c_uint),
        ("rg_opaque", c_uint),
    ]


class dm_fileattr(Structure):
    """What `dm_set_fileattr` sets. Times are seconds since the Epoch."""

    _fields_ = [
        ("fa_mode", c_int),
        ("fa_uid", c_uint32),
        ("fa_gid", c_uint32),
        ("fa_atime", c_long),
        ("fa_mtime", c_long),
        ("fa_ctime", c_long),
        ("fa_dtime", c_long),
        ("fa_pad1", c_int64),
        ("fa_size", c_int64),
    ]


class dm_timestruct(Structure):
    """A span of time."""

    _fields_ = [
        ("dm_tv_sec", c_long),
        ("dm_tv_nsec", c_int),
    ]


class dm_inherit(Structure):
    """An inheritable attribute of a file system."""

    _fields_ = [
        ("ih_name", dm_attrname),
        ("ih_filetype", c_uint32),
    ]


class dm_dioinfo(Structure):
    """Direct-I/O geometry of a file, in bytes."""

    _fields_ = [
        ("d_mem", c_uint32),
        ("d_miniosz", c_uint32),
        ("d_maxiosz", c_uint32),
        ("d_dio_only", c_uint32),
    ]


class dm_xfs_stat(Structure):
    """What only XFS tells of a file."""

    _fields_ = [
        ("igen", c_uint32),
        ("xflags", c_uint32),
        ("extsize", c_uint32),
        ("extents", c_uint32),
        ("aextents", c_uint16),
        ("dmstate", c_uint16),
    ]


class dm_fsys_dep(Union):
    """What depends on the file system; reached by the macros `dt_xfs_igen` and so on."""

    _fields_ = [
        ("sgi_xfs", dm_xfs_stat),
    ]


class dm_stat(Structure):
    """Attributes of an object."""

    _fields_ = [
        ("_link", c_int),
        ("dt_handle", dm_vardata),
        ("dt_compname", dm_vardata),
        ("dt_nevents", c_uint),
        ("dt_emask", c_uint64),
        ("dt_pers", c_int),
        ("dt_pmanreg", c_int),
        ("dt_dtime", c_long),
        ("dt_change", c_uint),
        ("dt_pad1", c_uint),
        ("dt_dev", c_int64),
        ("dt_ino", c_uint64),
        ("dt_mode", c_int),
        ("dt_nlink", c_int),
        ("dt_uid", c_uint32),
        ("dt_gid", c_uint32),
        ("dt_rdev", c_int64),
        ("dt_poolid", c_uint),
        ("dt_fopen", c_uint),
        ("dt_size", c_int64),
        ("dt_atime", c_long),
        ("dt_mtime", c_long),
        ("dt_ctime", c_long),
        ("dt_blksize", c_uint),
        ("dt_pad2", c_uint),
        ("dt_blocks", c_uint64),
        ("dt_gpfsqa1", c_uint),
        ("dt_gpfsqa2", c_uint),
        ("dt_fstype", c_int),
        ("fsys_dep", dm_fsys_dep),
    ]


class dm_xstat(Structure):
    """A `dm_stat_t` with one attribute. (In the header `_link` is also a member of its own, at the same place.)"""

    _fields_ = [
        ("dx_statinfo", dm_stat),
        ("dx_attrdata", dm_vardata),
    ]


class dm_fid(Structure):
    """The part of an object's handle behind the file system's id."""

    _fields_ = [
        ("dm_fid_len", c_uint16),
        ("dm_fid_pad", c_uint16),
        ("dm_fid_gen", c_uint32),
        ("dm_fid_ino", c_uint64),
    ]


class dm_handle(Structure):
    """The bytes of an object's handle; that of a file system has `ha_fsid` only. Better not looked into."""

    _fields_ = [
        ("ha_fsid", c_uint64),
        ("ha_fid", dm_fid),
    ]


# ---- functions ----

PROTOTYPES: Dict[str, Tuple[Any, Tuple[Any, ...]]] = {
    "dm_get_fileattr": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(dm_stat))),
    "dm_set_fileattr": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(dm_fileattr))),
    "dm_init_attrloc": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(c_int64))),
    "dm_get_dirattrs": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(c_int64), c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_get_bulkattr": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(c_int64), c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_get_bulkall": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(dm_attrname), POINTER(c_int64), c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_init_service": (c_int, (POINTER(c_char_p),)),
    "dm_get_config": (c_int, (c_void_p, c_size_t, c_int, POINTER(c_uint64))),
    "dm_get_config_events": (c_int, (c_void_p, c_size_t, c_uint, POINTER(c_uint64), POINTER(c_uint))),
    "dm_get_dioinfo": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(dm_dioinfo))),
    "dm_set_dmattr": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(dm_attrname), c_int, c_size_t, c_void_p)),
    "dm_set_dmattr_nosync": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(dm_attrname), c_int, c_size_t, c_void_p)),
    "dm_get_dmattr": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(dm_attrname), c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_remove_dmattr": (c_int, (c_int, c_void_p, c_size_t, c_int, c_int, POINTER(dm_attrname))),
    "dm_remove_dmattr_nosync": (c_int, (c_int, c_void_p, c_size_t, c_int, c_int, POINTER(dm_attrname))),
    "dm_getall_dmattr": (c_int, (c_int, c_void_p, c_size_t, c_int, c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_set_inherit": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(dm_attrname), c_uint)),
    "dm_clear_inherit": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(dm_attrname))),
    "dm_getall_inherit": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(dm_inherit), POINTER(c_uint))),
    "dm_get_events": (c_int, (c_int, c_uint, c_uint, c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_respond_event": (c_int, (c_int, c_int, c_int, c_int, c_size_t, c_void_p)),
    "dm_pending": (c_int, (c_int, c_int, POINTER(dm_timestruct))),
    "dm_find_eventmsg": (c_int, (c_int, c_int, c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_send_msg": (c_int, (c_int, c_int, c_size_t, c_void_p)),
    "dm_set_disp": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(c_uint64), c_uint)),
    "dm_getall_disp": (c_int, (c_int, c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_set_eventlist": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(c_uint64), c_uint)),
    "dm_set_eventlist_nosync": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(c_uint64), c_uint)),
    "dm_get_eventlist": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(c_uint64), POINTER(c_uint))),
    "dm_set_return_on_destroy": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(dm_attrname), c_uint)),
    "dm_path_to_handle": (c_int, (c_char_p, POINTER(c_void_p), POINTER(c_size_t))),
    "dm_path_to_fshandle": (c_int, (c_char_p, POINTER(c_void_p), POINTER(c_size_t))),
    "dm_fd_to_handle": (c_int, (c_int, POINTER(c_void_p), POINTER(c_size_t))),
    "dm_handle_to_fshandle": (c_int, (c_void_p, c_size_t, POINTER(c_void_p), POINTER(c_size_t))),
    "dm_handle_to_path": (c_int, (c_void_p, c_size_t, c_void_p, c_size_t, c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_handle_cmp": (c_int, (c_void_p, c_size_t, c_void_p, c_size_t)),
    "dm_handle_free": (None, (c_void_p, c_size_t)),
    "dm_handle_hash": (c_uint, (c_void_p, c_size_t)),
    "dm_handle_is_valid": (c_uint, (c_void_p, c_size_t)),
    "dm_handle_to_fsid": (c_int, (c_void_p, c_size_t, POINTER(c_uint64))),
    "dm_handle_to_ino": (c_int, (c_void_p, c_size_t, POINTER(c_uint64))),
    "dm_handle_to_igen": (c_int, (c_void_p, c_size_t, POINTER(c_uint32))),
    "dm_handle_to_snap": (c_int, (c_void_p, c_size_t, POINTER(c_uint64))),
    "dm_make_handle": (c_int, (POINTER(c_uint64), POINTER(c_uint64), POINTER(c_uint32), POINTER(c_void_p), POINTER(c_size_t))),
    "dm_make_fshandle": (c_int, (POINTER(c_uint64), POINTER(c_void_p), POINTER(c_size_t))),
    "dm_make_xhandle": (c_int, (POINTER(c_uint64), POINTER(c_uint64), POINTER(c_uint32), POINTER(c_uint64), POINTER(c_void_p), POINTER(c_size_t))),
    "dm_create_by_handle": (c_int, (c_int, c_void_p, c_size_t, c_int, c_void_p, c_size_t, c_char_p)),
    "dm_mkdir_by_handle": (c_int, (c_int, c_void_p, c_size_t, c_int, c_void_p, c_size_t, c_char_p)),
    "dm_symlink_by_handle": (c_int, (c_int, c_void_p, c_size_t, c_int, c_void_p, c_size_t, c_char_p, c_char_p)),
    "dm_sync_by_handle": (c_int, (c_int, c_void_p, c_size_t, c_int)),
    "dm_sync_dmattr_by_handle": (c_int, (c_int, c_void_p, c_size_t, c_int)),
    "dm_open_by_handle": (c_int, (c_void_p, c_size_t, c_int)),
    "dm_get_allocinfo": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(c_int64), c_uint, POINTER(dm_extent), POINTER(c_uint))),
    "dm_probe_hole": (c_int, (c_int, c_void_p, c_size_t, c_int, c_int64, c_uint64, POINTER(c_int64), POINTER(c_uint64))),
    "dm_punch_hole": (c_int, (c_int, c_void_p, c_size_t, c_int, c_int64, c_uint64)),
    "dm_get_mountinfo": (c_int, (c_int, c_void_p, c_size_t, c_int, c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_read_invis": (c_int64, (c_int, c_void_p, c_size_t, c_int, c_int64, c_uint64, c_void_p)),
    "dm_write_invis": (c_int64, (c_int, c_void_p, c_size_t, c_int, c_int, c_int64, c_uint64, c_void_p)),
    "dm_get_region": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(dm_region), POINTER(c_uint))),
    "dm_set_region": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(dm_region), POINTER(c_uint))),
    "dm_set_region_nosync": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, POINTER(dm_region), POINTER(c_uint))),
    "dm_request_right": (c_int, (c_int, c_void_p, c_size_t, c_int, c_uint, c_int)),
    "dm_release_right": (c_int, (c_int, c_void_p, c_size_t, c_int)),
    "dm_query_right": (c_int, (c_int, c_void_p, c_size_t, c_int, POINTER(c_int))),
    "dm_upgrade_right": (c_int, (c_int, c_void_p, c_size_t, c_int)),
    "dm_downgrade_right": (c_int, (c_int, c_void_p, c_size_t, c_int)),
    "dm_obj_ref_hold": (c_int, (c_int, c_int, c_void_p, c_size_t)),
    "dm_obj_ref_rele": (c_int, (c_int, c_int, c_void_p, c_size_t)),
    "dm_obj_ref_query": (c_int, (c_int, c_int, c_void_p, c_size_t)),
    "dm_create_session": (c_int, (c_int, c_char_p, POINTER(c_int))),
    "dm_destroy_session": (c_int, (c_int,)),
    "dm_getall_sessions": (c_int, (c_uint, POINTER(c_int), POINTER(c_uint))),
    "dm_query_session": (c_int, (c_int, c_size_t, c_void_p, POINTER(c_size_t))),
    "dm_move_event": (c_int, (c_int, c_int, c_int, POINTER(c_int))),
    "dm_getall_tokens": (c_int, (c_int, c_uint, POINTER(c_int), POINTER(c_uint))),
    "dm_create_userevent": (c_int, (c_int, c_size_t, c_void_p, POINTER(c_int))),
}
"""Result and arguments of every function."""


_library: Optional[ctypes.CDLL] = None


def _candidates() -> Iterator[str]:
    """Where the library may be: `DMAPI_LIBRARY`, the loader's places, a build tree around this file."""
    named = os.environ.get("DMAPI_LIBRARY")
    if named:
        yield named
        return
    yield "libdmapi.so.1"
    for parent in Path(__file__).resolve().parents:
        for profile in ("release", "debug"):
            built = parent / "target" / profile / "libdmapi.so"
            if built.exists():
                yield str(built)


def library() -> ctypes.CDLL:
    """The library, with the types of all its functions."""
    global _library
    if _library is not None:
        return _library
    failures = []
    for name in _candidates():
        try:
            loaded = ctypes.CDLL(name, use_errno=True)
        except OSError as error:
            failures.append(str(error))
            continue
        for function, (result, arguments) in PROTOTYPES.items():
            entry = getattr(loaded, function)
            entry.restype = result
            entry.argtypes = list(arguments)
        _library = loaded
        return loaded
    raise ImportError(
        "libdmapi cannot be loaded (" + "; ".join(failures) + "): install it or set DMAPI_LIBRARY to its path"
    )


def call(function: str, *arguments: Any) -> Any:
    """Calls a function; -1 raises the exception of its errno.

    EINTR: Python runs its signal handlers first; if none of them raises, the call is made again. Not so dm_send_msg,
    which also gives it when the receiver answered ABORT with EINTR.
    """
    entry = getattr(library(), function)
    while True:
        ctypes.set_errno(0)
        result = entry(*arguments)
        if result != -1 or function not in FAILING:
            return result
        errno = ctypes.get_errno()
        if errno != _EINTR or function == "dm_send_msg":
            raise error_of(errno, function)


_EINTR = 4

FAILING = frozenset(PROTOTYPES) - {
    "dm_handle_cmp",
    "dm_handle_free",
    "dm_handle_hash",
    "dm_handle_is_valid",
}
"""Functions whose -1 means an error."""

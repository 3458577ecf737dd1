"""The numbers of the standard as enumerations."""

from __future__ import annotations

import enum
from typing import FrozenSet, Iterable

from . import raw


class EventType(enum.IntEnum):
    """What an event is about."""

    CANCEL = raw.DM_EVENT_CANCEL
    MOUNT = raw.DM_EVENT_MOUNT
    PREUNMOUNT = raw.DM_EVENT_PREUNMOUNT
    UNMOUNT = raw.DM_EVENT_UNMOUNT
    DEBUT = raw.DM_EVENT_DEBUT
    CREATE = raw.DM_EVENT_CREATE
    CLOSE = raw.DM_EVENT_CLOSE
    POSTCREATE = raw.DM_EVENT_POSTCREATE
    REMOVE = raw.DM_EVENT_REMOVE
    POSTREMOVE = raw.DM_EVENT_POSTREMOVE
    RENAME = raw.DM_EVENT_RENAME
    POSTRENAME = raw.DM_EVENT_POSTRENAME
    LINK = raw.DM_EVENT_LINK
    POSTLINK = raw.DM_EVENT_POSTLINK
    SYMLINK = raw.DM_EVENT_SYMLINK
    POSTSYMLINK = raw.DM_EVENT_POSTSYMLINK
    READ = raw.DM_EVENT_READ
    WRITE = raw.DM_EVENT_WRITE
    TRUNCATE = raw.DM_EVENT_TRUNCATE
    ATTRIBUTE = raw.DM_EVENT_ATTRIBUTE
    DESTROY = raw.DM_EVENT_DESTROY
    NOSPACE = raw.DM_EVENT_NOSPACE
    USER = raw.DM_EVENT_USER
    PREPERMCHANGE = raw.DM_EVENT_PREPERMCHANGE
    POSTPERMCHANGE = raw.DM_EVENT_POSTPERMCHANGE
    DIRECT_READ = raw.DM_EVENT_DIRECT_READ


def to_mask(events: Iterable[EventType]) -> int:
    """The `dm_eventset_t` of some events."""
    mask = 0
    for event in events:
        mask |= 1 << event
    return mask


def from_mask(mask: int) -> FrozenSet[EventType]:
    """The events of a `dm_eventset_t`."""
    return frozenset(event for event in EventType if mask >> event & 1)


class Response(enum.IntEnum):
    """What an event is answered."""

    CONTINUE = raw.DM_RESP_CONTINUE
    ABORT = raw.DM_RESP_ABORT
    DONTCARE = raw.DM_RESP_DONTCARE


class Right(enum.IntEnum):
    """What a token holds on an object; ordered."""

    NULL = raw.DM_RIGHT_NULL
    SHARED = raw.DM_RIGHT_SHARED
    EXCL = raw.DM_RIGHT_EXCL


class RegionFlag(enum.IntFlag):
    """Which accesses to a managed region make events."""

    NOEVENT = raw.DM_REGION_NOEVENT
    READ = raw.DM_REGION_READ
    WRITE = raw.DM_REGION_WRITE
    TRUNCATE = raw.DM_REGION_TRUNCATE


class At(enum.IntFlag):
    """Parts of file attributes (`DM_AT_*`)."""

    MODE = raw.DM_AT_MODE
    UID = raw.DM_AT_UID
    GID = raw.DM_AT_GID
    ATIME = raw.DM_AT_ATIME
    MTIME = raw.DM_AT_MTIME
    CTIME = raw.DM_AT_CTIME
    SIZE = raw.DM_AT_SIZE
    DTIME = raw.DM_AT_DTIME
    HANDLE = raw.DM_AT_HANDLE
    EMASK = raw.DM_AT_EMASK
    PMANR = raw.DM_AT_PMANR
    PATTR = raw.DM_AT_PATTR
    STAT = raw.DM_AT_STAT
    CFLAG = raw.DM_AT_CFLAG


class Config(enum.IntEnum):
    """What `Handle.config` can be asked."""

    BULKALL = raw.DM_CONFIG_BULKALL
    CREATE_BY_HANDLE = raw.DM_CONFIG_CREATE_BY_HANDLE
    DTIME_OVERLOAD = raw.DM_CONFIG_DTIME_OVERLOAD
    LEGACY = raw.DM_CONFIG_LEGACY
    LOCK_UPGRADE = raw.DM_CONFIG_LOCK_UPGRADE
    MAX_ATTR_ON_DESTROY = raw.DM_CONFIG_MAX_ATTR_ON_DESTROY
    MAX_ATTRIBUTE_SIZE = raw.DM_CONFIG_MAX_ATTRIBUTE_SIZE
    MAX_HANDLE_SIZE = raw.DM_CONFIG_MAX_HANDLE_SIZE
    MAX_MANAGED_REGIONS = raw.DM_CONFIG_MAX_MANAGED_REGIONS
    MAX_MESSAGE_DATA = raw.DM_CONFIG_MAX_MESSAGE_DATA
    OBJ_REF = raw.DM_CONFIG_OBJ_REF
    PENDING = raw.DM_CONFIG_PENDING
    PERS_ATTRIBUTES = raw.DM_CONFIG_PERS_ATTRIBUTES
    PERS_EVENTS = raw.DM_CONFIG_PERS_EVENTS
    PERS_INHERIT_ATTRIBS = raw.DM_CONFIG_PERS_INHERIT_ATTRIBS
    PERS_MANAGED_REGIONS = raw.DM_CONFIG_PERS_MANAGED_REGIONS
    PUNCH_HOLE = raw.DM_CONFIG_PUNCH_HOLE
    TOTAL_ATTRIBUTE_SPACE = raw.DM_CONFIG_TOTAL_ATTRIBUTE_SPACE
    WILL_RETRY = raw.DM_CONFIG_WILL_RETRY

"""Work on files, directories and file systems."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from . import raw
from ._buffers import buffer, counted, elements, part, sized, text
from .enums import At, EventType, RegionFlag, from_mask, to_mask
from .errors import TooBig
from .events import MountEvent, mount_body
from .handle import Handle

Name = Union[str, bytes]


@dataclass(frozen=True)
class Region:
    """A managed region; `size` 0 is without end."""

    offset: int = 0
    size: int = 0
    flags: RegionFlag = RegionFlag.READ | RegionFlag.WRITE | RegionFlag.TRUNCATE
    opaque: int = 0


@dataclass(frozen=True)
class Extent:
    """A piece of a file: allocated, or a hole."""

    resident: bool
    offset: int
    length: int


@dataclass(frozen=True)
class Stat:
    """`dm_stat_t`. What was not asked for is 0 or None."""

    handle: Optional[Handle]
    name: str
    events: FrozenSet[EventType]
    has_attributes: bool
    has_regions: bool
    dtime: int
    change: int
    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    atime: int
    mtime: int
    ctime: int
    blksize: int
    blocks: int
    attribute: Optional[bytes] = None
    """The value that `Object.bulk` was asked for."""


ALL = At.EMASK | At.PMANR | At.PATTR | At.DTIME | At.CFLAG | At.STAT
"""All of `Object.stat`."""


def attribute_name(name: Name) -> raw.dm_attrname:
    """The C form of an attribute's name, of at most 8 bytes."""
    data = name.encode() if isinstance(name, str) else name
    if len(data) > raw.DM_ATTR_NAME_SIZE:
        raise ValueError(f"the attribute name {name!r} has more than 8 bytes")
    return raw.dm_attrname((ctypes.c_ubyte * 8)(*data))


@dataclass(frozen=True)
class Object:
    """An object, in the name of a session and perhaps a token (`Session.object` makes it)."""

    session: int
    handle: Handle
    token: int = raw.DM_NO_TOKEN

    @property
    def _c(self) -> Tuple[Any, ...]:
        return (self.session, *self.handle.c, self.token)

    # Data

    def read(self, offset: int, length: int) -> bytes:
        """Reads without events; shorter at the end of the file."""
        place = ctypes.create_string_buffer(length)
        count = raw.call("dm_read_invis", *self._c, offset, length, place)
        return place.raw[:count]

    def write(self, offset: int, data: bytes, sync: bool = False) -> int:
        """Writes all of `data` without events."""
        flags = raw.DM_WRITE_SYNC if sync else 0
        done: int = 0
        while True:
            rest = data[done:] if done else data
            done += raw.call("dm_write_invis", *self._c, flags, offset + done, len(rest), rest)
            if done >= len(data):
                return done

    def extents(self, offset: int = 0) -> Iterator[Extent]:
        """Where the file has blocks and holes."""
        place = ctypes.c_int64(offset)
        room = 64
        more = True
        while more:
            found = (raw.dm_extent * room)()
            count = ctypes.c_uint(0)
            more = bool(
                raw.call("dm_get_allocinfo", *self._c, ctypes.byref(place), room, found, ctypes.byref(count))
            )
            for one in found[: count.value]:
                yield Extent(one.ex_type == raw.DM_EXTENT_RES, one.ex_offset, one.ex_length)

    def probe_hole(self, offset: int = 0, length: int = 0) -> Tuple[int, int]:
        """Offset and length of the hole that a punch could make; length 0: to the end."""
        begin = ctypes.c_int64(0)
        size = ctypes.c_uint64(0)
        raw.call("dm_probe_hole", *self._c, offset, length, ctypes.byref(begin), ctypes.byref(size))
        return begin.value, size.value

    def punch_hole(self, offset: int = 0, length: int = 0) -> None:
        """Frees the blocks of a range; length 0: to the end."""
        raw.call("dm_punch_hole", *self._c, offset, length)

    def sync(self) -> None:
        """Makes the file durable."""
        raw.call("dm_sync_by_handle", *self._c)

    def sync_attributes(self) -> None:
        """Makes the DM attributes durable."""
        raw.call("dm_sync_dmattr_by_handle", *self._c)

    # Regions

    def regions(self) -> List[Region]:
        """The managed regions."""
        return [
            Region(one.rg_offset, one.rg_size, RegionFlag(one.rg_flags), one.rg_opaque)
            for one in counted("dm_get_region", raw.dm_region, *self._c)
        ]

    def set_regions(self, regions: Sequence[Region], sync: bool = True) -> bool:
        """Replaces the managed regions; is kept exactly what was asked?"""
        function = "dm_set_region" if sync else "dm_set_region_nosync"
        array = (raw.dm_region * max(1, len(regions)))(
            *(raw.dm_region(one.offset, one.size, int(one.flags), one.opaque) for one in regions)
        )
        exact = ctypes.c_uint(0)
        raw.call(function, *self._c, len(regions), array, ctypes.byref(exact))
        return bool(exact.value)

    # DM attributes

    def attribute(self, name: Name) -> bytes:
        """The value of a DM attribute; `NotFound` if there is none."""
        return sized("dm_get_dmattr", *self._c, ctypes.byref(attribute_name(name)))

    def set_attribute(self, name: Name, value: bytes, set_dtime: bool = False, sync: bool = True) -> None:
        """Sets or replaces a DM attribute."""
        function = "dm_set_dmattr" if sync else "dm_set_dmattr_nosync"
        name_c = ctypes.byref(attribute_name(name))
        raw.call(function, *self._c, name_c, int(set_dtime), len(value), value or None)

    def remove_attribute(self, name: Name, set_dtime: bool = False, sync: bool = True) -> None:
        """Removes a DM attribute."""
        function = "dm_remove_dmattr" if sync else "dm_remove_dmattr_nosync"
        raw.call(function, *self._c, int(set_dtime), ctypes.byref(attribute_name(name)))

    def attributes(self) -> Dict[bytes, bytes]:
        """All DM attributes."""
        data = sized("dm_getall_dmattr", *self._c)
        return {
            bytes(one.al_name.an_chars).rstrip(b"\0"): part(data, at, one.al_data)
            for at, one in elements(data, raw.dm_attrlist)
        }

    def set_inherit(self, name: Name, mode: int) -> None:
        """Of a file system: new objects of the type of `mode` get this attribute of their directory."""
        raw.call("dm_set_inherit", *self._c, ctypes.byref(attribute_name(name)), mode)

    def clear_inherit(self, name: Name) -> None:
        """Ends what `set_inherit` began."""
        raw.call("dm_clear_inherit", *self._c, ctypes.byref(attribute_name(name)))

    def inherited(self) -> List[Tuple[bytes, int]]:
        """Name and file type of what new objects inherit."""
        found = counted("dm_getall_inherit", raw.dm_inherit, *self._c)
        return [(bytes(one.ih_name.an_chars).rstrip(b"\0"), one.ih_filetype) for one in found]

    # File attributes

    def stat(self, mask: At = ALL) -> Stat:
        """The attributes of the object."""
        place = raw.dm_stat()
        raw.call("dm_get_fileattr", *self._c, int(mask), ctypes.byref(place))
        return _stat(b"", 0, place)

    def set_stat(
        self,
        *,
        mode: Optional[int] = None,
        uid: Optional[int] = None,
        gid: Optional[int] = None,
        atime: Optional[int] = None,
        mtime: Optional[int] = None,
        ctime: Optional[int] = None,
        dtime: Optional[int] = None,
        size: Optional[int] = None,
    ) -> None:
        """Sets attributes without events; what is not named stays."""
        values = {
            At.MODE: ("fa_mode", mode),
            At.UID: ("fa_uid", uid),
            At.GID: ("fa_gid", gid),
            At.ATIME: ("fa_atime", atime),
            At.MTIME: ("fa_mtime", mtime),
            At.CTIME: ("fa_ctime", ctime),
            At.DTIME: ("fa_dtime", dtime),
            At.SIZE: ("fa_size", size),
        }
        place = raw.dm_fileattr()
        mask = 0
        for bit, (member, value) in values.items():
            if value is not None:
                setattr(place, member, value)
                mask |= bit
        raw.call("dm_set_fileattr", *self._c, mask, ctypes.byref(place))

    def dioinfo(self) -> raw.dm_dioinfo:
        """How direct I/O on the file must be aligned."""
        place = raw.dm_dioinfo()
        raw.call("dm_get_dioinfo", *self._c, ctypes.byref(place))
        return place

    # Event lists

    def eventlist(self) -> FrozenSet[EventType]:
        """The events that are enabled on the object, those of its regions among them."""
        mask = ctypes.c_uint64(0)
        count = ctypes.c_uint(0)
        raw.call("dm_get_eventlist", *self._c, raw.DM_EVENT_MAX, ctypes.byref(mask), ctypes.byref(count))
        return from_mask(mask.value)

    def set_eventlist(self, events: Iterable[EventType], sync: bool = True) -> None:
        """Enables these events on the object and no others (those of regions stay)."""
        function = "dm_set_eventlist" if sync else "dm_set_eventlist_nosync"
        mask = ctypes.c_uint64(to_mask(events))
        raw.call(function, *self._c, ctypes.byref(mask), raw.DM_EVENT_MAX)

    def set_return_on_destroy(self, name: Optional[Name]) -> None:
        """DESTROY events of the file system shall bring this attribute; None: no more."""
        place = attribute_name(name or b"")
        raw.call("dm_set_return_on_destroy", *self._c, ctypes.byref(place), int(name is not None))

    # File system, directories

    def mountinfo(self) -> MountEvent:
        """What the MOUNT event of the file system said."""
        return mount_body(sized("dm_get_mountinfo", *self._c))

    def entries(self, mask: At = ALL | At.HANDLE) -> Iterator[Stat]:
        """The entries of a directory, `.` and `..` among them."""
        return self._scan("dm_get_dirattrs", (int(mask),), raw.dm_stat)

    def bulk(self, mask: At = ALL | At.HANDLE, attribute: Optional[Name] = None) -> Iterator[Stat]:
        """All objects of a file system, with the value of one DM attribute if it is named."""
        if attribute is None:
            return self._scan("dm_get_bulkattr", (int(mask),), raw.dm_stat)
        name = attribute_name(attribute)
        return self._scan("dm_get_bulkall", (int(mask), ctypes.byref(name)), raw.dm_xstat)

    def _scan(self, function: str, what: Tuple[Any, ...], kind: Any) -> Iterator[Stat]:
        location = ctypes.c_int64(0)
        raw.call("dm_init_attrloc", *self._c, ctypes.byref(location))
        room = 65536
        more = True
        while more:
            place = buffer(room)
            length = ctypes.c_size_t(0)
            try:
                more = bool(
                    raw.call(function, *self._c, *what, ctypes.byref(location), room, place, ctypes.byref(length))
                )
            except TooBig:
                if length.value <= room:
                    raise
                room = length.value
                continue
            if more and length.value == 0:
                room *= 2
                continue
            data = bytes(place)[: length.value]
            for at, one in elements(data, kind):
                yield _found(data, at, one)

    # Restore

    def create(self, handle: Handle, name: Name) -> None:
        """Creates a file with a given handle: optional in the standard, and not implemented."""
        raw.call("dm_create_by_handle", *self._c, *handle.c, _bytes(name))

    def mkdir(self, handle: Handle, name: Name) -> None:
        """See `create`."""
        raw.call("dm_mkdir_by_handle", *self._c, *handle.c, _bytes(name))

    def symlink(self, handle: Handle, name: Name, target: Name) -> None:
        """See `create`."""
        raw.call("dm_symlink_by_handle", *self._c, *handle.c, _bytes(name), _bytes(target))


def _bytes(name: Name) -> bytes:
    return name.encode() if isinstance(name, str) else name


def _found(data: bytes, at: int, one: Any) -> Stat:
    if isinstance(one, raw.dm_xstat):
        value = part(data, at, one.dx_attrdata) if one.dx_attrdata.vd_offset else None
        return _stat(data, at, one.dx_statinfo, value)
    return _stat(data, at, one)


def _stat(data: bytes, at: int, one: raw.dm_stat, attribute: Optional[bytes] = None) -> Stat:
    handle = part(data, at, one.dt_handle)
    return Stat(
        handle=Handle(handle) if handle else None,
        name=text(part(data, at, one.dt_compname)),
        events=from_mask(one.dt_emask),
        has_attributes=bool(one.dt_pers),
        has_regions=bool(one.dt_pmanreg),
        dtime=one.dt_dtime,
        change=one.dt_change,
        dev=one.dt_dev,
        ino=one.dt_ino,
        mode=one.dt_mode,
        nlink=one.dt_nlink,
        uid=one.dt_uid,
        gid=one.dt_gid,
        rdev=one.dt_rdev,
        size=one.dt_size,
        atime=one.dt_atime,
        mtime=one.dt_mtime,
        ctime=one.dt_ctime,
        blksize=one.dt_blksize,
        blocks=one.dt_blocks,
        attribute=attribute,
    )

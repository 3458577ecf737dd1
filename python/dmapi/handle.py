"""Handles: what names a file system or an object in it."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Any, Callable, FrozenSet, Tuple, Union

from . import raw
from ._buffers import sized
from .enums import Config, EventType, from_mask
from .errors import BadHandle

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


@dataclass(frozen=True, order=True)
class Handle:
    """The bytes of a handle. They may be kept anywhere: they stay good after rename, remount and reboot."""

    data: bytes

    @classmethod
    def of_path(cls, path: Path) -> Handle:
        """The object at a path; a symbolic link itself."""
        return _given(lambda place, length: raw.call("dm_path_to_handle", os.fsencode(path), place, length))

    @classmethod
    def of_fs(cls, path: Path) -> Handle:
        """The file system that a path is on."""
        return _given(lambda place, length: raw.call("dm_path_to_fshandle", os.fsencode(path), place, length))

    @classmethod
    def of_fd(cls, fd: int) -> Handle:
        """The object behind a descriptor."""
        return _given(lambda place, length: raw.call("dm_fd_to_handle", fd, place, length))

    @classmethod
    def make(cls, fsid: int, ino: int, igen: int) -> Handle:
        """The handle with these parts; nothing is looked up."""
        parts = (ctypes.c_uint64(fsid), ctypes.c_uint64(ino), ctypes.c_uint32(igen))
        return _given(lambda place, length: raw.call("dm_make_handle", *map(ctypes.byref, parts), place, length))

    @classmethod
    def make_fs(cls, fsid: int) -> Handle:
        """The file-system handle with this id; nothing is looked up."""
        part = ctypes.c_uint64(fsid)
        return _given(lambda place, length: raw.call("dm_make_fshandle", ctypes.byref(part), place, length))

    @classmethod
    def from_hex(cls, text: str) -> Handle:
        """Reads what `str` gave."""
        return cls(bytes.fromhex(text))

    def __str__(self) -> str:
        return self.data.hex()

    @property
    def c(self) -> Tuple[Any, int]:
        """The two C arguments."""
        if not self.data:
            return ctypes.c_void_p(1), raw.DM_GLOBAL_HLEN
        return self.data, len(self.data)

    @property
    def is_valid(self) -> bool:
        """Could it be a handle? Whether the object lives is not asked."""
        return bool(raw.call("dm_handle_is_valid", *self.c))

    @property
    def fs(self) -> Handle:
        """The file system of the object."""
        return _given(lambda place, length: raw.call("dm_handle_to_fshandle", *self.c, place, length))

    @property
    def fsid(self) -> int:
        """Id of the file system."""
        return self._part("dm_handle_to_fsid", ctypes.c_uint64)

    @property
    def ino(self) -> int:
        """Inode number."""
        return self._part("dm_handle_to_ino", ctypes.c_uint64)

    @property
    def igen(self) -> int:
        """Inode generation."""
        return self._part("dm_handle_to_igen", ctypes.c_uint32)

    def _part(self, function: str, kind: Any) -> int:
        place = kind(0)
        raw.call(function, *self.c, ctypes.byref(place))
        return int(place.value)

    def hash(self) -> int:
        """The library's hash of the handle."""
        return int(raw.call("dm_handle_hash", *self.c))

    def compare(self, other: Handle) -> int:
        """0 if equal, else the sign of a stable order."""
        return int(raw.call("dm_handle_cmp", *self.c, *other.c))

    def path_of(self, target: Handle) -> str:
        """Of a directory: the path of an object in it, relative to the root of the file system."""
        return os.fsdecode(sized("dm_handle_to_path", *self.c, *target.c)[:-1])

    def config(self, what: Config) -> int:
        """What the file system of the handle can do."""
        value = ctypes.c_uint64(0)
        raw.call("dm_get_config", *self.c, int(what), ctypes.byref(value))
        return value.value

    def config_events(self) -> FrozenSet[EventType]:
        """The events that the file system can make."""
        mask = ctypes.c_uint64(0)
        count = ctypes.c_uint(0)
        raw.call("dm_get_config_events", *self.c, raw.DM_EVENT_MAX, ctypes.byref(mask), ctypes.byref(count))
        return from_mask(mask.value)

    def open(self, flags: int = os.O_RDONLY) -> int:
        """A descriptor of the object whose I/O makes no events; to be closed by the caller."""
        return int(raw.call("dm_open_by_handle", *self.c, flags))


GLOBAL = Handle(b"")
"""Names no object: `Session.set_disp` takes MOUNT for it."""


def _given(ask: Callable[[Any, Any], Any]) -> Handle:
    """A handle that the library allocates."""
    place = ctypes.c_void_p()
    length = ctypes.c_size_t(0)
    ask(ctypes.byref(place), ctypes.byref(length))
    if not place.value:
        raise BadHandle(9, "the library gave no handle")
    try:
        return Handle(ctypes.string_at(place.value, length.value))
    finally:
        raw.call("dm_handle_free", place, length)

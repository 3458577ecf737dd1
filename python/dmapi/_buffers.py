"""Room for results: begun small, grown to what the call says it needs."""

from __future__ import annotations

import ctypes
from typing import Any, List, Tuple

from .errors import TooBig
from .raw import call, dm_vardata

ROOM_BYTES = 4096
"""Enough for most results."""


def buffer(size: int) -> Any:
    """Room for `size` bytes, aligned for every structure."""
    return (ctypes.c_uint64 * max(1, (size + 7) // 8))()


def sized(function: str, *arguments: Any, room: int = ROOM_BYTES) -> bytes:
    """What a function gives that ends with (buflen, bufp, rlenp)."""
    while True:
        place = buffer(room)
        length = ctypes.c_size_t(0)
        try:
            call(function, *arguments, room, place, ctypes.byref(length))
        except TooBig:
            if length.value <= room:
                raise
            room = length.value
            continue
        return bytes(place)[: length.value]


def counted(function: str, kind: Any, *arguments: Any, room: int = 16) -> List[Any]:
    """What a function gives that ends with (nelem, array, nelemp)."""
    while True:
        place = (kind * room)()
        count = ctypes.c_uint(0)
        try:
            call(function, *arguments, room, place, ctypes.byref(count))
        except TooBig:
            if count.value <= room:
                raise
            room = count.value
            continue
        return list(place[: count.value])


def part(data: bytes, base: int, where: dm_vardata) -> bytes:
    """The variable part of a structure that begins at `base`."""
    begin = base + where.vd_offset
    return data[begin : begin + where.vd_length]


def elements(data: bytes, kind: Any) -> List[Tuple[int, Any]]:
    """The structures of a chain, each with its offset: `_link` leads from one to the next."""
    found: List[Tuple[int, Any]] = []
    at = 0
    while data:
        element = kind.from_buffer_copy(data, at)
        found.append((at, element))
        link = getattr(element, "_link", None)
        if link is None:
            link = element.dx_statinfo._link
        if link == 0:
            break
        at += link
    return found


def text(data: bytes) -> str:
    """A name without its NUL, as os.fsdecode gives it."""
    return data.rstrip(b"\0").decode("utf-8", "surrogateescape")

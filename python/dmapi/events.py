"""Events: messages of a session's queue."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, List, Optional, Type, Union

from . import raw
from ._buffers import elements, part, text
from .enums import EventType, Response
from .handle import Handle

if TYPE_CHECKING:
    from .session import Session, Token


@dataclass(frozen=True)
class DataEvent:
    """READ, WRITE, TRUNCATE."""

    handle: Handle
    offset: int
    length: int


@dataclass(frozen=True)
class NamespaceEvent:
    """What happens to names, attributes, and the file system itself."""

    mode: int
    handle1: Optional[Handle]
    handle2: Optional[Handle]
    name1: str
    name2: str
    retcode: int


@dataclass(frozen=True)
class MountEvent:
    """MOUNT, and `Object.mountinfo`."""

    mode: int
    fs: Handle
    mount_point: Optional[Handle]
    path: str
    device: str
    root: Handle

    @property
    def read_only(self) -> bool:
        """Is it mounted read-only?"""
        return bool(self.mode & raw.DM_MOUNT_RDONLY)


@dataclass(frozen=True)
class DestroyEvent:
    """The object is gone; with the attribute that return-on-destroy asked for."""

    handle: Handle
    name: bytes
    value: Optional[bytes]


@dataclass(frozen=True)
class CancelEvent:
    """An earlier event is withdrawn."""

    sequence: int
    token: int


Body = Union[DataEvent, NamespaceEvent, MountEvent, DestroyEvent, CancelEvent, bytes]


@dataclass(frozen=True)
class Event:
    """One message. As a context manager it answers: CONTINUE, or ABORT with the errno of an exception (EIO without)."""

    session: Session
    type: EventType
    sequence: int
    token: Optional[Token]
    body: Body

    @property
    def handle(self) -> Handle:
        """The object of the event."""
        if isinstance(self.body, (DataEvent, DestroyEvent)):
            return self.body.handle
        if isinstance(self.body, MountEvent):
            return self.body.fs
        if isinstance(self.body, NamespaceEvent) and self.body.handle1 is not None:
            return self.body.handle1
        raise AttributeError(f"a {self.type.name} event names no object")

    def respond(self, response: Response = Response.CONTINUE, errno: int = 0) -> None:
        """Answers; an asynchronous event needs none."""
        if self.token is not None:
            self.token.respond(response, errno)

    def __enter__(self) -> Event:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self.token is not None:
            self.token.__exit__(kind, error, trace)


def parse(session: Session, data: bytes) -> List[Event]:
    """The messages of a buffer of `dm_get_events` or `dm_find_eventmsg`."""
    return [_message(session, data, at, message) for at, message in elements(data, raw.dm_eventmsg)]


def _message(session: Session, data: bytes, at: int, message: raw.dm_eventmsg) -> Event:
    from .session import Token

    kind = EventType(message.ev_type)
    token = None
    if message.ev_token != raw.DM_INVALID_TOKEN:
        token = Token(session, message.ev_token)
    body = part(data, at, message.ev_data)
    return Event(session, kind, message.ev_sequence, token, _body(kind, body))


def _body(kind: EventType, data: bytes) -> Body:
    if kind == EventType.USER:
        return data
    if kind == EventType.MOUNT:
        return mount_body(data)
    if kind in (EventType.READ, EventType.WRITE, EventType.TRUNCATE, EventType.DIRECT_READ):
        about = raw.dm_data_event.from_buffer_copy(data)
        return DataEvent(Handle(part(data, 0, about.de_handle)), about.de_offset, about.de_length)
    if kind == EventType.DESTROY:
        gone = raw.dm_destroy_event.from_buffer_copy(data)
        name = bytes(gone.ds_attrname.an_chars).rstrip(b"\0")
        value = part(data, 0, gone.ds_attrcopy) if name else None
        return DestroyEvent(Handle(part(data, 0, gone.ds_handle)), name, value)
    if kind == EventType.CANCEL:
        cancel = raw.dm_cancel_event.from_buffer_copy(data)
        return CancelEvent(cancel.ce_sequence, cancel.ce_token)
    names = raw.dm_namesp_event.from_buffer_copy(data)
    return NamespaceEvent(
        names.ne_mode,
        _handle(data, names.ne_handle1),
        _handle(data, names.ne_handle2),
        text(part(data, 0, names.ne_name1)),
        text(part(data, 0, names.ne_name2)),
        names.ne_retcode,
    )


def mount_body(data: bytes) -> MountEvent:
    """The body of a MOUNT event."""
    mount = raw.dm_mount_event.from_buffer_copy(data)
    return MountEvent(
        mount.me_mode,
        Handle(part(data, 0, mount.me_handle1)),
        _handle(data, mount.me_handle2),
        text(part(data, 0, mount.me_name1)),
        text(part(data, 0, mount.me_name2)),
        Handle(part(data, 0, mount.me_roothandle)),
    )


def _handle(data: bytes, where: raw.dm_vardata) -> Optional[Handle]:
    return Handle(part(data, 0, where)) if where.vd_length else None

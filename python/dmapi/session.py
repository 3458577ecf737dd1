"""Sessions and tokens."""

from __future__ import annotations

import contextlib
import ctypes
import errno as errnos
from dataclasses import dataclass
from types import TracebackType
from typing import Dict, FrozenSet, Iterable, Iterator, List, Optional, Type

from . import raw
from ._buffers import counted, elements, part, sized
from .enums import EventType, Response, Right, from_mask, to_mask
from .errors import DmapiError, TokenGone, WouldBlock
from .events import Event, parse
from .handle import Handle
from .object import Object


def init_service() -> str:
    """Is there a daemon? Its version in words. (No other call needs this one first.)"""
    version = ctypes.c_char_p()
    raw.call("dm_init_service", ctypes.byref(version))
    return (version.value or b"").decode()


@dataclass(frozen=True)
class Session:
    """A session. It outlives the process: only `destroy` ends it, which is what leaving a `with` block does."""

    id: int

    @classmethod
    def create(cls, info: str) -> Session:
        """A new session with this string."""
        return cls._create(raw.DM_NO_SESSION, info)

    def assume(self, info: Optional[str] = None) -> Session:
        """Takes the session over, with its queue, tokens and rights. This object's id is dead then."""
        return self._create(self.id, self.info if info is None else info)

    @classmethod
    def assume_or_create(cls, info: str) -> Session:
        """What a daemon does when it starts: goes on with its session if there is one."""
        for session in sorted(cls.all(), key=lambda one: one.id):
            with contextlib.suppress(DmapiError):  # One that just ended.
                if session.info == info:
                    return session.assume()
        return cls.create(info)

    @classmethod
    def _create(cls, old: int, info: str) -> Session:
        new = ctypes.c_int(0)
        raw.call("dm_create_session", old, info.encode(), ctypes.byref(new))
        return cls(new.value)

    @classmethod
    def all(cls) -> List[Session]:
        """All sessions of the node, in the order of creation."""
        return [cls(number) for number in counted("dm_getall_sessions", ctypes.c_int)]

    @property
    def info(self) -> str:
        """The string of the session."""
        return sized("dm_query_session", self.id, room=raw.DM_SESSION_INFO_LEN).rstrip(b"\0").decode()

    def destroy(self) -> None:
        """Ends the session; `Busy` while it has events."""
        raw.call("dm_destroy_session", self.id)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is None:
            self.destroy()
            return
        with contextlib.suppress(DmapiError):  # The first error is the one to tell.
            self.destroy()

    # Events

    def get_events(self, count: int = 0, wait: bool = False) -> List[Event]:
        """Queued events, at most `count` (0: as many as fit). Without `wait` none gives an empty list."""
        flags = raw.DM_EV_WAIT if wait else 0
        try:
            return parse(self, sized("dm_get_events", self.id, count, flags, room=65536))
        except WouldBlock:
            return []

    def events(self) -> Iterator[Event]:
        """All events, for ever: first those that were received but not answered (by an earlier life of the
        application), then new ones."""
        yield from self.outstanding()
        while True:
            yield from self.get_events(1, wait=True)

    def outstanding(self) -> List[Event]:
        """Events that were received and not answered, oldest first."""
        found = []
        for token in self.tokens():
            with contextlib.suppress(TokenGone):  # Answered meanwhile, by another thread.
                found.append(token.event())
        return sorted(found, key=lambda event: event.sequence)

    def tokens(self) -> List[Token]:
        """The tokens of all events that were received and not answered."""
        return [Token(self, number) for number in counted("dm_getall_tokens", ctypes.c_int, self.id)]

    def create_userevent(self, data: bytes = b"") -> Token:
        """A token that belongs to nobody's operation, to hold rights with."""
        token = ctypes.c_int(0)
        raw.call("dm_create_userevent", self.id, len(data), data or None, ctypes.byref(token))
        return Token(self, token.value)

    def send(self, data: bytes = b"", wait: bool = False) -> None:
        """Sends the session a USER event; with `wait` until it is answered, and ABORT is an exception."""
        kind = raw.DM_MSGTYPE_SYNC if wait else raw.DM_MSGTYPE_ASYNC
        raw.call("dm_send_msg", self.id, kind, len(data), data or None)

    # Dispositions

    def set_disp(self, handle: Handle, events: Iterable[EventType], token: Optional[Token] = None) -> None:
        """This session shall get these events of a file system (MOUNT: of `GLOBAL`), and no others."""
        mask = ctypes.c_uint64(to_mask(events))
        number = raw.DM_NO_TOKEN if token is None else token.number
        raw.call("dm_set_disp", self.id, *handle.c, number, ctypes.byref(mask), raw.DM_EVENT_MAX)

    def dispositions(self) -> Dict[Handle, FrozenSet[EventType]]:
        """Which events of which file systems this session gets."""
        data = sized("dm_getall_disp", self.id)
        return {
            Handle(part(data, at, one.di_fshandle)): from_mask(one.di_eventset)
            for at, one in elements(data, raw.dm_dispinfo)
        }

    # Objects

    def object(self, handle: Handle, token: Optional[Token] = None) -> Object:
        """An object to work on. Without a token each call takes the right that it needs, and waits for it."""
        return Object(self.id, handle, raw.DM_NO_TOKEN if token is None else token.number)


@dataclass(frozen=True)
class Token:
    """A token of a session. As a context manager it answers: CONTINUE, or ABORT with the errno of an exception."""

    session: Session
    number: int

    def __int__(self) -> int:
        return self.number

    def event(self) -> Event:
        """The message of the token."""
        return parse(self.session, sized("dm_find_eventmsg", self.session.id, self.number))[0]

    def respond(self, response: Response = Response.CONTINUE, errno: int = 0) -> None:
        """Answers the event; all rights and holds of the token end."""
        raw.call("dm_respond_event", self.session.id, self.number, int(response), errno, 0, None)

    def pending(self, seconds: float = 0.0) -> None:
        """The answer will take a while: a non-blocking user gets EAGAIN now."""
        delay = raw.dm_timestruct(int(seconds), int(seconds % 1 * 1e9))
        raw.call("dm_pending", self.session.id, self.number, ctypes.byref(delay))

    def move(self, session: Session) -> Token:
        """Moves the event to another session."""
        moved = ctypes.c_int(0)
        raw.call("dm_move_event", self.session.id, self.number, session.id, ctypes.byref(moved))
        return Token(session, moved.value)

    def __enter__(self) -> Token:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if error is None:
            with contextlib.suppress(TokenGone):  # Answered within the block.
                self.respond()
        elif isinstance(error, Exception):
            number = error.errno if isinstance(error, OSError) else None
            with contextlib.suppress(DmapiError):  # The first error is the one to tell.
                self.respond(Response.ABORT, number or errnos.EIO)
        # Else the process ends (KeyboardInterrupt): the event stays for the next one.

    # Rights and holds

    def request_right(self, handle: Handle, right: Right, wait: bool = True) -> None:
        """Takes a right; without `wait` a conflict is `WouldBlock`."""
        flags = raw.DM_RR_WAIT if wait else 0
        raw.call("dm_request_right", self.session.id, *handle.c, self.number, flags, int(right))

    def release_right(self, handle: Handle) -> None:
        """Gives the right up."""
        raw.call("dm_release_right", self.session.id, *handle.c, self.number)

    def query_right(self, handle: Handle) -> Right:
        """The right that the token holds."""
        right = ctypes.c_int(0)
        raw.call("dm_query_right", self.session.id, *handle.c, self.number, ctypes.byref(right))
        return Right(right.value)

    def upgrade_right(self, handle: Handle) -> None:
        """From shared to exclusive, if nobody else shares it."""
        raw.call("dm_upgrade_right", self.session.id, *handle.c, self.number)

    def downgrade_right(self, handle: Handle) -> None:
        """From exclusive to shared."""
        raw.call("dm_downgrade_right", self.session.id, *handle.c, self.number)

    @contextlib.contextmanager
    def right(self, handle: Handle, right: Right, wait: bool = True) -> Iterator[Object]:
        """Holds a right while a block works on the object."""
        self.request_right(handle, right, wait)
        try:
            yield self.session.object(handle, self)
        finally:
            self.release_right(handle)

    def hold(self, handle: Handle) -> None:
        """Keeps the object referenced."""
        raw.call("dm_obj_ref_hold", self.session.id, self.number, *handle.c)

    def release_hold(self, handle: Handle) -> None:
        """Ends a hold."""
        raw.call("dm_obj_ref_rele", self.session.id, self.number, *handle.c)

    def holds(self, handle: Handle) -> bool:
        """Does the token hold the object?"""
        return bool(raw.call("dm_obj_ref_query", self.session.id, self.number, *handle.c))

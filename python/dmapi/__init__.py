"""The DMAPI (XDSM) for Python: hierarchical storage management on stock Linux, through libdmapi.

    import dmapi

    session = dmapi.Session.assume_or_create("my-hsm")
    session.set_disp(dmapi.Handle.of_fs("/data"), {dmapi.EventType.READ})
    for event in session.events():
        with event:  # answered at the end: CONTINUE, or ABORT with the errno of an exception
            file = session.object(event.handle)
            file.write(0, b"the data, back from where it was")
            file.set_regions([])

`dmapi.raw` has the C functions and structures themselves. Pure ctypes: nothing is compiled.
"""

from .enums import At, Config, EventType, RegionFlag, Response, Right
from .errors import (
    BadAddress,
    BadHandle,
    Busy,
    DmapiError,
    Exists,
    Interrupted,
    Invalid,
    NoRight,
    NoService,
    NoSpace,
    NotFound,
    NotImplementedHere,
    NotManaged,
    NotPermitted,
    TokenGone,
    TooBig,
    WouldBlock,
)
from .events import CancelEvent, DataEvent, DestroyEvent, Event, MountEvent, NamespaceEvent
from .handle import GLOBAL, Handle
from .object import ALL, Extent, Object, Region, Stat
from .session import Session, Token, init_service

__all__ = [
    "ALL",
    "At",
    "BadAddress",
    "BadHandle",
    "Busy",
    "CancelEvent",
    "Config",
    "DataEvent",
    "DestroyEvent",
    "DmapiError",
    "Event",
    "EventType",
    "Exists",
    "Extent",
    "GLOBAL",
    "Handle",
    "Interrupted",
    "Invalid",
    "MountEvent",
    "NamespaceEvent",
    "NoRight",
    "NoService",
    "NoSpace",
    "NotFound",
    "NotImplementedHere",
    "NotManaged",
    "NotPermitted",
    "Object",
    "Region",
    "RegionFlag",
    "Response",
    "Right",
    "Session",
    "Stat",
    "Token",
    "TokenGone",
    "TooBig",
    "WouldBlock",
    "init_service",
]

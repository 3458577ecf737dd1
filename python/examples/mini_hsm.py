#!/usr/bin/env python3
"""A whole small HSM. `migrate` moves a file's data to the store, `recall` brings it back when a user reads.

    mini_hsm.py recall  /mnt /store &           # the daemon; kill -9 it: the next one goes on, readers wait
    mini_hsm.py migrate /mnt /store /mnt/file
"""
import contextlib
import os
import sys
from pathlib import Path

import dmapi
from dmapi import EventType, Handle, Region, Session

EVENTS = {EventType.READ, EventType.WRITE, EventType.TRUNCATE}


def migrate(session: Session, store: Path, path: str) -> None:
    handle = Handle.of_path(path)
    with session.create_userevent() as token, token.right(handle, dmapi.Right.EXCL) as file:
        file.set_regions([Region()])  # From here on users wait for the recall, which waits for our right.
        try:
            (store / str(handle)).write_bytes(file.read(0, file.stat().size))
            file.punch_hole()
        except Exception:  # EBUSY: somebody has it mapped or open.
            file.set_regions([])
            raise


def recall(session: Session, store: Path) -> None:
    for event in session.events():  # Unanswered ones of an earlier life come first.
        with contextlib.suppress(OSError), event:  # The answer: CONTINUE, or ABORT with the errno of an OSError.
            file = session.object(event.handle)
            if file.regions():
                file.write(0, (store / str(event.handle)).read_bytes(), sync=True)
                file.set_regions([])


if __name__ == "__main__":
    command, mount, store = sys.argv[1:4]
    if command == "recall":
        daemon = Session.assume_or_create("mini-hsm")
        daemon.set_disp(Handle.of_fs(mount), EVENTS)
        recall(daemon, Path(store))
    with Session.create(f"mini-hsm migrate {os.getpid()}") as own:
        migrate(own, Path(store), sys.argv[4])

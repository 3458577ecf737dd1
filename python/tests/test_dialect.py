"""`DMAPI_DIALECT=sgi`: the points where SGI read the standard differently."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import DEADLINE_S
from managed import managed  # noqa: F401  (a fixture)

PYTHON = Path(__file__).resolve().parents[1]

CODE = """
import os, sys
import dmapi
from dmapi import EventType, Handle, Session

root = sys.argv[1]
os.mkdir(root + "/dir")
with open(root + "/dir/file", "wb") as file:
    file.write(bytes(5000))
directory, handle = Handle.of_path(root + "/dir"), Handle.of_path(root + "/dir/file")
assert directory.path_of(handle) == root + "/dir/file"
assert directory.path_of(directory) == root + "/dir/."
try:
    Handle.of_path(root).path_of(handle)
    raise SystemExit("found in the wrong directory")
except FileNotFoundError:
    pass
assert not {EventType.USER, EventType.CLOSE} & handle.config_events()
with Session.create("dialect") as session:
    extents = list(session.object(handle).extents(100))
assert [(one.resident, one.offset) for one in extents] == [(True, 0), (False, 5000)], extents
assert extents[-1].offset + extents[-1].length == 2**63 - 1
"""


def test_the_sgi_reading(managed):  # noqa: F811
    environment = {**os.environ, "PYTHONPATH": str(PYTHON), "DMAPI_DIALECT": "sgi"}
    command = [sys.executable, "-c", CODE, str(managed)]
    subprocess.run(command, env=environment, check=True, timeout=DEADLINE_S)

"""The example is a real HSM: files migrate and come back, also when its daemon is killed at the worst moment."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest

from conftest import DEADLINE_S, program, wait_until
from dmapi import Handle, Session
from managed import managed  # noqa: F401  (a fixture)

PYTHON = Path(__file__).resolve().parents[1]
EXAMPLE = PYTHON / "examples" / "mini_hsm.py"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    store.mkdir()
    return store


def environment() -> dict:
    return {**os.environ, "PYTHONPATH": str(PYTHON)}


def migrate(mount: Path, store: Path, path: Path) -> None:
    command = [sys.executable, EXAMPLE, "migrate", mount, store, path]
    subprocess.run(command, check=True, env=environment(), timeout=DEADLINE_S)


class Recaller:
    """The example's daemon."""

    def __init__(self, mount: Path, store: Path) -> None:
        self.arguments = [sys.executable, EXAMPLE, "recall", mount, store]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.arguments, env=environment())
        mount = Handle.of_fs(self.arguments[3])
        wait_until(lambda: self.has_disposition(mount), "the disposition of the recall daemon")

    def has_disposition(self, mount: Handle) -> bool:
        assert self.process.poll() is None, "the recall daemon ended"
        return any(mount in session.dispositions() for session in self.sessions())

    def sessions(self) -> List[Session]:
        return [session for session in Session.all() if session.info == "mini-hsm"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def recaller(managed: Path, store: Path) -> Iterator[Recaller]:  # noqa: F811
    recaller = Recaller(managed, store)
    yield recaller
    recaller.kill()
    for session in recaller.sessions():
        for event in session.outstanding() + session.get_events():
            event.respond()
        session.set_disp(Handle.of_fs(managed), set())
        session.destroy()


def user_read(path: Path) -> "subprocess.Popen[bytes]":
    """Reads as a user does: in a process of its own, since only SIGKILL frees one that waits for a recall."""
    return subprocess.Popen(["cat", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def result(reader: "subprocess.Popen[bytes]") -> "tuple[int, bytes]":
    try:
        out, _ = reader.communicate(timeout=DEADLINE_S)
    finally:
        reader.kill()
        reader.wait()
    return reader.returncode, out


def put(path: Path, data: bytes) -> None:
    """A new file; no recall is involved."""
    path.write_bytes(data)


def test_a_migrated_file_comes_back_when_it_is_read(managed, store, recaller):  # noqa: F811
    path = managed / "film"
    data = os.urandom(3 << 20)
    put(path, data)
    migrate(managed, store, path)
    assert path.stat().st_blocks == 0 and path.stat().st_size == len(data)
    assert result(user_read(path)) == (0, data)
    assert path.stat().st_blocks > 0
    assert result(user_read(path)) == (0, data)
    path.unlink()


def test_a_killed_daemon_loses_no_reader(managed, store, recaller):  # noqa: F811
    path = managed / "film"
    data = os.urandom(1 << 20)
    put(path, data)
    migrate(managed, store, path)
    os.kill(recaller.process.pid, signal.SIGSTOP)
    reader = user_read(path)
    try:
        wait_until(lambda: waiting_events() > 0, "the event of the reader")
        recaller.kill()
        assert reader.poll() is None
        recaller.start()
    except BaseException:
        reader.kill()
        raise
    assert result(reader) == (0, data)
    path.unlink()


def waiting_events() -> int:
    """Events that are queued or not answered."""
    command = [program("dmctl"), "events", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_S)
    return len(json.loads(done.stdout))


def test_a_missing_copy_is_an_error_of_the_read(managed, store, recaller):  # noqa: F811
    path = managed / "film"
    put(path, b"data")
    migrate(managed, store, path)
    (copy,) = store.iterdir()
    copy.rename(store / "elsewhere")
    status, out = result(user_read(path))
    assert status != 0 and out == b""
    (store / "elsewhere").rename(copy)
    assert result(user_read(path)) == (0, b"data")
    path.unlink()

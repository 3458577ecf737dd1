"""A daemon of its own for the tests, and a managed file system on a loop device where that is possible."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

import dmapi

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Looks again and again; a loaded machine gets the time it needs."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {DEADLINE_S} s")
        time.sleep(0.01)


def skip(why: str) -> None:
    """Ends a test that cannot do its work; where nothing may be skipped (DMAPI_NO_SKIP=1) it fails."""
    if os.environ.get("DMAPI_NO_SKIP") == "1":
        pytest.fail(f"DMAPI_NO_SKIP=1 forbids to skip: {why}")
    pytest.skip(why)


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """No test hangs: a blocking call is interrupted by the alarm, whose handler raises."""

    def raise_timeout(_signal: int, _frame: object) -> None:
        raise TimeoutError("the test did not end in time")

    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.alarm(4 * DEADLINE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def program(name: str) -> Path:
    """A program of the build under test."""
    daemon = os.environ.get("DMAPI_DAEMON", str(ROOT / "target/debug/dmapid"))
    return Path(daemon).parent / name


def serves() -> bool:
    try:
        dmapi.init_service()
    except dmapi.NoService:
        return False
    return True


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[bytes]"]:
    """A running daemon."""
    directory = tmp_path_factory.mktemp("service")
    os.environ["DMAPI_SOCKET"] = str(directory / "socket")
    os.environ["DMAPI_STATE"] = str(directory / "state")
    os.environ.pop("DMAPI_AUTOSTART", None)
    with open(directory / "log", "wb") as log:
        daemon = subprocess.Popen([program("dmapid"), "--foreground"], stderr=log, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: serves() or daemon.poll() is not None, "the start of dmapid")
        if daemon.poll() is not None:
            pytest.fail("dmapid ended at once:\n" + (directory / "log").read_text())
        os.environ["DMAPI_WAIT_MS"] = str(2000 * DEADLINE_S)
        yield daemon
    finally:
        daemon.terminate()
        try:
            daemon.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@pytest.fixture(scope="session")
def service(daemon: "subprocess.Popen[bytes]") -> Path:
    """The directory of the running daemon's state."""
    return Path(os.environ["DMAPI_STATE"])


@pytest.fixture
def supervisor(daemon: "subprocess.Popen[bytes]") -> int:
    """The process that starts the workers."""
    return daemon.pid


@pytest.fixture
def session(service: Path) -> Iterator[dmapi.Session]:
    """A session that ends with the test, its events answered."""
    session = dmapi.Session.create(f"python test {os.getpid()}")
    yield session
    drain(session)
    session.destroy()


def drain(session: dmapi.Session) -> None:
    """Answers all that is left."""
    while session.get_events():
        pass
    for token in session.tokens():
        token.respond()

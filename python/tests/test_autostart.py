"""Where no daemon serves, `DMAPI_AUTOSTART=1` gives the user one of his own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator

import pytest

from conftest import DEADLINE_S, program

PYTHON = Path(__file__).resolve().parents[1]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Dict[str, str]]:
    """That of a user who has no daemon; one that was started ends with the test."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DMAPI_")}
    environment["DMAPI_LIBRARY"] = os.environ.get("DMAPI_LIBRARY", "")
    environment["DMAPI_DAEMON"] = str(program("dmapid"))
    environment["DMAPI_NODE"] = f"nobody-{os.getpid()}"
    environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    environment["PYTHONPATH"] = str(PYTHON)
    yield environment
    if (tmp_path / "dmapi" / "socket").exists():
        environment["DMAPI_SOCKET"] = str(tmp_path / "dmapi" / "socket")
        subprocess.run([program("dmctl"), "stop"], env=environment, check=True, timeout=DEADLINE_S)


def python(environment: Dict[str, str], code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def output(process: "subprocess.Popen[str]") -> str:
    out, _ = process.communicate(timeout=2 * DEADLINE_S)
    assert process.returncode == 0
    return out


COUNT = "import dmapi; dmapi.Session.create('one of several'); print(len(dmapi.Session.all()))"


def test_without_the_wish_there_is_no_service(environment, tmp_path):
    code = "import dmapi\ntry:\n    dmapi.init_service()\nexcept dmapi.NoService:\n    print('none')"
    assert output(python(environment, code)) == "none\n"
    assert not (tmp_path / "dmapi").exists()


def test_processes_that_start_at_once_share_one_daemon(environment, tmp_path):
    environment["DMAPI_AUTOSTART"] = "1"
    # The processes end without their sessions, which stay in the daemon.
    together = [python(environment, COUNT) for _ in range(4)]
    assert max(int(output(process)) for process in together) <= 4
    assert output(python(environment, COUNT)) == "5\n"
    assert (tmp_path / "dmapi").stat().st_mode & 0o777 == 0o700


def test_a_directory_that_is_open_to_others_is_refused(environment, tmp_path):
    environment["DMAPI_AUTOSTART"] = "1"
    (tmp_path / "dmapi").mkdir(mode=0o755)
    code = "import dmapi\ntry:\n    dmapi.init_service()\nexcept dmapi.NotPermitted:\n    print('refused')"
    assert output(python(environment, code)) == "refused\n"


def test_a_daemon_that_cannot_start_is_an_error_at_once(environment):
    environment["DMAPI_AUTOSTART"] = "1"
    environment["DMAPI_DAEMON"] = "/bin/false"
    code = "import dmapi\ntry:\n    dmapi.init_service()\nexcept dmapi.NoService:\n    print('none')"
    assert output(python(environment, code)) == "none\n"

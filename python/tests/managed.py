"""A managed file system in a loop device: needs root, xfs, and a kernel with pre-content events."""

import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from conftest import DEADLINE_S, program, skip

IMAGE_BYTES = 400 << 20


def run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=2 * DEADLINE_S)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def unmount(mount: Path) -> None:
    """However the tests ended: managed or not, the mount and its loop device go."""
    done = subprocess.run([program("dmctl"), "umount", str(mount)], capture_output=True, timeout=2 * DEADLINE_S)
    if done.returncode != 0 and os.path.ismount(mount):
        subprocess.run(["umount", "-l", str(mount)], timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def managed(service: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The mount point."""
    if os.geteuid() != 0:
        skip("managing a file system needs root")
    version = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    if version < (6, 14):
        skip("managing a file system needs Linux 6.14")
    directory = tmp_path_factory.mktemp("managed")
    image, mount = directory / "image", directory / "mount"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(IMAGE_BYTES)
    run("mkfs.xfs", "-q", image)
    run("mount", "-o", "loop", image, mount)
    try:
        run(program("dmctl"), "manage", mount)
        yield mount
    finally:
        unmount(mount)
        image.unlink()

"""Handles, attributes, regions, holes, invisible I/O and scans on a real file system."""

import errno
import os
import stat
from pathlib import Path

import pytest

import dmapi
from dmapi import At, Config, EventType, Handle, Region, RegionFlag, Right, Session
from managed import managed  # noqa: F401  (a fixture)

MIB = 1 << 20


@pytest.fixture
def path(managed: Path, request: pytest.FixtureRequest) -> Path:
    """A file of 1 MiB of numbers."""
    path = managed / request.node.name
    path.write_bytes(os.urandom(MIB))
    return path


def test_a_handle_names_the_object_however_it_is_found(managed, path):
    handle = Handle.of_path(path)
    with open(path, "rb") as file:
        assert Handle.of_fd(file.fileno()) == handle
    os.link(path, managed / "hard")
    (managed / "soft").symlink_to(path)
    assert Handle.of_path(managed / "hard") == handle
    assert Handle.of_path(managed / "soft") != handle
    before = os.getcwd()
    os.chdir(managed)
    try:
        assert Handle.of_path(path.name) == handle
        assert Handle.of_path("") == Handle.of_path(managed)
    finally:
        os.chdir(before)
    for name in ("hard", "soft"):
        (managed / name).unlink()


def test_the_parts_of_a_handle_make_it_again(managed, path):
    handle = Handle.of_path(path)
    fs = Handle.of_fs(path)
    assert handle.ino == path.stat().st_ino
    assert Handle.make(handle.fsid, handle.ino, handle.igen) == handle
    assert Handle.make_fs(handle.fsid) == fs == handle.fs == Handle.of_fs(managed)
    assert handle.data.startswith(fs.data)
    assert handle.is_valid and fs.is_valid and dmapi.GLOBAL.is_valid and not Handle(b"x" * 23).is_valid
    assert Handle.from_hex(str(handle)) == handle
    assert handle.compare(fs) != 0 and handle.compare(handle) == 0 and handle.hash() == handle.hash()


def test_paths_that_are_not_managed_are_refused(managed):
    with pytest.raises(dmapi.NotManaged):
        Handle.of_path("/proc/self/status")
    with pytest.raises(FileNotFoundError):
        Handle.of_path(managed / "missing")
    with pytest.raises(OSError) as caught:
        Handle.of_path(managed / ("x" * 300))
    assert caught.value.errno == errno.ENAMETOOLONG
    with pytest.raises(dmapi.BadHandle):
        Handle.of_fd(987654)
    read_end, write_end = os.pipe()
    with pytest.raises(dmapi.NotManaged):
        Handle.of_fd(read_end)
    os.close(read_end)
    os.close(write_end)


def test_a_handle_becomes_a_path(managed, path):
    deep = managed / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    root = Handle.of_path(managed)
    assert root.path_of(Handle.of_path(path)) == path.name
    assert Handle.of_path(deep).path_of(Handle.of_path(deep / "file")) == "a/b/file"
    with pytest.raises(dmapi.Invalid):
        Handle.of_path(deep).path_of(Handle.of_path(path))
    with pytest.raises(dmapi.BadHandle):
        Handle.of_path(managed / "a").path_of(Handle.of_path(deep))
    with pytest.raises(dmapi.BadHandle):
        Handle.of_path(path).path_of(Handle.of_path(path))


def test_an_object_that_is_gone_has_no_handle_any_more(managed, session, path):
    handle = Handle.of_path(path)
    path.unlink()
    with pytest.raises(dmapi.BadHandle):
        session.object(handle).stat()
    path.touch()
    assert Handle.of_path(path) != handle


def test_limits_and_events_are_told(managed, path):
    for handle in (Handle.of_path(path), Handle.of_path(managed), Handle.of_fs(managed)):
        for what in Config:
            assert handle.config(what) >= 0
        assert {EventType.READ, EventType.WRITE, EventType.TRUNCATE, EventType.USER} <= handle.config_events()
    assert Handle.of_fs(managed).config(Config.MAX_ATTRIBUTE_SIZE) >= 65535


def test_invisible_io_leaves_no_trace(session, path):
    file = session.object(Handle.of_path(path))
    data = path.read_bytes()
    os.utime(path, ns=(10**18, 10**18))
    before = path.stat()
    assert file.read(0, 2 * MIB) == data
    assert file.read(MIB, 10) == b""
    assert file.read(5, 10) == data[5:15]
    assert file.write(7, b"changed") == 7
    assert file.read(0, 20) == data[:7] + b"changed" + data[14:20]
    after = path.stat()
    assert (before.st_atime_ns, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_atime_ns,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
    assert path.read_bytes()[7:14] == b"changed"
    with pytest.raises(dmapi.Invalid):
        file.read(MIB + 1, 1)
    with pytest.raises(dmapi.Invalid):
        file.read(-1, 1)


def test_a_long_transfer_goes_in_pieces(session, path):
    file = session.object(Handle.of_path(path))
    data = os.urandom(9 * MIB + 123)
    assert file.write(3, data, sync=True) == len(data)
    assert file.read(3, len(data) + 5) == data


def test_rights_decide(session, path):
    handle = Handle.of_path(path)
    with session.create_userevent() as token:
        file = session.object(handle, token)
        with pytest.raises(dmapi.NoRight):
            file.read(0, 1)
        with token.right(handle, Right.SHARED) as shared:
            assert len(shared.read(0, 10)) == 10
            assert token.query_right(handle) is Right.SHARED
            with pytest.raises(dmapi.NoRight):
                shared.write(0, b"x")
            token.upgrade_right(handle)
            assert shared.write(0, b"x") == 1
            token.downgrade_right(handle)
        assert token.query_right(handle) is Right.NULL
        with session.create_userevent() as other:
            other.request_right(handle, Right.EXCL)
            with pytest.raises(dmapi.WouldBlock):
                token.request_right(handle, Right.SHARED, wait=False)
        token.hold(handle)
        assert token.holds(handle)
        token.release_hold(handle)
        assert not token.holds(handle)


def test_regions_go_there_and_back(session, path):
    file = session.object(Handle.of_path(path))
    assert file.regions() == []
    wanted = [Region(0, 4096, RegionFlag.READ), Region(65536, 0, RegionFlag.WRITE | RegionFlag.TRUNCATE, 77)]
    assert file.set_regions(wanted)
    assert file.regions() == wanted
    assert file.eventlist() == {EventType.READ, EventType.WRITE, EventType.TRUNCATE}
    assert file.stat().has_regions
    assert file.set_regions([])
    assert file.regions() == [] and not file.stat().has_regions
    limit = file.handle.config(Config.MAX_MANAGED_REGIONS)
    with pytest.raises(dmapi.TooBig):
        file.set_regions([Region(0, 1)] * (limit + 1))


def test_dm_attributes(session, managed, path):
    (managed / "link").symlink_to("nowhere")
    for one in (path, managed, managed / "link"):
        file = session.object(Handle.of_path(one))
        with pytest.raises(dmapi.NotFound):
            file.attribute("ours")
        big = os.urandom(5000)
        file.set_attribute("ours", big)
        file.set_attribute("eightlng", b"")
        assert file.attribute("ours") == big
        assert file.attributes() == {b"ours": big, b"eightlng": b""}
        assert file.stat().has_attributes
        file.set_attribute("ours", b"short")
        assert file.attribute("ours") == b"short"
        file.remove_attribute("ours")
        file.remove_attribute("eightlng")
        assert file.attributes() == {}
        with pytest.raises(dmapi.NotFound):
            file.remove_attribute("ours")
    with pytest.raises(dmapi.Invalid):
        file.set_attribute("", b"x")
    (managed / "link").unlink()


def test_stat_is_that_of_the_system(session, managed, path):
    for one in (path, managed):
        ours, theirs = session.object(Handle.of_path(one)).stat(), one.stat()
        assert (ours.ino, ours.mode, ours.nlink, ours.uid, ours.gid, ours.size) == theirs[1:2] + theirs[0:1] + theirs[3:7]
        assert (ours.dev, ours.blocks, ours.blksize) == (theirs.st_dev, theirs.st_blocks, theirs.st_blksize)
        assert (ours.atime, ours.mtime, ours.ctime) == (
            int(theirs.st_atime),
            int(theirs.st_mtime),
            int(theirs.st_ctime),
        )
    with pytest.raises(dmapi.Invalid):
        session.object(Handle.of_path(path)).stat(At.HANDLE)


def test_set_stat_changes_what_is_named(session, path):
    file = session.object(Handle.of_path(path))
    file.set_stat(mode=0o4711, uid=12, gid=34, atime=1000, mtime=2000)
    found = path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o4711
    assert (found.st_uid, found.st_gid, found.st_atime, found.st_mtime, found.st_size) == (12, 34, 1000, 2000, MIB)
    file.set_stat(size=5)
    assert path.stat().st_size == 5


def test_the_change_flag_follows_the_data(session, path):
    file = session.object(Handle.of_path(path))
    before = file.stat(At.CFLAG).change
    assert file.stat(At.CFLAG).change == before
    with open(path, "ab") as out:
        out.write(b"more")
        os.fsync(out.fileno())
    assert file.stat(At.CFLAG).change != before


def test_holes(session, path):
    file = session.object(Handle.of_path(path))
    os.truncate(path, MIB - 100)
    assert file.probe_hole() == (0, 0)
    assert file.probe_hole(1, 0) == (4096, 0)
    with pytest.raises(dmapi.WouldBlock):
        file.punch_hole(1, 4096)
    before = path.stat()
    data = path.read_bytes()
    file.punch_hole(64 << 10, 64 << 10)
    after = path.stat()
    assert after.st_size == before.st_size and after.st_mtime_ns == before.st_mtime_ns
    assert after.st_blocks < before.st_blocks
    assert path.read_bytes() == data[: 64 << 10] + bytes(64 << 10) + data[128 << 10 :]
    extents = list(file.extents())
    assert [extent.resident for extent in extents] == [True, False, True]
    assert sum(extent.length for extent in extents) == before.st_size
    file.punch_hole(0, 0)
    assert list(file.extents()) == [] and path.stat().st_size == before.st_size


def test_event_lists(session, managed, path):
    file, fs = (session.object(handle) for handle in (Handle.of_path(path), Handle.of_fs(managed)))
    file.set_eventlist({EventType.DESTROY, EventType.ATTRIBUTE})
    assert file.eventlist() == {EventType.DESTROY, EventType.ATTRIBUTE}
    file.set_eventlist(set())
    assert file.eventlist() == frozenset()
    with pytest.raises(dmapi.Invalid):
        file.set_eventlist({EventType.CREATE})
    fs.set_eventlist({EventType.DESTROY})
    assert fs.eventlist() == {EventType.DESTROY}
    fs.set_eventlist(set())


def test_dispositions(session, managed):
    fs = Handle.of_fs(managed)
    session.set_disp(fs, {EventType.READ, EventType.DESTROY})
    assert session.dispositions() == {fs: {EventType.READ, EventType.DESTROY}}
    with Session.create("takes over") as other:
        other.set_disp(fs, {EventType.READ})
        assert session.dispositions() == {fs: {EventType.DESTROY}}
    session.set_disp(fs, set())
    assert session.dispositions() == {}


def test_the_directory_is_listed_whole(session, managed):
    directory = managed / "many"
    directory.mkdir()
    names = {f"file{number:04}" for number in range(700)}
    for name in names:
        (directory / name).touch()
    entries = list(session.object(Handle.of_path(directory)).entries())
    assert [entry.name for entry in entries[:2]] == [".", ".."]
    assert {entry.name for entry in entries[2:]} == names and len(entries) == 702
    some = entries[500]
    assert some.handle == Handle.of_path(directory / some.name)
    assert some.ino == (directory / some.name).stat().st_ino


def test_all_objects_are_found(session, managed, path):
    session.object(Handle.of_path(path)).set_attribute("find", b"me")
    fs = session.object(Handle.of_fs(managed))
    live = {one.lstat().st_ino for one in [managed, *managed.rglob("*")]}
    found = [one.ino for one in fs.bulk()]
    assert sorted(found) == sorted(live)
    holders = {one.handle: one.attribute for one in fs.bulk(attribute="find") if one.attribute is not None}
    assert holders == {Handle.of_path(path): b"me"}


def test_mountinfo_tells_the_mount(session, managed):
    info = session.object(Handle.of_fs(managed)).mountinfo()
    assert info.path == str(managed) and info.root == Handle.of_path(managed) and not info.read_only
    assert info.fs == Handle.of_fs(managed)


def test_what_objects_inherit_goes_there_and_back(session, managed):
    fs = session.object(Handle.of_fs(managed))
    fs.set_inherit("policy", stat.S_IFREG)
    assert fs.inherited() == [(b"policy", stat.S_IFREG)]
    fs.clear_inherit("policy")
    assert fs.inherited() == []


def test_optional_functions_say_so(session, managed, path):
    directory = session.object(Handle.of_path(managed))
    for call in (
        lambda: directory.create(Handle.of_path(path), "x"),
        lambda: directory.mkdir(Handle.of_path(path), "x"),
        lambda: directory.symlink(Handle.of_path(path), "x", "y"),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_a_file_is_opened_by_handle(session, path):
    handle = Handle.of_path(path)
    fd = handle.open(os.O_RDONLY)
    try:
        assert os.pread(fd, 10, 0) == path.read_bytes()[:10]
    finally:
        os.close(fd)
    file = session.object(handle)
    file.sync()
    file.sync_attributes()
    assert file.dioinfo().d_miniosz > 0

"""Sessions, messages, tokens and rights that need no file system."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import dmapi
from conftest import wait_until
from dmapi import EventType, Session

PYTHON = Path(__file__).resolve().parents[1]


def test_the_service_has_a_version(service):
    assert "DMAPI" in dmapi.init_service()


def test_a_session_keeps_its_string(session):
    assert session.info == f"python test {os.getpid()}"
    assert session in Session.all()


def test_a_session_that_is_destroyed_is_invalid(service):
    with Session.create("short") as short:
        pass
    with pytest.raises(dmapi.Invalid):
        short.info
    with pytest.raises(ValueError):
        short.destroy()


def test_a_string_of_255_bytes_is_the_longest(service):
    with Session.create("x" * 255) as longest:
        assert longest.info == "x" * 255
    before = Session.all()
    with pytest.raises(dmapi.TooBig):
        Session.create("x" * 256)
    assert Session.all() == before


def test_assuming_gives_a_new_id_and_ends_the_old_one(service):
    old = Session.create("assumed")
    token = old.create_userevent(b"kept")
    new = Session.assume_or_create("assumed")
    assert new != old
    assert new.outstanding()[0].body == b"kept"
    with pytest.raises(dmapi.Invalid):
        old.info
    dmapi.Token(new, token.number).respond()
    new.destroy()


def test_messages_come_in_order(session):
    for data in (b"one", b"", b"three"):
        session.send(data)
    events = session.get_events()
    assert [event.body for event in events] == [b"one", b"", b"three"]
    assert all(event.type is EventType.USER and event.token is None for event in events)
    assert session.get_events() == []


def test_a_message_larger_than_the_first_buffer_arrives(session):
    data = os.urandom(3960)
    for _ in range(40):
        session.send(data)
    received = []
    while len(received) < 40:
        received += session.get_events()
    assert all(event.body == data for event in received)
    with pytest.raises(dmapi.TooBig):
        session.send(bytes(3961))


def test_a_synchronous_message_waits_for_its_answer(session):
    outcomes = []

    def send(expected):
        try:
            session.send(expected, wait=True)
            outcomes.append(None)
        except OSError as error:
            outcomes.append(error.errno)

    for data, respond in ((b"good", 0), (b"bad", 28)):
        sender = threading.Thread(target=send, args=(data,))
        sender.start()
        (event,) = session.get_events(1, wait=True)
        assert event.body == data
        if respond:
            event.respond(dmapi.Response.ABORT, respond)
        else:
            event.respond()
        sender.join()
    assert outcomes == [None, 28]


def test_the_block_of_an_event_answers_it(session):
    errors = []

    def send():
        try:
            session.send(b"", wait=True)
        except OSError as error:
            errors.append(error.errno)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(FileNotFoundError):
        with session.get_events(1, wait=True)[0]:
            raise FileNotFoundError(2, "not in the store")
    sender.join()
    assert errors == [2]
    assert session.tokens() == []


def test_a_token_is_answered_once(session):
    token = session.create_userevent(b"data")
    assert session.tokens() == [token]
    assert token.event().body == b"data"
    token.respond()
    with pytest.raises(dmapi.TokenGone):
        token.respond()
    assert session.tokens() == []


def test_an_event_moves_to_another_session(session):
    with Session.create("target") as target:
        token = session.create_userevent(b"on the move")
        moved = token.move(target)
        assert session.tokens() == []
        assert target.outstanding()[0].body == b"on the move"
        with pytest.raises(dmapi.Invalid):
            token.event()
        moved.respond()


def test_a_session_with_events_is_busy(session):
    with Session.create("busy") as busy:
        busy.send(b"unread")
        with pytest.raises(dmapi.Busy):
            busy.destroy()
        busy.get_events()


def test_mount_interest_is_of_the_global_handle(session):
    session.set_disp(dmapi.GLOBAL, {EventType.MOUNT})
    session.set_disp(dmapi.GLOBAL, set())
    with pytest.raises(dmapi.Invalid):
        session.set_disp(dmapi.GLOBAL, {EventType.READ})


def test_another_process_can_answer(session):
    token = session.create_userevent(b"for a child")
    code = "import dmapi, sys; dmapi.Token(dmapi.Session(int(sys.argv[1])), int(sys.argv[2])).respond()"
    subprocess.run(
        [sys.executable, "-c", code, str(session.id), str(token.number)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(PYTHON)},
    )
    assert session.tokens() == []


def test_a_forked_child_has_its_own_conversation(session):
    session.send(b"before the fork")
    child = os.fork()
    if child == 0:
        try:
            session.send(b"from the child")
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert [event.body for event in session.get_events()] == [b"before the fork", b"from the child"]


def test_an_application_that_closes_all_descriptors_goes_on(service):
    code = (
        "import os, dmapi\n"
        "own = dmapi.Session.create('closes all')\n"
        "os.closerange(3, 1024)\n"
        "files = [os.open('/dev/null', os.O_RDONLY) for _ in range(20)]\n"
        "own.destroy()\n"
        "assert all(os.fstat(one) for one in files)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(PYTHON)})


def test_a_signal_interrupts_the_wait_and_loses_nothing(session):
    class Enough(Exception):
        pass

    def handler(_signal, _frame):
        raise Enough

    before = signal.signal(signal.SIGUSR1, handler)
    stop = threading.Event()

    def poke():
        # Again and again: the first may come before the wait has begun.
        while not stop.wait(0.05):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    poker = threading.Thread(target=poke)
    poker.start()
    try:
        with pytest.raises(Enough):
            session.get_events(1, wait=True)
    finally:
        stop.set()
        while poker.is_alive():
            try:
                poker.join()
            except Enough:
                pass
        signal.signal(signal.SIGUSR1, before)
    session.send(b"afterwards")
    assert session.get_events(1, wait=True)[0].body == b"afterwards"


def sleeps_in_poll(pid: int) -> bool:
    """As far as the kernel tells; where it does not, any moment will do."""
    place = Path(f"/proc/{pid}/wchan").read_text()
    return "poll" in place or place in ("", "0")


def test_a_killed_reader_takes_no_event_with_it(session):
    code = "import dmapi, sys; dmapi.Session(int(sys.argv[1])).get_events(1, wait=True)"
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(session.id)], env={**os.environ, "PYTHONPATH": str(PYTHON)}
    )

    wait_until(lambda: sleeps_in_poll(reader.pid), "the wait of the reader")
    reader.kill()
    reader.wait()
    session.send(b"still there")
    (event,) = session.get_events(1, wait=True)
    assert event.body == b"still there"


def test_a_child_of_a_killed_reader_does_not_keep_its_event(session):
    # The child holds the dead reader's connection open, but nobody will ever read from it.
    code = (
        "import os, sys, time, dmapi\n"
        "own = dmapi.Session(int(sys.argv[1]))\n"
        "own.info\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    time.sleep(1000)\n"
        "print(child, flush=True)\n"
        "own.get_events(1, wait=True)\n"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(session.id)],
        env={**os.environ, "PYTHONPATH": str(PYTHON)},
        stdout=subprocess.PIPE,
    )
    child = int(reader.stdout.readline())
    try:
        wait_until(lambda: sleeps_in_poll(reader.pid), "the wait of the reader")
        reader.kill()
        reader.wait()
        session.send(b"for the living")
        (event,) = session.get_events(1, wait=True)
        assert event.body == b"for the living"
    finally:
        os.kill(child, signal.SIGKILL)
        reader.stdout.close()

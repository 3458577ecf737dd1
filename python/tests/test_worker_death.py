"""The worker is killed again and again while calls are on their way: each is carried out exactly once."""

import os
import signal
import threading
from pathlib import Path

import pytest

import dmapi
from conftest import wait_until

KILLS = 5
MESSAGES = 200


def workers_of(supervisor: int) -> list:
    """The supervisor's children. (Only it and its worker share the daemon.)"""
    try:
        return [int(pid) for pid in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]
    except FileNotFoundError:
        return []


class Killer(threading.Thread):
    """Kills the worker and waits for the next one, KILLS times or until it is told to stop."""

    def __init__(self, supervisor: int) -> None:
        super().__init__()
        self.supervisor = supervisor
        self.kills = 0
        self.done = threading.Event()
        self.problem = None

    def run(self) -> None:
        try:
            while self.kills < KILLS and not self.done.is_set():
                wait_until(lambda: bool(workers_of(self.supervisor)), "a worker")
                (worker,) = workers_of(self.supervisor)
                os.kill(worker, signal.SIGKILL)
                self.kills += 1
                wait_until(lambda: workers_of(self.supervisor) not in ([], [worker]), "the next worker")
                # It must serve before it dies, or no call would ever come through.
                dmapi.init_service()
        except Exception as problem:  # Told by the test, in the main thread.
            self.problem = problem

    def finish(self) -> None:
        self.done.set()
        self.join()
        if self.problem:
            raise self.problem
        assert self.kills > 0


@pytest.fixture
def killer(supervisor):
    killer = Killer(supervisor)
    killer.start()
    yield killer
    killer.done.set()
    killer.join()


def test_no_message_is_lost_or_doubled(session, killer):
    failed = []

    def send() -> None:
        try:
            for number in range(MESSAGES):
                session.send(str(number).encode())
        except Exception as problem:  # Told by the test, in the main thread.
            failed.append(problem)

    sender = threading.Thread(target=send)
    sender.start()
    received = []
    while len(received) < MESSAGES and not failed:
        received += [int(event.body) for event in session.get_events(3, wait=True)]
    sender.join()
    killer.finish()
    assert not failed
    assert received == list(range(MESSAGES))
    assert session.get_events() == []


def test_tokens_are_made_and_answered_once(session, killer):
    while killer.kills < KILLS and killer.is_alive():
        token = session.create_userevent(b"once")
        assert session.tokens() == [token]
        token.respond()
        assert session.tokens() == []
        with pytest.raises(dmapi.TokenGone):
            token.respond()
    killer.finish()


def test_a_synchronous_message_outlives_the_workers(session, killer):
    answers = []
    rounds = 30

    def send() -> None:
        for number in range(rounds):
            try:
                session.send(str(number).encode(), wait=True)
                answers.append(0)
            except OSError as error:
                answers.append(error.errno)

    sender = threading.Thread(target=send)
    sender.start()
    for number in range(rounds):
        (event,) = session.get_events(1, wait=True)
        assert int(event.body) == number
        event.respond(dmapi.Response.ABORT, number + 1)
    sender.join()
    killer.finish()
    assert answers == [number + 1 for number in range(rounds)]

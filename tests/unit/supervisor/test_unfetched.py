"""Requests of those who do not fetch their answers: neither memory nor time is spent on them."""

import asyncio
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest

from rke2_units.supervisor import connection
from rke2_units.supervisor.connection import Connection

from .conftest import Supervisor
from .test_attacks import answer_of, pong, unharmed
from .test_places import ATTACKER, LARGE

PING = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"GET /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
BLANK_LINES = b"GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n" + b"\r\n" * 20


def unfetched(supervisor: Supervisor) -> ssl.SSLSocket:
    tls = supervisor.speak(ATTACKER)
    tls.sendall(b"GET /static/large HTTP/1.1\r\nHost: a\r\n\r\n")
    return tls


@pytest.fixture
def large(material: Path) -> None:
    (material / "static" / "large").write_bytes(bytes(LARGE))


@pytest.mark.usefixtures("large")
def test_requests_whose_ends_lie_across_two_records_do_not_pile_up(supervisor: Supervisor) -> None:
    with ExitStack() as stack, unharmed(supervisor):
        attack = [stack.enter_context(unfetched(supervisor)) for _ in range(60)]
        for tls in attack:
            tls.sendall(b"GET / HTTP/1.1\r\n")
        paced = stack.enter_context(supervisor.speak())
        for _ in range(350):
            for tls in attack:
                tls.sendall(b"\r\nGET / HTTP/1.1\r\n")
            # So that each record is read by itself: together they are seen for what they are.
            paced.sendall(PING)
            assert pong(paced)


@pytest.mark.usefixtures("large")
def test_many_answers_that_nobody_fetches_weigh_little(supervisor: Supervisor) -> None:
    with ExitStack() as stack, unharmed(supervisor):
        for _ in range(100):
            tls = stack.enter_context(unfetched(supervisor))
            tls.sendall(PING * 500)


def test_requests_that_do_not_wait_for_answers_are_answered_one_after_another(
    supervisor: Supervisor,
) -> None:
    with unharmed(supervisor), supervisor.speak() as tls:
        tls.sendall(PING * 500 + b"GET /ping HTTP/1.0\r\n\r\n")
        assert answer_of(tls).count(b"pong") == 501


@pytest.mark.parametrize("request_", [CHUNKED, BLANK_LINES], ids=["in chunks", "with blank lines"])
def test_a_kept_connection_takes_any_number_of_bodies(supervisor: Supervisor, request_: bytes) -> None:
    with supervisor.speak() as tls:
        for _ in range(50):
            tls.sendall(request_)
            assert pong(tls)
        tls.sendall(request_ * 20 + b"GET /ping HTTP/1.0\r\n\r\n")
        assert answer_of(tls).count(b"pong") == 21


class Transport(asyncio.Transport):
    """Takes nothing, and notes whether it was ended."""

    aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def set_read_buffer_limits(self, high: int) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


class Keeper:
    said = ""

    def remove(self, one: Connection) -> None: ...

    def say(self, address: str, what: str) -> None:
        self.said = what


@pytest.mark.parametrize("fetches", [False, True], ids=["nothing", "a little"])
def test_an_answer_of_which_nothing_is_fetched_in_time_is_given_up(
    monkeypatch: pytest.MonkeyPatch, fetches: bool
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)

    async def scenario() -> tuple[bool, str]:
        transport, keeper = Transport(), Keeper()
        one = Connection("192.0.2.1", asyncio.Protocol, keeper)
        one.connection_made(transport)
        one.request_began()
        for _ in range(4):
            await asyncio.sleep(0.1)
            if fetches:
                one.pause_writing()
                one.resume_writing()
        one.connection_lost(None)
        return transport.aborted, keeper.said

    assert asyncio.run(scenario()) == ((False, "") if fetches else (True, "did not fetch its answer"))

"""Requests of those who do not fetch their answers: neither memory nor time is spent on them."""

import asyncio
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rke2_units.join_api import connection
from rke2_units.join_api.connection import Connection

from .conftest import Api, Supervisor, running
from .test_attacks import answer_of, pong, unharmed
from .test_places import ATTACKER, LARGE

# The connections that there may be.
ALL = 256
FILE = b"GET /static/large HTTP/1.1\r\nHost: a\r\n\r\n"
PING = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"GET /ping HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
BLANK_LINES = b"GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n" + b"\r\n" * 20


def unfetched(supervisor: Supervisor) -> ssl.SSLSocket:
    tls = supervisor.speak(ATTACKER)
    tls.sendall(FILE)
    return tls


@pytest.fixture
def large(material: Path) -> None:
    (material / "static" / "large").write_bytes(bytes(LARGE))


@pytest.mark.usefixtures("large")
def test_as_many_unfetched_answers_as_there_can_be_weigh_little(supervisor: Supervisor) -> None:
    """Requests wait behind each. One of another address that is slow as well loses nothing to them."""
    with ExitStack() as stack, unharmed(supervisor):
        other = stack.enter_context(supervisor.speak())
        other.sendall(FILE)
        for _ in range(ALL):
            tls = stack.enter_context(unfetched(supervisor))
            tls.sendall(PING * 500)
            assert other.recv(16 << 10)
    assert f"{ATTACKER} has the most answers in progress" in supervisor.journal


def test_a_file_may_be_fetched_for_as_long_as_something_of_it_is(
    material: Path, api: Api, large: None
) -> None:
    patience = "from rke2_units.join_api import connection; connection.ANSWER_SECONDS = 5"
    with running(material, api, patience) as supervisor, unfetched(supervisor) as tls:
        began, received = time.monotonic(), 0
        while received < LARGE:
            piece = tls.recv(1 << 20)
            assert piece
            received += len(piece)
            # All of it in some 8 s.
            time.sleep(max(0.0, began + 8 * received / LARGE - time.monotonic()))


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
    """Takes nothing, and notes whether it is read from, and was ended."""

    aborted = False
    reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def set_read_buffer_limits(self, high: int) -> None: ...

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def abort(self) -> None:
        self.aborted = True


class Keeper:
    said = ""

    def remove(self, one: Connection) -> None: ...

    def say(self, address: str, what: str) -> None:
        self.said = what

    def answers_another(self) -> None: ...


class Handler(asyncio.Protocol):
    """Collects what it gets."""

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data


@given(records=st.lists(st.integers(1, 60), min_size=1))
def test_one_request_after_another_is_taken_however_records_cut_them(records: list[int]) -> None:
    request = b"GET / HTTP/1.1\r\n\r\n"

    async def scenario() -> None:
        transport, handler = Transport(), Handler()
        one = Connection("192.0.2.1", lambda: handler, Keeper())
        one.connection_made(transport)
        # As many bytes as all records hold, and what is left of the last request.
        count = -(-sum(records) // len(request))
        stream, ends = request * count, [*records, len(request)]
        for number in range(1, count + 1):
            while ends and transport.reading:
                size = min(ends.pop(0), len(stream))
                memoryview(one.get_buffer(-1))[:size] = stream[:size]
                one.buffer_updated(size)
                stream = stream[size:]
            # No more than this one, and nothing more is read.
            assert handler.received == request * number
            assert not transport.reading
            one.request_began()
            one.request_ended()
        one.connection_lost(None)

    asyncio.run(scenario())


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

    assert asyncio.run(scenario()) == ((False, "") if fetches else (True, "did not read its answer"))

"""Who has a place on port 9345 while one address wants all of them."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from rke2_units.join_api.turns import Turns

from .conftest import Api, Supervisor, running
from .test_attacks import ends, pong, unharmed

ATTACKER = "127.0.0.66"
PLACES = 8
CONFIG = b"GET /v1-rke2/config HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LARGE = 8 << 20


def idle(supervisor: Supervisor) -> ssl.SSLSocket:
    tls = supervisor.speak(ATTACKER)
    tls.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
    assert pong(tls)
    return tls


def unfetched(supervisor: Supervisor) -> ssl.SSLSocket:
    """An answer that is under way, and nobody reads its end."""
    tls = supervisor.speak(ATTACKER)
    tls.sendall(b"GET /static/large HTTP/1.1\r\nHost: a\r\n\r\n")
    assert tls.recv(100).startswith(b"HTTP/1.1 200")
    return tls


@pytest.fixture(scope="module")
def large(material: Path) -> None:
    (material / "static" / "large").write_bytes(bytes(LARGE))


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", [idle, unfetched])
def test_knocking_beside_many_connections_ends_no_handshake_of_others(
    material: Path, api: Api, kind: Callable[[Supervisor], ssl.SSLSocket]
) -> None:
    with (
        running(material, api, connections=PLACES) as supervisor,
        unharmed(supervisor),
        ExitStack() as stack,
    ):

        def knock() -> None:
            for _ in range(3):
                stack.enter_context(supervisor.connect(ATTACKER))

        for _ in range(PLACES - 1):
            stack.enter_context(kind(supervisor))
        for _ in range(5):
            # One after the other reaches the server: what a caller does that is some milliseconds away.
            with supervisor.connect() as caller:
                knock()
                with supervisor.tls("node-two").wrap_socket(caller, server_hostname="127.0.0.1") as tls:
                    knock()
                    tls.sendall(CONFIG)
                    assert tls.recv(100).startswith(b"HTTP/1.1 200")
        assert f"{ATTACKER} holds the most connections" in supervisor.journal


def test_a_newcomer_takes_the_place_of_the_address_with_most_even_if_others_say_less(
    material: Path, api: Api
) -> None:
    with running(material, api, connections=4) as supervisor, ExitStack() as stack:
        first, *_ = [stack.enter_context(idle(supervisor)) for _ in range(3)]
        silent = stack.enter_context(supervisor.connect("127.0.0.2"))
        assert supervisor.ask("/ping").status == 200
        assert ends(first, 2)
        assert not ends(silent, 0.1)


def test_few_of_a_network_are_at_it_at_once_and_nobody_is_remembered() -> None:
    async def scenario() -> tuple[int, int]:
        turns = Turns(2)
        now = most = 0

        async def one(network: str) -> None:
            nonlocal now, most
            async with turns.of(network) as its_turns, its_turns:
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

        await asyncio.gather(*(one("a") for _ in range(10)))
        async with turns.of("a") as its_turns, its_turns, its_turns:
            # All of one network's are taken: another network's are not.
            await asyncio.wait_for(one("b"), 1)
        return most, len(turns._here)

    assert asyncio.run(scenario()) == (2, 0)

"""How long others may take, and how many are served at once."""

import asyncio
import time
from contextlib import ExitStack

import pytest

from rke2_units.join_api import slots
from rke2_units.join_api.refusal import Refusal

from .conftest import Supervisor
from .test_attacks import answer_of, ends


def test_who_is_slow_is_cut_off_after_ten_seconds(supervisor: Supervisor) -> None:
    """Handshake, first request, and body: each of them begun and not ended."""
    began = time.monotonic()
    with ExitStack() as stack:
        handshake = stack.enter_context(supervisor.connect())
        context = supervisor.tls()
        request, body, trickle = (
            stack.enter_context(context.wrap_socket(supervisor.connect(), server_hostname="127.0.0.1"))
            for _ in range(3)
        )
        request.sendall(b"GET /ping HTTP/1.1\r\nHost: a\r\n")
        body.sendall(
            b"POST /v1-rke2/client-kube-proxy.crt HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
            b"Authorization: Basic bm9kZTp0aGUtYWdlbnRz\r\n\r\nno"
        )
        for letter in b"GET /pin":
            trickle.sendall(bytes([letter]))
            time.sleep(1)
        assert answer_of(body).startswith(b"HTTP/1.1 408")
        assert all(ends(connection, 5) for connection in (handshake, request, trickle))
    assert 9 < time.monotonic() - began < 15


def test_more_requests_than_may_be_at_once_wait_their_turn_and_then_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "WAIT_SECONDS", 0.1)

    async def scenario() -> None:
        slot = slots.Slot(asyncio.Semaphore(1))
        async with slot:
            with pytest.raises(Refusal) as refused:
                async with slot:
                    pass
            assert refused.value.status == 429 and refused.value.headers["Retry-After"]
        async with slot:
            waiting = asyncio.create_task(enter(slot))
            await asyncio.sleep(0.01)
        await waiting

    async def enter(slot: slots.Slot) -> None:
        async with slot:
            pass

    asyncio.run(scenario())

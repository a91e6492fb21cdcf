"""One connection: how long it may be silent, and how much of what it sends is taken at a time.

aiohttp takes all that comes, and makes objects of it that weigh 80 times as much. Here it gets the headers
of one request when they are whole, as much of the body as its handler asks for, and the next request when
the answer has been fetched. What is sent beyond that waits with the sender.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol, cast

from aiohttp import StreamReader, web

from rke2_units.join_api.throttle import network

LARGEST_HEADER = 16 << 10
LARGEST_BODY = 64 << 10
FIRST_REQUEST_SECONDS = 10.0
# An answer may take so long to be made, and so long may nothing of it be fetched.
ANSWER_SECONDS = 30.0
# Headers that are larger than they may be get an answer that says so, up to this.
_LARGEST_READ = 2 * LARGEST_HEADER
# A body is passed on in pieces: what follows it in the last one is taken for further requests at once.
_PIECE = 512
# What waits to be fetched. asyncio's 512 KB for each would be 128 MB in all.
UNFETCHED = 2 << 10
# What waits encrypted, but for what was read at once. asyncio's 256 KB would be 64 MB in all.
_UNREAD = 1 << 10
# What is decrypted at a time, of whatever connection. While a request is answered the rest stays with TLS.
_DECRYPTED = memoryview(bytearray(4 << 10))
# Not the empty lines that may come before a request.
_HEADERS_END = re.compile(rb"[^\r\n]\r?\n\r?\n")
_LONGEST_END = 5


class Keeper(Protocol):
    """Who has all connections."""

    def remove(self, connection: "Connection") -> None: ...

    def say(self, address: str, what: str) -> None: ...

    def answers_another(self) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """From the handshake on. What it receives goes on to aiohttp's handler, within bounds."""

    def __init__(self, address: str, factory: Callable[[], asyncio.Protocol], keeper: Keeper) -> None:
        """`factory` makes aiohttp's handler."""
        self.address = address
        self.network = network(address)
        # Nobody, until the handshake is over.
        self.handler = asyncio.Protocol()
        self.answering = False
        # It has sent a whole request; its caller was one that we know.
        self.spoke = False
        self.known = False
        self._loop = asyncio.get_running_loop()
        # When it came, or its last answer was fetched.
        self.resting_since = self._loop.time()
        self._factory = factory
        self._keeper = keeper
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sent_anything = False
        self._received = bytearray()
        # How far no end of headers was found.
        self._looked = 0
        # aiohttp has a request; what its handler asks for of the body.
        self._busy = False
        self._body: StreamReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNFETCHED)
        # typeshed does not know that TLS has these.
        self._transport.set_read_buffer_limits(high=_UNREAD)  # type: ignore[attr-defined]
        self._alarm(FIRST_REQUEST_SECONDS, "sent no whole request in time")
        self.handler = self._factory()
        self.handler.connection_made(transport)
        # A request may have come with the end of the handshake.
        self._pass_on()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _DECRYPTED

    def buffer_updated(self, nbytes: int) -> None:
        self._sent_anything = True
        self._received += _DECRYPTED[:nbytes]
        self._pass_on()

    def eof_received(self) -> bool | None:
        return self.handler.eof_received()

    def pause_writing(self) -> None:
        self._alarm(ANSWER_SECONDS, "did not fetch its answer")
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self._alarm(ANSWER_SECONDS, "did not fetch its answer")
        self.handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._disarm()
        self._keeper.remove(self)
        if self._sent_anything and not self.spoke:
            self._keeper.say(self.address, "sent no valid request")
        self.handler.connection_lost(error)

    def request_began(self) -> None:
        """Its headers are there."""
        self.answering = self.spoke = True
        self._alarm(ANSWER_SECONDS, "did not fetch its answer")
        self._keeper.answers_another()

    async def body(self, request: web.BaseRequest) -> bytes:
        """The whole body of the request that is being answered."""
        self._body = request.content
        try:
            self._pass_on()
            return await request.read()
        finally:
            self._body = None

    def request_ended(self) -> None:
        """Its answer is fetched, but for what the system holds of it."""
        self.answering = self._busy = False
        self.resting_since = self._loop.time()
        self._disarm()
        self._pass_on()

    def abort(self) -> None:
        """Ends it at once; before the handshake is over, its socket is what is ended (Connections)."""
        if self._transport is not None:
            self._transport.abort()

    def _pass_on(self) -> None:
        if self._transport is None:
            return
        while size := self._size():
            piece = bytes(self._received[:size])
            del self._received[:size]
            self.handler.data_received(piece)
        if not self._busy and len(self._received) > _LARGEST_READ:
            self._too_late("sent more than any request may hold")
        elif self._busy and (self._body is None or self._body.is_eof()):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _size(self) -> int:
        """How much of what was received goes to aiohttp now."""
        if self._body is not None:
            return 0 if self._body.is_eof() else min(_PIECE, len(self._received))
        if self._busy:
            return 0
        found = _HEADERS_END.search(self._received, self._looked)
        self._looked = 0 if found else max(0, len(self._received) - _LONGEST_END)
        if found is None:
            return 0
        self._busy = True
        return found.end()

    def _alarm(self, seconds: float, why: str) -> None:
        self._disarm()
        self._timer = self._loop.call_later(seconds, self._too_late, why)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self, why: str) -> None:
        self._keeper.say(self.address, why)
        self.abort()

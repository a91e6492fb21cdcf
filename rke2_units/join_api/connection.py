"""One connection: limits how long it may be silent, and how much of its data is read at a time.

aiohttp reads everything that arrives, and turns it into objects that take 80 times the memory. Here it
receives the headers of one request when they are complete, as much of the body as its handler reads, and the
next request when the client has read the answer. All further data stays with the sender.
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
# An answer must be ready within this time, and the client may stop reading it for this long.
ANSWER_SECONDS = 30.0
# Headers above the limit are answered with an error, up to this size.
_LARGEST_READ = 2 * LARGEST_HEADER
# A body is passed on in pieces of this size: data after it in the last piece is parsed as further requests.
_PIECE = 512
# Bytes of an answer that are buffered. asyncio's 512 KB for each connection would be 128 MB in all.
UNFETCHED = 2 << 10
# Encrypted bytes that are buffered beyond one read. asyncio's 256 KB would be 64 MB in all.
_UNREAD = 1 << 10
# The buffer for decrypted data of all connections. While a request is answered, the rest stays in TLS.
_DECRYPTED = memoryview(bytearray(4 << 10))
# Not the empty lines that may come before a request.
_HEADERS_END = re.compile(rb"[^\r\n]\r?\n\r?\n")
_LONGEST_END = 5


class Keeper(Protocol):
    """What a connection needs of Connections."""

    def remove(self, connection: "Connection") -> None: ...

    def say(self, address: str, what: str) -> None: ...

    def answers_another(self) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """A connection after the handshake. Passes received data to aiohttp's handler, within limits."""

    def __init__(self, address: str, factory: Callable[[], asyncio.Protocol], keeper: Keeper) -> None:
        """`factory` returns a handler of aiohttp."""
        self.address = address
        self.network = network(address)
        # A dummy, until the handshake is complete.
        self.handler = asyncio.Protocol()
        self.answering = False
        # Whether it has sent a complete request, and whether its caller was authenticated.
        self.spoke = False
        self.known = False
        self._loop = asyncio.get_running_loop()
        # When it was accepted, or when its last answer was read.
        self.resting_since = self._loop.time()
        self._factory = factory
        self._keeper = keeper
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sent_anything = False
        self._received = bytearray()
        # Up to where no end of headers was found.
        self._looked = 0
        # Whether aiohttp has a request, and the body if its handler is reading that.
        self._busy = False
        self._body: StreamReader | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNFETCHED)
        # typeshed does not know this method of TLS transports.
        self._transport.set_read_buffer_limits(high=_UNREAD)  # type: ignore[attr-defined]
        self._alarm(FIRST_REQUEST_SECONDS, "did not send a complete request in time")
        self.handler = self._factory()
        self.handler.connection_made(transport)
        # A request may have arrived with the end of the handshake.
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
        self.answer_within()
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.answer_within()
        self.handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._disarm()
        self._keeper.remove(self)
        if self._sent_anything and not self.spoke:
            self._keeper.say(self.address, "did not send a valid request")
        self.handler.connection_lost(error)

    def request_began(self) -> None:
        """The headers of a request have arrived."""
        self.answering = self.spoke = True
        self.answer_within()
        self._keeper.answers_another()

    async def body(self, request: web.BaseRequest, most: int) -> bytes:
        """The body of the request that is being answered, or more than `most` bytes of a larger one."""
        self._body = request.content
        content = bytearray()
        try:
            self._pass_on()
            while len(content) <= most and (piece := await request.content.readany()):
                content += piece
            return bytes(content)
        finally:
            self._body = None

    def answer_within(self, seconds: float = 0.0) -> None:
        """The answer may take this long from now on; ANSWER_SECONDS without a number."""
        self._alarm(seconds or ANSWER_SECONDS, "did not read its answer")

    def request_ended(self) -> None:
        """The client has read the answer, except for what the system buffers."""
        self.answering = self._busy = False
        self.resting_since = self._loop.time()
        self._disarm()
        self._pass_on()

    def abort(self) -> None:
        """Closes it at once. During the handshake there is only a socket, which Connections closes."""
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
            self._too_late("sent a request that is too large")
        elif self._busy and (self._body is None or self._body.is_eof()):
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _size(self) -> int:
        """How many of the received bytes may be passed to aiohttp now."""
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

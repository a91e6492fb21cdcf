"""Connections: how many there are, how long one may be silent, and how much it may send before it is read.

aiohttp's server reads requests and writes answers. What it leaves open stands here: a limit of connections,
a time for the TLS handshake and the first request, and a bound on what waits to be read.
"""

import asyncio
import asyncio.sslproto
import re
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import cast

from aiohttp import web

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.supervisor import memory
from rke2_units.supervisor.throttle import network

LARGEST_HEADER = 16 << 10
LARGEST_BODY = 64 << 10
HANDSHAKE_SECONDS = 10.0
FIRST_REQUEST_SECONDS = 10.0
_GOODBYE_SECONDS = 2.0
# The longest that an answer may take to be fetched.
_REQUEST_SECONDS = 300.0
# Requests that may wait behind the one that is being answered.
_MOST_WAITING = 8
# What asyncio keeps of an ended connection refers to itself, and Python would find it by and by: those of an
# attack would weigh as much again as those of the next. After so many, and so many seconds.
_MANY_ENDED = 32
_TIDY_SECONDS = 0.5
# The longest TLS record.
_READ_BUFFER = 16 << 10
_HEADER_END = re.compile(rb"\r?\n\r?\n")
# After an error of accept(), which is a lack of memory or descriptors.
_ACCEPT_PAUSE = 0.1
# An address causes one line in the journal in so many seconds.
_LINE_SECONDS = 3.0


class Connection(asyncio.Protocol):
    """One connection, from accept() on. What it receives goes on to aiohttp's handler, within bounds."""

    def __init__(self, address: str, handler: asyncio.Protocol, connections: "Connections") -> None:
        self.address = address
        self.handler = handler
        self.answering = 0
        # It has sent a whole request; its caller was one that we know.
        self.spoke = False
        self.known = False
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._waiting_bytes = 0
        self._waiting_requests = 0
        self._too_much = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # asyncio's 512 KB for each who does not fetch its answer would be 128 MB in all.
        self._transport.set_write_buffer_limits(high=32 << 10)
        self._alarm(FIRST_REQUEST_SECONDS, "sent no whole request in time")
        self.handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._too_much:
            return
        self._waiting_bytes += len(data)
        self._waiting_requests += len(_HEADER_END.findall(data))
        if self._waiting_bytes <= LARGEST_HEADER + LARGEST_BODY and self._waiting_requests <= _MOST_WAITING:
            self.handler.data_received(data)
            return
        # Nothing of it is read any more; an answer that says so may still go out.
        self._too_much = True
        why = "sent more than any request may hold"
        if self.answering:
            self._alarm(_GOODBYE_SECONDS, why)
        else:
            self._too_late(why)

    def eof_received(self) -> bool | None:
        return self.handler.eof_received()

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        self._disarm()
        self._connections.remove(self)
        if self._waiting_bytes and not self.spoke:
            self._connections.say(self.address, "sent no valid request")
        self.handler.connection_lost(error)

    def request_began(self) -> None:
        """Its headers are there."""
        self.answering += 1
        self.spoke = True
        self._alarm(_REQUEST_SECONDS, "took too long to fetch an answer")

    def request_ended(self) -> None:
        """Its answer is written."""
        self.answering -= 1
        if self._too_much:
            return
        self._waiting_bytes = 0
        self._waiting_requests = max(0, self._waiting_requests - 1)
        self._disarm()

    def abort(self) -> None:
        """Ends it at once; before the handshake is over, its socket is what is ended (Connections)."""
        if self._transport is not None:
            self._transport.abort()

    def _alarm(self, seconds: float, why: str) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._too_late, why)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self, why: str) -> None:
        self._connections.say(self.address, why)
        self.abort()


class Connections:
    """All of them: accepted, counted, and ended."""

    def __init__(self, most: int, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]) -> None:
        self._most = most
        self._context = context
        self._factory = factory
        # In the order of their coming; with the task that does the handshake, as long as that lasts.
        self._all: dict[Connection, asyncio.Task[None] | None] = {}
        self._of_handler: dict[asyncio.Protocol, Connection] = {}
        # By address: how often something was said of it that is not yet in the journal, and what last.
        self._said: dict[str, tuple[int, str]] = {}
        self._ended = 0
        # asyncio's 256 KB for each, from its first moment on, would be 64 MB in all.
        asyncio.sslproto.SSLProtocol.max_size = _READ_BUFFER

    def of(self, request: web.BaseRequest) -> Connection:
        """The connection that a request came over."""
        return self._of_handler[request.protocol]

    async def accept(self, listener: socket.socket) -> None:
        """Takes connections for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listener)
            except OSError as error:
                journal.log(Level.WARNING, f"no connection could be accepted: {error.strerror}")
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            if len(self._all) >= self._most and not self._make_room():
                accepted.close()
                continue
            # The socket is one for both families.
            connection = Connection(str(peer[0]).removeprefix("::ffff:"), self._factory(), self)
            self._of_handler[connection.handler] = connection
            self._all[connection] = loop.create_task(self._begin(accepted, connection))

    def remove(self, connection: Connection) -> None:
        """It is gone."""
        self._all.pop(connection, None)
        if self._of_handler.pop(connection.handler, None) is None:
            return
        self._ended += 1
        if self._ended == _MANY_ENDED:
            asyncio.get_running_loop().call_later(_TIDY_SECONDS, self._tidy)

    def __len__(self) -> int:
        return len(self._all)

    def answering(self) -> int:
        """Requests that are being answered."""
        return sum(connection.answering for connection in self._all)

    def abort(self) -> None:
        """Ends all."""
        for connection in list(self._all):
            self._end(connection)

    def say(self, address: str, what: str) -> None:
        """A line in the journal about this address: at once, and then one in so many seconds for all."""
        address = network(address)
        if address in self._said:
            count, _ = self._said[address]
            self._said[address] = count + 1, what
            return
        self._said[address] = 0, what
        self._log(address, what)

    def _say_the_rest(self, address: str) -> None:
        count, what = self._said.pop(address)
        if count:
            self._said[address] = 0, what
            times = f" (the last of {count} in {_LINE_SECONDS:g} s)" if count > 1 else ""
            self._log(address, f"{what}{times}")

    def _log(self, address: str, what: str) -> None:
        journal.log(Level.WARNING, f"{address} {what}", RKE2_UNITS_ADDRESS=address)
        asyncio.get_running_loop().call_later(_LINE_SECONDS, self._say_the_rest, address)

    def _tidy(self) -> None:
        self._ended = 0
        memory.give_back()

    async def _begin(self, accepted: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=_GOODBYE_SECONDS,
            )
            if connection in self._all:
                self._all[connection] = None
        except OSError as error:
            self.remove(connection)
            # Who just looks whether the port is open has done nothing wrong.
            if not isinstance(error, ConnectionResetError):
                self.say(connection.address, f"made no TLS connection: {_words(error)}")

    def _make_room(self) -> bool:
        """Ends the connection that is missed least; False when all have known callers at work.

        Those that said nothing yet go first, then idle ones, then those of strangers; of each kind, the
        oldest of the address that has most.
        """
        kinds: tuple[Callable[[Connection], bool], ...] = (
            lambda one: not one.spoke,
            lambda one: not one.answering,
            lambda one: not one.known,
        )
        for is_of_kind in kinds:
            found = [connection for connection in self._all if is_of_kind(connection)]
            if found:
                ((busiest, _),) = Counter(network(one.address) for one in found).most_common(1)
                victim = next(one for one in found if network(one.address) == busiest)
                self.say(busiest, "holds most of all connections, and lost its oldest")
                self._end(victim)
                return True
        return False

    def _end(self, connection: Connection) -> None:
        handshake = self._all.get(connection)
        self.remove(connection)
        if handshake is not None:
            handshake.cancel()
        connection.abort()


def _words(error: OSError) -> str:
    """ssl.SSLError is an OSError, and so is the handshake's timeout."""
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())

"""All connections: which are accepted, which have to wait, and which are closed in favour of others.

aiohttp's server reads requests and writes answers. This module adds what it lacks: a limit of connections,
of which every address gets its share, and a time limit for the TLS handshake. connection.py limits a single
connection.
"""

import asyncio
import asyncio.sslproto
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

from aiohttp import web

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.join_api import heap
from rke2_units.join_api.connection import UNFETCHED, Connection
from rke2_units.join_api.throttle import Throttle, host, network
from rke2_units.join_api.turns import Turns

HANDSHAKE_SECONDS = 10.0
_GOODBYE_SECONDS = 2.0
# Limits of one address: TLS handshakes at the same time; handshakes at once, and then the seconds for each
# further one. Beyond that they wait: a whole site may be behind one address.
_HANDSHAKES = 16
_BURST, _SECONDS = 200, 0.01
# Seconds between checks of that rate.
_TURN_SECONDS = 0.05
# Answers to strangers at once: one that is not read takes over twice the memory of an idle connection.
_MOST_TO_STRANGERS = 128
# A connection that was idle for this long may be closed in favour of another one of its own address.
_REST_SECONDS = 2.0
# Connections that are accepted in one go.
_AT_ONCE = 16
# Ended handshakes and closed connections of asyncio are reference cycles, which Python would collect late.
# Collect them after this many and this many seconds, or an attack's garbage doubles the memory that the next
# one needs.
_MANY = 32
_TIDY_SECONDS = 0.5
# Bytes that are read at once; each connection has a buffer of this size.
_READ_BUFFER = 4 << 10
# Pause after an error of accept(), which means a lack of memory or descriptors.
_ACCEPT_PAUSE = 0.1
# An address causes at most one journal line in this many seconds.
_LINE_SECONDS = 3.0


class Connections:
    """Accepts, counts and closes all connections."""

    def __init__(self, most: int, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]) -> None:
        self._most = most
        self._context = context
        self._factory = factory
        # In the order in which they were accepted; with the task of the handshake until that is complete.
        self._all: dict[Connection, asyncio.Task[None] | None] = {}
        self._handshakes = Turns(_HANDSHAKES)
        self._rate = Throttle(_BURST, _SECONDS)
        # By address: the number of messages that are not logged yet, and the last of them.
        self._said: dict[str, tuple[int, str]] = {}
        self._untidy = 0
        # asyncio's 256 KB for each, allocated at once, would be 64 MB in all.
        asyncio.sslproto.SSLProtocol.max_size = _READ_BUFFER

    def of(self, request: web.BaseRequest) -> Connection:
        """The connection of a request."""
        return next(one for one in self._all if one.handler is request.protocol)

    async def accept(self, listener: socket.socket) -> None:
        """Accepts connections until cancelled."""
        loop = asyncio.get_running_loop()
        accepted_now = 0
        while True:
            try:
                accepted, peer = await loop.sock_accept(listener)
            except OSError as error:
                journal.log(Level.WARNING, f"cannot accept a connection: {error.strerror}")
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            # The socket serves IPv4 and IPv6.
            self._came(accepted, host(str(peer[0])))
            accepted_now = (accepted_now + 1) % _AT_ONCE
            if not accepted_now:
                # Let the existing connections work while new ones arrive.
                await asyncio.sleep(0)

    def remove(self, connection: Connection) -> None:
        """Forgets a closed connection."""
        if connection not in self._all:
            return
        del self._all[connection]
        self._leaves_garbage()

    def __len__(self) -> int:
        return len(self._all)

    def answering(self) -> int:
        """The number of requests that are being answered."""
        return sum(connection.answering for connection in self._all)

    def abort(self) -> None:
        """Closes all connections."""
        for connection in list(self._all):
            self._end(connection)

    def say(self, address: str, what: str) -> None:
        """Logs a line about this address: the first at once, then at most one in _LINE_SECONDS."""
        address = network(address)
        if address in self._said:
            count, _ = self._said[address]
            self._said[address] = count + 1, what
            return
        self._said[address] = 0, what
        self._log(address, what)

    def answers_another(self) -> None:
        """A request began. If strangers get too many answers, closes the busiest network's oldest."""
        strangers = [one for one in self._all if one.answering and not one.known]
        if len(strangers) <= _MOST_TO_STRANGERS:
            return
        ((busiest, _),) = Counter(one.network for one in strangers).most_common(1)
        victim = next(one for one in strangers if one.network == busiest)
        self.say(victim.address, "has the most answers in progress; closed its oldest connection")
        self._end(victim)

    def _say_the_rest(self, address: str) -> None:
        count, what = self._said.pop(address)
        if count:
            self._said[address] = 0, what
            times = f" (the last of {count} in {_LINE_SECONDS:g} s)" if count > 1 else ""
            self._log(address, f"{what}{times}")

    def _log(self, address: str, what: str) -> None:
        journal.log(Level.WARNING, f"{address} {what}", RKE2_UNITS_ADDRESS=address)
        asyncio.get_running_loop().call_later(_LINE_SECONDS, self._say_the_rest, address)

    def _leaves_garbage(self) -> None:
        self._untidy += 1
        if self._untidy == _MANY:
            asyncio.get_running_loop().call_later(_TIDY_SECONDS, self._tidy)

    def _tidy(self) -> None:
        self._untidy = 0
        heap.give_back()

    def _came(self, accepted: socket.socket, address: str) -> None:
        connection = Connection(address, self._factory, self)
        if len(self._all) >= self._most and not self._make_room(connection.network):
            self.say(address, "holds the most connections; rejected another one")
            accepted.close()
            return
        task = asyncio.get_running_loop().create_task(self._begin(accepted, connection))
        # Closes the socket even if the task is cancelled before it starts.
        task.add_done_callback(lambda ended: accepted.close() if ended.cancelled() else None)
        self._all[connection] = task

    async def _begin(self, accepted: socket.socket, connection: Connection) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await _first_byte(accepted)
                async with self._handshakes.of(connection.network) as turns, turns:
                    while not self._rate.spend(connection.network):
                        await asyncio.sleep(_TURN_SECONDS)
                    await self._encrypt(accepted, connection)
        except OSError as error:
            accepted.close()
            self.remove(connection)
            # A reset is not logged: somebody may just check whether the port is open.
            if not isinstance(error, ConnectionResetError):
                self.say(connection.address, f"failed the TLS handshake: {_words(error)}")

    async def _encrypt(self, accepted: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(_Unread, accepted)
        # The same limit below TLS as above it: asyncio's 64 KB for each would be 16 MB in all.
        transport.set_write_buffer_limits(high=UNFETCHED)
        encrypted = await loop.start_tls(
            transport, connection, self._context, server_side=True, ssl_shutdown_timeout=_GOODBYE_SECONDS
        )
        if encrypted is not None and connection in self._all:
            self._all[connection] = None
            connection.connection_made(encrypted)
            self._leaves_garbage()

    def _make_room(self, whose: str) -> bool:
        """Closes a connection of the network with the most, counting the new one; False if it cannot.

        If that is the new one's network, only a connection that was idle for a while is closed: many callers
        behind one address must not close each other's new connections.
        """
        held = Counter(one.network for one in self._all)
        held[whose] += 1
        for busiest in sorted(held, key=lambda one: (-held[one], one == whose)):
            if held[busiest] < held[whose]:
                break
            victim = _least_missed(self._of(busiest, rested=busiest == whose))
            if victim:
                self.say(victim.address, "holds the most connections; closed its oldest one")
                self._end(victim)
                return True
        return False

    def _of(self, whose: str, *, rested: bool) -> list[Connection]:
        """This network's connections, oldest first; with `rested` only those that were idle for a while."""
        before = asyncio.get_running_loop().time() - _REST_SECONDS
        found = (one for one in self._all if one.network == whose)
        return [one for one in found if not rested or (not one.answering and one.resting_since <= before)]

    def _end(self, connection: Connection) -> None:
        handshake = self._all.get(connection)
        self.remove(connection)
        if handshake is not None:
            handshake.cancel()
        connection.abort()


class _Unread(asyncio.Protocol):
    """Reads nothing: all data is for TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).pause_reading()


def _least_missed(found: Sequence[Connection]) -> Connection | None:
    """The connection to close: the oldest without a request, else an idle one, else a stranger's.

    None if all of them are answering authenticated callers.
    """
    kinds: tuple[Callable[[Connection], bool], ...] = (
        lambda one: not one.spoke,
        lambda one: not one.answering,
        lambda one: not one.known,
    )
    return next((one for is_of_kind in kinds for one in found if is_of_kind(one)), None)


async def _first_byte(accepted: socket.socket) -> None:
    """Waits for the first byte: a silent connection costs almost nothing."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(accepted, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(accepted)


def _words(error: OSError) -> str:
    """The reason as one line; ssl.SSLError and the handshake's timeout are OSErrors, too."""
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())

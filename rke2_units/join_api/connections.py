"""All connections: who is let in, who has to wait for that, and who has to go for others.

aiohttp's server reads requests and writes answers. What it leaves open stands here: a limit of connections
that every address has its share of, and a time for the TLS handshake. What one connection may do is
connection.py's.
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
# Of one address: TLS handshakes at once, and how many there may be: so many at first, then one in so many
# seconds.
# Who is beyond that waits: a whole site may be behind one address.
_HANDSHAKES = 16
_BURST, _SECONDS = 200, 0.01
# How often it is looked whether there is another one.
_TURN_SECONDS = 0.05
# Answers to strangers at once: one that is not fetched weighs more than twice what an idle connection does.
_MOST_TO_STRANGERS = 128
# What has rested for so long may go for another one of its own address.
_REST_SECONDS = 2.0
# Connections that are accepted in one go.
_AT_ONCE = 16
# What asyncio keeps of a handshake or an ended connection refers to itself, and Python would find it late:
# those of an attack would weigh as much again as those of the next. After so many, and so many seconds.
_MANY = 32
_TIDY_SECONDS = 0.5
# What is read at once of a connection; a buffer of this size belongs to each.
_READ_BUFFER = 4 << 10
# After an error of accept(), which is a lack of memory or descriptors.
_ACCEPT_PAUSE = 0.1
# An address causes one line in the journal in so many seconds.
_LINE_SECONDS = 3.0


class Connections:
    """All of them: accepted, counted, and ended."""

    def __init__(self, most: int, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]) -> None:
        self._most = most
        self._context = context
        self._factory = factory
        # In the order of their coming; with the task that begins them, as long as that lasts.
        self._all: dict[Connection, asyncio.Task[None] | None] = {}
        self._handshakes = Turns(_HANDSHAKES)
        self._rate = Throttle(_BURST, _SECONDS)
        # By address: how often something was said of it that is not yet in the journal, and what last.
        self._said: dict[str, tuple[int, str]] = {}
        self._untidy = 0
        # asyncio's 256 KB for each, from its first moment on, would be 64 MB in all.
        asyncio.sslproto.SSLProtocol.max_size = _READ_BUFFER

    def of(self, request: web.BaseRequest) -> Connection:
        """The connection that a request came over."""
        return next(one for one in self._all if one.handler is request.protocol)

    async def accept(self, listener: socket.socket) -> None:
        """Takes connections for ever."""
        loop = asyncio.get_running_loop()
        accepted_now = 0
        while True:
            try:
                accepted, peer = await loop.sock_accept(listener)
            except OSError as error:
                journal.log(Level.WARNING, f"no connection could be accepted: {error.strerror}")
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            # The socket is one for both families.
            self._came(accepted, host(str(peer[0])))
            accepted_now = (accepted_now + 1) % _AT_ONCE
            if not accepted_now:
                # While others come, those that are here go on.
                await asyncio.sleep(0)

    def remove(self, connection: Connection) -> None:
        """It is gone."""
        if connection not in self._all:
            return
        del self._all[connection]
        self._leaves_garbage()

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

    def answers_another(self) -> None:
        """One more request. Of too many answers to strangers the network with most loses its oldest."""
        strangers = [one for one in self._all if one.answering and not one.known]
        if len(strangers) <= _MOST_TO_STRANGERS:
            return
        ((busiest, _),) = Counter(one.network for one in strangers).most_common(1)
        victim = next(one for one in strangers if one.network == busiest)
        self.say(victim.address, "has most of all answers under way, and lost its oldest")
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
            self.say(address, "holds most of all connections, and got no other")
            accepted.close()
            return
        task = asyncio.get_running_loop().create_task(self._begin(accepted, connection))
        # Also of a task that was cancelled before it began.
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
            # Who just looks whether the port is open has done nothing wrong.
            if not isinstance(error, ConnectionResetError):
                self.say(connection.address, f"made no TLS connection: {_words(error)}")

    async def _encrypt(self, accepted: socket.socket, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(_Unread, accepted)
        # Below TLS as above it: asyncio's 64 KB for each would be 16 MB in all.
        transport.set_write_buffer_limits(high=UNFETCHED)
        encrypted = await loop.start_tls(
            transport, connection, self._context, server_side=True, ssl_shutdown_timeout=_GOODBYE_SECONDS
        )
        if encrypted is not None and connection in self._all:
            self._all[connection] = None
            connection.connection_made(encrypted)
            self._leaves_garbage()

    def _make_room(self, whose: str) -> bool:
        """Ends a connection of the network that has most, the newcomer counted in; False: none may go.

        Of its own network's, only what has rested for a while goes: of many callers behind one address those
        that have just come must not end each other.
        """
        held = Counter(one.network for one in self._all)
        held[whose] += 1
        for busiest in sorted(held, key=lambda one: (-held[one], one == whose)):
            if held[busiest] < held[whose]:
                break
            victim = _least_missed(self._of(busiest, rested=busiest == whose))
            if victim:
                self.say(victim.address, "holds most of all connections, and lost its oldest")
                self._end(victim)
                return True
        return False

    def _of(self, whose: str, *, rested: bool) -> list[Connection]:
        """This network's in the order of their coming, all or those that have rested for a while."""
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
    """Leaves what comes to TLS."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).pause_reading()


def _least_missed(found: Sequence[Connection]) -> Connection | None:
    """Those that said nothing yet go first, then idle ones, then those of strangers, of each the oldest.

    None when all of them have known callers at work.
    """
    kinds: tuple[Callable[[Connection], bool], ...] = (
        lambda one: not one.spoke,
        lambda one: not one.answering,
        lambda one: not one.known,
    )
    return next((one for is_of_kind in kinds for one in found if is_of_kind(one)), None)


async def _first_byte(accepted: socket.socket) -> None:
    """Waits for it: who says nothing costs next to nothing."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(accepted, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(accepted)


def _words(error: OSError) -> str:
    """ssl.SSLError is an OSError, and so is the handshake's timeout."""
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())

"""The process of the supervisor, from systemd's socket to SIGTERM."""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from typing import Any, cast

from aiohttp import web

from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.errors import ConfigurationError
from rke2_units.join_api import heap, tls
from rke2_units.join_api.connections import Connections
from rke2_units.join_api.server import KEEPALIVE_SECONDS, Server
from rke2_units.join_api.settings import Settings

# sd_listen_fds(3)
_FIRST_DESCRIPTOR = 3
# Seconds that requests in progress get to finish after SIGTERM.
_PATIENCE = 1.5
_STEP = 0.02
# Bytes of a request line or a header.
_LARGEST_LINE = 8 << 10


def run(settings: Settings) -> None:
    """Serves until SIGTERM, then exits the process."""
    # This package logs broken requests and connections itself, and less often than aiohttp and asyncio.
    logging.disable(logging.CRITICAL)
    asyncio.run(serve(settings, listening_socket()))
    # Do not wait for threads, which may still wait for an answer.
    sys.stderr.flush()
    os._exit(0)


def listening_socket() -> socket.socket:
    """The socket that systemd has opened; ConfigurationError without one."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise ConfigurationError(
            "systemd passed no listening socket", hint="systemctl start rke2-supervisor.socket opens it"
        )
    found = socket.socket(fileno=_FIRST_DESCRIPTOR)
    found.setblocking(False)
    os.set_inheritable(_FIRST_DESCRIPTOR, False)
    return found


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, and ends within 2 s."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(_report_fault)
    server = Server(settings)
    runner = web.AppRunner(
        server.application,
        handle_signals=False,
        access_log=None,
        keepalive_timeout=KEEPALIVE_SECONDS,
        max_line_size=_LARGEST_LINE,
        max_field_size=_LARGEST_LINE,
        lingering_time=0.0,
        # A little compressed data can become much.
        auto_decompress=False,
    )
    await runner.setup()
    factory = cast(web.Server, runner.server)  # setup() has made it
    connections = server.connections = Connections(settings.connections, tls.context(settings), factory)
    # Everything that exists now stays, so connections.py need not search it for garbage.
    heap.give_back()
    gc.freeze()
    accepting = loop.create_task(connections.accept(listener))
    journal.notify(READY=1, STATUS=f"serving the join API, at most {settings.connections} connections")
    waiting = loop.create_task(stop.wait())
    await asyncio.wait({waiting, accepting}, return_when=asyncio.FIRST_COMPLETED)
    if accepting.done():
        accepting.result()  # the fault, which ends the process
    journal.notify(STOPPING=1, STATUS="stopping")
    accepting.cancel()
    listener.close()
    deadline = loop.time() + _PATIENCE
    while connections.answering() and loop.time() < deadline:
        await asyncio.sleep(_STEP)
    server.close()
    connections.abort()


def _report_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Logs errors in this program that asyncio reports, but not broken connections (OSError)."""
    error = context.get("exception")
    if error is not None and not isinstance(error, OSError):
        journal.log(Level.ERROR, f"{context.get('message')}: {type(error).__name__}")

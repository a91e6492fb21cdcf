"""`etcd_snapshot --settings FILE scheduled|request|reconcile|verify`: snapshots of this node's etcd.

`scheduled` takes one as it is configured, `request` answers one request on standard input (a socket),
`reconcile` has the cluster know the snapshots that there are, `verify` restores the newest one on trial.
"""

import json
import os
import select
import signal
import sys
import time

from rke2_units import printable
from rke2_units.errors import ExitCode, UserError
from rke2_units.lean import console

TYPE_CHECKING = False  # typing has the same constant, and is slow to import
if TYPE_CHECKING:
    from rke2_units.snapshots.settings import Settings

_WORDS = ("scheduled", "request", "reconcile", "verify")
_USAGE = f"etcd_snapshot --settings FILE {'|'.join(_WORDS)}"
# Seconds for a request to arrive.
_PATIENCE = 30.0
_CHUNK = 1 << 16


class _Stopped(BaseException):
    """systemd ends the unit: nobody on the way here goes on, and everybody cleans up."""


def program(file: str, arguments: list[str]) -> None:
    """Does what the word says; ends the process with an error when a part of it failed."""
    if len(arguments) != 1 or arguments[0] not in _WORDS:
        raise UserError("etcd_snapshot takes one of " + ", ".join(_WORDS), hint=_USAGE)
    from rke2_units.snapshots.settings import Settings

    signal.signal(signal.SIGTERM, _stop)
    try:
        settings = Settings(file)
        if arguments[0] == "request":
            _answer(settings)
        else:
            _work(settings, arguments[0])
    except _Stopped:
        # As console.run has it: a unit that is stopped has not failed.
        console.say("stopped before the end; nothing unfinished is left", console.WARNING)


def _stop(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


def _work(settings: "Settings", word: str) -> None:
    from rke2_units.snapshots.operations import Operations

    with Operations(settings, console.status) as operations:
        if word == "verify":
            operations.verify_newest()
        elif word == "reconcile":
            operations.reconcile()
        elif not operations.scheduled():
            sys.exit(ExitCode.FAILURE)


def _answer(settings: "Settings") -> None:
    """Reads a request, carries it out, and writes the answer; whoever asked may have gone away meanwhile."""
    from rke2_units.snapshots import request
    from rke2_units.snapshots.operations import Operations

    try:
        asked = request.parse(_read(request.LARGEST))
    except request.BadRequest as error:
        answer = request.failure(400, str(error))
    else:
        with Operations(settings, _say) as operations:
            answer = operations.run(asked)
    _write(answer.line())


def _say(text: str) -> None:
    _write(json.dumps({"progress": printable.line(text)}))


def _write(line: str) -> None:
    """A line to whoever asked. The work goes on without them."""
    content = f"{line}\n".encode()
    try:
        while content:
            content = content[os.write(1, content) :]
    except OSError:
        pass


def _read(limit: int) -> bytes:
    """Standard input up to its end, but at most a byte more than the limit; UserError after a time."""
    content = b""
    end = time.monotonic() + _PATIENCE
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while len(content) <= limit:
        if not poll.poll(1000 * max(0.0, end - time.monotonic())):
            raise UserError(f"no request came within {_PATIENCE:.0f} s")
        chunk = os.read(0, _CHUNK)
        if not chunk:
            break
        content += chunk
    return content[: limit + 1]


if __name__ == "__main__":
    console.run(program, _USAGE)

"""Runs a process with several threads until a signal ends it: workers, and one that holds the lease."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping

from rke2_units.coordination import lease as leases
from rke2_units.coordination.lease import Lease
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.errors import ExitCode, UserError

_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# Seconds between updates of the status: at first none, then longer by a step each time. The interval stays
# short while there is a problem, because somebody may be repairing it and watching the status.
_STATUS_INTERVAL = 5.0
_STATUS_STEP = 0.5
_MENDING_INTERVAL = 1.0
_DEGRADED = "degraded: "


def main(package: str, program: Callable[[str], int]) -> int:
    """`python3 -Im PACKAGE --settings FILE`: run `program` with FILE; returns the exit code.

    A UserError is logged as one line, and shown as the unit's status.
    """
    if len(sys.argv) != 3 or sys.argv[1] != "--settings":
        print(f"usage: python3 -m {package} --settings FILE", file=sys.stderr)
        return ExitCode.USAGE
    try:
        return program(sys.argv[2])
    except UserError as error:
        journal.notify(STATUS=str(error))
        journal.log(Level.ERROR, str(error))
        return error.exit_code


def run(
    workers: Mapping[str, Callable[[threading.Event], None]],
    lease: Lease,
    status: Callable[[], str],
    *,
    patience: float,
    on_stop: Callable[[], None] = lambda: None,
) -> int:
    """Works until SIGTERM; returns the exit code, a failure if a thread has died.

    `workers`: by name, the function of each thread, which works until the event passed to it is set. They
    have `patience` seconds to end, then `lease` is released. `status` returns the present STATUS=. `on_stop`
    is called after the event is set, for workers that wait for something else.
    """
    # Before the first thread starts, since threads inherit the mask: signals are handled only below.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    faults: list[str] = []

    def died(arguments: threading.ExceptHookArgs) -> None:
        trace = traceback.format_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        name = arguments.thread.name if arguments.thread else "thread"
        journal.log(Level.ERROR, f"thread {name} died: {arguments.exc_value!r}", TRACEBACK="".join(trace))
        faults.append(name)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.excepthook = died
    stop, stop_lease = threading.Event(), threading.Event()
    holder = threading.Thread(target=lease.run, args=(stop_lease,), name="lease", daemon=True)
    threads = [
        threading.Thread(target=work, args=(stop,), name=name, daemon=True) for name, work in workers.items()
    ]
    for thread in (holder, *threads):
        thread.start()
    said, pause = "", 0.0
    while signal.sigtimedwait(_SIGNALS, pause) is None:
        text = status()
        if text != said:
            journal.notify(READY=1, STATUS=text)
            said = text
        pause = min(pause_after(text), pause + _STATUS_STEP)
    journal.notify(STOPPING=1, STATUS="stopping")
    stop.set()
    on_stop()
    for thread in threads:
        thread.join(patience)
    # Only now may another server start to work.
    stop_lease.set()
    holder.join(leases.TIMEOUT)
    return ExitCode.FAILURE if faults else 0


def pause_after(status: str) -> float:
    """The longest pause in seconds before a process with this status updates it."""
    return _MENDING_INTERVAL if status.startswith(_DEGRADED) else _STATUS_INTERVAL


def summary(problems: list[str], else_text: str, unit: str) -> str:
    """STATUS= of the unit: its first problem and where to find the others; `else_text` if there are none."""
    if not problems:
        return else_text
    others = len(problems) - 1
    more = f" (and {others} more: journalctl -u {unit.removesuffix('.service')})" if others else ""
    return f"{_DEGRADED}{problems[0]}{more}"

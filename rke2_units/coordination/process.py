"""A process of some threads, from its first to its last signal: workers, and one that holds the lease."""

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
# How often it is looked whether there is something new to say; in the beginning, by so much less. While
# something is wrong somebody mends it, and looks at what that has done.
_STATUS_INTERVAL = 5.0
_STATUS_STEP = 0.5
_MENDING_INTERVAL = 1.0
_DEGRADED = "degraded: "


def main(package: str, program: Callable[[str], int]) -> int:
    """`python3 -Im PACKAGE --settings FILE`: run `program` with FILE; returns the exit code.

    An error that one line can explain is that line, in the journal and as the unit's status.
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
    """Works until SIGTERM; returns the exit code, which is a failure when a thread has died.

    `workers`: what each thread does until the event that it is given is set, by the thread's name. They have
    `patience` seconds to end, after which `lease` is given up. `status`: STATUS= of now. `on_stop` is called
    with the event, for workers that wait elsewhere.
    """
    # Before the first thread, which inherits it: signals are taken below and nowhere else.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    faults: list[str] = []

    def died(arguments: threading.ExceptHookArgs) -> None:
        trace = traceback.format_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
        name = arguments.thread.name if arguments.thread else "thread"
        journal.log(Level.ERROR, f"{name} ended: {arguments.exc_value!r}", TRACEBACK="".join(trace))
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
    # Only now may another server begin.
    stop_lease.set()
    holder.join(leases.TIMEOUT)
    return ExitCode.FAILURE if faults else 0


def pause_after(status: str) -> float:
    """Seconds until a process that says this of itself looks again, at the latest."""
    return _MENDING_INTERVAL if status.startswith(_DEGRADED) else _STATUS_INTERVAL


def summary(problems: list[str], else_text: str, unit: str) -> str:
    """STATUS= of the unit: its first problem and where the others are told, or what is so without any."""
    if not problems:
        return else_text
    others = len(problems) - 1
    more = f" (and {others} more: journalctl -u {unit.removesuffix('.service')})" if others else ""
    return f"{_DEGRADED}{problems[0]}{more}"

"""Questions to other machines, in a thread, so that a silent one does not keep the daemon from stopping."""

import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from rke2_units.daemon.events import Events
from rke2_units.doors import journal
from rke2_units.doors.journal import Level
from rke2_units.join.http import Unreachable

# RKE2's pause (s) between two rounds of questions to servers that do not answer.
INTERVAL = 2.0
# The longest (s) that a server can put it off.
_LONGEST_PAUSE = 15.0
# How long (s) servers may be silent, as while they restart, before that is worth a warning.
PATIENCE = 10.0
_LONG = (
    "no server has accepted this node yet; the start waits until one does, without a time limit"
    " (is `server` right, does rke2-server run there, is its port 9345 open? systemctl stop ends the wait)"
)
_Answer = TypeVar("_Answer")


def ask(events: Events, question: Callable[[], _Answer], say: Callable[[str], None]) -> _Answer:
    """Repeats the question until it is answered, and returns the answer; `say` shows what it waits for.

    Raises every error of the question except Unreachable, and StopRequested.
    """
    began, told = time.monotonic(), False
    while True:
        try:
            return _in_background(events, question)
        except Unreachable as error:
            rest = pause(error.pause)
            say(f"waiting for a server: {error.message}")
            if not told and time.monotonic() - began >= PATIENCE:
                told = True
                journal.log(Level.WARNING, f"{_LONG}: {error.message}")
        events.rest(rest)


def pause(wanted: float) -> float:
    """How long (s) to wait before the next try, if the server asks for a pause of `wanted` seconds."""
    return min(max(INTERVAL, wanted), _LONGEST_PAUSE)


def _in_background(events: Events, question: Callable[[], _Answer]) -> _Answer:
    asked = concurrent.futures.Future[_Answer]()

    def run() -> None:
        try:
            asked.set_result(question())
        except BaseException as error:
            asked.set_exception(error)
        events.wake()

    threading.Thread(target=run, name="question", daemon=True).start()
    while not asked.done():
        events.wait(5.0)
    return asked.result()

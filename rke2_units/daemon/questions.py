"""Questions to other machines, in a thread: who does not answer must not keep the daemon from stopping."""

import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

from rke2_units.daemon.events import Events
from rke2_units.join.http import Unreachable

# RKE2's pause (s) between two rounds of questions to servers that do not answer.
INTERVAL = 2.0
_Answer = TypeVar("_Answer")


def ask(events: Events, question: Callable[[], _Answer], say: Callable[[str], None]) -> _Answer:
    """The answer, asked for until there is one; what it waits for is told to `say`.

    Raises what the question raises but for Unreachable, and StopRequested.
    """
    while True:
        try:
            return _in_background(events, question)
        except Unreachable as error:
            say(f"waiting for a server: {error.message}")
        events.rest(INTERVAL)


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

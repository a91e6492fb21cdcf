"""The time limit of a whole operation, where a library has limits for each byte of an answer alone."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


class OutOfTime(BaseException):
    """The operation has no time left, or was given up.

    No Exception: a library that catches those takes them for a fault of the network, and tries again.
    """


class Limit:
    """The time that an operation has; all threads that work on it ask for it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() >= self._end:
            raise OutOfTime

    def stop(self) -> None:
        """Gives the operation up: the next check ends each thread."""
        self._end = 0.0

    def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returns or raises; OutOfTime when that takes too long.

        It runs in a thread, which may be left behind: it must ask `check` before it changes anything. It
        does not keep the process from ending.
        """
        values: list[_T] = []
        errors: list[BaseException] = []
        done = threading.Event()

        def body() -> None:
            try:
                values.append(work())
            except BaseException as error:
                errors.append(error)
            done.set()

        threading.Thread(target=body, daemon=True).start()
        if not done.wait(max(0.0, self._end - time.monotonic())):
            raise OutOfTime
        if errors:
            raise errors[0]
        return values[0]

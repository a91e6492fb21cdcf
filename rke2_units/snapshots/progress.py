"""How far a long step is."""

import time
from collections.abc import Callable

_MIB = 1 << 20


class Progress:
    """Says how much is done, at most once a second."""

    def __init__(self, what: str, size: int, say: Callable[[str], None]) -> None:
        self._what = what
        self._size = size
        self._say = say
        self._next = 0.0

    def report(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 1
            self._say(f"{self._what}: {done // _MIB} of {self._size // _MIB} MiB")

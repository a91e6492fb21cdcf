"""Shows on standard error what takes so long: on a terminal as one line that changes, else every 10 s."""

import os
import sys
import threading
import time
from types import TracebackType

from rke2_units import printable

# Seconds. Short work shows nothing.
_FIRST, _CHANGE, _LINE = 2.0, 1.0, 10.0
_COLUMNS = 80


class Progress:
    """`with Progress("saving a snapshot") as progress`; `progress.report` replaces the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stream = sys.stderr
        self._is_terminal = self._stream.isatty()
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._shown = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        if self._shown and self._is_terminal:
            self._write("\r\x1b[K")

    def report(self, text: str) -> None:
        """What is done now, in words that may be another program's."""
        self._text = printable.line(text)

    def _run(self) -> None:
        pause = _FIRST if self._is_terminal else _LINE
        while not self._ended.wait(pause):
            so_far = f" ({time.monotonic() - self._began:.0f} s)"
            if self._is_terminal:
                self._write(f"\r\x1b[K{self._text[: _width() - 1 - len(so_far)]}{so_far}")
            else:
                self._write(f"{self._text}{so_far}\n")
            self._shown = True
            pause = _CHANGE if self._is_terminal else _LINE

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # Nobody reads it: the work goes on.
            self._ended.set()


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS
